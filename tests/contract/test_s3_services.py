"""What real services do with large objects, with identities and with missing buckets."""

import random
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seaweed import OWNER, READER, STRANGER, WRITER, Identity, S3Server
from thence.errors import AlreadyExists, Denied, StorageError
from thence.store.base import Store
from thence.store.open import connect, open_store

_MIB = 1 << 20


@pytest.fixture(params=["seaweed", "moto_s3"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    found: S3Server = request.getfixturevalue(request.param)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.mark.slow
def test_large_objects_go_up_in_parts_and_stay_whole(server: S3Server, tmp_path: Path) -> None:
    prefix = f"large/{secrets.token_hex(8)}"
    store = connect(server.url("thence", prefix))
    part = random.Random(1).randbytes(8 * _MIB)
    bodies = [[part] * 9 + [bytes([n]) * 100] for n in range(3)]
    together = threading.Barrier(3)

    def take_part(number: int) -> bool:
        path = tmp_path / str(number)
        path.write_bytes(b"".join(bodies[number]))
        together.wait()
        try:
            if number:
                store.create_from_file("a/large", path)
            else:
                store.create("a/large", bodies[0])
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(3) as threads:
        won = list(threads.map(take_part, range(3)))
    # SeaweedFS looks at the precondition and then puts the parts together, so two may win at times.
    # What is so large is a pack, and no two of them have one key; entries go up in one request.
    there = store.get("a/large")
    assert [
        body for body, first in zip(bodies, won, strict=True) if first and b"".join(body) == there
    ]
    with pytest.raises(AlreadyExists):
        store.create("a/large", bodies[0])
    store.replace("a/large", bodies[2])
    assert store.get_range("a/large", -100, 100) == bytes([2]) * 100
    # Nothing is left of the parts, also not where thence does not look.
    assert [info.key for info in store.list()] == ["a/large"]
    listed = server.client().list_objects_v2(Bucket="thence", Prefix=prefix + "/")
    assert [found["Key"] for found in listed["Contents"]] == [f"{prefix}/a/large"]


def test_a_bucket_that_is_missing(server: S3Server) -> None:
    reads: list[Callable[[Store], object]] = [
        lambda store: store.get("a"),
        lambda store: store.get_range("a", 0, 1),
        lambda store: store.head("a"),
        lambda store: list(store.list()),
        lambda store: store.delete("a"),
    ]
    for read in reads:
        store = open_store(server.url(f"missing-{secrets.token_hex(4)}"))
        with pytest.raises(StorageError, match="there is no bucket 'missing-"):
            read(store)


# --- who may do what: moto asks nobody


def _as(who: Identity, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, value in who.environment.items():
        monkeypatch.setenv(name, value)
    return connect(server.url("thence", "rights"))


def test_who_may_only_read(seaweed: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    _as(OWNER, seaweed, monkeypatch).replace("a", [b"1"])
    store = _as(READER, seaweed, monkeypatch)
    assert store.get("a") == b"1"
    assert store.head("b") is None
    assert [info.key for info in store.list()] == ["a"]
    writes: list[Callable[[], None]] = [
        lambda: store.create("b", [b"2"]),
        lambda: store.replace("a", [b"2"]),
        lambda: store.delete("a"),
    ]
    for write in writes:
        with pytest.raises(Denied, match="no right to write") as caught:
            write()
        assert "s3:PutObject" in caught.value.hint
    assert store.get("a") == b"1"


@pytest.mark.parametrize(
    ("who", "says"),
    [
        (STRANGER, "no right to read"),
        (Identity("thence-nobody", OWNER.secret), "does not know this access key"),
        (Identity(OWNER.key, WRITER.secret), "does not belong to the access key"),
    ],
    ids=["no rights", "wrong key", "wrong secret"],
)
def test_who_may_not_even_read(
    seaweed: S3Server, monkeypatch: pytest.MonkeyPatch, who: Identity, says: str
) -> None:
    store = _as(who, seaweed, monkeypatch)
    for read in (lambda: store.get("a"), lambda: store.head("a"), lambda: list(store.list())):
        with pytest.raises(Denied, match=says) as caught:
            read()
        assert who.secret not in f"{caught.value} {caught.value!r}"
        assert "AWS_ACCESS_KEY_ID" in caught.value.hint
