"""The stores in S3 keep every promise of `Store`, with two services that share no code."""

import secrets

import pytest

from seaweed import S3Server
from thence.errors import StorageError
from thence.store.base import Store
from thence.store.open import connect, probe
from thence.testing.store import StoreContract


def _store(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return connect(server.url("thence", f"team-a/{secrets.token_hex(8)}"))


class TestSeaweedFS(StoreContract):
    """Checks signatures and checksums, and lists folder by folder."""

    many = 1_200
    examples = 10

    @pytest.fixture
    def store(self, seaweed: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
        return _store(seaweed, monkeypatch)

    def url_for_processes(self, store: Store) -> str | None:
        return store.url

    @pytest.mark.slow
    def test_thousands_of_keys(self, store: Store) -> None:
        super().test_thousands_of_keys(store)


@pytest.mark.slow
class TestMoto(StoreContract):
    """Lists by key, as Amazon does."""

    many = 1_200
    examples = 5

    @pytest.fixture
    def store(self, moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
        return _store(moto_s3, monkeypatch)

    def url_for_processes(self, store: Store) -> str | None:
        return store.url


@pytest.fixture
def careless(rclone_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    return _store(rclone_s3, monkeypatch)


def test_a_service_that_ignores_preconditions_is_refused(careless: Store) -> None:
    with pytest.raises(StorageError) as caught:
        probe(careless)
    assert "ignores preconditions" in caught.value.why
    assert "of 16 racing writers were told that they created the same object" in caught.value.why
    assert "docs/how-to/stores.md" in caught.value.hint
    # rclone may bring back what was deleted while it was still writing it.
    assert all(info.key.startswith("tmp-probe/") for info in careless.list())
