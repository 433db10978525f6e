"""Content: bytes named by their SHA-256, read back and verified."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from thence.errors import DataDamaged, NotFound, StorageError
from thence.model.ids import Digest
from thence.store.base import Bytes, Store
from thence.store.failures import failures_of
from thence.vault import recipe
from thence.vault.directory import Directory, Location
from thence.vault.newfile import NewFile, zeros
from thence.vault.pack import BlockKind, Codec
from thence.vault.parallel import ahead
from thence.vault.placing import places
from thence.vault.proofs import Proofs
from thence.vault.spans import Spans

__all__ = ["LARGEST_BLOCK", "Content", "ContentInfo"]

_CACHED_BYTES = 64 * 1024 * 1024
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_READ_AT_ONCE = 4 * 1024 * 1024
# From a disk, larger reads only fill caches.
_LOCAL_READ_AT_ONCE = 1024 * 1024
# How many such reads of one content go on at once on a bucket; each is in memory, twice at most.
_AHEAD = 4
# On a bucket, to read so much that nobody asked for takes no longer than another request.
_GAP = 512 * 1024
_MOST_CHUNKS = 4096
# On a disk a second thread reads and decodes a content of at least this size.
_LARGE = 32 * 1024 * 1024
_LOOK_UP_AT_ONCE = 16 * 1024
# A zstd frame of nothing but zeros is shorter than this, and one of anything else rarely is.
_STORED_ZEROS = 64
# Blocks that we write have at most 288 KiB; a forged one must not fill the memory.
LARGEST_BLOCK = 16 * 1024 * 1024


class ContentInfo(NamedTuple):
    """A content that is in the store."""

    digest: Digest
    size_bytes: int


class _Placed(NamedTuple):
    """A chunk and where it lies."""

    item: recipe.Item
    where: Location


class Content:
    """Reads content. May be used from any thread.

    Args:
        store: Where from.
        directory: What is known to be there.
        remote: Whether the store is a bucket: then several reads go on at once.
        proofs: Recipes that need no SHA-256 to be computed again.
    """

    def __init__(
        self,
        store: Store,
        directory: Directory,
        *,
        remote: bool = False,
        proofs: Proofs | None = None,
    ) -> None:
        self._proofs = proofs or Proofs(None)
        # Tells of a content that is in no pack that it was erased, by whom and why.
        self.why_absent: Callable[[Digest], NotFound | None] = lambda digest: None
        self._at_once = _AHEAD if remote else 1
        self._gap = _GAP if remote else 0
        self._window = _READ_AT_ONCE if remote else _LOCAL_READ_AT_ONCE
        self._spans = Spans(store) if remote else None
        self._store = store
        self._directory = directory
        self._blocks: OrderedDict[tuple[bytes, int, int], bytes] = OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.Lock()
        self._local = threading.local()

    def info(self, digest: Digest) -> ContentInfo | None:
        """Digest and size, or None where the store does not have it."""
        where = self._directory.look_for(digest.raw, is_root=True)
        return None if where is None else ContentInfo(digest, where.entry.raw_length)

    def missing(self, digests: Iterable[Digest]) -> set[Digest]:
        """Which of these the store does not have; the packs are listed once at most.

        Raises:
            StorageError: They cannot be listed.
        """
        absent = {digest for digest in digests if digest.raw not in self._directory}
        if absent:
            self._directory.refresh()
        return {digest for digest in absent if digest.raw not in self._directory}

    def in_batches(self, digests: Sequence[Digest]) -> Iterator[list[int]]:
        """Positions in `digests`, each once, in batches to be read one after the other.

        On a bucket the small contents of a batch are in memory while it is the latest, so that
        many of them cost few requests, and the next batches are being read meanwhile. On a local
        store there is one batch in the order given.

        Raises:
            StorageError: The store failed.
        """
        if self._spans is None:
            yield list(range(len(digests)))
            return
        self.missing(digests)
        yield from self._spans.each([self._directory.find(digest.raw) for digest in digests])

    def read(self, digest: Digest) -> bytes:
        """All bytes of a content, verified.

        Raises:
            NotFound: The store does not have it.
            DataDamaged: What is stored is not what was written.
        """
        return b"".join(self.stream(digest))

    def stream(self, digest: Digest) -> Iterator[Bytes]:
        """The bytes of a content, a piece at a time.

        Each piece is verified before it is handed out; the whole by the time the iterator ends.

        Raises:
            NotFound: The store does not have it.
            DataDamaged: What is stored is not what was written.
        """
        for pieces in self._pieces(digest):
            yield from pieces

    def write_to(
        self,
        digest: Digest,
        path: Path,
        *,
        executable: bool = False,
        tell: Callable[[int], None] = lambda size: None,
    ) -> None:
        """Write a content to a file that must not exist; on failure nothing is left there.

        Long runs of zeros are not written: the file has holes there.

        Args:
            digest: Which content.
            path: Where to.
            executable: Whether it is a program.
            tell: Is told how many bytes more were written, now and then.

        Raises:
            NotFound: The store does not have it.
            DataDamaged: What is stored is not what was written.
            Denied: The folder may not be written to.
            StorageError: The disk is full, or the file is there.
        """
        mode = 0o777 if executable else 0o666
        with failures_of(f"cannot write {path}", about=str(path)):
            try:
                descriptor = os.open(path, _NEW_FILE, mode)
            except FileNotFoundError as error:
                raise StorageError(
                    f"cannot write {path}", why="There is no such folder.", about=str(path)
                ) from error
            try:
                try:
                    file = NewFile(descriptor)
                    for pieces in self._pieces(digest):
                        before = file.size_bytes
                        file.write(pieces)
                        tell(file.size_bytes - before)
                    file.end()
                finally:
                    os.close(descriptor)
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    def places(self, digests: Iterable[Digest]) -> dict[bytes, Location]:
        """Where contents lie, by their raw digests; those that this cache knows."""
        return places(self._directory, (digest.raw for digest in digests))

    def block(self, where: Location) -> Bytes:
        """The decoded block that holds a content; nothing in it is compared with its id.

        Raises:
            NotFound: The pack is gone.
            DataDamaged: It cannot be decoded.
        """
        return self.decode(where, self._get_block(where))

    def _pieces(self, digest: Digest) -> Iterator[list[Bytes]]:
        """The bytes of a content, a window at a time; as `stream`."""
        where = self._directory.look_for(digest.raw, is_root=True)
        if where is None:
            self._refuse_if_damaged(digest)
            raise self.why_absent(digest) or NotFound(
                f"content {digest.short} is not in this project",
                why="No pack holds it.",
                hint="It may have been collected, or the store was copied without its packs.",
                about=str(digest),
            )
        if where.entry.kind is BlockKind.WHOLE:
            data = self._member(where)
            if sha256(data).digest() != digest.raw:
                raise self._damaged(where, f"Content {digest.short} has other bytes.")
            yield [data]
            return
        if where.entry.kind is not BlockKind.RECIPE:
            raise self._damaged(where, f"{digest.short} is not a content.")
        node = self._member(where)
        proven = self._proofs.knows(digest.raw, node)
        whole, left = sha256(), where.entry.raw_length
        for pieces in self._chunks(where, node):
            for piece in pieces:
                left -= len(piece)
                if not proven:
                    whole.update(piece)
            if left < 0:
                raise self._damaged(where, f"Content {digest.short} is longer than it should be.")
            yield pieces
        if left or not (proven or whole.digest() == digest.raw):
            raise self._damaged(where, f"Content {digest.short} has other bytes.")
        if not proven:
            self._proofs.note(digest.raw, node)

    def decode(self, where: Location, stored: Bytes) -> Bytes:
        """The bytes of a block as it lies in its pack; they are not compared with any id.

        Raises:
            DataDamaged: It cannot be decoded, or is larger than any that is written.
        """
        if len(stored) > LARGEST_BLOCK:
            raise self._damaged(where, "A block is larger than any that is written.")
        if where.entry.codec is Codec.RAW:
            return stored
        import zstandard

        decoder = getattr(self._local, "decoder", None)
        if decoder is None:
            decoder = self._local.decoder = zstandard.ZstdDecompressor()
        try:
            if zstandard.frame_content_size(stored) > LARGEST_BLOCK:
                raise self._damaged(where, "A block is larger than any that is written.")
            decoded: bytes = decoder.decompress(stored, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise self._damaged(where, f"A block cannot be decompressed: {error}.") from error
        return decoded

    def _again(self, wanted: bytes, gone: NotFound) -> Location:
        """Where an id lies after the pack went that had it: location may change at any time."""
        self._directory.refresh()
        where = self._directory.find(wanted)
        if where is None:
            raise DataDamaged(
                "a part of a content is missing", why=gone.what, about=gone.about
            ) from gone
        return where

    def _refuse_if_damaged(self, digest: Digest) -> None:
        self._directory.refuse_newer()
        for error in self._directory.damaged.values():
            raise DataDamaged(
                f"content {digest.short} is in no pack that can be read",
                why=f"It may be in one that cannot: {error.what}.",
                about=error.about,
            ) from error

    def _chunks(self, where: Location, node: Bytes) -> Iterator[list[Bytes]]:
        """The chunks of a recipe, read a window at a time."""
        large = where.entry.raw_length >= _LARGE
        at_once = max(self._at_once, 2 if large else 1)
        yield from ahead(self._read_window, self._windows(where, node), at_once=at_once)

    def _windows(self, recipe_at: Location, node: Bytes) -> Iterator[list[_Placed]]:
        """The chunks of a recipe in pieces of which each is read as a whole."""
        window: list[_Placed] = []
        known: set[bytes] = set()
        stored = raw = 0
        items = recipe.chunks_of(node, self._list)
        while some := list(islice(items, _LOOK_UP_AT_ONCE)):
            lies = places(self._directory, {item.id for item in some})
            for item in some:
                found = lies.get(item.id) or self._directory.look_for(item.id)
                if found is None or found.entry.kind is not BlockKind.CHUNK or not item.length:
                    raise self._damaged(recipe_at, f"Chunk {item.id.hex()[:12]} is in no pack.")
                window.append(_Placed(item, found))
                if item.id not in known:
                    known.add(item.id)
                    stored += found.entry.stored_length
                    raw += item.length
                enough = stored >= self._window or raw >= 2 * self._window
                if enough or len(window) >= _MOST_CHUNKS:
                    yield window
                    window, stored, raw = [], 0, 0
                    known.clear()
        if window:
            yield window

    def _read_window(self, window: list[_Placed]) -> list[Bytes]:
        """Some chunks in the order of the content; what lies side by side is read at once.

        A chunk that the content has again and again is read once, and so is one of another pack,
        as edits leave them, in the next windows.
        """
        chunks: dict[recipe.Item, Bytes] = {}
        to_read: list[_Placed] = []
        for item, where in {placed.item: placed for placed in window}.values():
            if _is_zeros(item, where):
                chunks[item] = zeros(item.length)
                continue
            raw = self._cached(where)
            if raw is None:
                to_read.append(_Placed(item, where))
            else:
                chunks[item] = self._verified(item, where, raw)
        to_read.sort(key=lambda placed: (placed.where.pack, placed.where.entry.offset))
        for run in _runs(to_read, self._gap):
            chunks.update(zip((item for item, _ in run), self._read_run(run), strict=True))
        return [chunks[item] for item, _ in window]

    def _read_run(self, run: list[_Placed]) -> list[Bytes]:
        first, last = run[0].where.entry, run[-1].where.entry
        length = last.offset + last.stored_length - first.offset
        try:
            data = memoryview(self._get(run[0].where, first.offset, length))
        except NotFound as gone:
            moved = [_Placed(item, self._again(item.id, gone)) for item, _ in run]
            return [self._chunk(item, where, self._get_block(where)) for item, where in moved]
        pieces = []
        for item, where in run:
            start = where.entry.offset - first.offset
            pieces.append(self._chunk(item, where, data[start : start + where.entry.stored_length]))
        if len(run) == 1:
            # It lies alone, so it may well be wanted by the next window too.
            self._keep(_block_of(run[0].where), bytes(pieces[0]))
        return pieces

    def _chunk(self, item: recipe.Item, where: Location, stored: Bytes) -> Bytes:
        return self._verified(item, where, self.decode(where, stored))

    def _verified(self, item: recipe.Item, where: Location, raw: Bytes) -> Bytes:
        if len(raw) != item.length or blake3(raw).digest() != item.id:
            raise self._damaged(where, f"Chunk {item.id.hex()[:12]} has other bytes.")
        return raw

    def _list(self, node_id: bytes) -> Bytes:
        where = self._directory.look_for(node_id)
        if where is None or where.entry.kind is not BlockKind.LIST:
            raise DataDamaged(f"a recipe names a list that no pack holds: {node_id.hex()[:12]}")
        node = self._member(where)
        if blake3(node).digest() != node_id:
            raise self._damaged(where, f"List {node_id.hex()[:12]} has other bytes.")
        return node

    def _member(self, where: Location) -> Bytes:
        """The bytes under an id, out of its block."""
        try:
            return self._member_at(where)
        except NotFound as gone:
            return self._member_at(self._again(where.entry.id, gone))

    def _member_at(self, where: Location) -> Bytes:
        entry = where.entry
        block = self._cached(where)
        if block is None:
            block = bytes(self.decode(where, self._get_block(where)))
            self._keep(_block_of(where), block)
        if entry.kind is BlockKind.RECIPE:
            return block
        data = memoryview(block)[entry.inner : entry.inner + entry.raw_length]
        if len(data) != entry.raw_length:
            raise self._damaged(where, "A block is shorter than the directory says.")
        return data

    def _cached(self, where: Location) -> bytes | None:
        """The decoded block of a location, where it was read before."""
        key = _block_of(where)
        with self._lock:
            block = self._blocks.get(key)
            if block is not None:
                self._blocks.move_to_end(key)
        return block

    def _keep(self, key: tuple[bytes, int, int], block: bytes) -> None:
        with self._lock:
            if key not in self._blocks:
                self._cached_bytes += len(block)
            self._blocks[key] = block
            while self._cached_bytes > _CACHED_BYTES:
                _, oldest = self._blocks.popitem(last=False)
                self._cached_bytes -= len(oldest)

    def _get_block(self, where: Location) -> Bytes:
        return self._get(where, where.entry.offset, where.entry.stored_length)

    def _get(self, where: Location, offset: int, length: int) -> Bytes:
        if not length:
            return b""
        if self._spans and (held := self._spans.find(where.pack, offset, length)):
            return held
        if length > _READ_AT_ONCE + LARGEST_BLOCK:
            raise self._damaged(where, "A block is larger than any that is written.")
        data = self._store.get_range(self._directory.key_of(where), offset, length)
        if len(data) != length:
            raise self._damaged(where, "The pack ends before the block does.")
        return data

    def _damaged(self, where: Location, why: str) -> DataDamaged:
        key = self._directory.key_of(where)
        return DataDamaged(f"damaged data in {key}", why=why, about=key)


@lru_cache(maxsize=64)
def _id_of_zeros(length: int) -> bytes:
    return blake3(zeros(length)).digest()


def _is_zeros(item: recipe.Item, where: Location) -> bool:
    """Whether a chunk is all zeros, so that it need not be read: that is what its id says."""
    return (
        where.entry.stored_length < _STORED_ZEROS
        and 4096 <= item.length <= LARGEST_BLOCK
        and item.id == _id_of_zeros(item.length)
    )


def _block_of(where: Location) -> tuple[bytes, int, int]:
    """What tells one block from another; an empty one lies where the next one does."""
    return where.pack, where.entry.offset, where.entry.stored_length


def _runs(placed: list[_Placed], gap: int) -> Iterator[list[_Placed]]:
    """Chunks in order of place, those together that are to be read at once."""
    run: list[_Placed] = []
    start = end = 0
    for one in placed:
        entry = one.where.entry
        if run and not (
            run[-1].where.pack == one.where.pack
            and end <= entry.offset <= end + gap
            and end - start < _READ_AT_ONCE
        ):
            yield run
            run = []
        if not run:
            start = entry.offset
        run.append(one)
        end = entry.offset + entry.stored_length
    if run:
        yield run
