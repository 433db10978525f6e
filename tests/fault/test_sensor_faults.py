"""What recording must never do: break, stop or change the user's program."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from patience import until, wait_for
from thence.execution import strace, supervisor
from thence.execution.capture.files import FileLedger
from thence.execution.capture.keeper import Keeper, Signature
from thence.execution.events import Action, FileEvent
from thence.execution.launch import launch

REASON = supervisor.probe()
needs_kernel_sensor = pytest.mark.skipif(
    REASON is not None, reason=f"no kernel-level sensor: {REASON}"
)
NO_STRACE = strace.probe()
needs_strace = pytest.mark.skipif(NO_STRACE is not None, reason=f"no strace: {NO_STRACE}")
SENSORS = [
    pytest.param("seccomp", marks=needs_kernel_sensor),
    pytest.param("strace", marks=needs_strace),
    "audit-hook",
]

# Prints its own name for the killer, records slowly if asked, and keeps the output apart.
SUPERVISOR = """
import os, sys, time
from thence.execution.launch import launch
sensor, slow = sys.argv[1], float(sys.argv[2])
def on_event(event):
    if event.path.endswith("/step-3"):
        open("reached", "w").close()
        time.sleep(slow)
launch(sys.argv[3:], cwd=os.getcwd(), env=os.environ, on_event=on_event, sensor=sensor,
       stdout=lambda data: None, stderr=lambda data: None)
"""

# Opens files in many ways, in three processes; in the middle it waits until it is told to go on.
PROGRAM = """
import os, subprocess, sys, time
for n in range(40):
    while n == 10 and not os.path.exists("go"):
        time.sleep(0.01)
    with open(f"step-{n}", "w") as file:
        file.write(str(n))
    print("line", n, flush=True)
done = subprocess.run(["cat", "step-7"], capture_output=True, text=True, check=True).stdout
import json
with open("result", "w") as file:
    json.dump({"done": done, "sum": sum(int(open(f"step-{n}").read()) for n in range(40))}, file)
