"""What a store holds already, for who is about to save."""

from collections.abc import Collection, Sequence

from thence.vault.directory import Directory

__all__ = ["HeldContent"]


class HeldContent:
    """Answers from what is known of the packs of a store.

    Args:
        directory: Knows them; it was refreshed a moment ago.
        avoid: Packs that are about to be deleted, which count as not there.

    Attributes:
        packs: Those in which something was found.
    """

    def __init__(self, directory: Directory, avoid: Collection[bytes]) -> None:
        self._directory = directory
        self._avoid = avoid
        self.packs: set[bytes] = set()

    def missing(self, digests: bytes) -> Sequence[int]:
        """Which of these contents, 32 bytes each, are not there, by their numbers, in order."""
        found = self._directory.find_all_kept(digests, self._avoid)
        self.packs |= found.packs
        return found.missing

    def has_packs(self, packs: Collection[bytes]) -> bool:
        """Whether these packs are all there, and will stay."""
        there = self._directory.packs().difference(self._avoid)
        if not there.issuperset(packs):
            return False
        self.packs.update(packs)
        return True
