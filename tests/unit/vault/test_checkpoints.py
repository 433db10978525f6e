"""Checkpoints: what is written is read, merged and passed over where it is damaged."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
import zstandard

from thence.errors import DataDamaged
from thence.model import codec
from thence.model.ids import RunId
from thence.model.records import RunEdit, encode_entry
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.vault.checkpoints import FAN, Checkpoints, Line, Segment, load, reach

T = datetime(2026, 1, 1, tzinfo=UTC)
RUN = RunId("0" * 20)


def line(number: int, log: str = f"refs/runs/{RUN}", note: str = "größer") -> Line:
    record = RunEdit(run=RUN, note=note)
    return Line(log, number, encode_entry(f"{number:032x}", T, "ann", record))


def lines(first: int, last: int) -> list[Line]:
    return [line(number) for number in range(first, last + 1)]


def at(hours: float) -> datetime:
    return T + timedelta(hours=hours)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def checkpoints(store: MemoryStore) -> Checkpoints:
    return Checkpoints(store)


def read(checkpoints: Checkpoints) -> dict[Segment, list[Line]]:
    found = {}
    for name, data in checkpoints.read(checkpoints.names()):
        assert data is not None
        segment, its_lines = load(name, data)
        found[segment] = list(its_lines)
    return found


def test_what_is_written_is_read_to_the_last_bit(checkpoints: Checkpoints) -> None:
    given = [*lines(1, 3), Line("refs/runs/x", 7, None)]
    made = checkpoints.write(given, after=None, through=at(1))
    assert made is not None
    assert (made.after, made.through, made.level) == (None, at(1), 0)
    assert read(checkpoints) == {made: given}
    assert list(checkpoints.entries()) == given


def test_the_level_tells_how_many_there_are(checkpoints: Checkpoints) -> None:
    levels = []
    for count in (1, 2047, 2048, 16_384):
        given = (Line("refs/runs/x", number, None) for number in range(1, count + 1))
        made = checkpoints.write(given, after=None, through=T)
        assert made is not None
        levels.append(made.level)
    assert levels == [0, 0, 1, 2]


def test_two_that_write_the_same_at_once_make_one_object(checkpoints: Checkpoints) -> None:
    first = checkpoints.write(lines(1, 3), after=None, through=at(1))
    assert checkpoints.write(lines(1, 3), after=None, through=at(2)) is None
    assert list(read(checkpoints)) == [first]
    assert checkpoints.write(lines(1, 3), after=at(0), through=at(2)) is not None


@pytest.mark.parametrize("compressed", [True, False])
def test_no_cut_and_no_flipped_bit_goes_unseen(
    store: MemoryStore, checkpoints: Checkpoints, *, compressed: bool
) -> None:
    given = lines(1, 5)
    made = checkpoints.write(given, after=None, through=T)
    assert made is not None
    sound = store.get(f"index/{made.name}")
    text = zstandard.decompress(sound, max_output_size=1 << 20)
    chance = random.Random(5)
    for _ in range(300):
        broken = bytearray(sound if compressed else text)
        if chance.random() < 0.5:
            del broken[chance.randrange(len(broken)) :]
        else:
            broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        data = bytes(broken) if compressed else zstandard.compress(bytes(broken))
        try:
            segment, its_lines = load(made.name, data)
            got = list(its_lines)
        except DataDamaged:
            continue
        # What is left to change is where an entry lies, and what time the segment is for.
        assert [one.data for one in got] == [one.data for one in given]
        assert not compressed or (segment, got) == (made, given)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"{}\n",
        b'{"after":null,"format":2,"through":"2026-01-01T00:00:00.000000Z"}\n{"entries":0}\n',
        b"HEAD",
        b'HEAD{"entries":1}\n',
        b'HEAD{"entries":0}\n{"entries":0}\n',
        b'HEAD["../../etc/passwd",1,null]\n{"entries":1}\n',
        b'HEAD["refs/../x",1,null]\n{"entries":1}\n',
        b'HEAD["packs/ab",1,null]\n{"entries":1}\n',
        b'HEAD["refs/x",0,null]\n{"entries":1}\n',
        b'HEAD["refs/x",10000000001,null]\n{"entries":1}\n',
        b'HEAD["refs/x",true,null]\n{"entries":1}\n',
        b'HEAD["refs/x",1,"{}"]\n{"entries":1}\n',
        b'HEAD["refs/x",1,"\\ud800"]\n{"entries":1}\n',
        b'HEAD["refs/x",1]\n{"entries":1}\n',
        b'HEAD[[[["refs/x",1,null]\n{"entries":1}\n',
        b"HEAD" + b"[" * 100_000 + b'\n{"entries":1}\n',
        b'HEAD{"entries":0}\n...',
    ],
)
def test_a_hostile_one_is_damaged_and_no_crash(
    store: MemoryStore, checkpoints: Checkpoints, text: bytes
) -> None:
    head = b'{"after":null,"format":1,"through":"2026-01-01T00:00:00.000000Z"}\n'
    data = zstandard.compress(text.replace(b"HEAD", head))
    with pytest.raises(DataDamaged):
        list(load("0-x", data).lines)
    store.create(f"index/0-{1:032x}", [data])
    made = checkpoints.write(lines(1, 2), after=None, through=T)
    assert list(checkpoints.entries()) == lines(1, 2)
    assert made is not None


def test_other_objects_are_passed_over(store: MemoryStore, checkpoints: Checkpoints) -> None:
    for name in ("x", "0-short", f"a-{1:032x}", f"0-{1:032x}/x"):
        store.create(f"index/{name}", [b""])
    assert checkpoints.names() == []


def segment(name: str, after: float | None, through: float) -> Segment:
    return Segment(f"0-{name}", None if after is None else at(after), at(through))


@pytest.mark.parametrize(
    ("segments", "end"),
    [
        ([], None),
        ([segment("a", 1, 2)], None),
        ([segment("a", None, 1)], 1),
        ([segment("b", 1, 2), segment("a", None, 1)], 2),
        ([segment("a", None, 1), segment("c", 2, 3)], 1),
        ([segment("a", None, 1), segment("b", 0.5, 3), segment("c", 2, 2.5)], 3),
        ([segment("a", None, 1), segment("b", None, 4), segment("c", 3, 5)], 5),
        # The clock of one was an hour ahead.
        ([segment("a", None, 2), segment("b", 2, 1.5), segment("c", 2, 3)], 3),
    ],
)
def test_how_far_segments_reach(segments: Sequence[Segment], end: float | None) -> None:
    assert reach(segments) == (None if end is None else at(end))


def written(checkpoints: Checkpoints, count: int) -> list[Segment]:
    found = []
    for number in range(count):
        after = None if number == 0 else at(number)
        given = lines(number * 300 + 1, number * 300 + 300)
        made = checkpoints.write(given, after=after, through=at(number + 1))
        assert made is not None
        found.append(made)
    return found


def test_eight_that_follow_each_other_become_one(
    store: MemoryStore, checkpoints: Checkpoints
) -> None:
    segments = written(checkpoints, FAN)
    assert checkpoints.merge(segments[:-1]) == []
    ((made, replaced),) = checkpoints.merge(segments)
    assert made[1:] == (None, at(FAN))
    assert made.level == 1
    assert sorted(replaced) == sorted(one.name for one in segments)
    assert read(checkpoints) == {made: lines(1, FAN * 300)}


def test_who_merges_the_same_a_second_time_does_no_harm(
    store: MemoryStore, checkpoints: Checkpoints
) -> None:
    segments = written(checkpoints, FAN)
    copies = {info.key: store.get(info.key) for info in store.list()}
    ((made, _),) = checkpoints.merge(segments)
    assert checkpoints.merge(segments) == []
    # The first one was stopped before it deleted what it had merged.
    for key, data in copies.items():
        store.create(key, [data])
    assert checkpoints.merge(segments) == []
    assert list(read(checkpoints)) == [made]


def test_segments_with_a_hole_between_them_are_not_made_one(checkpoints: Checkpoints) -> None:
    segments = written(checkpoints, FAN + 1)
    assert checkpoints.merge(segments[:4] + segments[5:]) == []


def test_a_damaged_one_is_not_merged(store: MemoryStore, checkpoints: Checkpoints) -> None:
    segments = written(checkpoints, FAN)
    store.replace(f"index/{segments[3].name}", [b"damaged"])
    assert checkpoints.merge(segments) == []
    assert len(checkpoints.names()) == FAN


def test_an_entry_is_seldom_written_again(store: MemoryStore) -> None:
    traced = Trace(store)
    checkpoints = Checkpoints(traced)
    segments: list[Segment] = []
    sent = 0
    for number in range(128):
        given = [Line(f"refs/runs/{number:05}", n, None) for n in range(1, 257)]
        after = None if number == 0 else at(number)
        made = checkpoints.write(given, after=after, through=at(number + 1))
        assert made is not None
        segments.append(made)
        for merged in checkpoints.merge(segments):
            segments = [one for one in segments if one.name not in merged.replaced]
            segments.append(merged.made)
            sent += 1
    assert sent == 16 + 2
    assert sorted(one.level for one in segments) == [2, 2]
    assert sorted(one.name for one in segments) == sorted(checkpoints.names())
    assert len(list(checkpoints.entries())) == 128 * 256
    assert reach(segments) == at(128)


def test_a_small_segment_is_small(checkpoints: Checkpoints, store: MemoryStore) -> None:
    made = checkpoints.write(lines(1, 1000), after=None, through=T)
    assert made is not None
    raw = sum(len(codec.encode(one.data.decode())) for one in lines(1, 1000) if one.data)
    (info,) = store.list()
    assert info.size_bytes < raw / 2
