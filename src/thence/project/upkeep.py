"""The part of the facade that looks after what a project keeps: proving, healing, removing."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from thence.execution.site import Site
from thence.index import status
from thence.index.refresh import Refreshed
from thence.index.views import IndexStatus, RunDetail, VersionDetail
from thence.model.progress import Progress, silent

if TYPE_CHECKING:
    from thence.execution.checking import Diagnosis
    from thence.execution.collecting import Collection
    from thence.execution.erasing import Erased, ErasurePlan
    from thence.execution.removing import Removal, Undone
    from thence.vault.repair import Repaired

__all__ = ["Upkeep"]


class Upkeep:
    """What a project can do with the content that it keeps.

    Attributes:
        site: The parts of the project.
    """

    site: Site

    def refresh(self, *, full: bool = False) -> Refreshed:
        """Bring the index up to date with the store; `full` rebuilds it from nothing.

        Raises:
            StorageError: The store cannot be read.
        """
        return self.site.refresh(full=full)

    def index_status(self) -> IndexStatus:
        """Counts, size and problems of the index."""
        self.refresh()
        return status.index_status(self.site.index)

    def check(
        self, *, deep: bool = False, others: Sequence[str] = (), progress: Progress = silent
    ) -> "Diagnosis":
        """Check that everything is there and as it was written; nothing is changed.

        Args:
            deep: Read every byte that is kept.
            others: URLs or folders that hold the same project, to compare with and to heal from; a
                clone or mirror looks at its home where something is damaged.
            progress: Is told of packs and bytes so far, and of all bytes.

        Raises:
            InvalidInput: Not a URL of a store, or one of another project.
            NotFound: There is no project at one of them.
            StorageError: A store failed.
            Denied: A store may not be read.
        """
        from thence.execution import checking

        return checking.check_site(self.site, deep=deep, others=others, progress=progress)

    def repair(
        self, *, others: Sequence[str] = (), dry_run: bool = False, progress: Progress = silent
    ) -> "Repaired":
        """Heal what is damaged or lost, from stores that hold the same project.

        Args:
            others: Their URLs or folders; a clone or mirror takes its home if none is given.
            dry_run: Only find out what would be healed.
            progress: Is told of packs and bytes so far, and of all bytes.

        Raises:
            InvalidInput: Not a URL of a store, or one of another project.
            NotFound: There is no project at one of them.
            StorageError: A store failed; repeat it to go on.
            Denied: A store may not be read, or this one not be written to.
        """
        from thence.execution import checking

        return checking.repair_site(self.site, others=others, dry_run=dry_run, progress=progress)

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

    def plan_erasure(
        self, refs: Sequence[str] = (), *, contents: Sequence[str] = (), everywhere: bool = False
    ) -> "ErasurePlan":
        """What erasing versions, paths in them, runs and contents would mean.

        Args:
            refs: Versions, paths in versions, runs.
            contents: Digests of contents.
            everywhere: Of runs, too, take what others have.

        Raises:
            NotFound: There is no such version, path, run or content.
            InvalidInput: A ref or digest cannot be read, or is a name alone.
            DataDamaged: Something cannot be read, so it is not known who else has it.
            StorageError: The store failed.
        """
        from thence.execution import erasing

        return erasing.plan(self.site, refs, contents=contents, everywhere=everywhere)

    def erase(
        self,
        wanted: "ErasurePlan",
        *,
        reason: str,
        everywhere: bool = False,
        progress: Callable[[int], None] = lambda size: None,
    ) -> "Erased":
        """Take bytes out of every pack for good; done again, it goes on where it was cut.

        Args:
            wanted: What `plan_erasure` gave.
            reason: Why; whoever asks for what is gone is told.
            everywhere: Also where other versions and runs have some of it.
            progress: Is told bytes read so far.

        Raises:
            InvalidInput: There is no reason.
            Conflict: Others have some of it; nothing was erased.
            DataDamaged: Something cannot be read, so it is not known where erased bytes are.
            StorageError: The store failed; repeat it to go on.
            Denied: The store may not be written to.
        """
        from thence.execution import erasing

        return erasing.erase(
            self.site, wanted, reason=reason, everywhere=everywhere, progress=progress
        )

    def lift_erasure(self, digests: Sequence[str], *, reason: str) -> None:
        """Let contents that were erased be kept again, if somebody saves them.

        Raises:
            InvalidInput: A digest cannot be read, it is not erased, or there is no reason.
            StorageError: The store failed.
            Denied: The store may not be written to.
        """
        from thence.execution import erasing

        erasing.lift(self.site, digests, reason=reason)

    def collect(
        self,
        *,
        grace: timedelta = timedelta(hours=24),
        keep_last: int | None = None,
        older_than: timedelta | None = None,
        keep_alias: Sequence[str] = (),
        artifacts: Sequence[str] = (),
        dry_run: bool = False,
        progress: Progress = silent,
    ) -> "Collection":
        """Delete content that nothing refers to any more; others may write meanwhile.

        Args:
            grace: How long a pack is condemned before it is deleted. None at all is for a folder
                where nobody writes.
            keep_last: Remove all but the latest so many versions of each artifact before.
            older_than: Remove versions before that are older.
            keep_alias: Versions that an alias of such a pattern points at stay; all if none is
                given.
            artifacts: Only versions of artifacts of such patterns are removed.
            dry_run: Only find out.
            progress: Is told entries so far.

        Raises:
            InvalidInput: The period is too short for a bucket, or a rule makes no sense.
            Conflict: There is no period of grace, and somebody writes.
            DataDamaged: Something cannot be read, so nobody knows what is needed.
            FormatTooNew: A newer thence wrote here.
            StorageError: The store failed; repeat it.
            Denied: The store may not be read, or not be written to.
        """
        from thence.execution import collecting, retention

        policy = None
        if keep_last is not None or older_than is not None:
            policy = retention.Policy(
                keep_last=keep_last,
                older_than=older_than,
                keep_alias=tuple(keep_alias) or retention.EVERY_ALIAS,
                artifacts=tuple(artifacts),
            )
        return collecting.collect_site(
            self.site, grace=grace, policy=policy, dry_run=dry_run, progress=progress
        )
