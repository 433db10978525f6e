"""Binding the files of a run to versions: those that hold them already, else new ones."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from thence.errors import DataDamaged, Denied, NotFound, StorageError, ThenceError
from thence.execution.grouping import Group, group_files
from thence.execution.site import Site
from thence.model.ids import Digest, RunId
from thence.model.names import ArtifactName
from thence.model.records import FileRole, FileUse, Kind
from thence.vault import tree
from thence.vault.artifacts import Draft, Saved
from thence.vault.logs import Appended
from thence.vault.parallel import ahead
from thence.vault.session import Session
from thence.vault.tree import TreeEntry
from thence.vault.worktree import Worktree
from thence.vault.writer import Writer

__all__ = ["Bound", "Plan", "Planned", "Stored", "bind", "change", "plan"]

_AT_ONCE = 8


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
        saved: Those that were made, or found to be there.
        problems: Files that did not become versions, sentences.
    """

    items: list[Stored]
    versions: tuple[Digest, ...]
    saved: tuple[Saved, ...]
    problems: tuple[str, ...]

    @property
    def appended(self) -> tuple[Appended, ...]:
        """The entries of all that is new, for the index."""
        return tuple(entry for one in self.saved for entry in one.appended)


class Planned(NamedTuple):
    """A version to be made."""

    group: Group
    draft: Draft


class Plan(NamedTuple):
    """Which versions the files of a run are, and are to become.

    Attributes:
        items: All that were given, in order.
        versions: By path, those that are there.
        drafts: Those that are not.
    """

    role: FileRole
    items: list[Stored]
    versions: dict[str, Digest]
    drafts: tuple[Planned, ...]
    problems: tuple[str, ...]


def change(use: FileUse, **changes: Any) -> FileUse:
    """The same with other fields."""
    return msgspec.structs.replace(use, **changes)


def plan(
    site: Site,
    items: Sequence[Stored],
    role: FileRole,
    *,
    writer: Writer,
    worktree: Worktree | None = None,
) -> Plan:
    """Find the version that holds each file below the root, or what is to become one.

    An input that a tracked version holds is that version. Outputs always become versions under
    their own names; many in one folder become one (`group_files`).

    Args:
        site: Where.
        items: What the writer was given.
        role: Which of them; others pass through.
        writer: Gets the trees of new versions; flush it before `bind`.
        worktree: What the paths were when the run ended; default: what they are now.

    Raises:
        StorageError: The store failed.
        Denied: The store may not be read, or not be written to.
    """
    by_path = {item.use.path: item for item in items if _is_versioned(item.use, role)}
    versions: dict[str, Digest] = {}
    problems: list[str] = []
    if role is FileRole.INPUT:
        known = _KnownVersions(site, worktree or site.worktree)
        found = ((path, known.find(item.use)) for path, item in by_path.items())
        versions = {path: digest for path, digest in found if digest is not None}
        problems += known.problems
    drafts = []
    for group in group_files(by_path.keys() - versions.keys()):
        entries = _tree_of(group, by_path)
        first = by_path[_paths(group)[0]]
        draft = Draft(
            ArtifactName.from_path(group.name),
            first.kind,
            writer.put_bytes(tree.encode(entries)).digest,
            sum(entry.size for entry in entries),
            len(entries),
            metadata={} if group.is_folder else {"media_type": first.media_type},
        )
        drafts.append(Planned(group, draft))
    return Plan(role, list(items), versions, tuple(drafts), tuple(problems))


def bind(
    site: Site,
    planned: Plan,
    *,
    run: RunId,
    sources: Sequence[Digest],
    now: datetime,
    session: Session | None = None,
) -> Bound:
    """Make the versions of a plan, whose trees are flushed, and name them at the files.

    Args:
        site: Where.
        planned: What becomes what.
        run: The run, which is named in the versions that it made.
        sources: Digests of the versions that it used.
        now: When new versions are made.
        session: In which all of their content was put or found.

    Raises:
        StorageError: The store failed; some of the versions may be there, and are found by the
            next try.
        Denied: The store may not be written to.
    """
    made = planned.role is FileRole.OUTPUT
    sources = tuple(dict.fromkeys(sources)) if made else ()

    def commit(one: Planned) -> Saved | ThenceError:
        draft = one.draft._replace(run=run if made else None, sources=sources)
        try:
            return site.artifacts.commit(draft, now=now, session=session)
        except (StorageError, Denied):
            raise  # of the store, not of this file: the run is sealed when it works again
        except ThenceError as error:
            return error

    versions = dict(planned.versions)
    problems = [*planned.problems]
    saved: list[Saved] = []
    # Each takes some requests.
    outcomes = ahead(commit, planned.drafts, at_once=_AT_ONCE if site.vault.remote else 1)
    for one, outcome in zip(planned.drafts, outcomes, strict=True):
        if isinstance(outcome, ThenceError):
            problems.append(f"{one.group.name} did not become a version: {outcome.what}")
        else:
            saved.append(outcome)
            versions |= dict.fromkeys(_paths(one.group), outcome.digest)
    return Bound(
        [
            item._replace(use=change(item.use, version=versions.get(item.use.path)))
            for item in planned.items
        ],
        tuple(dict.fromkeys(versions.values())),
        tuple(saved),
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

    def __init__(self, site: Site, worktree: Worktree) -> None:
        self._site = site
        self._tracked = worktree.tracked()
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
                entries: Sequence[TreeEntry] = tree.decode(self._site.vault.content.read(digest))
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
