import builtins
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thence.errors import InvalidInput, MissingExtra
from thence.formats import columns
from thence.formats.base import CompareContext, Tolerance
from thence.formats.parquet import Parquet
from thence.formats.registry import compare, dump, load, load_file
from thence.formats.tally import Tally
from thence.model.records import Comparison, Grade


def _compare(tmp_path: Path, one: Any, other: Any, **tolerance: Any) -> Comparison:
    for name, table in (("a.parquet", one), ("b.parquet", other)):
        (tmp_path / name).write_bytes(dump(table, name="x").files[0].data)
    context = CompareContext(tolerance=Tolerance(**tolerance))
    return compare(tmp_path / "a.parquet", tmp_path / "b.parquet", "t.parquet", context)


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns are named 'a'"),
        (pd.DataFrame([[1, 2]], columns=["a", 1]), "of several types"),
        (pd.DataFrame({"a": [1 + 2j]}), "no Parquet type"),
        (pd.DataFrame({"a": pd.Series([1, "x"], dtype=object)}), "no Parquet type"),
        (pd.DataFrame({"a": [{"x": 1}, {"y": 2}]}), "column 'a' would not come back"),
        (pd.DataFrame({"a": [(1, 2), (3, 4)]}), "column 'a' would not come back"),
        (pd.DataFrame({"a": pd.Series([2**70, 1], dtype=object)}), "no Parquet type"),
        (pd.DataFrame({"a": [1]}, index=pd.Index([(1,)], tupleize_cols=False)), "the index holds"),
        (pd.Series([1], name=("a", "b")), "the name of this Series"),
        (pl.DataFrame({"a": [object()]}), "column 'a' holds Python objects"),
    ],
)
def test_what_would_not_come_back_is_refused(frame: Any, what: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Parquet().save(frame, "x")
    assert what in caught.value.what
    assert caught.value.hint


def test_the_same_table_of_another_writer_is_equivalent(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": range(1000), "b": ["x", "y"] * 500})
    (tmp_path / "a.parquet").write_bytes(dump(frame, name="x").files[0].data)
    table = pa.Table.from_pandas(frame)
    pq.write_table(table, tmp_path / "b.parquet", row_group_size=100, compression="none")
    context = CompareContext()
    outcome = compare(tmp_path / "a.parquet", tmp_path / "b.parquet", "t.parquet", context)
    assert outcome.grade is Grade.EQUIVALENT


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda f: f.assign(b=["x", "z"]), "column 'b'[1]: 'y' -> 'z'"),
        (lambda f: f.assign(a=[1, 3]), "column 'a'[1]: 2 -> 3"),
        (lambda f: f.assign(b=["x", None]), "column 'b'[1]: a value -> missing"),
        (lambda f: f.iloc[:1], "rows: 2 -> 1"),
        (lambda f: f[["b", "a"]], "order of columns: ['a', 'b'] -> ['b', 'a']"),
        (lambda f: f.drop(columns="b"), "column 'b' is missing"),
        (lambda f: f.assign(c=1), "column 'c' is new"),
        (lambda f: f.astype({"a": "int8"}), "column 'a': type int64 -> int8"),
    ],
)
def test_the_first_difference_is_told(tmp_path: Path, change: Any, detail: str) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    outcome = _compare(tmp_path, frame, change(frame))
    assert outcome.grade is Grade.DIFFERENT
    assert outcome.detail == detail


def test_tolerance_and_volatile_columns(tmp_path: Path) -> None:
    one = pd.DataFrame({"v": [1.0, np.nan], "seconds": [1, 2]})
    other = pd.DataFrame({"v": [1.001, np.nan], "seconds": [5, 6]})
    assert _compare(tmp_path, one, other).grade is Grade.DIFFERENT
    outcome = _compare(tmp_path, one, other, absolute=0.01, volatile=("seconds",))
    assert outcome.grade is Grade.WITHIN_TOLERANCE
    assert "column 'v'[0]: 1.0 -> 1.001" in outcome.detail
    assert "ignored column 'seconds'" in outcome.detail


@pytest.mark.parametrize("python_type", ["pandas", "polars"])
def test_polars_alone_compares_as_pyarrow_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python_type: str
) -> None:
    make: Any = pd.DataFrame if python_type == "pandas" else pl.DataFrame
    base = {"a": [1, 2], "b": ["x", None], "c": [0.0, float("nan")]}
    tables = [
        base,
        {**base, "a": [1, 3]},
        {**base, "a": [1.0, 2.0]},
        {**base, "b": ["x", "y"]},
        {**base, "c": [-0.0, float("nan")]},
        {"a": [1], "b": ["x"], "c": [0.0]},
    ]
    paths = []
    for number, table in enumerate(tables):
        path = tmp_path / f"{number}.parquet"
        path.write_bytes(dump(make(table), name="x").files[0].data)
        paths.append(path)
    with_arrow = [_grade(paths[0], path) for path in paths]
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "pyarrow" else real(name),
    )
    assert [_grade(paths[0], path) for path in paths] == with_arrow
    assert with_arrow == [Grade.EQUIVALENT, *[Grade.DIFFERENT] * 5]


def _grade(original: Path, reproduced: Path) -> Grade:
    tally = Tally("parquet", Tolerance())
    columns.compare_tables(tally, original, reproduced)
    return tally.outcome().grade


def test_without_any_reader_a_table_is_unchecked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    outcome = _compare(tmp_path, pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]}))
    assert outcome.grade is Grade.UNCHECKED
    assert "pip install 'thence[pandas]'" in outcome.detail


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "polars":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    dumped = dump(pl.DataFrame({"a": [1]}), name="x")
    (tmp_path / dumped.files[0].name).write_bytes(dumped.files[0].data)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtra) as caught:
        load(tmp_path, dumped.metadata)
    assert caught.value.hint == "Install it: pip install 'thence[polars]'"


def test_a_parquet_file_of_anybody_loads(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "a.parquet")
    assert load_file(tmp_path / "a.parquet")["a"].tolist() == [1, 2]


def test_a_changed_row_leaves_most_bytes_as_they_were() -> None:
    numbers = np.random.RandomState(0).normal(size=200_000)
    one = dump(pd.DataFrame({"a": numbers}), name="x").files[0].data
    other = dump(pd.DataFrame({"a": np.insert(numbers, 100_000, 0.5)}), name="x").files[0].data
    blocks = [one[start : start + 1024] for start in range(0, len(one) - 1024, 16 * 1024)]
    shared = sum(block in other for block in blocks) / len(blocks)
    assert shared > 0.75  # without content-defined pages it is about a half


def test_metadata_tells_columns_and_rows() -> None:
    found = dump(pd.DataFrame({"a": [1], "b": ["x"]}), name="x").metadata
    assert found["rows"] == 1
    assert [column["name"] for column in found["columns"]] == ["a", "b"]
    assert found["columns"][0]["dtype"] == "int64"


def test_attributes_that_are_not_json_are_said_to_be_lost() -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"k": object()}
    assert dump(frame, name="x").metadata["not_kept"] == ["attrs"]
    assert "k" in frame.attrs
