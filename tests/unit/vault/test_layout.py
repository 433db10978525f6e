"""What says that a store holds a project."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from thence.errors import AlreadyExists, DataDamaged, FormatTooNew, NotFound, StorageError
from thence.store.memory import MemoryStore
from thence.store.wrap import Retry, Trace
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault.layout import FORMAT, make_project, read_project

AT = datetime(2026, 11, 23, 10, 0, 0, 5, tzinfo=UTC)


def test_a_project_is_made_and_read(store: MemoryStore) -> None:
    made = make_project(store, project_id="ab" * 16, now=AT)
    assert read_project(store) == made
    assert (made.format, made.id, made.created) == (FORMAT, "ab" * 16, AT)


def test_the_bytes_of_project_json_are_pinned(store: MemoryStore) -> None:
    make_project(store, project_id="ab", now=AT)
    assert store.get("project.json") == (
        b'{"chunking":{"algorithm":"fastcdc-2020","average":65536,"maximum":262144,'
        b'"minimum":16384,"normalization":1},"created":"2026-11-23T10:00:00.000005Z",'
        b'"format":"1-draft","id":"ab"}'
    )


def test_there_is_no_project(store: MemoryStore) -> None:
    with pytest.raises(NotFound) as caught:
        read_project(store)
    assert "thence init" in caught.value.hint


def test_a_second_project_is_refused(store: MemoryStore) -> None:
    first = make_project(store, project_id="1", now=AT)
    with pytest.raises(AlreadyExists):
        make_project(store, project_id="2", now=AT)
    assert read_project(store) == first


def test_of_two_inits_at_once_one_wins(store: MemoryStore) -> None:
    together = threading.Barrier(8)

    def work(number: int) -> str | None:
        together.wait()
        try:
            return make_project(store, project_id=str(number), now=AT).id
        except AlreadyExists:
            return None

    with ThreadPoolExecutor(8) as threads:
        won = [one for one in threads.map(work, range(8)) if one is not None]
    assert won == [read_project(store).id]


@pytest.mark.parametrize("fault", [Fault.REPEAT, Fault.LOSE_RESPONSE])
def test_an_init_whose_answer_was_lost_succeeds(store: MemoryStore, fault: Fault) -> None:
    rule = Rule(fault=fault, operations=frozenset({"create"}), on=frozenset({1}))
    made = make_project(
        Retry(FaultyStore(store, rule), sleep=lambda _: None), project_id="1", now=AT
    )
    assert read_project(store) == made


@pytest.mark.parametrize("data", [b'{"format":"2"}', b'{"format":"1","id":5}', b'{"format":"x"}'])
def test_another_format_is_said_whatever_its_shape(store: MemoryStore, data: bytes) -> None:
    store.create("project.json", [data])
    with pytest.raises(FormatTooNew):
        read_project(store)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b'{"format":5}', b'{"format":"1-draft"}', b"{" * 9999]
)
def test_a_damaged_project_json(store: MemoryStore, data: bytes) -> None:
    store.create("project.json", [data])
    with pytest.raises(DataDamaged) as caught:
        read_project(store)
    assert caught.value.about == "project.json"


def test_an_unknown_feature_is_refused(store: MemoryStore) -> None:
    make_project(store, project_id="1", now=AT)
    store.create("features/0000000001", [b'{"feature":"encryption"}'])
    with pytest.raises(FormatTooNew) as caught:
        read_project(store)
    assert "features/0000000001" in caught.value.why


def test_fields_of_a_newer_version_are_passed_over(store: MemoryStore) -> None:
    make_project(store, project_id="1", now=AT)
    data = store.get("project.json").replace(b'"id"', b'"hello":[1],"id"')
    store.replace("project.json", [data])
    assert read_project(store).id == "1"


def test_a_store_that_fails_is_no_empty_store(store: MemoryStore) -> None:
    make_project(store, project_id="1", now=AT)
    with pytest.raises(StorageError):
        read_project(FaultyStore(store, Rule(fault=Fault.FAIL_BEFORE)))


class Far(Trace):
    """Counts what is asked, and says that it is a bucket."""

    url = "s3://bucket/project"


def test_a_connection_to_a_bucket_asks_once(store: MemoryStore) -> None:
    made = make_project(store, project_id="p", now=datetime(2026, 1, 1, tzinfo=UTC))
    connection = Far(store)
    assert read_project(connection) == read_project(connection) == made
    assert {name: one.calls for name, one in connection.counters.items()} == {"get": 1, "list": 1}
    another = Far(store)
    assert read_project(another) == made
    assert another.counters["get"].calls == 1
