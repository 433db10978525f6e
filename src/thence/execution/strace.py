"""The sensor between: runs a command under strace(1), which tells what each process does.

Used where the kernel-level sensor is not to be had and strace is installed and works. It cannot
stop the program while a file is kept: content is fixed as soon as a line is read, milliseconds
after. strace runs beside the command, in a session of its own, so that the command is our child
like any other; and the watchdog reads its lines if this process is killed.
"""

import contextlib
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from thence.execution import signals
from thence.execution.events import Action, Ended, FileEvent, OnEvent, OnStarted
from thence.execution.late import as_found
from thence.execution.mounts import Entrance
from thence.execution.program import CommandDenied
from thence.execution.seccomp import SensorUnavailable
from thence.execution.strace_lines import CALLS, Lines
from thence.execution.tracee import foreign_proc, is_hindered, of_hindered
from thence.execution.watchdog import Watchdog
from thence.model.records import SensorReport

__all__ = ["probe", "supervise"]

_PROBE_S = 30.0
_GRACE_S = 0.25
_PIECE = 1 << 16
_GUARDED = 2
_LATE = (
    "strace: content is fixed within milliseconds after a file is opened, not before; what was "
    "emptied or replaced without having been read is not kept as it was."
)
# The first program under strace. It leaves strace's descriptor, says by an open that from here on
# all is the command's, and becomes that; or it tells why not.
_START = """\
import errno, os, signal, sys
trace, tell, has_ctype, mark, path, *words = sys.argv[1:]
os.close(int(trace)); os.set_inheritable(int(tell), False)
if has_ctype == "0": os.environ.pop("LC_CTYPE", None)
for number in (signal.SIGPIPE, signal.SIGXFSZ): signal.signal(number, signal.SIG_DFL)
try: os.open(mark, os.O_RDONLY)
except OSError: pass
try:
    try: os.execve(path, words, os.environ)
    except OSError as error:
        if error.errno != errno.ENOEXEC: raise
        os.execve("/bin/sh", ["sh", path, *words[1:]], os.environ)
except OSError as error: os.write(int(tell), str(error.errno).encode())
os._exit(127)
"""


def _words(strace: str, output_fd: int) -> list[str]:
    return [
        *(strace, "-DDD", "-f", "--seccomp-bpf", "-q", "-y", "-xx", "-s", "4096"),
        *("-e", "signal=none", "-e", f"trace={','.join(CALLS)}", "-o", f"/dev/fd/{output_fd}"),
    ]


