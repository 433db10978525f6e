"""The parts of a run's page about what it was heard to do: what it took, asked, fetched, drew."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

from thence.cli import human
from thence.cli.output import Output
from thence.cli.page import fields, section
from thence.cli.run_files import ref_of
from thence.cli.spark import spark
from thence.cli.table import Column
from thence.index.views import RunDetail
from thence.model.observed import Cell, Observed, Query, Randomness, RemoteRead, Sample
from thence.model.records import Usage

__all__ = ["show_asked", "show_cells", "show_chance", "show_usage", "unseeded"]

T = TypeVar("T")

_SHOWN = 20


def _of(kind: type[T], observed: Iterable[Observed]) -> list[T]:
    return [one for one in observed if isinstance(one, kind)]


def _tell_more(output: Output, run: RunDetail, count: int, thing: str) -> None:
    if (more := count - _SHOWN) > 0:
        output.data(f"and {human.count(more, f'more {thing}')}: thence show {run.run.short} --json")


def show_usage(output: Output, usage: Usage | None, observed: Sequence[Observed]) -> None:
    """Processor, memory and disk traffic, and their course."""
    samples = _of(Sample, observed)
    if usage is None:
        return
    section(output, "what it took")
    busy = [
        (after.cpu_s - before.cpu_s) / max(after.at_s - before.at_s, 1e-9)
        for before, after in pairwise(samples)
    ]
    memory = [float(one.memory_bytes) for one in samples]
    traffic = [
        f"{human.size(size)} {how}"
        for size, how in ((usage.read_bytes, "read"), (usage.written_bytes, "written"))
        if size is not None
    ]
    gpu = []
    if usage.gpu_memory_peak_bytes is not None:
        gpu.append(f"{human.size(usage.gpu_memory_peak_bytes)} at most")
    if usage.gpu_utilization is not None:
        gpu.append(f"{usage.gpu_utilization:.0%} busy")
    peak = f"{human.size(usage.memory_peak_bytes)} at most" if usage.memory_peak_bytes else None
    fields(
        output,
        [
            ("processor", f"{human.duration(usage.cpu_s)}  {spark(busy)}".rstrip()),
            ("memory", None if peak is None else f"{peak}  {spark(memory)}".rstrip()),
            ("disks", ", ".join(traffic)),
            ("processes", f"{usage.processes:,} at most" if usage.processes > 1 else None),
            ("accelerators", ", ".join(gpu)),
        ],
    )


def show_asked(output: Output, run: RunDetail, observed: Sequence[Observed]) -> None:
    """What it fetched over the network, and what it asked databases."""
    if reads := _of(RemoteRead, observed):
        section(output, f"fetched over the network ({len(reads):,})")
        output.table(
            [
                Column("ADDRESS", flexible=True),
                Column("STATUS", right=True, optional=True),
                Column("SIZE", right=True, optional=True),
                Column("BY"),
                Column("TIMES", right=True, optional=True),
                Column("REMARK", style="dim", flexible=True, optional=True),
            ],
            [
                (
                    one.url if one.method == "GET" else f"{one.method} {one.url}",
                    "" if one.status is None else str(one.status),
                    "" if one.size is None else human.size(one.size),
                    one.via,
                    "" if one.count == 1 else f"{one.count:,}",
                    "kept" if one.kept else "" if one.digest else "content not seen",
                )
                for one in reads[:_SHOWN]
            ],
        )
        _tell_more(output, run, len(reads), "address")
    if queries := _of(Query, observed):
        section(output, f"asked of databases ({len(queries):,})")
        output.table(
            [
                Column("STATEMENT", flexible=True),
                Column("ROWS", right=True, optional=True),
                Column("DATABASE", flexible=True),
                Column("BY"),
                Column("TIMES", right=True, optional=True),
            ],
            [
                (
                    human.shorten(one.statement, 200),
                    "" if one.rows is None else f"{one.rows:,}",
                    one.database,
                    one.via,
                    "" if one.count == 1 else f"{one.count:,}",
                )
                for one in queries[:_SHOWN]
            ],
        )
        _tell_more(output, run, len(queries), "statement")


def unseeded(observed: Iterable[Observed]) -> list[Randomness]:
    """Generators that were drawn from without a seed: another run draws other numbers.

    Only where the program did it itself: libraries draw names and delays, which change no result.
    """
    return [
        one for one in _of(Randomness, observed) if one.used and one.seeded is False and one.site
    ]


def show_chance(output: Output, observed: Sequence[Observed]) -> None:
    """The random generators that were used, or given a seed."""
    found = [one for one in _of(Randomness, observed) if one.used or one.seeded]
    if not found:
        return
    section(output, "random numbers")
    warned = unseeded(found)
    rows = []
    for one in found[:_SHOWN]:
        state = "given a seed" if one.seed is None else f"given the seed {one.seed}"
        if one.seeded is False:
            state = "used without a seed" if one in warned else "used without a seed by a library"
        elif one.seeded is None:
            state = "used; whether it was given a seed was not seen"
        elif not one.used and one.used is not None:
            state += ", not used"
        rows.append((one.library, state, one.site or ""))
    for row in dict.fromkeys(rows):
        style = "yellow" if row[1].endswith("without a seed") else "dim"
        where = f"  ({human.line(row[2])})" if row[2] else ""
        output.painted(f"  {human.line(row[0])}  {output.paint(human.line(row[1]), style)}{where}")


def show_cells(output: Output, run: RunDetail, observed: Sequence[Observed]) -> None:
    """The cells of a notebook, in the order in which they were executed."""
    cells = _of(Cell, observed)
    if not cells:
        return
    refs = {one.record: ref_of(one) for one in (*run.uses, *run.makes)}
    section(output, f"cells, as they were executed ({len(cells):,})")
    output.table(
        [
            Column("IN", right=True),
            Column("CELL", flexible=True),
            Column("TOOK", right=True, optional=True),
            Column("SAVED", style="cyan", optional=True),
            Column("LOADED", style="cyan", optional=True),
            Column("", style="red", optional=True),
        ],
        [
            (
                f"[{one.order}]",
                _first_line(one.source),
                "" if one.seconds is None else human.duration(one.seconds),
                ", ".join(refs.get(made, made.short) for made in one.makes),
                ", ".join(refs.get(used, used.short) for used in one.uses),
                "" if one.ok else "failed",
            )
            for one in cells[:_SHOWN]
        ],
    )
    _tell_more(output, run, len(cells), "cell")


def _first_line(source: str) -> str:
    """The first line that says something."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("#")] or lines
    more = " …" if len(told) > 1 else ""
    return human.shorten(told[0] if told else "", 100) + more
