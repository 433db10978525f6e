"""The spool of a run: held by one process, readable after its death."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from thence.errors import DataDamaged, NotFound, StorageError
from thence.execution.spool import Beginning, End, Spool, spools, sweep
from thence.model.ids import RunId
from thence.model.records import Host, Param, RunOpened, RunStatus, SensorReport, Withheld

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RUN = RunId("0123456789abcdef0123")


@pytest.fixture
def beginning() -> Beginning:
    return Beginning(
        opened=RunOpened(
            run=RUN,
            command=("python", "train.py"),
            root="/home/ada/study",
            cwd=".",
            started=NOW,
            author="ada",
            host=Host(name="box", system="Linux", release="6.1", machine="x86_64"),
            tags={"a": "b"},
        ),
        cwd="/home/ada/study",
        environment_variables={"LANG": "C"},
        omitted_variables=("HOME",),
        params={"lr": Param(value=0.1, origin="argv")},
        withheld=(Withheld(name="KEY", where="environment", placeholder="<secret:0>"),),
    )


def test_what_was_known_comes_back(tmp_path: Path, beginning: Beginning) -> None:
    spool = Spool.create(tmp_path, beginning)
    end = End(
        ended=NOW,
        status=RunStatus.FAILED,
        sensor=SensorReport(name="seccomp", completeness="partial", not_seen=("a",), events=3),
        exit_code=3,
        traceback="Traceback …",
        problems=("one",),
    )
    assert spool.end() is None
    spool.write_end(end)
    spool.release()
    (found,) = spools(tmp_path)
    assert (found.run, found.folder) == (RUN, tmp_path / "spool" / RUN)
    assert found.beginning() == beginning
    assert found.end() == end
    assert not list(found.folder.glob("*.new"))


def test_only_one_process_holds_it(tmp_path: Path, beginning: Beginning) -> None:
    spool = Spool.create(tmp_path, beginning)
    other = Spool(spool.folder, RUN)
    assert not other.hold()
    spool.release()
    spool.release()
    assert other.hold()
    other.discard()
    assert not spool.folder.exists()


def test_death_lets_go_of_it(tmp_path: Path, beginning: Beginning) -> None:
    spool = Spool.create(tmp_path, beginning)
    spool.release()
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from thence.execution.spool import Spool\nfrom thence.model.ids import RunId\n"
        f"spool = Spool(Path({str(spool.folder)!r}), RunId({str(RUN)!r}))\n"
        "print(spool.hold(), flush=True)\nsys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "True"
    assert not spool.hold()
    holder.kill()
    holder.communicate()
    assert spool.hold()
    spool.discard()


def test_a_child_does_not_hold_it(tmp_path: Path, beginning: Beginning) -> None:
    spool = Spool.create(tmp_path, beginning)
    child = subprocess.Popen(["sleep", "60"])
    try:
        spool.release()
        assert spool.hold()
    finally:
        child.kill()
        child.wait()
        spool.discard()


def test_a_spool_that_cannot_be_made_says_why(tmp_path: Path, beginning: Beginning) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(StorageError, match="cannot make the spool") as failed:
        Spool.create(tmp_path, beginning)
    assert failed.value.why == "Not a directory."


def test_what_is_missing_or_damaged_is_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "spool" / RUN
    folder.mkdir(parents=True)
    spool = Spool(folder, RUN)
    with pytest.raises(NotFound):
        spool.beginning()
    (folder / "beginning.json").write_bytes(b'{"opened":{')
    with pytest.raises(DataDamaged):
        spool.beginning()
    (folder / "end.json").write_bytes(b"{}")
    assert spool.end() is None


def test_an_end_that_cannot_be_noted_is_no_failure(
    tmp_path: Path, beginning: Beginning, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool.create(tmp_path, beginning)
    (spool.folder / "end.new").mkdir()
    report = SensorReport(name="seccomp", completeness="partial")
    spool.write_end(End(ended=NOW, status=RunStatus.FINISHED, sensor=report))
    assert spool.end() is None
    assert "was not noted" in caplog.text
    spool.discard()


def test_only_folders_of_runs_are_spools(tmp_path: Path) -> None:
    assert list(spools(tmp_path)) == []
    folder = tmp_path / "spool"
    for name in ("f" * 20, "0" * 20, "short", "x" * 21):
        (folder / name).mkdir(parents=True)
    (folder / ("a" * 20)).write_text("a file")
    assert [spool.run for spool in spools(tmp_path)] == ["0" * 20, "f" * 20]


def test_it_is_held_and_whole_when_it_appears(
    tmp_path: Path, beginning: Beginning, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    rename = Path.rename

    def watched(self: Path, target: Path) -> Path:
        seen.append(list(spools(tmp_path)))
        renamed = rename(self, target)
        (found,) = spools(tmp_path)
        seen.extend([found.hold(), found.beginning()])
        return renamed

    monkeypatch.setattr(Path, "rename", watched)
    spool = Spool.create(tmp_path, beginning)
    assert seen == [[], False, beginning]
    assert (spool.folder.name, list(spool.folder.parent.iterdir())) == (RUN, [spool.folder])


def test_what_is_gone_cannot_be_held(tmp_path: Path) -> None:
    assert not Spool(tmp_path / "spool" / RUN, RUN).hold()


def test_what_was_hardly_begun_is_swept_when_it_is_old(tmp_path: Path) -> None:
    for name in (".new-old", ".new-fresh", RUN):
        (tmp_path / "spool" / name).mkdir(parents=True)
    for name in (".new-old", RUN):
        os.utime(tmp_path / "spool" / name, (0, 0))
    sweep(tmp_path, before=datetime.now(UTC) - timedelta(days=1))
    left = sorted(path.name for path in (tmp_path / "spool").iterdir())
    assert left == [".new-fresh", RUN]
