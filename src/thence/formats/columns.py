"""Comparing tables of columns: Parquet and Arrow files, with pyarrow or else with polars."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from thence.formats.base import Unreadable, missing_extra
from thence.formats.json_value import compare_trees
from thence.formats.tally import Tally, show

__all__ = ["compare_tables", "has_pandas", "read_arrow"]

_BATCH = 65_536


class _Table(Protocol):
    """A file of columns, as the comparison needs it."""

    rows: int
    types: list[tuple[str, str]]
    index: Any

    def nulls(self, position: int) -> Any:
        """Where the column has no value: bool, shape (rows,)."""

    def numbers(self, position: int) -> Any:
        """The column as an array, anything in place of nulls; None where it holds no numbers."""

    def cells(self, position: int) -> Iterator[tuple[int, list[Any]]]:
        """Batches of Python values, each with the number of its first row."""

    def categories(self, position: int) -> list[Any] | None:
        """The categories in order; None where the column has none."""


def has_pandas() -> bool:
    """Whether pandas and pyarrow are installed, without importing them."""
    return all(importlib.util.find_spec(name) is not None for name in ("pandas", "pyarrow"))


def read_arrow(path: Path) -> Any:
    """The table of a Parquet, Arrow or Feather file.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
        from pyarrow import feather
    except ImportError as error:
        raise missing_extra("pyarrow", "pandas", "to read this table") from error
    try:
        with path.open("rb") as file:
            is_parquet = file.read(4) in {b"PAR1", b"PARE"}
        return pq.ParquetFile(path).read() if is_parquet else feather.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Unreadable(path, f"not readable as a table: {error}") from error


def compare_tables(tally: Tally, original: Path, reproduced: Path) -> None:
    """Compare two files of columns.

    Raises:
        MissingExtra: Neither pyarrow nor polars is installed.
    """
    first, second = _open(original), _open(reproduced)
    if not _same_columns(tally, first, second):
        return
    if first.rows != second.rows:
        tally.differs(f"rows: {first.rows} -> {second.rows}")
        return
    compare_trees(tally, first.index, second.index, where="index", measured=(), moments=())
    for position, (name, _) in enumerate(first.types):
        if tally.tolerance.ignores(name, name):
            tally.passes_over(f"ignored column {name!r}")
        else:
            _compare_column(tally, name, position, first, second)


def _open(path: Path) -> _Table:
    if importlib.util.find_spec("pyarrow") is not None:
        return _ArrowTable(path)
    if importlib.util.find_spec("polars") is not None:
        return _PolarsTable(path)
    raise missing_extra("pyarrow", "pandas", "to compare tables")


def _same_columns(tally: Tally, first: _Table, second: _Table) -> bool:
    names, others = ([name for name, _ in table.types] for table in (first, second))
    if names == others:
        for (name, one), (_, other) in zip(first.types, second.types, strict=True):
            if one != other:
                tally.differs(f"column {name!r}: type {one} -> {other}")
    elif sorted(names) == sorted(others):
        tally.differs(f"order of columns: {show(names)} -> {show(others)}")
    else:
        for name in names:
            if name not in others:
                tally.differs(f"column {name!r} is missing")
        for name in others:
            if name not in names:
                tally.differs(f"column {name!r} is new")
        if not tally.failed:
            tally.differs(f"columns: {show(names)} -> {show(others)}")
    return not tally.failed


def _compare_column(tally: Tally, name: str, position: int, first: _Table, second: _Table) -> None:
    where = f"column {name!r}"
    categories = first.categories(position), second.categories(position)
    if categories[0] != categories[1]:
        tally.differs(f"{where}: categories {show(categories[0])} -> {show(categories[1])}")
        return
    missing, other = first.nulls(position), second.nulls(position)
    if (missing != other).any():
        row = int((missing != other).argmax())
        verb = "a value -> missing" if other[row] else "missing -> a value"
        tally.differs(f"{where}[{row}]: {verb}", times=int((missing != other).sum()))
    numbers, others = first.numbers(position), second.numbers(position)
    if numbers is not None and others is not None:
        present = ~(missing | other)
        # what stands in the place of a null is nobody's value
        numbers, others = numbers.copy(), others.copy()
        numbers[~present] = others[~present] = 0
        tally.arrays(where, numbers, others)
        return
    for (start, cells), (_, reproduced) in zip(
        first.cells(position), second.cells(position), strict=True
    ):
        for row, (one, two) in enumerate(zip(cells, reproduced, strict=True), start):
            if one is not None and two is not None:
                compare_trees(tally, one, two, where=f"{where}[{row}]", measured=(), moments=())


