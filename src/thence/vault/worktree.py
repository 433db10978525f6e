"""Which version a path of the user's is, so that `status` can tell and `get` overwrites nothing.

Kept in an append-only file, one JSON object a line, the last one for a path counts.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from thence.model import codec
from thence.model.ids import Digest
from thence.model.names import ArtifactName

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
        """All tracked paths; lines that cannot be read are passed over."""
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return {}
        found: dict[str, Tracked] = {}
        for line in lines:
            try:
                item = codec.decode(line, Tracked)
            except Exception:  # noqa: S112 - a torn last line after a crash is expected
                continue
            found[item.path] = item
        return found

    def remember(self, items: Iterable[Tracked]) -> None:
        """Note which version each path now is."""
        lines = b"".join(codec.encode(item) + b"\n" for item in items)
        if not lines:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0, os.SEEK_END)
            end = file.tell()
            if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
                lines = b"\n" + lines
            file.write(lines)
            self._compact(file.fileno())

    def _compact(self, descriptor: int) -> None:
        """Drop superseded lines once they are most of a long file; the lock is held."""
        data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        count = data.count(b"\n")
        if count < _COMPACT_AT:
            return
        current = self.tracked()
        if count < 2 * len(current):
            return
        body = b"".join(codec.encode(item) + b"\n" for item in current.values())
        os.ftruncate(descriptor, 0)
        os.write(descriptor, body)
