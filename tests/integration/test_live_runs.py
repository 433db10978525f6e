"""Runs of a project whose home is far away: seen by others while they go on, sealed once."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faraway import FarWorkshop, far_project, make_home
from patience import PATIENCE_S, until
from seaweed import S3Server
from thence.errors import Conflict, InvalidInput
from thence.execution import recovery
from thence.execution.following import Follower, look, with_live
from thence.execution.live import LoggedMetric
from thence.execution.recovery import recover_from_segments
from thence.model.ids import RunId
from thence.model.records import FileRole, Finding, RunOpened, RunSealed, RunStatus
from thence.project import Project
from thence.store.local import LocalStore
from thence.store.wrap import Trace
from thence.vault.live_segments import Segments
from thence.vault.logs import run_log
from wire import wire_to
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
    out, err = recorder.communicate(timeout=PATIENCE_S)
    assert (recorder.returncode, out.split()) == (0, [run.run]), err
    until(follower.is_over, "the end")
    sealed = teammate.find_run(f"run:{run.run}")
    assert (sealed.status, sealed.metrics) == (RunStatus.FINISHED, {"loss": 0.1})
    assert [str(one.artifact) for one in sealed.makes] == ["out.txt", "reached"]
    assert segment_keys(home) == []
    assert follower.news() == []
    (last,) = follower.rest()
    assert isinstance(last, LoggedMetric)
    assert (last.step, last.value) == (3, 0.1)
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
    segments = Segments(here.project.site.vault.store)
    until(segments.runs, "the run")
    (run,) = segments.runs()
    until(lambda: (pulse := segments.pulse(run)) and pulse.params, "what it logged")
    recorder.kill()
    (here.root / "go").touch()
    recorder.communicate(timeout=PATIENCE_S)
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


# The whole way: the command line, a bucket, and a network that can be cut


class Machine:
    """Somebody's computer, with a folder that works in a bucket."""

    def __init__(self, root: Path, url: str, variables: dict[str, str]) -> None:
        (root / "home").mkdir(parents=True)
        self.root = root / "study"
        self.root.mkdir()
        self.variables = {"HOME": str(root / "home"), "COLUMNS": "200", **variables}
        assert self.thence("init", "--store", url).returncode == 0

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        with environment(**self.variables):
            return subprocess.Popen(
                [sys.executable, "-m", "thence", *arguments],
                cwd=self.root,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

    def thence(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*arguments)
        out, err = process.communicate(timeout=200)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


LONG = """
import os, time
import thence
for step in range(3):
    thence.log(step=step, loss=1 / (step + 1))
open("out.txt", "w").write("result")
open("reached", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
thence.log(step=3, loss=0.1)
raise SystemExit(3 if os.path.exists("fail") else 0)
"""


def test_a_run_on_a_bucket_is_followed_from_another_machine(
    seaweed: S3Server, tmp_path: Path
) -> None:
    url = seaweed.url(seaweed.make_bucket("live-runs"))
    ada = Machine(tmp_path / "ada", url, seaweed.environment)
    grace = Machine(tmp_path / "grace", url, seaweed.environment)
    (ada.root / "work.py").write_text(LONG)
    running = ada.start("run", sys.executable, "work.py")
    until((ada.root / "reached").exists, "the run")
    until(lambda: "loss=0.333333" in grace.thence("runs", "list").stdout, "what it logged")
    watching = grace.start("runs", "watch", "run:last")
    assert watching.stdout is not None
    assert watching.stdout.readline() == "step 0 loss=1\n"
    page = grace.thence("show", "run:last").stdout
    assert "last sign of life" in page
    assert "loss  0.333333" in page
    stopped = grace.start("runs", "watch", "run:last")
    assert stopped.stdout is not None
    stopped.stdout.readline()
    stopped.send_signal(signal.SIGINT)
    _, err = stopped.communicate(timeout=PATIENCE_S)
    assert (stopped.returncode, "Traceback" in err) == (0, False), err
    (ada.root / "go").touch()
    out, err = running.communicate(timeout=PATIENCE_S)
    assert (running.returncode, out) == (0, ""), err
    lines = watching.stdout.read().splitlines()  # communicate() does not know what was read ahead
    watching.communicate(timeout=PATIENCE_S)
    assert watching.returncode == 0
    assert lines[:3] == ["step 1 loss=0.5", "step 2 loss=0.333333", "step 3 loss=0.1"]
    assert "finished" in lines[3]
    left = seaweed.client().list_objects_v2(Bucket="live-runs", Prefix="runs/")
    assert left.get("KeyCount") == 0


@pytest.mark.slow
def test_a_network_that_is_cut_while_a_program_runs(seaweed: S3Server, tmp_path: Path) -> None:
    bucket = seaweed.make_bucket("cut-runs")
    with wire_to(int(seaweed.endpoint.rpartition(":")[2])) as wire:
        url = f"s3://{bucket}?endpoint={wire.url}"
        ada = Machine(tmp_path / "ada", url, seaweed.environment)
        (ada.root / "work.py").write_text(LONG)
        (ada.root / "fail").touch()
        first = ada.start("run", sys.executable, "work.py")
        until((ada.root / "reached").exists, "the run")
        wire.cut()
        (ada.root / "go").touch()
        _, err = first.communicate(timeout=200)
        assert first.returncode == 3, err
        assert "thence runs recover" in err
        # And one that has no network from the beginning.
        (ada.root / "fail").unlink()
        second = ada.thence("run", sys.executable, "work.py")
        assert second.returncode == 0, second.stderr
        assert "will be published later" in second.stderr
        assert "1 run waits" in second.stderr
        assert ada.thence("runs", "recover").returncode == 1
        wire.mend()
        done = ada.thence("runs", "recover", "--json")
        assert done.returncode == 0, done.stderr
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert sorted(one["status"] for one in found) == ["failed", "finished"]
        assert all(one["metrics"] == {"loss": 0.1} for one in found)
        grace = Machine(tmp_path / "grace", seaweed.url(bucket), seaweed.environment)
        runs = [
            json.loads(line) for line in grace.thence("runs", "list", "--json").stdout.splitlines()
        ]
        assert sorted(one["exit_code"] for one in runs) == [0, 3]
        assert grace.thence("get", "out.txt", "copy.txt").returncode == 0
        assert (grace.root / "copy.txt").read_text() == "result"


# Clones


@pytest.fixture
def clone(home: Path, tmp_path: Path) -> Workshop:
    """A clone whose home is gone: a laptop on a train."""
    made = Workshop.__new__(Workshop)
    made.root = tmp_path / "clone"
    made.project, _ = Project.clone(str(home), made.root)
    home.rename(home.with_name("away"))
    return made


def test_a_run_in_a_clone_needs_no_network(clone: Workshop, tmp_path: Path, home: Path) -> None:
    clone.write("in.txt", "text")
    with environment():
        clone.project.save_paths([clone.root / "in.txt"])
    run = clone.script(
        "import thence\nthence.log(auc=0.5)\n"
        "open('out.txt', 'w').write(open('in.txt').read() * 2)\n"
    )
    assert (run.status, run.metrics) == (RunStatus.FINISHED, {"auc": 0.5})
    assert [str(one.ref) for one in run.makes] == ["out.txt@local.1"]
    assert [str(one.ref) for one in run.uses] == ["in.txt@local.1"]
    assert clone.read(clone.files(run, FileRole.OUTPUT)["out.txt"].digest) == b"texttext"
    assert entries(clone.project, run.run) == [RunOpened.__name__, RunSealed.__name__]
    page = clone.thence("show", f"run:{run.run[:8]}")
    assert page.returncode == 0, page.stderr
    assert "out.txt@local.1" in page.stdout
    verdict = clone.reproduce(f"run:{run.run}")
    assert verdict.finding is Finding.REPRODUCED, verdict
    outbox = clone.project.site.vault.outbox
    assert outbox is not None
    waiting = [one.log for one in outbox.waiting()]
    assert waiting.count(run_log(run.run)) == 3, "opened, sealed and the verdict"
    # Back at home, all of it is there under numbers of the home.
    home.with_name("away").rename(home)
    clone.project.push()
    fresh = far_project(tmp_path / "fresh", LocalStore(home))
    found = fresh.find_run(f"run:{run.run}")
    assert [str(one.ref) for one in found.makes] == ["out.txt@v1"]
    assert entries(fresh, run.run)[:2] == [RunOpened.__name__, RunSealed.__name__]


def test_a_run_in_a_clone_that_died_is_recovered_without_a_network(clone: Workshop) -> None:
    clone.write("die.py", "import os, thence\nthence.log(auc=0.5)\nos.kill(os.getppid(), 9)\n")
    assert clone.thence("run", sys.executable, "die.py").returncode == -9
    (run,) = clone.project.recover()
    assert (run.status, run.metrics) == (RunStatus.DIED, {"auc": 0.5})
    assert entries(clone.project, run.run) == [RunOpened.__name__, RunSealed.__name__]
    assert clone.project.recover() == []
