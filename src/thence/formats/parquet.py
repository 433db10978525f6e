"""Tables: DataFrames of pandas, polars and Arrow, saved as Parquet; Arrow and Feather are read."""

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thence.errors import InvalidInput
from thence.formats import columns, pandas_frame
from thence.formats.base import (
    CompareContext,
    Dumped,
    DumpedFile,
    Outcome,
    Trust,
    Unreadable,
    missing_extra,
    with_suffix,
)
from thence.formats.media import sniff
from thence.formats.tally import Tally
from thence.model.records import Kind

__all__ = ["Arrow", "Parquet"]

_PANDAS = ("DataFrame", "Series")
_POLARS = ("DataFrame", "LazyFrame", "Series")
_CONTENT_DEFINED_CHUNKING_SINCE = 21
"""Of pyarrow: pages are cut by content, so that one changed row leaves most bytes as they were."""


class Parquet:
    """Saves DataFrames and Series, loads and compares Parquet.

    What is saved comes back the same: index, types, categories, time zones, order of columns.
    Missing values in columns of Python objects come back as None.

    Compared: the columns, their order and types, pandas' index, every value, the number of rows.
    Row groups, compression, statistics and the versions of the writers are `equivalent`. Numbers
    are exact unless a tolerance is given; columns named in `Tolerance.volatile` are passed over.
    """

    name = "parquet"
    media_type = "application/vnd.apache.parquet"
    kind = Kind.DATASET

    def matches(self, name: str, head: bytes) -> bool:
        """By media type."""
        return sniff(name, head).media_type == self.media_type

    def saves(self, obj: Any) -> bool:
        """DataFrames and Series of pandas and polars, lazy frames, tables of Arrow."""
        return bool(_python_type(obj))

    def save(self, obj: Any, stem: str) -> Dumped:
        """As Parquet; a lazy frame is collected.

        Raises:
            InvalidInput: Something in it would not come back as it is.
            MissingExtra: pyarrow is needed for pandas and not installed.
        """
        python_type = _python_type(obj)
        file_name = with_suffix(stem, ".parquet")
        if python_type.startswith("polars."):
            data, found = _save_polars(obj)
        else:
            data, found = _save_arrow(obj, python_type)
        metadata = {
            "format": self.name,
            "file": file_name,
            "python_type": python_type,
            **found,
        }
        return Dumped((DumpedFile(file_name, data),), self.kind, metadata)

    def load(self, path: Path, metadata: Mapping[str, Any], trust: Trust) -> Any:
        """What was saved; without metadata a DataFrame of pandas, or else of polars.

        Raises:
            MissingExtra: The library of the object is not installed.
        """
        python_type = str(metadata.get("python_type", ""))
        if python_type.startswith("polars."):
            return _load_polars(path, python_type, metadata)
        if not python_type and not columns.has_pandas():
            return _load_polars(path, "polars.DataFrame", metadata)
        table = columns.read_arrow(path)
        if python_type == "pyarrow.Table":
            return table
        return _to_pandas(path, table, metadata)

    def compare(self, original: Path, reproduced: Path, context: CompareContext) -> Outcome:
        """Column by column.

        Raises:
            MissingExtra: Neither pyarrow nor polars is installed.
        """
        tally = Tally(self.name, context.tolerance)
        columns.compare_tables(tally, original, reproduced)
        return tally.outcome("same values, written differently")


class Arrow:
    """Loads and compares Arrow and Feather files, as `Parquet` does."""

    name = "arrow"
    media_type = "application/vnd.apache.arrow.file"
    kind = Kind.DATASET

    def matches(self, name: str, head: bytes) -> bool:
        """By media type."""
        return sniff(name, head).media_type in {self.media_type, "application/x-feather-v1"}

    def load(self, path: Path, metadata: Mapping[str, Any], trust: Trust) -> Any:
        """A DataFrame of pandas.

        Raises:
            MissingExtra: pandas or pyarrow is not installed.
        """
        return _to_pandas(path, columns.read_arrow(path), metadata)

    def compare(self, original: Path, reproduced: Path, context: CompareContext) -> Outcome:
        """Column by column.

        Raises:
            MissingExtra: Neither pyarrow nor polars is installed.
        """
        tally = Tally(self.name, context.tolerance)
        columns.compare_tables(tally, original, reproduced)
        return tally.outcome("same values, written differently")


