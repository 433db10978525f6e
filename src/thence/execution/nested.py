"""The kernel-level sensor inside of another one: the outer supervisor tells what is done.

See `thence.execution.relay` for the other side.
"""

import contextlib
import errno
import os
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence

from thence.errors import InternalError
from thence.execution import forking, signals
from thence.execution.events import Action, Ended, FileEvent, OnEvent, OnStarted
from thence.execution.forking import Forked, ForkFailed
from thence.execution.image import Image
from thence.execution.mounts import Entrance
from thence.execution.program import CommandDenied
from thence.execution.relay import ANSWER, WHO_IS_LEFT, frame, frames, mark_of
from thence.execution.seccomp import SensorUnavailable
from thence.execution.watchdog import Watchdog
from thence.model.records import SensorReport

__all__ = ["supervise"]

_ADMISSION_MS = 5000
_GRACE_S = 0.25
_LATEST_S = 10.0
_ASK_S = 0.05
_PIECE = 1 << 16


def supervise(
    command: Sequence[str],
    *,
    executable: str,
    cwd: str | os.PathLike[str],
    env: Mapping[str, str],
    on_event: OnEvent,
    watchdog: Watchdog,
    relay: str,
    folder: str,
    run: str,
    stdin_fd: int = 0,
    stdout_fd: int = 1,
    stderr_fd: int = 2,
    on_started: OnStarted | None = None,
    on_resize: Callable[[], None] | None = None,
    entrance: Entrance | None = None,
) -> Ended:
    """Run a command under the filter of the run around this one, until it has ended.

    As `thence.execution.supervisor.supervise`.

    Args:
        command: All words; the first is what the program sees as its own name.
        executable: Path of the program.
        cwd: Working directory of the command.
        env: Environment of the command.
        on_event: See `OnEvent`.
        watchdog: Passes output on if this process is killed; programs are the outer run's.
        relay: The socket of the outer supervisor.
        folder: What is planted into the command's processes.
        run: The name of this run.
        stdin_fd: Descriptors that the command gets as its standard ones.
        stdout_fd: Like `stdin_fd`.
        stderr_fd: Like `stdin_fd`.
        on_started: Called when the command has been forked, before it runs.
        on_resize: Called when the terminal's size has changed, before the command is told.
        entrance: Where the command's own root folder is entered.

    Raises:
        SensorUnavailable: The outer supervisor does not take us; nothing was run.
        CommandDenied: The system refuses to run the program.
    """
    image = Image(
        executable, list(command), dict(env), os.fspath(cwd), (stdin_fd, stdout_fd, stderr_fd)
    )
    hello = frame(folder, run)
    try:
        child = forking.fork(lambda: _join(relay, hello, entrance), image.become)
    except ForkFailed as failure:
        raise SensorUnavailable(
            f"The run around this one does not tell what its programs do ({failure})."
        ) from failure
    session = _Session(child, on_event)
    del watchdog  # has nothing to answer
    try:
        with signals.passed_on(session.deliver, on_resize=on_resize):
            if on_started is not None:
                on_started(session.deliver)
            child.channel.send(b"!")
            session.serve_until_end()
            if session.exec_error:
                raise CommandDenied(
                    f"cannot run {command[0]!r}",
                    why=f"The system says: {os.strerror(session.exec_error)}.",
                    hint="Check that it is a program for this machine, with permission to run.",
                    about=executable,
                )
            session.serve_rest()
        return session.ended()
    finally:
        session.close()