class _ArrowTable:
    def __init__(self, path: Path) -> None:
        self._table = read_arrow(path)
        self.rows: int = self._table.num_rows
        self.types = [(field.name, str(field.type)) for field in self._table.schema]
        self.index = _pandas_index(self._table.schema.metadata or {})

    def nulls(self, position: int) -> Any:
        return self._table.column(position).is_null().to_numpy()

    def numbers(self, position: int) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self._table.column(position)
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            filled = column if column.null_count == 0 else pc.fill_null(column, 0)
            return filled.to_numpy()
        return None

    def cells(self, position: int) -> Iterator[tuple[int, list[Any]]]:
        column = self._table.column(position)
        for start in range(0, self.rows, _BATCH):
            part = column.slice(start, _BATCH)
            yield start, self._part(part)

    def _part(self, part: Any) -> list[Any]:
        import pyarrow as pa

        kind = part.type
        if pa.types.is_temporal(kind):
            # as numbers: Python's times have no nanoseconds
            wide = kind.bit_width == 64
            part = part.combine_chunks().view(pa.int64() if wide else pa.int32())
        cells: list[Any] = part.to_pylist()
        return cells

    def categories(self, position: int) -> list[Any] | None:
        import pyarrow as pa

        column = self._table.column(position)
        if not pa.types.is_dictionary(column.type):
            return None
        chunks = column.unify_dictionaries().chunks
        categories: list[Any] = chunks[0].dictionary.to_pylist() if chunks else []
        return categories


class _PolarsTable:
    def __init__(self, path: Path) -> None:
        import polars as pl

        try:
            with path.open("rb") as file:
                is_parquet = file.read(4) in {b"PAR1", b"PARE"}
            self._frame = pl.read_parquet(path) if is_parquet else pl.read_ipc(path)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise Unreadable(path, f"not readable as a table: {error}") from error
        self.rows = self._frame.height
        self.types = [(name, str(dtype)) for name, dtype in self._frame.schema.items()]
        self.index = _pandas_index(_parquet_metadata(path) if is_parquet else {})

    def nulls(self, position: int) -> Any:
        return self._frame.to_series(position).is_null().to_numpy()

    def numbers(self, position: int) -> Any:
        column = self._frame.to_series(position)
        if not (column.dtype.is_integer() or column.dtype.is_float()):
            return None
        return column.fill_null(0).to_numpy()

    def cells(self, position: int) -> Iterator[tuple[int, list[Any]]]:
        column = self._frame.to_series(position)
        if column.dtype.is_temporal():
            column = column.to_physical()
        for start in range(0, self.rows, _BATCH):
            yield start, column.slice(start, _BATCH).to_list()

    def categories(self, position: int) -> list[Any] | None:
        import polars as pl

        dtype = self._frame.to_series(position).dtype
        return dtype.categories.to_list() if isinstance(dtype, pl.Enum) else None


def _parquet_metadata(path: Path) -> dict[bytes, bytes]:
    import polars as pl

    return {key.encode(): value.encode() for key, value in pl.read_parquet_metadata(path).items()}


def _pandas_index(metadata: dict[bytes, bytes]) -> Any:
    """What pandas noted of the index and of the names of the columns; None for other tables."""
    try:
        noted = json.loads(metadata[b"pandas"])
    except (KeyError, ValueError):
        return None
    keys = ("index_columns", "column_indexes")
    # numpy_type is the spelling of one version of pandas: object, then str
    return json.loads(
        json.dumps({key: noted.get(key) for key in keys}),
        object_hook=lambda item: {k: v for k, v in item.items() if k != "numpy_type"},
    )
