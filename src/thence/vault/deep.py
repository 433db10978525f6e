"""Reading every byte of every pack once, and comparing each with what it is called.

Chunks and lists are compared with their BLAKE3, whole contents with their SHA-256. A content that
is made of chunks is compared as a whole too. Its chunks mostly lie in its order in one pack, so its
SHA-256 is fed while the packs are read for the chunks' sake; what does not lie so (a later version
shares chunks with an earlier one) is read once more at the end, from where it got stuck.
"""

import os
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import islice
from operator import itemgetter
from typing import NamedTuple, Protocol, TypeAlias

from blake3 import blake3

from thence.errors import DataDamaged, FormatTooNew, NotFound
from thence.model.progress import Progress, silent
from thence.store.base import Bytes, Store
from thence.store.local import LocalStore
from thence.vault import recipe
from thence.vault.content import Content
from thence.vault.inventory import Inventory, Nodes, directory_of, rows_of
from thence.vault.pack import BlockKind, Codec, DirectoryEntry, pack_key, to_entry
from thence.vault.parallel import ahead
from thence.vault.plan import Read, plan_reads
from thence.vault.recipes import missing_of
from thence.vault.segment import Location

__all__ = ["BadBlock", "Piece", "Proved", "Row", "Verified", "pieces_of", "prove", "verify"]

