"""Finding the version that a ref names in the logs themselves, where there is no index of them."""

from typing import NamedTuple

from thence.errors import InvalidInput, NotFound
from thence.model.ids import Digest
from thence.model.names import Alias, SelectorKind, VersionRef
from thence.model.numbers import label, local
from thence.model.records import (
    AliasMove,
    Entry,
    Restored,
    Tombstone,
    Version,
    decode_entry,
)
from thence.vault.logs import Logs, alias_log, edits_log, versions_log

__all__ = ["Chosen", "choose"]


class Chosen(NamedTuple):
    """A version as it is in its log.

    Attributes:
        entry: Its entry; `entry.digest` is the identity of the version.
    """

    number: int
    entry: Entry
    version: Version


def choose(logs: Logs, ref: VersionRef) -> Chosen:
    """The version that a ref names; its path is not looked at.

    Removed versions are passed over by `latest`, `~N` and digests, as an index does.

    Raises:
        NotFound: There is none, or it was removed.
        InvalidInput: A digest is that of several contents.
        DataDamaged: An entry cannot be read.
    """
    selector = ref.selector
    match selector.kind:
        case SelectorKind.NUMBER:
            found = _numbered(logs, ref, selector.number)
        case SelectorKind.LOCAL:
            found = _numbered(logs, ref, local(selector.number))
        case SelectorKind.ALIAS:
            found = _by_alias(logs, ref)
        case SelectorKind.DIGEST:
            found = _by_content(logs, ref)
        case _:
            found = _back(logs, ref, selector.number)
    if found is None:
        tail = logs.tail(versions_log(ref.artifact))
        raise NotFound(
            f"no version {ref}",
            why=f"The latest one is {label(tail)}." if tail else "There is no such artifact.",
            about=str(ref),
        )
    if (stone := _tombstones(logs, ref).get(found.entry.digest)) is not None:
        assert isinstance(stone.record, Tombstone)
        raise NotFound(
            f"{ref.artifact}@{label(found.number)} was removed",
            why=f"{stone.by} removed it on {stone.at:%Y-%m-%d}: {stone.record.reason}",
            hint="It can be undone there, as long as its content was not collected.",
            about=str(ref),
        )
    return found


def _tombstones(logs: Logs, ref: VersionRef) -> dict[Digest, Entry]:
    """The removed versions, with the entries that say so."""
    found: dict[Digest, Entry] = {}
    for _, data in logs.after(edits_log(ref.artifact), 0):
        entry = decode_entry(data)
        match entry.record:
            case Tombstone(version=version):
                found.setdefault(version, entry)
            case Restored(version=version):
                found.pop(version, None)
    return found


def _numbered(logs: Logs, ref: VersionRef, number: int) -> Chosen | None:
    data = logs.read(versions_log(ref.artifact), number)
    if data is None:
        return None
    entry = decode_entry(data)
    return Chosen(number, entry, entry.record) if isinstance(entry.record, Version) else None


def _all(logs: Logs, ref: VersionRef) -> list[Chosen]:
    """The versions that are not removed, the latest first."""
    removed = _tombstones(logs, ref)
    found = []
    for number, data in logs.after(versions_log(ref.artifact), 0):
        entry = decode_entry(data)
        if isinstance(entry.record, Version) and entry.digest not in removed:
            found.append(Chosen(number, entry, entry.record))
    return found[::-1]


def _back(logs: Logs, ref: VersionRef, steps: int) -> Chosen | None:
    versions = _all(logs, ref)
    return versions[steps] if steps < len(versions) else None


def _by_content(logs: Logs, ref: VersionRef) -> Chosen | None:
    found = [one for one in _all(logs, ref) if one.version.tree.hex.startswith(ref.selector.text)]
    if len({one.version.tree for one in found}) > 1:
        raise InvalidInput(
            f"{ref} is more than one content",
            why="Several digests begin so.",
            hint="Give more digits.",
            about=str(ref),
        )
    return found[0] if found else None


def _by_alias(logs: Logs, ref: VersionRef) -> Chosen | None:
    target: Digest | None = None
    for _, data in logs.after(alias_log(ref.artifact, Alias(ref.selector.text)), 0):
        record = decode_entry(data).record
        if isinstance(record, AliasMove):
            target = record.version
    for number, data in logs.after(versions_log(ref.artifact), 0):
        entry = decode_entry(data)
        if entry.digest == target and isinstance(entry.record, Version):
            return Chosen(number, entry, entry.record)
    return None
