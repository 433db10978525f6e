"""A lane: everything that one writing thread has to itself, so that none waits for another."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from thence.errors import StorageError
from thence.store.base import Bytes, Store
from thence.vault.pack import BlockKind, Codec, DirectoryEntry, Pack, PackBuilder
from thence.vault.uploads import Uploads

__all__ = ["Lane", "Member"]

SOLID = 256 * 1024
PACK = 256 * 1024 * 1024
# On a bucket: what a broken connection costs, and what several uploads at once may hold. A whole
# pack stays below the 64 MiB that go up in one request; the last block has at most 288 KiB.
REMOTE_PACK = 63 * 1024 * 1024
_PROBE = 4096
_WORTH = 0.97


class Member(NamedTuple):
    """One id of a stored block that is copied as it is.

    Attributes:
        id: SHA-256 of a content, or BLAKE3-256 of a chunk or list.
        raw_length: Bytes under this id; for a recipe, of the content that it describes.
        inner: Offset in the decoded block.
    """

    id: bytes
    kind: BlockKind
    raw_length: int
    inner: int = 0


class Lane:
    """What one thread needs to write: a pack of its own, a compressor, a solid block being filled.

    Not for use by several threads. Once a call failed, all others fail: what was to be written may
    be lost, and others already count on it.

    Args:
        store: Where finished packs go.
        new_builder: Makes an empty pack.
        uploads: Publishes packs in the background; None where the store is a local folder.

    Attributes:
        pack: The number of the pack that is being filled.
        published: The packs that are durable, those that went by `uploads` left out.
    """

    def __init__(
        self,
        store: Store,
        new_builder: Callable[[], PackBuilder],
        *,
        uploads: Uploads | None = None,
    ) -> None:
        import zstandard

        self._store = store
        self._new_builder = new_builder
        self._uploads = uploads
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._builder = new_builder()
        self._solid: list[tuple[bytes, Bytes, BlockKind]] = []
        self._solid_size = 0
        self.pack = 0
        self.published: list[Pack] = []
        self._failed = False

    def add_small(self, wanted: bytes, data: Bytes, kind: BlockKind) -> None:
        """Put bytes into the next solid block."""
        with self._all_or_nothing():
            self._solid.append((wanted, data, kind))
            self._solid_size += len(data)
            if self._solid_size >= SOLID:
                self._close_solid()

    def add(self, wanted: bytes, data: Bytes, raw_length: int, kind: BlockKind) -> None:
        """Put bytes into a block of their own."""
        with self._all_or_nothing():
            stored, codec = self._compress(data)
            self._add_stored(stored, codec, [Member(wanted, kind, raw_length)])

    def add_stored(self, stored: Bytes, codec: Codec, members: Sequence[Member]) -> None:
        """Put a block that is encoded already."""
        with self._all_or_nothing():
            self._add_stored(stored, codec, members)

    def _add_stored(self, stored: Bytes, codec: Codec, members: Sequence[Member]) -> None:
        offset = self._builder.add_block(stored)
        for wanted, kind, raw_length, inner in members:
            self._builder.add_entry(
                DirectoryEntry(wanted, offset, raw_length, len(stored), inner, kind, codec)
            )
        if self._builder.pack_bytes >= (REMOTE_PACK if self._uploads else PACK):
            self._publish()

    def _close_solid(self) -> None:
        if not self._solid:
            return
        stored, codec = self._compress(b"".join(data for _, data, _ in self._solid))
        members, inner = [], 0
        for wanted, data, kind in self._solid:
            members.append(Member(wanted, kind, len(data), inner))
            inner += len(data)
        self._solid, self._solid_size = [], 0
        self._add_stored(stored, codec, members)

    def _compress(self, data: Bytes) -> tuple[Bytes, Codec]:
        size = len(data)
        if size > 4 * _PROBE:
            middle = memoryview(data)[size // 2 : size // 2 + _PROBE]
            # Measured: probing costs under 2 % and spares random data the whole pass.
            if len(self._compressor.compress(middle)) > _WORTH * _PROBE:
                return bytes(data), Codec.RAW
        packed = self._compressor.compress(data)
        if len(packed) < _WORTH * size:
            return packed, Codec.ZSTD
        return bytes(data), Codec.RAW

    def publish(self) -> None:
        """Close the pack and begin another; with `uploads` it may not be durable yet."""
        with self._all_or_nothing():
            self._publish()

    def _publish(self) -> None:
        self._close_solid()
        if self._builder.empty:
            return
        if self._uploads is None:
            self.published.append(self._builder.publish(self._store))
        else:
            self._uploads.send(self._builder)
        self._builder = self._new_builder()
        self.pack += 1

    def goes_with(self, pack: int) -> bool:
        """Whether what is put now cannot become durable before what was put into that pack."""
        return self._uploads is None or pack == self.pack

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
