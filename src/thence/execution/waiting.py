"""What waits in the outbox of a clone, as people see it, and how to give it up."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from thence.errors import DataDamaged, InvalidInput, NotFound
from thence.execution.site import Site
from thence.index import versions as version_questions
from thence.model.ids import Digest, RunId
from thence.model.names import RunRef, parse_ref
from thence.model.numbers import label
from thence.model.records import (
    AliasMove,
    ArtifactEdit,
    Entry,
    Erasure,
    ErasureLifted,
    Restored,
    RunEdit,
    RunOpened,
    RunRestored,
    RunSealed,
    RunTombstone,
    Tombstone,
    Verdict,
    Version,
    VersionEdit,
    decode_entry,
)
from thence.vault import conflicts
from thence.vault.conflicts import ConflictingMove, ConflictingVersions

__all__ = ["WaitingItem", "count", "drop", "named", "waiting"]


class WaitingItem(NamedTuple):
    """Something that was made in a clone and is not at home.

    Attributes:
        ref: What to call it: `data@local.1`, `data@champion`, `run:ab12…`.
        kind: `version`, `alias`, `edit`, `deletion`, `restoration`, `run`, `verdict`, `erasure` or
            `unknown`.
        text: What it says, in short.
        at: When it was made.
        target: Of an alias: the version that it was moved to.
        conflict: Why the home does not take it; None where it is only waiting.
        log: Where it belongs.
        number: Its place in the outbox, or among the conflicts.
    """

    ref: str
    kind: str
    text: str
    at: datetime
    log: str
    number: int
    conflict: str | None = None
    target: str | None = None


def count(site: Site) -> int:
    """How much waits, conflicts included; 0 where the project is not a clone."""
    if site.vault.outbox is None:
        return 0
    return len(site.vault.outbox.waiting()) + len(conflicts.Shelf(site.vault.store).all())


def waiting(site: Site) -> list[WaitingItem]:
    """What waits, with the conflicts among it, in the order in which it was made.

    Raises:
        InvalidInput: The project is not a clone.
        StorageError: The clone's store failed.
    """
    if site.vault.outbox is None:
        raise InvalidInput(
            "this project has no outbox",
            why="What is saved here is in the project's home at once; only clones have an outbox.",
            hint="Clone a project: thence clone URL",
        )
    site.refresh()
    reasons: dict[tuple[str, int], str] = {}
    found = []
    for conflict in conflicts.list_conflicts(site.vault):
        if isinstance(conflict, ConflictingVersions):
            reasons |= {(conflict.log, number): conflict.why for number in conflict.numbers}
        else:
            found.append(_moved(site, conflict))
    for one in site.vault.outbox.waiting():
        if (data := site.vault.outbox.read(one.log, one.number)) is None:
            continue  # pushed a moment ago
        reason = reasons.get((one.log, one.number))
        try:
            entry = decode_entry(data)
        except DataDamaged as error:
            text = f"cannot be read: {error.why}"
            at = datetime.fromtimestamp(one.modified_s, site.clock().tzinfo)
            found.append(WaitingItem(one.log, "unknown", text, at, one.log, one.number, reason))
            continue
        ref, kind, text = _described(site, entry, one.log, one.number)
        found.append(WaitingItem(ref, kind, text, entry.at, one.log, one.number, reason))
    return sorted(found, key=lambda item: (item.at, item.log, item.number))


def drop(site: Site, ref: str) -> list[WaitingItem]:
    """Give up what waits under a ref: a version, a run, or the moves of an alias.

    Returns:
        What is gone.

    Raises:
        NotFound: Nothing of that name waits.
        InvalidInput: The project is not a clone, or the ref cannot be read.
        StorageError: The clone's store failed.
    """
    chosen = [item for item in waiting(site) if _is_meant(item, ref)]
    if not chosen:
        raise NotFound(
            f"nothing called {ref} waits",
            why="It was pushed, dropped before, or never made here.",
            hint="See what waits: thence outbox list",
            about=ref,
        )
    for item in reversed(chosen):
        with suppress(NotFound):  # an edit went with its version
            conflicts.drop(site.vault, item.log, item.number)
    site.refresh()
    return chosen


def named(site: Site, version: Digest | None) -> str:
    """A version as people write it, `v3` or `local.1`; a digest where it is not known here."""
    if version is None:
        return "nothing"
    try:
        return label(version_questions.version_by_record(site.index, version).number)
    except NotFound:
        return version.short


def _moved(site: Site, move: ConflictingMove) -> WaitingItem:
    return WaitingItem(
        f"{move.artifact}@{move.alias}",
        "alias",
        f"moved from {named(site, move.previous)} to {named(site, move.wanted)}",
        move.at,
        move.log,
        move.number,
        f"At home it was moved to {named(site, move.found)} meanwhile.",
        named(site, move.wanted),
    )


def _described(site: Site, entry: Entry, log: str, number: int) -> tuple[str, str, str]:
    """Ref, kind and text of an entry."""
    match entry.record:
        case Version() as version:
            files = f"{version.files} file{'s' * (version.files != 1)}"
            text = version.note or f"{version.kind}, {files}"
            return f"{version.artifact}@{label(number)}", "version", text
        case AliasMove() as move:
            text = f"moved from {named(site, move.previous)} to {named(site, move.version)}"
            return f"{move.artifact}@{move.alias}", "alias", text
        case VersionEdit() as edit:
            return _ref_of(site, edit.version), "edit", ", ".join(_changed(edit)) or "nothing"
        case ArtifactEdit() as edit:
            return str(edit.artifact), "edit", ", ".join(_changed(edit)) or "nothing"
        case Tombstone() as stone:
            return _ref_of(site, stone.version), "deletion", stone.reason
        case Restored() as back:
            return _ref_of(site, back.version), "restoration", back.reason or "there again"
        case RunTombstone() as stone:
            return _run_ref(stone.run), "deletion", stone.reason
        case RunRestored() as back:
            return _run_ref(back.run), "restoration", back.reason or "there again"
        case Erasure() | ErasureLifted() as erasure:
            return log, "erasure", erasure.reason
        case RunOpened() as opened:
            return _run_ref(opened.run), "run", " ".join(opened.command)
        case RunSealed() as sealed:
            return _run_ref(sealed.run), "run", f"{' '.join(sealed.command)}, {sealed.status}"
        case RunEdit() as edit:
            return _run_ref(edit.run), "edit", ", ".join(_changed(edit)) or "nothing"
        case Verdict() as verdict:
            return _run_ref(verdict.run), "verdict", str(verdict.finding)
        case _:
            return log, "unknown", "written by a newer thence"


def _changed(edit: VersionEdit | ArtifactEdit | RunEdit) -> Iterator[str]:
    for field in edit.__struct_fields__:
        value = getattr(edit, field)
        if field not in {"version", "artifact", "run"} and value:
            yield f"{field} {', '.join(value)}" if isinstance(value, dict) else field


def _ref_of(site: Site, version: Digest) -> str:
    try:
        found = version_questions.version_by_record(site.index, version)
    except NotFound:
        return version.short
    return f"{found.artifact}@{label(found.number)}"


def _run_ref(run: RunId) -> str:
    return run.short


def _is_meant(item: WaitingItem, ref: str) -> bool:
    if ref.startswith("refs/"):
        return item.log == ref
    found = parse_ref(ref)
    if isinstance(found, RunRef):
        return found.prefix is not None and item.log.startswith(f"refs/runs/{found.prefix}")
    return item.ref.lower() == str(found).lower()
