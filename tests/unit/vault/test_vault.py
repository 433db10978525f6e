"""The parts of a vault together: bytes first, name last."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from thence.errors import Conflict
from thence.model.ids import Digest
from thence.model.records import Tombstone, decode_entry
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.vault.vault import Vault

NewVault = Callable[..., Vault]
AT = datetime(2026, 11, 23, 10, tzinfo=UTC)
LOG = "refs/artifacts/a/@edits"
RECORD = Tombstone(version=Digest.of(b""), reason="r")


def test_a_save_writes_content_then_hint_then_entry(
    store: MemoryStore, new_vault: NewVault
) -> None:
    traced = Trace(store)
    vault = new_vault(traced)
    with vault.writer() as writer:
        writer.put_bytes(b"content")
    vault.append(LOG, RECORD, by="me")
    created = [done.key.partition("/")[0] for done in traced.operations if done.name == "create"]
    assert created == ["packs", "journal", "refs"]


def test_what_was_announced_is_in_the_journal(vault: Vault) -> None:
    vault.append(LOG, lambda tail: RECORD, by="me")
    assert vault.journal.since(datetime.now(UTC)) == {LOG}
    with pytest.raises(Conflict):
        vault.append(LOG, lambda tail: None, by="me")


def test_clock_and_chance_are_arguments(tmp_path: Path) -> None:
    stores = []
    for name in ("one", "two"):
        store = MemoryStore()
        entropy = random.Random(1).randbytes
        vault = Vault(store, tmp_path / name, clock=lambda: AT, entropy=entropy)
        with vault.writer(lanes=1) as writer:
            writer.put_bytes(b"content")
        entry = vault.append(LOG, RECORD, by="me").entry
        assert entry.at == AT
        stores.append({info.key: store.get(info.key) for info in store.list()})
    assert stores[0] == stores[1]


def test_ids_are_128_random_bits(vault: Vault) -> None:
    ids = {vault.new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(one) == 32 and int(one, 16) for one in ids)


def test_an_append_keeps_the_bytes_that_it_wrote(vault: Vault, store: MemoryStore) -> None:
    done = vault.append(LOG, RECORD, by="me")
    assert store.get(f"{LOG}/0000000001") == done.data
    assert decode_entry(done.data) == done.entry


def test_what_dead_writers_left_is_swept_and_the_living_are_spared(
    store: MemoryStore, tmp_path: Path, random_bytes: Callable[[int], bytes]
) -> None:
    data = random_bytes(20_000_000)
    living = Vault(store, tmp_path).writer(lanes=1)
    digest = living.put_bytes(data).digest
    staging = tmp_path / "staging"
    (staging / "pack-of-the-dead").write_bytes(b"unfinished")
    assert len(list(staging.iterdir())) == 2
    Vault(store, tmp_path).writer()
    assert len(list(staging.iterdir())) == 2  # both are young
    Vault(store, tmp_path, clock=lambda: datetime.now(UTC) + timedelta(hours=2)).writer()
    assert len(list(staging.iterdir())) == 1
    with living:
        pass
    assert list(staging.iterdir()) == []
    assert Vault(store, tmp_path).content.read(digest) == data
