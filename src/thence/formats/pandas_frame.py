"""DataFrames of pandas as Arrow tables, with what Parquet alone would not give back.

Arrow keeps most of a DataFrame. What it does not (a `datetime64[s]`, categories that are not text,
the frequency of an index, columns of Python objects) is noted in the metadata and put back by
`from_arrow`. What cannot be put back is refused when it is saved, not found out when it is loaded.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from thence.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["from_arrow", "to_arrow"]

_PLAIN_OBJECTS = frozenset({"string", "bytes", "date", "decimal", "empty", "boolean", "time"})
_HINT = "Convert the column, for example with .astype(str), or pass allow_pickle=True."


def to_arrow(frame: "pd.DataFrame") -> tuple[Any, dict[str, Any]]:
    """The table, and the metadata that `from_arrow` needs.

    Raises:
        InvalidInput: A column would not come back as it is.
    """
    import pyarrow as pa

    _check_columns(frame)
    metadata: dict[str, Any] = {
        "rows": len(frame),
        "columns": [
            {"name": str(name), "dtype": str(dtype)}
            for name, dtype in zip(frame.columns, frame.dtypes, strict=True)
        ],
        "index": _describe_index(frame.index),
    }
    if frame.attrs and not _is_json(frame.attrs):
        frame = frame.copy(deep=False)
        frame.attrs = {}
        metadata["not_kept"] = ["attrs"]
    try:
        table = pa.Table.from_pandas(frame)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(
            "cannot be saved as Parquet: a column of this DataFrame has no Parquet type",
            why=" ".join(str(part) for part in error.args),
            hint=_HINT,
        ) from error
    for position, dtype in enumerate(frame.dtypes):
        special = _special(frame.iloc[:, position], str(dtype), table.column(position))
        metadata["columns"][position].update(special)
    return table, metadata


def from_arrow(table: Any, metadata: Mapping[str, Any]) -> "pd.DataFrame":
    """The DataFrame of a table; without metadata, as pandas reads it."""
    import pandas as pd

    frame: pd.DataFrame = table.to_pandas()
    columns = metadata.get("columns", ())
    if len(columns) == frame.shape[1]:
        changed = {}
        for position, column in enumerate(columns):
            series = frame.iloc[:, position]
            restored = _restore(series, column, table.column(position))
            if restored is not series:
                changed[position] = restored
        if changed:
            labels, attrs = frame.columns, frame.attrs
            parts = [
                changed.get(position, frame.iloc[:, position]) for position in range(frame.shape[1])
            ]
            frame = pd.concat(parts, axis=1)
            frame.columns = labels
            frame.attrs = attrs
    if index := metadata.get("index"):
        frame.index = _restore_index(frame.index, index)
    return frame


def _check_columns(frame: "pd.DataFrame") -> None:
    names = frame.columns
    if not names.is_unique:
        twice = names[names.duplicated()][0]
        raise InvalidInput(
            f"cannot be saved as Parquet: two columns are named {twice!r}",
            hint="Give each column a name of its own.",
        )
    if names.nlevels == 1 and str(names.inferred_type).startswith("mixed"):
        raise InvalidInput(
            f"cannot be saved as Parquet: the names of the columns are of several types: "
            f"{list(names)[:5]!r}",
            hint="Make them text: df.columns = df.columns.map(str)",
        )


def _special(series: "pd.Series[Any]", dtype: str, column: Any) -> dict[str, Any]:
    """What must be noted of a column so that it can be put back, after making sure that it can."""
    import pandas as pd

    if isinstance(series.dtype, pd.CategoricalDtype):
        categories = series.dtype.categories
        if pd.api.types.infer_dtype(categories) in {"string", "empty"}:
            return {}
        if not pd.api.types.is_numeric_dtype(categories) and not isinstance(
            categories, pd.DatetimeIndex
        ):
            raise _refused(series, f"its categories are {categories.dtype}")
        plain = categories.astype("int64") if hasattr(categories, "tz") else categories
        return {
            "categories": plain.tolist(),
            "categories_dtype": str(categories.dtype),
            "ordered": bool(series.dtype.ordered),
        }
    if dtype != "object" or pd.api.types.infer_dtype(series, skipna=True) in _PLAIN_OBJECTS:
        return {}
    for way in ("python", "numpy"):
        if _equal_objects(list(series), _objects(column, way)):
            return {"objects": way}
    raise _refused(series, "it holds Python objects that Parquet would change")


def _refused(series: "pd.Series[Any]", why: str) -> InvalidInput:
    return InvalidInput(
        f"cannot be saved as Parquet: column {series.name!r} would not come back as it is",
        why=f"{why[0].upper()}{why[1:]}.",
        hint=_HINT,
    )


def _objects(column: Any, way: str) -> list[Any]:
    """The cells of a column of objects: lists stay lists, or become arrays."""
    return column.to_pylist() if way == "python" else list(column.to_pandas())


def _equal_objects(original: Any, restored: Any) -> bool:
    """Equal in value and type, all the way down; one missing value is as good as another."""
    import numpy as np

    if isinstance(original, (list, tuple)):
        return (
            type(original) is type(restored)
            and len(original) == len(restored)
            and all(map(_equal_objects, original, restored))
        )
    if isinstance(original, dict):
        return (
            isinstance(restored, dict)
            and original.keys() == restored.keys()
            and all(_equal_objects(item, restored[key]) for key, item in original.items())
        )
    if isinstance(original, np.ndarray):
        return (
            isinstance(restored, np.ndarray)
            and original.dtype == restored.dtype
            and original.shape == restored.shape
            and bool(np.array_equal(original, restored, equal_nan=original.dtype.kind in "fc"))
        )
    if original is None or (isinstance(original, float) and original != original):  # noqa: PLR0124
        return restored is None or (isinstance(restored, float) and restored != restored)  # noqa: PLR0124
    return type(original) is type(restored) and bool(original == restored)


def _restore(series: "pd.Series[Any]", column: Mapping[str, Any], data: Any) -> "pd.Series[Any]":
    import pandas as pd

    dtype = column["dtype"]
    if dtype == "object":
        cells = _objects(data, column.get("objects", "python"))
        restored = pd.Series(
            [None] * len(cells), index=series.index, name=series.name, dtype=object
        )
        # one by one: a list of arrays of equal length would become two-dimensional
        for position, cell in enumerate(cells):
            restored.iat[position] = cell
        return restored
    if "categories" in column:
        categories = pd.Index(column["categories"])
        wanted = column["categories_dtype"]
        categories = _index_of_type(categories, wanted)
        kind = pd.CategoricalDtype(categories, ordered=column["ordered"])
        return series.astype(categories.dtype).astype(kind) if len(series) else series.astype(kind)
    return series if str(series.dtype) == dtype else series.astype(dtype)


def _index_of_type(index: Any, dtype: str) -> Any:
    import pandas as pd

    if not dtype.startswith("datetime64[") or str(index.dtype) == dtype:
        return index if str(index.dtype) == dtype else index.astype(dtype)
    unit, _, zone = dtype.removeprefix("datetime64[").removesuffix("]").partition(", ")
    moments = pd.DatetimeIndex(index.to_numpy().astype(f"datetime64[{unit}]"))
    return moments.tz_localize("UTC").tz_convert(zone) if zone else moments


def _describe_index(index: Any) -> dict[str, Any]:
    import pandas as pd

    levels = index.levels if isinstance(index, pd.MultiIndex) else [index]
    for level in levels:
        kind = pd.api.types.infer_dtype(level, skipna=True)
        mixed = level.dtype == object and kind not in _PLAIN_OBJECTS
        if isinstance(level.dtype, pd.CategoricalDtype):
            categories = pd.api.types.infer_dtype(level.dtype.categories)
            mixed = categories not in {"string", "empty"}
        if mixed:
            raise InvalidInput(
                f"cannot be saved as Parquet: the index holds {kind} values",
                hint="Turn the index into columns first: df.reset_index()",
            )
    frequency = getattr(index, "freqstr", None)
    return {
        "dtypes": [str(level.dtype) for level in levels],
        **({"frequency": frequency} if isinstance(index, pd.DatetimeIndex) and frequency else {}),
    }


def _restore_index(index: Any, described: Mapping[str, Any]) -> Any:
    import pandas as pd

    dtypes = described["dtypes"]
    if isinstance(index, pd.MultiIndex):
        for number, (level, dtype) in enumerate(zip(index.levels, dtypes, strict=True)):
            if str(level.dtype) != dtype:
                index = index.set_levels(level.astype(dtype), level=number)
        return index
    if str(index.dtype) != dtypes[0]:
        index = index.astype(dtypes[0])
    if frequency := described.get("frequency"):
        index = index.copy()
        index.freq = frequency
    return index


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
