"""CSV and its relatives: loaded as a DataFrame, compared cell by cell with the standard library."""

import csv
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from thence.formats.base import CompareContext, Outcome, Trust, Unreadable, missing_extra
from thence.formats.media import sniff, suffix_of
from thence.formats.tally import Tally, show
from thence.model.records import Kind

__all__ = ["CSV"]

_INTEGER = re.compile(r"[+-]?[1-9]\d*|\+?0")
_FLOAT = re.compile(
    r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf|infinity)|nan",
    re.IGNORECASE,
)
_DIGITS_OF_A_FLOAT = 17
_ORDER = ("empty", "integer", "float")


class CSV:
    """Loads and compares CSV and TSV.

    Compared: the columns and their order, the type of each column (integer, float, boolean, text),
    every cell, the number and the order of rows. A column without any fraction that becomes one of
    fractions changes its type, so `1` and `1.0` are different there, and equal where the column has
    fractions anyway. Quoting, line endings, a byte order mark and other spellings of the same
    number (`0.5`, `5e-1`) are `equivalent`. Numbers with leading zeros are text. Numbers are exact
    unless a tolerance is given; columns named in `Tolerance.volatile` are passed over.

    Both files are read side by side, a row at a time.
    """

    name = "csv"
    media_type = "text/csv"
    kind = Kind.DATASET

    def matches(self, name: str, head: bytes) -> bool:
        """By media type."""
        return sniff(name, head).media_type in {"text/csv", "text/tab-separated-values"}

    def load(self, path: Path, metadata: Mapping[str, Any], trust: Trust) -> Any:
        """A DataFrame of pandas, or of polars where only that is installed.

        Raises:
            MissingExtra: Neither is installed.
        """
        separator = _delimiter(path)
        try:
            import pandas as pd
        except ImportError:
            return _load_with_polars(path, separator)
        try:
            return pd.read_csv(path, sep=separator)
        except (ValueError, pd.errors.ParserError) as error:
            raise Unreadable(path, f"not readable as CSV: {error}") from error

    def compare(self, original: Path, reproduced: Path, context: CompareContext) -> Outcome:
        """Cell by cell."""
        tally = Tally(self.name, context.tolerance)
        delimiters = _delimiter(original, context.name), _delimiter(reproduced, context.name)
        if delimiters[0] != delimiters[1]:
            tally.differs(f"delimiter: {delimiters[0]!r} -> {delimiters[1]!r}")
            return tally.outcome()
        _Tables(tally, original, reproduced, delimiters[0]).compare()
        return tally.outcome("same cells, written differently")


class _Cell(NamedTuple):
    kind: str
    number: float


class _Tables:
    """Two tables that are read side by side."""

    def __init__(self, tally: Tally, original: Path, reproduced: Path, delimiter: str) -> None:
        self.tally = tally
        self.paths = original, reproduced
        self.delimiter = delimiter
        self.columns: list[str] = []
        self.ignored: list[bool] = []
        self.respelled: set[int] = set()
        """Columns in which an integer stands against the same number with a fraction."""

    def compare(self) -> None:
        original, reproduced = (_rows(path, self.delimiter) for path in self.paths)
        first, second = next(original, None), next(reproduced, None)
        if first is None or second is None:
            if first is not second:
                self.tally.differs(f"header: {_or_nothing(first)} -> {_or_nothing(second)}")
            return
        headed = not all(_cell(text).kind in _ORDER for text in first)
        self._name_columns(first if headed else [f"column {i + 1}" for i in range(len(first))])
        if headed and first != second:
            self._different_headers(first, second)
            return
        if not headed:
            self._row(1, first, second)
        rows = zip_longest(original, reproduced)
        for number, (one, other) in enumerate(rows, 1 if headed else 2):
            if one is None or other is None:
                extra = 1 + sum(1 for _ in (reproduced if one is None else original))
                verb = "more" if one is None else "fewer"
                self.tally.differs(f"rows: {extra} {verb} than the {number - 1} they share")
                break
            if one != other:
                self._row(number, one, other)
        self._compare_kinds()

    def _name_columns(self, names: list[str]) -> None:
        self.columns = names
        self.ignored = [self.tally.tolerance.ignores(name, name) for name in names]

    def _different_headers(self, original: list[str], reproduced: list[str]) -> None:
        if sorted(original) == sorted(reproduced):
            self.tally.differs(f"order of columns: {show(original)} -> {show(reproduced)}")
            return
        for index, (one, other) in enumerate(zip_longest(original, reproduced), 1):
            if one != other:
                self.tally.differs(f"column {index}: {_or_nothing(one)} -> {_or_nothing(other)}")

    def _row(self, number: int, original: list[str], reproduced: list[str]) -> None:
        if len(original) != len(reproduced):
            self.tally.differs(f"row {number}: {len(original)} -> {len(reproduced)} cells")
            return
        for index, (one, other) in enumerate(zip(original, reproduced, strict=True)):
            if one == other:
                continue
            column = self.columns[index] if index < len(self.columns) else f"column {index + 1}"
            if index < len(self.ignored) and self.ignored[index]:
                self.tally.passes_over(f"ignored column {column!r}")
            else:
                self._compare_cells(f"row {number}, column {column!r}", index, one, other)

    def _compare_cells(self, where: str, index: int, original: str, reproduced: str) -> None:
        first, second = _cell(original), _cell(reproduced)
        if first.kind != second.kind:
            self.respelled.add(index)
        numbers = {"integer", "float"}
        if first.kind not in numbers or second.kind not in numbers:
            self.tally.differs(f"{where}: {show(original)} -> {show(reproduced)}")
        elif not _same_written(first, second, original, reproduced):
            if self.tally.tolerance.allows(first.number, second.number):
                off = abs(second.number - first.number)
                self.tally.deviates(where, first.number, second.number, off)
            else:
                self.tally.differs(f"{where}: {original} -> {reproduced}")

    def _compare_kinds(self) -> None:
        # A second reading, only where it can matter: the first is spared looking at equal rows.
        if not self.respelled or self.tally.failed or not self.tally.tolerance.is_exact:
            return
        originals, others = (self._kinds(path) for path in self.paths)
        for index in sorted(self.respelled):
            if originals[index] != others[index]:
                self.tally.differs(
                    f"column {self.columns[index]!r}: type {originals[index]} -> {others[index]}"
                )

    def _kinds(self, path: Path) -> dict[int, str]:
        rows = _rows(path, self.delimiter)
        next(rows)
        kinds = dict.fromkeys(self.respelled, "empty")
        for row in rows:
            for index in self.respelled:
                kinds[index] = _join(kinds[index], _cell(row[index]).kind)
        return kinds


