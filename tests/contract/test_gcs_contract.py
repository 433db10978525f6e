"""Google Cloud Storage keeps every promise of `Store`, as far as its emulator can tell."""

import secrets

import pytest

from fake_gcs import FakeGcs
from thence.store.base import Store
from thence.store.open import connect, open_store
from thence.testing.store import StoreContract


class TestGcsStore(StoreContract):
    many = 2_500  # more than two pages of a listing

    @pytest.fixture
    def store(self, fake_gcs: FakeGcs) -> Store:
        bucket = f"contract-{secrets.token_hex(6)}"
        fake_gcs.make_bucket(bucket)
        return connect(fake_gcs.url(bucket, "some/prefix"))

    def url_for_processes(self, store: Store) -> str:
        return store.url

    @pytest.mark.slow
    def test_thousands_of_keys(self, store: Store) -> None:
        super().test_thousands_of_keys(store)

    def test_other_prefixes_of_the_bucket_are_not_seen(
        self, store: Store, fake_gcs: FakeGcs
    ) -> None:
        """Two projects may share a bucket."""
        bucket = store.url.removeprefix("gs://").partition("/")[0]
        beside = open_store(fake_gcs.url(bucket, "some/prefix-2"))
        whole = open_store(fake_gcs.url(bucket))
        store.create("a", [b"1"])
        beside.create("a", [b"2"])
        assert [info.key for info in store.list()] == ["a"]
        assert [info.key for info in whole.list()] == ["some/prefix-2/a", "some/prefix/a"]


@pytest.mark.slow
class TestGcsStoreInAWholeBucket(StoreContract):
    """No prefix."""

    many = 200
    examples = 5

    @pytest.fixture
    def store(self, fake_gcs: FakeGcs) -> Store:
        bucket = f"contract-{secrets.token_hex(6)}"
        fake_gcs.make_bucket(bucket)
        return connect(fake_gcs.url(bucket))