# What a core's own cache holds: hashing 4 MiB at once is 5 % slower.
_LOCAL_READ = 1024 * 1024
_REMOTE_READ = 8 * 1024 * 1024
# Handing over what was read from one thread to another costs a third more; on two threads of one
# core it is no faster either.
_LOCAL_AT_ONCE = max(1, min(4, (os.cpu_count() or 1) // 2))
_REMOTE_AT_ONCE = 6
# Contents that wait for a chunk of a later pack; others begin anew at the end.
_MOST_OPEN = 20_000
_WINDOW = 64
# Members of an enumeration are compared more slowly.
_CHUNK, _RAW = int(BlockKind.CHUNK), int(Codec.RAW)
# Blocks follow one another; where they do not, what lies between is nobody's.
_GAP = 64 * 1024
_BY_PLACE = itemgetter(1, 3, 4, 2)


class _Hasher(Protocol):
    def update(self, data: Bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class BadBlock(NamedTuple):
    """A block that is not what the directory of its pack says.

    Attributes:
        members: Those that are not as they should be.
    """

    pack: bytes
    offset: int
    stored_length: int
    members: tuple[DirectoryEntry, ...]
    why: str


class Proved(NamedTuple):
    """What reading everything gave.

    Attributes:
        blocks: Which blocks are damaged.
        packs: Packs whose directories cannot be read any more, and why.
        contents: Recipes that make other bytes than they are called by.
        broken: By content: chunks and lists that no pack holds as they should be.
        stored_bytes: How much was read.
        raw_bytes: What that is when it is decoded.
    """

    blocks: list[BadBlock]
    packs: dict[bytes, DataDamaged]
    contents: list[Location]
    broken: dict[bytes, list[bytes]]
    stored_bytes: int
    raw_bytes: int


class _Opened:
    """A content that is being put together: its SHA-256 up to a chunk, and what comes then."""

    __slots__ = ("hasher", "item", "items", "size", "where")

    def __init__(self, where: Location, items: Iterator[recipe.Item]) -> None:
        self.where = where
        self.hasher: _Hasher = sha256()
        self.items = items
        self.item = next(items, None)
        self.size = 0


Row: TypeAlias = tuple[bytes, int, int, int, int, int, int]
"""(id, offset, raw length, stored length, inner offset, kind, codec), as a directory has them."""


class Piece(NamedTuple):
    """Blocks that are read at once, each as the rows of its members."""

    pack: bytes
    offset: int
    length: int
    blocks: list[list[Row]]


class Verified(NamedTuple):
    """A block of which every member was compared; `why` says what is wrong with some."""

    rows: list[Row]
    stored: Bytes
    decoded: Bytes
    bad: tuple[Row, ...]
    why: str


def prove(
    store: Store,
    inventory: Inventory,
    content: Content,
    starts: "dict[int, array[int]]",
    *,
    remote: bool,
    progress: Progress = silent,
) -> Proved:
    """Read and compare everything.

    Args:
        store: Where the packs are.
        inventory: What lies in them. What is found to be bad is noted there.
        content: Decodes.
        starts: Where contents begin; see `Scanned`.
        remote: Whether the store is a bucket.
        progress: Is told of packs and bytes that were read so far.

    Raises:
        StorageError: The store failed.
        Denied: A pack may not be read.
    """
    work = _Proof(store, inventory, content, starts, remote=remote, progress=progress)
    work.run()
    return Proved(
        work.blocks,
        work.packs,
        work.contents,
        work.broken,
        work.stored_bytes,
        work.raw_bytes,
    )


class _Proof:
    def __init__(
        self,
        store: Store,
        inventory: Inventory,
        content: Content,
        starts: "dict[int, array[int]]",
        *,
        remote: bool,
        progress: Progress,
    ) -> None:
        self._store = store
        self._inventory = inventory
        self._content = content
        self._starts = starts
        self._nodes = Nodes(store, inventory, content)
        self._largest = _REMOTE_READ if remote else _LOCAL_READ
        self._at_once = _REMOTE_AT_ONCE if remote else _LOCAL_AT_ONCE
        self._report = progress
        self._total = sum(pack.size_bytes for pack in inventory.packs_listed)
        self._waiting: dict[bytes, list[_Opened]] = {}
        self._open = 0
        self._buffers: list[bytearray] = []
        self._again: list[Location] = []
        self.blocks: list[BadBlock] = []
        self.packs: dict[bytes, DataDamaged] = {}
        self.contents: list[Location] = []
        self.broken: dict[bytes, list[bytes]] = {}
        self.stored_bytes = 0
        self.raw_bytes = 0

    def run(self) -> None:
        for order, pack in enumerate(self._inventory.packs_listed):
            self._prove_pack(order, pack.id)
        while self._waiting:
            for left in self._waiting.popitem()[1]:
                self._finish(left)
        for where in self._again:
            if (opened := self._begin(where)) is not None:
                self._finish(opened)

    def _progress(self, packs: int) -> None:
        # What is read once more is not known before.
        self._report(packs, self.stored_bytes, max(self._total, self.stored_bytes))

    # The packs, one after the other.

    def _prove_pack(self, order: int, pack: bytes) -> None:
        try:
            directory = directory_of(self._store, pack)
        except DataDamaged as error:
            self.packs[pack] = error
            return
        except (NotFound, FormatTooNew):
            return  # collected meanwhile
        begins: defaultdict[int, list[int]] = defaultdict(list)
        pairs = iter(self._starts.pop(order, ()))
        for offset, number in zip(pairs, pairs, strict=True):
            begins[offset].append(number)
        pieces = pieces_of(pack, directory, self._largest)
        for buffer, results in ahead(
            self._verify, pieces, at_once=self._at_once, queued=self._at_once + 1
        ):
            for verified in results:
                self._take(pack, begins, verified)
            if buffer is not None:
                self._buffers.append(buffer)
            self._progress(order)
        self.stored_bytes += len(directory)

    def _take(self, pack: bytes, begins: dict[int, list[int]], verified: Verified) -> None:
        rows, stored, decoded, bad, why = verified
        self.stored_bytes += len(stored)
        self.raw_bytes += len(decoded)
        first, offset, _, stored_length, _, kind, _ = rows[0]
        if bad:
            members = tuple(to_entry(row) for row in bad)
            self.blocks.append(BadBlock(pack, offset, stored_length, members, why))
            self._inventory.bad.update((pack, member.id) for member in members)
        if kind != _CHUNK:
            return
        if begins and (numbers := begins.pop(offset, None)):
            for number in numbers:
                self._start(self._inventory.location(number), first)
        if bad:
            return
        for opened in self._waiting.pop(first, ()):
            self._open -= 1
            self._feed(opened, decoded)

    def _start(self, where: Location, first: bytes) -> None:
        if self._open >= _MOST_OPEN:
            self._again.append(where)
        elif (opened := self._begin(where)) is not None:
            self._waiting.setdefault(first, []).append(opened)
            self._open += 1

    def _begin(self, where: Location) -> _Opened | None:
        try:
            return _Opened(where, self._nodes.chunks(self._nodes.top(where)))
        except (DataDamaged, NotFound):
            self._note_broken(where)
            return None

    def _feed(self, opened: _Opened, chunk: Bytes) -> None:
        """Add a chunk, also where the content has it several times in a row."""
        first = opened.item
        while opened.item is not None and opened.item == first:
            opened.hasher.update(chunk)
            opened.size += len(chunk)
            try:
                opened.item = next(opened.items, None)
            except (DataDamaged, NotFound):
                self._note_broken(opened.where)
                return
        if opened.item is None:
            self._close(opened)
        elif self._open < _MOST_OPEN:
            # It may have passed already, or never come: who still waits at the end is finished.
            self._waiting.setdefault(opened.item.id, []).append(opened)
            self._open += 1
        else:
            self._again.append(opened.where)

    def _close(self, opened: _Opened) -> None:
        entry = opened.where.entry
        if opened.hasher.digest() != entry.id or opened.size != entry.raw_length:
            self._note_wrong(opened.where)

    def _verify(self, piece: Piece) -> tuple[bytearray | None, Iterable[Verified]]:
        """Read and compare; what comes of it is valid until its memory is used again."""
        buffer: bytearray | None = None
        if isinstance(self._store, LocalStore):
            try:
                buffer = self._buffers.pop()
            except IndexError:
                buffer = bytearray(self._largest)
            if len(buffer) < piece.length:
                buffer = bytearray(piece.length)
        results = verify(self._store, self._content, piece, buffer)
        # With one thread each block is compared and fed while it is in the cache of its core.
        return buffer, results if self._at_once == 1 else list(results)

    # What did not lie in order.

    def _finish(self, opened: _Opened) -> None:
        """Read the rest of a content in its own order; its chunks have been compared before."""
        try:
            while opened.item is not None:
                window = [opened.item, *islice(opened.items, _WINDOW - 1)]
                if not all(map(self._is_there, window)):
                    self._note_broken(opened.where)
                    return
                chunks = self._read_chunks(window)
                for item in window:
                    opened.hasher.update(chunks[item.id])
                    opened.size += item.length
                opened.item = next(opened.items, None)
        except (DataDamaged, NotFound):
            self._note_broken(opened.where)
            return
        self._close(opened)

    def _is_there(self, item: recipe.Item) -> bool:
        return item.length > 0 and self._inventory.has(item.id, BlockKind.CHUNK, item.length)

    def _note_broken(self, where: Location) -> None:
        """Chunks that are damaged are noted with their blocks; others may be in no pack at all."""
        try:
            absent = missing_of(self._inventory, self._nodes, where)
        except (DataDamaged, NotFound):
            self._note_wrong(where)
        else:
            self.broken.setdefault(where.entry.id, []).extend(absent)

    def _note_wrong(self, where: Location) -> None:
        self.contents.append(where)
        self._inventory.bad.add((where.pack, where.entry.id))

    def _read_chunks(self, window: list[recipe.Item]) -> dict[bytes, Bytes]:
        wanted = {item.id: self._inventory.find(item.id) for item in window}
        places = [where for where in wanted.values() if where is not None]
        found: dict[bytes, Bytes] = {}
        reads = plan_reads(places, largest=self._largest)
        for read, data in ahead(self._fetch, reads, at_once=self._at_once):
            view = memoryview(data)
            self.stored_bytes += len(data)
            for block in read.blocks:
                start = block.offset - read.offset
                stored = view[start : start + block.stored_length]
                found[block.members[0].id] = self._content.decode(block.where, stored)
        self._progress(len(self._inventory.packs_listed))
        return found

    def _fetch(self, read: Read) -> tuple[Read, bytes]:
        return read, _get(self._store, read.pack, read.offset, read.length)


def verify(
    store: Store, content: Content, piece: Piece, buffer: bytearray | None = None
) -> Iterator[Verified]:
    """Read some blocks and compare each of their members with its id.

    Args:
        store: Where from.
        content: Decodes.
        piece: What to read.
        buffer: Memory to read it into, for a local store; what is given refers to it.

    Raises:
        StorageError: The store failed.
        Denied: The pack may not be read.
    """
    if buffer is not None and isinstance(store, LocalStore):
        data = memoryview(buffer)[: piece.length]
        try:
            data = data[: store.read_into(pack_key(piece.pack), piece.offset, data)]
        except NotFound:
            data = data[:0]
    else:
        data = memoryview(_get(store, piece.pack, piece.offset, piece.length))
    begin = piece.offset
    for rows in piece.blocks:
        wanted, offset, raw_length, stored_length, inner, kind, codec = rows[0]
        start = offset - begin
        stored: Bytes = data[start : start + stored_length]
        # By far the most frequent where data cannot be compressed: so little else may be done.
        if (
            kind == _CHUNK
            and codec == _RAW
            and not inner
            and len(rows) == 1
            and len(stored) == raw_length
            and blake3(stored).digest() == wanted
        ):
            yield Verified(rows, stored, stored, (), "")
            continue
        decoded = stored
        why = ""
        if len(stored) != stored_length:
            why = "The pack ends before the block does."
        elif codec != Codec.RAW:
            try:
                decoded = content.decode(Location(piece.pack, to_entry(rows[0])), stored)
            except DataDamaged as error:
                why = error.why or error.what
        if why:
            yield Verified(rows, stored, b"", tuple(rows), why)
        else:
            yield _compared(rows, stored, decoded)


def _get(store: Store, pack: bytes, offset: int, length: int) -> bytes:
    try:
        return store.get_range(pack_key(pack), offset, length)
    except NotFound:
        return b""


def pieces_of(pack: bytes, directory: bytes, largest: int) -> Iterator[Piece]:
    """All blocks of a pack, in the order in which they lie, in pieces to be read at once."""
    rows = sorted(rows_of(directory), key=_BY_PLACE)
    blocks: list[list[Row]] = []
    start = end = 0
    for row in rows:
        offset, stored_length = row[1], row[3]
        if blocks and blocks[-1][0][1] == offset and blocks[-1][0][3] == stored_length:
            blocks[-1].append(row)
            continue
        if blocks and (end - start >= largest or offset - end > _GAP):
            yield Piece(pack, start, end - start, blocks)
            blocks, start = [], offset
        if not blocks:
            start = offset
        blocks.append([row])
        end = offset + stored_length
    if blocks:
        yield Piece(pack, start, end - start, blocks)


def _compared(rows: list[Row], stored: Bytes, decoded: Bytes) -> Verified:
    if len(rows) == 1 and rows[0][5] == BlockKind.CHUNK:
        # By far the most frequent, and nothing has to be cut out of it.
        wanted, _, raw_length, _, inner, _, _ = rows[0]
        if not inner and len(decoded) == raw_length and blake3(decoded).digest() == wanted:
            return Verified(rows, stored, decoded, (), "")
    view = memoryview(decoded)
    bad: list[Row] = []
    why = ""
    for row in rows:
        wanted, _, raw_length, _, inner, kind, _ = row
        if kind == BlockKind.RECIPE:
            if wrong := _wrong_recipe(decoded, raw_length):
                bad.append(row)
                why = wrong
            continue
        data = view[inner : inner + raw_length]
        hashed = sha256(data) if kind == BlockKind.WHOLE else blake3(data)
        if len(data) != raw_length or hashed.digest() != wanted:
            bad.append(row)
            why = f"{wanted.hex()[:12]} has other bytes."
    return Verified(rows, stored, decoded, tuple(bad), why)


def _wrong_recipe(node: Bytes, raw_length: int) -> str:
    try:
        _, items = recipe.parse(node)
    except DataDamaged as error:
        return error.why or error.what
    lengths = [item.length for item in items]
    # Its content has no bytes of its own to compare; the whole of it is, when it is put together.
    if sum(lengths) != raw_length or 0 in lengths:
        return "A recipe makes a content of another length."
    return ""
