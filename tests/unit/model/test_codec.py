"""Canonical JSON: one value, one sequence of bytes."""

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from thence.errors import DataDamaged, InvalidInput
from thence.model import codec
from thence.model.ids import Digest, RunId
from thence.model.names import Alias, ArtifactName
from thence.model.records import AliasMove, Kind, Tombstone

GOLDEN = Path(__file__).parents[2] / "golden" / "canonical.json"
VECTORS = json.loads(GOLDEN.read_text("utf-8"))["vectors"]
NAMES = {
    "UTC": UTC,
    "Alias": Alias,
    "AliasMove": AliasMove,
    "ArtifactName": ArtifactName,
    "Digest": Digest,
    "Kind": Kind,
    "Tombstone": Tombstone,
    "date": date,
    "datetime": datetime,
    "timedelta": timedelta,
    "timezone": timezone,
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["what"])
def test_golden_vectors(vector: dict[str, str]) -> None:
    assert codec.encode(eval(vector["python"], NAMES)) == vector["json"].encode()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["what"])
def test_golden_vectors_are_stable(vector: dict[str, str]) -> None:
    """Reading and writing again gives the same bytes: they are the only spelling."""
    plain = codec.from_plain(json.loads(vector["json"]))
    assert codec.encode(plain) == vector["json"].encode()


def test_the_sign_of_zero_and_not_a_number_come_back() -> None:
    back = codec.decode(codec.encode([-0.0, math.nan, math.inf, -math.inf]), list[float])
    assert math.copysign(1, back[0]) == -1
    assert math.isnan(back[1])
    assert back[2:] == [math.inf, -math.inf]


def test_integers_stay_integers_and_floats_floats() -> None:
    back = codec.decode(codec.encode([1, 1.0, 2**70, 1e22]), list[Any])
    assert [type(item) for item in back] == [int, float, int, float]
    assert back == [1, 1.0, 2**70, 1e22]


class Unknown:
    pass


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": {"b": Unknown()}}, ".a.b"),
        ([1, {2}], "[1]"),
        ({"a": b"x"}, ".a"),
        (1j, "the top"),
        ({1: 2}, "the top"),
        ({"a": {None: 2}}, ".a"),
        ({"a": "\ud800"}, ".a"),
        ({"\udcff": 1}, "the top"),
        ("\udce9", "the top"),
        (datetime(2026, 1, 1), "without a zone"),  # noqa: DTZ001 - this is what is refused
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "out of range"),
        ([10**5000], "[0]"),
        (nested(100_000), "too deeply"),
    ],
)
def test_what_json_cannot_hold_is_refused_and_the_place_named(value: object, where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        codec.encode(value)
    assert where in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b'{"$x":1}',
        b'{"a":{"$f":"nan"}}',
        b'{"$f":[]}',
        b'{"$f":{"a":1}}',
        b'{"$i":"1.5"}',
        b'{"$i":5}',
        b'{"$i":"' + b"9" * 5000 + b'"}',
        b'{"$i":"\xd9\xa3"}',
        b'{"$f":"NaN","a":1}',
        b'{"a":1}}',
        b'{"a":{"$$":1,"$":2}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_damaged_json_is_called_that(data: bytes) -> None:
    with pytest.raises(DataDamaged):
        codec.decode(data, dict[str, Any])


class Small(msgspec.Struct, frozen=True, kw_only=True):
    digest: Digest
    run: RunId | None = None
    counts: dict[str, int] = {}
    at: datetime | None = None


def test_fields_that_the_shape_has_not_are_passed_over() -> None:
    data = codec.encode({"digest": Digest.of(b""), "new": {"$x": [1]}, "run": None})
    assert codec.decode(data, Small) == Small(digest=Digest.of(b""))


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"digest": 5},
        {"digest": "sha256:ab"},
        {"digest": str(Digest.of(b"")), "run": "xyz"},
        {"digest": str(Digest.of(b"")), "counts": {"a": "b"}},
        {"digest": str(Digest.of(b"")), "at": "yesterday"},
        [],
        None,
    ],
)
def test_another_shape_is_damage(plain: object) -> None:
    with pytest.raises(DataDamaged):
        codec.decode(codec.encode(plain), Small)


def test_a_time_comes_back_in_utc() -> None:
    at = datetime(2026, 11, 23, 12, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5.5)))
    back = codec.decode(codec.encode(Small(digest=Digest.of(b""), at=at)), Small)
    assert back.at == at
    assert back.at is not None
    assert back.at.utcoffset() == timedelta()


def test_a_hundred_levels_are_read_and_written_and_no_more() -> None:
    """A fixed number: otherwise what one program could write another could not read."""
    deepest = nested(100)
    assert codec.decode(codec.encode(deepest), list[Any]) == deepest
    with pytest.raises(InvalidInput):
        codec.encode([deepest])
    with pytest.raises(DataDamaged):
        codec.decode(b"[" * 102 + b"]" * 102, list[Any])


class Pair(NamedTuple):
    left: int
    right: float


def test_subclasses_are_written_as_what_they_are() -> None:
    class Number(float):
        pass

    assert codec.encode([Pair(1, 2.0), Number(0.5), RunId("0" * 20)]) == (
        b'[[1,2.0],0.5,"00000000000000000000"]'
    )


def test_numbers_of_numpy() -> None:
    import numpy as np

    assert codec.encode([np.float64(0.1)]) == b"[0.1]"
    with pytest.raises(InvalidInput):
        codec.encode([np.int64(1)])
