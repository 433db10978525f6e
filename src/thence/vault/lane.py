"""A lane: everything that one writing thread has to itself, so that none waits for another."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from thence.errors import StorageError
from thence.store.base import Bytes, Store
from thence.vault.encoding import Encoded, encode
from thence.vault.pack import ENTRY_SIZE, BlockKind, Codec, Member, Pack, PackBuilder
from thence.vault.parallel import submit
from thence.vault.uploads import Uploads

__all__ = ["Claim", "Lane", "Member"]

SOLID = 256 * 1024
PACK = 256 * 1024 * 1024
# On a bucket: what a broken connection costs, and what several uploads at once may hold. A whole
# pack stays below the 64 MiB that go up in one request; the last block has at most 288 KiB.
REMOTE_PACK = 63 * 1024 * 1024
# Tiny contents must not make the directory of a pack longer than its blocks.
_MOST_MEMBERS = 4096
# Solid blocks that are being compressed while the next one is filled.
_CLOSING = 2


class Claim(NamedTuple):
    """Who was the first of this session to need an id.

    Attributes:
        lane: Of the claimant, who stores it if the directory does not know it.
        pack: The number of the pack of that lane that it is put into, or of one before it.
    """

    lane: "Lane"
    pack: int


class _Closing(NamedTuple):
    """A solid block that is being compressed."""

    encoded: Future[Encoded]
    members: list[Member]
    size: int


class Lane:
    """What one thread needs to write: a pack of its own, and a solid block that is being filled.

    Not for use by several threads. Once a call failed, all others fail: what was to be written may
    be lost, and others already count on it.

    Args:
        store: Where finished packs go.
        new_builder: Makes an empty pack.
        pool: Compresses solid blocks.
        uploads: Publishes packs in the background; None where the store is a local folder.

    Attributes:
        claim: Of what is put now.
        buffers: Free memory to read files into.
        published: The packs that are durable, those that went by `uploads` left out.
    """

    def __init__(
        self,
        store: Store,
        new_builder: Callable[[], PackBuilder],
        pool: ThreadPoolExecutor,
        *,
        uploads: Uploads | None = None,
    ) -> None:
        self._store = store
        self._new_builder = new_builder
        self._pool = pool
        self._uploads = uploads
        self._builder = new_builder()
        self._solid: list[Bytes] = []
        self._members: list[Member] = []
        self._solid_size = 0
        self._closing: deque[_Closing] = deque()
        self._closing_size = 0
        self.claim = Claim(self, 0)
        self.buffers: list[bytearray] = []
        self.published: list[Pack] = []
        self._failed = False

    def add_small(self, wanted: bytes, data: Bytes, kind: BlockKind) -> None:
        """Put bytes into the next solid block; they must not change any more."""
        self.check()
        self._failed = True
        self._members.append(Member(wanted, kind, len(data), self._solid_size))
        self._solid.append(data)
        self._solid_size += len(data)
        self._failed = False
        if self._solid_size >= SOLID or len(self._members) >= _MOST_MEMBERS:
            with self._all_or_nothing():
                self._close_solid()
                while len(self._closing) > _CLOSING:
                    self._store_solid()
                self._publish_if_full()

    def add(self, wanted: bytes, data: Bytes, raw_length: int, kind: BlockKind) -> None:
        """Put bytes into a block of their own."""
        self.add_stored(*encode(data), [Member(wanted, kind, raw_length)])

    def add_stored(self, stored: Bytes, codec: Codec, members: Sequence[Member]) -> None:
        """Put a block that is encoded already.

        A `memoryview` may be read until the next `settle`.
        """
        with self._all_or_nothing():
            self._builder.add_stored(stored, codec, members)
            self._publish_if_full()

    def settle(self) -> None:
        """From here on the memory of what was added may be used again."""
        with self._all_or_nothing():
            self._builder.settle()

    def _close_solid(self) -> None:
        if not self._members:
            return
        encoded = submit(self._pool, encode, b"".join(self._solid))
        size = self._solid_size + ENTRY_SIZE * len(self._members)
        self._closing.append(_Closing(encoded, self._members, size))
        self._closing_size += size
        self._solid, self._members, self._solid_size = [], [], 0

    def _store_solid(self) -> None:
        encoded, members, size = self._closing.popleft()
        self._closing_size -= size
        self._builder.add_stored(*encoded.result(), members)

    def _publish_if_full(self) -> None:
        size = self._builder.pack_bytes + self._closing_size
        if size >= (REMOTE_PACK if self._uploads else PACK):
            self._publish()

    def publish(self) -> None:
        """Close the pack and begin another; with `uploads` it may not be durable yet."""
        with self._all_or_nothing():
            self._publish()

    def _publish(self) -> None:
        # All of it goes into this pack: recipes in it may name lists that are in solid blocks.
        self._close_solid()
        while self._closing:
            self._store_solid()
        if self._builder.empty:
            return
        if self._uploads is None:
            self.published.append(self._builder.publish(self._store))
        else:
            self._builder.settle()  # another thread publishes it, and nobody waits for that
            self._uploads.send(self._builder)
        self._builder = self._new_builder()
        self.claim = Claim(self, self.claim.pack + 1)

    def leave(self) -> None:
        """Publish the pack if it is whole, and too large to be written again for nothing."""
        if self._builder.large and not self._failed:
            self.publish()

    def goes_with(self, claim: Claim) -> bool:
        """Whether what is put now cannot become durable before what was claimed so."""
        return claim.lane is self and (self._uploads is None or claim.pack == self.claim.pack)

    def check(self) -> None:
        """See that nothing was lost.

        Raises:
            StorageError: A call failed before.
            Denied: A pack could not be written for want of rights.
        """
        if self._uploads is not None:
            self._uploads.check()
        if self._failed:
            raise StorageError(
                "this session of writing has failed before",
                why="What it was about to write is lost.",
                hint="Begin again; what was stored by then is reused.",
            )

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        self.check()
        self._failed = True
        yield
        self._failed = False

    def discard(self) -> None:
        """Forget what was not published."""
        self._builder.discard()
