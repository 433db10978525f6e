"""Every format against the contract."""

import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import polars as pl
import pyarrow as pa
from polars.testing import assert_frame_equal
from pyarrow import feather
from safetensors.numpy import save_file as save_tensors
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from tensorboardX import FileWriter
from tensorboardX.summary import scalar

from thence.formats.arrays import Array, ArrayDictionary
from thence.formats.base import CompareContext, Format, Trust
from thence.formats.csv_table import CSV
from thence.formats.gzip_file import Gzip
from thence.formats.image import Image
from thence.formats.json_value import JSON
from thence.formats.notebook import Notebook
from thence.formats.parquet import Arrow, Parquet
from thence.formats.pickled import Pickle
from thence.formats.safetensors_file import Safetensors
from thence.formats.skops_model import Skops
from thence.formats.svg import SVG
from thence.formats.tensorboard import TensorBoard
from thence.formats.text import Text
from thence.testing.formats import FormatContract, SaverContract

NAN = float("nan")


class TestJSON(SaverContract):
    def make(self) -> Format:
        return JSON()

    def samples(self) -> Sequence[Any]:
        return [
            {"b": 1, "a": [1.5, True, None, "ü"], "$odd": {"a b": 2**60, "": 0}},
            [],
            [0.1, -0.0, float("inf"), 1e-300],
            0.93,
            {"$f": "NaN"},
        ]

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        return [
            ({"a": 1}, {"a": 1.0}),
            ({"a": 1}, {"a": True}),
            ({"a": 0}, {"a": None}),
            ({"a": 0.1}, {"a": 0.10000000000000002}),
            ({"a": 0.0}, {"a": -0.0}),
            ({"a": NAN}, {"a": "NaN"}),
            ({"a": NAN}, {"a": 0.0}),
            ({"a": float("inf")}, {"a": float("-inf")}),
            ({"a": 2**60}, {"a": 2**60 + 1}),
            ({"a": 1}, {"a": 1, "b": None}),
            ({"a": 1}, {"A": 1}),
            ([1, 2], [2, 1]),
            ([1, 2], [1, 2, 2]),
            ([], [[]]),
            ([], {}),
            ({"a": "1"}, {"a": 1}),
            ({"a": {"b": [1, {"c": "x"}]}}, {"a": {"b": [1, {"c": "y"}]}}),
            ([{"date": "2026-01-01", "v": 1}], [{"date": "2026-01-02", "v": 1}]),
            ({"seconds": 1.0}, {}),
            ({"seconds": 1.0}, {"seconds": "1.0"}),
            ({"time": {"a": 1}}, {"time": {"a": 2}}),
            ({"seconds_total": 1.0}, {"seconds_total": 2.0}),
        ]


class TestText(SaverContract):
    def make(self) -> Format:
        return Text()

    def samples(self) -> Sequence[Any]:
        return ["", "one\r\ntwo", "ü \U0001f600\n", "tab\t\x00 and no end"]

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        return [
            ("a\nb\n", "a\n\nb\n"),
            ("a", "a "),
            ("a", "A"),
            ("auc 0.91", "auc 0.910"),
            ("2026-01-01 12", "2026-01-02 12"),
            ("0x10", "0x11"),
            ("version 1.2.3", "version 1.2.4"),
            ("speed 12 s", "speed 13 s"),
            ("created 7 rows", "created 8 rows"),
            ("ratio 1:2", "ratio 1:3"),
            ("ä", "a\u0308"),
        ]

    def test_a_damaged_file_is_unreadable(self, tmp_path: Path) -> None:
        """Text cut short is text."""
        first, second = tmp_path / "a.txt", tmp_path / "b.txt"
        first.write_text("one\ntwo\n")
        second.write_text("one\n")
        assert self._compare(first, second).grade.value == "different"


