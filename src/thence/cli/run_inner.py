"""The part of a run's page about the runs that its command made itself."""

from typing import TYPE_CHECKING

from thence.cli import human
from thence.cli.output import Output
from thence.cli.page import section
from thence.cli.table import Column
from thence.errors import InvalidInput, NotFound
from thence.model.records import RunSealed

if TYPE_CHECKING:
    from thence.index.views import RunDetail
    from thence.project import Project

__all__ = ["show_inner"]

_SHOWN = 20


def show_inner(output: Output, project: "Project", sealed: RunSealed) -> None:
    """The runs inside of it, each by the ref that `thence show` takes."""
    inner = sealed.sensor.inner_runs
    if not inner:
        return
    section(output, f"runs inside of it ({len(inner):,})")
    output.table(
        [
            Column("RUN", style="cyan"),
            Column("NAME", flexible=True, optional=True),
            Column("STATUS", optional=True),
            Column("TOOK", right=True, optional=True),
            Column("COMMAND", flexible=True),
        ],
        [_row(project, name) for name in inner[:_SHOWN]],
    )
    if (more := len(inner) - _SHOWN) > 0:
        output.data(f"and {human.count(more, 'more run')}: thence show {sealed.run.short} --json")


def _row(project: "Project", name: str) -> tuple[str, str, str, str, str]:
    run = _found(project, name)
    if run is None:
        return f"run:{name[:8]}", "", "", "", "not in this project"
    took = "" if run.duration_s is None else human.duration(run.duration_s)
    status = "removed" if run.deletion is not None else run.status.value
    return run.run.short, run.name or "", status, took, human.command(run.command)


def _found(project: "Project", name: str) -> "RunDetail | None":
    try:
        return project.find_run(f"run:{name}")
    except (NotFound, InvalidInput):  # of another project, or named by a program
        return None
