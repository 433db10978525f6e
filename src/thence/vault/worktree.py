"""Which version a path of the user's is, so that `status` can tell and `get` overwrites nothing.

Kept in an append-only file, one JSON object a line, the last one for a path counts.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote_from_bytes

import msgspec

from thence.errors import ThenceError
from thence.model import codec
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.model.paths import path_from_text, path_to_text
from thence.store.failures import failures_of

__all__ = ["Tracked", "Worktree"]

_COMPACT_AT = 2000


class Tracked(msgspec.Struct, frozen=True, kw_only=True):
    """A path and the version that it was saved as or got from.

    Attributes:
        path: Relative to the project, or absolute outside of it.
        member: For an artifact of several paths: which of its files or folders this path is.
        version: Digest of the version record.
        tree: Digest of the version's tree.
    """

    path: str
    artifact: ArtifactName
    version: Digest
    tree: Digest
    member: str = ""


class Worktree:
    """The tracked paths of one working copy."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def tracked(self) -> dict[str, Tracked]:
        """All tracked paths; lines that cannot be read are passed over.

        Raises:
            Denied: The file may not be read.
            StorageError: It cannot be read.
        """
        with failures_of(f"cannot read {self._path}", about=str(self._path)):
            try:
                return _parse(self._path.read_bytes())
            except FileNotFoundError:
                return {}

    def remember(self, items: Iterable[Tracked]) -> None:
        """Note which version each path now is.

        Raises:
            Denied: The file may not be written.
            StorageError: It cannot be written.
        """
        lines = b"".join(map(_line, items))
        if not lines:
            return
        with failures_of(f"cannot write {self._path}", about=str(self._path)):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked() as file:
                end = file.seek(0, os.SEEK_END)
                if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
                    lines = b"\n" + lines
                file.write(lines)
                file.flush()
                self._compact(file.fileno())

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The file, open for this process alone, and not one that a compaction has replaced."""
        while True:
            with self._path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                try:
                    current = os.stat(self._path)
                except FileNotFoundError:
                    continue
                if os.path.samestat(current, os.fstat(file.fileno())):
                    yield file
                    return

    def _compact(self, descriptor: int) -> None:
        """Drop superseded lines once they are most of a long file; the lock is held.

        The new file takes the place of the old one in one step: a crash leaves one of the two.
        """
        data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        count = data.count(b"\n")
        if count < _COMPACT_AT:
            return
        current = _parse(data)
        if count < 2 * len(current):
            return
        temporary = self._path.with_name(f"{self._path.name}.new")
        with temporary.open("wb") as file:
            file.writelines(map(_line, current.values()))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)


class _Line(Tracked, frozen=True, kw_only=True):
    """A line of the file.

    Attributes:
        percent: `path` and `member` are percent-encoded: one of them is not UTF-8.
    """

    percent: bool = False


def _line(item: Tracked) -> bytes:
    texts = path_to_text(item.path), path_to_text(item.member)
    percent = any(text.percent for text in texts)
    path, member = (
        quote_from_bytes(os.fsencode(text)) if percent else text
        for text in (item.path, item.member)
    )
    line = _Line(
        path=path,
        artifact=item.artifact,
        version=item.version,
        tree=item.tree,
        member=member,
        percent=percent,
    )
    return codec.encode(line) + b"\n"


def _parse(data: bytes) -> dict[str, Tracked]:
    found: dict[str, Tracked] = {}
    for text in data.splitlines():
        try:
            line = codec.decode(text, _Line)
        except ThenceError:
            continue  # a torn line after a crash is expected
        path, member = (path_from_text(t, percent=line.percent) for t in (line.path, line.member))
        found[path] = Tracked(
            path=path,
            artifact=line.artifact,
            version=line.version,
            tree=line.tree,
            member=member,
        )
    return found