def _load_with_polars(path: Path, separator: str) -> Any:
    try:
        import polars as pl
    except ImportError as error:
        raise missing_extra("pandas", "pandas", "to load CSV") from error
    try:
        return pl.read_csv(path, separator=separator)
    except pl.exceptions.PolarsError as error:
        raise Unreadable(path, f"not readable as CSV: {error}") from error


def _delimiter(path: Path, name: str = "") -> str:
    """Tab by name, else what the first line has most of."""
    if suffix_of(name or path.name) in {"tsv", "tab"}:
        return "\t"
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        # what is quoted is no delimiter
        first = re.sub(r'"[^"]*"', "", lines.readline(1 << 20))
    counts = {mark: first.count(mark) for mark in ",;\t|"}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else ","


def _rows(path: Path, delimiter: str) -> Iterator[list[str]]:
    # Bytes that are not UTF-8 are kept apart by surrogates, so every encoding is compared exactly.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            yield from (row for row in reader if row)
        except csv.Error as error:
            raise Unreadable(path, f"not readable as CSV: line {reader.line_num}: {error}") from (
                error
            )


def _cell(text: str) -> _Cell:
    if not text:
        return _Cell("empty", 0.0)
    if _INTEGER.fullmatch(text):
        try:
            return _Cell("integer", int(text))
        except ValueError:  # Python reads no more than 4,300 digits
            return _Cell("text", 0.0)
    if _FLOAT.fullmatch(text):
        return _Cell("float", float(text))
    if text.lower() in {"true", "false"}:
        return _Cell("boolean", 0.0)
    return _Cell("text", 0.0)


def _join(first: str, second: str) -> str:
    """The type of a column that holds cells of two types."""
    if second in {first, "empty"}:
        return first
    if first == "empty":
        return second
    if first in _ORDER and second in _ORDER:
        return "float"
    return "text"


def _same_written(first: _Cell, second: _Cell, original: str, reproduced: str) -> bool:
    """Whether two spellings are one number, to the last digit written."""
    if first.number != first.number or second.number != second.number:  # NaN
        return str(first.number) == str(second.number)
    if abs(first.number) == float("inf") or abs(second.number) == float("inf"):
        # 1e999 is beyond a float, yet not the infinity that somebody wrote as a word
        words = ["inf" in text.lower() for text in (original, reproduced)]
        if any(words):
            return all(words) and first.number == second.number
        return Decimal(original) == Decimal(reproduced)
    if _is_negative_zero(original, first) != _is_negative_zero(reproduced, second):
        return False
    if max(_digits(original), _digits(reproduced)) <= _DIGITS_OF_A_FLOAT:
        return first.number == second.number
    return Decimal(original) == Decimal(reproduced)


def _is_negative_zero(text: str, cell: _Cell) -> bool:
    return cell.number == 0 and text.startswith("-")


def _digits(text: str) -> int:
    """Significant digits of a number as it is written."""
    mantissa = re.split("[eE]", text)[0]
    return len(mantissa.strip("+-").replace(".", "").strip("0"))


def _or_nothing(value: object) -> str:
    return "nothing" if value is None else show(value)
