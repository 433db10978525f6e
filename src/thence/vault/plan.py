"""Which bytes to read of which packs, so that few reads fetch many blocks."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from thence.vault.directory import Location
from thence.vault.pack import Codec, DirectoryEntry

__all__ = ["Block", "Read", "covers", "plan_reads"]

# What lies between two blocks is read too where that is faster than asking twice: 64 KiB take a
# thousandth of a second at 64 MB/s, a request to a bucket takes ten or more.
GAP = 64 * 1024


class Block(NamedTuple):
    """A stored block, and what is wanted of it.

    Attributes:
        members: In the order in which they lie in it.
    """

    pack: bytes
    offset: int
    stored_length: int
    codec: Codec
    members: tuple[DirectoryEntry, ...]

    @property
    def where(self) -> Location:
        """Where it lies, as its first member does."""
        return Location(self.pack, self.members[0])


class Read(NamedTuple):
    """One ranged read of a pack and the blocks that it fetches."""

    pack: bytes
    offset: int
    length: int
    blocks: tuple[Block, ...]


def plan_reads(locations: Iterable[Location], *, largest: int) -> Iterator[Read]:
    """The reads that fetch all of these, in the order of the packs.

    Args:
        locations: What is wanted, each once.
        largest: About how many bytes a read may have; a block is never divided.
    """
    run: list[Block] = []
    end = 0
    for block in _blocks(locations):
        if run:
            adjacent = block.pack == run[0].pack and block.offset - end <= GAP
            whole = max(end, block.offset + block.stored_length) - run[0].offset
            if not adjacent or whole > largest:
                yield _read(run, end)
                run, end = [], 0
        run.append(block)
        end = max(end, block.offset + block.stored_length)
    if run:
        yield _read(run, end)


def _read(run: list[Block], end: int) -> Read:
    return Read(run[0].pack, run[0].offset, end - run[0].offset, tuple(run))


def _blocks(locations: Iterable[Location]) -> Iterator[Block]:
    members: list[DirectoryEntry] = []
    current: tuple[bytes, int, int, Codec] | None = None
    for (pack, offset, length, codec), *_, entry in sorted(
        (
            (pack, entry.offset, entry.stored_length, entry.codec),
            entry.inner,
            entry.raw_length,  # an empty content lies before what begins where it does
            entry,
        )
        for pack, entry in locations
    ):
        if current != (pack, offset, length, codec):
            if current is not None:
                yield Block(*current, tuple(members))
            current, members = (pack, offset, length, codec), []
        members.append(entry)
    if current is not None:
        yield Block(*current, tuple(members))


def covers(members: Sequence[DirectoryEntry], size_bytes: int) -> bool:
    """Whether these make up all of a decoded block: no byte of it is outside of them."""
    end = 0
    for member in members:
        if member.inner != end:
            return False
        end += member.raw_length
    return end == size_bytes
