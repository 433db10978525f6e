"""Checkpoints of the logs: many entries in few objects, for clients that know nothing yet.

Problem: an entry is an object, so a client that is new to a project of 100,000 entries in a bucket
would make 100,000 requests before its first answer.

So: `index/<level>-<32 hex digits>` is a segment: a zstd frame of lines of JSON. The first one says
which stretch of time it is for, `{"after": time or null, "format": 1, "through": time}`: each entry
that was in the project by `through` is in it, or in the segments that reach to `after`. Then come
the entries by log and number, `[log, number, "the entry's bytes"]`, with null where the bytes are
no entry and must be looked at in the log. The last line, `{"entries": count}`, proves that nothing
is cut off. The level tells how many there are, eight times more from one to the next; eight
segments of a level that follow each other are merged into one, so that there are few and an entry
is seldom written again. The name comes of what is in it, so that two clients that do the same at
once make one object. All of it may be deleted at any time.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from thence.errors import AlreadyExists, DataDamaged, InvalidInput, NotFound
from thence.model import codec
from thence.model.numbers import LOCAL
from thence.model.records import decode_entry
from thence.store.base import Store, check_key
from thence.vault.parallel import ahead

__all__ = [
    "MIN_ENTRIES",
    "Checkpoints",
    "Line",
    "Loaded",
    "Merged",
    "Segment",
    "Stored",
    "load",
    "reach",
]

MIN_ENTRIES = 256
"""Fewer are not worth an object."""
FAN = 8
_LARGEST_MERGED = 3  # its inputs have up to 131,072 entries each in memory, some 80 MB
_PREFIX = "index/"
_KEY = re.compile(r"index/((\d)-[0-9a-f]{32})")
_CHUNK = 1 << 20
# An entry is a few hundred bytes; one with a model's card of a megabyte is none that we wrote.
_LONGEST_LINE = 64 << 20
_AT_ONCE = 4


class Segment(NamedTuple):
    """What a segment is for.

    Attributes:
        name: `<level>-<digits>`.
        after: Where its stretch of time begins; None for the beginning of the project.
        through: Where it ends.
    """

    name: str
    after: datetime | None
    through: datetime

    @property
    def level(self) -> int:
        """How large it is: from 256 times 8 to the level entries on."""
        return int(self.name[0])


class Line(NamedTuple):
    """An entry; `data` is None where it has to be looked at in the log."""

    log: str
    number: int
    data: bytes | None


class Stored(NamedTuple):
    """A segment as it lies in the store; `data` is None where it is gone."""

    name: str
    data: bytes | None


class Loaded(NamedTuple):
    """A segment that is being decoded; `lines` raises `DataDamaged` where it is damaged."""

    segment: Segment
    lines: Iterator[Line]


class Merged(NamedTuple):
    """Segments that were replaced by another one."""

    made: Segment
    replaced: tuple[str, ...]


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    after: datetime | None
    through: datetime
    format: int = 1


class _Trailer(msgspec.Struct, frozen=True, kw_only=True):
    entries: int


class Checkpoints:
    """Reads and writes the checkpoints of a project.

    Args:
        store: Where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def names(self) -> list[str]:
        """The segments there are, by one listing."""
        found = (_KEY.fullmatch(info.key) for info in self._store.list(_PREFIX))
        return [match.group(1) for match in found if match]

    def read(self, names: Iterable[str]) -> Iterator[Stored]:
        """Segments as they lie in the store, in the order of their names.

        Raises:
            StorageError: The store failed.
        """
        return ahead(self._get, names, at_once=_AT_ONCE)

    def entries(self) -> Iterator[Line]:
        """All that is in the checkpoints; what is damaged or gone is passed over."""
        for stored in self.read(self.names()):
            try:
                yield from () if stored.data is None else load(stored.name, stored.data).lines
            except DataDamaged:
                continue

    def write(
        self, lines: Iterable[Line], *, after: datetime | None, through: datetime
    ) -> Segment | None:
        """Put a segment, or do nothing where one with the same entries is there.

        Args:
            lines: By log and number.
            after: Where its stretch of time begins.
            through: Where it ends.

        Returns:
            The segment; None where it was there.

        Raises:
            StorageError: The store failed.
            Denied: The store may not be written to.
        """
        import zstandard

        name = hashlib.sha256(codec.encode(after))
        compressor = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()
        parts = [compressor.compress(codec.encode(_Header(after=after, through=through)) + b"\n")]
        count = 0
        for line in lines:
            text = None if line.data is None else line.data.decode()
            name.update(f"{line.log}/{line.number}\n".encode())
            parts.append(compressor.compress(codec.encode([line.log, line.number, text]) + b"\n"))
            count += 1
        parts.append(compressor.compress(codec.encode(_Trailer(entries=count)) + b"\n"))
        parts.append(compressor.flush())
        segment = Segment(f"{_level(count)}-{name.hexdigest()[:32]}", after, through)
        try:
            self._store.create(f"{_PREFIX}{segment.name}", [part for part in parts if part])
        except AlreadyExists:
            return None
        return segment

    def merge(self, segments: Sequence[Segment]) -> list[Merged]:
        """Merge what there is too much of.

        Raises:
            StorageError: The store failed; whatever was done by then does no harm.
            Denied: The store may not be written to.
        """
        done = []
        by_level: dict[int, list[Segment]] = defaultdict(list)
        for segment in segments:
            by_level[segment.level].append(segment)
        for level in range(_LARGEST_MERGED):
            run = _following(by_level[level])
            while len(run) >= FAN and (made := self._merge(run)) is not None:
                done.append(Merged(made, tuple(one.name for one in run)))
                by_level[made.level].append(made)
                by_level[level] = [one for one in by_level[level] if one not in run]
                run = _following(by_level[level])
        return done

    def _merge(self, run: Sequence[Segment]) -> Segment | None:
        entries: dict[tuple[str, int], bytes | None] = {}
        for name, data in self.read([one.name for one in run]):
            if data is None:
                return None  # somebody else is merging
            try:
                lines = load(name, data).lines
                entries.update({(line.log, line.number): line.data for line in lines})
            except DataDamaged:
                return None
        after, through = run[0].after, max(one.through for one in run)
        merged = (Line(*place, entries[place]) for place in sorted(entries))
        made = self.write(merged, after=after, through=through)
        # Also where it was there: who made it may have been stopped before it came to this.
        for one in run:
            self._store.delete(f"{_PREFIX}{one.name}")
        return made

    def _get(self, name: str) -> Stored:
        try:
            return Stored(name, self._store.get(f"{_PREFIX}{name}"))
        except NotFound:
            return Stored(name, None)


