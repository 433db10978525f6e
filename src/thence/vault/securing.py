"""Securing: what is about to get a name is looked for, and copied out of condemned packs."""

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from thence.errors import ThenceError
from thence.model.ids import Digest
from thence.vault.directory import Location
from thence.vault.erasures import refusal_of
from thence.vault.pack import BlockKind
from thence.vault.references import Root
from thence.vault.repack import copy
from thence.vault.walk import Seen, Walk

if TYPE_CHECKING:
    from thence.vault.vault import Vault

__all__ = ["secure"]


def secure(
    vault: "Vault",
    roots: Iterable[Root],
    *,
    avoid: Collection[bytes],
    spare: Collection[Digest] = (),
) -> int:
    """See that everything that the roots are made of is in packs that stay.

    Args:
        vault: Where.
        roots: What is about to get a name.
        avoid: Packs that are condemned; what lies only there is copied.
        spare: Contents that are neither missed nor refused: they were erased.

    Returns:
        How many ids were copied.

    Raises:
        NotFound: Something is in no pack.
        Denied: Something was erased, or the store may not be written to.
        DataDamaged: Something cannot be read.
        StorageError: The store failed.
    """
    directory = vault.directory
    directory.refresh()
    refuse = refusal_of(vault)
    spared = {digest.raw for digest in spare}
    known: set[bytes] = set()
    moving: list[Location] = []

    def visit(ids: Sequence[bytes], kind: BlockKind) -> Seen:
        below, absent = [], []
        for wanted in ids:
            if wanted in known or wanted in spared:
                continue
            refuse(wanted)  # who began before it was erased relies on it, or has put it again
            where = directory.find_kept(wanted, avoid)
            if where is None and (where := directory.find(wanted)) is not None:
                moving.append(where)
            if where is None:
                absent.append(wanted)
                continue
            known.add(wanted)
            if where.entry.kind in {BlockKind.RECIPE, BlockKind.LIST}:
                below.append(where)
        return Seen(below, absent)

    def missing(wanted: bytes, leaf: bool, error: ThenceError) -> None:
        if wanted not in spared:
            raise error

    Walk(vault, visit, missing).run(roots)
    if not moving:
        return 0
    return copy(vault, moving, avoid=avoid).ids
