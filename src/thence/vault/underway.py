"""A stretch of a content on its way into the store: digested and compressed by other threads."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from blake3 import blake3

from thence.vault import recipe
from thence.vault.encoding import Encoded, encode_all, is_dense
from thence.vault.pack import Codec
from thence.vault.parallel import submit
from thence.vault.stretches import Stretch

__all__ = ["NewChunk", "Underway", "begin"]


class NewChunk(NamedTuple):
    """A chunk that the store does not have, as it is to be stored."""

    id: bytes
    length: int
    encoded: Encoded


class _Chunk(NamedTuple):
    id: bytes
    data: memoryview


class Underway(NamedTuple):
    """What is being done with a stretch.

    Attributes:
        digested: Is done when the digest of the content has seen it.
        dense: Chunks that are stored as they are.
        packed: Chunks that are being compressed.
    """

    stretch: Stretch
    digested: Future[None]
    dense: list[_Chunk]
    packed: list[_Chunk]
    encoded: Future[list[Encoded]] | None

    def chunks(self) -> Iterator[NewChunk]:
        """The chunks that are new; waits for those that are being compressed."""
        for wanted, data in self.dense:
            yield NewChunk(wanted, len(data), Encoded(data, Codec.RAW))
        if self.encoded is not None:
            for (wanted, data), encoded in zip(self.packed, self.encoded.result(), strict=True):
                yield NewChunk(wanted, len(data), encoded)


def begin(
    stretch: Stretch,
    digested: Future[None],
    items: list[recipe.Item],
    pool: ThreadPoolExecutor,
    is_new: Callable[[bytes], bool],
) -> Underway:
    """Name the chunks of a stretch, and have those compressed that are new and not dense.

    To name them takes so little time that another thread would cost more than it spares.

    Args:
        stretch: Of the content.
        digested: As in `Underway`.
        items: Of the recipe so far; grows by the chunks.
        pool: Compresses.
        is_new: Whether a chunk is wanted.
    """
    data, start = stretch.data, 0
    dense: list[_Chunk] = []
    packed: list[_Chunk] = []
    for end in stretch.ends:
        piece = data[start:end]
        # The chunks of blank stretches are all the same.
        wanted = items[-1].id if stretch.blank and start else blake3(piece).digest()
        items.append(recipe.Item(wanted, end - start))
        start = end
        if is_new(wanted):
            (dense if is_dense(piece) else packed).append(_Chunk(wanted, piece))
    encoded = submit(pool, encode_all, [chunk.data for chunk in packed]) if packed else None
    return Underway(stretch, digested, dense, packed, encoded)
