"""What became of the paths that were saved or got."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from thence.errors import NotFound
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.vault import saving, tree
from thence.vault.checkout import digest_of_file
from thence.vault.tree import TreeEntry
from thence.vault.vault import Vault
from thence.vault.worktree import Tracked

__all__ = ["PathStatus", "status"]


class PathStatus(NamedTuple):
    """A tracked path.

    Attributes:
        state: `unchanged`, `modified` or `missing`.
        changes: Files added, removed or changed since, by path.
    """

    path: str
    artifact: ArtifactName
    version: Digest
    state: str
    changes: tuple[tuple[str, str], ...] = ()


def status(
    vault: Vault,
    tracked: dict[str, Tracked],
    root: Path,
    *,
    skip: Callable[[Path], bool] = lambda _: False,
) -> list[PathStatus]:
    """Compare each tracked path with its version.

    Raises:
        Denied: A file may not be read.
        NotFound: The tree of a version is not in the store.
        DataDamaged: The tree of a version is damaged.
    """
    found = []
    for path, item in sorted(tracked.items()):
        saved = _below(tree.decode(vault.content.read(item.tree)), item.member)
        try:
            now = list(saving.hash_tree(root / path, vault.stats, digest_of_file, skip=skip))
        except NotFound:
            found.append(PathStatus(path, item.artifact, item.version, "missing"))
            continue
        changes = tuple(
            (change.path, _what(change.old, change.new)) for change in tree.diff(saved, now)
        )
        state = "modified" if changes else "unchanged"
        found.append(PathStatus(path, item.artifact, item.version, state, changes))
    vault.stats.save()
    return found


def _what(old: TreeEntry | None, new: TreeEntry | None) -> str:
    return "added" if old is None else "removed" if new is None else "changed"


def _below(entries: list[TreeEntry], member: str) -> list[TreeEntry]:
    if not member:
        return entries
    inside = [
        entry._replace(path=entry.path[len(member) + 1 :])
        for entry in entries
        if entry.path.startswith(f"{member}/")
    ]
    return inside or [entry for entry in entries if entry.path == member]