def _python_type(obj: Any) -> str:
    """`pandas.DataFrame` and so on; empty for everything else. Imports nothing."""
    for module_name, class_names in (
        ("pandas", _PANDAS),
        ("polars", _POLARS),
        ("pyarrow", ("Table",)),
    ):
        module = sys.modules.get(module_name)
        for class_name in class_names if module is not None else ():
            # subclasses (geopandas …) hold more than a table does
            if type(obj) is getattr(module, class_name, None):
                return f"{module_name}.{class_name}"
    return ""


def _save_arrow(obj: Any, python_type: str) -> tuple[bytes, dict[str, Any]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise missing_extra("pyarrow", "pandas", "to save DataFrames") from error
    found: dict[str, Any]
    if python_type == "pyarrow.Table":
        names = [{"name": field.name, "dtype": str(field.type)} for field in obj.schema]
        table, found = obj, {"rows": obj.num_rows, "columns": names}
    elif python_type == "pandas.Series":
        if not isinstance(obj.name, (str, int, float, bool, type(None))):
            raise InvalidInput(
                f"cannot be saved as Parquet: the name of this Series is {obj.name!r}",
                hint="Give it a name that is text: series.rename('values')",
            )
        table, found = pandas_frame.to_arrow(obj.to_frame("values"))
        found["series_name"] = obj.name
    else:
        table, found = pandas_frame.to_arrow(obj)
    options: dict[str, Any] = {"compression": "zstd"}
    if int(pa.__version__.partition(".")[0]) >= _CONTENT_DEFINED_CHUNKING_SINCE:
        options["use_content_defined_chunking"] = True
    buffer = io.BytesIO()
    try:
        pq.write_table(table, buffer, **options)
    except (pa.ArrowException, ValueError) as error:
        raise InvalidInput(
            "cannot be saved as Parquet: a column has no Parquet type",
            why=str(error),
            hint="Convert the column, for example with .astype(str).",
        ) from error
    return buffer.getvalue(), found


def _save_polars(obj: Any) -> tuple[bytes, dict[str, Any]]:
    import polars as pl

    found: dict[str, Any] = {}
    if isinstance(obj, pl.LazyFrame):
        frame = obj.collect()
    elif isinstance(obj, pl.Series):
        found["series_name"] = obj.name
        frame = obj.to_frame("values")
    else:
        frame = obj
    for name, dtype in frame.schema.items():
        if dtype == pl.Object:
            raise InvalidInput(
                f"cannot be saved as Parquet: column {name!r} holds Python objects",
                hint="Cast the column to a type of polars.",
            )
    buffer = io.BytesIO()
    try:
        frame.write_parquet(buffer)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InvalidInput(
            "cannot be saved as Parquet: a column has no Parquet type",
            why=str(error),
            hint="Cast the column to a type that Parquet has.",
        ) from error
    found["rows"] = frame.height
    found["columns"] = [{"name": n, "dtype": str(dtype)} for n, dtype in frame.schema.items()]
    return buffer.getvalue(), found


def _load_polars(path: Path, python_type: str, metadata: Mapping[str, Any]) -> Any:
    try:
        import polars as pl
    except ImportError as error:
        # a table that nobody noted the library of is best read by pandas
        extra = "polars" if "python_type" in metadata else "pandas"
        raise missing_extra(extra, extra, "to load this table") from error
    try:
        # through memory: a frame that is mapped would change with its file
        frame = pl.read_parquet(io.BytesIO(path.read_bytes()))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise Unreadable(path, f"not readable as Parquet: {error}") from error
    if python_type == "polars.LazyFrame":
        return frame.lazy()
    if python_type == "polars.Series":
        return frame.to_series().alias(str(metadata.get("series_name", "")))
    return frame


def _to_pandas(path: Path, table: Any, metadata: Mapping[str, Any]) -> Any:
    if not columns.has_pandas():
        raise missing_extra("pandas", "pandas", "to load this table")
    try:
        frame = pandas_frame.from_arrow(table, metadata)
    except (ValueError, TypeError, KeyError) as error:
        raise Unreadable(path, f"not readable as a DataFrame: {error}") from error
    if metadata.get("python_type") == "pandas.Series":
        return frame.iloc[:, 0].rename(metadata.get("series_name"))
    return frame
