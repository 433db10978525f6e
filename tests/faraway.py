"""A project whose home is far away: its store is a folder, but is treated as a bucket is."""

from pathlib import Path

from thence.execution.opening import make_site
from thence.execution.site import LOCAL, Site
from thence.index.database import Index
from thence.project import Project
from thence.store.base import Store
from thence.store.local import LocalStore
from thence.vault.artifacts import Artifacts
from thence.vault.vault import Vault
from workshop import Workshop

__all__ = ["FarWorkshop", "far_project", "make_home"]


def make_home(folder: Path) -> Path:
    """The store of an empty project."""
    return make_site(folder).local / "store"


def far_project(root: Path, store: Store, *, author: str = "ada") -> Project:
    """The project in a folder of its own, which may be there already."""
    local = root / LOCAL
    local.mkdir(parents=True, exist_ok=True)
    vault = Vault(store, local / "cache", remote=True)
    index = Index(local / "cache" / "index.sqlite")
    return Project(Site(root, local, vault, Artifacts(vault, author=author), index, author))


class FarWorkshop(Workshop):
    """A folder that works in a home elsewhere."""

    def __init__(self, root: Path, home: Path) -> None:
        root.mkdir(parents=True)
        self.root = root
        self.home = home
        self.project = far_project(root, LocalStore(home))

    def over(self, store: Store) -> "FarWorkshop":
        """The same folder over another store: one that breaks."""
        other = FarWorkshop.__new__(FarWorkshop)
        other.root, other.home = self.root, self.home
        other.project = far_project(self.root, store)
        return other
