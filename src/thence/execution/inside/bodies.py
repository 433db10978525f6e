"""The body of an answer, as it passes: counted, hashed, and written to a file where it is kept."""

from __future__ import annotations

import os

from .credentials import HELD_BYTES, gives_credentials, is_credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Guard = Callable[[Callable[[Any], None], Any], None]
    Tell = Callable[..., None]

__all__ = ["Body", "Dechunked"]


class Body:
    """One body; it is told of when it has been read whole, and only then.

    Where it is to be kept, short ones are written when they are whole: one that gives credentials
    is not written at all.

    Args:
        number: Of the fetch in this process.
        tell: Tells a note.
        guard: Calls a function so that nothing it does is observed or fails.
        path: Where it is kept; empty for nowhere.
        url: It came from, without secrets.
    """

    def __init__(
        self, number: int, tell: Tell, guard: Guard, path: str = "", url: str = ""
    ) -> None:
        import hashlib

        self._number = number
        self._tell = tell
        self._guard = guard
        self._path = path
        self._url = url
        self._is_withheld = bool(path) and gives_credentials(url)
        self._held = b""
        self._hash = hashlib.sha256()
        self._size = 0
        self._file = -1
        self._pid = os.getpid()
        self._done = False

    def feed(self, data: Any) -> None:
        """More of it."""
        if not self._done and self._is_here():
            self._guard(self._feed, data)

    def _feed(self, data: Any) -> None:
        self._hash.update(data)
        self._size += len(data)
        if self._is_withheld or not self._path:
            return
        if self._file < 0 and self._size <= HELD_BYTES:
            self._held += bytes(data)
            return
        self._write(data)

    def _write(self, data: Any) -> None:
        try:
            if self._file < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
                self._file = os.open(self._path, flags, 0o600)
                data, self._held = self._held + bytes(data), b""
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            self._forget()

    def end(self) -> None:
        """That was all of it."""
        if not self._done and self._is_here():
            self._done = True
            told: list[str] = []
            self._guard(lambda _: told.append(self._finished()), None)
            if told:
                self._say(told[0])

    def _finished(self) -> str:
        """The digest; the file is complete then."""
        if self._path and self._file < 0:
            self._is_withheld = self._is_withheld or is_credentials(self._held)
            if self._is_withheld:
                self._forget()
            else:
                self._write(b"")
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        return self._hash.hexdigest()

    def _say(self, digest: str) -> None:
        if self._is_withheld:
            self._tell("remote-body", id=self._number, size=self._size, withheld=self._url)
            return
        self._tell(
            "remote-body",
            id=self._number,
            size=self._size,
            digest=digest,
            file=os.path.basename(self._path),
        )

    def _forget(self) -> None:
        path, self._path = self._path, ""
        self._held = b""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            os.unlink(path)

    def _is_here(self) -> bool:
        """Whether this is no fork: the file is still written to by its parent."""
        return self._pid == os.getpid()

    def __del__(self) -> None:
        if self._file >= 0 and self._is_here():
            self._guard(lambda _: self._forget(), None)


class Dechunked:
    """Finds the body in the bytes of a chunked transfer (RFC 9112, section 7.1).

    Args:
        body: Is fed, and ended by the last chunk.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self._line = b""
        self._left = 0
        self._skip = 0
        self._done = False

    def feed(self, data: Any) -> None:
        """More bytes, cut anywhere."""
        view = memoryview(data)
        while view and not self._done:
            if self._left:
                piece = view[: self._left]
                self._body.feed(piece)
                self._left -= len(piece)
                view = view[len(piece) :]
                if not self._left:
                    self._skip = 2  # the end of the line after the chunk
            elif self._skip:
                count = min(self._skip, len(view))
                self._skip -= count
                view = view[count:]
            else:
                view = self._head(view)

    def _head(self, view: memoryview) -> memoryview:
        text = view[:4096].tobytes()
        at = text.find(b"\n")
        if at < 0:
            self._line += text
            return view[len(text) :]
        line, self._line = self._line + text[:at], b""
        self._left = int(line.split(b";")[0].strip() or b"0", 16)
        if not self._left:
            self._done = True
            self._body.end()
        return view[at + 1 :]
