"""Logs: numbered without gaps or losses, whoever writes at the same time."""

import itertools
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from patience import PATIENCE_S
from thence.errors import Conflict, DataDamaged, StorageError
from thence.model.ids import Digest, RunId
from thence.model.names import Alias, ArtifactName
from thence.model.records import Record, Tombstone, decode_entry
from thence.store.base import Store
from thence.store.local import LocalStore
from thence.store.memory import MemoryStore
from thence.store.wrap import Retry, Trace
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault.logs import (
    Logs,
    alias_log,
    edits_log,
    entry_key,
    parse_entry_key,
    run_log,
    versions_log,
)

AT = datetime(2026, 11, 23, 10, tzinfo=UTC)
LOG = "refs/artifacts/a/@edits"
IDS = itertools.count()


def new_logs(store: Store) -> Logs:
    return Logs(store, clock=lambda: AT, new_id=lambda: f"id-{next(IDS)}")


def record(reason: str) -> Tombstone:
    return Tombstone(version=Digest.of(b""), reason=reason)


def reasons(logs: Logs, log: str = LOG) -> list[str]:
    found = []
    for expected, (number, data) in enumerate(logs.after(log, 0), 1):
        assert number == expected
        entry = decode_entry(data).record
        assert isinstance(entry, Tombstone)
        found.append(entry.reason)
    return found


def test_where_logs_lie() -> None:
    name = ArtifactName("Data/Ü b")
    assert versions_log(name) == "refs/artifacts/data/%C3%BC%20b/@"
    assert edits_log(name) == "refs/artifacts/data/%C3%BC%20b/@edits"
    assert alias_log(name, Alias("best")) == "refs/aliases/data/%C3%BC%20b/@best"
    assert run_log(RunId("0" * 20)) == f"refs/runs/{'0' * 20}"
    assert entry_key("refs/runs/x", 42) == "refs/runs/x/0000000042"


def test_keys_of_entries_come_back() -> None:
    for log in (versions_log(ArtifactName("0000000001/0000000002")), LOG, "refs/x"):
        assert parse_entry_key(entry_key(log, 7)) == (log, 7)
    for key in (
        "refs/0000000001",
        "refs/a/1",
        "refs/a/00000000001",
        "refs/a/000000000x",
        "packs/ab/0000000001",
        "refs/a/0000000001/x",
        "refs/a/0000000001\n",
    ):
        assert parse_entry_key(key) is None


def test_entries_are_numbered_from_one(store: MemoryStore) -> None:
    logs = new_logs(store)
    assert logs.tail(LOG) == 0
    assert logs.read(LOG, 1) is None
    first = logs.append(LOG, record("one"), by="me")
    second = logs.append(LOG, record("two"), by="you")
    assert (first.log, first.number, second.number) == (LOG, 1, 2)
    assert first.entry == decode_entry(first.data)
    assert store.get(entry_key(LOG, 1)) == first.data
    assert json.loads(second.data)["by"] == "you"
    assert reasons(logs) == reasons(new_logs(store)) == ["one", "two"]
    assert [number for number, _ in logs.after(LOG, 1)] == [2]
    assert [entry.record for entry in logs.records(LOG)] == [record("one"), record("two")]


@pytest.mark.parametrize("length", [*range(10), 31, 32, 33, 100])
def test_the_tail_is_found_in_few_looks(length: int) -> None:
    store = MemoryStore()
    for number in range(1, length + 1):
        store.create(entry_key(LOG, number), [b""])
    traced = Trace(store)
    logs = new_logs(traced)
    assert logs.tail(LOG) == length
    assert traced.counters["head"].calls <= 2 * (length + 1).bit_length() + 1
    traced.clear()
    assert logs.tail(LOG) == length
    assert traced.counters["head"].calls == 1
    store.create(entry_key(LOG, length + 1), [b""])
    assert logs.tail(LOG) == length + 1


def test_all_entries_by_one_listing(store: MemoryStore) -> None:
    logs = new_logs(store)
    for log in ("refs/runs/b", "refs/artifacts/x/@", "refs/artifacts/x/@", "refs/aliases/x/@p"):
        logs.append(log, record(""), by="me")
    store.create("refs/artifacts/x/README", [b"not an entry"])
    assert list(logs.all()) == [
        ("refs/aliases/x/@p", 1),
        ("refs/artifacts/x/@", 1),
        ("refs/artifacts/x/@", 2),
        ("refs/runs/b", 1),
    ]
    assert list(logs.all("refs/runs/")) == [("refs/runs/b", 1)]


