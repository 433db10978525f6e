"""The fallback sensor: runs a command with a hook in each Python that it starts."""

import contextlib
import errno
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from thence.execution import signals
from thence.execution.events import Action, Ended, FileEvent, OnEvent
from thence.execution.inside import child
from thence.execution.program import CommandDenied
from thence.execution.watchdog import Watchdog
from thence.model.records import SensorReport

__all__ = ["parse_events", "report", "supervise"]

_GRACE_S = 0.25
_NATIVE = (
    "Of libraries that open files by themselves (databases, Arrow, image and model formats) only "
    "the known entry points were observed."
)


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
    on_started: Callable[[], None] | None = None,
    on_resize: Callable[[], None] | None = None,
) -> Ended:
    """Run a command with the hook planted, until it has ended.

    As `thence.execution.supervisor.supervise`; a program that is not Python runs unobserved.

    Args:
        command: All words; the first is what the program sees as its own name.
        executable: Path of the program.
        cwd: Working directory of the command.
        env: Environment of the command, with what is planted.
        on_event: See `OnEvent`.
        watchdog: Passes output on if this process is killed; programs go on by themselves.
        planted: The folder in which Pythons look for the socket.
        why: Why the better sensor is not used, one sentence for the report; may be empty.
        stdin_fd: Descriptors that the command gets as its standard ones.
        stdout_fd: Like `stdin_fd`.
        stderr_fd: Like `stdin_fd`.
        on_started: Called when the command has been started.
        on_resize: Called when the terminal's size has changed, before the command is told.

    Raises:
        CommandDenied: The system refuses to run the program.
    """
    with _Observer(on_event, planted) as observer:
        start = _Start(executable, os.fspath(cwd), dict(env), (stdin_fd, stdout_fd, stderr_fd))
        observer.tell(FileEvent(Action.EXECUTE, os.path.abspath(executable)))
        process: subprocess.Popen[bytes] | None = None

        def deliver(number: int) -> None:
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)

        with signals.passed_on(deliver, on_resize=on_resize):
            process = start.run(list(command))
            if on_started is not None:
                on_started()
            observer.serve_until_end(process)
            observer.serve_rest()
            observer.read_late()
        code = process.returncode
        ended_report = report(
            observer.unobserved(executable), events=observer.events, late=observer.late,
            left=observer.left, why=why,
        )  # fmt: skip
        return Ended(
            exit_code=128 - code if code < 0 else code,
            signal=-code if code < 0 else None,
            events=observer.events,
            report=ended_report,
            problems=observer.problems(),
        )


class _Start(NamedTuple):
    """All that it takes to start the command but its words."""

    executable: str
    cwd: str
    env: dict[str, str]
    standard_fds: tuple[int, int, int]

    def run(self, words: list[str]) -> "subprocess.Popen[bytes]":
        try:
            try:
                return self._run(self.executable, words)
            except OSError as error:
                if error.errno != errno.ENOEXEC:
                    raise
                # A script without a first line: shells run it by sh.
                return self._run("/bin/sh", ["sh", self.executable, *words[1:]])
        except OSError as error:
            raise CommandDenied(
                f"cannot run {words[0]!r}",
                why=f"The system says: {error.strerror}.",
                hint="Check that it is a program for this machine, with permission to run.",
                about=self.executable,
            ) from error

    def _run(self, executable: str, words: list[str]) -> "subprocess.Popen[bytes]":
        stdin, stdout, stderr = self.standard_fds
        return subprocess.Popen(
            words,
            executable=executable,
            cwd=self.cwd,
            env=self.env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )


def report(
    unobserved: Sequence[str], *, events: int, late: int = 0, left: int = 0, why: str = ""
) -> SensorReport:
    """What the audit hook saw and cannot have seen.

    Args:
        unobserved: Names of programs that ran without the hook.
        events: Number of events.
        late: How many of them were heard of only afterwards.
        left: Number of processes that were still running.
        why: Why the better sensor was not used.
    """
    not_seen = [f"The kernel-level sensor was not used: {why}"] if why else []
    not_seen.append(_NATIVE)
    if unobserved:
        names = ", ".join(unobserved[:8]) + (" …" if len(unobserved) > 8 else "")
        count = f"{len(unobserved)} program{'s' if len(unobserved) > 1 else ''}"
        not_seen.append(f"{count} ran that could not be observed: {names}.")
    if late:
        not_seen.append(f"{late} events were heard of only when the program had gone on.")
    if left:
        not_seen.append(f"{left} Python processes were left running when the command ended.")
    return SensorReport(
        name="audit-hook",
        completeness="partial" if unobserved or late or left else "python-complete",
        not_seen=tuple(not_seen),
        events=events,
    )


