"""The stat cache: which content a file had when it was last read.

A file is taken as unchanged if its size, times, inode and device are the same, and if its times
were already past when it was read. A file that was modified just before could be modified again
within the same tick of the clock (git calls such entries racy), so it is read again.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec

from thence.model.ids import Digest

__all__ = ["Signature", "StatCache", "signature"]

# Linux 6.13 and later stamp files finely; older kernels tick every 1 to 4 ms, FAT every 2 s.
_RACY_NS = 20_000_000

Signature = tuple[int, int, int, int, int]


def signature(facts: os.stat_result) -> Signature:
    """What must be equal for a file to count as unchanged.

    The change time is among it: `cp -p`, rsync and tar set the modification time back.
    """
    return (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_dev)


class _Row(msgspec.Struct, array_like=True):
    signature: Signature
    digest: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class StatCache:
    """A cache in one local file; losing it costs time only.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[bytes, _Row] | None = None
        self._changed = False

    def _loaded(self) -> dict[bytes, _Row]:
        if self._rows is None:
            try:
                self._rows = msgspec.msgpack.decode(self._path.read_bytes(), type=dict[bytes, _Row])
            except (OSError, ValueError):
                self._rows = {}
        return self._rows

    def find(self, path: Path, facts: os.stat_result) -> Digest | None:
        """The digest of a file's bytes, where they are certainly still the same."""
        row = self._loaded().get(os.fsencode(path))
        if row is None or row.signature != signature(facts):
            return None
        return Digest(row.digest)

    def remember(
        self, path: Path, facts: os.stat_result, digest: Digest, *, read_at_ns: int
    ) -> None:
        """Note the digest of a file that was read at a time; racy ones are not kept."""
        key = os.fsencode(path)
        if max(facts.st_mtime_ns, facts.st_ctime_ns) > read_at_ns - _RACY_NS:
            self._changed |= self._loaded().pop(key, None) is not None
            return
        self._loaded()[key] = _Row(signature(facts), digest.raw)
        self._changed = True

    def save(self) -> None:
        """Write the cache; a failure is passed over, since it is only a cache."""
        if not self._changed or self._rows is None:
            return
        temporary = self._path.with_suffix(f".{os.getpid()}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.msgpack.encode(self._rows))
            temporary.replace(self._path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
        self._changed = False
