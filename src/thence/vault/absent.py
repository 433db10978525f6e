"""Which of the contents that something needs are not there."""

from collections.abc import Iterable

from thence.errors import NotFound
from thence.model.ids import Digest
from thence.vault.references import Root, RootKind, digests_in
from thence.vault.vault import Vault

__all__ = ["absent"]

_AT_ONCE = 10_000


def absent(vault: Vault, roots: Iterable[Root]) -> set[Digest]:
    """The contents that roots need and the vault does not have; nothing of files is read.

    Raises:
        DataDamaged: A tree or a list of files cannot be read.
        StorageError: The store failed.
    """
    gone: set[Digest] = set()
    for root in dict.fromkeys(roots):
        if vault.content.missing([root.digest]):
            gone.add(root.digest)
            continue
        batch: list[Digest] = []
        try:
            for digest in digests_in(root.kind, _pieces(vault, root)):
                batch.append(Digest(digest))
                if len(batch) >= _AT_ONCE:
                    gone |= vault.content.missing(batch)
                    batch = []
        except NotFound:
            gone.add(root.digest)  # it went this moment
        gone |= vault.content.missing(batch)
    return gone


def _pieces(vault: Vault, root: Root) -> Iterable[bytes]:
    return () if root.kind is RootKind.CONTENT else map(bytes, vault.content.stream(root.digest))
