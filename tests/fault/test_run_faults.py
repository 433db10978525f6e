"""What goes wrong around a run must never harm the user's program, and must be told."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from thence.errors import StorageError
from thence.execution.capture.files import FileLedger
from thence.execution.events import FileEvent
from thence.execution.supervisor import probe
from thence.model.records import FileRole, RunStatus
from thence.project import Project
from thence.testing.faulty import Fault, FaultyStore, Rule
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
    workshop.write("late.sh", "sleep 1.5\n")
    run = workshop.run("sh", "-c", "sh late.sh >/dev/null 2>&1 </dev/null & echo started > out.txt")
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
