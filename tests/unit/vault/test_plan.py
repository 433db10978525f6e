"""Which reads fetch which blocks."""

from thence.vault import plan
from thence.vault.directory import Location
from thence.vault.pack import BlockKind, Codec, DirectoryEntry
from thence.vault.plan import covers, plan_reads

PACK, OTHER = b"p" * 32, b"q" * 32


def entry(
    offset: int, stored: int, *, raw: int = 10, inner: int = 0, name: bytes = b"x"
) -> DirectoryEntry:
    return DirectoryEntry(
        name.ljust(32, b"."), offset, raw, stored, inner, BlockKind.WHOLE, Codec.RAW
    )


def reads(*entries: tuple[bytes, DirectoryEntry], largest: int = 1 << 20) -> list[tuple[int, int]]:
    locations = [Location(pack, one) for pack, one in entries]
    return [(read.offset, read.length) for read in plan_reads(locations, largest=largest)]


def test_blocks_side_by_side_are_read_at_once_in_order() -> None:
    found = list(
        plan_reads(
            [Location(PACK, entry(offset, 100)) for offset in (200, 0, 100)], largest=1 << 20
        )
    )
    assert [(read.pack, read.offset, read.length) for read in found] == [(PACK, 0, 300)]
    assert [block.offset for block in found[0].blocks] == [0, 100, 200]


def test_small_gaps_are_read_too_and_large_ones_are_not() -> None:
    near, far = 100 + plan.GAP, 101 + plan.GAP
    assert reads((PACK, entry(0, 100)), (PACK, entry(near, 50))) == [(0, near + 50)]
    assert reads((PACK, entry(0, 100)), (PACK, entry(far, 50))) == [(0, 100), (far, 50)]


def test_reads_are_bounded_but_no_block_is_divided() -> None:
    entries = [(PACK, entry(offset, 100)) for offset in range(0, 1000, 100)]
    assert reads(*entries, largest=250) == [(start, 200) for start in range(0, 1000, 200)]
    assert reads((PACK, entry(0, 5000)), largest=250) == [(0, 5000)]


def test_packs_are_read_apart() -> None:
    assert reads((PACK, entry(0, 100)), (OTHER, entry(100, 100))) == [(0, 100), (100, 100)]


def test_members_of_one_block_come_together() -> None:
    one = entry(0, 100, raw=60, name=b"b")
    two = entry(0, 100, raw=40, inner=60, name=b"a")
    empty = entry(0, 100, raw=0, inner=60, name=b"c")
    (read,) = plan_reads([Location(PACK, e) for e in (two, empty, one)], largest=1)
    (block,) = read.blocks
    assert block.members == (one, empty, two)
    assert covers(block.members, 100)
    assert not covers(block.members, 101)
    assert not covers(block.members, 99)
    assert not covers((one, empty), 100)
    assert not covers((empty, two), 100)
    assert not covers((one, one, two), 160)


def test_directories_that_disagree_on_a_block_do_not_mix() -> None:
    """Two ids at one place with another length: each is read and verified as it says."""
    (read,) = plan_reads(
        [Location(PACK, entry(0, 100)), Location(PACK, entry(0, 120, name=b"y"))], largest=1000
    )
    assert [(b.offset, b.stored_length) for b in read.blocks] == [(0, 100), (0, 120)]
    assert (read.offset, read.length) == (0, 120)
