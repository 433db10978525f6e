"""`runs watch`: a run as it goes on."""

import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import click

from thence.cli import human
from thence.cli.page import value_text
from thence.cli.plain import run_fields
from thence.cli.run_page import STATUS_STYLES
from thence.cli.verb import Invocation, verb
from thence.errors import InvalidInput
from thence.model.records import RunStatus

if TYPE_CHECKING:
    from thence.execution.following import Follower
    from thence.execution.live import Line
    from thence.model.observed import Sample

__all__ = ["watch"]

_HERE_S = 0.5
_EVERY_S = 5.0
_FAR_S = 4.0


@verb("watch", examples=["thence runs watch run:last"], statuses=(4,))
@click.argument("ref")
def watch(invocation: Invocation, *, ref: str) -> None:
    """Follow a run until it ends.

    What it logged so far comes first; every five seconds it is told what a run on this machine
    takes of it. From another machine, what it logs is seen about ten seconds
    later. Ctrl-C leaves the run alone.
    """
    from thence.execution.following import Follower, look

    project = invocation.project()
    output = invocation.output
    run = project.find_run(ref)
    if run.status is RunStatus.RUNNING:
        follower = Follower(project.site, run.run)
        seen = look(project.site, run.run)
        is_here = seen is not None and seen.is_here
        pause_s = _HERE_S if is_here else _FAR_S
        if project.site.home is not None and project.site.vault.outbox is not None and not is_here:
            url = shlex.quote(project.site.home.url)
            raise InvalidInput(
                f"{run.run.short} cannot be watched from a clone",
                why="It goes on elsewhere, and a clone knows only what was pulled.",
                hint=f"Watch it at home: thence --project {url} runs watch {run.run.short}",
            )
        output.note(f"{run.run.short} is running on {run.host}; Ctrl-C stops watching")
        try:
            is_over = _follow(invocation, follower, pause_s)
        except KeyboardInterrupt:
            return
        if not is_over:
            output.note(f"nobody records {run.run.short} any more; end it: thence runs recover")
            return
        run = project.find_run(f"run:{run.run}")
    output.record("run", run_fields(run))
    took = "" if run.duration_s is None else f" after {human.duration(run.duration_s)}"
    code = f" with {run.exit_code}" if run.exit_code else ""
    if not output.json:
        status = output.paint(run.status.value, STATUS_STYLES[run.status])
        output.painted(f"{run.run.short} {status}{code}{took}")
        for name, value in sorted(run.metrics.items()):
            output.data(f"  {name}={human.number(value)}")


def _follow(invocation: Invocation, follower: "Follower", pause_s: float) -> bool:
    """Print what the run says until it ends; False where nobody records it any more."""
    told: Sample | None = None
    while True:
        # Asked first, so that nothing is said after the last look.
        is_over, is_abandoned = follower.is_over(), follower.is_abandoned()
        _print(invocation, follower.rest() if is_over else follower.news())
        if is_over or is_abandoned:
            return is_over
        sample = follower.sample()
        if sample is not None and (told is None or sample.at_s - told.at_s >= _EVERY_S):
            told = sample
            _print_sample(invocation, sample)
        time.sleep(pause_s)


def _print_sample(invocation: Invocation, sample: "Sample") -> None:
    """What the run takes of this machine."""
    output = invocation.output
    output.record("sample", sample)
    parts = [
        f"processor {human.duration(sample.cpu_s)}",
        f"memory {human.size(sample.memory_bytes)}",
        "1 process" if sample.processes == 1 else f"{sample.processes:,} processes",
    ]
    if sample.gpu_memory_bytes is not None:
        parts.append(f"accelerators {human.size(sample.gpu_memory_bytes)}")
    output.styled(f"after {human.duration(sample.at_s)}: {', '.join(parts)}", "dim")


def _print(invocation: Invocation, lines: Iterable["Line"]) -> None:
    from thence.execution.live import LoggedMetric, LoggedParam

    output = invocation.output
    said = [line for line in lines if isinstance(line, (LoggedMetric, LoggedParam))]
    for line in said:
        kind = "metric" if isinstance(line, LoggedMetric) else "param"
        output.record(kind, line)
    for text in _texts(said):
        output.data(text)


def _texts(said: "Sequence[Line]") -> Iterator[str]:
    """A line for all that was logged at once."""
    from thence.execution.live import LoggedMetric, LoggedParam

    for place, group in groupby(said, key=_place):
        values = [
            f"{line.name}={human.number(line.value)}"
            if isinstance(line, LoggedMetric)
            else f"{line.name}={value_text(line.value)}"
            for line in group
            if isinstance(line, (LoggedMetric, LoggedParam))
        ]
        step = f"step {place[1]:,}  " if place[0] and place[1] is not None else ""
        yield human.line(step + "  ".join(values))


def _place(line: "Line") -> tuple[bool, int | None, object]:
    from thence.execution.live import LoggedMetric

    if isinstance(line, LoggedMetric):
        return (True, line.step, line.at)
    return (False, None, None)
