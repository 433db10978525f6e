"""Putting content into a store: cut, deduplicate, compress, pack.

Nothing is visible before `flush`; what a writer that died had published is reused by the next try.
"""

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from itertools import chain
from pathlib import Path
from queue import LifoQueue
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from blake3 import blake3

from thence.errors import Conflict, Interrupted, InvalidInput
from thence.model.ids import Digest
from thence.store.base import Bytes, Store
from thence.store.failures import failures_of
from thence.vault import chunk, recipe
from thence.vault.content import ContentInfo
from thence.vault.directory import Directory
from thence.vault.lane import Lane, Member
from thence.vault.pack import BlockKind, Codec, Pack, PackBuilder
from thence.vault.parallel import submit
from thence.vault.session import Session
from thence.vault.statcache import signature
from thence.vault.uploads import Uploads

__all__ = ["Member", "Writer"]

T = TypeVar("T")

SMALL = 32 * 1024
SEGMENT = 4 * 1024 * 1024
_TRIES = 3
# O_NONBLOCK: to open a pipe that nobody writes to must not hang us. Files do not notice it.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_BATCH = 64


class _Claim(NamedTuple):
    """Who was the first of this session to need an id.

    Attributes:
        lane: Of the claimant, who stores it if the directory does not know it.
        pack: The number of the pack of that lane that it is put into.
    """

    lane: Lane
    pack: int


class _Recipe(NamedTuple):
    """A recipe that waits until all packs with its chunks are published."""

    digest: bytes
    node: bytes
    size: int


class _Block(NamedTuple):
    """A stored block with a recipe that waits likewise."""

    stored: Bytes
    codec: Codec
    members: tuple[Member, ...]


class _Segment(NamedTuple):
    """A piece of a content and where its chunks end; the last end is the end of the piece."""

    data: memoryview
    ends: list[int]


