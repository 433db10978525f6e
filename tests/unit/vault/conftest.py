"""What the tests of the vault share."""

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thence.store.base import Store
from thence.store.memory import MemoryStore
from thence.vault.pack import BlockKind, entries_of, parse_pack_key, read_directory
from thence.vault.vault import Vault

NewVault = Callable[..., Vault]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def new_vault(store: MemoryStore, tmp_path: Path) -> NewVault:
    """Each call is a new process: a vault of its own, with an empty cache."""
    numbers = itertools.count()

    def make(on: Store | None = None, **options: Any) -> Vault:
        return Vault(on or store, tmp_path / f"cache-{next(numbers)}", **options)

    return make


@pytest.fixture
def vault(new_vault: NewVault) -> Vault:
    return new_vault()


@pytest.fixture
def visible(store: MemoryStore) -> Callable[[], set[bytes]]:
    """The contents that the packs of the store claim to hold, counted without the vault."""

    def look() -> set[bytes]:
        found = set()
        for info in store.list("packs/"):
            pack = parse_pack_key(info.key)
            assert pack is not None
            for entry in entries_of(read_directory(store, pack)):
                if entry.kind in {BlockKind.WHOLE, BlockKind.RECIPE}:
                    found.add(entry.id)
        return found

    return look


@pytest.fixture
def random_bytes() -> Callable[[int], bytes]:
    """Bytes that cannot be compressed, the same in every run of the tests."""
    return random.Random(20261123).randbytes