class TestArray(SaverContract):
    def make(self) -> Format:
        return Array()

    def samples(self) -> Sequence[Any]:
        return [
            np.array([[1.5, np.nan], [-0.0, np.inf]]),
            np.asfortranarray(np.arange(6).reshape(2, 3)),
            np.array([], dtype="f4"),
            np.array(3, dtype="u8"),
            np.array(["a", "bc"]),
            np.array(["2026-01-01", "NaT"], dtype="M8[ns]"),
            np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
            np.array([1 + 2j, np.nan]),
            np.float32(0.5),
        ]

    def same(self, original: Any, loaded: Any) -> bool:
        return (
            type(original) is type(loaded)
            and original.dtype == loaded.dtype
            and original.shape == loaded.shape
            and original.tobytes() == loaded.tobytes()
        )

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        one = np.array([1.0, 2.0])
        later = np.nextafter(one, 3)
        return [
            (one, later),
            (one, one.astype("f4")),
            (one, one.astype(int)),
            (np.array([0, 1]), np.array([False, True])),
            (one, one.reshape(1, 2)),
            (one, one[::-1].copy()),
            (one, one[:1]),
            (np.array([0.0]), np.array([-0.0])),
            (np.array([np.nan]), np.array([np.inf])),
            (np.array([np.nan, 1]), np.array([1, np.nan])),
            (np.array([2**63], dtype="u8"), np.array([2**63 + 1], dtype="u8")),
            (np.array(["a"]), np.array(["b"])),
            (np.array(["a"]), np.array(["a"], dtype="U2")),
            (np.array([1 + 1j]), np.array([1 - 1j])),
            (np.array(["NaT"], dtype="M8[s]"), np.array([0], dtype="M8[s]")),
            (np.array([(1, 2.0)], "i4,f8"), np.array([(1, 2.5)], "i4,f8")),
            (np.array([1.0]), np.array(1.0)),
            (np.float64(1.0), np.float64(1.0000000000000002)),
            (np.float64(1.0), np.float32(1.0)),
        ]


class TestArrayDictionary(SaverContract):
    def make(self) -> Format:
        return ArrayDictionary()

    def samples(self) -> Sequence[Any]:
        return [{"a": np.arange(3), "b/c.npy": np.array([np.nan])}, {"file": np.zeros((0, 2))}]

    def same(self, original: Any, loaded: Any) -> bool:
        return list(original) == list(loaded) and all(
            TestArray.same(TestArray(), original[key], loaded[key]) for key in original
        )

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        one = np.arange(3.0)
        return [
            ({"a": one}, {"a": one, "b": one}),
            ({"a": one}, {"A": one}),
            ({"a": one, "b": -one}, {"a": -one, "b": one}),
            *(({"x": a}, {"x": b}) for a, b in TestArray().near_misses() if a.ndim and b.ndim),
        ]


class TestCSV(FormatContract):
    """CSV is only read: samples are texts."""

    def make(self) -> Format:
        return CSV()

    def write(self, obj: Any, folder: Path) -> Path:
        folder.mkdir(parents=True)
        (folder / "table.csv").write_text(obj, newline="")
        return folder / "table.csv"

    def samples(self) -> Sequence[Any]:
        return ["a,b\n1,x\nnan,\n", "", "1,2\n3,4\n", 'a;"b;c"\r\n1;2\r\n', '"multi\nline"\n1\n']

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        return [
            ("a,b\n1,2\n", "b,a\n1,2\n"),
            ("a,b\n1,2\n", "a,c\n1,2\n"),
            ("a,b\n1,2\n", "a,b\n1,2\n1,2\n"),
            ("a,b\n1,2\n", "a,b\n1,2,\n"),
            ("a,b\n1,2\n", "a,b\n1,3\n"),
            ("a,b\n1,2\n3,4\n", "a,b\n3,4\n1,2\n"),
            ("a\n1\n2\n", "a\n1.0\n2.0\n"),
            ("a\n1\n", "a\n01\n"),
            ("a\n1\n", "a\n 1\n"),
            ("a\n1\n", "a\n1_0\n"),
            ("a\n1\n", "a\nTrue\n"),
            ("a\n0.1\n", "a\n0.10000000000000001\n0.1\n"),
            ("a\n0.1\n", "a\n0.10000000000000003\n"),
            ("a\n0.0\n", "a\n-0.0\n"),
            ("a\nnan\n", "a\n0\n"),
            ("a,b\n,1\n", "a,b\nnan,1\n"),
            ("a\ninf\n", "a\n-inf\n"),
            ("a\ninf\n", "a\n1e999\n"),
            ("a\n1e998\n", "a\n1e999\n"),
            ("a\n1.5\n", "a\n1.50000000000000000001\n"),
            ("a\n9007199254740993\n", "a\n9007199254740992\n"),
            ("a,b\n1,2\n", "a;b\n1;2\n"),
            ("a\nx\n", "a\nX\n"),
            ("1,2\n3,4\n", "1,2.5\n3,4\n"),
            ("a\n2026-01-01\n", "a\n2026-01-02\n"),
            ("", "a\n"),
        ]


