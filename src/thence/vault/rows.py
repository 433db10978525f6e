"""Rows: all entries of the directories of many packs, as numbers, to be marked and counted.

An id costs 14 bytes of memory here, and the 64 of its entry in a file that is mapped. Ten million
of them are looked up in about ten seconds.
"""

import mmap
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from thence.store.base import Bytes
from thence.vault.pack import ENTRY, ENTRY_SIZE, BlockKind, to_entry
from thence.vault.segment import Location, Segment

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

__all__ = ["Matches", "Rows"]

_PACK_AT = 58
_NOT_HERE = -1
_SLICE = 1_000_000
_CALLS = 32


class Matches(NamedTuple):
    """Which rows have which of some ids.

    Attributes:
        wanted: Positions in what was asked for, one for each row.
        rows: The rows.
    """

    wanted: "Array"
    rows: "Array"


class _Part(NamedTuple):
    """A segment: its entries, their first eight bytes as numbers, and its first row."""

    entries: "Array"
    keys: "Array"
    first: int


class Rows:
    """The entries of some packs.

    Args:
        segments: Where they are; each pack in one of them.
        packs: Which packs; entries of others are passed over.

    Attributes:
        packs: Ids of the packs; rows name them by their position.
        pack: Position of the pack of each row, -1 for what is passed over.
        kind: Of each row.
    """

    def __init__(self, segments: Sequence[Segment], packs: Iterable[bytes]) -> None:
        import numpy as np

        self._segments = list(segments)
        self._calls = 0
        self.packs = sorted(packs)
        number = {pack: at for at, pack in enumerate(self.packs)}
        self._parts: list[_Part] = []
        all_packs, all_kinds = [], []
        first = 0
        for segment in segments:
            count = segment.count
            start = len(segment.data) - ENTRY_SIZE * count
            entries = np.frombuffer(segment.data, np.uint8, offset=start).reshape(-1, ENTRY_SIZE)
            keys = np.ascontiguousarray(entries[:, :8]).view(">u8").ravel().astype(np.uint64)
            # Another process that shares the cache may have written a pack once more.
            here = [number.pop(pack, _NOT_HERE) for pack in segment.packs]
            old = np.ascontiguousarray(entries[:, _PACK_AT : _PACK_AT + 4]).view("<u4").ravel()
            known = np.array([*here, _NOT_HERE], np.int32)
            all_packs.append(known[np.minimum(old, len(here))])
            all_kinds.append(np.ascontiguousarray(entries[:, 56]))
            self._parts.append(_Part(entries, keys, first))
            first += count
        self.pack: Array = np.concatenate(all_packs) if all_packs else np.zeros(0, np.int32)
        self.kind: Array = np.concatenate(all_kinds) if all_kinds else np.zeros(0, np.uint8)

        self._let_go()

    def __len__(self) -> int:
        return len(self.pack)

    def _let_go(self) -> None:
        """Drop the pages of the mapped files: they are read again where they are needed."""
        for segment in self._segments:
            if isinstance(segment.data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                segment.data.madvise(mmap.MADV_DONTNEED)

    def marks(self) -> "Array":
        """A mark for each row, not set."""
        import numpy as np

        return np.zeros(len(self), np.bool_)

    def find(self, ids: Collection[bytes] | Bytes) -> Matches:
        """All rows with some ids, each given once or more; several packs may have one id."""
        import numpy as np

        self._calls += 1
        if not self._calls % _CALLS:
            self._let_go()
        data = ids if isinstance(ids, bytes | bytearray | memoryview) else b"".join(ids)
        wanted = np.frombuffer(data, np.uint8).reshape(-1, 32)
        keys = np.ascontiguousarray(wanted[:, :8]).view(">u8").ravel().astype(np.uint64)
        found_wanted, found_rows = [], []
        for part in self._parts:
            if not len(part.keys):
                continue
            at = np.searchsorted(part.keys, keys)
            left = np.arange(len(keys))
            # Rows of one id lie side by side; so do ids that begin with the same eight bytes.
            while len(left):
                inside = at < len(part.keys)
                left, at = left[inside], at[inside]
                same = part.keys[at] == keys[left]
                left, at = left[same], at[same]
                whole = (part.entries[at, :32] == wanted[left]).all(axis=1)
                rows = at[whole] + part.first
                there = self.pack[rows] != _NOT_HERE
                found_wanted.append(left[whole][there])
                found_rows.append(rows[there])
                at = at + 1
        if not found_rows:
            return Matches(np.zeros(0, np.int64), np.zeros(0, np.int64))
        return Matches(np.concatenate(found_wanted), np.concatenate(found_rows))

    def repeated(self) -> "Array":
        """Marks of the rows whose id may also be in another row; never too few."""
        import numpy as np

        marks = self.marks()
        for part in self._parts:
            here = marks[part.first : part.first + len(part.keys)]
            same = part.keys[1:] == part.keys[:-1]
            here[1:] |= same
            here[:-1] |= same
            for other in self._parts:
                if other is part or not len(other.keys):
                    continue
                for start in range(0, len(part.keys), _SLICE):
                    keys = part.keys[start : start + _SLICE]
                    at = np.minimum(np.searchsorted(other.keys, keys), len(other.keys) - 1)
                    here[start : start + _SLICE] |= other.keys[at] == keys
        return marks

    def ids(self, rows: "Array") -> bytes:
        """The ids of some rows, one after the other."""
        import numpy as np

        out = np.zeros((len(rows), 32), np.uint8)
        for part in self._parts:
            mine = (rows >= part.first) & (rows < part.first + len(part.keys))
            out[mine] = part.entries[rows[mine] - part.first, :32]
        return out.tobytes()

    def location(self, row: int) -> Location:
        """Where the id of a row lies."""
        for part in self._parts:
            if part.first <= row < part.first + len(part.keys):
                data = part.entries[row - part.first].tobytes()
                return Location(self.packs[int(self.pack[row])], to_entry(ENTRY.unpack(data)))
        raise IndexError(row)

    def stored_bytes(self) -> "Array":
        """How many bytes of its pack each row has; members of a solid block share it."""
        import numpy as np

        stored = self._column(48, "<u4").astype(np.float32)
        shared = np.flatnonzero((self.kind == BlockKind.WHOLE) | (self.kind == BlockKind.LIST))
        if len(shared):
            raw = self._column(40, "<u8")[shared].astype(np.float64)
            offset = self._column(32, "<u8")[shared]
            block = (self.pack[shared].astype(np.uint64) << np.uint64(40)) + offset
            _, inverse = np.unique(block, return_inverse=True)
            whole = np.maximum(np.bincount(inverse, raw), 1.0)
            stored[shared] *= (raw / whole[inverse]).astype(np.float32)
        self._let_go()
        return stored

    def _column(self, at: int, shape: str) -> "Array":
        import numpy as np

        width = np.dtype(shape).itemsize
        parts = [
            np.ascontiguousarray(part.entries[:, at : at + width]).view(shape).ravel()
            for part in self._parts
        ]
        return np.concatenate(parts) if parts else np.zeros(0, shape)
