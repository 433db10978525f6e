"""The page of a run: a table of contents of everything that was kept of it."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from thence.cli import human
from thence.cli.output import Output
from thence.cli.page import fields, folded, section
from thence.cli.plain import run_fields
from thence.cli.run_completeness import completeness, show_completeness, show_withheld
from thence.cli.run_environment import environment_of, show_code, show_environment
from thence.cli.run_files import show_files, show_versions
from thence.cli.run_inner import show_inner
from thence.cli.run_observed import show_asked, show_cells, show_chance, show_usage
from thence.cli.run_values import series_of, show_metrics, show_params
from thence.errors import DataDamaged, NotFound
from thence.index.views import RunDetail
from thence.model.observed import Observed
from thence.model.records import Comparison, FileUse, RunSealed, RunStatus

if TYPE_CHECKING:
    from thence.execution.following import Live
    from thence.project import Project

__all__ = ["STATUS_STYLES", "show_run"]

STATUS_STYLES = {
    RunStatus.FINISHED: "green",
    RunStatus.FAILED: "red",
    RunStatus.DIED: "red",
    RunStatus.INTERRUPTED: "yellow",
    RunStatus.RUNNING: "cyan",
}


def show_run(output: Output, project: "Project", run: RunDetail) -> None:
    """Print everything about a run; with `--json` also one object for each of its files."""
    # What was removed may have lost them already.
    there = run.deletion is None
    files = project.run_files(f"run:{run.run}") if there else []
    environment = environment_of(project, run) if there else None
    live = _live(project, run)
    if live is not None:
        from thence.execution.following import with_live

        run = with_live(run, live)
        output.record(
            "run", run_fields(run), environment=None, last_sign=live.last_sign, points=live.points
        )
    else:
        output.record("run", run_fields(run), environment=environment)
    for file in files:
        output.record("file", file)
    observed = _observed(project, run) if there else []
    for one in observed:
        output.record(str(one.__struct_config__.tag), one)
    series = series_of(project, run) if there else []
    for course in series:
        output.record("series", {**course._asdict(), "values": len(course.values)})
    if output.json:
        return
    sealed = run.sealed
    _head(output, project, run, None if sealed is None else (sealed, files, observed))
    if live is not None:
        _going_on(output, run, live)
    show_cells(output, run, observed)
    show_files(output, run, files)
    show_versions(output, run, files)
    if sealed is not None:
        show_inner(output, project, sealed)
    show_asked(output, run, observed)
    show_params(output, run)
    show_metrics(output, run, series)
    show_chance(output, observed)
    if sealed is not None:
        show_usage(output, sealed.usage, observed)
        if there:
            show_code(output, project, sealed)
    if environment:
        show_environment(output, environment)
    if sealed is not None:
        show_withheld(output, sealed, files)
        show_completeness(output, sealed)
    for number, verdict in run.verdicts:
        section(output, f"verdict {number}: {verdict.finding.value}")
        when = human.moment(verdict.ended, datetime.now(UTC))
        fields(
            output,
            [
                ("when", f"{when}, by {verdict.author} on {verdict.host.name}"),
                ("results", _grades(verdict.results)),
                *((("reason", text)) for text in verdict.reasons),
                *((("deviation", text)) for text in verdict.deviations),
                *((("missing", text)) for text in verdict.missing),
            ],
        )


def _live(project: "Project", run: RunDetail) -> "Live | None":
    if run.status is not RunStatus.RUNNING:
        return None
    from thence.execution.following import look

    return look(project.site, run.run)


def _going_on(output: Output, run: RunDetail, live: "Live") -> None:
    section(output, "so far")
    last = None if live.last_sign is None else human.moment(live.last_sign, datetime.now(UTC))
    fields(
        output,
        [
            ("last sign of life", last),
            ("metric points", f"{live.points:,}"),
            ("follow it", f"thence runs watch {run.run.short}"),
        ],
    )


def _observed(project: "Project", run: RunDetail) -> list[Observed]:
    try:
        return project.observed(run)
    except (NotFound, DataDamaged):  # what is left of the run is shown all the same
        return []


def _head(
    output: Output,
    project: "Project",
    run: RunDetail,
    seen: tuple[RunSealed, list[FileUse], list[Observed]] | None,
) -> None:
    name = f"  {human.line(run.name)}" if run.name else ""
    status = output.paint(run.status.value, STATUS_STYLES[run.status])
    title = output.paint(f"run:{run.run}{name}", "bold")
    output.painted(f"{title}  {status}")
    now = datetime.now(UTC)
    took = "" if run.duration_s is None else f", took {human.duration(run.duration_s)}"
    host = run.sealed.host if run.sealed else run.opened.host if run.opened else None
    machine = run.host
    if host is not None:
        memory = human.size(host.memory_bytes) if host.memory_bytes else ""
        cpus = f"{host.cpus} x {host.cpu}" if host.cpu else ""
        parts = (f"{host.system} {host.release}", host.distribution, cpus, memory)
        machine = f"{run.host} ({', '.join(part for part in parts if part)})"
    if seen is not None:
        sentence, is_whole = completeness(*seen)
        for text in folded(output, sentence):
            output.styled(text, "green" if is_whole else "yellow")
    fields(
        output,
        [
            ("removed", human.removal(run.deletion, now)),
            ("undo", f"thence rm --undo {run.run.short}" if project.can_undo(run) else None),
            ("command", human.command(run.command)),
            ("notebook", run.sealed.notebook if run.sealed else None),
            ("in", run.root if run.cwd in {"", "."} else f"{run.root}, {run.cwd}"),
            ("on", machine),
            ("by", run.author),
            ("when", human.moment(run.started, now) + took),
            ("exit status", None if run.exit_code is None else str(run.exit_code)),
            ("experiment", run.experiment),
            ("note", run.note),
            ("tags", "  ".join(f"{key}={value}" for key, value in run.tags.items())),
        ],
    )
    if run.sealed is not None and run.sealed.traceback:
        section(output, "how it failed")
        output.data(run.sealed.traceback.rstrip())


def _grades(results: Iterable[Comparison]) -> str:
    counted = Counter(result.grade.value for result in results)
    return ", ".join(f"{number} {grade}" for grade, number in counted.items())
