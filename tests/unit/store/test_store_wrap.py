from collections.abc import Callable
from pathlib import Path

import pytest

from thence.errors import AlreadyExists, Denied, InvalidInput, NotFound, StorageError
from thence.store.memory import MemoryStore
from thence.store.wrap import Counter, Operation, ReadOnly, Retry, Trace
from thence.testing.faulty import Fault, FaultyStore, Rule


class Pauses:
    """Remembers how long it was asked to sleep."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def failing(on: set[int], *operations: str, store: MemoryStore | None = None) -> FaultyStore:
    return FaultyStore(
        store or MemoryStore(),
        Rule(fault=Fault.FAIL_BEFORE, operations=frozenset(operations), on=frozenset(on)),
    )


# --- Trace


def test_trace_knows_each_call_its_bytes_and_its_time(tmp_path: Path) -> None:
    ticks = iter(range(100))
    trace = Trace(MemoryStore(), clock=lambda: float(next(ticks)))
    source = tmp_path / "source"
    source.write_bytes(b"12345")
    trace.create("a", [b"12", memoryview(b"345678").cast("H")])
    trace.create_from_file("b", source)
    trace.get("a")
    trace.get_range("a", 2, 3)
    trace.head("a")
    assert [info.key for info in trace.list("", after="a")] == ["b"]
    with pytest.raises(NotFound):
        trace.get("missing")
    trace.delete("a")
    assert trace.operations == (
        Operation("create", "a", 8, 1.0, None),
        Operation("create_from_file", "b", 5, 1.0, None),
        Operation("get", "a", 8, 1.0, None),
        Operation("get_range", "a", 3, 1.0, None),
        Operation("head", "a", 0, 1.0, None),
        Operation("list", "", 0, 2.0, None),
        Operation("get", "missing", 0, 1.0, "NotFound"),
        Operation("delete", "a", 0, 1.0, None),
    )
    assert trace.counters["get"] == Counter(calls=2, size_bytes=8, seconds=2.0, errors=1)
    assert "replace" not in trace.counters
    trace.clear()
    assert len(trace.operations) == len(trace.counters) == 0


def test_trace_forgets_old_operations_but_not_the_totals() -> None:
    trace = Trace(MemoryStore(), keep=3)
    for n in range(10):
        trace.create(f"{n}", [b"x"])
    assert [done.key for done in trace.operations] == ["7", "8", "9"]
    assert trace.counters["create"].calls == 10
    assert trace.counters["create"].size_bytes == 10


def test_trace_records_a_listing_that_was_broken_off() -> None:
    trace = Trace(MemoryStore())
    for n in range(3):
        trace.create(f"{n}", [])
    listing = trace.list()
    next(listing)
    assert "list" not in trace.counters
    del listing
    assert trace.counters["list"].calls == 1
    broken = Trace(failing({1}, "list"))
    with pytest.raises(StorageError):
        list(broken.list())
    assert broken.counters["list"].errors == 1


# --- Retry


def test_retry_does_not_sleep_while_nothing_fails() -> None:
    pauses = Pauses()
    store = Retry(MemoryStore(), sleep=pauses)
    store.create("a", [b"1"])
    assert store.get("a") == b"1"
    assert pauses.seconds == []


def test_retry_repeats_with_longer_and_longer_pauses() -> None:
    pauses = Pauses()
    inside = MemoryStore()
    inside.create("a", [b"1"])
    store = Retry(
        failing({1, 2, 3, 4, 5}, "get", store=inside),
        first_pause_s=1.0,
        longest_pause_s=6.0,
        sleep=pauses,
        jitter=lambda: 0.0,
    )
    assert store.get("a") == b"1"
    assert pauses.seconds == [1.0, 2.0, 4.0, 6.0, 6.0]


def test_jitter_shortens_pauses_by_up_to_half() -> None:
    pauses = Pauses()
    draws = iter([0.0, 0.5, 0.999])
    store = Retry(
        failing({1, 2, 3}, "head"),
        first_pause_s=1.0,
        longest_pause_s=1.0,
        sleep=pauses,
        jitter=lambda: next(draws),
    )
    store.head("a")
    assert pauses.seconds == pytest.approx([1.0, 0.75, 0.5], abs=0.01)


def test_retry_gives_up_within_its_budget_with_the_last_error() -> None:
    pauses = Pauses()
    store = Retry(
        failing(set(range(1, 1000)), "get"),
        budget_s=20.0,
        first_pause_s=1.0,
        longest_pause_s=8.0,
        sleep=pauses,
        jitter=lambda: 0.0,
    )
    with pytest.raises(StorageError, match="get 'a' failed") as caught:
        store.get("a")
    assert caught.value.transient
    assert pauses.seconds == [1.0, 2.0, 4.0, 8.0]  # one more would make 23


def test_time_that_calls_take_is_part_of_the_budget() -> None:
    ticks = iter(range(0, 1000, 10))
    faulty = failing(set(range(1, 1000)), "get")
    store = Retry(faulty, budget_s=35.0, sleep=lambda _: None, clock=lambda: float(next(ticks)))
    with pytest.raises(StorageError):
        store.get("a")
    assert len(faulty.injected) == 4  # looked at the clock after 10, 20, 30 and 40 seconds


@pytest.mark.parametrize("error", [NotFound, StorageError])
def test_retry_does_not_repeat_what_will_not_get_better(error: type[Exception]) -> None:
    pauses = Pauses()
    rules = [Rule(fault=Fault.FAIL_BEFORE, transient=False)] if error is StorageError else []
    with pytest.raises(error):
        Retry(FaultyStore(MemoryStore(), *rules), sleep=pauses).get("a")
    assert pauses.seconds == []


def test_a_create_whose_answer_was_lost_finds_its_own_object() -> None:
    """As documented: the caller reads back, and sees that it has won."""
    lost = Rule(fault=Fault.LOSE_RESPONSE, operations=frozenset({"create"}), on=frozenset({1}))
    store = Retry(FaultyStore(MemoryStore(), lost), sleep=lambda _: None)
    with pytest.raises(AlreadyExists):
        store.create("a", [b"mine"])
    assert store.get("a") == b"mine"


def test_a_listing_goes_on_after_what_it_gave() -> None:
    inside = MemoryStore()
    names = [f"{n:03d}" for n in range(50)]
    for name in names:
        inside.create(name, [])
    pauses = Pauses()
    broken = Rule(
        fault=Fault.LOSE_RESPONSE, operations=frozenset({"list"}), on=frozenset(range(1, 15))
    )
    faulty = FaultyStore(inside, broken, seed=3)
    found = [info.key for info in Retry(faulty, sleep=pauses).list(after="000")]
    assert found == names[1:]
    assert len(pauses.seconds) == 14


# --- ReadOnly


def test_read_only_reads_and_refuses_to_write(tmp_path: Path) -> None:
    inside = MemoryStore()
    inside.create("a/b", [b"123"])
    store = ReadOnly(inside)
    assert store.url == inside.url
    assert store.get("a/b") == b"123"
    assert store.get_range("a/b", -1, 1) == b"3"
    assert store.head("a/b") == inside.head("a/b")
    assert list(store.list("a")) == list(inside.list("a"))
    source = tmp_path / "source"
    source.write_bytes(b"x")
    calls: list[Callable[[], None]] = [
        lambda: store.create("a/c", [b"x"]),
        lambda: store.create_from_file("a/c", source),
        lambda: store.replace("a/b", [b"x"]),
        lambda: store.delete("a/b"),
    ]
    for call in calls:
        with pytest.raises(Denied, match=r"cannot .* 'a/"):
            call()
    with pytest.raises(InvalidInput):
        store.create("../a", [b"x"])
    assert source.exists()
    assert [(info.key, info.size_bytes) for info in inside.list()] == [("a/b", 3)]