def _frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns)


class TestParquetOfPandas(SaverContract):
    def make(self) -> Format:
        return Parquet()

    def same(self, original: Any, loaded: Any) -> bool:
        if type(original) is not type(loaded):
            return False
        check: Any = (
            pd.testing.assert_frame_equal
            if isinstance(original, pd.DataFrame)
            else pd.testing.assert_series_equal
        )
        check(original, loaded, check_exact=True, check_freq=True)
        return True

    def samples(self) -> Sequence[Any]:
        days = pd.date_range("2026-03-28", periods=3, tz="Europe/Berlin")
        return [
            _frame(z=[1, 2, 3], a=[1.5, np.nan, -0.0], t=["x", None, "ü"], b=[True, False, True]),
            pd.DataFrame({"v": [1, 2, 3]}, index=days),
            pd.DataFrame({"v": [1, 2]}, index=pd.Index(["x", "y"], name="key")),
            pd.DataFrame({"v": [1, 2]}, index=pd.RangeIndex(5, 9, 2, name="k")),
            pd.DataFrame(
                {"v": [1, 2]},
                index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None]),
            ),
            _frame(
                c=pd.Categorical(["b", None, "a"], categories=["z", "b", "a"], ordered=True),
                n=pd.Categorical([2, 1, 2], categories=[3, 2, 1]),
                f=pd.Categorical([0.5, np.nan, 0.5]),
                d=pd.Categorical(pd.Series(list(days))),
                u=pd.Categorical(pd.Series([pd.Timestamp("2026-01-01"), None] * 2)[:3]),
            ),
            _frame(
                tz=days,
                fixed=pd.to_datetime(["2026-01-01T00:00:00+02:00"] * 3),
                s=pd.to_datetime(["2026-01-01"] * 3).astype("datetime64[s]"),
                ns=pd.to_datetime(["2026-01-01"] * 3).astype("datetime64[ns]"),
                td=pd.to_timedelta([1, 2, None], unit="s"),
                p=pd.period_range("2026", periods=3, freq="M"),
                i=pd.interval_range(0, 3),
            ),
            _frame(
                i=pd.array([1, None, 2], dtype="Int64"),
                s=pd.array(["x", None, "y"], dtype="string"),
                b=pd.array([True, None, False], dtype="boolean"),
                f2=np.array([1, 2, 3], dtype="f2"),
                u8=np.array([0, 2**64 - 1, 1], dtype="u8"),
            ),
            _frame(
                o=pd.Series(["a", None, "b"], dtype=object),
                n=pd.Series([1, None, 2], dtype=object),
                l=pd.Series([[1, 2], None, []], dtype=object),
                by=pd.Series([b"\x00", b"", None], dtype=object),
            ),
            _frame(e=[np.array([1.0, 2.0]), np.array([3.0, np.nan])]),
            pd.DataFrame({0: [1, 2], 1: [3, 4]}),
            pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("b", "y")])),
            pd.DataFrame([[1, 2]], columns=pd.Index(["a", "b"], name="names")),
            pd.DataFrame(),
            _frame(a=[]),
            pd.DataFrame(index=[1, 2, 3]),
            _frame(a=[1]).assign(**{"a.b": [2], "ü ": [3]}),
            pd.Series([1.5, 2.5], name="y", index=["a", "b"]),
            pd.Series([1, 2]),
            pd.Series(pd.Categorical(["a", "b"]), name=7),
        ]

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        one = _frame(a=[1, 2], b=["x", None])
        day = pd.Timestamp("2026-01-01")
        return [
            (one, one[["b", "a"]]),
            (one, one.rename(columns={"a": "c"})),
            (one, one.astype({"a": "int32"})),
            (one, one.astype({"a": "float64"})),
            (one, one.iloc[:1]),
            (one, one.iloc[::-1].reset_index(drop=True)),
            (one, one.assign(b=["x", ""])),
            (one, one.assign(b=["x", "y"])),
            (one, one.assign(c=1)),
            (one, one.set_index("a")),
            (one, one.set_axis([5, 6], axis=0)),
            (one, one.set_axis(pd.RangeIndex(5, 7), axis=0)),
            (_frame(a=[0.0]), _frame(a=[-0.0])),
            (_frame(a=[0.1]), _frame(a=[0.10000000000000002])),
            (_frame(a=[1.0, np.inf]), _frame(a=[1.0, -np.inf])),
            (_frame(a=[True]), _frame(a=[1])),
            (_frame(a=[2**60]), _frame(a=[2**60 + 1])),
            (_frame(a=["a"]), _frame(a=pd.Categorical(["a"]))),
            (
                _frame(a=pd.Categorical(["a"], categories=["a", "b"])),
                _frame(a=pd.Categorical(["a"], categories=["b", "a"])),
            ),
            (
                _frame(a=pd.Categorical(["a"], ordered=True)),
                _frame(a=pd.Categorical(["a"], ordered=False)),
            ),
            (_frame(a=[day]), _frame(a=[day + pd.Timedelta(1, "us")])),
            (_frame(a=[day.as_unit("ns")]), _frame(a=[day.as_unit("ns") + pd.Timedelta(1, "ns")])),
            (_frame(a=[day]), _frame(a=[day.tz_localize("UTC")])),
            (_frame(a=[[1, 2]]), _frame(a=[[2, 1]])),
            (_frame(a=[[1.0, 0.0]]), _frame(a=[[1.0, -0.0]])),
            (_frame(a=pd.array([1, None], "Int64")), _frame(a=pd.array([1, 0], "Int64"))),
        ]


