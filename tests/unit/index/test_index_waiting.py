"""What waits in an outbox: rows after all others, which go when it is pushed or given up."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from index_samples import SampleLogs, run_id

from thence.errors import NotFound
from thence.index import Index, LogItem, refresh
from thence.index.artifacts import alias_history, artifact, artifacts
from thence.index.lineage import Direction, lineage
from thence.index.runs import run_detail
from thence.index.status import index_status, problems
from thence.index.versions import find_version, versions
from thence.model.ids import Digest
from thence.model.names import ArtifactName, VersionRef, parse_ref
from thence.model.numbers import LOCAL, local
from thence.model.records import FileRole, FileUse, encode_lines
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.vault.outbox import Outbox

LOG = "refs/artifacts/a/@"
A = ArtifactName("a")


class Clone:
    """Numbered logs in memory, and an outbox that tests fill from logs that nobody pushed."""

    def __init__(self) -> None:
        self.home = SampleLogs()
        self.here = SampleLogs("here ")
        self.seconds = 0.0
        self.store = Trace(MemoryStore(clock=lambda: self.seconds))
        self.outbox = Outbox(self.store)
        self.index = Index(":memory:")

    def clock(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def wait(self, item: LogItem, position: int) -> LogItem:
        assert self.outbox.put(item.log, local(position), item.data)
        return item._replace(number=local(position))

    def save(self, position: int, name: str = "a", note: str = "") -> LogItem:
        self.here.version(name, note=note or f"waiting {position}")
        log = f"refs/artifacts/{name}/@"
        return self.wait(LogItem(log, 0, [*self.here.entries[log].values()][-1]), position)

    def push(self, item: LogItem) -> LogItem:
        entries = self.home.entries.setdefault(item.log, {})
        entries[len(entries) + 1] = item.data
        return item._replace(number=len(entries))

    def refresh(self) -> int:
        self.seconds += 60
        return refresh(
            self.index,
            self.home,
            self.home.journal,
            lambda digest: (
                self.here.read_content(digest)
                if digest in self.here.contents
                else self.home.read_content(digest)
            ),
            clock=self.clock,
            outbox=self.outbox,
        ).entries

    def labels(self) -> list[str]:
        return [version.label for version in versions(self.index, A)]

    def found(self, ref: str) -> str:
        parsed = parse_ref(ref)
        assert isinstance(parsed, VersionRef)
        return find_version(self.index, parsed).ref


@pytest.fixture
def clone() -> Iterator[Clone]:
    made = Clone()
    with made.index:
        yield made


def test_what_waits_comes_after_all_numbers(clone: Clone) -> None:
    for _ in range(3):
        clone.home.version("a")
    clone.save(1)
    clone.save(2)
    assert clone.refresh() == 5
    assert clone.labels() == ["local.2", "local.1", "v3", "v2", "v1"]
    assert clone.found("a") == clone.found("a@local.2") == "a@local.2"
    assert clone.found("a@~1") == clone.found("a@local.1") == "a@local.1"
    assert clone.found("a@~2") == clone.found("a@v3") == "a@v3"
    assert artifact(clone.index, A).latest == LOCAL + 2
    assert clone.index.progress(LOG) == (3, 3)
    assert problems(clone.index) == []


def test_an_artifact_that_only_waits_is_no_gap_and_goes_without_a_trace(clone: Clone) -> None:
    item = clone.save(1)
    clone.refresh()
    assert clone.found("a") == "a@local.1"
    assert clone.index.progress(LOG) == (0, 0)
    assert problems(clone.index) == []
    clone.outbox.remove(LOG, item.number)
    clone.refresh()
    assert artifacts(clone.index) == []
    assert index_status(clone.index).logs == 0


@pytest.mark.parametrize("first", ["waiting", "numbered"])
def test_an_entry_that_is_in_its_log_and_in_the_outbox_is_there_once(
    clone: Clone, first: str
) -> None:
    clone.home.version("a")
    item = clone.save(1)
    if first == "waiting":
        clone.refresh()
    clone.index.ingest([clone.push(item)])
    clone.refresh()
    assert clone.labels() == ["v2", "v1"]
    clone.index.ingest([item])
    assert clone.labels() == ["v2", "v1"]
    clone.outbox.remove(LOG, item.number)
    assert clone.refresh() == 0
    assert clone.labels() == ["v2", "v1"]
    with pytest.raises(NotFound, match=r"a@local\.1"):
        clone.found("a@local.1")


def test_another_entry_at_the_same_place_takes_its_rows(clone: Clone) -> None:
    item = clone.save(1, note="first")
    clone.refresh()
    clone.outbox.remove(LOG, item.number)
    clone.save(1, note="second")
    clone.refresh()
    assert [(v.label, v.note) for v in versions(clone.index, A)] == [("local.1", "second")]


def test_another_entry_in_the_same_tick_of_the_clock_is_seen(clone: Clone) -> None:
    clone.seconds = 60
    item = clone.save(1, note="first")
    clone.seconds = 0  # so that the refresh is in the moment of the save
    clone.refresh()
    clone.outbox.remove(LOG, item.number)
    clone.save(1, note="second")
    clone.refresh()
    assert [version.note for version in versions(clone.index, A)] == ["second"]


def test_what_was_read_is_not_read_again(clone: Clone) -> None:
    pushed = clone.save(1)
    clone.save(2)
    clone.index.ingest([clone.push(pushed)])
    clone.refresh()
    clone.store.clear()
    clone.refresh()
    assert {name: counter.calls for name, counter in clone.store.counters.items()} == {"list": 1}
    assert clone.labels() == ["local.2", "v1"]


def test_a_process_that_tells_of_an_old_entry_is_put_right(clone: Clone) -> None:
    old = clone.save(1, note="old")
    clone.outbox.remove(LOG, old.number)
    clone.save(1, note="new")
    clone.refresh()
    clone.index.ingest([old])
    clone.refresh()
    assert [version.note for version in versions(clone.index, A)] == ["new"]


def test_what_is_written_while_a_refresh_goes_on_does_not_vanish(clone: Clone) -> None:
    clone.save(1)

    class Slow(Outbox):
        def waiting(self, log: str | None = None) -> list:  # type: ignore[type-arg]
            listed = super().waiting(log)
            clone.index.ingest([clone.save(2)])
            return listed

    clone.refresh()
    clone.outbox = Slow(clone.store)
    clone.refresh()
    assert clone.labels() == ["local.2", "local.1"]


def test_a_waiting_alias_move_and_edit_hold_until_they_are_given_up(clone: Clone) -> None:
    first = clone.home.version("a")
    second = clone.home.version("a")
    clone.home.move("a", "champion", first)
    clone.here.now += timedelta(hours=1)
    clone.here.move("a", "champion", second)
    clone.here.edit(first, note="edited", tags={"x": "1"}, metrics={"m": 1.0})
    waiting = [clone.wait(item, 1) for item in clone.here.items()]
    clone.refresh()
    assert clone.found("a@champion") == "a@v2"
    assert [move.number for move in alias_history(clone.index, A)] == [LOCAL + 1, 1]
    newest = versions(clone.index, A)[-1]
    assert (newest.note, newest.tags, newest.metrics) == ("edited", {"x": "1"}, {"m": 1.0})
    for item in waiting:
        clone.outbox.remove(item.log, item.number)
    clone.refresh()
    assert clone.found("a@champion") == "a@v1"
    newest = versions(clone.index, A)[-1]
    assert (newest.tags, newest.metrics) == ({}, {})


def test_a_run_that_ended_here_is_running_again_when_that_is_given_up(clone: Clone) -> None:
    run = run_id(1)
    files = clone.here.put(encode_lines([FileUse(path="x", role=FileRole.INPUT)]))
    version = clone.home.version("a")
    clone.home.opened(run)
    clone.here.sealed(run, files=files, series=Digest.of(b"lost"), uses=(version.digest,))
    item = clone.wait(clone.here.items()[-1], 1)
    clone.refresh()
    assert run_detail(clone.index, run).status.value == "finished"
    assert [used.ref for used in run_detail(clone.index, run).uses] == ["a@v1"]
    assert [problem.kind for problem in problems(clone.index)] == ["missing"]
    clone.outbox.remove(item.log, item.number)
    clone.refresh()
    assert run_detail(clone.index, run).status.value == "running"
    for table in ("contents", "listed_files", "missing_contents", "sealed_versions"):
        assert clone.index.select(f"SELECT COUNT(*) FROM {table}") == [(0,)]


def test_the_content_of_a_run_that_waits_may_come_later(clone: Clone) -> None:
    uses = encode_lines([FileUse(path="x", role=FileRole.INPUT)])
    clone.here.sealed(run_id(1), files=Digest.of(uses))
    clone.wait(clone.here.items()[-1], 1)
    clone.refresh()
    assert [problem.kind for problem in problems(clone.index)] == ["missing"]
    clone.here.put(uses)
    clone.refresh()
    assert problems(clone.index) == []


def test_an_entry_that_cannot_be_read_is_a_problem_as_long_as_it_waits(clone: Clone) -> None:
    number = local(1)
    clone.outbox.put(LOG, number, b"torn")
    clone.refresh()
    assert [(p.kind, p.number) for p in problems(clone.index)] == [("damaged", number)]
    clone.outbox.remove(LOG, number)
    clone.refresh()
    assert problems(clone.index) == []


def test_lineage_names_what_waits(clone: Clone) -> None:
    clone.save(1)
    clone.refresh()
    (found,) = versions(clone.index, A)
    assert lineage(clone.index, found.record, Direction.UP).nodes[0].label == "a@local.1"


def test_times_are_not_taken_for_zones(clone: Clone) -> None:
    clone.seconds = timedelta(days=20_000).total_seconds()
    clone.save(1)
    clone.refresh()
    assert [known.modified_s for known in clone.index.waiting().values()] == [
        timedelta(days=20_000).total_seconds()
    ]
