"""The part of the facade that looks after what a project keeps: proving, healing, removing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from thence.execution.site import Site
from thence.index.views import RunDetail, VersionDetail

if TYPE_CHECKING:
    from thence.execution.removing import Removal, Undone

__all__ = ["Upkeep"]


class Upkeep:
    """What a project can do with the content that it keeps.

    Attributes:
        site: The parts of the project.
    """

    site: Site

    def plan_removal(
        self, refs: Sequence[str] = (), *, artifacts: Sequence[str] = ()
    ) -> "list[Removal]":
        """What removing versions and runs would mean: what depends on each of them.

        Args:
            refs: Versions and runs.
            artifacts: Names of which all versions are meant.

        Raises:
            NotFound: There is no such version or run, or it is removed already.
            InvalidInput: A ref cannot be read, is of a path or a name alone, or a run goes on.
        """
        from thence.execution import removing

        return removing.plan(self.site, refs, artifacts=artifacts)

    def remove(self, removals: "Sequence[Removal]", *, reason: str, force: bool = False) -> None:
        """Remove versions and runs; the bytes go with the next collection, until then `undo` works.

        Args:
            removals: As `plan_removal` gave them.
            reason: Why; everybody who asks for one of them is told.
            force: Also what an alias or a model depends on.

        Raises:
            InvalidInput: There is no reason.
            Conflict: An alias or a model depends on one of them; nothing was removed.
            StorageError: The store failed.
            Denied: The store may not be written to.
        """
        from thence.execution import removing

        removing.remove(self.site, removals, reason=reason, force=force)

    def undo_removal(self, refs: Sequence[str], *, reason: str = "") -> "list[Undone]":
        """Make versions and runs that were removed be there again.

        Raises:
            NotFound: There is no such version or run, or some of its content is gone.
            InvalidInput: It is not removed, or a ref cannot be read.
            StorageError: The store failed.
            Denied: The store may not be written to.
        """
        from thence.execution import removing

        return removing.undo(self.site, refs, reason=reason)

    def can_undo(self, found: VersionDetail | RunDetail) -> bool:
        """Whether a version or run is removed, and everything that it needs is still there.

        Raises:
            StorageError: The store failed.
        """
        if found.deletion is None:
            return False
        from thence.execution import removing

        return removing.can_undo(self.site, found)
