"""`runs`: the rarer verbs about runs."""

from datetime import UTC, datetime

import click

from thence.cli import human
from thence.cli.plain import run_fields
from thence.cli.run_page import command_text
from thence.cli.table import Column
from thence.cli.verb import Invocation, VerbGroup, verb
from thence.index.views import RunSummary
from thence.model.records import RunStatus

__all__ = ["runs"]

_SHOWN_METRICS = 3
_SHOWN_RUNS = 50


@click.group("runs", cls=VerbGroup, examples=("thence runs list", "thence runs recover"))
def runs() -> None:
    """List and recover runs."""


@verb("list", examples=["thence runs list", "thence runs list --status failed --json"])
@click.option("--experiment", metavar="NAME", help="Only those of this experiment.")
@click.option(
    "--status",
    type=click.Choice([status.value for status in RunStatus]),
    help="Only those that ended so.",
)
@click.option(
    "--limit", type=click.IntRange(1), default=_SHOWN_RUNS, show_default=True, help="At most."
)
def list_runs(
    invocation: Invocation, *, experiment: str | None, status: str | None, limit: int
) -> None:
    """List the runs.

    The one that began last comes first.
    """
    project = invocation.project()
    wanted = None if status is None else RunStatus(status)
    found = project.runs(experiment=experiment, status=wanted, limit=limit + 1)
    output = invocation.output
    for one in found[:limit]:
        output.record("run", run_fields(one))
    if not found:
        narrowed = experiment is not None or status is not None
        output.note("nothing fits" if narrowed else "nothing was run yet: thence run COMMAND")
        return
    now = datetime.now(UTC)
    output.table(
        [
            Column("RUN", style="cyan"),
            Column("STATUS"),
            Column("WHEN"),
            Column("TOOK", right=True),
            Column("VERDICT", optional=True),
            Column("NAME", flexible=True, optional=True),
            Column("METRICS", flexible=True, optional=True),
            Column("COMMAND", flexible=True, style="dim"),
        ],
        [_row(one, now) for one in found[:limit]],
    )
    if len(found) > limit:
        output.note(f"there are more: --limit {limit * 2}")


def _row(run: RunSummary, now: datetime) -> tuple[str, ...]:
    metrics = [f"{name}={human.number(value)}" for name, value in sorted(run.metrics.items())]
    more = " …" if metrics[_SHOWN_METRICS:] else ""
    return (
        run.run.short,
        run.status.value,
        human.ago(run.started, now),
        "" if run.duration_s is None else human.duration(run.duration_s),
        "" if run.finding is None else run.finding.value,
        run.name or "",
        " ".join(metrics[:_SHOWN_METRICS]) + more,
        command_text(run.command),
    )


@verb("recover", examples=["thence runs recover"])
def recover(invocation: Invocation) -> None:
    """Seal runs whose recorder died.

    What was observed until then is kept; runs that are still going on are left alone.
    """
    found = invocation.project().recover()
    output = invocation.output
    for run in found:
        output.record("run", run_fields(run))
        inputs, outputs = run.inputs_count, run.outputs_count
        counts = f"{human.count(inputs, 'input')}, {human.count(outputs, 'output')}"
        output.done(f"sealed {run.run.short} ({run.status.value}; {counts})")
    if not found:
        output.done("nothing to recover")


runs.add_command(list_runs)
runs.add_command(recover)