class TestParquetOfPolars(SaverContract):
    def make(self) -> Format:
        return Parquet()

    def same(self, original: Any, loaded: Any) -> bool:
        if type(original) is not type(loaded):
            return False
        if isinstance(original, pl.Series):
            return original.equals(loaded, check_names=True, check_dtypes=True)
        assert_frame_equal(original, loaded, check_exact=True)
        return True

    def samples(self) -> Sequence[Any]:
        from datetime import date, timedelta
        from decimal import Decimal

        frame = pl.DataFrame(
            {
                "z": [1, 2, None],
                "a": [1.5, float("nan"), -0.0],
                "t": ["x", None, "ü"],
                "l": [[1, 2], [], None],
                "d": [date(2026, 1, 1), None, date(2026, 1, 2)],
                "td": [timedelta(seconds=1), None, timedelta(0)],
                "dec": [Decimal("1.10"), None, Decimal("2.25")],
                "s": [{"x": 1}, {"x": None}, {"x": 3}],
            }
        ).with_columns(
            e=pl.Series(["b", "a", None], dtype=pl.Enum(["z", "b", "a"])),
            c=pl.Series(["b", "a", None], dtype=pl.Categorical()),
            m=pl.Series([1, 2, None], dtype=pl.Datetime("ms", "Europe/Berlin")),
        )
        return [frame, frame.lazy(), frame["a"], pl.DataFrame(), pl.DataFrame({"a": []})]

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        one = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
        return [
            (one, one.select("b", "a")),
            (one, one.reverse()),
            (one, one.with_columns(pl.col("a").cast(pl.Int32))),
            (one, one.with_columns(b=pl.lit("x"))),
            (pl.DataFrame({"a": [0.0]}), pl.DataFrame({"a": [-0.0]})),
            (pl.DataFrame({"a": [None, 1.0]}), pl.DataFrame({"a": [float("nan"), 1.0]})),
        ]


class TestArrow(FormatContract):
    """Feather is only read."""

    def make(self) -> Format:
        return Arrow()

    def write(self, obj: Any, folder: Path) -> Path:
        folder.mkdir(parents=True)
        feather.write_feather(pa.table(obj), folder / "t.feather")
        return folder / "t.feather"

    def samples(self) -> Sequence[Any]:
        return [{"a": [1, 2], "b": [0.5, NAN]}]

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        return [
            ({"a": [1, 2]}, {"a": [1, 3]}),
            ({"a": [1]}, {"a": [1.0]}),
            ({"a": ["x"]}, {"a": [""]}),
        ]


