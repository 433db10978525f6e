"""Inventory: what lies in the packs of a store, by what the packs themselves say.

A `Directory` believes what it learnt before, which is right for reading: blocks are verified
anyway. Who wants to know whether the store is whole must not believe a cache.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from thence.errors import DataDamaged, FormatTooNew, NotFound, ThenceError
from thence.model.progress import Progress, silent
from thence.store.base import Store
from thence.vault import recipe
from thence.vault.content import LARGEST_BLOCK, Content
from thence.vault.directory import Directory
from thence.vault.pack import (
    ENTRY,
    ENTRY_SIZE,
    HEADER,
    TRAILER,
    BlockKind,
    Codec,
    pack_key,
    parse_pack_key,
    read_directory,
    to_entry,
)
from thence.vault.parallel import ahead
from thence.vault.segment import Location, Segment, combine, of_packs

__all__ = ["Inventory", "Listed", "Nodes", "directory_of", "rows_of", "take_inventory"]

_BATCH = 64
_AT_ONCE = 16
_CACHED = 16 * 1024 * 1024
# The directory of a pack of a gigabyte.
_TAIL = 1024 * 1024
_KIND_AT = 56
_PACK_AT = 58
_FIRST_PACK = 52
_LAST_KIND = max(BlockKind)
_LAST_CODEC = max(Codec)


class Listed(NamedTuple):
    """A pack as the store lists it."""

    id: bytes
    size_bytes: int
    modified_s: float


class Inventory(Directory):
    """All that lies in the packs, every copy of it. May be used from any thread.

    A location that is known to be bad is given only where there is no other.

    Args:
        store: Where the packs are.
        packs: In the order in which they were written.
        segment: The entries of all of them.

    Attributes:
        packs_listed: Those that can be read, the oldest first.
        damaged: Those whose directories cannot be read, and why.
        trailers: Those whose directories are whole, but not what follows them, and why.
        unknown: Those that a newer thence wrote.
        bad: (pack, id) of what is not as its directory says.
    """

    def __init__(self, store: Store, packs: Iterable[Listed], segment: Segment) -> None:
        super().__init__(store, Path("/nonexistent"), new_name=lambda: "none")
        self.packs_listed = sorted(packs, key=lambda pack: (pack.modified_s, pack.id))
        self.order = {pack.id: number for number, pack in enumerate(self.packs_listed)}
        self.trailers: dict[bytes, DataDamaged] = {}
        self.unknown: list[str] = []
        self.bad: set[tuple[bytes, bytes]] = set()
        self._data = segment.data
        self._count: int = segment.count
        self._pack_ids = segment.packs
        self._first = _FIRST_PACK + 32 * len(segment.packs)

    def __len__(self) -> int:
        return self._count

    def packs(self) -> set[bytes]:
        """The packs whose directories can be read."""
        return set(self._pack_ids)

    def find(self, wanted: bytes) -> Location | None:
        """Where an id lies: a sound copy of it if there is one."""
        first: Location | None = None
        for where in self.copies(wanted):
            if (where.pack, wanted) not in self.bad:
                return where
            first = first or where
        return first

    def look_for(self, wanted: bytes, *, is_root: bool = False) -> Location | None:
        """As `find`: there is nothing more to look at."""
        return self.find(wanted)

    def refresh(self) -> None:
        """Nothing: it is what was there when it was taken."""

    def is_sound(self, wanted: bytes) -> bool:
        """Whether there is a copy of an id that is not known to be bad."""
        where = self.find(wanted)
        return where is not None and (where.pack, wanted) not in self.bad

    def number_of(self, wanted: bytes) -> int | None:
        """The number of the first entry of an id, for `location`."""
        return self._search(wanted)

    def copies(self, wanted: bytes) -> Iterator[Location]:
        """Every place where an id lies."""
        at = self._search(wanted)
        while at is not None and at < self._count:
            row = self._row(at)
            if row[:32] != wanted:
                return
            yield self._location(row)
            at += 1

    def of_kind(self, kind: BlockKind) -> Iterator[int]:
        """The numbers of all entries of that kind, for `location`, in the order of ids."""
        data, first = self._data, self._first
        for number in range(self._count):
            if data[first + number * ENTRY_SIZE + _KIND_AT] == kind:
                yield number

    def has(self, wanted: bytes, kind: BlockKind, length: int) -> bool:
        """Whether an id is there as what it should be, in a copy that is not known to be bad."""
        at = self._search(wanted)
        if at is None:
            return False
        row = self._row(at)
        # The first copy will do nearly always, and its fields need not be taken apart.
        if row[_KIND_AT] == kind and not self.bad:
            return int.from_bytes(row[40:48], "little") == length
        return any(
            where.entry.kind is kind
            and where.entry.raw_length == length
            and (where.pack, wanted) not in self.bad
            for where in self.copies(wanted)
        )

    def location(self, number: int) -> Location:
        """The entry of a number."""
        return self._location(self._row(number))

    def _row(self, at: int) -> bytes:
        start = self._first + at * ENTRY_SIZE
        return bytes(self._data[start : start + ENTRY_SIZE])

    def _location(self, row: bytes) -> Location:
        number = int.from_bytes(row[_PACK_AT : _PACK_AT + 4], "little")
        return Location(self._pack_ids[number], to_entry(ENTRY.unpack(row)))

    def _search(self, wanted: bytes) -> int | None:
        """The first row with an id, by interpolation."""
        rows, start = self._data, self._first
        low, high = 0, self._count
        target = int.from_bytes(wanted[:8])
        low_key, high_key = 0, 1 << 64
        while low < high:
            guess = low + (target - low_key) * (high - low) // (high_key - low_key + 1)
            guess = min(max(guess, low), high - 1)
            at = start + guess * ENTRY_SIZE
            found = rows[at : at + 32]
            if found == wanted:
                while guess and rows[at - ENTRY_SIZE : at - ENTRY_SIZE + 32] == wanted:
                    guess, at = guess - 1, at - ENTRY_SIZE
                return guess
            key = int.from_bytes(found[:8])
            if found < wanted:
                low, low_key = guess + 1, min(key, target)
            else:
                high, high_key = guess, max(key, target)
        return None


def take_inventory(
    store: Store,
    *,
    remote: bool,
    progress: Progress = silent,
) -> Inventory:
    """Read the directories of all packs.

    Raises:
        StorageError: The store failed.
        Denied: It may not be read.
    """
    listed = [
        Listed(pack_id, info.size_bytes, info.modified_s)
        for info in store.list("packs/")
        if (pack_id := parse_pack_key(info.key)) is not None
    ]
    damaged: dict[bytes, DataDamaged] = {}
    unknown: list[str] = []
    known: list[Listed] = []
    segments: list[Segment] = []

    trailers: dict[bytes, DataDamaged] = {}

    def read(pack: Listed) -> tuple[Listed, bytes | ThenceError]:
        try:
            directory = directory_of(store, pack.id, trailers)
            _check_directory(pack, directory)
        except (DataDamaged, FormatTooNew, NotFound) as error:
            trailers.pop(pack.id, None)
            return pack, error
        return pack, directory

    results = ahead(read, listed, at_once=_AT_ONCE if remote else 1)
    done = 0
    while batch := list(islice(results, _BATCH)):
        found = []
        for pack, result in batch:
            if isinstance(result, DataDamaged):
                damaged[pack.id] = result
            elif isinstance(result, FormatTooNew):
                unknown.append(f"{result.what}: packs/{pack.id.hex()[:2]}/{pack.id.hex()}")
            elif isinstance(result, bytes):
                known.append(pack)
                found.append((pack.id, result))
        segments.append(Segment(b"".join(of_packs(found))))
        done += len(batch)
        progress(done, 0)
    inventory = Inventory(store, known, Segment(b"".join(combine(segments))))
    inventory.damaged = damaged
    inventory.trailers = trailers
    inventory.unknown = unknown
    return inventory


def directory_of(
    store: Store, pack: bytes, trailers: dict[bytes, DataDamaged] | None = None
) -> bytes:
    """The directory of a pack, also where the trailer behind it is damaged: the name proves it.

    Args:
        store: Where the pack is.
        pack: Its id.
        trailers: Is told of a damaged trailer.

    Raises:
        NotFound: There is no such pack.
        DataDamaged: The directory is damaged.
        FormatTooNew: It was written by a newer thence.
    """
    try:
        return read_directory(store, pack)
    except (DataDamaged, FormatTooNew) as error:
        directory = _directory_before(store.get_range(pack_key(pack), -_TAIL, _TAIL), pack)
        if directory is None:
            raise
        if trailers is not None:
            why = "Its directory is whole, but the trailer behind it is not."
            trailers[pack] = DataDamaged(error.what, why=why, about=pack_key(pack))
        return directory


def _directory_before(tail: bytes, pack: bytes) -> bytes | None:
    """The directory that ends where the trailer begins, and has the digest that it is named by."""
    end = len(tail) - TRAILER.size
    for count in range((end - HEADER.size) // ENTRY_SIZE + 1):
        start = end - HEADER.size - count * ENTRY_SIZE
        if tail[start + 16 : start + HEADER.size] == count.to_bytes(8, "little"):
            directory = tail[start:end]
            if sha256(directory).digest() == pack:
                return directory
    return None


def _check_directory(pack: Listed, directory: bytes) -> None:
    """See that what a directory says can be.

    Raises:
        DataDamaged: Blocks lie outside of the pack, or over one another.
        FormatTooNew: A kind or codec is not known.
    """
    end_of_blocks = pack.size_bytes - len(directory) - TRAILER.size
    blocks: dict[int, int] = {}
    before = b""
    for row in rows_of(directory):
        wanted, offset, raw_length, stored_length, inner, kind, codec = row
        if wanted < before:
            raise _impossible(pack, "Its directory is not sorted.")
        before = wanted
        if not (0 < kind <= _LAST_KIND and codec <= _LAST_CODEC):
            to_entry(row)
        if offset + stored_length > end_of_blocks:
            raise _impossible(pack, "A block lies behind the end of all blocks.")
        if inner + raw_length > LARGEST_BLOCK and kind != BlockKind.RECIPE:
            raise _impossible(pack, "A block is larger than any that is written.")
        if stored_length and blocks.setdefault(offset, stored_length) != stored_length:
            raise _impossible(pack, "Two blocks lie over one another.")
    end = 0
    for offset in sorted(blocks):
        if offset < end:
            raise _impossible(pack, "Two blocks lie over one another.")
        end = offset + blocks[offset]


def rows_of(directory: bytes) -> "Iterator[tuple[bytes, int, int, int, int, int, int]]":
    """The entries of a directory as plain numbers, which takes a fifth of the time.

    (id, offset, raw length, stored length, inner offset, kind, codec)
    """
    return ENTRY.iter_unpack(memoryview(directory)[HEADER.size :])


def _impossible(pack: Listed, why: str) -> DataDamaged:
    digits = pack.id.hex()
    key = f"packs/{digits[:2]}/{digits}"
    return DataDamaged(f"a damaged pack: {key}", why=why, about=key)


class Nodes:
    """Reads the nodes of recipes: tops and lists. Not for use by several threads.

    Args:
        store: Where the packs are.
        inventory: What lies in them.
        content: Decodes.
    """

    def __init__(self, store: Store, inventory: Inventory, content: Content) -> None:
        self._store = store
        self._inventory = inventory
        self._content = content
        self._blocks: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._held = 0

    def chunks(self, top: bytes) -> Iterator[recipe.Item]:
        """The chunks of a recipe.

        Raises:
            DataDamaged: A list is missing or damaged; `about` has its id.
        """
        return recipe.chunks_of(top, self.list)

    def top(self, where: Location) -> bytes:
        """The top node of a recipe.

        Raises:
            DataDamaged: It cannot be decoded.
        """
        return self._block(where)

    def list(self, wanted: bytes) -> bytes:
        """A list, verified.

        Raises:
            DataDamaged: It is missing or damaged.
        """
        where = self._inventory.find(wanted)
        if where is None or where.entry.kind is not BlockKind.LIST:
            raise _no_list(wanted, "No pack holds it.")
        entry = where.entry
        node = self._block(where)[entry.inner : entry.inner + entry.raw_length]
        if blake3(node).digest() != wanted:
            raise _no_list(wanted, "It has other bytes.")
        return node

    def _block(self, where: Location) -> bytes:
        key = (where.pack, where.entry.offset)
        held = self._blocks.get(key)
        if held is not None:
            self._blocks.move_to_end(key)
            return held
        entry = where.entry
        stored = self._store.get_range(
            self._inventory.key_of(where), entry.offset, entry.stored_length
        )
        block = bytes(self._content.decode(where, stored))
        self._blocks[key] = block
        self._held += len(block)
        while self._held > _CACHED and len(self._blocks) > 1:
            _, oldest = self._blocks.popitem(last=False)
            self._held -= len(oldest)
        return block


def _no_list(wanted: bytes, why: str) -> DataDamaged:
    return DataDamaged(
        f"a list of a recipe is damaged: {wanted.hex()[:12]}", why=why, about=wanted.hex()
    )