def probe() -> str | None:
    """Why strace cannot be used here, one sentence; None where it can.

    Tries it for real on a program that opens one file; takes some milliseconds.
    """
    strace = shutil.which("strace")
    if sys.platform != "linux" or strace is None:
        return "strace is not installed."
    if not os.access(sys.executable, os.X_OK):
        return f"This user may not start {sys.executable}."
    if foreign := foreign_proc():
        return foreign
    ours, theirs = os.pipe()
    try:
        process = subprocess.Popen(
            [*_words(strace, theirs), "/bin/sh", "-c", ": < /dev/null"],
            pass_fds=(theirs,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
        )
    except OSError as error:
        os.close(ours)
        return f"strace could not be started: {error.strerror}."
    finally:
        os.close(theirs)
    try:
        text = _read_until_end(ours, _PROBE_S)
        code = process.wait(_PROBE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "strace did not end."
    finally:
        os.close(ours)
    lines = Lines("/")
    seen = [lines.feed(line) for line in text.splitlines()]
    if code == 0 and any(event is not None and event.path == "/dev/null" for event in seen):
        return None
    return "strace does not work here (it is too old, or the system does not permit ptrace)."


def _read_until_end(fd: int, timeout_s: float) -> bytes:
    data, leave_at = b"", time.monotonic() + timeout_s
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    while (left_s := leave_at - time.monotonic()) > 0 and poller.poll(left_s * 1000):
        piece = os.read(fd, _PIECE)
        if not piece:
            break
        data += piece
    return data


def supervise(
    command: Sequence[str],
    *,
    executable: str,
    cwd: str | os.PathLike[str],
    env: Mapping[str, str],
    on_event: OnEvent,
    watchdog: Watchdog,
    planted: Path,
    why: str,
    stdin_fd: int = 0,
    stdout_fd: int = 1,
    stderr_fd: int = 2,
    on_started: OnStarted | None = None,
    on_resize: Callable[[], None] | None = None,
    entrance: Entrance | None = None,
) -> Ended:
    """Run a command under strace until it has ended.

    As `thence.execution.supervisor.supervise`, but that the program goes on before `on_event`.

    Args:
        command: All words; the first is what the program sees as its own name.
        executable: Path of the program.
        cwd: Working directory of the command.
        env: Environment of the command.
        on_event: See `OnEvent`.
        watchdog: Reads on if this process is killed.
        planted: A folder of ours.
        why: Why the better sensor is not used, one sentence for the report; may be empty.
        stdin_fd: Descriptors that the command gets as its standard ones.
        stdout_fd: Like `stdin_fd`.
        stderr_fd: Like `stdin_fd`.
        on_started: Called when the command has been started.
        on_resize: Called when the terminal's size has changed, before the command is told.
        entrance: Where the command's own root folder is entered.

    Raises:
        SensorUnavailable: It does not work here; nothing was run.
        CommandDenied: The system refuses to run the program.
    """
    reason = probe()
    strace = shutil.which("strace")
    if reason is not None or strace is None:
        raise SensorUnavailable(reason or "strace is not installed.")
    lines_fd, output_fd = os.pipe()
    heard_fd, tell_fd = os.pipe()
    mark = str(planted / "begin")
    nothing = os.open(os.devnull, os.O_WRONLY)
    watchdog.guard_output(_GUARDED, lines_fd, nothing)
    os.close(nothing)
    words = [
        *_words(strace, output_fd),
        *(sys.executable, "-I", "-S", "-c", _START, str(output_fd), str(tell_fd)),
        *(str(int("LC_CTYPE" in env)), mark, os.path.abspath(os.path.join(cwd, executable))),
        *command,
    ]
    process: subprocess.Popen[bytes] | None = None
    error = 0

    def deliver(number: int) -> None:
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    observer = _Observer(on_event, lines_fd, cwd, mark)
    try:
        with signals.passed_on(deliver, on_resize=on_resize):
            process = subprocess.Popen(
                words,
                cwd=cwd if entrance is None else None,
                env=env,
                preexec_fn=None if entrance is None else entrance.enter,  # noqa: PLW1509
                pass_fds=(output_fd, tell_fd),
                stdin=stdin_fd,
                stdout=stdout_fd,
                stderr=stderr_fd,
            )
            os.close(output_fd)
            os.close(tell_fd)
            if on_started is not None:
                on_started(deliver)
            observer.serve_until_end(process.pid)
            code = process.wait()
            observer.serve_rest()
        # Said before it ended, if at all; strace itself keeps the other end open for as long as
        # something runs that the command has left behind.
        os.set_blocking(heard_fd, False)
        with contextlib.suppress(BlockingIOError):
            error = int(os.read(heard_fd, 8) or 0)
    finally:
        os.close(heard_fd)
        observer.close()
    if error:
        raise CommandDenied(
            f"cannot run {command[0]!r}",
            why=f"The system says: {os.strerror(error)}.",
            hint="Check that it is a program for this machine, with permission to run.",
            about=executable,
        )
    return observer.ended(code, why)


class _Observer:
    """Reads the lines of strace."""

    def __init__(self, on_event: OnEvent, fd: int, cwd: str | os.PathLike[str], mark: str) -> None:
        self._on_event = on_event
        self._fd = fd
        self._lines = Lines(os.path.abspath(cwd))
        self._mark: str | None = mark
        self._rest = b""
        self._begun_ns = time.time_ns()
        self._has_ended = False
        self._events = 0
        self._hindered: dict[str, None] = {}
        self._failures = 0
        self._first_failure = ""

    def serve_until_end(self, pid: int) -> None:
        """Read until the command itself has ended."""
        process_fd = os.pidfd_open(pid)
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        poller.register(process_fd, select.POLLIN)
        try:
            while True:
                ready = dict(poller.poll())
                if self._fd in ready and not self._read():
                    poller.unregister(self._fd)
                elif self._fd not in ready and process_fd in ready:
                    return
        finally:
            os.close(process_fd)

    def serve_rest(self) -> None:
        """Read what strace tells of others, but only for a moment."""
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        leave_at = time.monotonic() + _GRACE_S
        while not self._has_ended and (left_s := leave_at - time.monotonic()) > 0:
            if poller.poll(left_s * 1000):
                self._read()

    def _read(self) -> bool:
        data = os.read(self._fd, _PIECE)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                event = self._lines.feed(line)
                if event is not None:
                    self._tell(event)
            except Exception as error:  # recording must never break the user's program
                self._failures += 1
                self._first_failure = self._first_failure or f"{type(error).__name__}: {error}"
        self._has_ended = not data
        return bool(data)

    def _tell(self, event: FileEvent) -> None:
        if self._mark is not None:  # still our own words
            self._mark = None if event.path == self._mark else self._mark
            return
        self._events += 1
        if event.action is Action.EXECUTE and is_hindered(event.path, event.pid):
            self._hindered[os.path.basename(event.path)] = None
        for one in as_found(event, self._begun_ns):
            self._on_event(one)

    def ended(self, code: int, why: str) -> Ended:
        """The result."""
        missed = list(self._lines.blind_spots)
        if self._mark is not None:
            missed.append("strace told nothing; what the command did was not seen.")
        elif self._has_ended and self._lines.running:
            missed.append("strace ended before the command did; what followed was not seen.")
        if left := [] if self._has_ended else self._left():
            missed.append(
                f"{len(left)} {'process was' if len(left) == 1 else 'processes were'} left running "
                f"when the command ended ({', '.join(left[:5])}); "
                "what they did after that was not seen."
            )
        problems: tuple[str, ...] = ()
        if self._failures:
            missed.append(f"{self._failures} events could not be recorded.")
            problems = (
                f"Recording failed {self._failures} times, first with {self._first_failure}",
            )
        problems += tuple(filter(None, [of_hindered(self._hindered)]))
        given = [f"The kernel-level sensor was not used: {why}"] if why else []
        report = SensorReport(
            name="strace",
            completeness="partial" if missed else "trace-complete",
            not_seen=(*given, _LATE, *missed),
            events=self._events,
        )
        return Ended(
            exit_code=128 - code if code < 0 else code,
            signal=-code if code < 0 else None,
            events=self._events,
            report=report,
            problems=problems,
        )

    def _left(self) -> list[str]:
        """Names of processes that still run, with their ids; not of their threads."""
        found = []
        for task in sorted(self._lines.running):
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{task}/comm").read_text("utf-8", "replace").strip()
                if f"Tgid:\t{task}\n" in Path(f"/proc/{task}/status").read_text("utf-8", "replace"):
                    found.append(f"{name} {task}")
        return found

    def close(self) -> None:
        """Read no more; the watchdog reads on while strace runs."""
        os.close(self._fd)
