"""The rows of results: how they are hashed, in how much memory, and what is not looked into."""

import datetime
import decimal
import hashlib
import json
import sqlite3
import tracemalloc
import uuid
from json import encoder
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thence.execution.inside import rows as module
from thence.execution.inside.rows import HASHED_AT_MOST, Rows, encoded
from thence.execution.inside.showing import clean, shown

VALUES = st.one_of(
    st.integers(), st.text(), st.none(), st.booleans(), st.floats(allow_nan=False), st.binary()
)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_rows_have_one_form() -> None:
    row = (
        *(1, 2.5, None, "ü", True, [1, 2], {"a": 1}, decimal.Decimal("1.50")),
        *(datetime.date(2026, 1, 2), uuid.UUID(int=1)),
    )
    text = (
        rb'[[1,2.5,null,"\u00fc",true,[1,2],{"a":1},{"decimal":"1.50"},{"time":"2026-01-02"},'
        rb'{"UUID":"00000000-0000-0000-0000-000000000001"}]]'
    )
    assert encoded([row]) == text
    data = f'[[{{"bytes":"sha256:{sha256(b"x")}"}}]]'.encode()
    assert encoded([(b"x",)]) == encoded([(bytearray(b"x"),)]) == encoded([[memoryview(b"x")]])
    assert encoded([(b"x",)]) == data
    long = "ü" * 100_001
    assert encoded([(long,)]) == f'[[{{"text":"sha256:{sha256(long.encode())}"}}]]'.encode()
    assert encoded([{"a": 1}]) == encoded([[1]]) == encoded([(1,)]) == encoded([1]) == b"[[1]]"


def test_what_is_no_whole_character_is_hashed_too() -> None:
    assert encoded([("\udc80",)]) == b'[["\\udc80"]]'
    assert encoded([("\udc80" * 2000,)]) == encoded([("\udc80" * 2000,)])


@given(st.lists(st.lists(VALUES, max_size=4), max_size=600))
def test_rows_are_hashed_the_same_however_they_come(rows: list[list[Any]]) -> None:
    singly, lists, together = Rows(), Rows(), Rows()
    for row in rows:
        singly.add(tuple(row))
        lists.add(row)
    together.extend([tuple(row) for row in rows])
    expected = (sha256(encoded(rows)), len(rows))
    assert singly.digest() == lists.digest() == together.digest() == expected


def test_without_the_part_in_c_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    row = (1, -2.5, float("inf"), "ü" * 2000, "a", b"x", None, {"a": [True]})
    with monkeypatch.context() as patched:
        patched.setattr(encoder, "c_make_encoder", None)
        other = module._encoder()
    assert other([row]) == module._encode([row])


def test_json_as_anybody_writes_it_has_the_digest() -> None:
    rows = [(number, f"n{number}", number / 7) for number in range(1000)]
    found = Rows()
    for row in rows:
        found.add(row)
    text = json.dumps(rows, separators=(",", ":"))
    assert found.digest() == (sha256(text.encode()), 1000)


class Point(NamedTuple):
    x: int
    y: int


class Own:
    """Of a program."""

    asked = 0

    def __str__(self) -> str:
        Own.asked += 1
        return "own"

    __repr__ = __str__

    def __getattribute__(self, name: str) -> Any:
        Own.asked += 1
        raise AttributeError(name)


class OwnList(list[int]):
    def __iter__(self) -> Any:
        raise AssertionError("of a program")


def test_code_of_the_program_is_not_called() -> None:
    Own.asked = 0
    for row in [(Own(),), Own(), ([Own()],), ({"a": Own()},), ({Own(): 1},)]:
        one, several = Rows(), Rows()
        one.add((1,))
        one.add(row)
        several.extend([(1,), row])
        for found in (one, several):
            assert found.digest() == (None, 0)
            found.add((2,))
            assert found.count == 3
    assert Own.asked == 0
    assert encoded([OwnList([1])]) == encoded([Point(1, 2)[:1]]) == b"[[1]]"
    assert shown((Own(), {"a": [Own()]})) == (("", "<Own>"), ("", "{'a': [<Own>]}"))
    assert shown(Own()) == "<Own>"
    assert Own.asked == 0


def test_rows_of_sqlite_are_their_values() -> None:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    found = Rows()
    for row in connection.execute("select 1 as a, 'b' as c"):
        found.add(row)
    connection.close()
    assert found.digest() == (sha256(b'[[1,"b"]]'), 1)


def test_what_comes_after_many_rows_is_counted() -> None:
    singly, together = Rows(), Rows()
    for number in range(HASHED_AT_MOST + 10):
        singly.add((number,))
    together.extend([(number,) for number in range(HASHED_AT_MOST)], uncounted=10)
    together.extend([(5,)])
    assert singly.digest() == together.digest()
    assert singly.digest()[1] == HASHED_AT_MOST
    assert (singly.count, together.count) == (HASHED_AT_MOST + 10, HASHED_AT_MOST + 11)


@pytest.mark.parametrize("wrapped", [bytes, memoryview, lambda data: data.decode()])
def test_great_rows_do_not_wait_for_others(wrapped: Any) -> None:
    found = Rows()
    data = b"x" * 2_000_000
    tracemalloc.start()
    for _ in range(30):
        found.add((1, wrapped(bytes(bytearray(data)))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12_000_000
    assert found.digest()[1] == 30


def test_parameters_of_any_size_are_shown_in_little_memory() -> None:
    great = ["x" * 30_000_000, b"x" * 30_000_000, 1 << 1_000_000, [["x" * 1_000_000] * 90] * 90]
    tracemalloc.start()
    for one in great:
        assert len(str(shown((one,)))) <= 10_000
    assert len(str(shown({"a" * 1_000_000: great}))) <= 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


def test_half_characters_are_shown() -> None:
    assert str(shown(("\udc80",))).isascii()
    assert shown({"\udc80": 1}) == (("\\udc80", "1"),)
    assert clean("a\udc80") == "a\\udc80"
    assert clean("ü") == "ü"
    circle: list[Any] = []
    circle.append(circle)
    assert "<list>" in str(shown(circle))
