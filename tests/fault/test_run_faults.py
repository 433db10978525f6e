"""What goes wrong around a run must never harm the user's program, and must be told."""

import contextlib
import dataclasses
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faraway import FarWorkshop, make_home
from thence.errors import Denied, StorageError
from thence.execution import publishing, recovery
from thence.execution.capture.files import FileLedger
from thence.execution.events import FileEvent
from thence.execution.supervisor import probe
from thence.index.views import RunDetail
from thence.model.ids import RunId
from thence.model.records import FileRole, RunStatus
from thence.project import Project
from thence.store.base import Store
from thence.store.local import LocalStore
from thence.store.wrap import Around, ReadOnly
from thence.testing.faulty import READS, WRITES, Fault, FaultyStore, Rule
from thence.vault.logs import run_log
from thence.vault.vault import Vault
from workshop import Workshop, environment, seal_of

needs_kernel_sensor = pytest.mark.skipif(
    probe() is not None, reason=f"no kernel-level sensor: {probe()}"
)


@pytest.fixture
def small_spool(workshop: Workshop) -> Iterator[Path]:
    """A spool on a disk of one megabyte."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    spool = workshop.project.site.local / "spool"
    spool.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", spool], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")
    yield spool
    subprocess.run(["umount", "--lazy", spool], check=True)


BIG = """
data = open("big.bin", "rb").read()
with open("small.txt", "w") as file:
    file.write(str(sum(data[:1000])))
with open("gone.bin", "rb") as file:
    gone = file.read()
with open("gone.bin", "wb") as file:
    file.write(gone[::-1])
for number in range(300):
    print("x" * 20_000)
for number in range(3000):
    with open(f"made-{number % 50}.txt", "w") as file:
        file.write("x")
