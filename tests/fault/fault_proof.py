"""What must hold on a stage, whatever happened there."""

import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fault_stage import Ack, Stage

from thence.model import codec
from thence.model.ids import Digest
from thence.model.numbers import is_local
from thence.model.records import (
    Entry,
    Erasure,
    FileUse,
    Restored,
    RunSealed,
    Tombstone,
    Version,
    decode_entry,
    decode_lines,
)
from thence.vault.findings import Severity
from thence.vault.references import digests_in, roots_of
from thence.vault.vault import Vault

__all__ = ["assert_sound", "entry_ids", "prove"]

# What another moment, another process or another number would make different.
_VOLATILE = {"created", "started", "ended", "at", "files", "sensor"}


def _vaults(stage: Stage, caches: Path) -> Iterator[tuple[str, Vault]]:
    for name, store in stage.stores().items():
        in_clone = name != "home" and store.head("clone.json") is not None
        yield name, Vault(store, caches / f"{name}-{os.urandom(4).hex()}", clone=in_clone)


class _Named(NamedTuple):
    log: str
    number: int
    entry: Entry


def _entries(vault: Vault) -> Iterator[_Named]:
    """Every entry that is named; a log has no gap."""
    last: dict[str, int] = {}
    for log, number in vault.logs.all():
        data = vault.logs.read(log, number)
        assert data is not None, f"{log} {number} is listed and not there"
        if not is_local(number):
            assert number == last.get(log, 0) + 1, f"{log} has a gap before {number}"
        last[log] = number
        yield _Named(log, number, decode_entry(data))


def entry_ids(stage: Stage, caches: Path) -> set[str]:
    """The ids of all entries, wherever they are by now."""
    return {one.entry.id for _, vault in _vaults(stage, caches) for one in _entries(vault)}


def prove(
    stage: Stage,
    caches: Path,
    *,
    ids: Collection[str] = (),
    acks: Sequence[Ack] = (),
    damaged: bool = False,
) -> dict[str, Any]:
    """No name without its bytes, and nothing that was told before is gone.

    Args:
        stage: Where.
        caches: A folder for caches that know nothing yet; it is removed.
        ids: Of entries that must be there.
        acks: What somebody was told.
        damaged: The home is damaged, and its content may not be within reach.

    Returns:
        What all stores say, without what differs from one moment to the next, as JSON.
    """
    found: set[str] = set()
    known: list[Ack] = []
    all_entries: list[tuple[str, Vault, list[_Named]]] = []
    for name, vault in _vaults(stage, caches):
        entries = list(_entries(vault))
        all_entries.append((name, vault, entries))
        found.update(one.entry.id for one in entries)
        known += _told(entries)
        if not damaged or name != "home":
            _read_all(vault, entries)
    assert {*ids} <= found, f"entries are gone: {({*ids}) - found}"
    for ack in acks:
        if ack[0] in {"version", "alias", "run"}:
            assert ack in known, f"{ack} was acknowledged, and is not there"
    told = _essence(all_entries)
    shutil.rmtree(caches, ignore_errors=True)
    return told


def _read_all(vault: Vault, entries: Sequence[_Named]) -> None:
    """Everything that is named and neither removed nor erased is what its name says."""
    removed, gone = set[Digest](), set[Digest]()
    for one in entries:
        match one.entry.record:
            case Tombstone(version=version):
                removed.add(version)
            case Restored(version=version):
                removed.discard(version)
            case Erasure(contents=contents):
                gone.update(contents)
    needed = [one.entry for one in entries if one.entry.digest not in removed]
    read: set[Digest] = set()
    for root in roots_of(needed).roots:
        data = vault.content.read(root.digest)
        assert Digest.of(data) == root.digest, f"{root} has other bytes"
        for digest in map(Digest, digests_in(root.kind, [data])):
            if digest not in read and digest not in gone:
                assert Digest.of(vault.content.read(digest)) == digest
                read.add(digest)


def _told(entries: Iterable[_Named]) -> Iterator[Ack]:
    for log, number, entry in entries:
        record = entry.record
        if isinstance(record, Version):
            yield ["version", str(record.artifact), number, str(record.tree)]
        elif isinstance(record, RunSealed):
            yield ["run", str(record.run)]
        elif log.startswith("refs/aliases/"):
            told = json.loads(codec.encode(record))
            yield ["alias", told["artifact"], told["alias"], told["version"]]


def _essence(entries: Sequence[tuple[str, Vault, list[_Named]]]) -> dict[str, Any]:
    names = {
        str(one.entry.digest): f"{one.entry.record.artifact}@{one.number}"
        for _, _, some in entries
        for one in some
        if isinstance(one.entry.record, Version) and not is_local(one.number)
    }

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items() if key not in _VOLATILE}
        if isinstance(value, list):
            return [plain(one) for one in value]
        return names.get(value, value) if isinstance(value, str) else value

    told: dict[str, Any] = {}
    for name, vault, some in entries:
        for log, number, entry in some:
            summary = plain(json.loads(codec.encode(entry.record)))
            if isinstance(entry.record, RunSealed) and entry.record.files is not None:
                uses = decode_lines(vault.content.read(entry.record.files), FileUse)
                summary["uses of files"] = sorted(
                    [str(one.role), one.path, str(one.digest), one.version is not None]
                    for one in uses
                )
            told[f"{name}: {log} {number}"] = summary
        told[f"{name}: is a clone"] = vault.outbox is not None
    return told


def assert_sound(stage: Stage) -> None:
    """`check --deep` finds nothing in the home, and in the clone."""
    for root in (stage.work, stage.clone):
        if (root / ".thence").is_dir():
            checked = stage.open(root).check(deep=True).checked
            assert checked.is_sound, f"{root.name}: {checked.of(Severity.DAMAGE)}"