def _image(mode: str = "RGB", color: Any = (10, 20, 30)) -> PIL.Image.Image:
    return PIL.Image.new(mode, (8, 6), color)


class TestImage(SaverContract):
    def make(self) -> Format:
        return Image()

    def samples(self) -> Sequence[Any]:
        return [
            _image(),
            _image("RGBA", (1, 2, 3, 4)),
            _image("L", 7),
            _image("1", 1),
            _image("I;16", 40_000),
            _image().quantize(4),
        ]

    def same(self, original: Any, loaded: Any) -> bool:
        return (
            isinstance(loaded, PIL.Image.Image)
            and original.mode == loaded.mode
            and original.size == loaded.size
            and original.tobytes() == loaded.tobytes()
        )

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        one = _image()
        other = one.copy()
        other.putpixel((7, 5), (10, 20, 31))
        palette, swapped = _image().quantize(4), _image().quantize(4)
        swapped.putpalette([99, 20, 30])
        return [
            (one, other),
            (one, one.convert("RGBA")),
            (one, one.resize((6, 8))),
            (one, one.resize((9, 6))),
            (_image("L", 7), _image("L", 8)),
            (_image("1", 1), _image("1", 0)),
            (_image("I;16", 40_000), _image("I;16", 40_001)),
            (_image("RGBA", (1, 2, 3, 255)), _image("RGBA", (1, 2, 3, 254))),
            (palette, swapped),
        ]


def _figure(width: str = "1") -> str:
    return (
        '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">\n'
        f'<defs><path id="m1" d="M0 0L{width} 1"/></defs>\n'
        '<use href="#m1" x="1"/>\n<g clip-path="url(#m1)"/>\n</svg>\n'
    )


class TestSVG(FormatContract):
    """Drawings are only compared."""

    def make(self) -> Format:
        return SVG()

    def write(self, obj: Any, folder: Path) -> Path:
        folder.mkdir(parents=True)
        (folder / "f.svg").write_text(obj)
        return folder / "f.svg"

    def samples(self) -> Sequence[Any]:
        return [_figure()]

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        two = '<svg>\n<a id="p"/>\n<a id="q"/>\n<use href="#p"/>\n</svg>'
        return [(_figure(), _figure("2")), (two, two.replace("#p", "#q"))]


