"""The parts of a run's page about its parameters and metrics."""

import contextlib
import math
from typing import TYPE_CHECKING, NamedTuple

from thence.cli import human
from thence.cli.output import Output
from thence.cli.page import section, value_text
from thence.cli.spark import spark
from thence.cli.table import Column
from thence.errors import NotFound
from thence.index.views import RunDetail

if TYPE_CHECKING:
    from thence.project import Project

__all__ = ["Series", "series_of", "show_metrics", "show_params"]

_SHOWN = 40


class Series(NamedTuple):
    """The course of a metric."""

    name: str
    last: float
    values: tuple[float, ...]

    @property
    def range(self) -> tuple[float, float] | None:
        """The smallest and the largest value."""
        finite = [one for one in self.values if math.isfinite(one)]
        return (min(finite), max(finite)) if finite else None


def series_of(project: "Project", run: RunDetail) -> list[Series]:
    """The metrics of a run, by name; without their course where that is not there."""
    found = []
    for name, last in sorted(run.metrics.items()):
        values: tuple[float, ...] = ()
        if run.sealed is not None and run.sealed.series is not None:
            with contextlib.suppress(NotFound):
                values = tuple(one.value for one in project.metric_series(run, name))
        found.append(Series(name, last, values))
    return found


def show_params(output: Output, run: RunDetail) -> None:
    """Its parameters, and where each is from."""
    if not run.params:
        return
    section(output, f"parameters ({len(run.params):,})")
    rows = [(name, value_text(one.value), one.origin) for name, one in sorted(run.params.items())]
    output.table(
        [Column("NAME"), Column("VALUE", flexible=True), Column("FROM", style="dim")],
        rows[:_SHOWN],
    )
    _tell_more(output, run, len(rows), "parameter")


def show_metrics(output: Output, run: RunDetail, series: list[Series]) -> None:
    """Its metrics: the last value of each, and how it came to it."""
    if not series:
        return
    section(output, f"metrics ({len(series):,})")
    rows = []
    for one in series[:_SHOWN]:
        is_long = len(one.values) > 1
        low, high = (one.range or (one.last, one.last)) if is_long else (one.last, one.last)
        rows.append(
            (
                one.name,
                human.number(one.last),
                human.number(low) if is_long else "",
                human.number(high) if is_long else "",
                f"{len(one.values):,}" if is_long else "",
                spark(one.values),
            )
        )
    output.table(
        [
            Column("NAME", flexible=True, middle=True),
            Column("LAST", right=True),
            Column("LEAST", right=True, optional=True),
            Column("MOST", right=True, optional=True),
            Column("POINTS", right=True, optional=True),
            Column("COURSE", style="cyan", optional=True),
        ],
        rows,
    )
    _tell_more(output, run, len(series), "metric")


def _tell_more(output: Output, run: RunDetail, count: int, thing: str) -> None:
    if (more := count - _SHOWN) > 0:
        output.data(f"and {human.count(more, f'more {thing}')}: thence show {run.run.short} --json")
