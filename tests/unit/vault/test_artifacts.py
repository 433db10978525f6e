"""Aliases: one log for all spellings of one, and the first spelling counts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest

from thence.errors import AlreadyExists, InvalidInput
from thence.model.ids import Digest
from thence.model.names import Alias, ArtifactName
from thence.model.records import AliasMove
from thence.store.memory import MemoryStore
from thence.vault.artifacts import Artifacts
from thence.vault.layout import make_project
from thence.vault.logs import alias_log
from thence.vault.vault import Vault

DATA = ArtifactName("data")
BEST = Alias("best")
ONE, TWO = Digest.of(b"1"), Digest.of(b"2")
Opened = Callable[[], Artifacts]


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    make_project(store, project_id="p", now=datetime(2026, 11, 23, tzinfo=UTC))
    return store


@pytest.fixture
def opened(store: MemoryStore, tmp_path: Path) -> Opened:
    return lambda: Artifacts(Vault(store, tmp_path / "cache"), author="ada")


def moves(store: MemoryStore, cache: Path) -> list[AliasMove]:
    found = [entry.record for entry in Vault(store, cache).logs.records(alias_log(DATA, BEST))]
    assert all(isinstance(record, AliasMove) for record in found)
    return [record for record in found if isinstance(record, AliasMove)]


def test_a_move_says_what_it_replaced(opened: Opened, store: MemoryStore, tmp_path: Path) -> None:
    artifacts = opened()
    for version in (ONE, TWO, None, TWO):
        assert artifacts.move_alias(DATA, BEST, version) is not None
    assert [(move.previous, move.version) for move in moves(store, tmp_path)] == [
        (None, ONE),
        (ONE, TWO),
        (TWO, None),
        (None, TWO),
    ]


def test_a_move_to_where_it_points_is_none(opened: Opened, store: MemoryStore) -> None:
    artifacts = opened()
    artifacts.move_alias(DATA, BEST, ONE)
    written = len(list(store.list()))
    assert artifacts.move_alias(DATA, BEST, ONE) is None
    assert len(list(store.list())) == written  # no hint either


def test_what_never_was_cannot_be_removed(opened: Opened) -> None:
    with pytest.raises(InvalidInput):
        opened().move_alias(DATA, BEST, None)


def test_another_spelling_is_refused(opened: Opened) -> None:
    artifacts = opened()
    artifacts.move_alias(DATA, Alias("Best"), ONE)
    for version in (ONE, TWO, None):
        with pytest.raises(AlreadyExists) as caught:
            artifacts.move_alias(DATA, BEST, version)
        assert "Use Best" in caught.value.hint


def test_of_two_spellings_at_once_one_counts(
    opened: Opened, store: MemoryStore, tmp_path: Path
) -> None:
    ready = Barrier(8)

    def move(number: int) -> bool:
        artifacts = opened()
        ready.wait(10)
        try:
            artifacts.move_alias(
                DATA, Alias("best" if number % 2 else "BEST"), Digest.of(bytes([number]))
            )
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(move, range(8)))
    found = moves(store, tmp_path)
    assert len(found) == sum(done)
    assert len({move.alias for move in found}) == 1
    # Each replaced what was really there.
    assert [move.previous for move in found] == [None, *[move.version for move in found[:-1]]]


def test_of_two_equal_moves_at_once_one_is_made(
    opened: Opened, store: MemoryStore, tmp_path: Path
) -> None:
    ready = Barrier(8)

    def move(number: int) -> bool:
        artifacts = opened()
        ready.wait(10)
        return artifacts.move_alias(DATA, BEST, ONE) is not None

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(move, range(8)))
    assert sum(done) == len(moves(store, tmp_path)) == 1
