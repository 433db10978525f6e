"""Belongings: the entries of which a version or a run consists."""

from collections.abc import Iterator

from thence.model.ids import Digest, RunId
from thence.model.names import ArtifactName
from thence.model.records import Entry, RunOpened, RunSealed, VersionEdit, decode_entry
from thence.vault.logs import Logs, edits_log, run_log, versions_log

__all__ = ["entries_of_run", "entries_of_version"]


def entries_of_version(
    logs: Logs, artifact: ArtifactName, number: int, version: Digest
) -> Iterator[Entry]:
    """The entry of a version, then its edits, which have cards.

    Args:
        logs: Where.
        artifact: Of which it is a version.
        number: Of its entry.
        version: The digest of its record.

    Raises:
        DataDamaged: An entry cannot be read.
        StorageError: The store failed.
    """
    if (data := logs.read(versions_log(artifact), number)) is not None:
        yield decode_entry(data)
    mark = version.hex.encode()
    for _, data in logs.after(edits_log(artifact), 0):
        if mark in data:
            entry = decode_entry(data)
            if isinstance(entry.record, VersionEdit) and entry.record.version == version:
                yield entry


def entries_of_run(logs: Logs, run: RunId) -> Iterator[Entry]:
    """The entries that say how a run began and ended.

    Raises:
        DataDamaged: An entry cannot be read.
        StorageError: The store failed.
    """
    for entry in logs.records(run_log(run)):
        if isinstance(entry.record, RunOpened | RunSealed):
            yield entry
