"""The demonstration does what it says, as a user would see it, and is honest when it could lie."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from thence.cli import demo as module
from thence.errors import MissingExtra
from thence.model.ids import Digest, RunId
from thence.model.records import (
    FileRole,
    FileUse,
    Finding,
    Grade,
    RunOpened,
    RunSealed,
    decode_lines,
    encode_lines,
)
from thence.project import Project
from thence.vault.logs import run_log

THENCE = [sys.executable, "-m", "thence"]
RESULTS = {
    "results/metrics.json",
    "results/model.skops",
    "results/predictions.csv",
    "results/roc.png",
}


def _thence(*words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    variables = {key: value for key, value in os.environ.items() if not key.startswith("THENCE_")}
    return subprocess.run(
        [*THENCE, *words],
        cwd=cwd,
        env={**variables, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


class Shown:
    """A demonstration that was given, as JSON Lines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        started = time.monotonic()
        self.done = _thence("demo", "--json", "--keep", str(folder))
        self.took_s = time.monotonic() - started
        self.lines: list[dict[str, Any]] = [
            json.loads(line) for line in self.done.stdout.splitlines()
        ]

    def of_type(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["type"] == name]

    def fact(self, label: str) -> str:
        return str(next(one["text"] for one in self.of_type("fact") if one["label"] == label))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return Shown(tmp_path_factory.mktemp("demo") / "study")


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestDemonstration:
    """Given once for all of these."""

    def test_ends_with_the_verdict_and_its_status(self, shown: Shown) -> None:
        assert shown.done.returncode == 0, shown.done.stderr
        (verdict,) = shown.of_type("verdict")
        assert verdict["finding"] == "reproduced"
        assert verdict["opened_outside"] == []
        assert verdict["missing"] == []

    def test_every_result_came_out_again(self, shown: Shown) -> None:
        grades = {one["path"]: one["grade"] for one in shown.of_type("result")}

        assert set(grades) == RESULTS
        assert set(grades.values()) <= {"identical", "equivalent"}

    def test_everything_was_kept_without_a_word_from_the_script(self, shown: Shown) -> None:
        assert shown.fact("inputs") == "data/biopsies.csv@v1"
        assert "features.py" in shown.fact("code")
        assert "model.C=0.5" in shown.fact("config")
        assert "auc=0.99" in shown.fact("metrics")
        (run,) = shown.of_type("run")
        assert set(run["metrics"]) >= {"accuracy", "auc", "log_loss"}

    def test_a_module_that_nobody_committed_is_kept_and_named(self, shown: Shown) -> None:
        if shutil.which("git") is None:
            pytest.skip("git is not installed")

        assert shown.fact("code").endswith("and what is not in it: features.py")

    def test_nothing_but_the_project_is_left(self, shown: Shown) -> None:
        assert [path.name for path in shown.folder.iterdir()] == [".thence"]

    def test_stdout_holds_objects_and_the_study_speaks_on_stderr(self, shown: Shown) -> None:
        assert all("type" in line for line in shown.lines)
        assert "fold 5 of 5" in shown.done.stderr

    def test_what_it_says_to_try_next_works(self, shown: Shown, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(shown.folder, copy, symlinks=True)
        listed = shown.of_type("next")

        assert len(listed) == 3
        for one in listed:
            assert one["folder"] == str(shown.folder)
            first, *words = one["command"].split()
            assert first == "thence"
            done = _thence(*words, cwd=copy)
            assert done.returncode == 0, done.stderr
        assert (copy / "model.skops").stat().st_size > 0
        assert "Reproduced" in (copy / "report.html").read_text("utf-8")

    def test_it_would_say_so_if_the_code_had_been_another(self, shown: Shown) -> None:
        project = Project.open(shown.folder)
        run = RunId(shown.of_type("run")[0]["run"])
        forged = forge(project, run, "features.py", b".assign(", b".iloc[:, ::-1].assign(")

        verdict = project.reproduce(f"run:{forged}")

        assert verdict.finding is Finding.DIFFERS
        grades = {one.path: one.grade for one in verdict.results}
        assert grades["results/model.skops"] is Grade.DIFFERENT

    def test_takes_less_than_two_minutes(self, shown: Shown) -> None:
        assert shown.took_s < 120


def forge(project: Project, run: RunId, path: str, old: bytes, new: bytes) -> RunId:
    """Record a run that says it was made from another content of a file; gives its id.

    Everything else (the command, the results) is that of the real run, so its results are not what
    its record says they were made of.
    """
    site = project.site
    sealed = project.find_run(f"run:{run}").sealed
    assert sealed is not None
    assert sealed.files is not None
    uses = decode_lines(site.vault.content.read(sealed.files), FileUse)
    (target,) = (use for use in uses if use.path == path)
    assert target.digest is not None
    text = site.vault.content.read(target.digest)
    assert old in text
    altered = text.replace(old, new)
    with site.vault.writer() as writer:
        writer.put_bytes(altered)
        changed = msgspec.structs.replace(target, digest=Digest.of(altered), size=len(altered))
        lines = encode_lines(changed if use is target else use for use in uses)
        files = writer.put_bytes(lines).digest
    forged = RunId.from_bytes(os.urandom(10))
    opened = RunOpened(
        run=forged,
        command=sealed.command,
        root=sealed.root,
        cwd=sealed.cwd,
        started=sealed.started,
        author=sealed.author,
        host=sealed.host,
    )
    record: RunSealed = msgspec.structs.replace(sealed, run=forged, files=files)
    for one in (opened, record):
        site.ingest(site.vault.append(run_log(forged), one, by=sealed.author))
    return forged


def _small_study(folder: Path) -> RunId:
    (folder / "helper.py").write_text("def grow(x):\n    return x * 3\n")
    (folder / "study.py").write_text(
        "import json\nfrom helper import grow\n"
        "json.dump({'grown': grow(14)}, open('metrics.json', 'w'))\n"
    )
    project = Project.init(folder)
    run = project.execute([sys.executable, "study.py"])
    assert [use.path for use in project.run_files(run.run.short, FileRole.OUTPUT)] == [
        "metrics.json"
    ]
    return run.run


def test_a_run_whose_record_names_other_code_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = _small_study(tmp_path)
    project = Project.open(tmp_path)

    honest = project.reproduce(f"run:{run}")
    forged = project.reproduce(f"run:{forge(project, run, 'helper.py', b'x * 3', b'x * 4')}")

    assert honest.finding is Finding.REPRODUCED
    assert forged.finding is Finding.DIFFERS
    assert "42" in forged.results[0].detail
    assert "56" in forged.results[0].detail


def test_a_missing_extra_is_named_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        module, "find_spec", lambda name: None if name in {"skops", "sklearn"} else object()
    )
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with pytest.raises(MissingExtra, match="scikit-learn, skops") as caught:
        module.demo.main(["--keep", str(tmp_path / "study")], standalone_mode=False)

    assert "pip install 'thence[demo]'" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    done = _thence("demo", "--keep", str(tmp_path))

    assert done.returncode == 5
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
