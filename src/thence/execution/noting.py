"""Hears the notes of the programs of a run (`thence_inside`), and keeps them without secrets."""

import contextlib
import json
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from thence.execution.capture.arguments import scrub_param
from thence.execution.capture.query_secrets import scrub_query
from thence.execution.capture.secret_names import names_a_secret
from thence.execution.capture.secrets import Redactor
from thence.execution.inside.arguments import KIND
from thence.execution.inside.notes import NOTES
from thence.execution.inside.queries import QUERY

__all__ = ["Listener", "NoteBook", "OnNote", "read_notes"]

_log = logging.getLogger(__name__)

OnNote = Callable[[Mapping[str, Any]], None]
"""Called with each note, one at a time, in a thread of the listener."""

_FILE = "notes.jsonl"
_LONGEST = 1 << 20
_PIECE = 1 << 16
# What was said before the end is in the sockets by then.
_GRACE_S = 0.25


class NoteBook:
    """Adds notes to the spool of a run; a crash loses at most the last one.

    Args:
        spool: The folder.
        redactor: Replaces secrets in them before they are written.
    """

    def __init__(self, spool: Path, redactor: Redactor) -> None:
        self._redactor = redactor
        self._lock = threading.Lock()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(spool / _FILE, flags, 0o600)

    def add(self, note: Mapping[str, Any]) -> None:
        """Keep one note.

        Raises:
            OSError: The disk is full, or fails.
        """
        if note.get("kind") == QUERY:
            note = scrub_query(self._redactor, note)
        if isinstance(withheld := note.get("withheld"), str):
            self._redactor.note_file(self._redactor.scrub_text(withheld))
        clean = {key: self._clean_field(note, key, value) for key, value in note.items()}
        data = json.dumps(clean, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            os.write(self._file, data)

    def _clean_field(self, note: Mapping[str, Any], name: str, value: Any) -> Any:
        if note.get("kind") == KIND:
            if name == "values":
                return self._clean_params(value, str(note.get("origin", "")))
            if name in {"argv", "rest"} and isinstance(value, list):
                # What follows `--password` is a secret by that.
                return list(self._redactor.scrub_argv([str(one) for one in value]).argv)
        return self._clean(name, value)

    def _clean(self, name: str, value: Any) -> Any:
        if isinstance(value, str):
            if names_a_secret(name):
                return self._redactor.scrub_value(name, value, "program")
            return self._redactor.scrub_text(value, "program")
        if isinstance(value, dict):
            return {
                self._redactor.scrub_text(key): self._clean(key, one) for key, one in value.items()
            }
        if isinstance(value, list):
            return [self._clean(name, one) for one in value]
        return value

    def _clean_params(self, values: Any, where: str) -> Any:
        """Parameters: their names may tell that they are secret."""
        if not isinstance(values, dict):
            return {}
        redactor = self._redactor
        return {
            redactor.scrub_text(name): scrub_param(redactor, name, value, where)
            for name, value in values.items()
        }

    def close(self) -> None:
        """Write no more."""
        os.close(self._file)


def read_notes(spool: Path) -> Iterator[dict[str, Any]]:
    """All notes of a run, in the order in which they were heard; torn ones are passed over."""
    try:
        data = (spool / _FILE).read_bytes()
    except FileNotFoundError:
        return
    for line in data.splitlines():
        try:
            note = json.loads(line)
        except ValueError:
            continue
        if isinstance(note, dict) and isinstance(note.get("kind"), str):
            yield note


class Listener:
    """Listens in a planted folder, in a thread of its own.

    Args:
        folder: Where programs look for the socket.
        on_note: Is told; what it raises is counted.
    """

    def __init__(self, folder: Path, on_note: OnNote) -> None:
        self._on_note = on_note
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(folder / NOTES))
        self._server.listen(64)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._rest: dict[socket.socket, bytes] = {}
        self._leave_at: float | None = None
        self._wake_read, self._wake_write = socket.socketpair()
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._thread: threading.Thread | None = None
        self._failures = 0
        self._first_failure = ""

    def start(self) -> None:
        """Begin to listen; what was said before waits in the socket."""
        self._thread = threading.Thread(target=self._listen, name="thence-notes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hear what was said until now, but wait no longer than a moment for its end."""
        self._wake_write.shutdown(socket.SHUT_RDWR)  # forks have copies: closing it says nothing
        self._wake_write.close()
        if self._thread is not None:
            self._thread.join()
        for connection in (*self._rest, self._server, self._wake_read):
            connection.close()
        self._selector.close()

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong, sentences."""
        if not self._failures:
            return ()
        return (
            f"{self._failures} notes of programs were lost, the first by {self._first_failure}",
        )

    def _listen(self) -> None:
        while True:
            left_s = None if self._leave_at is None else self._leave_at - time.monotonic()
            if left_s is not None and (left_s <= 0 or not self._rest):
                # Who connected last may not have been heard yet.
                if not self._selector.select(0):
                    return
                left_s = 0.0
            for key, _ in self._selector.select(left_s):
                self._look(key.fileobj)
            if self._leave_at is not None and time.monotonic() > self._leave_at + 1:
                return

    def _look(self, ready: Any) -> None:
        if ready is self._wake_read:
            self._selector.unregister(ready)
            self._leave_at = time.monotonic() + _GRACE_S
        elif ready is self._server:
            connection, _ = self._server.accept()
            self._rest[connection] = b""
            self._selector.register(connection, selectors.EVENT_READ)
        else:
            self._hear(ready)

    def _hear(self, connection: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = connection.recv(_PIECE)
        rest = self._rest[connection] + data
        while len(rest) >= 4:
            length = int.from_bytes(rest[:4], "big")
            if length > _LONGEST:  # not of us
                data = b""
                break
            if len(rest) < 4 + length:
                break
            self._tell(rest[4 : 4 + length])
            rest = rest[4 + length :]
        self._rest[connection] = rest
        if not data:
            self._selector.unregister(connection)
            del self._rest[connection]
            connection.close()

    def _tell(self, data: bytes) -> None:
        try:
            self._on_note(json.loads(data))
        except Exception as error:  # recording must never break the user's program
            self._failures += 1
            self._first_failure = self._first_failure or f"{type(error).__name__}: {error}"
