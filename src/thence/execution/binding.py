"""Binding the files of a run to versions: those that hold them already, else new ones."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from thence.errors import DataDamaged, NotFound, ThenceError
from thence.execution.grouping import Group, group_files
from thence.execution.site import Site
from thence.model.ids import Digest, RunId
from thence.model.names import ArtifactName
from thence.model.records import FileRole, FileUse, Kind
from thence.vault import tree
from thence.vault.artifacts import Draft
from thence.vault.logs import Appended
from thence.vault.tree import TreeEntry

__all__ = ["Bound", "Stored", "bind", "change"]


class Stored(NamedTuple):
    """A file of the run whose content is in the vault, and the kind that it was sniffed to be."""

    use: FileUse
    kind: Kind
    media_type: str


class Bound(NamedTuple):
    """Files with their versions.

    Attributes:
        items: All that were given, in order.
        versions: Digests of the version records, each once.
        appended: Log entries of new versions, for the index.
        problems: Files that did not become versions, sentences.
    """

    items: list[Stored]
    versions: tuple[Digest, ...]
    appended: tuple[Appended, ...]
    problems: tuple[str, ...]


def change(use: FileUse, **changes: Any) -> FileUse:
    """The same with other fields."""
    return msgspec.structs.replace(use, **changes)


def bind(
    site: Site,
    items: list[Stored],
    role: FileRole,
    *,
    run: RunId,
    sources: Sequence[Digest],
    now: datetime,
) -> Bound:
    """Give each file below the root the version that holds it, made where there is none.

    An input that a tracked version holds is that version. Outputs always become versions under
    their own names; many in one folder become one (`group_files`).

    Args:
        site: Where.
        items: Their content is flushed.
        role: Which of them; others pass through.
        run: The run, which is named in the versions that it made.
        sources: Digests of the versions that it used.
        now: When new versions are made.
    """
    by_path = {item.use.path: item for item in items if _is_versioned(item.use, role)}
    versions: dict[str, Digest] = {}
    problems: list[str] = []
    if role is FileRole.INPUT:
        known = _KnownVersions(site)
        found = ((path, known.find(item.use)) for path, item in by_path.items())
        versions = {path: digest for path, digest in found if digest is not None}
        problems += known.problems
    groups = group_files(by_path.keys() - versions.keys())
    trees = [_tree_of(group, by_path) for group in groups]
    with site.vault.writer() as writer:
        digests = [writer.put_bytes(tree.encode(entries)).digest for entries in trees]
    appended: list[Appended] = []
    for group, entries, digest in zip(groups, trees, digests, strict=True):
        paths = _paths(group)
        first = by_path[paths[0]]
        made = role is FileRole.OUTPUT
        draft = Draft(
            ArtifactName.from_path(group.name),
            first.kind,
            digest,
            sum(entry.size for entry in entries),
            len(entries),
            metadata={} if group.is_folder else {"media_type": first.media_type},
            run=run if made else None,
            sources=tuple(dict.fromkeys(sources)) if made else (),
        )
        try:
            saved = site.artifacts.commit(draft, now=now)
        except ThenceError as error:
            problems.append(f"{group.name} did not become a version: {error.what}")
            continue
        appended += saved.appended
        versions |= dict.fromkeys(paths, saved.digest)
    return Bound(
        [
            item._replace(use=change(item.use, version=versions.get(item.use.path)))
            for item in items
        ],
        tuple(dict.fromkeys(versions.values())),
        tuple(appended),
        tuple(problems),
    )


def _paths(group: Group) -> list[str]:
    prefix = f"{group.name}/" if group.is_folder else ""
    return [prefix + member for member in group.members]


def _tree_of(group: Group, by_path: dict[str, Stored]) -> list[TreeEntry]:
    entries = []
    for path in _paths(group):
        use = by_path[path].use
        assert use.digest is not None
        inside = path[len(group.name) + 1 :] if group.is_folder else path.rpartition("/")[2]
        entries.append(TreeEntry(inside, use.size, use.digest, executable=use.executable))
    return entries


class _KnownVersions:
    """Versions that hold the files of this folder, by what `save` and `get` remembered."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tracked = site.worktree.tracked()
        self._trees: dict[Digest, dict[str, Digest]] = {}
        self.problems: list[str] = []

    def find(self, use: FileUse) -> Digest | None:
        parts = use.path.split("/")
        for end in range(len(parts), 0, -1):
            item = self._tracked.get("/".join(parts[:end]))
            if item is None:
                continue
            inside = "/".join([*([item.member] if item.member else []), *parts[end:]])
            files = self._files(item.tree)
            name = inside or parts[-1]
            if files.get(name) == use.digest:
                return item.version
        return None

    def _files(self, digest: Digest) -> dict[str, Digest]:
        if digest not in self._trees:
            try:
                entries = tree.decode(self._site.vault.content.read(digest))
            except NotFound:
                entries = []
            except DataDamaged as error:  # a run must not be lost for what was saved before it
                entries = []
                self.problems.append(f"A tracked version cannot be read: {error.what}")
            self._trees[digest] = {entry.path: entry.digest for entry in entries}
        return self._trees[digest]


def _is_versioned(use: FileUse, role: FileRole) -> bool:
    return (
        use.role is role
        and use.digest is not None
        and not use.path.startswith("/")
        and not use.percent
        and not use.redacted
        and not (role is FileRole.OUTPUT and use.changed_during_run)
    )