print("end")
"""


@needs_kernel_sensor
def test_a_full_disk_does_not_harm_the_program(workshop: Workshop, small_spool: Path) -> None:
    big = os.urandom(3 << 20)
    workshop.write("big.bin", big)
    workshop.write("gone.bin", big[::-1])
    run = workshop.script(BIG)
    sealed = seal_of(run)
    assert (sealed.status, sealed.exit_code) == (RunStatus.FINISHED, 0)
    assert (workshop.root / "gone.bin").read_bytes() == big
    inputs = workshop.files(run, FileRole.INPUT)
    # It could not be copied, and is still there.
    assert workshop.read(inputs["big.bin"].digest) == big
    assert inputs["big.bin"].why_not_kept is None
    # It could not be copied, and the program has overwritten it.
    assert (inputs["gone.bin"].why_not_kept, inputs["gone.bin"].digest) == ("no-space", None)
    outputs = workshop.files(run, FileRole.OUTPUT)
    assert {"small.txt", "gone.bin", "made-7.txt"} <= set(outputs)
    assert any("No space left" in text for text in sealed.problems), sealed.problems
    verdict = workshop.reproduce(f"run:{run.run}")
    assert any("no room to keep it" in text for text in verdict.missing), verdict


def test_a_spool_that_cannot_be_made_starts_nothing(workshop: Workshop) -> None:
    (workshop.project.site.local / "spool").write_text("a file")
    with pytest.raises(StorageError) as failed:
        workshop.script("open('out.txt', 'w').close()\n")
    assert "spool" in failed.value.what
    assert not (workshop.root / "out.txt").exists()
    assert workshop.project.runs() == []


def test_a_store_that_cannot_be_written_starts_nothing(workshop: Workshop) -> None:
    site = workshop.project.site
    never = Rule(
        fault=Fault.FAIL_BEFORE,
        operations=frozenset({"create", "create_from_file"}),
        transient=False,
    )
    vault = Vault(FaultyStore(site.vault.store, never), site.local / "cache")
    workshop.project = Project(dataclasses.replace(site, vault=vault))
    with pytest.raises(StorageError):
        workshop.script("open('out.txt', 'w').close()\n")
    assert not (workshop.root / "out.txt").exists()
    # Who looks later is told that it was tried.
    (run,) = Project(site).recover()
    assert run.status is RunStatus.FAILED
    assert "nothing ran" in seal_of(run).sensor.not_seen


def test_recording_that_raises_at_every_event(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: FileLedger, event: FileEvent) -> None:
        raise RuntimeError(f"cannot note {event.action}")

    monkeypatch.setattr(FileLedger, "on_event", fail)
    run = workshop.script("open('out.txt', 'w').write('x')\nprint('end')\n")
    sealed = seal_of(run)
    assert (sealed.status, sealed.exit_code) == (RunStatus.FINISHED, 0)
    assert (workshop.root / "out.txt").read_text() == "x"
    assert workshop.read(sealed.stdout) == b"end\n"
    assert any("cannot note" in text for text in sealed.problems)
    assert sealed.sensor.completeness == "partial"


def test_a_project_that_moves_away_while_it_runs(workshop: Workshop, tmp_path: Path) -> None:
    workshop.write("in.txt", "text")
    workshop.script(
        "import os, shutil\n"
        "text = open('in.txt').read()\n"
        "os.unlink('in.txt')\n"
        "os.makedirs('deep/er')\n"
        "open('deep/er/out.txt', 'w').write(text)\n"
        "os.rename('deep', 'moved')\n"
        "os.unlink('script.py')\n"
    )
    run = workshop.project.find_run("run:last")
    assert run.status is RunStatus.FINISHED
    files = workshop.files(run)
    assert workshop.read(files["moved/er/out.txt"].digest) == b"text"
    assert "script.py" in files
    assert workshop.read(files["in.txt"].digest) == b"text"


def test_output_without_an_end_is_kept_as_far_as_it_went(workshop: Workshop) -> None:
    run = workshop.script(
        "import os, sys\nsys.stdout.write('no end of line')\nsys.stdout.flush()\n"
        "sys.stderr.buffer.write(b'\\xff\\xfe not text\\n')\nsys.stderr.flush()\nos._exit(4)\n"
    )
    assert workshop.read(seal_of(run).stdout) == b"no end of line"
    assert workshop.read(seal_of(run).stderr) == b"\xff\xfe not text\n"
    assert run.exit_code == 4


def test_a_program_left_behind_is_named(workshop: Workshop) -> None:
    workshop.write("late.sh", "while [ ! -e go ]; do sleep 0.05; done\n")
    run = workshop.run("sh", "-c", "sh late.sh >/dev/null 2>&1 </dev/null & echo started > out.txt")
    (workshop.root / "go").touch()
    assert run.status is RunStatus.FINISHED
    assert set(workshop.files(run, FileRole.OUTPUT)) == {"out.txt"}
    assert any("left running" in text for text in seal_of(run).sensor.not_seen)


def test_the_command_line_ends_with_the_status_of_the_command(workshop: Workshop) -> None:
    with environment():
        assert workshop.thence("run", "sh", "-c", "exit 5").returncode == 5
        assert workshop.thence("run", "no-such-command-here").returncode == 127
        workshop.write("plain.txt", "text")
        assert workshop.thence("run", "./plain.txt").returncode == 126
        done = workshop.thence("run", sys.executable, "-c", "open('o.txt', 'w').write('1')")
        assert done.returncode == 0, done.stderr
        done = workshop.thence("reproduce", "run:last")
        assert done.returncode == 0, done.stdout + done.stderr
        workshop.write("thence.toml", "[result]\n")
        assert workshop.thence("run", "true").returncode == 2


# The home is far away, and the network goes


@pytest.fixture
def far(tmp_path: Path) -> Iterator[FarWorkshop]:
    """A folder whose home is elsewhere."""
    made = FarWorkshop(tmp_path / "far", make_home(tmp_path / "home"))
    yield made
    made.project.site.index.close()


WRITE = """
import thence
thence.log(auc=0.5, optimizer="adam")
open("out.txt", "w").write(open("in.txt").read() * 2)
print("printed")
raise SystemExit(3 if open("in.txt").read() == "bad" else 0)
"""


def out_of_reach(*, operations: frozenset[str] = READS | WRITES, **more: Any) -> Rule:
    return Rule(fault=Fault.FAIL_BEFORE, operations=operations, **more)


def log_of(workshop: Workshop, run: str) -> list[str]:
    records = workshop.project.site.vault.logs.records(run_log(RunId(run)))
    return [type(entry.record).__name__ for entry in records]


def check_delivered(far: FarWorkshop, run: RunId, *, exit_code: int = 0) -> RunDetail:
    """One run, whole, with what its files were when it ended."""
    assert [one.run for one in far.project.runs()] == [run]
    found = far.project.find_run(f"run:{run}")
    sealed = seal_of(found)
    assert found.exit_code == exit_code
    assert (found.metrics, found.params["optimizer"].value) == ({"auc": 0.5}, "adam")
    assert far.read(sealed.stdout) == b"printed\n"
    outputs = far.files(found, FileRole.OUTPUT)
    assert far.read(outputs["out.txt"].digest) == b"texttext"
    assert log_of(far, run) == ["RunOpened", "RunSealed"]
    assert far.spools() == []
    assert list(far.project.site.vault.store.list("runs/")) == []
    return found


def test_without_a_network_the_program_runs_and_all_is_kept(
    far: FarWorkshop, caplog: pytest.LogCaptureFixture
) -> None:
    far.write("in.txt", "text")
    broken = far.over(FaultyStore(LocalStore(far.home), out_of_reach()))
    run = broken.script(WRITE)
    assert (run.status, run.exit_code, run.sealed) == (RunStatus.FINISHED, 0, None)
    assert run.metrics == {"auc": 0.5}
    said = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(said) == 2, said
    assert "is recorded here and will be published later" in said[0]
    assert "thence runs recover" in said[1]
    assert list(LocalStore(far.home).list("refs/")) == []
    # Still without a network, nothing is lost by trying.
    with pytest.raises(StorageError):
        broken.project.recover()
    (waits,) = recovery.waiting(far.project.site)
    assert (waits.run, waits.end and waits.end.exit_code) == (run.run, 0)
    # What happens to the folder meanwhile does not matter.
    far.write("out.txt", "by the next run")
    far.write("in.txt", "changed")
    far.write("script.py", "changed")
    assert [one.run for one in far.project.recover()] == [run.run]
    found = check_delivered(far, run.run)
    assert [(str(one.artifact), one.number) for one in found.makes] == [("out.txt", 1)]
    inputs = far.files(found, FileRole.INPUT, FileRole.CODE)
    assert far.read(inputs["in.txt"].digest) == b"text"
    assert far.read(inputs["script.py"].digest) == WRITE.encode()
    assert not any("written to after" in text for text in seal_of(found).problems)
    assert far.project.recover() == []


def test_the_status_of_the_command_is_its_own_without_a_network(far: FarWorkshop) -> None:
    far.write("in.txt", "bad")
    broken = far.over(FaultyStore(LocalStore(far.home), out_of_reach()))
    run = broken.script(WRITE)
    assert (run.status, run.exit_code) == (RunStatus.FAILED, 3)
    (found,) = far.project.recover()
    assert (found.status, found.exit_code) == (RunStatus.FAILED, 3)
    assert (found.makes, log_of(far, run.run)) == ((), ["RunOpened", "RunSealed"])


@pytest.mark.parametrize("write", [3, 5, 8])
@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.LOSE_RESPONSE])
def test_a_network_that_goes_while_a_run_is_sealed(
    far: FarWorkshop, fault: Fault, write: int
) -> None:
    far.write("in.txt", "text")
    rule = Rule(
        fault=fault,
        operations=frozenset({"create", "create_from_file"}),
        on=frozenset(range(write, 1000)),
    )
    run = far.over(FaultyStore(LocalStore(far.home), rule)).script(WRITE)
    assert run.exit_code == 0
    for path in ("out.txt", "in.txt"):
        far.write(path, "changed since")
    far.project.recover()
    found = check_delivered(far, run.run)
    assert [(str(one.artifact), one.number) for one in found.makes] == [("out.txt", 1)]


@pytest.mark.parametrize("write", [1, 4, 8])
@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.LOSE_RESPONSE])
def test_a_network_that_goes_while_a_run_is_recovered(
    far: FarWorkshop, fault: Fault, write: int
) -> None:
    far.write("in.txt", "text")
    run = far.over(FaultyStore(LocalStore(far.home), out_of_reach())).script(WRITE)
    rule = Rule(
        fault=fault,
        operations=frozenset({"create", "create_from_file"}),
        on=frozenset(range(write, 1000)),
    )
    for _ in range(2):
        again = far.over(FaultyStore(LocalStore(far.home), rule))
        with contextlib.suppress(StorageError):
            again.project.recover()
    (far.root / "out.txt").unlink()
    far.project.recover()
    found = check_delivered(far, run.run)
    assert [(str(one.artifact), one.number) for one in found.makes] == [("out.txt", 1)]


def test_a_network_that_comes_back_while_it_runs(
    far: FarWorkshop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(publishing, "EVERY_S", 0.05)
    far.write("in.txt", "text")
    faulty = FaultyStore(LocalStore(far.home), out_of_reach(on=frozenset(range(1, 4))))
    published = far.home / "runs"
    run = far.over(faulty).script(
        WRITE.replace(
            'print("printed")',
            f"import os, time\nwhile not os.path.isdir({str(published)!r}): time.sleep(0.01)\n"
            'print("printed")',
        )
    )
    assert run.sealed is not None
    check_delivered(far, run.run)
    assert "will be published later" in caplog.text


def test_a_home_that_may_not_be_written_to_is_said_before_anything_runs(far: FarWorkshop) -> None:
    far.write("in.txt", "text")
    with pytest.raises(Denied):
        far.over(ReadOnly(LocalStore(far.home))).script(WRITE)
    assert not (far.root / "out.txt").exists()


def test_rights_that_are_taken_away_while_it_runs_cost_nothing(far: FarWorkshop) -> None:
    far.write("in.txt", "text")
    store = _Expiring(LocalStore(far.home), after=4)
    run = far.over(store).script(WRITE)
    assert (run.exit_code, run.sealed) == (0, None)
    far.project.recover()
    check_delivered(far, run.run)


class _Expiring(Around):
    """A store whose credentials expire after some writes."""

    def __init__(self, store: Store, *, after: int) -> None:
        super().__init__(store)
        self._left = after

    def _call(self, name: str, key: str, call: Callable[[], Any], sent: Any = ()) -> Any:
        self._left -= name in WRITES
        if self._left < 0:
            raise Denied(f"cannot {name}", why="The session token has expired, or is not valid.")
        return call()


IN_PROCESS = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from faraway import far_project
from thence import verbs
from thence.store.local import LocalStore
from thence.testing.faulty import FaultyStore, Fault, Rule
home = LocalStore(sys.argv[1])
if sys.argv[2] == "down":
    home = FaultyStore(home, Rule(fault=Fault.FAIL_BEFORE))
project = far_project(Path.cwd(), home)
verbs._current = lambda: project
import thence
thence.log(auc=0.5, optimizer="adam")
open("out.txt", "w").write(open("in.txt").read() * 2)
if sys.argv[3:]:
    ended = thence.finish()
    print(ended.status.value, ended.sealed is None)
"""


@pytest.mark.parametrize("finish", [[], ["finish"]])
@pytest.mark.parametrize("network", ["up", "down"])
def test_a_run_inside_of_a_program(far: FarWorkshop, network: str, finish: list[str]) -> None:
    far.write("in.txt", "text")
    far.write("script.py", IN_PROCESS)
    with environment():
        done = subprocess.run(
            [sys.executable, "script.py", str(far.home), network, *finish],
            cwd=far.root,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    if finish:
        assert done.stdout.split() == ["finished", str(network == "down")]
    if network == "down":
        assert "thence runs recover" in done.stderr
        far.write("out.txt", "by hand")
        assert len(far.project.recover()) == 1
    (run,) = far.project.runs()
    found = far.project.find_run(f"run:{run.run}")
    assert (found.status, found.metrics) == (RunStatus.FINISHED, {"auc": 0.5})
    assert far.read(far.files(found, FileRole.OUTPUT)["out.txt"].digest) == b"texttext"
    assert log_of(far, run.run) == ["RunOpened", "RunSealed"]
    # What we do beside the program is not its own.
    assert not any(".thence" in path for path in far.files(found))
    assert far.spools() == []
