"""The kernel-level sensor: runs a command and is asked before it touches a file."""

import contextlib
import os
import platform
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from thence.errors import InternalError
from thence.execution import seccomp, signals
from thence.execution.events import Action, Ended, OnEvent, OnStarted, Soon
from thence.execution.forking import Forked
from thence.execution.image import Image
from thence.execution.kinship import is_alive, name_of
from thence.execution.mounts import Entrance
from thence.execution.program import CommandDenied
from thence.execution.relay import Relay
from thence.execution.seccomp import Listener, Notification, SensorUnavailable
from thence.execution.tracee import Decoder, TaskMemory, Unreadable, foreign_proc, of_hindered
from thence.execution.watchdog import Watchdog
from thence.model.records import SensorReport

__all__ = ["probe", "supervise"]

_MINIMUM_KERNEL = (5, 9)
_PROBE_TIMEOUT_MS = 30_000
# Processes that end just after the command (the rest of a pipeline) are still observed.
_GRACE_S = 0.25
_IDLE_MS = 20
_LONGEST_S = 0.1
_MOST_WAITING = 256
_NOTHING: Mapping[int, int] = MappingProxyType({})
_PROTECTED = (
    "The paths of some system calls could not be read (programs that protect their memory)."
)


def probe() -> str | None:
    """Why the kernel-level sensor cannot be used here, one sentence; None where it can.

    Tries it for real on a child that opens one file; takes a few milliseconds.
    """
    if sys.platform != "linux":
        return f"Seccomp is a feature of Linux, and this is {sys.platform}."
    release = platform.release()
    found = re.match(r"(\d+)\.(\d+)", release)
    if found and (int(found[1]), int(found[2])) < _MINIMUM_KERNEL:
        return f"The kernel is {release}; the sensor needs Linux 5.9."
    if foreign := foreign_proc():
        return foreign
    try:
        child = seccomp.fork(_open_null)
    except SensorUnavailable as unavailable:
        return str(unavailable)
    listener = Listener(child.fd)
    try:
        return _try_out(child.channel, listener)
    except OSError as error:
        return f"The kernel did not let a program go on: {error.strerror or error}."
    finally:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        child.channel.close()
        listener.close()


def _open_null(channel: socket.socket) -> None:
    os.close(os.open("/dev/null", os.O_RDONLY))
    channel.send(b"done")


def _try_out(channel: socket.socket, listener: Listener) -> str | None:
    channel.send(b"!")
    poller = select.poll()
    poller.register(listener.fd, select.POLLIN)
    notification = listener.receive() if poller.poll(_PROBE_TIMEOUT_MS) else None
    if notification is None:
        return "The kernel did not report an open."
    where = notification.arguments[0 if notification.call == "open" else 1]
    try:
        path = TaskMemory().text(notification.task, where)
    except Unreadable:
        path = b""
    listener.proceed(notification)
    channel.settimeout(_PROBE_TIMEOUT_MS / 1000)
    if channel.recv(4) != b"done":
        return "The kernel did not let a program go on."
    if path != b"/dev/null":
        return "The system does not permit reading the memory of a child (Yama, or a container)."
    return None


def supervise(
    command: Sequence[str],
    *,
    executable: str,
    cwd: str | os.PathLike[str],
    env: Mapping[str, str],
    on_event: OnEvent,
    watchdog: Watchdog,
    soon: Soon | None = None,
    relay: str | None = None,
    stdin_fd: int = 0,
    stdout_fd: int = 1,
    stderr_fd: int = 2,
    on_started: OnStarted | None = None,
    on_resize: Callable[[], None] | None = None,
    entrance: Entrance | None = None,
) -> Ended:
    """Run a command under the filter until it has ended.

    `on_event` is called in this thread before the program proceeds. Signals from the terminal are
    the command's; those sent to this process are passed on to it. When processes are left behind,
    the watchdog goes on answering them after its `close`.

    Args:
        command: All words; the first is what the program sees as its own name.
        executable: Path of the program.
        cwd: Working directory of the command.
        env: Environment of the command.
        on_event: See `OnEvent`.
        watchdog: Takes over if this process is killed.
        soon: Is given reads first. It catches up when there is nothing to do for a moment, when
            some hundred wait, and before this returns.
        relay: Where runs inside of this one ask to be told what their commands do; None: nowhere.
        stdin_fd: Descriptors that the command gets as its standard ones.
        stdout_fd: Like `stdin_fd`.
        stderr_fd: Like `stdin_fd`.
        on_started: Called when the command has been forked, before it runs.
        on_resize: Called when the terminal's size has changed, before the command is told.
        entrance: Where the command's own root folder is entered.

    Raises:
        SensorUnavailable: The kernel does not let us; nothing was run.
        CommandDenied: The system refuses to run the program.
    """
    image = Image(
        executable, list(command), dict(env), os.fspath(cwd), (stdin_fd, stdout_fd, stderr_fd)
    )
    child = seccomp.fork(image.become, entrance=entrance)
    session = _Session(child, on_event, soon, relay)
    watchdog.guard_listener(session.listener.fd, session.listener.shared_fd)
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


