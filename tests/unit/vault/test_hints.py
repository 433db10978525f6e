"""Hints: small, bounded, and never believed."""

from collections.abc import Callable

import pytest

from thence.errors import Denied, NotFound
from thence.model.ids import Digest
from thence.store.memory import MemoryStore
from thence.store.wrap import ReadOnly, Trace
from thence.vault.hints import read_hints, write_hint
from thence.vault.pack import pack_key
from thence.vault.vault import Vault

NewVault = Callable[..., Vault]
ROOT = Digest.of(b"root")
PREFIX = f"hints/{ROOT.raw.hex()}/"


def ids(count: int) -> list[bytes]:
    return [Digest.of(b"pack %d" % number).raw for number in range(count)]


def test_what_is_written_is_read(store: MemoryStore) -> None:
    write_hint(store, ROOT, ids(3))
    assert set(read_hints(store, ROOT)) == set(ids(3))
    assert read_hints(store, Digest.of(b"another")) == []
    (info,) = store.list()
    assert info.key.startswith(PREFIX)
    assert info.size_bytes == 96


def test_the_same_said_twice_is_one_object(store: MemoryStore) -> None:
    write_hint(store, ROOT, ids(3))
    write_hint(store, ROOT, [*reversed(ids(3)), ids(1)[0]])
    assert len(list(store.list())) == 1
    write_hint(store, ROOT, ids(2))
    assert len(list(store.list())) == 2


def test_no_hint_says_nothing_or_too_much(store: MemoryStore) -> None:
    write_hint(store, ROOT, [])
    write_hint(store, ROOT, ids(1001))
    assert list(store.list()) == []
    write_hint(store, ROOT, ids(1000))
    assert len(read_hints(store, ROOT)) == 1000


@pytest.mark.parametrize("body", [b"", b"x", bytes(31), bytes(33), bytes(32 * 1001)])
def test_hints_that_are_none_are_passed_over(store: MemoryStore, body: bytes) -> None:
    write_hint(store, ROOT, ids(2))
    store.create(PREFIX + "forged", [body])
    assert set(read_hints(store, ROOT)) == set(ids(2))


def test_of_very_many_hints_few_are_read(store: MemoryStore) -> None:
    for number in range(500):
        write_hint(store, ROOT, ids(number + 1))
    traced = Trace(store)
    read_hints(traced, ROOT)
    assert traced.counters["get"].calls == 4


def test_a_hint_that_went_meanwhile(store: MemoryStore) -> None:
    class Vanishing(MemoryStore):
        def get(self, key: str) -> bytes:
            raise NotFound("gone")

    vanishing = Vanishing()
    write_hint(vanishing, ROOT, ids(2))
    assert read_hints(vanishing, ROOT) == []


def test_a_read_only_store_says_so(store: MemoryStore) -> None:
    with pytest.raises(Denied):
        write_hint(ReadOnly(store), ROOT, ids(1))


def test_wrong_hints_do_no_harm(store: MemoryStore, new_vault: NewVault) -> None:
    """Packs that are gone, packs that are damaged, and packs that hold something else."""
    with new_vault(remote=True).writer() as writer:
        good = writer.put_bytes(b"good").digest
    with new_vault(remote=True).writer() as other:
        bad = other.put_bytes(b"bad").digest
    key = pack_key(other.packs[0])
    store.replace(key, [store.get(key)[:-1]])
    write_hint(store, good, [*ids(3), *other.packs])
    write_hint(store, bad, writer.packs)
    vault = new_vault(remote=True)
    assert vault.content.read(good) == b"good"
    write_hint(store, bad, other.packs)
    assert vault.content.info(bad) is None


def test_only_the_packs_of_a_hint_are_read(store: MemoryStore, new_vault: NewVault) -> None:
    sessions = []
    for number in range(5):
        with new_vault(remote=True).writer() as writer:
            digest = writer.put_bytes(b"content %d" % number).digest
        sessions.append((digest, writer.packs))
    for digest, packs in sessions:
        write_hint(store, digest, packs)
    vault = new_vault(remote=True)
    vault.directory.learn(sessions[2][0])
    assert vault.directory.packs() == set(sessions[2][1])
    assert vault.directory.packs_with([digest.raw for digest, _ in sessions]) == set(sessions[2][1])


def test_a_local_store_has_no_use_for_hints(store: MemoryStore, new_vault: NewVault) -> None:
    with new_vault().writer() as writer:
        digest = writer.put_bytes(b"content").digest
    write_hint(store, digest, writer.packs)
    traced = Trace(store)
    vault = new_vault(traced)
    vault.directory.learn(digest)
    assert traced.counters == {}
    assert vault.content.read(digest) == b"content"
    assert {operation.key for operation in traced.operations if operation.name == "list"} == {
        "packs/"
    }
