"""Answers that a run kept, given again in its reproduction without asking anybody."""

from __future__ import annotations

import os
import sys

from .addresses import key_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["INDEX", "Answer", "Replay"]

INDEX = "index"
_PIECE = 1 << 16


class Answer:
    """What is answered.

    Attributes:
        status: Of the answer.
        headers: Of the answer, with the length of its body.
    """

    def __init__(
        self, status: int, headers: list[tuple[str, str]], path: str, span: tuple[int, int]
    ) -> None:
        self.status = status
        self.headers = headers
        self._path = path
        self._span = span

    def pieces(self) -> Iterator[bytes]:
        """The body."""
        start, end = self._span
        if not self._path or end <= start:
            return
        with open(self._path, "rb") as file:
            file.seek(start)
            while start < end:
                piece = file.read(min(_PIECE, end - start))
                if not piece:
                    return
                start += len(piece)
                yield piece

    def head(self) -> bytes:
        """Status line and headers as they are sent."""
        lines = [f"HTTP/1.1 {self.status} Kept", *(f"{a}: {b}" for a, b in self.headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


class Replay:
    """The kept answers.

    Args:
        folder: With an index and the bodies; empty for none.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._kept: dict[str, list[dict[str, Any]]] = {}
        self.origins: set[str] = set()
        if folder:
            import marshal

            with open(os.path.join(folder, INDEX), "rb") as file:
                self._kept = marshal.loads(file.read())  # noqa: S302 - of who started us
            self.origins = {_origin(url) for url in self._kept}

    def has(self, method: str, url: str) -> bool:
        """Whether something is kept of it."""
        return method.upper() in {"GET", "HEAD"} and key_of(url) in self._kept

    def find(self, method: str, url: str, wanted: str = "") -> Answer | None:
        """The answer to a request.

        Args:
            method: GET or HEAD.
            url: That is asked for.
            wanted: The header `Range` of the request.
        """
        if not self.has(method, url):
            return None
        key = key_of(url)
        asked = method.upper()
        entries = self._kept[key]
        span = _span(wanted)
        if span is not None:
            part = self._part(entries, span)
            if part is not None:
                return part
            # Of what has moved or is not there, nobody sends a part.
            entries = [one for one in entries if asked != "GET" or one["status"] >= 300]
        whole = [one for one in entries if one["method"] == asked and not one["part"]]
        if not whole and asked == "HEAD":
            whole = [one for one in entries if not one["part"]]
        if not whole:
            return None
        entry = whole[0] if len(whole) == 1 else self._turn(key + asked, whole)
        length = int(entry["size"] or 0)
        body = entry["file"] if asked == "GET" else ""
        headers = _headers(entry, length)
        return Answer(entry["status"], headers, self._path(body), (0, length))

    def _part(
        self, entries: list[dict[str, Any]], span: tuple[int | None, int | None]
    ) -> Answer | None:
        for entry in entries:
            if entry["method"] != "GET" or not entry["file"]:
                continue
            size = int(entry["size"] or 0)
            first, total = 0, size
            if entry["part"]:
                first, _, total = _content_range(entry["part"])
            elif entry["status"] != 200:
                continue
            start, end = span
            if start is None:
                start, end = max(0, total - (end or 0)), total - 1
            end = min(total - 1, end if end is not None else total - 1)
            if first <= start <= end < first + size:
                headers = [
                    *((n, v) for n, v in _headers(entry, end - start + 1) if n != "content-range"),
                    ("content-range", f"bytes {start}-{end}/{total}"),
                ]
                path = self._path(entry["file"])
                return Answer(206, headers, path, (start - first, end - first + 1))
        return None

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name) if name else ""

    def _turn(self, key: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
        """Which of several answers it is now: they are counted over all processes."""
        import fcntl
        import hashlib

        name = "turn-" + hashlib.sha256(key.encode()).hexdigest()[:32]
        fd = os.open(os.path.join(self._folder, name), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            turn = os.fstat(fd).st_size
            os.write(fd, b".")
        finally:
            os.close(fd)
        for entry in entries:
            turn -= int(entry["count"])
            if turn < 0:
                return entry
        return entries[-1]


def _headers(entry: dict[str, Any], length: int) -> list[tuple[str, str]]:
    kept = dict(entry["headers"])
    if entry["method"] == "HEAD":
        length = int(kept.get("content-length", length) or 0)
    kept.pop("content-length", None)
    return [*kept.items(), ("content-length", str(length)), ("connection", "close")]


def _span(text: str) -> tuple[int | None, int | None] | None:
    """The first and last byte of a header `Range` (RFC 9110, section 14.2) of one range."""
    unit, mark, rest = text.partition("=")
    if not mark or unit.strip().lower() != "bytes" or "," in rest:
        return None
    first, dash, last = rest.strip().partition("-")
    if not dash or not (first or last):
        return None
    try:
        return int(first) if first else None, int(last) if last else None
    except ValueError:
        return None


def _content_range(text: str) -> tuple[int, int, int]:
    span, _, total = text.rpartition(" ")[2].partition("/")
    first, _, last = span.partition("-")
    return int(first), int(last), int(total) if total.isdigit() else int(last) + 1


def _origin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].partition('?')[0]}"


def load(folder: str) -> Replay:
    """The kept answers in a folder; none where it cannot be read."""
    try:
        return Replay(folder)
    except (OSError, ValueError, EOFError, TypeError) as error:
        print(f"thence: kept answers cannot be read: {error}", file=sys.stderr)
        return Replay("")
