"""Runs of a project whose home is far away: seen by others while they go on, sealed once."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faraway import FarWorkshop, far_project, make_home
from thence.errors import Conflict, InvalidInput
from thence.execution import recovery
from thence.execution.following import Follower, look, with_live
from thence.execution.live import LoggedMetric
from thence.execution.recovery import recover_from_segments
from thence.model.ids import RunId
from thence.model.records import FileRole, RunOpened, RunSealed, RunStatus
from thence.project import Project
from thence.store.local import LocalStore
from thence.store.wrap import Trace
from thence.vault.logs import run_log
from thence.vault.segments import Segments
from workshop import Workshop, environment, seal_of

TESTS = Path(__file__).parents[1]

RECORDER = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from faraway import far_project
from thence.execution import publishing
from thence.store.local import LocalStore
publishing.EVERY_S = 0.05
project = far_project(Path.cwd(), LocalStore(sys.argv[1]))
run = project.execute(sys.argv[2:])
print(run.run)
sys.exit(run.exit_code)
"""

WORK = """
import os, time
import thence
thence.log(optimizer="adam")
for step in range(3):
    thence.log(step=step, loss=1 / (step + 1))
open("reached", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
thence.log(step=3, loss=0.1)
with open("out.txt", "w") as file:
    file.write("done")
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_home(tmp_path / "home")


@pytest.fixture
def here(tmp_path: Path, home: Path) -> Iterator[FarWorkshop]:
    made = FarWorkshop(tmp_path / "here", home)
    yield made
    made.project.site.index.close()


@pytest.fixture
def teammate(tmp_path: Path, home: Path) -> Project:
    """The same project on another machine."""
    return far_project(tmp_path / "there", LocalStore(home), author="grace")


def until(there: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)


def start(workshop: FarWorkshop, *command: str) -> "subprocess.Popen[str]":
    with environment():
        return subprocess.Popen(
            [sys.executable, "-c", RECORDER, str(workshop.home), *command],
            cwd=workshop.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def entries(project: Project, run: str) -> list[str]:
    records = project.site.vault.logs.records(run_log(RunId(run)))
    return [type(entry.record).__name__ for entry in records]


def segment_keys(home: Path) -> list[str]:
    return [info.key for info in LocalStore(home).list("runs/")]


def test_a_teammate_sees_a_run_while_it_goes_on(
    here: FarWorkshop, teammate: Project, home: Path
) -> None:
    here.write("work.py", WORK)
    recorder = start(here, sys.executable, "work.py")
    site = teammate.site

    def points() -> int:
        runs = teammate.runs()
        seen = look(site, runs[0].run) if runs else None
        return 0 if seen is None else seen.points

    until(lambda: points() == 3, "what it logged")
    (run,) = teammate.runs()
    seen = look(site, run.run)
    assert seen is not None
    assert (run.status, seen.is_here) == (RunStatus.RUNNING, False)
    assert seen.params["optimizer"].value == "adam"
    shown = with_live(teammate.find_run(f"run:{run.run}"), seen)
    assert shown.metrics == {"loss": 1 / 3}
    follower = Follower(site, run.run)
    said = [line for line in follower.news() if isinstance(line, LoggedMetric)]
    assert [(one.step, one.value) for one in said] == [(n, 1 / (n + 1)) for n in range(3)]
    assert (follower.news(), follower.is_over()) == ([], False)
    # On its own machine the same is known without asking the store.
    near = look(here.project.site, run.run)
    assert near is not None
    assert (near.points, near.is_here) == (3, True)
    assert len(Follower(here.project.site, run.run).news()) == 4

    (here.root / "go").touch()
    out, err = recorder.communicate(timeout=60)
    assert (recorder.returncode, out.split()) == (0, [run.run]), err
    until(follower.is_over, "the end")
    sealed = teammate.find_run(f"run:{run.run}")
    assert (sealed.status, sealed.metrics) == (RunStatus.FINISHED, {"loss": 0.1})
    assert [str(one.artifact) for one in sealed.makes] == ["out.txt", "reached"]
    assert segment_keys(home) == []
    assert follower.news() == []
    assert (look(site, run.run), here.spools()) == (None, [])


def test_a_sealed_run_is_complete_for_a_fresh_client(
    here: FarWorkshop, teammate: Project, tmp_path: Path
) -> None:
    here.write("in.txt", "text")
    here.write("script.py", "open('out.txt', 'w').write(open('in.txt').read() * 2)\n")
    run = here.run(sys.executable, "script.py")
    assert run.status is RunStatus.FINISHED
    files = {use.path: use for use in teammate.run_files(f"run:{run.run}")}
    digest = files["out.txt"].digest
    assert digest is not None
    assert teammate.site.vault.content.read(digest) == b"texttext"
    teammate.get("out.txt", tmp_path / "copy.txt")
    assert (tmp_path / "copy.txt").read_text() == "texttext"


def test_sealing_writes_few_packs(here: FarWorkshop, home: Path) -> None:
    for number in range(20):
        here.write(f"in/{number}.txt", f"input {number}")
    here.write(
        "script.py",
        "import os\nos.makedirs('out')\n"
        "for n in range(20):\n"
        "    open(f'out/{n}.txt', 'w').write(open(f'in/{n}.txt').read() * 2)\n",
    )
    trace = Trace(LocalStore(home))
    far = here.over(trace)
    run = far.run(sys.executable, "script.py")
    assert len(run.makes) == 20
    packs = [
        one for one in trace.operations if one.name.startswith("create") and "packs/" in one.key
    ]
    # One with all content, one with the list of files, which names the versions.
    assert len(packs) == 2, packs
    order = [one.key.split("/")[0] for one in trace.operations if one.name.startswith("create")]
    first_version = next(
        place
        for place, one in enumerate(
            one for one in trace.operations if one.name.startswith("create")
        )
        if one.key.startswith("refs/artifacts/")
    )
    assert order.index("packs") < first_version, "bytes first, name last"
    hinted = {info.key.split("/")[1] for info in LocalStore(home).list("hints/")}
    sealed = seal_of(run)
    assert sealed.files is not None
    assert sealed.files.hex in hinted


# Runs that die


def die(here: FarWorkshop) -> RunId:
    """A run whose recorder was killed after it had published something."""
    here.write(
        "die.py",
        "import os, time\nimport thence\nthence.log(auc=0.5, optimizer='adam')\n"
        "open('reached', 'w').close()\n"
        "while not os.path.exists('go'):\n    time.sleep(0.01)\n",
    )
    recorder = start(here, sys.executable, "die.py")
    (segments,) = [Segments(here.project.site.vault.store)]
    until(segments.runs, "the run")
    (run,) = segments.runs()
    until(lambda: segments.of(run), "what it logged")
    recorder.kill()
    (here.root / "go").touch()
    recorder.communicate(timeout=60)
    return run


def test_a_dead_run_is_recovered_and_its_segments_go(here: FarWorkshop, home: Path) -> None:
    run = die(here)
    assert [one.run for one in recovery.waiting(here.project.site)] == [run]
    (found,) = here.project.recover()
    assert (found.run, found.status, found.metrics) == (run, RunStatus.DIED, {"auc": 0.5})
    assert entries(here.project, run) == [RunOpened.__name__, RunSealed.__name__]
    assert (segment_keys(home), here.spools()) == ([], [])


def test_a_machine_that_does_not_come_back(
    here: FarWorkshop, teammate: Project, home: Path
) -> None:
    run = die(here)
    with pytest.raises(Conflict, match="may still go on"):
        recover_from_segments(teammate.site, run)
    with pytest.raises(InvalidInput, match="took place in this folder"):
        recover_from_segments(here.project.site, run, force=True)
    recover_from_segments(teammate.site, run, force=True)
    found = teammate.find_run(f"run:{run}")
    sealed = seal_of(found)
    assert (found.status, found.metrics) == (RunStatus.DIED, {"auc": 0.5})
    assert found.params["optimizer"].value == "adam"
    assert any("did not come back" in text for text in sealed.problems)
    assert segment_keys(home) == []
    with pytest.raises(InvalidInput, match="is sealed"):
        recover_from_segments(teammate.site, run, force=True)
    # It comes back after all.
    assert here.project.recover() == []
    assert entries(teammate, run).count(RunSealed.__name__) == 1


def test_garbage_of_a_sealed_run_is_passed_over_and_swept(
    here: FarWorkshop, teammate: Project, home: Path
) -> None:
    run = here.script("open('out.txt', 'w').write('x')\n")
    store = LocalStore(home)
    store.create(f"runs/{run.run}/1-aa/0000000001", [b"anything"])
    assert teammate.find_run(f"run:{run.run}").status is RunStatus.FINISHED
    assert Follower(teammate.site, run.run).is_over()
    assert teammate.recover() == []
    assert segment_keys(home) == []


def test_a_run_that_is_local_publishes_nothing(workshop: Workshop) -> None:
    workshop.write("work.py", WORK)
    (workshop.root / "go").touch()
    run = workshop.run(sys.executable, "work.py")
    assert run.metrics == {"loss": 0.1}
    assert list(workshop.project.site.vault.store.list("runs/")) == []


def test_inputs_that_are_in_the_home_are_not_fetched_to_seal(here: FarWorkshop, home: Path) -> None:
    here.write("big.bin", bytes(range(256)) * 4000)
    with environment():
        here.project.save_paths([here.root / "big.bin"])
    here.write("script.py", "open('out.txt', 'w').write(str(len(open('big.bin', 'rb').read())))\n")
    here.run(sys.executable, "script.py")
    trace = Trace(LocalStore(home))
    far = here.over(trace)
    run = far.run(sys.executable, "script.py")
    assert far.files(run, FileRole.INPUT)["big.bin"].version is not None
    read = sum(one.size_bytes for one in trace.operations if one.key.startswith("packs/")
               and one.name in {"get", "get_range"})  # fmt: skip
    assert read < 100_000