class _Session:
    """One supervised command."""

    def __init__(
        self, child: Forked, on_event: OnEvent, soon: Soon | None, relay: str | None
    ) -> None:
        self.listener = Listener(child.fd)
        self.exec_error = 0
        self._child = child
        self._on_event = on_event
        self._soon = soon
        self._waiting = 0
        self._waits_since_s = 0.0
        self._decoder = Decoder()
        self._status: int | None = None
        self._pid: int | None = child.pid
        self._process_fd = os.pidfd_open(child.pid)
        self._is_watched = True
        self._tasks: set[int] = set()
        self._events = 0
        self._unreadable = 0
        self._failures = 0
        self._first_failure = ""
        self._poller = select.poll()
        self._poller.register(self.listener.fd, select.POLLIN)
        self._poller.register(self._process_fd, select.POLLIN)
        self._poller.register(child.channel, select.POLLIN)
        self._only_asked = [(self.listener.fd, select.POLLIN)]
        self._relay: Relay | None = None
        if relay is not None:
            with contextlib.suppress(OSError):  # then runs inside of this one see less
                self._relay = Relay(relay, child.pid, self.listener, self._poller)

    def deliver(self, number: int) -> None:
        """Send a signal to the command, if it is still there."""
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def serve_until_end(self) -> None:
        """Answer until the command itself has ended."""
        while self._status is None:
            ready = self._serve(None)
            if self._child.channel.fileno() in ready:
                # Closed by a successful exec, else the number of the error.
                self.exec_error = int(self._child.channel.recv(8) or 0)
                self._poller.unregister(self._child.channel)
            # The last questions of a command come before its end is handled.
            if self._process_fd in ready and not ready.get(self.listener.fd, 0) & select.POLLIN:
                pid, self._pid = self._child.pid, None
                _, self._status = os.waitpid(pid, 0)
                self._poller.unregister(self._process_fd)

    def serve_rest(self) -> None:
        """Answer what the command started until that has ended too, but only for a moment."""
        leave_at = time.monotonic() + _GRACE_S
        while self._is_watched and (left_s := leave_at - time.monotonic()) > 0:
            self._serve(left_s * 1000)
        self._catch_up()

    def _serve(self, timeout_ms: float | None) -> Mapping[int, int]:
        """Answer one question, and whoever else is ready; what was ready, but for questions."""
        relay = self._relay
        if timeout_ms is None and relay is not None:
            timeout_ms = relay.timeout_ms
        if self._waiting and (timeout_ms is None or timeout_ms > _IDLE_MS):
            timeout_ms = _IDLE_MS
        events = self._poller.poll(timeout_ms)
        if events == self._only_asked:
            self._answer()
            ready = _NOTHING
        elif not events:
            self._catch_up()
            ready = _NOTHING
        else:
            ready = dict(events)
            asked = ready.get(self.listener.fd, 0)
            if asked & select.POLLIN:
                self._answer()
            elif asked:  # the kernel says: nobody is left who could ask
                self._poller.unregister(self.listener.fd)
                self._is_watched = False
        if relay is not None and relay.is_needed:
            relay.serve(events)
        return ready

    def _answer(self) -> None:
        notification = self.listener.receive()
        if notification is None:
            return
        held = False
        try:
            held = self._handle(notification)
        except Exception as error:  # recording must never break the user's program
            self._failed(error)
        finally:
            if not held:
                self.listener.proceed(notification)
        if self._waiting and (
            self._waiting >= _MOST_WAITING or time.monotonic() - self._waits_since_s > _LONGEST_S
        ):
            self._catch_up()

    def _catch_up(self) -> None:
        # Apart from the programs' turns: between these our code finds the processor's caches
        # empty, and takes three times as long as in a row.
        if self._soon is None or not self._waiting:
            return
        self._waiting = 0
        try:
            self._soon.catch_up()
        except Exception as error:  # recording must never break the user's program
            self._failed(error)

    def _handle(self, notification: Notification) -> bool:
        """Record it; whether the program is held for the sake of an inner run."""
        self._events += 1
        self._tasks.add(notification.task)
        # Of inner runs: only while there are any.
        relay = self._relay if self._relay is not None and self._relay.is_needed else None
        try:
            event = self._decoder.decode(notification)
        except Unreadable:
            # A bad address is the program's own affair; a live task whose memory we may not read
            # is something that we missed.
            if self.listener.is_valid(notification):
                self._unreadable += 1
                if relay is not None:
                    relay.remark(notification.task, _PROTECTED)
            return False
        if relay is not None and self._decoder.remark:
            relay.remark(notification.task, self._decoder.remark)
        if event is None:
            return False
        if not self.listener.is_valid(notification):
            return False
        soon = self._soon if relay is None and event.action is Action.READ else None
        if soon is not None and soon.take(event):
            if not self._waiting:
                self._waits_since_s = time.monotonic()
            self._waiting += 1
            return False
        if self._relay is not None and event.path == self._relay.mark:
            self._relay.admit(notification.task)
            return False
        try:
            self._on_event(event)
        except Exception as error:  # an inner run is told nevertheless
            self._failed(error)
        return relay is not None and relay.is_needed and relay.offer(notification, event)

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._first_failure = self._first_failure or f"{type(error).__name__}: {error}"

    def ended(self) -> Ended:
        """The result, once all is over."""
        if self._status is None:
            raise InternalError("the command has not ended")
        code = os.waitstatus_to_exitcode(self._status)
        not_seen = list(self._decoder.blind_spots)
        if left := self._left_behind():
            not_seen.append(
                f"{len(left)} {'process was' if len(left) == 1 else 'processes were'} left running "
                f"when the command ended ({', '.join(left[:5])}); "
                "what they did after that was not seen."
            )
        if self._unreadable:
            not_seen.append(
                f"The paths of {self._unreadable} system calls could not be read "
                "(programs that protect their memory)."
            )
        if self._failures:
            not_seen.append(f"{self._failures} events could not be recorded.")
        problems = (
            [f"Recording failed {self._failures} times, first with {self._first_failure}"]
            if self._failures
            else []
        )
        problems += filter(None, [of_hindered(self._decoder.hindered)])
        report = SensorReport(
            name="seccomp",
            completeness="partial" if not_seen else "kernel-complete",
            not_seen=tuple(not_seen),
            events=self._events,
            inner_runs=tuple(self._relay.runs) if self._relay is not None else (),
        )
        return Ended(
            exit_code=128 - code if code < 0 else code,
            signal=-code if code < 0 else None,
            events=self._events,
            report=report,
            problems=tuple(problems),
        )

    def _left_behind(self) -> list[str]:
        """Names of observed processes that still run under a filter, with their ids."""
        if not self._is_watched or any(
            fd == self.listener.fd and not what & select.POLLIN for fd, what in self._poller.poll(0)
        ):
            return []  # the kernel says: nobody is left
        return list(dict.fromkeys(name_of(task) for task in sorted(self._tasks) if is_alive(task)))

    def close(self) -> None:
        """Let go of everything; what still runs is the watchdog's."""
        if self._relay is not None:
            self._relay.close()
        self._child.channel.close()
        if self._pid is not None:  # we failed; without a byte from us the child ends at once
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, os.WNOHANG)
        os.close(self._process_fd)
        self.listener.close()
