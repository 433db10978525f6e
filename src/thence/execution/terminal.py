"""The output of a command: passed on unchanged, and given to sinks."""

import errno
import fcntl
import os
import pty
import select
import termios
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

from thence.execution.watchdog import Watchdog

__all__ = ["Output", "Sink"]

Sink: TypeAlias = Callable[[bytes], None]
"""Called with each piece of output, in order, from one thread of ours."""

_CHUNK = 1 << 16
_GRACE_S = 1.0
_QUIET_MS = 100


class _Stream:
    """One of stdout and stderr."""

    def __init__(self, index: int, target_fd: int, sink: Sink) -> None:
        self.index = index
        self.target_fd = target_fd
        self.sink: Sink | None = sink
        self.is_terminal = os.isatty(target_fd)
        self.source_fd, self.child_fd = _terminal(target_fd) if self.is_terminal else os.pipe()

    def follow_size(self) -> None:
        if self.is_terminal:
            _copy_size(self.target_fd, self.source_fd)


class Output:
    """Stands between a command and where its output goes.

    If that is a terminal the command gets a terminal too (so that progress bars keep working), else
    a pipe. Where there is no sink nothing stands between. Use: make it, start the command with
    `child_fds`, call `start`, and `finish` when the command has ended.

    Attributes:
        child_fds: Descriptors for stdout and stderr of the command.
        problems: What went wrong, sentences.
    """

    def __init__(
        self,
        sinks: tuple[Sink | None, Sink | None],
        watchdog: Watchdog,
        *,
        target_fds: tuple[int, int] = (1, 2),
    ) -> None:
        self.problems: list[str] = []
        self._watchdog = watchdog
        self._streams = [
            _Stream(index, target_fds[index], sink)
            for index, sink in enumerate(sinks)
            if sink is not None
        ]
        fds = list(target_fds)
        for stream in self._streams:
            fds[stream.index] = stream.child_fd
            watchdog.guard_output(stream.index, stream.source_fd, stream.target_fd)
        self.child_fds = (fds[0], fds[1])
        self._wake_read, self._wake_write = os.pipe()
        self._thread: threading.Thread | None = None

    def follow_size(self) -> None:
        """Give the command's terminals the size of ours."""
        for stream in self._streams:
            stream.follow_size()

    def start(self) -> None:
        """The command runs: let go of its ends and begin to pass on."""
        for stream in self._streams:
            os.close(stream.child_fd)
            stream.child_fd = -1
        self._thread = threading.Thread(target=self._pump, name="thence-output", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Pass on all that the command has written.

        A process that it left behind may hold the other end for ever: after a second we go, and the
        watchdog passes on what still comes.
        """
        os.close(self._wake_write)
        if self._thread is not None:
            self._thread.join()
        os.close(self._wake_read)
        for stream in self._streams:
            for fd in (stream.source_fd, stream.child_fd):
                if fd >= 0:
                    os.close(fd)
        self._streams = []

    def _pump(self) -> None:
        sources = {stream.source_fd: stream for stream in self._streams}
        poller = select.poll()
        poller.register(self._wake_read, select.POLLIN)
        for fd in sources:
            poller.register(fd, select.POLLIN)
        leave_at: float | None = None
        while sources:
            # What was written to a terminal comes out of the kernel a moment later, hence the wait.
            ready = [fd for fd, _ in poller.poll(None if leave_at is None else _QUIET_MS)]
            if self._wake_read in ready:
                poller.unregister(self._wake_read)
                leave_at = time.monotonic() + _GRACE_S
            for fd in ready:
                if fd in sources and not self._pass_on(sources[fd]):
                    poller.unregister(fd)
                    del sources[fd]
            if leave_at is not None and (not ready or time.monotonic() > leave_at):
                return

    def _pass_on(self, stream: _Stream) -> bool:
        """Pass one piece on; False when this stream has ended."""
        try:
            data = os.read(stream.source_fd, _CHUNK)
        except OSError:  # a terminal whose other end is closed gives EIO
            data = b""
        name = ("stdout", "stderr")[stream.index]
        if data and stream.sink is not None:
            try:
                stream.sink(data)
            except Exception as error:
                stream.sink = None
                self.problems.append(f"{name} could not be kept: {error!r}")
        if data:
            failure = _write(stream.target_fd, data)
            if failure is None:
                return True
            if failure.errno != errno.EPIPE:  # `| head` is no problem, a full disk is one
                self.problems.append(f"{name} could not be passed on: {failure.strerror}")
        # Nobody reads: the command must learn that as it would without us (SIGPIPE), and for that
        # every copy of the reading end must be closed.
        self._watchdog.forget_output(stream.index)
        os.close(stream.source_fd)
        stream.source_fd = -1
        return False


def _write(fd: int, data: bytes) -> OSError | None:
    """Write all of it; what went wrong, or None."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            select.select([], [fd], [])
        except OSError as error:
            return error
    return None


def _terminal(like_fd: int) -> tuple[int, int]:
    ours, theirs = pty.openpty()
    try:
        attributes = termios.tcgetattr(like_fd)
    except termios.error:
        attributes = termios.tcgetattr(theirs)
    # The real terminal makes "\r\n" of "\n"; twice would be once too often, and sinks want the
    # bytes as they were written. Echo would send back what the terminal answers.
    attributes[1] &= ~termios.OPOST
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    _copy_size(like_fd, ours)
    return ours, theirs


def _copy_size(from_fd: int, to_fd: int) -> None:
    try:
        size = fcntl.ioctl(from_fd, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(to_fd, termios.TIOCSWINSZ, size)
    except OSError:
        pass
