"""Repacking: what is wanted of some packs, copied into new ones, every block verified."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from thence.vault.blockreader import BlockReader, Fetched
from thence.vault.directory import Location
from thence.vault.lane import Member
from thence.vault.pack import BlockKind, Codec, entries_of, read_directory
from thence.vault.plan import covers
from thence.vault.writer import Writer

if TYPE_CHECKING:
    from thence.vault.vault import Vault

__all__ = ["Repacked", "copy", "repack"]

_LOCAL_WORKERS = 4
_REMOTE_WORKERS = 16
_AT_ONCE = 50_000


class Repacked(NamedTuple):
    """What was copied.

    Attributes:
        packs: Ids of the new packs, sorted.
        ids: How many ids were asked for; some may have been in other packs already.
        size_bytes: Of the new packs.
    """

    packs: tuple[bytes, ...]
    ids: int
    size_bytes: int


def repack(
    vault: "Vault",
    packs: Collection[bytes],
    keep: Callable[[Location], bool],
    *,
    avoid: Collection[bytes] = (),
    progress: Callable[[int], None] = lambda size: None,
) -> Repacked:
    """Copy what is wanted of some packs into new packs; nothing is deleted.

    Blocks of which everything is wanted are copied as they are, others are encoded anew. When it
    returns, the new packs are durable and known to the directory. What is wanted and lies also in
    a pack that is neither among these nor to be avoided is not copied.

    Args:
        vault: Where.
        packs: Which packs are about to go.
        keep: Whether the id at a location is wanted.
        avoid: Other packs that must not be relied on, as those that are condemned.
        progress: Is told bytes read so far.

    Raises:
        DataDamaged: A block that is wanted is not what was written, or a directory is not.
        NotFound: A pack is gone.
        StorageError: The store failed.
        Denied: The store may not be written to.
    """
    locations = (
        where
        for pack in sorted(packs)
        for entry in entries_of(read_directory(vault.store, pack))
        if keep(where := Location(pack, entry))
    )
    return copy(vault, locations, avoid={*packs, *avoid}, progress=progress)


def copy(
    vault: "Vault",
    locations: Iterable[Location],
    *,
    avoid: Collection[bytes],
    progress: Callable[[int], None] = lambda size: None,
) -> Repacked:
    """Copy what lies at some places into new packs, as far as no pack but those to avoid has it.

    Args:
        vault: Where.
        locations: What is wanted; those of one pack one after the other.
        avoid: Packs that must not be relied on; all that it is copied from are among them.
        progress: Is told bytes read so far.

    Raises:
        As `repack`.
    """
    workers = _REMOTE_WORKERS if vault.remote else _LOCAL_WORKERS
    recipes: list[Location] = []
    count = size = 0
    before = vault.directory.packs()

    def others() -> Iterator[Location]:
        # Recipes come last: none may be there before all that it names.
        for where in locations:
            if where.entry.kind is BlockKind.RECIPE:
                recipes.append(where)
            else:
                yield where

    # One lane, so that few packs come of it: blocks are mostly copied as they are.
    writer = vault.copier(avoid=avoid, lanes=1)
    with writer, ThreadPoolExecutor(workers, "thence-copy") as pool:
        reader = BlockReader(vault, pool, workers=workers)

        def put(some: Sequence[Location]) -> None:
            nonlocal count, size
            for done in reader.each(some, lambda fetched: _put(writer, fetched)):
                size += done
                progress(size)
            count += len(some)

        try:
            for some in _batches(others()):
                put(some)
            writer.flush()
            for some in _batches(recipes):
                put(some)
                writer.flush()
        except BaseException:
            reader.stop()
            raise
    new = set(writer.packs) - before
    return Repacked(tuple(sorted(new)), count, writer.new_bytes)


def _batches(locations: Iterable[Location]) -> Iterator[list[Location]]:
    """Whole packs, so that no solid block is taken apart, as many as fit."""
    batch: list[Location] = []
    for _, group in groupby(locations, key=lambda where: where.pack):
        batch += group
        if len(batch) >= _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _put(writer: Writer, fetched: Fetched) -> int:
    """Put a block, or what is wanted of it; how many bytes were read."""
    block, stored, decoded = fetched
    members = block.members
    if members[0].kind is BlockKind.RECIPE or (len(stored) and covers(members, len(decoded))):
        same = [Member(m.id, m.kind, m.raw_length, m.inner) for m in members]
        writer.put_block(stored, block.codec, same)
        return len(stored)
    view = memoryview(decoded)
    for member in members:
        data = bytes(view[member.inner : member.inner + member.raw_length])
        if member.kind is BlockKind.WHOLE:
            writer.put_bytes(data)
        else:
            alone = Member(member.id, member.kind, member.raw_length)
            writer.put_block(data, Codec.RAW, [alone])
    return len(stored)
