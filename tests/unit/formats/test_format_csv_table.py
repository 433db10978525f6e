from pathlib import Path
from typing import Any

import pytest

from thence.formats.base import CompareContext, Outcome, Tolerance
from thence.formats.csv_table import CSV
from thence.formats.registry import compare, load_file
from thence.model.records import Grade


def _compare(
    tmp_path: Path, one: str | bytes, other: str | bytes, name: str = "a.csv", **tolerance: Any
) -> Outcome:
    paths = tmp_path / "original", tmp_path / "reproduced"
    for path, text in zip(paths, (one, other), strict=True):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return CSV().compare(*paths, CompareContext(tolerance=Tolerance(**tolerance), name=name))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a,b\n1,x\n", 'a,b\r\n"1","x"\r\n'),
        ("a,b\n1,x\n", "a,b\n1,x"),
        ("a,b\n1,x\n", "\ufeffa,b\n1,x\n"),
        ("a\n0.5\n", "a\n5e-1\n"),
        ("a\n0.1\n", "a\n0.10000000000000001\n"),
        ("a\n1\n2.5\n", "a\n1.0\n2.5\n"),
        ("a\nnan\n", "a\nNaN\n"),
        ("a\ninf\n", "a\nInfinity\n"),
        ("1.5,2\n", "1.50,2\n"),
    ],
)
def test_the_same_table_written_differently(tmp_path: Path, one: str, other: str) -> None:
    assert _compare(tmp_path, one, other).grade is Grade.EQUIVALENT


@pytest.mark.parametrize(
    ("one", "other", "detail"),
    [
        ("a,b\n1,2\n3,4\n", "a,b\n1,2\n3,5\n", "row 2, column 'b': 4 -> 5"),
        ("a,b\n1,2\n", "b,a\n2,1\n", "order of columns: ['a', 'b'] -> ['b', 'a']"),
        ("a,b\n1,2\n", "a,c\n1,2\n", "column 2: 'b' -> 'c'"),
        ("a\n1\n", "a\n1\n2\n3\n", "rows: 2 more than the 1 they share"),
        ("a\n1\n2\n", "a\n1\n", "rows: 1 fewer than the 1 they share"),
        ("a\n1\n2\n", "a\n1.0\n2.0\n", "column 'a': type integer -> float"),
        ("a,b\n1,2\n", "a,b\n1\n", "row 1: 2 -> 1 cells"),
        ("a\nx\n", "a\ny\n", "row 1, column 'a': 'x' -> 'y'"),
        ("a;b\n1;2\n", "a,b\n1,2\n", "delimiter: ';' -> ','"),
        ("1,2\n", "1,3\n", "row 1, column 'column 2': 2 -> 3"),
        ("a\n1\n", "", "header: ['a'] -> nothing"),
    ],
)
def test_the_first_difference_is_told(tmp_path: Path, one: str, other: str, detail: str) -> None:
    assert _compare(tmp_path, one, other) == (Grade.DIFFERENT, "csv", detail)


def test_a_tolerance_applies_to_numbers_only(tmp_path: Path) -> None:
    one = "id,v\n007,1.0\n008,2\n"
    within = _compare(tmp_path, one, "id,v\n007,1.004\n008,2.001\n", absolute=0.01)
    assert within.grade is Grade.WITHIN_TOLERANCE
    assert "0.004 at row 1, column 'v': 1.0 -> 1.004" in within.detail
    assert _compare(tmp_path, one, "id,v\n7,1.0\n008,2\n", absolute=9).grade is Grade.DIFFERENT
    assert _compare(tmp_path, one, "id,v\n007,1.0\n008,\n", absolute=9).grade is Grade.DIFFERENT
    assert _compare(tmp_path, one, "id,v\n007,1.0\n008,nan\n", absolute=9).grade is Grade.DIFFERENT


def test_volatile_columns_are_passed_over(tmp_path: Path) -> None:
    one, other = "auc,seconds\n0.9,1.5\n", "auc,seconds\n0.9,9\n"
    assert _compare(tmp_path, one, other).grade is Grade.DIFFERENT
    outcome = _compare(tmp_path, one, other, volatile=("seconds",))
    assert outcome.grade is Grade.EQUIVALENT
    assert "ignored column 'seconds'" in outcome.detail
    assert _compare(tmp_path, one, "auc\n0.9\n", volatile=("seconds",)).grade is Grade.DIFFERENT


def test_other_encodings_are_compared_exactly(tmp_path: Path) -> None:
    one = "a\nä\n".encode("latin-1")
    assert _compare(tmp_path, one, one + b"\r\n").grade is Grade.EQUIVALENT
    assert _compare(tmp_path, one, "a\nö\n".encode("latin-1")).grade is Grade.DIFFERENT


def test_broken_quoting_is_no_exception(tmp_path: Path) -> None:
    one, other = tmp_path / "a.csv", tmp_path / "b.csv"
    one.write_text('a,b\n1,"x"\n')
    other.write_text('a,b\n1,"x\n')
    outcome = compare(one, other, "a.csv", CompareContext())
    assert outcome.grade is Grade.DIFFERENT
    assert "reproduced file is not readable as CSV" in outcome.detail
    outcome = compare(other, one, "a.csv", CompareContext())
    assert outcome.grade is Grade.UNCHECKED
    assert "original" in outcome.detail


def test_a_large_table_is_read_in_step(tmp_path: Path) -> None:
    rows = [f"{i},{i / 7!r}" for i in range(20_000)]
    changed = [*rows]
    changed[-1] = "19999,2857.0000000000005"
    text = "\n".join(["a,b", *rows])
    outcome = _compare(tmp_path, text, "\n".join(["a,b", *changed]))
    assert outcome.detail.startswith("row 20000, column 'b':")


def test_a_csv_file_loads_as_a_dataframe(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a;b\n1;x\n")
    frame = load_file(tmp_path / "a.csv")
    assert list(frame.columns) == ["a", "b"]
    assert frame["a"].tolist() == [1]
