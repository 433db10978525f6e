"""Putting content into a store: cut, deduplicate, compress, pack.

Nothing is visible before `flush`; what a writer had published that died or was stopped is reused by
the next try.
"""

import os
import stat
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from hashlib import file_digest, sha256
from itertools import chain
from pathlib import Path
from queue import Empty, LifoQueue
from types import TracebackType
from typing import NamedTuple, Self, TypeVar, overload

from thence.errors import Conflict, Denied, Interrupted, InvalidInput, NotFound, ThenceError
from thence.model.ids import Digest
from thence.store.base import Bytes, Store
from thence.store.failures import failure_of
from thence.vault import recipe
from thence.vault.content import ContentInfo
from thence.vault.directory import Directory
from thence.vault.lane import Claim, Lane, Member
from thence.vault.pack import BlockKind, Codec, Pack, PackBuilder
from thence.vault.parallel import submit
from thence.vault.session import Session
from thence.vault.statcache import signature
from thence.vault.stretches import Stretch, of_bytes, of_file, of_pieces
from thence.vault.underway import Underway, begin
from thence.vault.uploads import Uploads

__all__ = ["Member", "Writer"]

T = TypeVar("T")

SMALL = 32 * 1024
_TRIES = 3
# O_NONBLOCK: to open a pipe that nobody writes to must not hang us. Files do not notice it.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
# What ends a session without a doubt about what it has written.
_STOPS = (KeyboardInterrupt, SystemExit, Interrupted, NotFound, Denied, Conflict)
_BATCH = 64
# Stretches of a content that are being digested and compressed while the next one is read.
_AHEAD = 2


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
        self._pending: dict[bytes, Claim] = {}
        self._waiting: list[_Recipe | _Block] = []
        self._uploads = Uploads(store) if remote else None
        self._used: set[bytes] = set()
        self._count = max(1, lanes)
        self._lanes: list[Lane] = []
        # Last in, first out: one thread keeps to one lane, so that a small save is one pack.
        self._free: LifoQueue[Lane | None] = LifoQueue()
        for _ in range(self._count):
            self._free.put(None)
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="thence-hash")
        self._stopped = False
        self.new_bytes = 0
        self.on_read: Callable[[int], None] = lambda size: None
        # May raise for a content that must not come back, by its id.
        self.refuse: Callable[[bytes], None] | None = None
        self.on_recipe: Callable[[bytes, bytes], None] = lambda digest, node: None

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
            else:
                self._stopped = True
                if issubclass(kind, _STOPS):
                    self._leave_packs()
        finally:
            self._stopped = kind is not None
            if kind is not None:
                self.session.release()
            if self._uploads is not None:
                self._uploads.stop()
            for lane in self._lanes:
                lane.discard()
            self._pool.shutdown(cancel_futures=True)

    def _leave_packs(self) -> None:
        """Publish the large packs that are not full, so that the next try finds what is in them.

        Nothing names it, and every recipe in them has its chunks there or in earlier packs. On a
        bucket nobody waits for that after Ctrl-C.
        """
        with suppress(ThenceError, Empty):
            while self._uploads is None:
                if (lane := self._free.get_nowait()) is not None:  # no other thread has it
                    lane.leave()

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
        # The directory takes over here: of a million files that is 120 MB less at the peak.
        self._pending.clear()
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

    def put_file(self, path: Path | str) -> ContentInfo:
        """Put the bytes of a file; they are read once, and must not change meanwhile.

        Raises:
            NotFound: There is no such file.
            InvalidInput: It is a folder, pipe, socket or device.
            Denied: It may not be read.
            Conflict: It changed while it was read, each time it was tried.
            StorageError: Reading or writing failed.
        """
        return self._with_lane(lambda lane: self._put_file(lane, path))

    def put_files(self, paths: Sequence[Path | str]) -> Iterator[ContentInfo]:
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

    def _put_batch(self, paths: Sequence[Path | str]) -> list[ContentInfo]:
        return self._with_lane(lambda lane: [self._put_file(lane, path) for path in paths])

    def _with_lane(self, work: Callable[[Lane], T]) -> T:
        lane = self._free.get()
        try:
            if lane is None:
                lane = Lane(self._store, self._new_builder, self._pool, uploads=self._uploads)
                self._lanes.append(lane)
            return work(lane)
        finally:
            self._free.put(lane)

    def _is_new(self, lane: Lane, wanted: bytes) -> bool:
        """True for exactly one caller, and only where no pack has it."""
        if self.refuse is not None:
            self.refuse(wanted)
        if not self._claims(lane, wanted):
            return False
        return not self._relies_on(wanted)

    def _claims(self, lane: Lane, wanted: bytes) -> bool:
        """True for exactly one caller."""
        return (
            wanted not in self._pending
            and self._pending.setdefault(wanted, lane.claim) is lane.claim
        )

    def knows(self, digest: Digest) -> bool:
        """Whether a content is, or will be, in the store, so that an entry may name it unread."""
        return digest.raw in self._pending or self._relies_on(digest.raw)

    def _relies_on(self, wanted: bytes) -> bool:
        where = self._directory.find_kept(wanted, self._avoid)
        if where is not None:
            self._used.add(where.pack)
        return where is not None

    def _go_on(self, size: int) -> None:
        """Told after each piece of a file."""
        if self._stopped:
            raise Interrupted("writing was stopped")
        self.on_read(size)

    def _put_file(self, lane: Lane, path: Path | str) -> ContentInfo:
        for _ in range(_TRIES):
            if self._stopped:
                raise Interrupted("writing was stopped")
            try:
                descriptor = os.open(path, _FILE)
                try:
                    before = os.fstat(descriptor)
                    if not stat.S_ISREG(before.st_mode):
                        raise InvalidInput(
                            f"cannot keep {path}",
                            why="It is no file, but a folder, pipe, socket or device.",
                            about=str(path),
                        )
                    info = self._put_descriptor(lane, descriptor, before)
                    after = os.fstat(descriptor)
                finally:
                    os.close(descriptor)
            except ThenceError:
                raise
            except OSError as error:
                raise failure_of(error, f"cannot read {path}", about=str(path)) from error
            if info is not None and signature(before) == signature(after):
                return info
        raise Conflict(
            f"{path} changes while it is read",
            why=f"Its size or time was another after each of {_TRIES} readings.",
            hint="Wait until the program that writes it is done, then save again.",
            about=str(path),
        )

    def _put_descriptor(
        self, lane: Lane, descriptor: int, facts: os.stat_result
    ) -> ContentInfo | None:
        """Put what a file holds; None where that is not as long as it should be."""
        size = facts.st_size
        if size > SMALL:
            if self.refuse is not None:
                # Not a chunk of what was erased may get into a pack: it is known before, not after.
                self.refuse(_digest_of(descriptor))
            return self._put_stretches(lane, of_file(descriptor, facts, lane.buffers), size)
        data = os.read(descriptor, size + 1)
        # A short read is not the end of a file on every file system.
        while len(data) < size and (more := os.read(descriptor, size + 1 - len(data))):
            data += more
        if len(data) != size:
            return None
        self.on_read(size)
        return self._put_small(lane, data)

    def _put_bytes(self, lane: Lane, data: Bytes) -> ContentInfo:
        if len(data) <= SMALL:
            return self._put_small(lane, bytes(data))
        if self.refuse is not None:
            self.refuse(sha256(data).digest())
        return self._put_stretches(lane, of_bytes(data))

    def _put_pieces(self, lane: Lane, pieces: Iterator[Bytes]) -> ContentInfo:
        head = b""
        for piece in pieces:
            head += piece
            if len(head) > SMALL:
                return self._put_stretches(lane, of_pieces(chain([head], pieces)))
        return self._put_small(lane, head)

    def _put_small(self, lane: Lane, data: bytes) -> ContentInfo:
        digest = sha256(data).digest()
        if self._is_new(lane, digest):
            lane.add_small(digest, data, BlockKind.WHOLE)
        return ContentInfo(Digest(digest), len(data))

    @overload
    def _put_stretches(self, lane: Lane, stretches: Iterator[Stretch]) -> ContentInfo: ...
    @overload
    def _put_stretches(
        self, lane: Lane, stretches: Iterator[Stretch], expected: int
    ) -> ContentInfo | None: ...
    def _put_stretches(
        self, lane: Lane, stretches: Iterator[Stretch], expected: int | None = None
    ) -> ContentInfo | None:
        """Put a content; what has another size than is expected gets no name.

        While one stretch is read and cut, the ones before it are digested and compressed by other
        threads. Only the thread of the lane claims and adds chunks, one by one, so that an error in
        between leaves no chunk that others count on and nobody stores.
        """
        whole = sha256()
        items: list[recipe.Item] = []
        underway: deque[Underway] = deque()
        for stretch in stretches:
            if underway:
                underway[-1].digested.result()  # SHA-256 goes from left to right
            if stretch.last and not items and len(stretch.ends) == 1:
                return self._put_alone(lane, stretch, expected)
            digested = submit(self._pool, whole.update, stretch.data)
            underway.append(begin(stretch, digested, items, self._pool, self._is_unknown))
            if len(underway) > _AHEAD:
                self._finish(lane, underway.popleft())
        while underway:
            self._finish(lane, underway.popleft())
        digest, size = whole.digest(), sum(item.length for item in items)
        if expected is not None and size != expected:
            return None
        if self._is_new(lane, digest):
            self._put_recipe(lane, digest, items, size)
            lane.settle()
        return ContentInfo(Digest(digest), size)

    def _put_alone(self, lane: Lane, stretch: Stretch, expected: int | None) -> ContentInfo | None:
        """Put a content that is one chunk: it is stored whole."""
        size = len(stretch.data)
        if expected is not None and size != expected:
            return None
        digest = sha256(stretch.data).digest()
        if self._is_new(lane, digest):
            lane.add(digest, stretch.data, size, BlockKind.WHOLE)
        self._leave(lane, stretch)
        return ContentInfo(Digest(digest), size)

    def _is_unknown(self, wanted: bytes) -> bool:
        """Whether an id is to be put, unless another thread is faster."""
        return wanted not in self._pending and not self._relies_on(wanted)

    def _finish(self, lane: Lane, done: Underway) -> None:
        for wanted, length, encoded in done.chunks():
            if self._claims(lane, wanted):
                lane.add_stored(*encoded, [Member(wanted, BlockKind.CHUNK, length)])
        done.digested.result()
        self._leave(lane, done.stretch)

    def _leave(self, lane: Lane, stretch: Stretch) -> None:
        lane.settle()
        if stretch.buffer is not None:
            lane.buffers.append(stretch.buffer)
        self._go_on(len(stretch.data))

    def _put_recipe(self, lane: Lane, digest: bytes, chunks: list[recipe.Item], size: int) -> None:
        """Put a recipe where no crash can leave it in the store without its chunks and lists."""
        needed = [item.id for item in chunks]

        def put_list(node_id: bytes, node: bytes) -> None:
            needed.append(node_id)
            if self._is_new(lane, node_id):
                lane.add_small(node_id, node, BlockKind.LIST)

        node = recipe.build(chunks, put_list)
        self.on_recipe(digest, node)
        if all(self._is_safe(lane, one) for one in needed):
            lane.add(digest, node, size, BlockKind.RECIPE)
        else:
            # Another pack has some of them, and may become durable after ours, or never.
            self._waiting.append(_Recipe(digest, node, size))

    def _is_safe(self, lane: Lane, needed: bytes) -> bool:
        """Whether nothing that is put into the lane now can be durable without it."""
        claim = self._pending.get(needed)
        return (claim is not None and lane.goes_with(claim)) or self._relies_on(needed)

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


def _digest_of(descriptor: int) -> bytes:
    """The digest of what a file holds; its position stays at the beginning."""
    with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
        found = file_digest(file, "sha256").digest()
    os.lseek(descriptor, 0, os.SEEK_SET)
    return found
