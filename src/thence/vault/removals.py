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
)
from thence.vault.belongings import entries_of_versions
from thence.vault.logs import Logs

__all__ = ["Removals", "Whole", "edits_of"]

_OPENING = "refs/artifacts/"


class Removals:
    """What is removed, as far as it was told; of each thing the last word counts."""

    def __init__(self, records: Iterable[Record | None] = ()) -> None:
        self._removed: set[Digest | RunId] = set()
        self._kept: set[Digest] = set()
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

    def keep(self, version: Digest) -> None:
        """Note that the content of a version is needed, removed or not: a run has read it."""
        self._kept.add(version)

    def __contains__(self, wanted: object) -> bool:
        return wanted in self._removed

    def __bool__(self) -> bool:
        return bool(self._removed)

    def needs(self, entry: Entry) -> bool:
        """Whether the content that an entry refers to by itself is needed."""
        match entry.record:
            case Version():
                return entry.digest not in self._removed or entry.digest in self._kept
            case VersionEdit(version=version):
                return version not in self._removed or version in self._kept
            case RunOpened(run=run) | RunSealed(run=run):
                return run not in self._removed
        return True


def edits_of(log: str) -> str | None:
    """The log of edits that tells of the versions in a log, or that this log is; else None."""
    if not log.startswith(_OPENING):
        return None
    return log if log.endswith("/@edits") else f"{log}edits"


class Whole:
    """Tells the entries whose content an entry needs: its own, or what it makes be there again.

    Of the log that it was asked about last it knows what came back: ask log by log.

    Args:
        logs: Where the others are that an entry may be about.
        removals: What is removed after all.
    """

    def __init__(self, logs: Logs, removals: Removals) -> None:
        self._logs = logs
        self._removals = removals
        self._log = ""
        self._back: dict[Digest, list[Entry]] = {}

    def entries(self, log: str, entry: Entry) -> Iterator[Entry]:
        """The entries whose content is needed.

        Args:
            log: Which log it is in.
            entry: Of this log.
        """
        match entry.record:
            case Restored(version=version):
                if version not in self._removals:
                    if log != self._log or version not in self._back:
                        self._look(log)
                    yield from self._back.get(version, ())
            case RunRestored(run=run):
                if run not in self._removals:
                    yield from self._logs.records(log)
            case _:
                if self._removals.needs(entry):
                    yield entry

    def _look(self, log: str) -> None:
        """Find all versions that came back by a log of edits: each log is read once."""
        self._log = log
        edits: list[Entry] = []
        back: set[Digest] = set()
        for entry in self._logs.records(log):
            if isinstance(entry.record, Restored) and entry.record.version not in self._removals:
                back.add(entry.record.version)
            elif isinstance(entry.record, VersionEdit):
                edits.append(entry)
        self._back = entries_of_versions(self._logs, log, back, edits)
