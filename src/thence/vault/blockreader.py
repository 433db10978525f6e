"""Reading many stored blocks at once, each verified before anybody sees it."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from typing import NamedTuple, TypeVar

from blake3 import blake3

from thence.errors import DataDamaged, Interrupted, NotFound
from thence.store.base import Bytes
from thence.vault import recipe
from thence.vault.content import LARGEST_BLOCK
from thence.vault.directory import Location
from thence.vault.pack import BlockKind, pack_key
from thence.vault.plan import Block, Read, plan_reads
from thence.vault.vault import Vault

__all__ = ["BlockReader", "Fetched", "damaged"]

A = TypeVar("A")
T = TypeVar("T")

# Measured: larger reads of a disk only fill caches. A request to a bucket is worth more, as long as
# all workers together do not hold too much of what they read.
_LOCAL_READ = 2 * 1024 * 1024
_REMOTE_READ = 8 * 1024 * 1024
_READ_AHEAD = 48 * 1024 * 1024


class Fetched(NamedTuple):
    """A block that was read and verified.

    Attributes:
        stored: As it lies in the pack.
        decoded: What that means; for a recipe, its node.
    """

    block: Block
    stored: Bytes
    decoded: Bytes


def damaged(pack: bytes, why: str) -> DataDamaged:
    """The error for a pack that does not hold what its directory says."""
    key = pack_key(pack)
    return DataDamaged(f"damaged data in {key}", why=why, about=key)


class BlockReader:
    """Reads blocks with several threads.

    Once a piece of work failed, or the reader was stopped, all others fail too.

    Args:
        vault: Where from.
        pool: The threads.
        workers: How many threads it has.
    """

    def __init__(self, vault: Vault, pool: ThreadPoolExecutor, *, workers: int) -> None:
        self._vault = vault
        self._pool = pool
        self._workers = workers
        self._largest = min(_REMOTE_READ, _READ_AHEAD // workers) if vault.remote else _LOCAL_READ
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Have all work end as soon as it can."""
        self._stopped.set()

    def check(self) -> None:
        """See that it was not stopped.

        Raises:
            Interrupted: It was.
        """
        if self._stopped.is_set():
            raise Interrupted("the transfer was stopped")

    def each(self, locations: Iterable[Location], work: Callable[[Fetched], T]) -> Iterator[T]:
        """Have `work` done with each block that holds some of these, by any thread.

        The results come in the order of the packs. Every member of a block that is wanted has been
        compared with its id by then.

        Raises:
            NotFound: A pack went, and what was in it is nowhere else.
            DataDamaged: A block is not what its directory says.
            StorageError: A pack cannot be read.
        """
        reads = plan_reads(locations, largest=self._largest)
        for results in self.in_parallel(reads, lambda read: self._fetch(read, work)):
            yield from results

    def in_parallel(self, items: Iterable[A], work: Callable[[A], T]) -> Iterator[T]:
        """Have `work` done with each item, and give the results in order.

        Raises:
            As `work`: its first failure, not one that followed from it.
        """
        waiting: deque[Future[T]] = deque()
        try:
            for item in items:
                # A bounded queue: neither items nor results may fill the memory.
                if len(waiting) >= 2 * self._workers:
                    yield waiting.popleft().result()
                waiting.append(self._pool.submit(self._guarded, work, item))
            while waiting:
                yield waiting.popleft().result()
        except BaseException as error:
            self.stop()
            for left in waiting:
                left.cancel()
            first = self._failure
            if first is None or first is error or not isinstance(error, Exception):
                raise
            raise first from None

    def _guarded(self, work: Callable[[A], T], item: A) -> T:
        self.check()
        try:
            return work(item)
        except BaseException as error:
            with self._lock:
                self._failure = self._failure or error
            self.stop()
            raise

    def _fetch(self, read: Read, work: Callable[[Fetched], T], *, moved: bool = False) -> list[T]:
        if any(block.stored_length > LARGEST_BLOCK for block in read.blocks):
            raise damaged(read.pack, "A block is larger than any that is written.")
        try:
            key = pack_key(read.pack)
            data = memoryview(self._vault.store.get_range(key, read.offset, read.length))
        except NotFound:
            if moved:
                raise
            return [
                result
                for again in plan_reads(self._moved(read), largest=self._largest)
                for result in self._fetch(again, work, moved=True)
            ]
        # A view keeps all that was read with it in memory, so few wanted bytes are copied instead.
        dense = 2 * sum(block.stored_length for block in read.blocks) >= read.length
        results = []
        for block in read.blocks:
            self.check()
            start = block.offset - read.offset
            stored = data[start : start + block.stored_length]
            if len(stored) != block.stored_length:
                raise damaged(read.pack, "The pack ends before the block does.")
            decoded = self._vault.content.decode(block.where, stored)
            _verify(block, decoded)
            results.append(work(Fetched(block, stored if dense else bytes(stored), decoded)))
        return results

    def _moved(self, read: Read) -> Iterator[Location]:
        """Where things lie after their pack went: location may change at any time."""
        directory = self._vault.directory
        directory.refresh()
        for block in read.blocks:
            for member in block.members:
                where = directory.find(member.id)
                if where is None:
                    raise NotFound(
                        f"{member.id.hex()[:12]} is in no pack of {self._vault.store.url} any more",
                        why=f"{pack_key(read.pack)} went while it was read.",
                        hint="Repeat the command; what nothing refers to any more is passed over.",
                        about=member.id.hex(),
                    )
                yield where


def _verify(block: Block, decoded: Bytes) -> None:
    view = memoryview(decoded)
    for member in block.members:
        if member.kind is BlockKind.RECIPE:
            _, items = recipe.parse(decoded)
            lengths = [item.length for item in items]
            if sum(lengths) != member.raw_length or 0 in lengths:
                raise damaged(block.pack, "A recipe makes a content of another length.")
            continue
        data = view[member.inner : member.inner + member.raw_length]
        if len(data) != member.raw_length:
            raise damaged(block.pack, "A block is shorter than the directory says.")
        digest = sha256(data) if member.kind is BlockKind.WHOLE else blake3(data)
        if digest.digest() != member.id:
            raise damaged(block.pack, f"{member.id.hex()[:12]} has other bytes.")
