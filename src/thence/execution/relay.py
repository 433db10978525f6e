"""A run inside of a run: the outer supervisor tells the inner one what its command does.

Of a chain of processes only one can hold a listener (seccomp_unotify(2)), and that is the outer
supervisor. So the inner command runs under the outer one's filter. Its first process connects to a
socket that a variable names, says who asks, and opens a name that is not there: the outer
supervisor, which is asked about that open, knows by it that the process is one of its own. From
then on it records each event of the process and all below it as any other, forwards it, and lets
the program go on when the inner supervisor has answered.

The outer supervisor never waits: a program that waits for an inner run is held, and others are
answered meanwhile, among them the inner thence, which opens files to keep what it was told of. An
inner run that ends, is killed, or takes too long, holds nothing.

Frames are a length of four bytes, and fields that are joined by zero bytes. From outside: `event`
with action, path, target, task and detail; `remark` with a sentence; `left` with the names of the
processes that are there. From inside: a hello (folder, run), then one byte a time.
"""

import contextlib
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Iterable

from thence.execution.events import FileEvent
from thence.execution.kinship import Kinship, is_alive, name_of, processes
from thence.execution.seccomp import Listener, Notification

__all__ = [
    "ANSWER",
    "RELAY_VARIABLE",
    "WHO_IS_LEFT",
    "Relay",
    "frame",
    "frames",
    "mark_of",
]

RELAY_VARIABLE = "THENCE_RELAY"
"""Names the socket of the supervisor whose filter a process is under."""

ANSWER, WHO_IS_LEFT = b".", b"?"
_PATIENCE_S = 60.0
_LOOK_MS = 1000
_PIECE = 1 << 16


def mark_of(path: str) -> str:
    """What is opened to show that one is below the supervisor of a socket."""
    return f"{path}-mark"


def frame(*fields: str) -> bytes:
    """A frame with these fields."""
    body = b"\0".join(map(os.fsencode, fields))
    return len(body).to_bytes(4, "big") + body


def frames(data: bytes) -> tuple[list[list[str]], bytes]:
    """Whole frames in a stream, and the bytes that are left over."""
    found = []
    while len(data) >= 4 and len(data) >= 4 + (length := int.from_bytes(data[:4], "big")):
        found.append([os.fsdecode(field) for field in data[4 : 4 + length].split(b"\0")])
        data = data[4 + length :]
    return found, data


