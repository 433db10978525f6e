"""Scanning all logs: whether every entry is there, is one, and is where it belongs."""

from array import array
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple
from urllib.parse import unquote

from thence.errors import DataDamaged
from thence.model.ids import Digest
from thence.model.numbers import LOCAL, label
from thence.model.progress import Progress, silent
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
from thence.vault.findings import Finding, Severity
from thence.vault.logs import ERASURES, entry_key, versions_of
from thence.vault.references import Root, references
from thence.vault.removals import Removals
from thence.vault.vault import Vault

__all__ = [
    "BadEntry",
    "LogScan",
    "Needs",
    "misplaced",
    "name_of",
    "note_bad",
    "ref_of",
    "scan_logs",
    "statements",
]

_MOST_IN_A_GAP = 10_000
_BY_LOG = itemgetter(0)


class BadEntry(NamedTuple):
    """An entry that is not there, or not what was written.

    Attributes:
        log: As the store keeps it; with `outbox/` before it where it waits.
        missing: Nothing is there.
    """

    log: str
    number: int
    missing: bool
    why: str

    @property
    def key(self) -> str:
        """Where it lies, or should."""
        return entry_key(self.log, self.number)


class Needs(NamedTuple):
    """An entry that needs content.

    Attributes:
        ref: What a user calls it.
        roots: What it needs.
    """

    ref: str
    roots: tuple[Root, ...]


class LogScan:
    """What the logs say.

    Attributes:
        entries: How many there are.
        bad: Those that are damaged or missing.
        findings: All that is wrong with the logs.
        sums: By log: the first 8 bytes of the SHA-256 of each entry, from entry 1 on.
        removals: Versions and runs that were removed.
        sealed: Runs that have ended.
        erased: Contents that were taken out of all packs.
        names: By log of versions: the artifact's name.
        cut: Logs of which the end was lost.
        pointed: Versions that aliases point at and that were in no log so far, each with the log.
    """

    def __init__(self) -> None:
        self.entries = 0
        self.bad: list[BadEntry] = []
        self.findings: list[Finding] = []
        self.sums: dict[str, array[int]] = {}
        self.removals = Removals()
        self.sealed: set[str] = set()
        self.erased: set[Digest] = set()
        self.names: dict[str, str] = {}
        # Logs of aliases come before those of versions.
        self.pointed: dict[Digest, str] = {}
        self.cut: set[str] = set()

    def needs(self, log: str, number: int, entry: Entry) -> Needs | None:
        """What an entry needs; None where that is nothing, or it was removed."""
        if entry.record is None or not self.removals.needs(entry):
            return None
        roots = tuple(root for root in references(entry.record) if root.digest not in self.erased)
        return Needs(ref_of(log, number, entry), roots) if roots else None


def name_of(log: str) -> str:
    """The artifact of a log as far as its key tells, or the run."""
    if log.startswith("refs/runs/"):
        return f"run:{log.removeprefix('refs/runs/')[:8]}"
    path = log.removeprefix("refs/artifacts/").removeprefix("refs/aliases/")
    return unquote(path.rpartition("/@")[0])


def ref_of(log: str, number: int, entry: Entry | None = None) -> str:
    """What a user calls an entry: a version, an alias, a run."""
    record = None if entry is None else entry.record
    match record:
        case Version():
            return f"{record.artifact}@{label(number)}"
        case AliasMove():
            return f"{record.artifact}@{record.alias}"
        case RunOpened() | RunSealed() | RunEdit() | Verdict():
            return record.run.short
    if log.startswith("refs/aliases/"):
        return f"{name_of(log)}@{unquote(log.rpartition('/@')[2])}"
    if log.endswith("/@"):
        return f"{name_of(log)}@{label(number)}"
    return name_of(log)


def statements(vault: Vault) -> Iterator[tuple[str, int, Entry]]:
    """All entries that can be read, those of the outbox last, as (log, number, entry).

    Raises:
        StorageError: The store failed.
    """
    everything = vault.numbered.all()
    for log, number, data in vault.numbered.read_many(everything):
        if (entry := _readable(data)) is not None:
            yield log, number, entry
    if vault.outbox is not None:
        for one in vault.outbox.waiting():
            entry = _readable(vault.outbox.read(one.log, one.number))
            if entry is not None:
                yield one.log, one.number, entry


def _readable(data: bytes | None) -> Entry | None:
    try:
        return None if data is None else decode_entry(data)
    except DataDamaged:
        return None


def scan_logs(vault: Vault, *, progress: Progress = silent) -> LogScan:
    """Read every entry, those of the outbox too.

    Raises:
        StorageError: The store failed.
        Denied: It may not be read.
    """
    scan = LogScan()
    places = vault.numbered.read_many(vault.numbered.all())
    versions: dict[str, set[Digest] | None] = {}
    for log, entries in groupby(places, key=_BY_LOG):
        _scan_log(scan, log, ((number, data) for _, number, data in entries), versions)
        progress(scan.entries, 0)
    if vault.outbox is not None:
        _scan_outbox(scan, vault)
    _note_dangling(scan, vault)
    return scan


def _note_dangling(scan: LogScan, vault: Vault) -> None:
    """An alias is moved after its version was appended; so the end of a log was lost."""
    damaged = {bad.log for bad in scan.bad}
    # A move that waits may be of a version that was numbered before, or while we looked.
    for versions in {versions_of(log) for log in scan.pointed.values()} - damaged:
        for _, data in vault.numbered.after(versions, 0):
            if (entry := _readable(data)) is not None:
                scan.pointed.pop(entry.digest, None)
    for version, log in scan.pointed.items():
        if versions_of(log) not in damaged:
            ref = ref_of(log, 0)
            scan.cut.add(versions_of(log))
            scan.findings.append(
                Finding(
                    severity=Severity.DAMAGE,
                    what=f"{ref} points at a version that is in no log",
                    why=f"The end of {versions_of(log)} was lost, with the record {version.short}.",
                    key=versions_of(log),
                    refs=(ref,),
                )
            )


