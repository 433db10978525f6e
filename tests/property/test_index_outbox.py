"""However entries move from the outbox to their logs, an index that followed is one made afresh."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from test_index_rebuild import CONTENTS, LOGS, START, UNKNOWN, dump, encoded

from thence.errors import NotFound
from thence.index import Index, LogItem, refresh
from thence.index.waiting import outbox_change
from thence.model.ids import Digest
from thence.model.numbers import LOCAL
from thence.model.records import decode_entry
from thence.store.memory import MemoryStore
from thence.vault.journal import Announced, Journal
from thence.vault.logs import Logs, entry_key
from thence.vault.outbox import Outbox

PICKS = st.integers(0, 1 << 16)


def read_content(digest: Digest) -> bytes:
    if digest not in CONTENTS:
        raise NotFound(f"no {digest.short}")
    return CONTENTS[digest]


class Clone(RuleBasedStateMachine):
    """A clone whose outbox is filled, pushed and cleaned in any order, and an index of it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = START.timestamp()
        self.ids = 0
        self.store = MemoryStore(clock=lambda: self.now_s)
        self.outbox = Outbox(self.store)
        self.logs = Logs(self.store, clock=self.clock, new_id=self.new_id)
        self.journal = Journal(self.store, clock=self.clock, new_id=self.new_id)
        self.index = Index(":memory:")
        self.is_fresh = False
        self.stale: list[LogItem] = []

    def teardown(self) -> None:
        self.index.close()

    def clock(self) -> datetime:
        return datetime.fromtimestamp(self.now_s, UTC)

    def new_id(self) -> str:
        self.ids += 1
        return f"{self.ids:032x}"

    def append(self, log: str, data: bytes, entry_id: str) -> None:
        number = self.logs.tail(log) + 1
        self.journal.note([Announced(entry_id, log)])
        self.store.create(entry_key(log, number), [data])

    def pick(self, pick: int) -> Any:
        waiting = self.outbox.waiting()
        return waiting[pick % len(waiting)]

    def has_waiting(self) -> bool:
        return bool(self.outbox.waiting())

    @rule(seconds=st.sampled_from([0.001, 1.0, 5.0, 90_000.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(which=st.sampled_from(LOGS), data=st.data(), odd=st.integers(0, 9), tell=st.booleans())
    def save(self, which: tuple[str, Any], data: st.DataObject, odd: int, *, tell: bool) -> None:
        log, records = which
        entry_id = self.new_id()
        record = UNKNOWN if odd == 0 else data.draw(records)
        entry = encoded(record, self.clock(), "ann", entry_id=entry_id)
        if odd == 1:
            entry = b"torn" + entry
        before = self.outbox.waiting(log)
        number = max(before[-1].number if before else LOCAL, LOCAL) + 1
        assert self.outbox.put(log, number, entry)
        item = LogItem(log, number, entry)
        if tell:
            self.index.ingest([item], CONTENTS)
        else:
            self.stale.append(item)
        self.is_fresh = False

    @rule(which=st.sampled_from(LOGS), data=st.data())
    def somebody_else_saves(self, which: tuple[str, Any], data: st.DataObject) -> None:
        log, records = which
        entry_id = self.new_id()
        entry = encoded(data.draw(records), self.clock(), "bob", entry_id=entry_id)
        self.append(log, entry, entry_id)
        self.is_fresh = False

    @precondition(has_waiting)
    @rule(pick=PICKS, clean=st.booleans(), tell=st.booleans())
    def push(self, pick: int, *, clean: bool, tell: bool) -> None:
        """An entry gets its number; the push may die before it cleans up."""
        one = self.pick(pick)
        entry = self.outbox.read(one.log, one.number)
        assert entry is not None
        if entry.startswith(b"torn"):
            return
        entry_id = decode_entry(entry).id
        if all(decode_entry(data).id != entry_id for _, data in self.logs.after(one.log, 0)):
            self.append(one.log, entry, entry_id)
        if tell:
            number = self.logs.tail(one.log)
            self.index.ingest(
                [LogItem(one.log, number, self.logs.read(one.log, number) or b"")], CONTENTS
            )
        if clean:
            self.outbox.remove(one.log, one.number)
        self.is_fresh = False

    @precondition(has_waiting)
    @rule(pick=PICKS)
    def give_up(self, pick: int) -> None:
        one = self.pick(pick)
        self.outbox.remove(one.log, one.number)
        self.is_fresh = False

    @precondition(lambda self: self.stale)
    @rule(pick=PICKS)
    def a_slow_process_tells_the_index(self, pick: int) -> None:
        self.index.ingest([self.stale.pop(pick % len(self.stale))], CONTENTS)
        self.is_fresh = False

    @rule()
    def another_process_is_stopped_in_a_refresh(self) -> None:
        change = outbox_change(self.index, self.outbox, self.clock)
        self.index.ingest_outbox(change.found, CONTENTS)
        self.is_fresh = False

    def refresh(self, index: Index, *, full: bool = False) -> None:
        refresh(
            index,
            self.logs,
            self.journal,
            read_content,
            clock=self.clock,
            outbox=self.outbox,
            full=full,
        )

    @rule()
    def look(self) -> None:
        self.refresh(self.index)
        self.is_fresh = True

    @invariant()
    def an_index_that_followed_is_one_made_afresh(self) -> None:
        if not self.is_fresh:
            return
        with Index(":memory:") as fresh:
            self.refresh(fresh)
            assert dump(self.index) == dump(fresh)
        for log, _ in LOGS:
            assert self.index.progress(log).through == self.logs.tail(log)


TestClone = Clone.TestCase
TestClone.settings = settings(
    max_examples=40,
    deadline=None,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow],
)
