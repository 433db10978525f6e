"""Azure Blob Storage keeps every promise of `Store`, as far as its emulator can tell."""

import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from azurite import Azurite
from thence.errors import AlreadyExists
from thence.store.base import Store
from thence.store.open import connect, open_store
from thence.testing.store import StoreContract

_MIB = 1 << 20


@pytest.fixture
def container(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty one, with the credentials where people have them."""
    for name, value in azurite.environment.items():
        monkeypatch.setenv(name, value)
    name = f"contract-{secrets.token_hex(6)}"
    azurite.make_container(name)
    return name


class TestAzureStore(StoreContract):
    many = 1_200  # more than a page of a listing

    @pytest.fixture
    def store(self, azurite: Azurite, container: str) -> Store:
        return connect(azurite.url(container, "some/prefix"))

    def url_for_processes(self, store: Store) -> str:
        return store.url

    @pytest.mark.slow
    def test_thousands_of_keys(self, store: Store) -> None:
        super().test_thousands_of_keys(store)

    def test_of_racing_large_uploads_one_wins(self, store: Store) -> None:
        """Also of what other services take in parts only."""

        def take_part(writer: int) -> bool:
            try:
                store.create("large", [bytes([writer]) * (65 * _MIB)])
            except AlreadyExists:
                return False
            return True

        with ThreadPoolExecutor(3) as threads:
            won = list(threads.map(take_part, range(3)))
        assert won.count(True) == 1
        assert store.get("large") == bytes([won.index(True)]) * (65 * _MIB)

    def test_other_prefixes_of_the_container_are_not_seen(
        self, store: Store, azurite: Azurite, container: str
    ) -> None:
        """Two projects may share a container."""
        beside = open_store(azurite.url(container, "some/prefix-2"))
        whole = open_store(azurite.url(container))
        store.create("a", [b"1"])
        beside.create("a", [b"2"])
        assert [info.key for info in store.list()] == ["a"]
        assert [info.key for info in whole.list()] == ["some/prefix-2/a", "some/prefix/a"]


@pytest.mark.slow
class TestAzureStoreInAWholeContainer(StoreContract):
    """No prefix."""

    many = 200
    examples = 5

    @pytest.fixture
    def store(self, azurite: Azurite, container: str) -> Store:
        return connect(azurite.url(container))
