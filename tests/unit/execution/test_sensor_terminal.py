"""Output passes through unchanged, and the command has the terminal that it would have had."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from patience import PATIENCE_S

SENSORS = ("auto", "audit-hook")

LAUNCH = """
import os, sys
from thence.execution.launch import launch
kept = {"out": bytearray(), "err": bytearray()}
ended = launch(
    sys.argv[2:], cwd=os.getcwd(), env=os.environ, on_event=lambda e: None, sensor=sys.argv[1],
    stdout=kept["out"].extend, stderr=kept["err"].extend,
)
for name, data in kept.items():
    open(f"kept-{name}", "wb").write(data)
open("ended", "w").write(f"{ended.exit_code} {ended.signal} {ended.problems}")
"""


def arguments(sensor: str, *command: str) -> list[str]:
    return [sys.executable, "-c", LAUNCH, sensor, *command]


class OnTerminal:
    """A program whose standard streams and controlling terminal are a pty of ours."""

    def __init__(self, cwd: Path, *words: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execv(words[0], words)
        self.text = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def read_until(self, text: bytes, timeout_s: float = PATIENCE_S) -> bytes:
        deadline = time.monotonic() + timeout_s
        while text not in self.text:
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"waited for {text!r}, got {self.text!r}"
            self.text += os.read(self.fd, 4096)
        return self.text

    def end(self) -> int:
        try:
            while data := os.read(self.fd, 4096):
                self.text += data
        except OSError:
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.parametrize("sensor", SENSORS)
def test_ten_megabytes_are_not_lost(tmp_path: Path, sensor: str) -> None:
    code = "import sys\nfor i in range(100_000): sys.stdout.write(f'{i:0100d}')\nprint('end')"
    done = subprocess.run(
        arguments(sensor, sys.executable, "-c", code),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        check=True,
    )
    assert len(done.stdout) == 10_000_004
    assert done.stdout.endswith(b"99999end\n")
    assert (tmp_path / "kept-out").read_bytes() == done.stdout


@pytest.mark.parametrize("sensor", SENSORS)
def test_streams_stay_apart(tmp_path: Path, sensor: str) -> None:
    done = subprocess.run(
        arguments(sensor, "sh", "-c", "echo out; echo err >&2"),
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
    assert (tmp_path / "kept-out").read_bytes() == b"out\n"
    assert (tmp_path / "kept-err").read_bytes() == b"err\n"


@pytest.mark.parametrize("sensor", SENSORS)
def test_a_terminal_stays_a_terminal(tmp_path: Path, sensor: str) -> None:
    code = (
        "import os, sys\n"
        "print([s.isatty() for s in (sys.stdin, sys.stdout, sys.stderr)], os.get_terminal_size(1))"
    )
    terminal = OnTerminal(tmp_path, *arguments(sensor, sys.executable, "-c", code))
    terminal.resize(33, 111)
    terminal.end()
    assert b"[True, True, True]" in terminal.text
    # Once, by the real terminal: a second time would show as \r\r\n.
    assert b"\r\n" in terminal.text
    assert b"\r\r\n" not in terminal.text
    assert (tmp_path / "kept-out").read_bytes().endswith(b")\n")


def test_a_new_size_of_the_window_reaches_the_command(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time\n"
        "def show(*_):\n"
        "    print('size', os.get_terminal_size(1), flush=True)\n"
        "signal.signal(signal.SIGWINCH, show)\n"
        "print('ready', flush=True)\n"
        "input()\n"
    )
    terminal = OnTerminal(tmp_path, *arguments("auto", sys.executable, "-c", code))
    terminal.read_until(b"ready")
    terminal.resize(44, 123)
    terminal.read_until(b"columns=123, lines=44")
    os.write(terminal.fd, b"\n")
    assert terminal.end() == 0


@pytest.mark.parametrize("sensor", SENSORS)
def test_ctrl_c_is_for_the_command(tmp_path: Path, sensor: str) -> None:
    code = (
        "import sys, time\n"
        "try:\n"
        "    print('ready', flush=True); time.sleep(600)\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped by hand', flush=True); sys.exit(9)\n"
    )
    terminal = OnTerminal(tmp_path, *arguments(sensor, sys.executable, "-c", code))
    terminal.read_until(b"ready")
    os.write(terminal.fd, b"\x03")
    assert terminal.end() == 0
    assert (tmp_path / "ended").read_text().startswith("9 None")
    assert b"stopped by hand" in (tmp_path / "kept-out").read_bytes()


def test_a_command_without_a_handler_dies_of_ctrl_c(tmp_path: Path) -> None:
    terminal = OnTerminal(tmp_path, *arguments("auto", "sh", "-c", "echo ready; exec sleep 600"))
    terminal.read_until(b"ready")
    os.write(terminal.fd, b"\x03")
    assert terminal.end() == 0
    assert (tmp_path / "ended").read_text().startswith(f"130 {int(signal.SIGINT)}")


def test_input_from_the_terminal_reaches_the_command(tmp_path: Path) -> None:
    terminal = OnTerminal(tmp_path, *arguments("auto", "sh", "-c", "read x; echo got $x"))
    os.write(terminal.fd, b"hello\n")
    terminal.end()
    assert (tmp_path / "kept-out").read_bytes() == b"got hello\n"


@pytest.mark.parametrize("sensor", SENSORS)
def test_a_reader_that_leaves_ends_the_command(tmp_path: Path, sensor: str) -> None:
    process = subprocess.Popen(arguments(sensor, "yes"), cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 0
    assert (tmp_path / "ended").read_text().startswith(f"141 {int(signal.SIGPIPE)}")


@pytest.mark.parametrize("sensor", SENSORS)
def test_a_background_process_that_keeps_the_pipe_open_does_not_hold_us(
    tmp_path: Path, sensor: str
) -> None:
    late = "while [ ! -e go ]; do sleep 0.05; done; echo last"
    process = subprocess.Popen(
        arguments(sensor, "sh", "-c", f"echo first; ({late}) &"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
    )
    assert process.wait(PATIENCE_S) == 0
    assert (tmp_path / "ended").exists()
    (tmp_path / "go").touch()
    # What comes later still arrives: the watchdog passes it on.
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.read() == b"first\nlast\n"


def test_a_sink_that_fails_loses_nothing_for_the_user(tmp_path: Path) -> None:
    code = LAUNCH.replace('stdout=kept["out"].extend', "stdout=lambda data: 1 / 0")
    done = subprocess.run(
        [sys.executable, "-c", code, "auto", "sh", "-c", "echo a; sleep 0.1; echo b"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"a\nb\n"
    assert "stdout could not be kept" in (tmp_path / "ended").read_text()