def test_a_decision_sees_the_state_that_it_changes(store: MemoryStore) -> None:
    """Another writer comes between the look and the append: decided again."""
    logs, other = new_logs(store), new_logs(store)
    seen = []

    def decide(tail: int) -> Record | None:
        seen.append(tail)
        if len(seen) == 1:
            other.append(LOG, record("faster"), by="other")
        return record(f"after {tail}")

    appended = logs.append_if(LOG, decide, by="me")
    assert (seen, appended.number) == ([0, 1], 2)
    assert reasons(logs) == ["faster", "after 1"]


def test_a_decision_against_is_a_conflict(store: MemoryStore) -> None:
    logs = new_logs(store)
    with pytest.raises(Conflict) as caught:
        logs.append_if(LOG, lambda tail: None, by="me")
    assert caught.value.about == LOG
    with pytest.raises(ZeroDivisionError):
        logs.append_if(LOG, lambda tail: record(str(1 // tail)), by="me")
    assert list(store.list()) == []


def test_threads_lose_nothing(store: MemoryStore) -> None:
    together = threading.Barrier(8)

    def work(writer: int) -> list[int]:
        logs = new_logs(store)
        together.wait()
        return [logs.append(LOG, record(f"{writer}-{n}"), by=str(writer)).number for n in range(40)]

    with ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(work, range(8)))
    assert sorted(itertools.chain(*numbers)) == list(range(1, 321))
    assert all(mine == sorted(mine) for mine in numbers)
    found = reasons(new_logs(store))
    assert sorted(found) == sorted(f"{writer}-{n}" for writer in range(8) for n in range(40))


def test_of_racing_decisions_one_wins(store: MemoryStore) -> None:
    """First come, first served, as for the spelling of a name: nobody decides on an old state."""
    together = threading.Barrier(8)

    def work(writer: int) -> bool:
        def decide(tail: int) -> Record | None:
            return record(str(writer)) if tail == 0 else None

        together.wait()
        try:
            new_logs(store).append_if(LOG, decide, by="x")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(work, range(8)))
    assert won.count(True) == 1
    assert reasons(new_logs(store)) == [str(won.index(True))]


_APPEND = """
import os, sys
from datetime import UTC, datetime
from thence.model.ids import Digest
from thence.model.records import Tombstone
from thence.store.local import LocalStore
from thence.vault.logs import Logs
logs = Logs(LocalStore(sys.argv[1]), clock=lambda: datetime.now(UTC),
            new_id=lambda: os.urandom(16).hex())
print("ready", flush=True)
sys.stdin.readline()
for n in range(25):
    done = logs.append("refs/artifacts/a/@edits",
                Tombstone(version=Digest.of(b""), reason=f"{sys.argv[2]}-{n}"), by="x")
    print(done.number, flush=True)
"""


def test_processes_lose_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store", create=True)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _APPEND, str(store.root), str(n)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(8)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    numbers = [
        list(map(int, writer.communicate(timeout=PATIENCE_S)[0].split())) for writer in writers
    ]
    assert sorted(itertools.chain(*numbers)) == list(range(1, 201))
    found = reasons(new_logs(store))
    for who, mine in enumerate(numbers):
        assert [found[number - 1] for number in mine] == [f"{who}-{n}" for n in range(25)]


@pytest.mark.parametrize("fault", [Fault.LOSE_RESPONSE, Fault.REPEAT])
@pytest.mark.parametrize("retry", [True, False])
def test_a_lost_answer_is_read_back(store: MemoryStore, fault: Fault, retry: bool) -> None:
    """The entry is there, the writer does not know: it must not append a second one."""
    faulty = FaultyStore(store, Rule(fault=fault, operations=frozenset({"create"}), chance=0.5))
    inside: Store = Retry(faulty, sleep=lambda _: None) if retry else faulty
    logs = new_logs(inside)
    numbers = [logs.append(LOG, record(str(n)), by="me").number for n in range(50)]
    assert len(faulty.injected) > 10
    assert numbers == list(range(1, 51))
    assert reasons(new_logs(store)) == [str(n) for n in range(50)]


def test_a_failure_before_is_an_error_and_leaves_no_gap(store: MemoryStore) -> None:
    rule = Rule(fault=Fault.FAIL_BEFORE, operations=frozenset({"create"}), on=frozenset({2}))
    logs = new_logs(FaultyStore(store, rule))
    logs.append(LOG, record("one"), by="me")
    with pytest.raises(StorageError):
        logs.append(LOG, record("two"), by="me")
    assert logs.append(LOG, record("three"), by="me").number == 2
    assert reasons(logs) == ["one", "three"]


