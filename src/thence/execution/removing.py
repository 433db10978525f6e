"""Removing versions and runs: a tombstone says who, when and why; the bytes go with `thence gc`.

Nothing is lost by it at once, and it can be undone as long as the content is there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from thence.errors import Conflict, InvalidInput, NotFound
from thence.execution.code_refs import bring_back_code, drop_code
from thence.execution.giving import resolve, resolve_run
from thence.execution.site import Site
from thence.index import versions as version_questions
from thence.index.lineage import Direction, lineage
from thence.index.views import LineageGraph, RunDetail, RunSummary, VersionDetail, VersionSummary
from thence.model.ids import Digest
from thence.model.names import ArtifactName, RunRef, parse_ref
from thence.model.records import (
    Kind,
    Record,
    Restored,
    RunRestored,
    RunSealed,
    RunStatus,
    RunTombstone,
    Tombstone,
    Version,
)
from thence.vault.absent import absent
from thence.vault.belongings import entries_of_run, entries_of_versions
from thence.vault.erasures import erased
from thence.vault.logs import Appended, edits_log, run_log
from thence.vault.references import Root, references

__all__ = ["Removal", "Undone", "can_undo", "plan", "remove", "undo"]

Removable: TypeAlias = VersionDetail | RunDetail


class Removal(NamedTuple):
    """A version or run that is to be removed, and what depends on it.

    Attributes:
        ref: What to call it: `data@v3`, `run:ab12…`.
        version: None for a run.
        run: None for a version.
        aliases: Names that lead to it: `data@champion`. They would lead to nothing.
        models: Models made from it, directly or through others; those of which it is a source.
        made_from_it: Other versions made from it.
        used_by: Runs that read it; as long as they are kept, `thence gc` keeps its files.
        made_by: The run that made it.
        makes: Of a run: the versions that it made, which cannot be reproduced without it.
    """

    ref: str
    version: VersionSummary | None = None
    run: RunDetail | None = None
    aliases: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    made_from_it: tuple[str, ...] = ()
    used_by: tuple[str, ...] = ()
    made_by: str | None = None
    makes: tuple[str, ...] = ()

    @property
    def depends(self) -> tuple[str, ...]:
        """What is lost without it, so that it goes only with `force`."""
        return tuple(dict.fromkeys((*self.aliases, *self.models)))


class Undone(NamedTuple):
    """A version or run that is there again."""

    ref: str


def plan(site: Site, refs: Sequence[str], *, artifacts: Sequence[str] = ()) -> list[Removal]:
    """What would be removed, each once, in the order in which it was asked for.

    Args:
        site: Where.
        refs: Versions and runs. A name alone is refused: it would mean the latest version.
        artifacts: Names of which all versions are meant.

    Raises:
        NotFound: There is no such version or run, or it is removed already.
        InvalidInput: A ref cannot be read, is of a path, of a name alone, or of a run that goes on.
    """
    chosen: dict[Digest | str, Removable] = {}
    site.refresh()
    for name in artifacts:
        left = version_questions.versions(site.index, ArtifactName(name), deleted=False)
        if not left:
            raise NotFound(
                f"{name} has no version that is not removed",
                why="All of them were removed before.",
                hint=f"See when and why: thence history {name}",
                about=name,
            )
        for one in left:
            chosen[one.record] = version_questions.version_by_record(site.index, one.record)
    for ref in refs:
        found = _meant(site, ref)
        key = found.record if isinstance(found, VersionDetail) else str(found.run)
        chosen[key] = found
    return [_removal(site, one, chosen) for one in chosen.values()]


def _meant(site: Site, ref: str) -> Removable:
    parsed = parse_ref(ref)
    if parsed.path is not None:
        raise InvalidInput(
            f"{ref} is a part of a version",
            why="Versions never change, so they are removed as a whole.",
            hint="Save a version without it. Bytes that must not be kept: thence erase",
            about=ref,
        )
    if isinstance(parsed, RunRef):
        run = resolve_run(site, ref)
        if run.status is RunStatus.RUNNING:
            raise InvalidInput(
                f"{run.run.short} is still going on",
                why="What it will have made and read is not known yet.",
                hint="Stop it, or seal it if its machine died: thence runs recover",
                about=ref,
            )
        return run
    if "@" not in ref:
        raise InvalidInput(
            f"{ref} is a name, not a version",
            why="To remove the latest version is not the same as to remove all of them.",
            hint=f"Say which: thence rm {ref}@latest, or all of them: thence rm {ref} --all",
            about=ref,
        )
    return resolve(site, ref).version


def _removal(site: Site, found: Removable, chosen: Mapping[Digest | str, Removable]) -> Removal:
    others = {key.hex if isinstance(key, Digest) else key for key in chosen}
    if isinstance(found, RunDetail):
        return _of_run(site, found, others)
    graph = lineage(site.index, found.record, Direction.DOWN)
    there = [one for one in graph.nodes[1:] if not one.is_deleted and one.id not in others]
    near = {edge.result for edge in graph.edges if edge.origin == found.record.hex}
    made = [one for one in there if one.type == "version"]
    return Removal(
        found.ref,
        version=found,
        aliases=tuple(f"{found.artifact}@{alias}" for alias in found.aliases),
        models=tuple(one.label for one in made if one.kind is Kind.MODEL),
        made_from_it=tuple(one.label for one in made if one.kind is not Kind.MODEL),
        used_by=tuple(f"run:{one.id[:8]}" for one in there if one.type == "run" and one.id in near),
        made_by=_maker(site, found.record),
    )


def _maker(site: Site, record: Digest) -> str | None:
    above: LineageGraph = lineage(site.index, record, Direction.UP, depth=1)
    runs = [one for one in above.nodes[1:] if one.type == "run" and not one.is_deleted]
    return f"run:{runs[0].id[:8]}" if runs else None


def _of_run(site: Site, found: RunDetail, others: set[str]) -> Removal:
    made = version_questions.versions_by_record(site.index, [one.record for one in found.makes])
    kept: list[VersionSummary] = [
        one for one in made.values() if one.deletion is None and one.record.hex not in others
    ]
    return Removal(
        found.run.short,
        run=found,
        aliases=tuple(f"{one.artifact}@{alias}" for one in kept for alias in one.aliases),
        models=tuple(one.ref for one in kept if one.kind is Kind.MODEL),
        makes=tuple(one.ref for one in kept),
    )


def remove(
    site: Site, removals: Iterable[Removal], *, reason: str, force: bool = False
) -> list[Removal]:
    """Write a tombstone for each; in a clone they wait in the outbox and go home with a push.

    Args:
        site: Where.
        removals: As `plan` gave them.
        reason: Why; it is shown to everybody who asks for what is gone.
        force: Also what an alias or a model depends on.

    Raises:
        InvalidInput: There is no reason.
        Conflict: An alias or a model depends on one of them; nothing was removed.
        StorageError: The store failed; repeat it.
        Denied: The store may not be written to.
    """
    wanted = list(removals)
    said = _said(reason)
    held = [one for one in wanted if one.depends]
    if held and not force:
        first = held[0]
        more = f", and {len(held) - 1} others are" if len(held) > 1 else " is"
        raise Conflict(
            f"{first.ref}{more} still needed",
            why=f"{_listed(first.depends)} {_depends(first)}.",
            hint="Look at what depends on it: --dry-run. To remove it all the same: --force",
            about=first.ref,
        )
    for one in wanted:
        site.ingest(_append(site, one.version or one.run, said, removes=True))
        if one.run is not None:
            drop_code(site, one.run.run)
    return wanted


def _depends(removal: Removal) -> str:
    count = len(removal.depends)
    if removal.run is not None:
        return "was made by it" if count == 1 else "were made by it"
    if removal.aliases and count == 1:
        return "points at it"
    return "depends on it" if count == 1 else "depend on it"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _said(reason: str) -> str:
    said = " ".join(reason.split())
    if not said:
        raise InvalidInput(
            "a reason is needed",
            why="Whoever asks for what is gone is told who removed it, when and why.",
            hint='Say it: --reason "superseded by v4"',
        )
    return said


def _append(
    site: Site, found: VersionSummary | RunSummary | None, reason: str, *, removes: bool
) -> Appended:
    assert found is not None
    record: Record
    if isinstance(found, VersionSummary):
        log = edits_log(found.artifact)
        kind = Tombstone if removes else Restored
        record = kind(version=found.record, reason=reason)
    else:
        log = run_log(found.run)
        record = (RunTombstone if removes else RunRestored)(run=found.run, reason=reason)
    # What comes back may be in packs that are about to be deleted (design/0011).
    again = _NOTHING if removes else _belongings(site, found)
    return site.vault.append(log, record, by=site.author, also=(*again.own, *again.read))


def undo(site: Site, refs: Sequence[str], *, reason: str = "") -> list[Undone]:
    """Make versions and runs that were removed be there again, with everything they had.

    Raises:
        NotFound: There is no such version or run, or some of its content is gone.
        InvalidInput: It is not removed, or a ref cannot be read.
        DataDamaged: Some of its content was collected this moment, or is damaged.
        StorageError: The store failed; repeat it.
        Denied: The store may not be written to.
    """
    found: list[tuple[str, Removable]] = []
    for ref in refs:
        is_run = isinstance(parse_ref(ref), RunRef)
        one = _removed_run(site, ref) if is_run else resolve(site, ref, removed=True).version
        name = one.run.short if isinstance(one, RunDetail) else one.ref
        if one.deletion is None:
            raise InvalidInput(
                f"{name} is not removed", why="It is as it was.", hint="There is nothing to undo."
            )
        if gone := _gone(site, one):
            raise NotFound(
                f"{name} cannot be given back",
                why=f"{len(gone)} of its contents are gone: collected, or erased."
                if len(gone) > 1
                else "Its content is gone: collected, or erased.",
                hint="A clone or a mirror from before may still have it: undo it there, and push.",
                about=ref,
            )
        found.append((name, one))
    for _, one in found:
        site.ingest(_append(site, one, " ".join(reason.split()), removes=False))
        if isinstance(one, RunDetail) and one.sealed is not None:
            bring_back_code(site, one.run, one.sealed.code)
    return [Undone(name) for name, _ in found]


def _removed_run(site: Site, ref: str) -> RunDetail:
    return resolve_run(site, ref, removed=True)


def can_undo(site: Site, found: Removable) -> bool:
    """Whether it was removed, and everything that it needs is still there."""
    return found.deletion is not None and not _gone(site, found)


def _gone(site: Site, found: Removable) -> set[Digest]:
    """What it needs and is not there."""
    needs = _belongings(site, found)
    gone = absent(site.vault, needs.own)
    if needs.read:
        gone |= absent(site.vault, needs.read) - erased(site.vault)
    return gone


class _Belongings(NamedTuple):
    """What a version or run needs to be whole.

    Attributes:
        own: What it refers to itself.
        read: What versions refer to that a run has read and that were removed: it keeps them. Some
            of it may have been erased since.
    """

    own: tuple[Root, ...]
    read: tuple[Root, ...] = ()


_NOTHING = _Belongings(())


def _belongings(site: Site, found: VersionSummary | RunSummary) -> _Belongings:
    if isinstance(found, VersionSummary):
        return _Belongings(tuple(_of_version(site, found)))
    own: list[Root] = []
    uses: tuple[Digest, ...] = ()
    for entry in entries_of_run(site.vault.logs, found.run):
        if entry.record is not None:
            own += references(entry.record)
        if isinstance(entry.record, RunSealed):
            uses = entry.record.uses
    used = version_questions.versions_by_record(site.index, list(uses)).values()
    removed = [version for version in used if version.deletion is not None]
    read = [root for version in removed for root in _of_version(site, version)]
    if read:
        gone = erased(site.vault)
        read = [root for root in read if root.digest not in gone]
        if site.vault.outbox is not None:  # a clone may never have had it; its home has
            read = [root for root in read if not absent(site.vault, [root]) - gone]
    return _Belongings(tuple(own), tuple(read))


def _of_version(site: Site, version: VersionSummary) -> Iterator[Root]:
    """What a version refers to, and its cards, but for those that were erased."""
    gone = erased(site.vault)
    log = edits_log(version.artifact)
    for entry in entries_of_versions(site.vault.logs, log, [version.record])[version.record]:
        if entry.record is None:
            continue
        for root in references(entry.record):
            if isinstance(entry.record, Version) or root.digest not in gone:
                yield root
