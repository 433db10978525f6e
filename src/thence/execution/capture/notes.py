"""The notes of a run's files in its spool: what was seen, one JSON object a line.

Reading them again gives what the process knew that wrote them, also where it was killed.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from thence.errors import NotFound, StorageError

__all__ = ["Notes"]

_FILE = "files.jsonl"


class Notes:
    """The notes in a spool, to be added to once they are open.

    Args:
        spool: A folder.
    """

    def __init__(self, spool: Path) -> None:
        self._path = spool / _FILE
        self._fd = -1
        self._encode = msgspec.json.Encoder().encode
        self._together: list[bytes] | None = None

    def open(self) -> None:
        """Begin to write.

        Raises:
            StorageError: They cannot be written.
        """
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise StorageError(
                f"cannot write to the spool {self._path.parent}", why=str(error.strerror)
            ) from error

    def close(self) -> None:
        """Write no more; what is added is passed over."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def add(self, kind: str, body: dict[str, Any]) -> None:
        """Write a note.

        Raises:
            OSError: The disk is full, or fails.
        """
        if self._fd < 0:
            return
        note = {"note": kind, **body}
        try:
            line = self._encode(note) + b"\n"
        except UnicodeEncodeError:
            # As ASCII: names that are not UTF-8 are escaped and come back as they were.
            line = json.dumps(note).encode() + b"\n"
        if self._together is None:
            os.write(self._fd, line)
        else:
            self._together.append(line)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write what is added within at its end, in one call.

        Raises:
            OSError: The disk is full, or fails.
        """
        lines: list[bytes] = []
        self._together = lines
        try:
            yield
        finally:
            self._together = None
            if lines and self._fd >= 0:
                rest = memoryview(b"".join(lines))
                while rest:
                    rest = rest[os.write(self._fd, rest) :]

    def read(self) -> list[dict[str, Any]]:
        """All notes; the first is `begin`.

        Raises:
            NotFound: There are none.
        """
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError as error:
            raise NotFound(
                f"no notes of a run in {self._path.parent}", why=str(error.strerror)
            ) from error
        notes = list(_parse(lines))
        begin = next((at for at, note in enumerate(notes) if note["note"] == "begin"), None)
        if begin is None:
            raise NotFound(
                f"no notes of a run in {self._path.parent}", why="The first line is missing."
            )
        return notes[begin:]


def _parse(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue  # the last line of a process that was killed while writing it
