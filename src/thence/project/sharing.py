"""The part of the facade for projects that several people share."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from thence.execution import opening
from thence.execution.site import Site

if TYPE_CHECKING:
    from thence.execution.sharing import Sent
    from thence.execution.waiting import WaitingItem
    from thence.vault.importing import Imported
    from thence.vault.mirroring import Mirrored
    from thence.vault.sync import Pulled

__all__ = ["Sharing"]

Progress = Callable[[int, int], None]
PathLike = str | os.PathLike[str]


class Sharing:
    """What a project can do with stores elsewhere.

    Attributes:
        site: The parts of the project.
    """

    def __init__(self, site: Site) -> None:
        self.site = site

    @classmethod
    def clone(
        cls,
        url: str,
        folder: PathLike,
        *,
        only: Sequence[str] = (),
        progress: Progress = lambda contents, size: None,
    ) -> tuple[Self, "Pulled"]:
        """Copy a project from a store into a folder; `only` some versions of it.

        Done again, it goes on where it was cut.

        Raises:
            AlreadyExists: There is another project in the folder.
            NotFound: There is no project in the store, or no such version.
            Denied: The folder may not be written to, or the store not be read.
            StorageError: The store cannot be reached, or the disk is full.
            InvalidInput: Not a URL of a store, or not a ref of a version.
        """
        from thence.execution import sharing

        root = Path(folder).expanduser().resolve()
        done = sharing.clone(url, root, only=only, progress=progress)
        return cls(done.site), done.pulled

    def pull(
        self, *, only: Sequence[str] = (), progress: Progress = lambda contents, size: None
    ) -> "Pulled":
        """Fetch what others saved at home.

        Args:
            only: Refs of versions to fetch in addition; a clone made with some keeps to them.
            progress: Is told contents and bytes that came so far.

        Raises:
            InvalidInput: The project is not a clone, or not a ref of a version.
            NotFound: There is no such version, or the home lacks a content.
            DataDamaged: The clone is no mirror of its home, or something is damaged.
            Conflict: The home holds another project by now.
            Denied: The home may not be read.
            StorageError: The home cannot be reached, or the disk is full.
        """
        from thence.execution import sharing

        return sharing.pull(self.site, only=only, progress=progress)

    def push(self, *, progress: Progress = lambda contents, size: None) -> "Sent":
        """Send home what was saved in this clone; the home gives it its numbers.

        Raises:
            InvalidInput: The project is not a clone.
            NotFound: A content is neither here nor there.
            DataDamaged: The clone is no mirror of its home, or something is damaged.
            Conflict: The home holds another project by now.
            Denied: The home may not be written to.
            StorageError: The home cannot be reached; what waits goes on waiting.
        """
        from thence.execution import sharing

        return sharing.push(self.site, progress=progress)

    def follow_home(self, url: str) -> bool:
        """Let this clone follow the store at a URL, if it is a home of the same project.

        Raises:
            InvalidInput: Not a URL of a store.
            Denied: The store may not be read.
            StorageError: It cannot be reached.
        """
        from thence.execution import sharing

        is_followed = sharing.follow_home(self.site, url)
        if is_followed:
            self.site = opening.open_site(self.site.root)
        return is_followed

    def move_home(
        self, url: str, *, progress: Progress = lambda contents, size: None
    ) -> "Mirrored":
        """Make an empty store the home; this folder becomes a clone of it.

        Raises:
            InvalidInput: Not a URL of a store, it is not empty, or the home is elsewhere already.
            AlreadyExists: The store is a home already.
            Conflict: It is being made the home of another project.
            DataDamaged: Something here is damaged.
            Denied: The store may not be written to.
            StorageError: It does not keep a promise that a project needs, or cannot be reached.
        """
        from thence.execution import sharing

        done = sharing.move_home(self.site, url, progress=progress)
        self.site = opening.open_site(self.site.root)
        return done

    def mirror(self, url: str, *, progress: Progress = lambda contents, size: None) -> "Mirrored":
        """Make a store a copy to read from, or bring it up to date.

        Raises:
            InvalidInput: Not a URL of a store, or the store holds something else.
            AlreadyExists: The store is a home.
            DataDamaged: The copy has other entries, or something here is damaged.
            Denied: The store may not be written to.
            StorageError: It does not keep a promise that a project needs, or cannot be reached.
        """
        from thence.execution import sharing

        return sharing.mirror(self.site, url, progress=progress)

    def import_versions(
        self, url: str, refs: Sequence[str], *, progress: Progress = lambda contents, size: None
    ) -> "Imported":
        """Bring versions of another project into this one, with the runs that made them.

        Raises:
            InvalidInput: Not a URL of a store, not a ref of a version, or the same project.
            NotFound: There is no project, no such version, or a content is missing there.
            AlreadyExists: A name is taken here by another kind or spelling.
            DataDamaged: Something there is damaged.
            StorageError: A store cannot be reached.
        """
        from thence.execution import sharing

        return sharing.import_versions(self.site, url, refs, progress=progress)

    def outbox(self) -> "list[WaitingItem]":
        """What waits in this clone to be pushed, in the order in which it was made.

        Raises:
            InvalidInput: The project is not a clone.
        """
        from thence.execution import waiting

        return waiting.waiting(self.site)

    def drop(self, ref: str) -> "list[WaitingItem]":
        """Give up what waits under a ref: a version, a run, or the moves of an alias.

        Raises:
            InvalidInput: The project is not a clone, or the ref cannot be read.
            NotFound: Nothing of that name waits.
        """
        from thence.execution import waiting

        return waiting.drop(self.site, ref)