def reach(segments: Iterable[Segment]) -> datetime | None:
    """Until when all entries are in these segments; None where they have no beginning."""
    end: datetime | None = None
    for segment in sorted(segments, key=_begins):
        if segment.after is None:
            end = max(segment.through, end or segment.through)
        elif end is not None and segment.after <= end:
            end = max(segment.through, end)
    return end


def _begins(segment: Segment) -> float:
    return float("-inf") if segment.after is None else segment.after.timestamp()


def _following(segments: Sequence[Segment]) -> list[Segment]:
    """The first of these segments that leave no time out between them, as many as are merged."""
    run: list[Segment] = []
    for segment in sorted(segments, key=_begins):
        # One whose stretch was replaced meanwhile by a merged one leaves a hole: begin after it.
        if run and (segment.after is not None and segment.after > max(s.through for s in run)):
            run = []
        run.append(segment)
        if len(run) == FAN:
            break
    return run


def _level(entries: int) -> int:
    level = 0
    while entries >= MIN_ENTRIES * FAN ** (level + 1):
        level += 1
    return min(level, 9)


def load(name: str, data: bytes) -> Loaded:
    """Decode a segment.

    Raises:
        DataDamaged: Its beginning cannot be read; the rest is checked as one goes on.
    """
    lines = _decompressed(name, data)
    header = codec.decode(next(lines, b""), _Header)
    if header.format != 1:
        raise _damaged(name, f"format {header.format}")
    return Loaded(Segment(name, header.after, header.through), _checked(name, lines))


def _checked(name: str, lines: Iterable[bytes]) -> Iterator[Line]:
    count = 0
    is_whole = False
    for line in lines:
        if is_whole:
            raise _damaged(name, "lines after the last one")
        if line.startswith(b"{"):
            is_whole = codec.decode(line, _Trailer).entries == count
            if not is_whole:
                raise _damaged(name, "lines are missing")
            continue
        try:
            log, number, text = msgspec.json.decode(line, type=tuple[str, int, str | None])
        except ValueError as error:
            raise _damaged(name, str(error)) from error
        if not _is_place(log, number):
            raise _damaged(name, f"{log!r} {number} is no place of an entry")
        entry = None if text is None else text.encode()
        if entry is not None:
            decode_entry(entry)
        count += 1
        yield Line(log, number, entry)
    if not is_whole:
        raise _damaged(name, "it is cut short")


def _is_place(log: str, number: int) -> bool:
    try:
        return check_key(log).startswith("refs/") and 0 < number < LOCAL
    except InvalidInput:
        return False


def _decompressed(name: str, data: bytes) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    rest = b""
    try:
        for chunk in decompressor.read_to_iter(data, read_size=_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
            if len(rest) > _LONGEST_LINE:
                raise _damaged(name, "a line without end")
    except zstandard.ZstdError as error:
        raise _damaged(name, str(error)) from error
    if rest:
        raise _damaged(name, "it is cut short")


def _damaged(name: str, why: str) -> DataDamaged:
    return DataDamaged(
        f"the checkpoint {name} is damaged",
        why=f"It does not hold what it should: {why}.",
        hint=f"It may be deleted, as all of {_PREFIX}.",
        about=f"{_PREFIX}{name}",
    )
