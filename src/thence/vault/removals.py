"""Which versions and runs are removed, and what content is needed then.

For who copies entries: the content of what is removed is not needed, and may be gone.
"""

from collections.abc import Iterable, Iterator

from thence.model.ids import Digest, RunId
from thence.model.records import (
    Entry,
    Record,
    Restored,
    RunOpened,
    RunRestored,
    RunSealed,
    RunTombstone,
    Tombstone,
    Version,
    VersionEdit,
    decode_entry,
)
from thence.vault.logs import Logs

__all__ = ["Removals", "edits_of", "whole"]

_OPENING = "refs/artifacts/"


class Removals:
    """What is removed, as far as it was told; of each thing the last word counts."""

    def __init__(self, records: Iterable[Record | None] = ()) -> None:
        self._removed: set[Digest | RunId] = set()
        for record in records:
            self.tell(record)

    def tell(self, record: Record | None) -> None:
        """Take in a record; those of one log in their order."""
        match record:
            case Tombstone(version=version):
                self._removed.add(version)
            case Restored(version=version):
                self._removed.discard(version)
            case RunTombstone(run=run):
                self._removed.add(run)
            case RunRestored(run=run):
                self._removed.discard(run)

    def __contains__(self, wanted: object) -> bool:
        return wanted in self._removed

    def __bool__(self) -> bool:
        return bool(self._removed)

    def needs(self, entry: Entry) -> bool:
        """Whether the content that an entry refers to by itself is needed."""
        match entry.record:
            case Version():
                return entry.digest not in self._removed
            case VersionEdit(version=version):
                return version not in self._removed
            case RunOpened(run=run) | RunSealed(run=run):
                return run not in self._removed
        return True


def edits_of(log: str) -> str | None:
    """The log of edits that tells of the versions in a log, or that this log is; else None."""
    if not log.startswith(_OPENING):
        return None
    return log if log.endswith("/@edits") else f"{log}edits"


def whole(logs: Logs, log: str, entry: Entry, removals: Removals) -> Iterator[Entry]:
    """The entries whose content an entry needs: its own, or what it makes be there again.

    Args:
        logs: Where the others are that it may be about.
        log: Which log it is in.
        entry: Of this log.
        removals: What is removed after all.
    """
    match entry.record:
        case Restored(version=version):
            if version not in removals:
                yield from _entries_of_version(logs, log, version)
        case RunRestored(run=run):
            if run not in removals:
                yield from logs.records(log)
        case _:
            if removals.needs(entry):
                yield entry


def _entries_of_version(logs: Logs, edits: str, version: Digest) -> Iterator[Entry]:
    mark = version.hex.encode()
    for _, data in logs.after(edits.removesuffix("edits"), 0):
        # A version does not say its own digest, so each is decoded until it is found.
        entry = decode_entry(data)
        if entry.digest == version:
            yield entry
            break
    for _, data in logs.after(edits, 0):
        if mark in data:
            entry = decode_entry(data)
            if isinstance(entry.record, VersionEdit) and entry.record.version == version:
                yield entry