class TestNotebook(FormatContract):
    """Notebooks are compared, and loaded as text: samples are the cells."""

    def make(self) -> Format:
        return Notebook()

    def write(self, obj: Any, folder: Path) -> Path:
        folder.mkdir(parents=True)
        text = json.dumps({"cells": obj, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
        (folder / "n.ipynb").write_text(text)
        return folder / "n.ipynb"

    def samples(self) -> Sequence[Any]:
        return [[_cell("x = 1", "1.5\n")], []]

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        one = _cell("x = 1", "1.5\n")
        return [
            ([one], [_cell("x = 2", "1.5\n")]),
            ([one], [_cell("x = 1", "1.50\n")]),
            ([one], [one, one]),
            ([one], [{**one, "outputs": []}]),
            ([one], [{**one, "cell_type": "raw"}]),
        ]


def _cell(source: str, printed: str) -> dict[str, Any]:
    output = {"output_type": "stream", "name": "stdout", "text": [printed]}
    return {
        "cell_type": "code",
        "execution_count": 1,
        "metadata": {},
        "source": source,
        "outputs": [output],
    }


class TestGzip(FormatContract):
    """Compressed files are only read: samples are tables in text."""

    def make(self) -> Format:
        return Gzip()

    def write(self, obj: Any, folder: Path) -> Path:
        folder.mkdir(parents=True)
        with gzip.GzipFile(folder / "t.csv.gz", "wb", mtime=len(folder.name)) as file:
            file.write(obj.encode())
        return folder / "t.csv.gz"

    def samples(self) -> Sequence[Any]:
        return TestCSV().samples()

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        return TestCSV().near_misses()[:8]


ROWS = np.random.RandomState(1).normal(size=(80, 3))
LABELS = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int)


def _logistic(**parameters: Any) -> Any:
    return LogisticRegression(**parameters).fit(ROWS, LABELS)


def _nudged() -> Any:
    model = _logistic()
    model.coef_[0, 2] = np.nextafter(model.coef_[0, 2], 9)
    return model


def _other_threshold() -> Any:
    model = DecisionTreeClassifier(random_state=0).fit(ROWS, LABELS)
    model.tree_.threshold[0] += 1e-12
    return model


class TestSkops(SaverContract):
    def make(self) -> Format:
        return Skops()

    def samples(self) -> Sequence[Any]:
        frame = pd.DataFrame(ROWS, columns=["a", "b", "c"])
        return [
            make_pipeline(StandardScaler(), LogisticRegression(C=2)).fit(frame, LABELS),
            DecisionTreeClassifier(random_state=0).fit(ROWS, LABELS),
        ]

    def same(self, original: Any, loaded: Any) -> bool:
        frame = pd.DataFrame(ROWS, columns=["a", "b", "c"])
        rows = frame if hasattr(original, "feature_names_in_") else ROWS
        return (
            type(original) is type(loaded)
            and str(original.get_params()) == str(loaded.get_params())
            and bool((original.predict_proba(rows) == loaded.predict_proba(rows)).all())
        )

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        return [
            (_logistic(), _nudged()),
            (_logistic(), _logistic(verbose=0, max_iter=101)),
            (DecisionTreeClassifier(random_state=0).fit(ROWS, LABELS), _other_threshold()),
        ]


class TestPickle(TestSkops):
    trust = Trust(allow_pickle=True)
    context = CompareContext(python=Path(sys.executable))

    def make(self) -> Format:
        return Pickle()

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        # objects of which a comparison through __getstate__ sees nothing
        return [
            (np.float64(0.12), np.float64(0.93)),
            ({"a": np.int64(1)}, {"a": np.int64(2)}),
            ({"a": 1}, {"a": np.int64(1)}),
            ([np.arange(3)], [np.arange(3.0)]),
            ((1, 2), [1, 2]),
            (_logistic(), _nudged()),
        ]


class TestSafetensors(FormatContract):
    """Weights are only compared: samples are arrays under names, written by the library itself."""

    def make(self) -> Format:
        return Safetensors()

    def write(self, obj: Any, folder: Path) -> Path:
        folder.mkdir(parents=True)
        save_tensors(obj, folder / "m.safetensors")
        return folder / "m.safetensors"

    def samples(self) -> Sequence[Any]:
        return [
            {"a.weight": np.array([[1.5, np.nan]]), "b": np.array([1, 2], "i8")},
            {"none": np.zeros((0, 2), "f4"), "one": np.array(3, "u1"), "yes": np.array([True])},
            {},
        ]

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        pairs = [
            (one, other)
            for one, other in TestArray().near_misses()
            if one.dtype.kind in "fiub" and other.dtype.kind in "fiub"
        ]
        a = np.arange(3.0)
        return [
            *(({"x": np.asarray(one)}, {"x": np.asarray(other)}) for one, other in pairs),
            ({"a": a}, {"a": a, "b": a}),
            ({"a": a}, {"A": a}),
            ({"a": a, "b": -a}, {"a": -a, "b": a}),
            ({"a": np.zeros(2, "f2")}, {"a": np.zeros(2, "u2")}),
        ]


class TestTensorBoard(FormatContract):
    """Event files are only compared: samples are tags, values and steps."""

    def make(self) -> Format:
        return TensorBoard()

    def write(self, obj: Any, folder: Path) -> Path:
        writer = FileWriter(str(folder))
        for tag, value, step in obj:
            writer.add_summary(scalar(tag, value), step)
        writer.close()
        (path,) = folder.iterdir()
        return path.rename(folder / "events.out.tfevents.1.host")

    def samples(self) -> Sequence[Any]:
        return [[("loss", 0.5, 1), ("loss", NAN, 2)], []]

    def near_misses(self) -> Sequence[tuple[Any, Any]]:
        one = ("loss", 0.5, 1)
        return [
            ([one], [("loss", 0.50000006, 1)]),
            ([one], [("loss", 0.5, 2)]),
            ([one], [("Loss", 0.5, 1)]),
            ([one], [("loss", NAN, 1)]),
            ([one], []),
            ([one], [one, one]),
            ([one, ("auc", 1, 1)], [("auc", 1, 1), one]),
        ]
