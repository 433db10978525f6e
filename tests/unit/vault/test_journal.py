"""The journal: hints that may be late, lost or forged, and never mislead."""

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest

from thence.store.base import Store
from thence.store.memory import MemoryStore
from thence.store.wrap import Retry, Trace
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault.journal import Announced, OVERLAP, Journal

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
    assert info.key == f"journal/2026-11-23T10/{0:032x}"
    assert store.get(info.key) == LOG.encode()


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
    new_journal(Retry(FaultyStore(store, rule), sleep=lambda _: None), clock).note([Announced("e1", LOG)])
    assert new_journal(store, clock).since(AT) == {LOG}


@pytest.mark.parametrize(
    "hint", [b"", b"\xff", b"../../etc", b"refs/a b", b"refs/../x", b"packs/ab", b"refs/\xc3\xa4"]
)
def test_what_is_no_log_is_passed_over(store: MemoryStore, clock: Clock, hint: bytes) -> None:
    store.create("journal/2026-11-23T10/forged", [hint])
    store.create("journal/2026-11-23T10/good", [LOG.encode()])
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
