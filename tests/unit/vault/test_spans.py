"""Spans: what is read at once, and what becomes of it when the store fails."""

from collections.abc import Callable

import pytest

from thence.errors import DataDamaged, NotFound, StorageError
from thence.model.ids import Digest
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault.pack import BlockKind, Codec, DirectoryEntry
from thence.vault.segment import Location
from thence.vault.spans import SPAN, Spans
from thence.vault.vault import Vault

NewVault = Callable[..., Vault]
RandomBytes = Callable[[int], bytes]
PACKS = [Digest.of(b"pack %d" % number).raw for number in range(3)]
KIB = 1024


def at(pack: int, offset: int, length: int) -> Location:
    entry = DirectoryEntry(bytes(32), offset, length, length, 0, BlockKind.WHOLE, Codec.RAW)
    return Location(PACKS[pack], entry)


def filled(store: MemoryStore, size: int) -> bytes:
    data = bytes(range(256)) * (size // 256)
    for pack in PACKS:
        digits = pack.hex()
        store.create(f"packs/{digits[:2]}/{digits}", [data])
    return data


def test_neighbours_are_read_at_once_in_order_of_place(store: MemoryStore) -> None:
    data = filled(store, 1 << 20)
    traced = Trace(store)
    spans = Spans(traced)
    wanted = [at(0, 5000, 100), at(1, 0, 10), None, at(0, 100, 50), at(0, 5000, 100)]
    batches = []
    for batch in spans.each(wanted):
        batches.append(batch)
        for position in batch:
            if where := wanted[position]:
                entry = where.entry
                held = spans.find(where.pack, entry.offset, entry.stored_length)
                assert held is not None
                assert bytes(held) == data[entry.offset : entry.offset + entry.stored_length]
    assert batches == [[3, 0, 4], [1], [2]]
    assert traced.counters["get_range"].calls == 2
    assert spans.find(PACKS[0], 5000, 100) is None  # held no longer


def test_spans_are_bounded_and_join(store: MemoryStore) -> None:
    filled(store, 20 << 20)
    traced = Trace(store)
    spans = Spans(traced)
    # Blocks of 100 KiB, each after a gap of 200 KiB, as recipes lie between chunks.
    wanted: list[Location | None] = [at(0, n * 300 * KIB, 100 * KIB) for n in range(60)]
    end = 0
    for batch in spans.each(wanted):
        first, last = wanted[batch[0]], wanted[batch[-1]]
        assert first is not None
        assert last is not None
        gap = first.entry.offset - end
        assert spans.find(PACKS[0], end, gap + 1) is not None  # nothing is left out between
        end = last.entry.offset + last.entry.stored_length
    sizes = [operation.size_bytes for operation in traced.operations]
    assert max(sizes) <= SPAN
    assert len(sizes) == 5


def test_far_apart_is_read_apart(store: MemoryStore) -> None:
    filled(store, 8 << 20)
    traced = Trace(store)
    assert len(list(Spans(traced).each([at(0, 0, 10), at(0, 7 << 20, 10)]))) == 2
    assert traced.counters["get_range"].size_bytes == 20


def test_who_goes_away_leaves_nothing_behind(store: MemoryStore) -> None:
    filled(store, 1 << 20)
    spans = Spans(store)
    batches = spans.each([at(pack, 0, 100) for pack in range(3)])
    next(batches)
    assert spans.find(PACKS[0], 0, 100) is not None
    batches.close()  # type: ignore[attr-defined]
    assert all(spans.find(pack, 0, 1) is None for pack in PACKS)


def test_no_forged_block_fills_the_memory(store: MemoryStore) -> None:
    filled(store, 1 << 20)
    traced = Trace(store)
    assert list(Spans(traced).each([at(0, 0, 2**32 - 1), at(0, 2**63, 5)])) == [[0], [1]]
    assert "get_range" not in traced.counters or traced.counters["get_range"].size_bytes == 0


def put(vault: Vault, random_bytes: RandomBytes) -> list[Digest]:
    with vault.writer() as writer:
        return [writer.put_bytes(random_bytes(9_000)).digest for _ in range(1000)]


def test_a_store_that_fails_says_so(
    store: MemoryStore, new_vault: NewVault, random_bytes: RandomBytes
) -> None:
    digests = put(new_vault(remote=True), random_bytes)
    rule = Rule(fault=Fault.FAIL_BEFORE, operations=frozenset({"get_range"}), on=frozenset({4}))
    vault = new_vault(FaultyStore(store, rule), remote=True)
    with pytest.raises(StorageError, match="get_range"):
        list(vault.content.in_batches(digests))


def test_truncated_answers_give_no_wrong_bytes(
    store: MemoryStore, new_vault: NewVault, random_bytes: RandomBytes
) -> None:
    digests = put(new_vault(remote=True), random_bytes)
    rule = Rule(fault=Fault.SHORT_READ, operations=frozenset({"get_range"}), on=frozenset({4, 5}))
    vault = new_vault(FaultyStore(store, rule, seed=4), remote=True)
    seen = []
    for batch in vault.content.in_batches(digests):
        for position in batch:
            try:
                data = vault.content.read(digests[position])
            except DataDamaged:
                data = vault.content.read(digests[position])
            assert Digest.of(data) == digests[position]
            seen.append(position)
    assert sorted(seen) == list(range(1000))


def test_packs_that_go_meanwhile_are_followed(
    store: MemoryStore, new_vault: NewVault, random_bytes: RandomBytes
) -> None:
    digests = put(new_vault(remote=True), random_bytes)
    vault = new_vault(remote=True)
    reader = new_vault(remote=True)
    reader.directory.refresh()
    old = [info.key for info in store.list("packs/")]
    contents = {digest: vault.content.read(digest) for digest in digests}
    elsewhere = MemoryStore()
    with new_vault(elsewhere, remote=True).writer() as writer:
        for digest in reversed(digests):
            writer.put_bytes(contents[digest])
    for info in elsewhere.list("packs/"):
        store.create(info.key, [elsewhere.get(info.key)])
    for key in old:
        store.delete(key)
    for batch in reader.content.in_batches(digests):
        for position in batch:
            assert reader.content.read(digests[position]) == contents[digests[position]]
    assert reader.content.missing(digests) == set()


def test_what_is_nowhere_comes_last_and_is_not_found(
    new_vault: NewVault, random_bytes: RandomBytes
) -> None:
    vault = new_vault(remote=True)
    absent = Digest.of(b"never stored")
    digests = [absent, *put(vault, random_bytes)[:3]]
    batches = list(vault.content.in_batches(digests))
    assert batches == [[1, 2, 3], [0]]
    with pytest.raises(NotFound):
        vault.content.read(absent)


def test_a_local_store_gives_one_batch(vault: Vault) -> None:
    digests = [Digest.of(b"%d" % number) for number in range(5)]
    assert list(vault.content.in_batches(digests)) == [[0, 1, 2, 3, 4]]
