"""Any value comes back from its canonical bytes, and has only one spelling."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from thence.errors import DataDamaged
from thence.model import codec
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.model.records import Kind, Version, decode_entry, encode_entry

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
KEYS = st.one_of(TEXT, TEXT.map(lambda text: "$" + text), st.sampled_from(["$f", "$i", "$$f"]))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(2**53 - 3, 2**53 + 3),
    st.floats(allow_nan=False),
    TEXT,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=20,
)
MAPPINGS = st.dictionaries(KEYS, VALUES, max_size=5)


@given(MAPPINGS)
def test_a_value_comes_back(value: dict[str, Any]) -> None:
    data = codec.encode(value)
    back = codec.decode(data, dict[str, Any])
    assert back == value
    assert codec.encode(back) == data


@given(MAPPINGS)
def test_types_and_signs_come_back(value: dict[str, Any]) -> None:
    """1, 1.0 and True are equal in Python, and so are 0.0 and -0.0; their text is not."""
    back = codec.decode(codec.encode(value), dict[str, Any])
    assert _sorted(back) == _sorted(value)


def _sorted(value: Any) -> Any:
    """The value as text with the order of keys taken out of it."""
    if isinstance(value, dict):
        return sorted((key, _sorted(item)) for key, item in value.items())
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return repr(value)


@given(MAPPINGS, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any], random: Any) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert codec.encode({key: value[key] for key in keys}) == codec.encode(value)


@given(MAPPINGS)
def test_canonical_bytes_are_plain_json_for_others(value: dict[str, Any]) -> None:
    """Any JSON library reads them: UTF-8, no NaN, no number that a double cannot hold exactly."""

    def refuse(text: str) -> None:
        raise AssertionError(text)

    def whole(text: str) -> int:
        assert abs(int(text)) <= 2**53
        return int(text)

    json.loads(codec.encode(value).decode("utf-8"), parse_constant=refuse, parse_int=whole)


@given(MAPPINGS)
def test_the_members_of_an_object_are_its_bytes(value: dict[str, Any]) -> None:
    data = codec.encode(value)
    found = codec.members(data)
    assert {key: member.value for key, member in found.items()} == value
    assert {key: member.data for key, member in found.items()} == {
        key: codec.encode(item) for key, item in value.items()
    }
    assert codec.join({key: member.data for key, member in found.items()}) == data


@given(MAPPINGS, st.integers(0), st.binary(min_size=1, max_size=3))
def test_members_are_read_only_from_canonical_bytes(
    value: dict[str, Any], position: int, change: bytes
) -> None:
    """Whatever is read from bytes, those bytes are how it is written."""
    data = bytearray(codec.encode(value))
    position %= len(data)
    data[position : position + 1] = change
    try:
        found = codec.members(bytes(data))
    except DataDamaged:
        return
    assert codec.encode({key: member.value for key, member in found.items()}) == data


VERSIONS = st.builds(
    Version,
    artifact=st.from_regex(r"[a-zäß]{1,8}(/[a-zäß]{1,8}){0,2}", fullmatch=True).map(ArtifactName),
    kind=st.sampled_from(Kind),
    tree=st.binary(min_size=32, max_size=32).map(Digest),
    size=st.integers(0, 2**70),
    files=st.integers(0, 2**40),
    created=st.datetimes(timezones=st.just(UTC)),
    author=TEXT,
    note=st.none() | TEXT,
    tags=st.dictionaries(KEYS, TEXT, max_size=3),
    sources=st.lists(st.binary(min_size=32, max_size=32).map(Digest), max_size=3).map(tuple),
    metadata=MAPPINGS,
    metrics=st.dictionaries(KEYS, st.floats(allow_nan=False), max_size=3),
    card=st.none() | st.binary(min_size=32, max_size=32).map(Digest),
)


@given(VERSIONS, st.datetimes(timezones=st.just(UTC)), TEXT)
def test_a_version_comes_back_from_an_entry(version: Version, at: datetime, by: str) -> None:
    entry = decode_entry(encode_entry("e", at, by, version))
    assert entry.record == version
    assert (entry.at, entry.by) == (at, by)
    assert entry.digest == version.digest
