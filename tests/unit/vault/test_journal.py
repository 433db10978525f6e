"""The journal: hints that may be late, lost or forged, and never mislead."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from thence.store.base import Store
from thence.store.memory import MemoryStore
from thence.store.wrap import Retry, Trace
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault.journal import OVERLAP, Announced, Hint, Journal, hour_of

AT = datetime(2026, 11, 23, 10, 59, 59, tzinfo=UTC)
LOG = "refs/artifacts/a/@"


class Clock:
    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def new_journal(store: Store, clock: Clock) -> Journal:
    ids = itertools.count()
    return Journal(store, clock=clock, new_id=lambda: f"{next(ids):032x}")


def test_a_hint_is_filed_under_its_hour(store: MemoryStore, clock: Clock) -> None:
    new_journal(store, clock).note([Announced("e1", LOG)])
    clock.now = AT.astimezone(timezone(timedelta(hours=9)))
    (info,) = store.list()
    assert info.key == "journal/2026-11-23T10/e1"
    assert store.get(info.key) == f"e1 {LOG}\n".encode()
    assert hour_of(info.key) == AT.replace(minute=0, second=0)


def test_a_hint_for_several_entries_has_a_name_of_its_own(store: MemoryStore, clock: Clock) -> None:
    announced = (Announced("e1", LOG), Announced("e2", "refs/runs/1"))
    journal = new_journal(store, clock)
    journal.note(announced)
    (key,) = journal.list(AT)
    assert key == f"journal/2026-11-23T10/{0:032x}"
    assert list(journal.read([key])) == [Hint(key, announced)]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:-9],
        lambda data: data[1:],
        lambda data: bytes(len(data)),
        lambda data: data + b"\0",
        lambda data: data.replace(b"refs", b"rafs", 1),
        lambda data: b"\xff" + data[1:],
    ],
)
def test_a_damaged_hint_is_known_as_such(
    store: MemoryStore, clock: Clock, damage: Callable[[bytes], bytes], count: int
) -> None:
    journal = new_journal(store, clock)
    journal.note([Announced(f"e{n}", LOG) for n in range(count)])
    (key,) = journal.list(AT)
    (hint,) = journal.read([key])
    assert hint.whole
    store.replace(key, [damage(store.get(key))])
    (hint,) = journal.read([key])
    # A letter of an id of two may change, and the log is read all the same.
    assert not hint.whole or hint.announced[0].log == LOG


@pytest.mark.parametrize("at_once", [1, 16])
def test_many_hints_are_read_in_the_order_in_which_they_were_asked_for(
    store: MemoryStore, clock: Clock, at_once: int
) -> None:
    journal = Journal(store, clock=clock, new_id=lambda: "x", at_once=at_once)
    for number in range(600):
        journal.note([Announced(f"e{number:03}", f"refs/runs/{number}")])
    keys = journal.list(AT)[::-1]
    read = list(journal.read(iter(keys)))
    assert [hint.key for hint in read] == keys
    assert read[0].announced == (Announced("e599", "refs/runs/599"),)


@pytest.mark.parametrize(
    "key", ["journal/x", "journal/2026/x", "journal", "journal/2026-13-40T99/x"]
)
def test_a_hint_that_is_filed_under_no_hour(key: str) -> None:
    assert hour_of(key) is None


def test_zones_do_not_matter(store: MemoryStore, clock: Clock) -> None:
    clock.now = AT.astimezone(timezone(timedelta(hours=9)))
    journal = new_journal(store, clock)
    journal.note([Announced("e1", LOG)])
    assert [info.key[:22] for info in store.list()] == ["journal/2026-11-23T10/"]
    assert journal.since(AT.astimezone(timezone(timedelta(hours=-9)))) == {LOG}


def test_what_changed_since_is_found(store: MemoryStore, clock: Clock) -> None:
    journal = new_journal(store, clock)
    for hours in range(5):
        clock.now = AT + timedelta(hours=hours)
        journal.note([Announced("e2", f"refs/runs/{hours}")])
    assert journal.since(AT - OVERLAP) == {f"refs/runs/{hours}" for hours in range(5)}
    assert journal.since(AT + timedelta(hours=3)) == {"refs/runs/3", "refs/runs/4"}
    assert journal.since(AT.replace(minute=0, second=0)) >= {"refs/runs/0"}
    assert journal.since(AT + timedelta(hours=9)) == set()


def test_old_hours_are_not_read(store: MemoryStore, clock: Clock) -> None:
    journal = new_journal(store, clock)
    for hours in range(100):
        clock.now = AT + timedelta(hours=hours)
        journal.note([Announced("e2", f"refs/runs/{hours}")])
    traced = Trace(store)
    assert len(new_journal(traced, clock).since(AT + timedelta(hours=98))) == 2
    assert traced.counters["get"].calls == 2


@pytest.mark.parametrize("fault", [Fault.REPEAT, Fault.LOSE_RESPONSE])
def test_a_hint_whose_answer_was_lost_is_no_failure(
    store: MemoryStore, clock: Clock, fault: Fault
) -> None:
    rule = Rule(fault=fault, operations=frozenset({"create"}), on=frozenset({1}))
    new_journal(Retry(FaultyStore(store, rule), sleep=lambda _: None), clock).note(
        [Announced("e1", LOG)]
    )
    assert new_journal(store, clock).since(AT) == {LOG}


@pytest.mark.parametrize(
    "hint",
    [
        b"",
        b"\xff",
        b"e ../../etc",
        b"e refs/a b",
        b"e refs/../x",
        b"e packs/ab",
        b"e refs/\xc3\xa4",
        b"refs/artifacts/b/@",
        b" refs/artifacts/b/@",
    ],
)
def test_what_is_no_log_is_passed_over(store: MemoryStore, clock: Clock, hint: bytes) -> None:
    store.create("journal/2026-11-23T10/forged", [hint])
    store.create("journal/2026-11-23T10/good", [hint + f"\ne1 {LOG}\n".encode()])
    assert new_journal(store, clock).since(AT) == {LOG}


def test_a_hint_that_is_swept_meanwhile(clock: Clock) -> None:
    class Sweeping(MemoryStore):
        def get(self, key: str) -> bytes:
            self.delete(key)
            return super().get(key)

    store = Sweeping()
    journal = new_journal(store, clock)
    journal.note([Announced("e1", LOG)])
    assert journal.since(AT) == set()
