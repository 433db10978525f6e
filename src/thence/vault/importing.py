"""Importing: versions of one project become versions of another.

They get new numbers there. Their records are copied as bytes, so their digests, and with them
whatever refers to them, stay as they are; the runs that made them come along.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from thence.errors import AlreadyExists, Conflict
from thence.model.ids import Digest, RunId
from thence.model.names import ArtifactName, VersionRef
from thence.model.records import (
    Entry,
    Restored,
    Version,
    VersionEdit,
    decode_entry,
    encode_entry_bytes,
)
from thence.vault.belongings import entries_of_versions
from thence.vault.choosing import Chosen, choose
from thence.vault.erasures import erased
from thence.vault.journal import Announced
from thence.vault.logs import Appended, edits_log, run_log, versions_log
from thence.vault.mirroring import Progress
from thence.vault.references import Root, RootKind, roots_of
from thence.vault.removals import Removals
from thence.vault.transfer import Transferred, transfer
from thence.vault.vault import Vault

__all__ = ["Imported", "ImportedVersion", "import_versions"]

_TRIES = 1000


class ImportedVersion(NamedTuple):
    """A version of another project that is in this one now.

    Attributes:
        source_number: Its number there.
        number: Its number here.
        digest: Of its record, the same in both.
        new: It was not here before.
    """

    artifact: ArtifactName
    source_number: int
    number: int
    digest: Digest
    new: bool


class Imported(NamedTuple):
    """What an import did.

    Attributes:
        versions: In the order in which they were wanted.
        runs: The runs that came along, or some entry of them did.
        contents: How many contents are new.
        size_bytes: Of these contents.
        appended: All entries that were appended, for the index.
    """

    versions: tuple[ImportedVersion, ...]
    runs: tuple[RunId, ...]
    contents: int
    size_bytes: int
    appended: tuple[Appended, ...]


def import_versions(
    source: Vault,
    target: Vault,
    wanted: Sequence[VersionRef],
    *,
    by: str,
    clock: Callable[[], datetime],
    progress: Progress = lambda contents, size: None,
) -> Imported:
    """Bring versions of another project into this one, with the runs that made them.

    A version that is here already, by the digest of its record, is left alone, and is restored
    where it was removed here; so all of this may be repeated. Edits of the versions and the entries
    of the runs are copied whole, and are known by their ids.

    Args:
        source: The other project.
        target: This one; in a clone, what is imported waits in the outbox.
        wanted: Which versions. Of one artifact they are imported in the order of their numbers.
        by: Who imports them.
        clock: Tells the time of the new entries.
        progress: Is told contents and bytes so far.

    Raises:
        NotFound: There is no such version, or the source lacks a content.
        InvalidInput: A digest is that of several contents.
        AlreadyExists: The name is taken here by another kind or spelling.
        Conflict: Others were faster a thousand times.
        DataDamaged: An entry or content is damaged.
        StorageError: A store failed; repeat it to go on.
        Denied: A store may not be read, or not be written to.
    """
    chosen = [choose(source.logs, ref) for ref in wanted]
    unique = {one.entry.digest: one for one in chosen}
    ordered = sorted(unique.values(), key=lambda one: (one.version.artifact, one.number))
    for one in ordered:
        _check_name(target, one.version)
    runs = dict.fromkeys(one.version.run for one in ordered if one.version.run is not None)
    run_entries = {run: list(_entries(source, run_log(run))) for run in runs}
    # A run that was removed there may have lost what it read, and does not come along.
    removed = Removals(one.entry.record for some in run_entries.values() for one in some)
    run_entries = {run: some for run, some in run_entries.items() if run not in removed}
    edits = {name: _edits(source, name, unique) for name in _names(ordered)}
    naming = target.naming(target.session())
    done, roots = _copy_content(
        source, target, ordered, [*run_entries.values(), *edits.values()], progress
    )
    naming.before(roots, spare=lambda: erased(source) | erased(target))
    appended: list[Appended] = []
    moved: list[RunId] = []
    for run, entries in run_entries.items():
        new = _append_entries(target, run_log(run), entries)
        moved += [run] if new else []
        appended += new
    numbers: dict[Digest, tuple[int, bool]] = {}
    for one in ordered:
        number, entry = _append_version(target, one, by=by, clock=clock)
        numbers[one.entry.digest] = number, entry is not None
        appended += [] if entry is None else [entry]
    for name, found in edits.items():
        appended += _append_entries(target, edits_log(name), found)
        appended += _restore(target, name, unique, by=by)
    naming.after()
    versions = []
    for one in chosen:
        number, is_new = numbers[one.entry.digest]
        versions.append(
            ImportedVersion(one.version.artifact, one.number, number, one.entry.digest, is_new)
        )
    return Imported(tuple(versions), tuple(moved), done.contents, done.size_bytes, tuple(appended))


class _Raw(NamedTuple):
    entry: Entry
    data: bytes


def _names(ordered: Iterable[Chosen]) -> dict[ArtifactName, None]:
    return dict.fromkeys(one.version.artifact for one in ordered)


def _entries(vault: Vault, log: str) -> Iterator[_Raw]:
    for _, data in vault.logs.after(log, 0):
        yield _Raw(decode_entry(data), data)


def _edits(source: Vault, name: ArtifactName, unique: dict[Digest, Chosen]) -> list[_Raw]:
    """The edits of the versions that come along; not those of the artifact as a whole."""
    return [
        one
        for one in _entries(source, edits_log(name))
        if isinstance(one.entry.record, VersionEdit) and one.entry.record.version in unique
    ]


def _restore(
    target: Vault, name: ArtifactName, unique: dict[Digest, Chosen], *, by: str
) -> list[Appended]:
    """Undo that versions were removed here: who imports them wants them, and they are whole."""
    log = edits_log(name)
    removed = Removals(one.entry.record for one in _entries(target, log))
    again = [
        one.entry
        for one in unique.values()
        if one.version.artifact == name and one.entry.digest in removed
    ]
    needed = (
        entries_of_versions(target.logs, log, (entry.digest for entry in again)) if again else {}
    )
    return [
        target.append(
            log,
            Restored(version=version, reason="imported again"),
            by=by,
            also=_present(target, roots_of(entries).roots),
        )
        for version, entries in needed.items()
    ]


def _present(target: Vault, roots: Iterable[Root]) -> tuple[Root, ...]:
    """But for the cards of edits that were made and collected here: nobody has them any more."""
    roots = tuple(roots)
    missing = target.content.missing(root.digest for root in roots)
    return tuple(one for one in roots if one.kind is RootKind.TREE or one.digest not in missing)


def _copy_content(
    source: Vault,
    target: Vault,
    versions: Sequence[Chosen],
    others: Iterable[Iterable[_Raw]],
    progress: Progress,
) -> tuple[Transferred, tuple[Root, ...]]:
    entries = [one.entry for one in versions]
    entries += [one.entry for some in others for one in some]
    roots = roots_of(entries).roots
    without = erased(source) | erased(target)
    done = transfer(source, target, roots, progress=progress, foreign=True, without=without)
    for root in roots:
        if root.kind is not RootKind.CONTENT:
            target.hint(root.digest, done.packs)
    return done, roots


def _check_name(target: Vault, version: Version) -> None:
    """See that the target's artifact of that name, if there is one, can take it."""
    log = versions_log(version.artifact)
    tail = target.logs.tail(log)
    data = target.logs.read(log, tail) if tail else None
    last = None if data is None else decode_entry(data).record
    if not isinstance(last, Version):
        return
    if last.artifact != version.artifact:
        why = f"Here it is spelled {last.artifact!r}."
    elif last.kind is not version.kind:
        why = f"Here it is a {last.kind}, and what was to be imported is a {version.kind}."
    else:
        return
    raise AlreadyExists(
        f"the name {version.artifact!r} is taken",
        why=why,
        hint="Import into a project where the name is free.",
        about=version.artifact,
    )