def test_if_the_answer_and_the_reading_back_fail_it_says_so(store: MemoryStore) -> None:
    logs = new_logs(
        FaultyStore(
            store,
            Rule(fault=Fault.LOSE_RESPONSE, operations=frozenset({"create"})),
            Rule(fault=Fault.FAIL_BEFORE, operations=frozenset({"get"})),
        )
    )
    with pytest.raises(StorageError):
        logs.append(LOG, record("one"), by="me")
    assert reasons(new_logs(store)) == ["one"]


def test_faults_of_all_kinds_never_lose_what_was_acknowledged(store: MemoryStore) -> None:
    acknowledged = []
    for seed in range(10):
        faulty = FaultyStore(
            store,
            Rule(fault=Fault.LOSE_RESPONSE, chance=0.06),
            Rule(fault=Fault.FAIL_BEFORE, chance=0.06),
            Rule(fault=Fault.REPEAT, chance=0.06),
            seed=seed,
        )
        logs = new_logs(faulty)
        for n in range(30):
            try:
                done = logs.append(LOG, record(f"{seed}-{n}"), by="me")
            except StorageError:
                continue
            acknowledged.append((done.number, f"{seed}-{n}"))
    found = reasons(new_logs(store))
    assert len(acknowledged) > 100
    assert all(found[number - 1] == reason for number, reason in acknowledged)
    assert len(found) == len(set(found))  # nothing was appended twice


@pytest.mark.parametrize("foreign", [b"", b"garbage", b'{"entry":5}', b"\xff\xfe"])
def test_a_damaged_entry_of_somebody_else_is_stepped_over(
    store: MemoryStore, foreign: bytes
) -> None:
    logs = new_logs(store)
    logs.append(LOG, record("one"), by="me")

    def decide(tail: int) -> Record:
        if tail == 1:
            store.create(entry_key(LOG, 2), [foreign])
        return record("mine")

    assert logs.append_if(LOG, decide, by="me").number == 3
    assert [number for number, _ in logs.after(LOG, 0)] == [1, 2, 3]
    with pytest.raises(DataDamaged):
        list(logs.records(LOG))


def test_one_entry_costs_few_requests(store: MemoryStore) -> None:
    traced = Trace(store)
    logs = new_logs(traced)
    logs.append(LOG, record("one"), by="me")
    traced.clear()
    logs.append(LOG, record("two"), by="me")
    assert {name: counter.calls for name, counter in traced.counters.items()} == {
        "head": 1,
        "create": 1,
    }


def test_an_end_that_was_looked_at_is_not_looked_for(store: MemoryStore) -> None:
    trace = Trace(store)
    logs = new_logs(trace)
    logs.append(LOG, record("one"), by="me")
    tail = logs.tail(LOG)
    trace.clear()
    assert logs.append_if(LOG, lambda _: record("two"), by="me", tail=tail).number == 2
    assert {name: one.calls for name, one in trace.counters.items()} == {"create": 1}
    # Somebody was faster: it is looked for after all, and what is decided is decided anew.
    seen: list[int] = []

    def decide(number: int) -> Record:
        seen.append(number)
        return record("three")

    assert logs.append_if(LOG, decide, by="me", tail=tail).number == 3
    assert seen == [1, 2]


def test_others_that_are_always_faster(store: MemoryStore) -> None:
    other = new_logs(store)
    count = 0

    def decide(tail: int) -> Record:
        nonlocal count
        count += 1
        other.append(LOG, record("faster"), by="other")
        return record("slow")

    with pytest.raises(Conflict):
        new_logs(store).append_if(LOG, decide, by="me")
    assert count == 1000
    assert "slow" not in reasons(other)


def test_what_is_known_of_a_log_spares_looking_for_its_end() -> None:
    store = MemoryStore()
    writer = new_logs(store)
    for number in range(40):
        writer.append(LOG, record(f"r{number}"), by="ann")
    trace = Trace(store)
    logs = new_logs(trace)
    logs.known_tail = lambda log: 38
    assert logs.tail(LOG) == 40
    assert {name: one.calls for name, one in trace.counters.items()} == {"list": 1}
    assert logs.append(LOG, record("next"), by="bob").number == 41


@pytest.mark.parametrize("known", [3, 1_000_000])
def test_what_is_known_of_another_log_leaves_no_gap(known: int) -> None:
    store = MemoryStore()
    new_logs(store).append(LOG, record("first"), by="ann")
    logs = new_logs(store)
    logs.known_tail = lambda log: known
    assert logs.append(LOG, record("second"), by="bob").number == 2
    assert reasons(logs) == ["first", "second"]