class Writer:
    """One session of writing content; a context manager.

    `put_*` may be called from several threads. Content is readable by others after `flush`, which
    leaving the context without an exception does too.

    Args:
        store: Where to.
        directory: What is known to be there.
        staging: A local folder for packs that are being filled, best on the store's file system.
        entropy: Makes the nonce of a pack.
        lanes: How many threads may write at the same time.
        remote: Whether the store is a bucket: packs are smaller there, and go up in the
            background.
        session: What is not relied on: packs that were condemned when it began. It began before
            anything was looked up here.
        avoid: Other packs that must not be relied on.

    Attributes:
        session: The one that entries are appended in which name what was put.
    """

    def __init__(
        self,
        store: Store,
        directory: Directory,
        staging: Path,
        *,
        entropy: Callable[[int], bytes] = os.urandom,
        lanes: int = 2,
        remote: bool = False,
        session: Session | None = None,
        avoid: Collection[bytes] = (),
    ) -> None:
        self.session = session or Session()
        self._avoid = self.session.condemned.union(avoid)
        self._store = store
        self._directory = directory
        self._staging = staging
        self._entropy = entropy
        self._pending: dict[bytes, _Claim] = {}
        self._waiting: list[_Recipe | _Block] = []
        self._uploads = Uploads(store) if remote else None
        self._used: set[bytes] = set()
        self._count = max(1, lanes)
        self._lanes: list[Lane] = []
        # Last in, first out: one thread keeps to one lane, so that a small save is one pack.
        self._free: LifoQueue[Lane | None] = LifoQueue()
        for _ in range(self._count):
            self._free.put(None)
        self._hasher = ThreadPoolExecutor(self._count, thread_name_prefix="thence-hash")
        self._stopped = False
        self.new_bytes = 0
        self.on_read: Callable[[int], None] = lambda size: None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self._stopped = kind is not None
            if kind is not None:
                self.session.release()
            if self._uploads is not None:
                self._uploads.stop()
            for lane in self._lanes:
                lane.discard()
            self._hasher.shutdown(cancel_futures=True)

    def _stop(self) -> None:
        self._stopped = True
        if self._uploads is not None:
            self._uploads.stop()

    def _new_builder(self) -> PackBuilder:
        return PackBuilder(self._staging, self._entropy(16), sync=self._uploads is None)

    def flush(self) -> None:
        """Publish everything; when this returns it is durable and readable.

        Raises:
            StorageError: The store failed, now or before; begin a new session.
            Denied: The store may not be written to.
        """
        for lane in self._lanes:
            lane.check()
        packs = self._publish()
        if self._waiting:
            lane = self._lanes[0]
            for waiting in self._waiting:
                if isinstance(waiting, _Block):
                    lane.add_stored(*waiting)
                else:
                    lane.add(waiting.digest, waiting.node, waiting.size, BlockKind.RECIPE)
            self._waiting = []
            packs += self._publish()
        self.new_bytes += sum(pack.size_bytes for pack in packs)
        self._used.update(pack.id for pack in packs)
        self._directory.add((pack.id, pack.directory) for pack in packs)
        if packs:
            self._directory.publish_merged()

    def _publish(self) -> list[Pack]:
        """Publish the packs of all lanes; those since the last time, durable by now."""
        packs: list[Pack] = []
        for lane in self._lanes:
            lane.publish()
            packs += lane.published
            lane.published = []
        return packs + (self._uploads.wait() if self._uploads else [])

    @property
    def packs(self) -> tuple[bytes, ...]:
        """The ids of the packs that hold what was put, as of the last `flush`, sorted.

        Those that this session wrote, and those that had some of it before.
        """
        return tuple(sorted(self._used))

    def put_block(self, stored: Bytes, codec: Codec, members: Sequence[Member]) -> None:
        """Put a block of another store as it is, without looking into it; verify it before.

        It is passed over where all its ids are known. A block with a recipe is held back until
        `flush`, so that it never is in the store without the chunks and lists that it names: put
        these before you flush, in any order.
        """
        self._with_lane(lambda lane: self._put_block(lane, stored, codec, tuple(members)))

    def put_bytes(self, data: Bytes) -> ContentInfo:
        """Put bytes that are in memory."""
        return self._with_lane(lambda lane: self._put_bytes(lane, data))

    def put_pieces(self, pieces: Iterable[Bytes]) -> ContentInfo:
        """Put bytes that come a piece at a time; what the iterator raises is passed on."""
        return self._with_lane(lambda lane: self._put_pieces(lane, iter(pieces)))

    def put_file(self, path: Path) -> ContentInfo:
        """Put the bytes of a file; they are read once, and must not change meanwhile.

        Raises:
            NotFound: There is no such file.
            InvalidInput: It is a folder, pipe, socket or device.
            Denied: It may not be read.
            Conflict: It changed while it was read, each time it was tried.
            StorageError: Reading or writing failed.
        """
        return self._with_lane(lambda lane: self._put_file(lane, path))

    def put_files(self, paths: Sequence[Path]) -> Iterator[ContentInfo]:
        """Put many files with all lanes, giving the results in order.

        Raises:
            As `put_file`.
        """
        if len(paths) < 2 or self._count < 2:
            yield from map(self.put_file, paths)
            return
        with ThreadPoolExecutor(self._count, thread_name_prefix="thence-write") as pool:
            waiting: list[Future[list[ContentInfo]]] = []
            try:
                for start in range(0, len(paths), _BATCH):
                    batch = paths[start : start + _BATCH]
                    waiting.append(submit(pool, self._put_batch, batch))
                    # A bounded queue: a million paths must not mean a million results in memory.
                    if len(waiting) > 4 * self._count:
                        yield from waiting.pop(0).result()
                for done in waiting:
                    yield from done.result()
            except BaseException:
                # Nobody waits for a file of many gigabytes after Ctrl-C.
                self._stop()
                raise
            finally:
                for left in waiting:
                    left.cancel()

    def _put_batch(self, paths: Sequence[Path]) -> list[ContentInfo]:
        return self._with_lane(lambda lane: [self._put_file(lane, path) for path in paths])

    def _with_lane(self, work: Callable[[Lane], T]) -> T:
        lane = self._free.get()
        try:
            if lane is None:
                lane = Lane(self._store, self._new_builder, uploads=self._uploads)
                self._lanes.append(lane)
            return work(lane)
        finally:
            self._free.put(lane)

    def _is_new(self, lane: Lane, wanted: bytes) -> bool:
        """True for exactly one caller, and only where no pack has it."""
        claim = _Claim(lane, lane.pack)
        if self._pending.setdefault(wanted, claim) is not claim:
            return False
        return not self._relies_on(wanted)

    def knows(self, digest: Digest) -> bool:
        """Whether a content is in the store for certain, so that an entry may name it unread.

        Only for what was not put in this session.
        """
        return self._relies_on(digest.raw)

    def _relies_on(self, wanted: bytes) -> bool:
        where = self._directory.find_kept(wanted, self._avoid)
        if where is not None:
            self._used.add(where.pack)
        return where is not None

    def _go_on(self, size: int) -> None:
        """Told before each file and after each piece of one."""
        if self._stopped:
            raise Interrupted("writing was stopped")
        self.on_read(size)

    def _put_file(self, lane: Lane, path: Path) -> ContentInfo:
        for _ in range(_TRIES):
            self._go_on(0)
            with failures_of(f"cannot read {path}", about=str(path)):
                descriptor = os.open(path, _FILE)
                try:
                    before = os.fstat(descriptor)
                    if not stat.S_ISREG(before.st_mode):
                        raise InvalidInput(
                            f"cannot keep {path}",
                            why="It is no file, but a folder, pipe, socket or device.",
                            about=str(path),
                        )
                    info = self._put_descriptor(lane, descriptor)
                    after = os.fstat(descriptor)
                finally:
                    os.close(descriptor)
            if signature(before) == signature(after) and info.size_bytes == before.st_size:
                return info
        raise Conflict(
            f"{path} changes while it is read",
            why=f"Its size or time was another after each of {_TRIES} readings.",
            hint="Wait until the program that writes it is done, then save again.",
            about=str(path),
        )

    def _put_descriptor(self, lane: Lane, descriptor: int) -> ContentInfo:
        head = os.read(descriptor, SMALL + 1)
        if len(head) <= SMALL:
            # A short read is not the end of a file on every file system.
            while more := os.read(descriptor, SMALL + 1):
                head += more
            if len(head) <= SMALL:
                self._go_on(len(head))
                return self._put_small(lane, head)
        return self._put_segments(lane, _segments(head, descriptor))

    def _put_bytes(self, lane: Lane, data: Bytes) -> ContentInfo:
        if len(data) <= SMALL:
            return self._put_small(lane, bytes(data))
        return self._put_segments(lane, iter([_Segment(memoryview(data), chunk.cut(data))]))

    def _put_pieces(self, lane: Lane, pieces: Iterator[Bytes]) -> ContentInfo:
        head = b""
        for piece in pieces:
            head += piece
            if len(head) > SMALL:
                return self._put_segments(lane, _joined(chain([head], pieces)))
        return self._put_small(lane, head)

    def _put_small(self, lane: Lane, data: bytes) -> ContentInfo:
        digest = sha256(data).digest()
        if self._is_new(lane, digest):
            lane.add_small(digest, data, BlockKind.WHOLE)
        return ContentInfo(Digest(digest), len(data))

    def _put_segments(self, lane: Lane, segments: Iterator[_Segment]) -> ContentInfo:
        whole = sha256()
        chunks: list[recipe.Item] = []
        only: bytes | None = None
        for data, ends in segments:
            # SHA-256 is three times slower than cutting and BLAKE3 together: its own thread.
            hashed = submit(self._hasher, whole.update, data)
            try:
                start = 0
                for end in ends:
                    piece = data[start:end]
                    chunks.append(recipe.Item(blake3(piece).digest(), end - start))
                    if len(chunks) == 1:
                        only = bytes(piece)  # a content of one chunk is stored whole
                    else:
                        if only is not None:
                            self._put_chunk(lane, chunks[0].id, only)
                            only = None
                        self._put_chunk(lane, chunks[-1].id, piece)
                    start = end
            finally:
                hashed.result()
            self._go_on(len(data))
        digest, size = whole.digest(), sum(item.length for item in chunks)
        if self._is_new(lane, digest):
            if only is not None:
                lane.add(digest, only, size, BlockKind.WHOLE)
            else:
                self._put_recipe(lane, digest, chunks, size)
        return ContentInfo(Digest(digest), size)

    def _put_recipe(self, lane: Lane, digest: bytes, chunks: list[recipe.Item], size: int) -> None:
        """Put a recipe where no crash can leave it in the store without its chunks and lists."""
        needed = [item.id for item in chunks]

        def put_list(node_id: bytes, node: bytes) -> None:
            needed.append(node_id)
            if self._is_new(lane, node_id):
                lane.add_small(node_id, node, BlockKind.LIST)

        node = recipe.build(chunks, put_list)
        if all(self._is_safe(lane, one) for one in needed):
            lane.add(digest, node, size, BlockKind.RECIPE)
        else:
            # Another pack has some of them, and may become durable after ours, or never.
            self._waiting.append(_Recipe(digest, node, size))

    def _is_safe(self, lane: Lane, needed: bytes) -> bool:
        """Whether nothing that is put into the lane now can be durable without it."""
        claim = self._pending[needed]
        return (claim.lane is lane and lane.goes_with(claim.pack)) or self._relies_on(needed)

    def _put_block(
        self, lane: Lane, stored: Bytes, codec: Codec, members: tuple[Member, ...]
    ) -> None:
        self._go_on(0)
        new = [self._is_new(lane, member.id) for member in members]  # claims each of them
        if not any(new):
            return
        if any(member.kind is BlockKind.RECIPE for member in members):
            self._waiting.append(_Block(bytes(stored), codec, members))
        else:
            lane.add_stored(stored, codec, members)

    def _put_chunk(self, lane: Lane, wanted: bytes, data: Bytes) -> None:
        if self._is_new(lane, wanted):
            lane.add(wanted, data, len(data), BlockKind.CHUNK)


def _joined(pieces: Iterable[Bytes]) -> Iterator[_Segment]:
    """Pieces put together and cut, as `_segments` does it with a file."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        if len(buffer) >= SEGMENT:
            data = memoryview(bytes(buffer))
            sure = chunk.cut(data)[:-1]
            yield _Segment(data[: sure[-1]], sure)
            buffer = bytearray(data[sure[-1] :])
    data = memoryview(bytes(buffer))
    yield _Segment(data, chunk.cut(data))


def _segments(head: bytes, descriptor: int) -> Iterator[_Segment]:
    """The rest of a file, cut; what follows the last sure cut is carried into the next segment."""
    carry = head
    while True:
        buffer = memoryview(bytearray(SEGMENT + len(carry)))
        buffer[: len(carry)] = carry
        filled = len(carry)
        while filled < len(buffer) and (got := os.readv(descriptor, [buffer[filled:]])):
            filled += got
        data = buffer[:filled].toreadonly()
        ends = chunk.cut(data)
        if filled < len(buffer):
            if ends:
                yield _Segment(data, ends)
            return
        # The last end is where the buffer ended, which is no cut of the file.
        sure = ends[:-1]
        carry = bytes(data[sure[-1] :])
        yield _Segment(data[: sure[-1]], sure)
