"""Hears the events of the Python programs of a run, and answers them."""

import contextlib
import os
import selectors
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from thence.execution.events import Action, FileEvent, OnEvent
from thence.execution.inside import child
from thence.execution.scanning import Found, TreeScan

__all__ = ["Observer", "Tally", "parse_events"]

# Who is still connected then is left running.
_GRACE_S = 0.25
_PIECE = 1 << 16
_LOOK_S = 1.0
_WRITES = frozenset(
    {Action.TRUNCATE, Action.WRITE, Action.UPDATE, Action.REMOVE, Action.RENAME, Action.LINK}
)


def parse_events(data: bytes) -> tuple[list[FileEvent], bytes]:
    """Whole events in a stream, and the bytes that are left over."""
    events = []
    at, size = 0, len(data)
    while at + 4 <= size:
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        if end > size:
            break
        action, path, target, pid, detail = os.fsdecode(data[at + 4 : end]).split("\0")
        events.append(FileEvent(Action(action), path, target, int(pid), detail))
        at = end
    return events, data[at:]


class Tally:
    """Passes events on and counts what a report needs; one thread at a time.

    Attributes:
        events: How many there were.
        unobserved: How many processes of each program ran without the hook.
    """

    def __init__(self, on_event: OnEvent) -> None:
        self.events = 0
        self.unobserved: Counter[str] = Counter()
        self._on_event = on_event
        self._written: set[str] = set()
        self._failures = 0
        self._first_failure = ""
        self._lock = threading.RLock()

    def tell(self, event: FileEvent) -> None:
        """Handle one event; a failure is counted, not raised."""
        with self._lock:
            self.events += 1
            if event.detail == "unobserved":
                self.unobserved[os.path.basename(event.path)] += 1
            elif event.action in _WRITES:
                self._written.update(filter(None, (event.path, event.target)))
            try:
                self._on_event(event)
            except Exception as error:  # recording must never break the user's program
                self._failures += 1
                self._first_failure = self._first_failure or f"{type(error).__name__}: {error}"

    def find(self, scan: TreeScan | None) -> Found | None:
        """Tell also of what a scan finds that nobody told of."""
        if scan is None:
            return None
        found = scan.changes(self._written)
        for event in found.events:
            self.tell(event)
        return found

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong, sentences."""
        if not self._failures:
            return ()
        return (f"Recording failed {self._failures} times, first with {self._first_failure}",)


class Observer:
    """Hears all Python processes that look for it in a planted folder, one at a time.

    Args:
        tally: Is told of each event; its sender waits for that.
        folder: The folder.

    Attributes:
        was_heard: Whether any process has connected.
        late: Number of events that were heard of only afterwards.
        left: Number of processes that were still connected at the end.
    """

    def __init__(self, tally: Tally, folder: Path) -> None:
        self.was_heard = False
        self.late = 0
        self.left = 0
        self._tally = tally
        self._folder = folder
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(folder / child.SOCKET))
        self._server.listen(64)
        self._rest: dict[socket.socket, bytes] = {}
        self._told_at = 0
        self._look_at = time.monotonic() + _LOOK_S
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Answer no more; programs that ask go on by themselves."""
        for connection in (*self._rest, self._server):
            connection.close()
        self._selector.close()

    def serve_until_end(self, process: "subprocess.Popen[bytes]") -> None:
        """Answer until the command itself has ended."""
        ended_read, ended_write = os.pipe()

        def wait() -> None:
            process.wait()
            os.close(ended_write)

        waiter = threading.Thread(target=wait, name="thence-wait", daemon=True)
        waiter.start()
        self.serve_until(ended_read)
        os.close(ended_read)
        waiter.join()

    def serve_until(self, descriptor: int) -> None:
        """Answer until this can be read and nobody asks anything more."""
        self._selector.register(descriptor, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in self._selector.select(_LOOK_S)]
            if ready == [descriptor]:
                break
            self._serve(ready)
            if time.monotonic() >= self._look_at:
                self._read_told()
                self._look_at = time.monotonic() + _LOOK_S
        self._selector.unregister(descriptor)

    def serve_rest(self) -> None:
        """Answer what the command started until that has ended too, but only for a moment."""
        leave_at = time.monotonic() + _GRACE_S
        while self._rest and (left_s := leave_at - time.monotonic()) > 0:
            self._serve([key.fileobj for key, _ in self._selector.select(left_s)])
        self.left = len(self._rest)

    def _serve(self, ready: Sequence[object]) -> None:
        for one in ready:
            if one is self._server:
                connection, _ = self._server.accept()
                self._rest[connection] = b""
                self._selector.register(connection, selectors.EVENT_READ)
                self.was_heard = True
            elif isinstance(one, socket.socket):
                self._hear(one)

    def _hear(self, connection: socket.socket) -> None:
        rest = self._rest[connection]
        try:
            data = connection.recv(_PIECE)
            events, rest = parse_events(rest + data)
        except (OSError, ValueError):
            data, events = b"", []
        for event in events:
            self._tally.tell(event)
            with contextlib.suppress(OSError):
                connection.send(child.ANSWER)
        if data:
            self._rest[connection] = rest
        else:
            self._selector.unregister(connection)
            del self._rest[connection]
            connection.close()

    def _read_told(self) -> None:
        """Tell of what programs noted in a file because nothing depends on when we hear of it."""
        try:
            with (self._folder / child.TOLD).open("rb") as file:
                file.seek(self._told_at)
                data = file.read()
            events, rest = parse_events(data)
        except (OSError, ValueError):
            return
        self._told_at += len(data) - len(rest)
        for event in events:
            self._tally.tell(event)

    def late_events(self) -> list[FileEvent]:
        """What processes noted in the file because they could not reach us; all has ended."""
        self._read_told()
        try:
            events, _ = parse_events((self._folder / child.LATE).read_bytes())
        except (OSError, ValueError):
            events = []
        self.late = len(events)
        return events
