"""Series of metrics that other libraries left among the outputs of a run.

Known are the event files of TensorBoard, the tables of DVCLive (`plots/metrics/*.tsv`), the
`metrics.csv` of Lightning, and what `CSVLogger` of Keras writes.
"""

import csv
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from thence.formats.event_file import Damaged, read_scalars
from thence.model.records import MetricPoint

__all__ = ["LIMIT_BYTES", "LIMIT_POINTS", "FoundSeries", "SeriesFiles"]

LIMIT_BYTES = 100 << 20
LIMIT_POINTS = 1_000_000
_LIMIT_COLUMNS = 1000
_LIMIT_STEP = 2.0**63
_SHOWN = 40
_HEAD = 64 << 10
_TABLES = {".csv", ".tsv", ".log", ".txt"}
_PLACES = {"epoch", "step", "timestamp"}
_DVCLIVE = "/plots/metrics/"

Key = tuple[str, str]
"""Where a series is from, and its name there."""


class FoundSeries(NamedTuple):
    """Series of metrics.

    Attributes:
        points: Those of one metric in the order in which they were written.
        last: The last value of each.
        problems: What was left out, sentences.
    """

    points: list[MetricPoint]
    last: dict[str, float]
    problems: list[str]


class _Point(NamedTuple):
    step: int | None
    value: float
    wall_s: float | None = None


class SeriesFiles:
    """Collects what files of a run have.

    Args:
        clean: Gives a name without secrets.
        limit: So many points are kept; of more, each second one, fourth one and so on.
    """

    def __init__(self, clean: Callable[[str], str], *, limit: int = LIMIT_POINTS) -> None:
        self._clean = clean
        self._limit = limit
        self._stride = 1
        self._kept = 0
        self._series: dict[Key, list[_Point]] = {}
        self._seen: dict[Key, int] = {}
        self._last: dict[Key, _Point] = {}
        self._problems: list[str] = []

    def read(self, path: Path, name: str) -> None:
        """Take the series in a file, if it is one of those that are known.

        Args:
            path: Where it is.
            name: What it is called in the record.

        Raises:
            OSError: It cannot be read.
        """
        kind = _kind(path, name)
        if kind is None:
            return
        size = path.stat().st_size
        if size > LIMIT_BYTES:
            self._problems.append(
                f"no metrics were read from {name}: it is over {LIMIT_BYTES >> 20} MiB"
            )
            return
        try:
            if kind == "events":
                self._read_events(path, name)
            else:
                self._read_table(path, name, kind)
        except (Damaged, csv.Error, ValueError) as error:
            self._problems.append(f"the metrics in {name} were not all read: {error}")

    def result(self, taken: Iterable[str] = ()) -> FoundSeries:
        """All series, but for those of metrics that are known otherwise.

        Where several files have a metric of one name, that is `<folder>/<name>`.
        """
        names = _names(self._series)
        known = set(taken)
        points: list[MetricPoint] = []
        last = {}
        for key, series in self._series.items():
            name = self._clean(names[key])
            if name in known:
                continue
            end = self._last[key]
            whole = series if series[-1] is end else [*series, end]
            points += (
                MetricPoint(name=name, value=one.value, step=one.step, at=_moment(one.wall_s))
                for one in whole
            )
            last[name] = end.value
        problems = list(self._problems)
        if self._stride > 1:
            problems.append(
                f"the files of the run have over {self._limit:,} points of metrics: "
                f"each {self._stride}th one is kept"
            )
        return FoundSeries(points, last, problems)

    def _add(self, group: str, name: str, point: _Point) -> None:
        key = (group, name)
        seen = self._seen.get(key, 0)
        self._seen[key] = seen + 1
        self._last[key] = point
        if seen % self._stride:
            return
        self._series.setdefault(key, []).append(point)
        self._kept += 1
        if self._kept > self._limit:
            self._stride *= 2
            self._series = {one: points[::2] for one, points in self._series.items()}
            self._kept = sum(map(len, self._series.values()))

    def _read_events(self, path: Path, name: str) -> None:
        group = name.rpartition("/")[0]
        for one in read_scalars(path.read_bytes()):
            self._add(group, one.tag, _Point(one.step, one.value, one.wall_s))

    def _read_table(self, path: Path, name: str, kind: str) -> None:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            separator = _separator(file.readline())
            file.seek(0)
            rows = csv.reader(file, delimiter=separator)
            columns = next(rows, [])[:_LIMIT_COLUMNS]
            group = _group(name, kind)
            place = next((one for one in ("step", "epoch") if one in columns), "")
            strange: list[str] = []
            for row in rows:
                cells = dict(zip(columns, row, strict=False))
                step = _step(cells.get(place, ""))
                if step is None and cells.get(place):
                    strange.append(cells[place])
                at = _number(cells.get("timestamp", ""))
                for column, text in cells.items():
                    value = None if column in _PLACES or not column else _number(text)
                    if value is not None:
                        metric = _dvclive_name(name) if kind == "dvclive" else column
                        wall_s = None if at is None else at / 1000  # milliseconds
                        self._add(group, metric, _Point(step, value, wall_s))
        if strange:
            self._problems.append(
                f"{len(strange)} steps in {name} were not understood, the first is"
                f" {self._clean(strange[0][:_SHOWN])!r}"
            )


def _kind(path: Path, name: str) -> str | None:
    pure = PurePosixPath(name)
    if ".tfevents." in pure.name:
        return "events"
    if pure.suffix.lower() not in _TABLES:
        return None
    if pure.suffix == ".tsv" and _DVCLIVE in f"/{name}":
        return "dvclive"
    with path.open("rb") as file:
        line = file.readline(_HEAD).decode("utf-8-sig", "replace")
    columns = [one.strip(' "\r\n') for one in line.split(_separator(line))]
    if len(set(columns)) != len(columns):
        return None
    if pure.name == "metrics.csv" and {"step", "epoch"} & set(columns):
        return "lightning"
    if columns[0] == "epoch" and "loss" in columns:
        return "keras"
    return None


def _separator(line: str) -> str:
    return max(",;\t", key=line.count)


def _group(name: str, kind: str) -> str:
    if kind == "dvclive":
        return f"/{name}".partition(_DVCLIVE)[0].strip("/")
    return str(PurePosixPath(name).with_suffix("")) if kind == "keras" else name.rpartition("/")[0]


def _dvclive_name(name: str) -> str:
    """As it is called in the `metrics.json` beside it."""
    return f"/{name}".partition(_DVCLIVE)[2].removesuffix(".tsv").replace("/", ".")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _step(text: str) -> int | None:
    """A whole number that indexes can hold."""
    value = _number(text)
    # As a float, what is just below the limit is the limit.
    return int(value) if value is not None and abs(value) < _LIMIT_STEP else None


def _moment(wall_s: float | None) -> datetime | None:
    if wall_s is None or not 0 < wall_s < 1e11:
        return None
    return datetime.fromtimestamp(wall_s, UTC)


def _names(keys: Iterable[Key]) -> dict[Key, str]:
    """What series are called: with as much of where they are from as tells them apart."""
    groups: dict[str, list[str]] = {}
    for group, name in keys:
        groups.setdefault(name, []).append(group)
    return dict(_distinct(groups))


def _distinct(groups: dict[str, list[str]]) -> Iterator[tuple[Key, str]]:
    for name, several in groups.items():
        short = [group.rpartition("/")[2] for group in several]
        is_clear = len(set(short)) == len(short)
        for group, last in zip(several, short, strict=True):
            prefix = "" if len(several) == 1 else last if is_clear else group
            yield (group, name), f"{prefix}/{name}" if prefix else name
