"""Repacking: what is wanted of some packs, copied into new ones, every block verified."""

from collections.abc import Callable, Collection
from typing import NamedTuple

from thence.vault.directory import Location
from thence.vault.vault import Vault

__all__ = ["Repacked", "repack"]


class Repacked(NamedTuple):
    """What was copied.

    Attributes:
        packs: Ids of the new packs, sorted.
        ids: How many ids are in them.
        size_bytes: Of the new packs.
    """

    packs: tuple[bytes, ...]
    ids: int
    size_bytes: int


def repack(
    vault: Vault,
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
    raise NotImplementedError
