"""`runs`: the rarer verbs about runs."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from thence.cli import human
from thence.cli.output import Output
from thence.cli.plain import run_fields
from thence.cli.run_comparing import compare
from thence.cli.table import Column
from thence.cli.values import PAIR, as_mapping
from thence.cli.verb import Invocation, VerbGroup, verb
from thence.cli.watching import watch
from thence.index.views import RunSummary
from thence.model.ids import RunId
from thence.model.records import RunStatus

if TYPE_CHECKING:
    from thence.execution.following import Live
    from thence.project import Project

__all__ = ["runs", "tell_waiting"]

_SHOWN_METRICS = 3
_SHOWN_RUNS = 50


@click.group("runs", cls=VerbGroup, examples=("thence runs list", "thence runs recover"))
def runs() -> None:
    """List, compare, watch and recover runs."""


@verb("list", examples=["thence runs list", "thence runs list --since 7d --metric auc"])
@click.option("--experiment", metavar="NAME", help="Only those of this experiment.")
@click.option(
    "--status",
    type=click.Choice([status.value for status in RunStatus]),
    help="Only those that ended so.",
)
@click.option("--tag", "tags", type=PAIR, multiple=True, help="Only those tagged so; repeatable.")
@click.option("--since", metavar="WHEN", help="Only those since: a date, or 12h, 7d, 4w.")
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="A column for it; repeatable."
)
@click.option(
    "--limit", type=click.IntRange(1), default=_SHOWN_RUNS, show_default=True, help="At most."
)
def list_runs(
    invocation: Invocation,
    *,
    experiment: str | None,
    status: str | None,
    tags: tuple[tuple[str, str], ...],
    since: str | None,
    metrics: tuple[str, ...],
    limit: int,
) -> None:
    """List the runs.

    The one that began last comes first.
    """
    wanted = None if status is None else RunStatus(status)
    wanted_tags = as_mapping(tags, "tag")
    after = None if since is None else _moment(since)
    project = invocation.project()
    narrows = bool(wanted_tags) or after is not None
    found = project.runs(experiment=experiment, status=wanted, limit=None if narrows else limit + 1)
    found = [
        one
        for one in found
        if wanted_tags.items() <= one.tags.items() and (after is None or one.started >= after)
    ][: limit + 1]
    output = invocation.output
    from thence.execution.following import look, with_live

    # Of those that go on it is told how they do.
    seen = {
        one.run: look(project.site, one.run)
        for one in found[:limit]
        if one.status is RunStatus.RUNNING
    }
    found = [with_live(one, seen.get(one.run)) for one in found]
    for one in found[:limit]:
        live = seen.get(one.run)
        signs = {} if live is None else {"last_sign": live.last_sign, "points": live.points}
        output.record("run", run_fields(one), **signs)
    tell_waiting(output, project)
    if not found:
        narrowed = narrows or experiment is not None or status is not None
        output.note("nothing fits" if narrowed else "nothing was run yet: thence run COMMAND")
        return
    now = datetime.now(UTC)
    output.table(
        [
            Column("RUN", style="cyan"),
            Column("STATUS"),
            Column("LAST SIGN", optional=True),
            Column("WHEN"),
            Column("TOOK", right=True),
            Column("VERDICT", optional=True),
            Column("NAME", flexible=True, optional=True),
            *(Column(name, right=True) for name in metrics),
            Column("METRICS", flexible=True, optional=True),
            Column("COMMAND", flexible=True, style="dim"),
        ],
        [_row(one, seen.get(one.run), now, metrics) for one in found[:limit]],
    )
    if len(found) > limit:
        output.note(f"there are more: --limit {limit * 2}")


def _moment(text: str) -> datetime:
    """A date or time, or how long ago.

    Raises:
        click.BadParameter: It is neither.
    """
    if found := re.fullmatch(r"(\d+)([mhdw])", text):
        unit = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}[found[2]]
        return datetime.now(UTC) - timedelta(**{unit: int(found[1])})
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{text!r} is no time: give 2026-01-31, 2026-01-31T12:00, 12h, 7d or 4w",
            param_hint="--since",
        ) from error


def _row(
    run: RunSummary, live: "Live | None", now: datetime, wanted: tuple[str, ...]
) -> tuple[str, ...]:
    columns = [human.number(run.metrics[name]) if name in run.metrics else "" for name in wanted]
    # With columns of their own, the others are not wanted.
    others = {} if wanted else run.metrics
    metrics = [f"{name}={human.number(value)}" for name, value in sorted(others.items())]
    more = " …" if metrics[_SHOWN_METRICS:] else ""
    return (
        run.run.short,
        run.status.value if run.deletion is None else "removed",
        "" if live is None or live.last_sign is None else human.ago(live.last_sign, now),
        human.ago(run.started, now),
        "" if run.duration_s is None else human.duration(run.duration_s),
        "" if run.finding is None else run.finding.value,
        run.name or "",
        *columns,
        " ".join(metrics[:_SHOWN_METRICS]) + more,
        human.command(run.command) if run.deletion is None else str(run.deletion),
    )


@verb("recover", examples=["thence runs recover"], statuses=(4, 5))
@click.option(
    "--from-segments",
    "ref",
    metavar="RUN",
    help="Seal this run, whose machine is gone for good, with what it had published.",
)
@click.option("--force", is_flag=True, help="With --from-segments, though it may still go on.")
def recover(invocation: Invocation, *, ref: str | None, force: bool) -> None:
    """Seal runs whose recorder died, or whose home could not be reached.

    What was observed is kept; runs that are still going on are left alone. Those that cannot be
    sealed yet are listed, and wait.
    """
    project = invocation.project()
    output = invocation.output
    if ref is not None:
        from thence.execution.recovery import recover_from_segments

        run = project.find_run(ref).run
        recover_from_segments(project.site, run, force=force)
        found = [project.find_run(f"run:{run}")]
    else:
        try:
            found = project.recover()
        finally:
            _list_waiting(output, project)
    for one in found:
        output.record("run", run_fields(one))
        inputs, outputs = one.inputs_count, one.outputs_count
        counts = f"{human.count(inputs, 'input')}, {human.count(outputs, 'output')}"
        output.done(f"sealed {one.run.short} ({one.status.value}; {counts})")
    if not found:
        output.done("nothing to recover")


def _list_waiting(output: Output, project: "Project") -> None:
    from thence.execution.recovery import waiting

    now = datetime.now(UTC)
    for one in waiting(project.site):
        opened, end = one.beginning.opened, one.end
        ended = "its recorder died" if end is None else f"ended {human.ago(end.ended, now)}"
        output.record(
            "waiting",
            {
                "run": one.run,
                "command": opened.command,
                "started": opened.started,
                "ended": None if end is None else end.ended,
                "exit_code": None if end is None else end.exit_code,
            },
        )
        if not output.json:
            output.note(f"waits: {one.run.short} ({ended}) {human.command(opened.command)}")


def tell_waiting(output: Output, project: "Project", *, but: RunId | None = None) -> None:
    """Say in a line that runs of this folder wait to be sealed, if some do."""
    from thence.execution.recovery import waiting

    count = sum(one.run != but for one in waiting(project.site))
    if count and not output.json:
        verb = "waits" if count == 1 else "wait"
        output.note(f"{human.count(count, 'run')} {verb} to be sealed: thence runs recover")


runs.add_command(list_runs)
runs.add_command(compare)
runs.add_command(watch)
runs.add_command(recover)