print("end", flush=True)
"""


@pytest.mark.parametrize("slow_s", [0.0, 600.0], ids=["between events", "inside an event"])
@pytest.mark.parametrize("sensor", SENSORS)
def test_a_killed_supervisor_leaves_the_program_running(
    tmp_path: Path, sensor: str, slow_s: float
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, sensor, str(slow_s), sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    wait_for(tmp_path / "reached")
    if not slow_s:
        while process.stdout.readline() != b"line 9\n":
            pass  # until all came through that was printed before the program waits
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "result").exists()
    (tmp_path / "go").touch()
    with process.stdout:  # it has an end when the program has one
        lines = process.stdout.read().decode().splitlines()
    assert (tmp_path / "result").read_text() == '{"done": "7", "sum": 780}'
    # Nothing is lost but what the supervisor had in its hands.
    assert lines[-31:] == [f"line {n}" for n in range(10, 40)] + ["end"]


@needs_kernel_sensor
def test_the_watchdog_ends_when_all_have_ended(tmp_path: Path) -> None:
    def watchdogs() -> set[int]:
        mine = psutil.Process().children(recursive=True)  # other tests run beside this one
        found = set()
        for process in mine:
            with contextlib.suppress(psutil.Error):
                if any("watchdog.py" in word for word in process.cmdline()):
                    found.add(process.pid)
        return found

    late = "while [ ! -e go ]; do sleep 0.05; done"
    launch(["sh", "-c", f"({late}) &"], cwd=tmp_path, env=os.environ, on_event=lambda _: None)
    assert watchdogs()
    (tmp_path / "go").touch()
    until(lambda: not watchdogs(), "the end of the watchdog")


@pytest.mark.parametrize("sensor", SENSORS)
def test_a_recorder_that_raises_breaks_nothing(tmp_path: Path, sensor: str) -> None:
    calls = []
    (tmp_path / "go").touch()

    def fail(event: FileEvent) -> None:
        calls.append(event)
        raise RuntimeError("the disk is full")

    ended = launch(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=os.environ,
        on_event=fail,
        sensor=sensor,  # type: ignore[arg-type]
    )
    assert ended.exit_code == 0
    assert (tmp_path / "result").exists()
    assert len(calls) > 40
    assert len(ended.problems) == 1
    assert "RuntimeError: the disk is full" in ended.problems[0]


@needs_kernel_sensor
def test_a_process_killed_while_it_waits_for_us(tmp_path: Path) -> None:
    def kill(event: FileEvent) -> None:
        if event.path.endswith("/in"):
            os.kill(event.pid, signal.SIGKILL)
            time.sleep(0.05)

    (tmp_path / "in").write_text("x")
    ended = launch(
        ["sh", "-c", "cat in; echo $? > status"], cwd=tmp_path, env=os.environ, on_event=kill
    )
    assert ended.exit_code == 0
    assert (tmp_path / "status").read_text() == "137\n"


@needs_kernel_sensor
def test_bad_addresses_are_the_programs_own_affair(tmp_path: Path) -> None:
    code = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "bad = ctypes.c_void_p(1)\n"
        "assert libc.open(bad, 0) == -1 and ctypes.get_errno() == 14\n"
        "assert libc.rename(bad, bad) == -1 and libc.connect(0, bad, 16) == -1\n"
        "open('out', 'w').write('fine')\n"
    )
    ended = launch(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ, on_event=lambda _: None
    )
    assert ended.exit_code == 0
    assert (tmp_path / "out").read_text() == "fine"


@needs_kernel_sensor
def test_signals_do_not_interrupt_a_program_that_waits_for_us(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("x")
    code = (
        "import ctypes, signal, time\n"
        "signal.signal(signal.SIGALRM, lambda *_: None)\n"
        "signal.siginterrupt(signal.SIGALRM, True)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "fd = libc.open(b'in', 0)\n"
        "assert fd >= 0, ctypes.get_errno()\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n"  # the end of Python takes the handler away
    )

    def slowly(event: FileEvent) -> None:
        if event.path.endswith("/in"):
            time.sleep(0.3)

    ended = launch([sys.executable, "-c", code], cwd=tmp_path, env=os.environ, on_event=slowly)
    assert ended.exit_code == 0


def test_a_file_that_vanishes_between_open_and_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in"
    path.write_text("x")
    ledger = FileLedger(tmp_path, cwd=tmp_path, spool=tmp_path / ".thence/spool").open()
    keep = Keeper.keep

    def keep_late(self: Keeper, name: str, **options: Any) -> object:
        path.unlink()
        return keep(self, name, **options)

    monkeypatch.setattr(Keeper, "keep", keep_late)
    ledger.on_event(FileEvent(Action.READ, str(path)))
    (state,) = ledger.finish().reads
    assert (state.kept, state.why_not_kept) == (None, "vanished")


def test_a_file_that_is_replaced_between_look_and_open(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"old")
    seen = path.stat()
    new = tmp_path / "new"
    new.write_bytes(b"replaced")
    new.rename(path)
    (tmp_path / "kept").mkdir()
    kept = Keeper(tmp_path / "kept", lambda _path, _data: None).keep(str(path), seen=seen)
    assert kept.copy is not None
    assert kept.copy.read_bytes() == b"replaced"
    assert kept.signature == Signature.of(path.stat())
    assert not kept.unstable


def test_a_file_that_moves_while_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"old")
    copy = Keeper._append
    rewrites = [b"new 1", b"new 22"]

    def copy_and_write(self: Keeper, *args: object) -> object:
        done = copy(self, *args)  # type: ignore[arg-type]
        if rewrites:
            path.write_bytes(rewrites.pop())
        return done

    monkeypatch.setattr(Keeper, "_append", copy_and_write)
    (tmp_path / "kept").mkdir()
    kept = Keeper(tmp_path / "kept", lambda _path, _data: None).keep(str(path))
    assert not kept.unstable
    assert kept.copy is not None
    assert kept.copy.read_bytes() == b"new 1"


def test_a_file_that_never_rests_is_flagged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"")
    copy = Keeper._append

    def copy_and_append(self: Keeper, *args: object) -> object:
        done = copy(self, *args)  # type: ignore[arg-type]
        with path.open("ab") as file:
            file.write(b"more")
        return done

    monkeypatch.setattr(Keeper, "_append", copy_and_append)
    ledger = FileLedger(tmp_path, cwd=tmp_path, spool=tmp_path / ".thence/spool").open()
    ledger.on_event(FileEvent(Action.READ, str(path)))
    (state,) = ledger.finish().reads
    assert state.changed_during_run


@needs_kernel_sensor
def test_a_spool_without_space(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: the same error path, EFBIG."""
    import resource

    (tmp_path / "big").write_bytes(b"x" * 300_000)
    code = (
        "import os, resource, signal, sys\n"
        "from pathlib import Path\n"
        "from thence.execution.capture.files import FileLedger\n"
        "from thence.execution.events import Action, FileEvent\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "root = Path(sys.argv[1])\n"
        "ledger = FileLedger(root, cwd=root, spool=root / '.thence/spool').open()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "ledger.on_event(FileEvent(Action.READ, str(root / 'big')))\n"
        "(state,) = ledger.finish().reads\n"
        "print(state.kept, state.why_not_kept, len(os.listdir(root / '.thence/spool/kept')))\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "None no-space 0\n"
