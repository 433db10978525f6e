"""What became of the paths that were saved or got."""

import os
import stat
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from thence.errors import NotFound
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.vault import tree
from thence.vault.checkout import digest_of_file
from thence.vault.folders import look
from thence.vault.saving import hash_changed, runs
from thence.vault.statcache import KnownTree
from thence.vault.tree import Tree, TreeChange, TreeEntry
from thence.vault.vault import Vault
from thence.vault.worktree import Tracked

__all__ = ["PathStatus", "status"]


class PathStatus(NamedTuple):
    """A tracked path.

    Attributes:
        state: `unchanged`, `modified`, `missing`; or `gone` where it was the version that went: it
            was removed and collected, or erased.
        changes: Files added, removed or changed since, by path.
    """

    path: str
    artifact: ArtifactName
    version: Digest
    state: str
    changes: tuple[tuple[str, str], ...] = ()


def status(vault: Vault, tracked: dict[str, Tracked], root: Path) -> list[PathStatus]:
    """Compare each tracked path with its version.

    Files that a `.thenceignore` leaves out count only where the version has them.

    Raises:
        Denied: A file may not be read.
        InvalidInput: A rule in a `.thenceignore` cannot be understood.
        DataDamaged: The tree of a version is damaged.
    """
    found = []
    for path, item in sorted(tracked.items()):
        try:
            changes = tuple(
                (change.path, _what(change)) for change in _changes(vault, item, root / path, root)
            )
        except _Missing:
            found.append(PathStatus(path, item.artifact, item.version, "missing"))
            continue
        except _Gone:
            found.append(PathStatus(path, item.artifact, item.version, "gone"))
            continue
        state = "modified" if changes else "unchanged"
        found.append(PathStatus(path, item.artifact, item.version, state, changes))
    vault.stats.save()
    return found


class _Missing(Exception):
    """There is nothing at a path any more."""


class _Gone(Exception):
    """The files of the version are not known any more."""


def _changes(vault: Vault, item: Tracked, path: Path, root: Path) -> list[TreeChange]:
    try:
        walk = look([path], vault.stats, root=root)
        hash_changed(walk, vault.stats, digest_of_file)
    except NotFound as error:
        raise _Missing from error
    key = walk.fingerprint()
    if item.member:
        key = blake3(key + os.fsencode(item.member)).digest()
    known = vault.stats.tree(key)
    if known is not None and known.tree == item.tree.raw:
        return []
    try:
        saved = tree.decode(vault.content.read(item.tree))
    except NotFound as error:
        raise _Gone from error
    single = bool(walk.roots) and walk.roots[0].key is None
    now: Iterator[bytes] = chain.from_iterable(
        run.rows().encode().splitlines(keepends=True) for run in runs(walk)
    )
    if single and len(saved) == 1 and not item.member:
        # A file that was got may have another name than the one that was saved.
        name = os.fsdecode(walk.roots[0].names)
        saved_rows = iter([tree.encode_row(saved[0]._replace(path=name))])
    else:
        saved_rows = _below(saved, item.member)
    ignored = frozenset(walk.ignored)
    changes = [
        change
        for one in tree.diff_rows(saved_rows, now)
        if (change := _with_ignored(one, ignored, path) if ignored else one) is not None
    ]
    if not changes and not ignored:
        vault.stats.note_tree(key, KnownTree(item.tree.raw))
    return changes


def _what(change: TreeChange) -> str:
    return "added" if change.old is None else "removed" if change.new is None else "changed"


def _below(saved: Tree, member: str) -> Iterator[bytes]:
    """The rows of one of the paths that were saved together, as it is by itself."""
    if not member:
        return saved.rows()
    start = f"{member}/"
    inside = (entry for entry in saved if entry.path.startswith(start) or entry.path == member)
    return (
        tree.encode_row(entry._replace(path=entry.path.removeprefix(start))) for entry in inside
    )


def _with_ignored(change: TreeChange, ignored: frozenset[str], path: Path) -> TreeChange | None:
    """What became of a file that the version has, where rules leave it out now."""
    if change.old is None or change.new is not None:
        return change
    parts = change.path.split("/")
    above = {f"{'/'.join(parts[:count])}/" for count in range(1, len(parts))}
    if change.path not in ignored and not above & ignored:
        return change
    new = _entry_of(path / change.path, change.path)
    return None if new == change.old else change._replace(new=new)


def _entry_of(path: Path, name: str) -> TreeEntry | None:
    try:
        facts = path.lstat()
        if stat.S_ISLNK(facts.st_mode):
            target = os.fsencode(os.readlink(path))
            return TreeEntry(name, len(target), Digest.of(target), link=True)
        if not stat.S_ISREG(facts.st_mode):
            return None
        executable = bool(facts.st_mode & stat.S_IXUSR)
        return TreeEntry(name, facts.st_size, digest_of_file(path), executable)
    except (OSError, NotFound):
        return None