def _append_version(
    target: Vault, one: Chosen, *, by: str, clock: Callable[[], datetime]
) -> tuple[int, Appended | None]:
    """Its number in the target, and the entry if it is a new one."""
    log = versions_log(one.version.artifact)
    entry_id = target.new_id()
    seen = 0
    for _ in range(_TRIES):
        for number, data in target.logs.after(log, seen):
            if decode_entry(data).digest == one.entry.digest:
                return number, None
            seen = number
        _check_name(target, one.version)
        data = encode_entry_bytes(entry_id, clock(), by, one.entry.record_bytes)
        if appended := _append(target, log, data, seen):
            return appended.number, appended
    raise Conflict(f"could not append to {log}", why="Others were faster every time.")


def _append_entries(target: Vault, log: str, entries: Sequence[_Raw]) -> list[Appended]:
    """Append the entries that are not there, with the ids that they have."""
    done: list[Appended] = []
    there: set[str] = set()
    seen = 0
    for _ in range(_TRIES + len(entries)):
        for number, data in target.logs.after(log, seen):
            there.add(decode_entry(data).id)
            seen = number
        missing = [one for one in entries if one.entry.id not in there]
        if not missing:
            return done
        if appended := _append(target, log, missing[0].data, seen):
            done.append(appended)
    raise Conflict(f"could not append to {log}", why="Others were faster every time.")


def _append(target: Vault, log: str, data: bytes, after: int) -> Appended | None:
    """Append an entry right after that number; None where another one is there now."""
    target.guard()
    entry = decode_entry(data)
    if target.outbox is None:
        target.journal.note([Announced(entry.id, log)])
    try:
        return target.logs.append_bytes(log, entry, data, since=after, tries=1)
    except Conflict:
        return None