class _Inner:
    """An inner run.

    Attributes:
        root: The first process of its command.
        waiting: Numbers of notifications that it has not answered, in order.
        waited_s: How long the first of them is.
    """

    def __init__(self, root: int, connection: socket.socket) -> None:
        self.root = root
        self.connection = connection
        self.waiting: deque[int] = deque()
        self.waited_s = 0.0
        self.remarks: set[str] = set()
        self._unsent = b""

    def send(self, data: bytes) -> bool:
        """Send without waiting; False where nobody hears any more."""
        self._unsent += data
        try:
            self._unsent = self._unsent[self.connection.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    @property
    def wants(self) -> int:
        """What to poll for."""
        return select.POLLIN | (select.POLLOUT if self._unsent else 0)


class Relay:
    """The outer side.

    Args:
        path: Of the socket.
        top: The first process of the outer run's command.
        listener: Holds programs.
        poller: Is asked to look after the sockets; `serve` is told of them.

    Attributes:
        mark: The path that processes open to be admitted.
        runs: Names of the inner runs that there were.
    """

    def __init__(self, path: str, top: int, listener: Listener, poller: select.poll) -> None:
        self.mark = mark_of(path)
        self.runs: list[str] = []
        self._listener = listener
        self._poller = poller
        self._kinship = Kinship(top)
        self._inner: dict[int, _Inner] = {}
        self._by_fd: dict[int, _Inner] = {}
        self._strangers: dict[int, socket.socket] = {}
        self._owed: dict[int, int] = {}
        self._looked_at = time.monotonic()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._server.bind(path)
        self._server.listen(16)

    @property
    def is_needed(self) -> bool:
        """Whether there is an inner run."""
        return bool(self._inner)

    @property
    def timeout_ms(self) -> int | None:
        """How long to wait for events at most."""
        return _LOOK_MS if self._owed else None

    def admit(self, task: int) -> None:
        """Take in the process that has opened the mark, if it has connected."""
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = self._server.accept()
                connection.setblocking(False)
                self._strangers[_peer(connection)] = connection
        found = self._strangers.pop(task, None)
        for other in list(self._strangers):
            if not os.path.exists(f"/proc/{other}"):
                self._strangers.pop(other).close()
        if found is None:
            return
        try:
            (hello, *_), _ = frames(found.recv(_PIECE))
            folder, run = hello
        except (OSError, ValueError):
            found.close()
            return
        inner = _Inner(task, found)
        self._kinship.add(task, folder)
        self._inner[task] = self._by_fd[found.fileno()] = inner
        self._poller.register(found, select.POLLIN)
        if run:
            self.runs.append(run)
        self._send(inner, frame("admitted"))

    def offer(self, notification: Notification, event: FileEvent) -> bool:
        """Forward an event to the inner runs that it is of.

        Returns:
            Whether the program is held until they have answered.
        """
        concerned = self._concerned(notification.task)
        if not concerned or not self._listener.hold(notification):
            return False
        self._owed[notification.id] = len(concerned)
        path, target, task = event.path, event.target, str(event.pid)
        data = frame("event", event.action, path, target, task, event.detail)
        for inner in concerned:
            if not inner.waiting:
                inner.waited_s = 0.0
            inner.waiting.append(notification.id)
        for inner in concerned:
            self._send(inner, data)
        return True

    def remark(self, task: int, sentence: str) -> None:
        """Tell the inner runs of a task what was not seen of it."""
        for inner in self._concerned(task):
            if sentence not in inner.remarks:
                inner.remarks.add(sentence)
                self._send(inner, frame("remark", sentence))

    def _concerned(self, task: int) -> list[_Inner]:
        return [self._inner[root] for root in self._kinship.of(task) if root in self._inner]

    def serve(self, ready: Iterable[tuple[int, int]]) -> None:
        """Hear what inner runs answer, and let programs go on that have waited long enough."""
        for fd, what in ready:
            inner = self._by_fd.get(fd)
            if inner is None:
                continue
            if what & select.POLLOUT:
                self._send(inner, b"")
            if what & ~select.POLLOUT:
                self._hear(inner)
        now = time.monotonic()
        # What we did not see pass does not count: Ctrl-Z stops us and the inner run alike.
        passed_s = min(now - self._looked_at, 2 * _LOOK_MS / 1000)
        self._looked_at = now
        for inner in list(self._inner.values()):
            if inner.waiting:
                inner.waited_s += passed_s
                if inner.waited_s > _PATIENCE_S:
                    self._drop(inner)

    def _hear(self, inner: _Inner) -> None:
        try:
            data = inner.connection.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(inner)
            return
        for byte in data:
            if byte == ANSWER[0] and inner.waiting:
                inner.waited_s = 0.0
                self._settle(inner.waiting.popleft())
            elif byte == WHO_IS_LEFT[0]:
                self._send(inner, frame("left", *self._left(inner)))

    def _left(self, inner: _Inner) -> list[str]:
        """Names of the processes of an inner run's command that are there."""
        return [
            name_of(process)
            for process in processes()
            if inner.root in self._kinship.of(process) and is_alive(process)
        ]

    def _send(self, inner: _Inner, data: bytes) -> None:
        if inner.send(data):
            self._poller.modify(inner.connection, inner.wants)
        else:
            self._drop(inner)

    def _settle(self, number: int) -> None:
        owed = self._owed.pop(number) - 1
        if owed:
            self._owed[number] = owed
        else:
            self._listener.release(number)

    def _drop(self, inner: _Inner) -> None:
        """Forget an inner run; what waits for it goes on."""
        if self._inner.pop(inner.root, None) is None:
            return
        del self._by_fd[inner.connection.fileno()]
        self._poller.unregister(inner.connection)
        inner.connection.close()
        self._kinship.remove(inner.root)
        while inner.waiting:
            self._settle(inner.waiting.popleft())

    def close(self) -> None:
        """Forget all."""
        for inner in list(self._inner.values()):
            self._drop(inner)
        for connection in self._strangers.values():
            connection.close()
        self._server.close()


def _peer(connection: socket.socket) -> int:
    """Who connected, by the number that it has for us."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("=iII", credentials)[0])
