"""Several clones and somebody at home, with cuts anywhere, against lists of what was acknowledged.

What was acknowledged in a clone gets home once; what is in a clone is what the home has, or waits.
"""

import itertools
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from team import Member, Team, objects
from thence.errors import NotFound, StorageError
from thence.model.ids import Digest
from thence.model.names import Alias, ArtifactName
from thence.model.records import (
    AliasMove,
    ArtifactEdit,
    Entry,
    RunSealed,
    Version,
    decode_entry,
)
from thence.store.base import Store
from thence.store.memory import MemoryStore
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault.conflicts import ConflictingMove, drop, list_conflicts
from thence.vault.logs import alias_log, parse_entry_key
from thence.vault.vault import Vault

NAMES = ["data", "model"]
ALIASES = ["best", "first"]


class Failure(NamedTuple):
    """Which operation of which store fails, and how."""

    at_home: bool
    step: int
    fault: Fault


class Acknowledged(NamedTuple):
    clone: int
    log: str
    entry: Entry


CLONES = st.integers(0, 2)
SLOTS = st.integers(0, 3)  # the last one is the home itself
FAILURES = st.none() | st.builds(
    Failure,
    st.booleans(),
    st.integers(1, 40),
    st.sampled_from([Fault.FAIL_BEFORE, Fault.LOSE_RESPONSE, Fault.REPEAT]),
)


