"""Securing: what is about to get a name is looked for, and copied out of condemned packs."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from thence.vault.references import Root

if TYPE_CHECKING:
    from thence.vault.vault import Vault

__all__ = ["secure"]


def secure(vault: "Vault", roots: Iterable[Root], *, avoid: Collection[bytes]) -> int:
    """See that everything that the roots are made of is in packs that stay.

    Args:
        vault: Where.
        roots: What is about to get a name.
        avoid: Packs that are condemned; what lies only there is copied.

    Returns:
        How many ids were copied.

    Raises:
        NotFound: Something is in no pack.
        DataDamaged: A list of contents or chunks cannot be read.
        StorageError: The store failed.
        Denied: It may not be written to.
    """
    raise NotImplementedError
