"""Belongings: the entries of which a version or a run consists."""

from collections.abc import Iterable, Iterator

from thence.model.ids import Digest, RunId
from thence.model.records import Entry, RunOpened, RunSealed, VersionEdit
from thence.vault.logs import Logs, run_log

__all__ = ["entries_of_run", "entries_of_versions"]


def entries_of_versions(
    logs: Logs, log: str, versions: Iterable[Digest], edits: Iterable[Entry] | None = None
) -> dict[Digest, list[Entry]]:
    """Of each of some versions of an artifact: its entry, then its edits, which have cards.

    Args:
        logs: Where they are.
        log: Of the edits of the artifact.
        versions: Digests of their records.
        edits: What is in that log, where it was read a moment ago.

    Raises:
        DataDamaged: An entry cannot be read.
        StorageError: The store failed.
    """
    found: dict[Digest, list[Entry]] = {version: [] for version in versions}
    # A version does not say its own digest, so each is decoded.
    for entry in logs.records(log.removesuffix("edits")):
        if entry.digest in found:
            found[entry.digest].append(entry)
    for entry in logs.records(log) if edits is None else edits:
        if isinstance(entry.record, VersionEdit) and entry.record.version in found:
            found[entry.record.version].append(entry)
    return found


def entries_of_run(logs: Logs, run: RunId) -> Iterator[Entry]:
    """The entries that say how a run began and ended.

    Raises:
        DataDamaged: An entry cannot be read.
        StorageError: The store failed.
    """
    for entry in logs.records(run_log(run)):
        if isinstance(entry.record, RunOpened | RunSealed):
            yield entry