class Clones(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="thence-machine-"))
        self.team = Team(self.folder)
        self.caches = itertools.count()
        self.stores: list[Store] = [MemoryStore() for _ in range(3)]
        self.members = [self.team.clone(f"c{n}", store=self.stores[n]) for n in range(3)]
        self.members.append(self.team.at_home())
        self.texts = itertools.count()
        self.acknowledged: list[Acknowledged] = []
        self.dropped: set[str] = set()

    def took(self, slot: int, before: dict[str, bytes]) -> None:
        """Note what was put into the outbox of a clone."""
        if slot < 3:
            now = objects(self.stores[slot], "outbox/")
            for key in sorted(now.keys() - before.keys()):
                parsed = parse_entry_key(key.removeprefix("outbox/"))
                assert parsed is not None
                self.acknowledged.append(Acknowledged(slot, parsed[0], decode_entry(now[key])))

    def outbox(self, slot: int) -> dict[str, bytes]:
        return {} if slot == 3 else objects(self.stores[slot], "outbox/")

    @rule(slot=SLOTS, name=st.sampled_from(NAMES), same=st.booleans())
    def save(self, slot: int, name: str, same: bool) -> None:
        before = self.outbox(slot)
        text = "same" if same else f"text {next(self.texts)}"
        self.members[slot].save(name, text.encode())
        self.took(slot, before)

    @rule(slot=SLOTS, name=st.sampled_from(NAMES))
    def edit(self, slot: int, name: str) -> None:
        before = self.outbox(slot)
        artifact = ArtifactName(name)
        note = f"note {next(self.texts)}"
        self.members[slot].artifacts.edit(
            artifact, ArtifactEdit(artifact=artifact, description=note)
        )
        self.took(slot, before)

    @rule(
        slot=SLOTS,
        name=st.sampled_from(NAMES),
        alias=st.sampled_from(ALIASES),
        back=st.integers(0, 2),
    )
    def move(self, slot: int, name: str, alias: str, back: int) -> None:
        before = self.outbox(slot)
        try:
            self.members[slot].move(name, alias, f"~{back}")
        except NotFound:
            return
        self.took(slot, before)

    @rule(slot=SLOTS)
    def run(self, slot: int) -> None:
        before = self.outbox(slot)
        self.members[slot].log_run(b"output %d" % next(self.texts))
        self.took(slot, before)

    def process(self, slot: int, failure: Failure | None) -> Member:
        """A new process of a clone, for which something fails."""
        store, home = self.stores[slot], self.team.home
        if failure is not None:
            rule = Rule(fault=failure.fault, on=frozenset({failure.step}))
            if failure.at_home:
                home = FaultyStore(home, rule)
            else:
                store = FaultyStore(store, rule)
        cache = self.folder / f"process-{next(self.caches)}"
        # A clone that was interrupted may have lost its caches as well.
        return Member("x", Vault(store, cache, clone=True), Vault(home, cache / "home"))

    @rule(slot=CLONES, failure=FAILURES, twice=st.booleans())
    def push(self, slot: int, failure: Failure | None, twice: bool) -> None:
        member = self.process(slot, failure)
        try:
            member.push()
        except StorageError:
            assert failure is not None
            return
        if twice:
            before = objects(self.team.home)
            assert self.process(slot, None).push().numbered == ()
            assert objects(self.team.home) == before

    @rule(slot=CLONES, failure=FAILURES)
    def pull(self, slot: int, failure: Failure | None) -> None:
        try:
            self.process(slot, failure).pull()
        except StorageError:
            assert failure is not None
            return
        assert objects(self.stores[slot]) == objects(self.team.home)

    @rule(slot=CLONES)
    def drop_conflict(self, slot: int) -> None:
        vault = self.members[slot].vault
        for conflict in list_conflicts(vault)[:1]:
            assert isinstance(conflict, ConflictingMove)
            kept = self.stores[slot].get(f"conflicts/{conflict.log}/{conflict.number:010d}")
            self.dropped.update(decode_entry(line).id for line in kept.splitlines())
            drop(vault, conflict.log, conflict.number)

    @invariant()
    def clones_hold_beginnings_of_the_logs_of_the_home_with_their_bytes(self) -> None:
        home = objects(self.team.home)
        for store, member in zip(self.stores, self.members, strict=False):
            mine = objects(store)
            assert mine.items() <= home.items()
            for key in mine:
                log, number = parse_entry_key(key) or ("", 0)
                assert number == 1 or f"{log}/{number - 1:010d}" in mine
            for name in NAMES:
                for entry in member.history(name)[-1:]:
                    assert isinstance(entry.record, Version)
                    assert member.vault.content.info(entry.record.tree) is not None

    @invariant()
    def aliases_only_move_from_where_they_were_known_to_be(self) -> None:
        for name, alias in itertools.product(NAMES, ALIASES):
            log = alias_log(ArtifactName(name), Alias(alias))
            current: Digest | None = None
            for record in self.entries(log):
                assert isinstance(record.record, AliasMove)
                assert record.record.previous == current
                current = record.record.version

    def entries(self, log: str) -> list[Entry]:
        return [decode_entry(data) for _, data in self.members[3].vault.numbered.after(log, 0)]

    def teardown(self) -> None:
        try:
            for slot in (0, 1, 2):
                self.process(slot, None).push()
            for slot in (0, 1, 2):
                pulled = self.process(slot, None).pull()
                assert pulled.damaged == ()
            self.everything_got_home_once()
        finally:
            shutil.rmtree(self.folder)

    def everything_got_home_once(self) -> None:
        home = objects(self.team.home)
        ids = Counter(decode_entry(data).id for data in home.values())
        assert set(ids.values()) <= {1}
        last: dict[tuple[int, str], Acknowledged] = {}
        order: dict[tuple[int, str], list[str]] = {}
        for one in self.acknowledged:
            if one.log.startswith("refs/aliases/"):
                last[one.clone, one.log] = one
                continue
            assert ids[one.entry.id] == 1
            order.setdefault((one.clone, one.log), []).append(one.entry.id)
        for (_, log), mine in order.items():
            at_home = [entry.id for entry in self.entries(log)]
            assert [entry_id for entry_id in at_home if entry_id in mine] == mine
        for (clone, log), one in last.items():
            self.moved_or_told(clone, log, one.entry, ids)
        for store, member in zip(self.stores, self.members, strict=False):
            assert objects(store) == home
            assert objects(store, "outbox/") == {}
            for data in home.values():
                record = decode_entry(data).record
                if isinstance(record, Version):
                    assert member.vault.content.read(record.tree)
                elif isinstance(record, RunSealed) and record.stdout is not None:
                    assert member.vault.content.read(record.stdout).startswith(b"said output")

    def moved_or_told(self, clone: int, log: str, entry: Entry, ids: Counter[str]) -> None:
        """The last move of an alias in a clone is at home, moot, or kept as a conflict."""
        wanted = getattr(entry.record, "version", None)
        kept = objects(self.stores[clone], f"conflicts/{log}/").values()
        assert (
            ids[entry.id]
            or entry.id in self.dropped
            or any(decode_entry(data.splitlines()[-1]).id == entry.id for data in kept)
            or any(getattr(one.record, "version", None) == wanted for one in self.entries(log))
        )


def test_what_was_acknowledged_in_a_clone_gets_home_once() -> None:
    run_state_machine_as_test(
        Clones,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
