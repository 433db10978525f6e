"""Runs whose recorder died are sealed from what reached the disk."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from patience import PATIENCE_S, until, wait_for
from thence.errors import DataDamaged, NotFound, StorageError
from thence.execution.supervisor import probe
from thence.model.ids import RunId
from thence.model.records import FileRole, RunOpened, RunSealed, RunStatus
from thence.project import Project
from thence.store.open import open_store
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault.artifacts import Artifacts
from thence.vault.logs import run_log
from thence.vault.vault import Vault
from workshop import Workshop, environment, seal_of

needs_kernel_sensor = pytest.mark.skipif(
    probe() is not None, reason=f"no kernel-level sensor: {probe()}"
)

RECORDER = (
    "import sys\nfrom thence.project import Project\n"
    "run = Project.open().execute(sys.argv[1:])\nprint(run.run)\n"
)

WORK = """
import os, time
text = open("in.txt").read()
with open("before.txt", "w") as file:
    file.write(text)
print("before", flush=True)
open("reached", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
with open("after.txt", "w") as file:
    file.write(text)
print("after", flush=True)
open("finished", "w").close()
"""


def start(workshop: Workshop, *command: str) -> "subprocess.Popen[str]":
    with environment():
        return subprocess.Popen(
            [sys.executable, "-c", RECORDER, *command],
            cwd=workshop.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def entries(workshop: Workshop, run: str) -> list[str]:
    records = workshop.project.site.vault.logs.records(run_log(RunId(run)))
    return [type(entry.record).__name__ for entry in records]


@needs_kernel_sensor
def test_the_recorder_is_killed_and_the_program_goes_on(workshop: Workshop) -> None:
    workshop.write("in.txt", "text")
    workshop.write("work.py", WORK)
    recorder = start(workshop, sys.executable, "work.py")
    wait_for(workshop.root / "reached")
    (spooled,) = workshop.root.glob(".thence/spool/*/stdout")
    until(lambda: b"before" in spooled.read_bytes(), "what it printed")
    recorder.kill()
    recorder.wait()
    (workshop.root / "go").touch()
    wait_for(workshop.root / "finished")
    recorder.communicate(timeout=PATIENCE_S)  # ends with the program, which has the pipe too
    assert (workshop.root / "after.txt").read_text() == "text"
    (running,) = workshop.project.runs()
    assert running.status is RunStatus.RUNNING
    (run,) = workshop.project.recover()
    assert run.run == running.run
    sealed = seal_of(run)
    assert (sealed.status, sealed.exit_code) == (RunStatus.DIED, None)
    assert set(workshop.files(run, FileRole.INPUT)) == {"in.txt"}
    assert set(workshop.files(run, FileRole.CODE)) == {"work.py"}
    outputs = workshop.files(run, FileRole.OUTPUT)
    assert {"before.txt", "reached"} <= set(outputs)
    assert workshop.read(outputs["before.txt"].digest) == b"text"
    assert b"before" in workshop.read(sealed.stdout)
    assert sealed.sensor.completeness == "partial"
    assert any("died" in text for text in sealed.problems)
    assert run.makes == ()
    # Once is enough.
    assert workshop.project.recover() == []
    assert entries(workshop, run.run) == ["RunOpened", "RunSealed"]
    assert workshop.spools() == []


def test_a_living_run_is_left_alone(workshop: Workshop) -> None:
    workshop.write("in.txt", "text")
    workshop.write("work.py", WORK)
    recorder = start(workshop, sys.executable, "work.py")
    wait_for(workshop.root / "reached")
    assert workshop.project.recover() == []
    assert len(workshop.spools()) == 1
    (workshop.root / "go").touch()
    out, err = recorder.communicate(timeout=PATIENCE_S)
    assert recorder.returncode == 0, err
    run = workshop.project.find_run(f"run:{out.split()[-1]}")
    assert run.status is RunStatus.FINISHED
    assert {"before.txt", "after.txt"} <= set(workshop.files(run, FileRole.OUTPUT))
    assert workshop.project.recover() == []


def test_a_dead_run_beside_a_living_one(workshop: Workshop) -> None:
    workshop.write("in.txt", "text")
    workshop.write("work.py", WORK)
    workshop.write("die.py", "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n")
    living = start(workshop, sys.executable, "work.py")
    wait_for(workshop.root / "reached")
    start(workshop, sys.executable, "die.py").communicate()
    (dead,) = workshop.project.recover()
    assert dead.command[-1] == "die.py"
    (workshop.root / "go").touch()
    out, err = living.communicate(timeout=PATIENCE_S)
    assert living.returncode == 0, err
    statuses = {run.run: run.status for run in workshop.project.runs()}
    assert statuses == {dead.run: RunStatus.DIED, out.split()[-1]: RunStatus.FINISHED}


# Failures while it is sealed


def faulty(workshop: Workshop, *rules: Rule) -> Project:
    """The same project over a store that breaks."""
    site = workshop.project.site
    store = FaultyStore(open_store(site.local / "store"), *rules)
    vault = Vault(store, site.local / "cache")
    return Project(dataclasses.replace(site, vault=vault, artifacts=Artifacts(vault, author="ada")))


def sealing_project(workshop: Workshop) -> None:
    workshop.write("in.txt", "text")
    workshop.write(
        "script.py",
        "import random\n"
        "open('out.txt', 'w').write(open('in.txt').read() * 2)\n"
        "open('big.bin', 'wb').write(random.Random(1).randbytes(300_000))\n"
        "open('metrics.json', 'w').write('{\"auc\": 1}')\n",
    )


def check_whole(workshop: Workshop) -> None:
    """Exactly one sealed run, with everything."""
    (summary,) = workshop.project.runs()
    run = workshop.project.find_run(f"run:{summary.run}")
    assert run.status is RunStatus.FINISHED, "what is known of the end is not lost"
    assert entries(workshop, run.run).count(RunSealed.__name__) == 1
    assert entries(workshop, run.run).count(RunOpened.__name__) == 1
    outputs = workshop.files(run, FileRole.OUTPUT)
    assert set(outputs) == {"out.txt", "big.bin", "metrics.json"}
    assert workshop.read(outputs["out.txt"].digest) == b"texttext"
    assert len(workshop.read(outputs["big.bin"].digest)) == 300_000
    assert run.metrics == {"auc": 1.0}
    assert {(str(one.artifact), one.number) for one in run.makes} == {
        ("out.txt", 1),
        ("big.bin", 1),
        ("metrics.json", 1),
    }
    assert {(str(one.artifact), one.number) for one in run.uses} == {("in.txt", 1)}
    assert workshop.spools() == []


@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.LOSE_RESPONSE])
@pytest.mark.parametrize("failing", [2, 3, 4, 6, 8, 11, 14, 16])
def test_a_store_that_fails_while_a_run_is_sealed(
    workshop: Workshop, fault: Fault, failing: int
) -> None:
    sealing_project(workshop)
    rule = Rule(
        fault=fault,
        operations=frozenset({"create", "create_from_file"}),
        on=frozenset(range(failing, failing + 6)),
        transient=False,
    )
    broken = Workshop.__new__(Workshop)
    broken.root, broken.project = workshop.root, faulty(workshop, rule)
    with contextlib.suppress(StorageError):
        broken.run(sys.executable, "script.py")
    workshop.project.recover()
    if failing > 2 or fault is Fault.LOSE_RESPONSE:
        check_whole(workshop)
        return
    # The entry that opens the run is not there, so nothing was started.
    (run,) = workshop.project.runs()
    assert (run.status, workshop.spools()) == (RunStatus.FAILED, [])
    assert not (workshop.root / "out.txt").exists()


KILLED = """
import os, signal, sys
from thence.project import Project
from thence.store.local import LocalStore
number = int(sys.argv[1])
count = 0
def counted(function):
    def call(*arguments, **options):
        global count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call
project = Project.open()
for name in ("create", "create_from_file", "replace"):
    setattr(LocalStore, name, counted(getattr(LocalStore, name)))
project.execute([sys.executable, "script.py"])
print("writes", count)
"""


@pytest.mark.parametrize("step", [3, 4, 5, 7, 9, 11, 12, 13])
def test_a_recorder_that_is_killed_while_it_seals(workshop: Workshop, step: int) -> None:
    sealing_project(workshop)
    with environment():
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(step)],
            cwd=workshop.root,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == 0:
        pytest.skip(f"sealing takes fewer than {step} writes: {done.stdout}")
    assert done.returncode == -signal.SIGKILL, done.stderr
    workshop.project.recover()
    check_whole(workshop)


def test_recovering_is_interrupted_too(workshop: Workshop) -> None:
    sealing_project(workshop)
    broken = Workshop.__new__(Workshop)
    broken.root, broken.project = workshop.root, faulty(workshop, fails_from(4))
    with pytest.raises(StorageError):
        broken.run(sys.executable, "script.py")
    for first in (1, 2, 4, 6):
        again = faulty(workshop, fails_from(first))
        with pytest.raises(StorageError):
            again.recover()
    (workshop.root / "in.txt").write_text("changed since")
    assert len(workshop.project.recover()) == 1
    check_whole(workshop)


def fails_from(first: int) -> Rule:
    return Rule(
        fault=Fault.FAIL_BEFORE,
        operations=frozenset({"create", "create_from_file"}),
        on=frozenset(range(first, 1000)),
        transient=False,
    )


def test_a_spool_that_was_hardly_begun(workshop: Workshop) -> None:
    spool = workshop.project.site.local / "spool"
    (spool / ("a" * 20)).mkdir(parents=True)
    (spool / ("b" * 20)).mkdir()
    (spool / ("b" * 20) / "beginning.json").write_bytes(b'{"opened":')
    (spool / "not-a-run").mkdir()
    (spool / "stray.txt").write_text("x")
    assert workshop.project.recover() == []
    assert sorted(path.name for path in workshop.spools()) == ["not-a-run", "stray.txt"]


def test_torn_lines_in_the_spool_are_passed_over(workshop: Workshop) -> None:
    workshop.write("in.txt", "text")
    workshop.write("die.py", "open('in.txt').read()\nimport os\nos.kill(os.getppid(), 9)\n")
    start(workshop, sys.executable, "die.py").communicate()
    (spool,) = workshop.spools()
    with (spool / "files.jsonl").open("ab") as file:
        file.write(b'{"note": "read", "file": {"pa')
    (spool / "events-1-aa.jsonl").write_bytes(
        b'{"name":"auc","type":"metric","value":0.5}\n{"name":"lo\n\xff\xfe\n[]\n'
        b'{"type":"new-kind","x":1}\n{"name":"f1","type":"metric","value":0.'
    )
    (spool / "end.json").write_bytes(b"{")
    (run,) = workshop.project.recover()
    assert run.metrics == {"auc": 0.5}
    assert "in.txt" in workshop.files(run, FileRole.INPUT)


def test_a_run_that_is_sealed_already_loses_only_its_spool(workshop: Workshop) -> None:
    run = workshop.script("open('out.txt', 'w').write('x')\n")
    leftover = workshop.project.site.local / "spool" / run.run
    leftover.mkdir(parents=True)
    (leftover / "beginning.json").write_bytes(b"{}")
    assert workshop.project.recover() == []
    assert workshop.spools() == []
    assert entries(workshop, run.run) == ["RunOpened", "RunSealed"]


def test_the_end_that_was_written_down_counts(workshop: Workshop) -> None:
    """Killed between the end of the program and the sealed entry: the exit code is known."""
    sealing_project(workshop)
    workshop.write("script.py", "raise SystemExit(7)\n")
    with environment():
        subprocess.run(
            [sys.executable, "-c", KILLED, "4"], cwd=workshop.root, capture_output=True, check=False
        )
    (run,) = workshop.project.recover()
    assert (run.status, run.exit_code) == (RunStatus.FAILED, 7)
    assert os.path.exists(workshop.root / "script.py")


def die(workshop: Workshop, *lines: str) -> Path:
    """Run a program that kills its recorder; the spool that is left."""
    before = workshop.spools()
    text = "\n".join((*lines, "import os", "os.kill(os.getppid(), 9)\n"))
    workshop.write(f"die-{len(before)}.py", text)
    start(workshop, sys.executable, f"die-{len(before)}.py").communicate()
    (spool,) = set(workshop.spools()) - set(before)
    return spool


def test_a_spool_that_cannot_be_read_does_not_stop_the_others(
    workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = sorted((die(workshop), die(workshop)))
    (first / "files.jsonl").write_bytes(b"no note\n")
    (recovered,) = workshop.project.recover()
    assert recovered.run == second.name
    assert f"{RunId(first.name).short} was not recovered" in caplog.text
    assert workshop.spools() == [first]
    for _ in range(2):  # the lock is free again
        with pytest.raises(NotFound, match="no notes of a run"):
            workshop.project.recover()


def test_a_log_that_cannot_be_read_leaves_the_spool_free(workshop: Workshop) -> None:
    spool = die(workshop)
    site = workshop.project.site
    entry = site.local / "store" / "refs" / "runs" / spool.name / "0000000001"
    data = entry.read_bytes()
    entry.chmod(0o644)
    entry.write_bytes(data[:20])
    for _ in range(2):
        with pytest.raises(DataDamaged):
            workshop.project.recover()
    entry.write_bytes(data)
    assert len(workshop.project.recover()) == 1


def test_a_spool_without_a_beginning_is_recovered_by_the_log(workshop: Workshop) -> None:
    spool = die(workshop, "import thence", "thence.log(auc=0.5)", "open('out.txt', 'w').close()")
    (spool / "beginning.json").write_bytes(b'{"opened":')
    (run,) = workshop.project.recover()
    assert (run.status, run.metrics) == (RunStatus.DIED, {"auc": 0.5})
    assert set(workshop.files(run, FileRole.OUTPUT)) == {"out.txt"}
    assert run.command[-1] == "die-0.py"


@pytest.mark.parametrize("name", ["files.jsonl", "events-1-aa.jsonl"])
def test_a_spool_that_holds_anything_is_not_removed(workshop: Workshop, name: str) -> None:
    spool = workshop.project.site.local / "spool" / ("a" * 20)
    spool.mkdir(parents=True)
    (spool / name).write_bytes(b'{"note":"begin"}\n')
    with pytest.raises(NotFound, match=r"beginning\.json"):
        workshop.project.recover()
    assert (spool / name).exists()


def test_a_recorder_that_died_before_its_first_note(workshop: Workshop) -> None:
    spool = die(workshop)
    (spool / "files.jsonl").unlink()
    (run,) = workshop.project.recover()
    assert run.status is RunStatus.DIED
    assert any("No notes of its files" in text for text in seal_of(run).problems)
    assert workshop.spools() == []


def test_outputs_that_changed_after_the_end_are_not_passed_off_as_results(
    workshop: Workshop,
) -> None:
    sealing_project(workshop)
    broken = Workshop.__new__(Workshop)
    broken.root, broken.project = workshop.root, faulty(workshop, fails_from(4))
    with pytest.raises(StorageError):
        broken.run(sys.executable, "script.py")
    workshop.write("out.txt", "by hand")
    (workshop.root / "metrics.json").unlink()
    (run,) = workshop.project.recover()
    outputs = workshop.files(run, FileRole.OUTPUT)
    changed = {path: use.changed_during_run for path, use in outputs.items()}
    assert changed == {"out.txt": True, "big.bin": False}
    assert outputs["out.txt"].version is None
    assert [str(one.artifact) for one in run.makes] == ["big.bin"]
    problems = "\n".join(seal_of(run).problems)
    assert "out.txt was written to after" in problems
    assert "metrics.json was written by the run and was gone" in problems


def test_what_was_written_long_after_the_recorder_died_is_marked(workshop: Workshop) -> None:
    spool = die(workshop, "open('a.txt', 'w').close()", "open('b.txt', 'w').close()")
    last = (spool / "files.jsonl").stat().st_mtime
    os.utime(workshop.root / "b.txt", (last + 60, last + 60))
    (run,) = workshop.project.recover()
    outputs = workshop.files(run, FileRole.OUTPUT)
    changed = {path: use.changed_during_run for path, use in outputs.items()}
    assert changed == {"a.txt": False, "b.txt": True}


def test_secrets_of_who_recovers_are_not_of_the_run(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = die(workshop, "open('a.txt', 'w').write('the-shell-of-bob')")
    (spool / "stdout").write_bytes(b"printed: x8Gq2LmZ7rT4vWb\n")
    monkeypatch.setenv("BOB_PASSWORD", "the-shell-of-bob")
    monkeypatch.setenv("BOB_TOKEN", "x8Gq2LmZ7rT4vWb")
    monkeypatch.setenv("BOB_SECRET", "never-seen-in-it")
    (run,) = workshop.project.recover()
    withheld = {(one.name, one.where) for one in seal_of(run).withheld}
    assert withheld == {
        ("BOB_PASSWORD", "a.txt"),
        ("BOB_PASSWORD", "die-0.py"),
        ("BOB_TOKEN", "output"),
    }
    assert b"x8Gq2" not in workshop.read(seal_of(run).stdout)