def parse_events(data: bytes) -> tuple[list[FileEvent], bytes]:
    """Whole events in a stream, and the bytes that are left over."""
    events = []
    while len(data) >= 4:
        length = int.from_bytes(data[:4], "big")
        if len(data) < 4 + length:
            break
        action, path, target, pid, detail = map(os.fsdecode, data[4 : 4 + length].split(b"\0"))
        events.append(FileEvent(Action(action), path, target, int(pid), detail))
        data = data[4 + length :]
    return events, data


class _Observer:
    """Hears the events of all Python processes of a command, one at a time."""

    def __init__(self, on_event: OnEvent, folder: Path) -> None:
        self.events = 0
        self.late = 0
        self.left = 0
        self._on_event = on_event
        self._unobserved: dict[str, None] = {}
        self._failures = 0
        self._first_failure = ""
        self._was_heard = False
        self._folder = folder
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self._folder / child.SOCKET))
        self._server.listen(64)
        self._connections: dict[int, tuple[socket.socket, bytes]] = {}
        self._poller = select.poll()
        self._poller.register(self._server, select.POLLIN)

    def __enter__(self) -> "_Observer":
        return self

    def __exit__(self, *_: object) -> None:
        for connection, _rest in self._connections.values():
            connection.close()
        self._server.close()

    def tell(self, event: FileEvent) -> None:
        """Handle one event; a failure is counted, not raised."""
        self.events += 1
        if event.detail == "unobserved":
            self._unobserved[os.path.basename(event.path)] = None
        try:
            self._on_event(event)
        except Exception as error:  # recording must never break the user's program
            self._failures += 1
            self._first_failure = self._first_failure or f"{type(error).__name__}: {error}"

    def serve_until_end(self, process: "subprocess.Popen[bytes]") -> None:
        """Answer until the command itself has ended."""
        ended_read, ended_write = os.pipe()

        def wait() -> None:
            process.wait()
            os.close(ended_write)

        waiter = threading.Thread(target=wait, name="thence-wait", daemon=True)
        waiter.start()
        self._poller.register(ended_read, select.POLLIN)
        while True:
            ready = [fd for fd, _ in self._poller.poll()]
            if ready == [ended_read]:
                break
            self._serve(ready)
        self._poller.unregister(ended_read)
        os.close(ended_read)
        waiter.join()

    def serve_rest(self) -> None:
        """Answer what the command started until that has ended too, but only for a moment."""
        leave_at = time.monotonic() + _GRACE_S
        while self._connections and (left_s := leave_at - time.monotonic()) > 0:
            self._serve([fd for fd, _ in self._poller.poll(left_s * 1000)])
        self.left = len(self._connections)

    def _serve(self, ready: list[int]) -> None:
        for fd in ready:
            if fd == self._server.fileno():
                connection, _ = self._server.accept()
                self._connections[connection.fileno()] = (connection, b"")
                self._poller.register(connection, select.POLLIN)
                self._was_heard = True
            elif fd in self._connections:
                self._hear(fd)

    def _hear(self, fd: int) -> None:
        connection, rest = self._connections[fd]
        try:
            data = connection.recv(1 << 16)
            events, rest = parse_events(rest + data)
        except (OSError, ValueError):
            data, events = b"", []
        for event in events:
            self.tell(event)
            with contextlib.suppress(OSError):
                connection.send(child.ANSWER)
        if data:
            self._connections[fd] = (connection, rest)
        else:
            self._poller.unregister(fd)
            del self._connections[fd]
            connection.close()

    def read_late(self) -> None:
        """Handle what processes noted in the file because they could not reach us."""
        with contextlib.suppress(OSError, ValueError):
            events, _ = parse_events((self._folder / child.LATE).read_bytes())
            self.late = len(events)
            for event in events:
                self.tell(event)

    def unobserved(self, executable: str) -> list[str]:
        """Names of the programs that ran without the hook."""
        first = [] if self._was_heard else [os.path.basename(executable)]
        return [*first, *self._unobserved]

    def problems(self) -> tuple[str, ...]:
        """What went wrong, sentences."""
        if not self._failures:
            return ()
        return (f"Recording failed {self._failures} times, first with {self._first_failure}",)