def _scan_log(
    scan: LogScan,
    log: str,
    entries: Iterator[tuple[int, bytes | None]],
    versions: dict[str, set[Digest] | None],
) -> None:
    expected = 1
    ids: dict[str, int] = {}
    sums = array("Q")
    mine: set[Digest] | None = set()
    if log.endswith("/@"):
        versions.clear()  # the edits of an artifact follow its versions
    whole: list[tuple[int, Entry]] = []
    for number, data in entries:
        if data is None:
            continue
        scan.entries += 1
        _note_gap(scan, log, expected, number)
        mine = None if number > expected else mine
        sums.extend([0] * (number - expected))
        expected = number + 1
        sums.append(int.from_bytes(sha256(data).digest()[:8]))
        try:
            entry = decode_entry(data)
        except DataDamaged as error:
            note_bad(scan, BadEntry(log, number, False, error.why or error.what))
            mine = None
            continue
        whole.append((number, entry))
        if (before := ids.setdefault(entry.id, number)) != number:
            why = f"It is entry {before} once more: another one was here."
            note_bad(scan, BadEntry(log, number, False, why))
        elif why := misplaced(log, entry, versions):
            note_bad(scan, BadEntry(log, number, False, why))
            mine = None
        elif mine is not None and isinstance(entry.record, Version):
            mine.add(entry.digest)
    scan.sums[log] = sums
    if log.endswith("/@"):
        versions[log] = mine
    for number, entry in whole:
        _take(scan, log, number, entry)


def _take(scan: LogScan, log: str, number: int, entry: Entry) -> None:
    scan.removals.tell(entry.record)
    match entry.record:
        case Version(artifact=artifact):
            scan.names[log] = artifact
            scan.pointed.pop(entry.digest, None)
        case AliasMove(version=version) if version is not None:
            scan.pointed[version] = log
        case RunSealed(run=run):
            scan.sealed.add(str(run))
        case Erasure(contents=contents):
            scan.erased.update(contents)
        case ErasureLifted(contents=contents):
            scan.erased.difference_update(contents)
        case None:
            scan.findings.append(
                Finding(
                    severity=Severity.UNCHECKED,
                    what=f"{ref_of(log, number)} has an entry that a newer thence wrote",
                    why="What content it needs is not known.",
                    key=entry_key(log, number),
                )
            )


def _note_gap(scan: LogScan, log: str, expected: int, number: int) -> None:
    if number - expected > _MOST_IN_A_GAP:
        why = f"No log has so large a gap: {number - expected:,} entries are missing before it."
        note_bad(scan, BadEntry(log, number, False, why))
        return
    for absent in range(expected, number):
        why = f"Logs have no gaps, and entry {number} is there."
        note_bad(scan, BadEntry(log, absent, True, why))


def note_bad(scan: LogScan, bad: BadEntry) -> None:
    """Note an entry that is not there, or not what was written."""
    scan.bad.append(bad)
    lost = "is missing" if bad.missing else "is not what was written"
    waits = bad.log.startswith("outbox/")
    number = bad.number + LOCAL if waits else bad.number
    scan.findings.append(
        Finding(
            severity=Severity.DAMAGE,
            what=f"{bad.key} {lost}",
            why=bad.why,
            key=bad.key,
            refs=(ref_of(bad.log.removeprefix("outbox/"), number),),
        )
    )


def misplaced(log: str, entry: Entry, versions: Mapping[str, set[Digest] | None]) -> str:
    """Why an entry cannot be of this log; empty where it can."""
    match entry.record:
        case Version(artifact=artifact):
            belongs = log == f"refs/artifacts/{artifact.key}/@"
        case VersionEdit(version=version) | Tombstone(version=version) | Restored(version=version):
            mine = versions.get(log.removesuffix("edits"))
            belongs = log.endswith("/@edits") and (mine is None or version in mine)
        case ArtifactEdit(artifact=artifact):
            belongs = log == f"refs/artifacts/{artifact.key}/@edits"
        case AliasMove(artifact=artifact, alias=alias):
            belongs = log == f"refs/aliases/{artifact.key}/@{alias.key}"
        case Erasure() | ErasureLifted():
            belongs = log == ERASURES
        case (
            RunOpened(run=run)
            | RunSealed(run=run)
            | RunEdit(run=run)
            | Verdict(run=run)
            | RunTombstone(run=run)
            | RunRestored(run=run)
        ):
            belongs = log == f"refs/runs/{run}"
        case _:
            belongs = True
    return "" if belongs else "It is a whole entry, but of another log."


def _scan_outbox(scan: LogScan, vault: Vault) -> None:
    assert vault.outbox is not None
    for one in vault.outbox.waiting():
        data = vault.outbox.read(one.log, one.number)
        if data is None:
            continue
        scan.entries += 1
        log = f"outbox/{one.log}"
        try:
            entry = decode_entry(data)
        except DataDamaged as error:
            why = error.why or error.what
            note_bad(scan, BadEntry(log, one.number - LOCAL, False, why))
            continue
        # Versions that edits are about may be at home, or wait here.
        if why := misplaced(one.log, entry, {}):
            note_bad(scan, BadEntry(log, one.number - LOCAL, False, why))
        else:
            _take(scan, one.log, one.number, entry)
