"""A program behaves as it would without us: its end, signals, limits, descriptors, many of them."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from patience import PATIENCE_S, until, wait_for
from thence.execution import strace, supervisor
from thence.execution.events import Action, Ended, FileEvent
from thence.execution.launch import launch

REASON = supervisor.probe()
NO_STRACE = strace.probe()
SENSORS = [
    pytest.param(
        "seccomp",
        marks=pytest.mark.skipif(REASON is not None, reason=f"no kernel-level sensor: {REASON}"),
    ),
    pytest.param(
        "strace", marks=pytest.mark.skipif(NO_STRACE is not None, reason=f"no strace: {NO_STRACE}")
    ),
    "audit-hook",
]
OUTSIDE = SENSORS[:2]
every_sensor = pytest.mark.parametrize("sensor", SENSORS)
from_outside = pytest.mark.parametrize("sensor", OUTSIDE)

# Runs a command as `thence run` does, with what this process has for standard streams.
RUN = """
import os, sys
from thence.execution.launch import launch
keep = lambda data: None
ended = launch(sys.argv[2:], cwd=os.getcwd(), env=os.environ, on_event=lambda event: None,
               sensor=sys.argv[1], stdout=keep, stderr=keep)
sys.exit(ended.exit_code)
"""


def watch(folder: Path, sensor: str, *command: str) -> tuple[Ended, list[FileEvent]]:
    events: list[FileEvent] = []
    ended = launch(
        command,
        cwd=folder,
        env=os.environ,
        on_event=events.append,
        sensor=sensor,  # type: ignore[arg-type]
    )
    return ended, events


def names(events: list[FileEvent], action: Action = Action.READ) -> set[str]:
    return {os.path.basename(e.path) for e in events if e.action is action}


@every_sensor
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGPIPE, signal.SIGTERM, signal.SIGINT])
def test_a_program_that_dies_of_a_signal(
    tmp_path: Path, sensor: str, number: signal.Signals
) -> None:
    ended, _ = watch(tmp_path, sensor, "sh", "-c", f"kill -{number.value} $$")
    assert (ended.exit_code, ended.signal) == (128 + number, number)


@from_outside
def test_two_thousand_quick_processes(tmp_path: Path, sensor: str) -> None:
    (tmp_path / "in").write_text("x")
    script = "i=0; while [ $i -lt 2000 ]; do (: < in); i=$((i+1)); done; cat in > out"
    ended, events = watch(tmp_path, sensor, "sh", "-c", script)
    assert ended.exit_code == 0
    assert sum(e.path.endswith("/in") for e in events) >= 2001
    assert not any("running" in sentence for sentence in ended.report.not_seen)


@from_outside
def test_a_very_deep_tree_of_processes(tmp_path: Path, sensor: str) -> None:
    (tmp_path / "in").write_text("x")
    code = (
        "import os\n"
        "for depth in range(300):\n"
        "    pid = os.fork()\n"
        "    if pid:\n"
        "        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "open('in')\n"
        "os._exit(7)\n"
    )
    ended, events = watch(tmp_path, sensor, sys.executable, "-S", "-c", code)
    assert ended.exit_code == 7
    assert "in" in names(events)


@from_outside
def test_a_program_that_executes_itself(tmp_path: Path, sensor: str) -> None:
    (tmp_path / "again").write_text("n=${1:-0}; : < in$n; [ $n -lt 20 ] && exec sh again $((n+1))")
    for n in range(21):
        (tmp_path / f"in{n}").write_text("x")
    ended, events = watch(tmp_path, sensor, "sh", "again")
    assert {f"in{n}" for n in range(21)} <= names(events)
    assert "complete" in ended.report.completeness


@from_outside
def test_threads_that_open_files_at_once(tmp_path: Path, sensor: str) -> None:
    code = (
        "import threading\n"
        "def work(n):\n"
        "    for k in range(50): open(f'f{n}-{k}', 'w').close()\n"
        "threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
    )
    ended, events = watch(tmp_path, sensor, sys.executable, "-S", "-c", code)
    assert ended.exit_code == 0
    made = {os.path.basename(e.path) for e in events}
    assert {f"f{n}-{k}" for n in range(16) for k in range(50)} <= made


@from_outside
def test_a_static_program(tmp_path: Path, sensor: str) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no compiler")
    (tmp_path / "a.c").write_text(
        "#include <fcntl.h>\n#include <unistd.h>\n#include <sys/syscall.h>\n"
        'int main(void) { open("in", O_RDONLY);\n'
        '  return syscall(SYS_openat, AT_FDCWD, "out", O_WRONLY | O_CREAT, 0600) < 0; }\n'
    )
    done = subprocess.run(
        [compiler, "-static", "-o", "a", "a.c"], cwd=tmp_path, check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("no static C library")
    (tmp_path / "in").write_text("x")
    ended, events = watch(tmp_path, sensor, "./a")
    assert ended.exit_code == 0
    assert "in" in names(events)
    assert "out" in names(events, Action.WRITE) | names(events, Action.TRUNCATE)


@from_outside
def test_io_uring_is_noticed(tmp_path: Path, sensor: str) -> None:
    code = "import ctypes; ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(256))"
    ended, _ = watch(tmp_path, sensor, sys.executable, "-c", code)
    assert ended.report.completeness == "partial"
    assert any("io_uring" in sentence for sentence in ended.report.not_seen)


@from_outside
def test_a_32_bit_program_is_noticed(tmp_path: Path, sensor: str) -> None:
    """Its head is enough: such programs may not run here."""
    program = tmp_path / "old"
    program.write_bytes(b"\x7fELF\x01\x01\x01" + bytes(100))
    program.chmod(0o755)
    ended, _ = watch(tmp_path, sensor, "sh", "-c", "./old; true")
    assert ended.exit_code == 0
    if sensor == "seccomp":
        assert any("32-bit" in sentence for sentence in ended.report.not_seen)


@every_sensor
def test_few_descriptors(tmp_path: Path, sensor: str) -> None:
    (tmp_path / "in").write_text("x")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    done = subprocess.run(
        [sys.executable, "-c", RUN, sensor, "sh", "-c", "ulimit -n; cat in; exit 3"],
        cwd=tmp_path,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "40\nx"), done.stderr


@every_sensor
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(tmp_path: Path, sensor: str, closed: str) -> None:
    (tmp_path / "run.py").write_text(RUN)
    words = f"{sys.executable} run.py {sensor} sh -c 'cat run.py > copy; exit 3' {closed}"
    done = subprocess.run(
        ["sh", "-c", words],
        cwd=tmp_path,
        check=False,
        timeout=PATIENCE_S,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3, done.stderr
    assert (tmp_path / "copy").read_text() == RUN


@every_sensor
def test_a_reader_that_goes_away(tmp_path: Path, sensor: str) -> None:
    (tmp_path / "run.py").write_text(RUN)
    words = f"{sys.executable} run.py {sensor} yes | head -2"
    done = subprocess.run(
        ["sh", "-c", words],
        cwd=tmp_path,
        check=False,
        timeout=PATIENCE_S,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "y\ny\n"


@every_sensor
def test_ctrl_z_stops_the_command_and_it_goes_on(tmp_path: Path, sensor: str) -> None:
    """A shell sends these to the group of processes."""
    code = (
        "import itertools, os, time\n"
        "for n in itertools.count():\n"
        "    open(f'step-{n}', 'w').close()\n"
        "    if os.path.exists('go'): break\n"
        "    time.sleep(0.01)\n"
        "open('end', 'w').close()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, sensor, sys.executable, "-c", code],
        cwd=tmp_path,
        process_group=0,
    )

    def steps() -> int:
        return len(list(tmp_path.glob("step-*")))

    def rests() -> bool:
        before = steps()
        time.sleep(0.5)
        return steps() == before

    wait_for(tmp_path / "step-3")
    os.killpg(process.pid, signal.SIGTSTP)
    until(rests, "the stop")
    (tmp_path / "go").touch()
    time.sleep(0.3)
    assert not (tmp_path / "end").exists()
    os.killpg(process.pid, signal.SIGCONT)
    assert process.wait(timeout=PATIENCE_S) == 0
    assert (tmp_path / "end").exists()


@every_sensor
def test_ctrl_c_is_the_commands(tmp_path: Path, sensor: str) -> None:
    code = (
        "import sys, time\n"
        "try:\n"
        "    open('begun', 'w').close()\n"
        "    time.sleep(600)\n"
        "except KeyboardInterrupt:\n"
        "    open('cleaned', 'w').close()\n"
        "    sys.exit(9)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, sensor, sys.executable, "-c", code],
        cwd=tmp_path,
        process_group=0,
    )
    wait_for(tmp_path / "begun")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=PATIENCE_S) == 9
    assert (tmp_path / "cleaned").exists()


@every_sensor
def test_a_folder_for_temporary_files_with_a_long_name(
    tmp_path: Path, sensor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address of a socket has at most 107 bytes."""
    import tempfile

    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert watch(tmp_path, sensor, "sh", "-c", "exit 3")[0].exit_code == 3
