"""What was read of a pack is not fetched again, and the folder does not grow without end."""

import os
from pathlib import Path

import pytest

from thence.errors import AlreadyExists, NotFound
from thence.store.cache import PAGE, Cache
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.testing.faulty import Fault, FaultyStore, Rule

PACK = "packs/ab/" + "ab" * 32
DATA = os.urandom(3 * PAGE + 992) + b"THNCPACK"


@pytest.fixture
def inside() -> Trace:
    store = MemoryStore()
    store.create(PACK, [DATA])
    return Trace(store)


def asked(trace: Trace) -> int:
    return sum(one.calls for one in trace.counters.values())


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (0, 10),
        (PAGE - 5, 10),
        (100, 2 * PAGE),
        (3 * PAGE + 990, 10),
        (3 * PAGE + 990, 500),
        (3 * PAGE + 5000, 10),
        (5 * PAGE, 10),
        (0, 10 * PAGE),
        (7, 0),
        (-20, 20),
    ],
)
def test_any_range_is_what_the_store_says_the_second_time_too(
    inside: Trace, tmp_path: Path, start: int, length: int
) -> None:
    cache = Cache(inside, tmp_path / "pages")
    expected = inside.get_range(PACK, start, length)
    assert cache.get_range(PACK, start, length) == expected
    assert cache.get_range(PACK, start, length) == expected


def test_nothing_is_fetched_twice_by_this_or_another_process(inside: Trace, tmp_path: Path) -> None:
    Cache(inside, tmp_path).get_range(PACK, 10, 2 * PAGE)
    assert asked(inside) == 1
    assert Cache(inside, tmp_path).get_range(PACK, PAGE, 100) == DATA[PAGE : PAGE + 100]
    assert asked(inside) == 1
    # Only what is missing, in one request.
    Cache(inside, tmp_path).get_range(PACK, 0, len(DATA))
    assert inside.operations[-1].size_bytes == 1000


@pytest.mark.parametrize("start", [0, -len(DATA) - 1])
def test_an_answer_that_was_cut_short_is_not_kept(tmp_path: Path, start: int) -> None:
    store = MemoryStore()
    store.create(PACK, [DATA])
    cut = Rule(fault=Fault.SHORT_READ, on=frozenset({1}))
    cache = Cache(FaultyStore(store, cut), tmp_path)
    assert len(cache.get_range(PACK, start, len(DATA) + 1)) < len(DATA)
    assert cache.get_range(PACK, start, len(DATA) + 1) == DATA
    assert Cache(store, tmp_path).get_range(PACK, 0, len(DATA)) == DATA


def test_who_looked_for_the_end_of_a_small_pack_has_all_of_it(
    inside: Trace, tmp_path: Path
) -> None:
    asked_for = len(DATA) + 1
    assert Cache(inside, tmp_path).get_range(PACK, -asked_for, asked_for) == DATA
    assert Cache(inside, tmp_path).get_range(PACK, 10, 2 * PAGE) == DATA[10 : 10 + 2 * PAGE]
    assert asked(inside) == 1
    assert Cache(inside, tmp_path).get_range(PACK, -20, 10) == DATA[-20:-10]


def test_a_small_pack_that_was_just_created_is_not_fetched(inside: Trace, tmp_path: Path) -> None:
    key = "packs/cd/" + "cd" * 32
    Cache(inside, tmp_path).create(key, [b"sma", b"ll"])
    assert Cache(inside, tmp_path).get_range(key, 1, 100) == b"mall"
    assert "get_range" not in inside.counters
    inside.create("packs/ef/" + "ef" * 32, [b"theirs"])
    with pytest.raises(AlreadyExists):
        Cache(inside, tmp_path).create("packs/ef/" + "ef" * 32, [b"mine"])
    assert Cache(inside, tmp_path).get_range("packs/ef/" + "ef" * 32, 0, 100) == b"theirs"


def test_pages_between_that_are_missing_are_fetched_in_one_request_each(
    inside: Trace, tmp_path: Path
) -> None:
    cache = Cache(inside, tmp_path)
    cache.get_range(PACK, PAGE, 1)
    assert cache.get_range(PACK, 0, len(DATA)) == DATA
    assert asked(inside) == 3


def test_a_damaged_page_is_fetched_again(inside: Trace, tmp_path: Path) -> None:
    cache = Cache(inside, tmp_path)
    cache.get_range(PACK, 0, 100)
    (page,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    page.write_bytes(page.read_bytes()[:-1] + b"!")
    assert cache.get_range(PACK, 0, PAGE) == DATA[:PAGE]
    assert asked(inside) == 2


def test_what_may_change_is_never_kept(inside: Trace, tmp_path: Path) -> None:
    cache = Cache(inside, tmp_path)
    inside.create("index/1", [b"old"])
    assert cache.get_range("index/1", 0, 3) == b"old"
    inside.replace("index/1", [b"new"])
    assert cache.get_range("index/1", 0, 3) == b"new"
    assert cache.get("index/1") == b"new"


def test_a_pack_that_is_not_there(inside: Trace, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Cache(inside, tmp_path).get_range("packs/cd/" + "cd" * 32, 0, 10)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_what_was_not_used_for_longest_goes_first(inside: Trace, tmp_path: Path) -> None:
    cache = Cache(inside, tmp_path)
    cache.get_range(PACK, 0, 3 * PAGE)
    for age, path in enumerate(sorted(tmp_path.glob("??/*"))):
        os.utime(path, (1000 - age, 1000 - age))  # the last page is the oldest
    cache.get_range(PACK, 2 * PAGE, 10)  # and is used again
    Cache(inside, tmp_path, limit_bytes=2 * PAGE).get_range(PACK, 3 * PAGE, 10)
    left = {path.name.rpartition("-")[2] for path in tmp_path.glob("??/*")}
    assert left == {"2", "3"}


def test_a_folder_that_cannot_be_made_costs_only_time(inside: Trace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(inside, tmp_path / "file" / "pages")
    assert cache.get_range(PACK, 5, 10) == DATA[5:15]
    assert cache.get_range(PACK, 5, 10) == DATA[5:15]
