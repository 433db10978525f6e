"""Notes: what a program is heard to do besides touching files, told to who observes it.

The protocol: a note is a four-byte length and a JSON object `{"kind": …, "pid": …, "image": …, …}`.
Nobody answers; where nobody listens any more, notes are dropped and the program goes on. Where who
listens does not take them in time, some are kept until it does, and how many more were dropped is
told then.
"""

from __future__ import annotations

import os
from _thread import allocate_lock

try:
    # The package json needs milliseconds to be imported, at the start of each Python.
    from _json import encode_basestring_ascii as _quoted
except ImportError:
    from json.encoder import encode_basestring_ascii as _quoted

from .identity import image
from .wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Tell = Callable[[str, "dict[str, Any]"], None]

__all__ = ["DROPPED", "NOTES", "Notes", "encode"]

NOTES = "notes"
DROPPED = "notes-dropped"
_LONGEST = 1 << 20
_PATIENCE_S = 10.0
_PATIENCE_AT_END_S = 1.0


class Notes:
    """The connection to who listens; one for each process, also after a fork.

    Args:
        folder: In which the socket is.
        patience_s: How long a program waits until a note is taken. When one was not, the next ones
            are not waited for, until one is taken again.
    """

    def __init__(self, folder: str, *, patience_s: float = _PATIENCE_S) -> None:
        self._path = os.path.join(folder, NOTES)
        self._longest_s = patience_s
        self._pid = -1
        self._reset()

    def _reset(self) -> None:
        # Another thread of the parent may have held the lock when it forked.
        self._lock = allocate_lock()
        self._wire: Wire | None = None
        self._lost = False
        self._rest = b""
        self._dropped = 0
        self._patience_s = self._longest_s
        self._pid = os.getpid()

    def tell(self, kind: str, fields: dict[str, Any]) -> None:
        """Tell it; what cannot be said in JSON is said in its `str`."""
        pid = os.getpid()
        if pid != self._pid:
            self._reset()
        message = _message(kind, fields)
        with self._lock:
            self._try(lambda: self._add(message))

    def finish(self) -> None:
        """The program ends: wait a moment for what was not taken until now."""
        if os.getpid() == self._pid and (self._rest or self._dropped):
            with self._lock:
                self._patience_s = min(_PATIENCE_AT_END_S, self._longest_s)
                self._try(self._flush)

    def _add(self, message: bytes) -> None:
        self._flush()
        if len(self._rest) + len(message) > _LONGEST:
            self._dropped += 1
        else:
            self._send(self._rest + message)

    def _flush(self) -> None:
        if self._rest:
            self._send(self._rest)
        if self._dropped and not self._rest:
            self._send(_message(DROPPED, {"count": self._dropped}))
            self._dropped = 0

    def _send(self, data: bytes) -> None:
        if self._wire is None:
            self._wire = Wire(self._path, self._patience_s)
        self._rest = self._wire.send(data, self._patience_s)
        self._patience_s = 0.0 if self._rest else self._longest_s

    def _try(self, function: Callable[[], None]) -> None:
        if self._lost:
            return
        try:
            function()
        except OSError:
            self._lose()
        except BaseException:
            # Ctrl-C in the middle of a note: what follows could not be told from its rest.
            self._lose()
            raise

    def _lose(self) -> None:
        self._lost = True
        if self._wire is not None:
            self._wire.close()


def _message(kind: str, fields: dict[str, Any]) -> bytes:
    data = encode({"kind": kind, "pid": os.getpid(), "image": image(), **fields}).encode("ascii")
    return len(data).to_bytes(4, "big") + data


def encode(value: Any) -> str:
    """A value as JSON in ASCII; what JSON has no form for as its `str`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return str(_quoted(value))
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float) and value - value == 0:
        return float.__repr__(value)
    if isinstance(value, dict):
        pairs = (f"{_quoted(str(key))}:{encode(one)}" for key, one in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(encode, value)) + "]"
    try:
        return str(_quoted(str(value)[:1000]))
    except Exception:
        return str(_quoted(f"<{type(value).__name__}>"))