def _join(relay: str, hello: bytes, entrance: Entrance | None) -> int:
    """In the child: be admitted; the connection."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(relay)
    connection.sendall(hello)
    with contextlib.suppress(FileNotFoundError):
        os.close(os.open(mark_of(relay), os.O_RDONLY | os.O_CLOEXEC))
    # No answer: the filter that we are under, if any, is not that supervisor's.
    poller = select.poll()
    poller.register(connection, select.POLLIN)
    if not poller.poll(_ADMISSION_MS):
        raise OSError(errno.ETIMEDOUT, "no answer")
    admitted = frame("admitted")
    if connection.recv(len(admitted)) != admitted:
        raise OSError(errno.ECONNREFUSED, "not admitted")
    if entrance is not None:
        entrance.enter()
    return connection.detach()


class _Session:
    """One command that the outer supervisor tells of."""

    def __init__(self, child: Forked, on_event: OnEvent) -> None:
        self.exec_error = 0
        self._child = child
        self._on_event = on_event
        self._outer: socket.socket | None = socket.socket(fileno=child.fd)
        self._rest = b""
        self._status: int | None = None
        self._pid: int | None = child.pid
        self._process_fd = os.pidfd_open(child.pid)
        self._events = 0
        self._left: list[str] | None = None
        self._not_seen: dict[str, None] = {}
        self._failures = 0
        self._first_failure = ""
        self._poller = select.poll()
        for fd in (self._outer.fileno(), self._process_fd, child.channel.fileno()):
            self._poller.register(fd, select.POLLIN)

    def deliver(self, number: int) -> None:
        """Send a signal to the command, if it is still there."""
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def serve_until_end(self) -> None:
        """Answer until the command itself has ended."""
        while self._status is None:
            ready = dict(self._poller.poll())
            if self._outer is not None and self._outer.fileno() in ready:
                self._hear()
            if self._child.channel.fileno() in ready:
                # Closed by a successful exec, else the number of the error.
                self.exec_error = int(self._child.channel.recv(8) or 0)
                self._poller.unregister(self._child.channel)
            if self._process_fd in ready:
                pid, self._pid = self._child.pid, None
                _, self._status = os.waitpid(pid, 0)
                self._poller.unregister(self._process_fd)

    def serve_rest(self) -> None:
        """Answer what the command started until that has ended too, but only for a moment."""
        now = time.monotonic()
        leave_at, ask_at = now + _GRACE_S, now
        while self._outer is not None and self._left != []:
            now = time.monotonic()
            if now > leave_at and self._left is not None:
                return
            if now >= ask_at:
                ask_at = now + _ASK_S
                with contextlib.suppress(OSError):
                    self._outer.send(WHO_IS_LEFT)
            if now > leave_at + _LATEST_S:  # the outer run is stopped, or very busy
                return
            if self._poller.poll(1000 * max(0.0, ask_at - now)):
                self._hear()

    def _hear(self) -> None:
        if self._outer is None:
            return
        try:
            data = self._outer.recv(_PIECE)
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        found, self._rest = frames(self._rest + data)
        for kind, *fields in found:
            if kind == "event":
                self._handle(fields)
            elif kind == "remark":
                self._not_seen[fields[0]] = None
            elif kind == "left":
                self._left = fields

    def _handle(self, fields: Sequence[str]) -> None:
        self._events += 1
        action, path, target, task, detail = fields
        try:
            self._on_event(FileEvent(Action(action), path, target, int(task), detail))
        except Exception as error:  # recording must never break the user's program
            self._failures += 1
            self._first_failure = self._first_failure or f"{type(error).__name__}: {error}"
        finally:
            if self._outer is not None:
                with contextlib.suppress(OSError):
                    self._outer.send(ANSWER)

    def _lose(self) -> None:
        if self._outer is not None:
            self._poller.unregister(self._outer)
            self._outer.close()
            self._outer = None
            self._not_seen[
                "The run around this one ended, was killed, or did not wait for this one any "
                "longer; what programs did after that was not seen."
            ] = None

    def ended(self) -> Ended:
        """The result, once all is over."""
        if self._status is None:
            raise InternalError("the command has not ended")
        code = os.waitstatus_to_exitcode(self._status)
        not_seen = list(self._not_seen)
        if left := self._left:
            not_seen.append(
                f"{len(left)} {'process was' if len(left) == 1 else 'processes were'} left running "
                f"when the command ended ({', '.join(left[:5])}); "
                "what they did after that was not seen."
            )
        problems: tuple[str, ...] = ()
        if self._failures:
            not_seen.append(f"{self._failures} events could not be recorded.")
            problems = (
                f"Recording failed {self._failures} times, first with {self._first_failure}",
            )
        report = SensorReport(
            name="seccomp",
            completeness="partial" if not_seen else "kernel-complete",
            not_seen=tuple(not_seen),
            events=self._events,
        )
        return Ended(
            exit_code=128 - code if code < 0 else code,
            signal=-code if code < 0 else None,
            events=self._events,
            report=report,
            problems=problems,
        )

    def close(self) -> None:
        """Let go of everything; the outer run holds nothing for us any more."""
        self._child.channel.close()
        if self._pid is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, os.WNOHANG)
        os.close(self._process_fd)
        if self._outer is not None:
            self._outer.close()
