"""A run is published while it goes on: whole, once, without secrets, and never in its way."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from patience import PATIENCE_S, until
from thence.errors import Denied, StorageError
from thence.execution import live
from thence.execution.capture.secrets import Redactor
from thence.execution.publishing import Publisher
from thence.model.ids import RunId
from thence.model.records import Host, RunOpened, decode_entry, encode_entry
from thence.store.base import Store
from thence.store.memory import MemoryStore
from thence.testing.faulty import WRITES, Fault, FaultyStore, Rule
from thence.vault.live_segments import Segments
from thence.vault.logs import Appended

RUN = RunId("0123456789abcdef0123")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOST = Host(name="box", system="Linux", release="6.1", machine="x86_64")
OPENED = RunOpened(
    run=RUN, command=("x",), root="/r", cwd=".", started=NOW, author="ada", host=HOST
)


def entry() -> Appended:
    data = encode_entry("ab" * 16, NOW, "ada", OPENED)
    return Appended(f"refs/runs/{RUN}", 1, decode_entry(data), data)


@contextmanager
def publishing(
    store: Store,
    spool: Path,
    *,
    open_run: Callable[[], Appended] = entry,
    redactor: Redactor | None = None,
) -> Iterator[Publisher]:
    publisher = Publisher(
        Segments(store),
        RUN,
        spool,
        open_run,
        redactor=redactor or Redactor(b"key"),
        clock=lambda: NOW,
        every_s=0.02,
    )
    publisher.start()
    try:
        yield publisher
    finally:
        publisher.stop()


def published(store: Store) -> bytes:
    """What all segments hold, those of each writer in order."""
    return b"".join(piece.lines for piece in Segments(store).news(RUN, {}))


def test_what_is_logged_is_published_as_it_is(tmp_path: Path) -> None:
    store = MemoryStore("m")
    tail = live.Tail(tmp_path, clock=lambda: NOW)
    with publishing(store, tmp_path) as publisher:
        assert publisher.wait_opened(PATIENCE_S) == entry()
        for step in range(50):
            tail.log({"loss": 1 / (step + 1), "optimizer": "adam"}, step=step)
            if step % 20 == 0:
                time.sleep(0.05)
        (path,) = tmp_path.glob("events-*.jsonl")
        until(lambda: published(store) == path.read_bytes(), "the last line")
        until(lambda: (p := Segments(store).pulse(RUN)) and p.points == 50, "the pulse")
        assert publisher.is_reaching
    pulse = Segments(store).pulse(RUN)
    assert pulse is not None
    assert (pulse.metrics, pulse.params) == ({"loss": 1 / 50}, {"optimizer": "adam"})
    numbers = [segment.number for segment in Segments(store).of(RUN)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_line_that_is_not_whole_waits_for_its_end(tmp_path: Path) -> None:
    store = MemoryStore("m")
    path = tmp_path / "events-1-aa.jsonl"
    first, second = b'{"name":"a","type":"metric","value":1.0}\n', b'{"half"'
    path.write_bytes(first + second)
    with publishing(store, tmp_path):
        until(lambda: published(store), "the first line")
        assert published(store) == first
        with path.open("ab") as file:
            file.write(b":1}\n")
        until(lambda: published(store) == first + second + b":1}\n", "the second line")


@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.LOSE_RESPONSE])
def test_a_network_that_comes_and_goes_loses_and_doubles_nothing(
    tmp_path: Path, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    memory = MemoryStore("m")
    store = FaultyStore(memory, Rule(fault=fault, operations=WRITES, chance=0.6), seed=3)
    tail = live.Tail(tmp_path, clock=lambda: NOW)
    with publishing(store, tmp_path) as publisher:
        for step in itertools.count():
            tail.log({"loss": float(step)}, step=step)
            if step >= 30 and len(store.injected) > 3:
                break
            time.sleep(0.01)
        (path,) = tmp_path.glob("events-*.jsonl")
        until(lambda: published(memory) == path.read_bytes(), "the last line")
        assert publisher.opened is not None
    said = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "not visible to others for now" in said[0].getMessage()


def test_a_home_that_cannot_be_reached_is_found_when_it_is_back(tmp_path: Path) -> None:
    tries: list[int] = []

    def open_run() -> Appended:
        tries.append(1)
        if len(tries) < 4:
            raise StorageError("no network", transient=True)
        return entry()

    with publishing(MemoryStore("m"), tmp_path, open_run=open_run) as publisher:
        assert publisher.wait_opened(PATIENCE_S) is None
        until(lambda: publisher.is_reaching, "the network")
        assert publisher.opened == entry()
    assert len(tries) == 4


def test_waiting_for_the_home_has_an_end(tmp_path: Path) -> None:
    answers = threading.Event()

    def open_run() -> Appended:
        answers.wait(PATIENCE_S)
        return entry()

    with publishing(MemoryStore("m"), tmp_path, open_run=open_run) as publisher:
        assert publisher.wait_opened(0.05) is None
        answers.set()


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (Denied("cannot write", why="The session token has expired, or is not valid."), True),
        (Denied("cannot write", why="The bucket may only be read."), False),
        (StorageError("no such bucket"), False),
    ],
)
def test_only_what_will_pass_is_waited_for(
    tmp_path: Path, error: StorageError | Denied, passes: bool
) -> None:
    def open_run() -> Appended:
        raise error

    with publishing(MemoryStore("m"), tmp_path, open_run=open_run) as publisher:
        if passes:
            assert publisher.wait_opened(PATIENCE_S) is None
        else:
            with pytest.raises(type(error), match=error.what):
                publisher.wait_opened(PATIENCE_S)


def test_a_secret_that_is_learnt_late_is_not_published(tmp_path: Path) -> None:
    store = MemoryStore("m")
    redactor = Redactor(b"key")
    redactor.learn("token", "s3cr3t-value-4711", "conf.yaml")
    (tmp_path / "events-1-aa.jsonl").write_bytes(
        b'{"name":"note","type":"param","value":"uses s3cr3t-value-4711 here"}\n'
        b'{"name":"s3cr3t-value-4711","type":"metric","value":2.0}\n'
        b'{"name":"auc","type":"metric","value":1.0}\n'
    )
    with publishing(store, tmp_path, redactor=redactor):
        until(lambda: b"auc" in published(store), "the last line")
    found = published(store)
    assert b"s3cr3t" not in b"".join(store.get(info.key) for info in store.list())
    note, metric = live.parse_lines(found)
    assert isinstance(note, live.LoggedParam)
    assert note.value.startswith("uses <secret:")
    assert isinstance(metric, live.LoggedMetric)


def test_a_bug_of_ours_ends_the_publishing_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Segments, "publish", fail)
    live.Tail(tmp_path).log({"a": 1})
    with publishing(MemoryStore("m"), tmp_path) as publisher:
        until(lambda: not publisher._thread.is_alive(), "the end")
        assert not publisher.is_reaching
    assert "a bug" in caplog.text


@pytest.mark.slow
def test_stopping_does_not_wait_for_a_store_that_hangs(tmp_path: Path) -> None:
    hangs, answers = threading.Event(), threading.Event()

    def hang(_: float) -> None:
        hangs.set()
        answers.wait(PATIENCE_S)

    store = FaultyStore(
        MemoryStore("m"),
        Rule(fault=Fault.DELAY, operations=frozenset({"create"}), delay_s=1),
        sleep=hang,
    )
    live.Tail(tmp_path).log({"a": 1})
    with publishing(store, tmp_path) as publisher:
        assert hangs.wait(PATIENCE_S)
        publisher.stop()
        assert publisher._thread.is_alive()  # still in that call
        answers.set()
