"""Identifiers parse what they print and nothing else."""

import hashlib
import pickle

import pytest

from thence.errors import InvalidInput
from thence.model.ids import Digest, RunId

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_digest_is_what_sha256sum_prints() -> None:
    digest = Digest.of(b"")
    assert digest.hex == EMPTY == hashlib.sha256().hexdigest()
    assert str(digest) == f"sha256:{EMPTY}"
    assert digest.short == "sha256:e3b0c44298fc"
    assert repr(digest) == "Digest(sha256:e3b0c44298fc)"
    assert Digest.of(memoryview(b"abc")) == Digest.of(bytearray(b"abc")) == Digest.of(b"abc")


def test_a_digest_parses_what_it_prints() -> None:
    digest = Digest.of(b"x")
    assert Digest.parse(str(digest)) == Digest.from_hex(digest.hex) == digest
    assert pickle.loads(pickle.dumps(digest)) == digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        EMPTY,
        "sha256:",
        f"sha256:{EMPTY[:-1]}",
        f"sha256:{EMPTY}0",
        f"sha256:{EMPTY.upper()}",
        f"SHA256:{EMPTY}",
        f"md5:{EMPTY}",
        f"sha256:{EMPTY}\n",
        f" sha256:{EMPTY}",
        f"sha256:{EMPTY[:-1]}g",
        f"sha256:{EMPTY[:-1]}٣",
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Digest.parse(text)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_digest_has_32_bytes(size: int) -> None:
    with pytest.raises(InvalidInput):
        Digest(bytes(size))


def test_digests_sort_by_their_bytes_and_are_keys() -> None:
    low, high = Digest(bytes(32)), Digest(b"\1" + bytes(31))
    assert low < high
    assert high >= low
    assert sorted([high, low]) == [low, high]
    assert {low: 1}[Digest(bytes(32))] == 1
    assert low != "sha256:" + "0" * 64


def test_a_run_id_has_twenty_digits() -> None:
    run = RunId.from_bytes(bytes(range(16)))
    assert run == "00010203040506070809"
    assert run.short == "run:00010203"
    assert RunId(run) == run
    assert type(pickle.loads(pickle.dumps(run))) is RunId


@pytest.mark.parametrize("text", ["", "0" * 19, "0" * 21, "A" * 20, "g" * 20, "run:" + "0" * 16])
def test_what_is_no_run_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        RunId(text)


def test_too_little_entropy_makes_no_run_id() -> None:
    with pytest.raises(InvalidInput):
        RunId.from_bytes(b"123456789")
