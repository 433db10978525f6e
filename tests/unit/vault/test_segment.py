"""Segments: combined in two ways that give the same bytes, and never trusted."""

import hashlib
import random
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from thence.store.memory import MemoryStore
from thence.vault.pack import BlockKind, Codec, DirectoryEntry, Pack, PackBuilder
from thence.vault.segment import Segment, combine, of_packs


def pack_of(numbers: list[int], nonce: int) -> Pack:
    builder = PackBuilder(Path("unused"), nonce.to_bytes(16))
    builder.add_block(b"x")
    for number in numbers:
        wanted = hashlib.sha256(b"%d" % number).digest()
        builder.add_entry(DirectoryEntry(wanted, 0, number, 1, 0, BlockKind.WHOLE, Codec.RAW))
    return builder.publish(MemoryStore())


def segment_of(*packs: Pack) -> Segment:
    segment = Segment.parse(b"".join(of_packs([(pack.id, pack.directory) for pack in packs])))
    assert segment is not None
    return segment


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 30), max_size=8, unique=True), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_both_ways_to_combine_give_the_same_bytes(
    ids: list[list[int]], dice: random.Random
) -> None:
    packs = [pack_of(numbers, nonce) for nonce, numbers in enumerate(ids)]
    chosen = [dice.sample(packs, dice.randint(1, len(packs))) for _ in range(3)]
    segments = [segment_of(*some) for some in chosen]
    keep = None if dice.random() < 0.5 else {p.id for p in packs if dice.random() < 0.6}
    plain = b"".join(combine(segments, keep))
    assert b"".join(combine(segments, keep, many_rows=0)) == plain
    assert b"".join(combine(segments[::-1], keep)) == plain
    directories = [(pack.id, pack.directory) for pack in packs]
    assert b"".join(of_packs(directories, many_rows=0)) == b"".join(of_packs(directories))
    whole = Segment.parse(plain)
    assert whole is not None
    there = {p.id for some in chosen for p in some if keep is None or p.id in keep}
    assert whole.packs == sorted(there)
    numbers = {n for p, some in zip(packs, ids, strict=True) if p.id in there for n in some}
    for number in range(31):
        where = whole.find(hashlib.sha256(b"%d" % number).digest())
        assert (where is not None) == (number in numbers)
        assert where is None or where.entry.raw_length == number
        assert where is None or where.pack in there


def test_nothing_combined_is_an_empty_segment() -> None:
    empty = Segment.parse(b"".join(combine([])))
    assert empty is not None
    assert (empty.packs, empty.count) == ([], 0)
    assert Segment.parse(b"".join(combine([segment_of(pack_of([1], 1))], set()))) is not None


@pytest.mark.parametrize("many_rows", [0, 1000])
def test_a_forged_number_of_a_pack_is_no_place(many_rows: int) -> None:
    """Whoever may write to the bucket can seal what they like."""
    data = bytearray(segment_of(pack_of([1, 2], 1)).data)
    data[-64 + 58 : -64 + 62] = b"\xff\xff\xff\xff"
    data[8:40] = blake3(data[40:]).digest()
    forged = Segment.parse(bytes(data))
    assert forged is not None
    found = [forged.find(hashlib.sha256(b"%d" % number).digest()) for number in (1, 2)]
    assert found.count(None) == 1
    combined = Segment.parse(b"".join(combine([forged], many_rows=many_rows)))
    assert combined is not None
    assert combined.count == 1


def test_what_was_changed_anywhere_is_refused() -> None:
    good = bytes(segment_of(pack_of([1, 2, 3], 1)).data)
    assert Segment.parse(good) is not None
    for at in range(len(good)):
        assert Segment.parse(good[:at]) is None
        assert Segment.parse(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]) is None
    assert Segment.parse(good + b"x") is None


def test_the_bytes_are_those_of_the_documented_table() -> None:
    pack = pack_of([7], 1)
    data = bytes(segment_of(pack).data)
    assert data[:8] == b"THNCSEG2"
    assert data[8:40] == blake3(data[40:]).digest()
    assert int.from_bytes(data[40:44], "little") == 1
    assert int.from_bytes(data[44:52], "little") == 1
    assert data[52:84] == pack.id
    assert data[84:116] == hashlib.sha256(b"7").digest()
    assert len(data) == 84 + 64
