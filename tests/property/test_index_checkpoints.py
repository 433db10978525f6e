"""Whatever happened to the checkpoints, a new client ends with what a walk finds."""

from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from test_index_outbox import read_content
from test_index_rebuild import LOGS, START, UNKNOWN, dump, encoded

from thence.index import Index, LogItem, covering, refresh
from thence.store.memory import MemoryStore
from thence.vault import checkpoints as checkpoints_module
from thence.vault.checkpoints import Checkpoints
from thence.vault.journal import Announced, Journal
from thence.vault.logs import Logs, entry_key

CLIENTS = st.integers(0, 2)
PICKS = st.integers(0, 1 << 16)


class Team(RuleBasedStateMachine):
    """Three clients of a bucket, where three entries are worth a checkpoint and two a merge."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = START.timestamp()
        self.ids = 0
        self.store = MemoryStore(clock=lambda: self.now_s)
        self.logs = Logs(self.store, clock=self.clock, new_id=self.new_id)
        self.journal = Journal(self.store, clock=self.clock, new_id=self.new_id)
        self.checkpoints = Checkpoints(self.store)
        self.indexes = [Index(":memory:") for _ in range(3)]
        self.slow: list[tuple[str, bytes]] = []
        self.patches = [
            patch.object(covering, "MIN_ENTRIES", 3),
            patch.object(checkpoints_module, "MIN_ENTRIES", 3),
            patch.object(checkpoints_module, "FAN", 2),
        ]
        for one in self.patches:
            one.start()

    def teardown(self) -> None:
        for one in self.patches:
            one.stop()
        for index in self.indexes:
            index.close()

    def clock(self) -> datetime:
        return datetime.fromtimestamp(self.now_s, UTC)

    def new_id(self) -> str:
        self.ids += 1
        return f"{self.ids:032x}"

    def refresh(self, index: Index, *, full: bool = False) -> None:
        refresh(
            index,
            self.logs,
            self.journal,
            read_content,
            clock=self.clock,
            checkpoints=self.checkpoints,
            full=full,
        )

    @rule(seconds=st.sampled_from([1.0, 4000.0, 400_000.0]))
    def time_goes_on(self, seconds: float) -> None:
        if not self.slow:
            self.now_s += seconds

    @rule(which=st.sampled_from(LOGS), data=st.data(), odd=st.integers(0, 12), slow=st.booleans())
    def announce(
        self, which: tuple[str, Any], data: st.DataObject, odd: int, *, slow: bool
    ) -> None:
        log, records = which
        entry_id = self.new_id()
        record = UNKNOWN if odd == 0 else data.draw(records)
        entry = encoded(record, self.clock(), "ann", entry_id=entry_id)
        self.journal.note([Announced(entry_id, log)])
        self.slow.append((log, b"torn \xff" if odd == 1 else entry))
        if not slow:
            self.append(-1, None)

    @rule(pick=PICKS, client=st.none() | CLIENTS)
    def append(self, pick: int, client: int | None) -> None:
        if not self.slow:
            return
        log, entry = self.slow.pop(pick % len(self.slow))
        number = self.logs.tail(log) + 1
        self.store.create(entry_key(log, number), [entry])
        if client is not None:
            self.indexes[client].ingest([LogItem(log, number, entry)])

    @rule(client=CLIENTS)
    def look(self, client: int) -> None:
        self.refresh(self.indexes[client])

    @rule(client=CLIENTS)
    def begin_anew(self, client: int) -> None:
        self.indexes[client].clear()
        self.refresh(self.indexes[client])

    @rule(client=CLIENTS)
    def rebuild(self, client: int) -> None:
        self.refresh(self.indexes[client], full=True)

    @rule(pick=PICKS)
    def a_checkpoint_is_damaged(self, pick: int) -> None:
        if names := self.checkpoints.names():
            key = f"index/{names[pick % len(names)]}"
            data = self.store.get(key)
            self.store.replace(key, [data[: pick % len(data)]])

    @rule(pick=PICKS)
    def a_checkpoint_is_deleted(self, pick: int) -> None:
        if names := self.checkpoints.names():
            self.store.delete(f"index/{names[pick % len(names)]}")

    @rule()
    def all_checkpoints_are_deleted(self) -> None:
        for name in self.checkpoints.names():
            self.store.delete(f"index/{name}")

    @invariant()
    def a_new_client_finds_what_a_walk_finds(self) -> None:
        there = sorted(self.logs.all())
        with Index(":memory:") as fresh:
            self.refresh(fresh)
            assert fresh.select("SELECT log, number FROM entries ORDER BY log, number") == there
            begun = dump(fresh)
            fresh.clear()
            refresh(fresh, self.logs, self.journal, read_content, clock=self.clock)
            assert begun == dump(fresh)


TestTeam = Team.TestCase
TestTeam.settings = settings(
    max_examples=25,
    deadline=None,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow],
)
