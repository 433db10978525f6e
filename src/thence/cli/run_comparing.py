"""`runs compare`: what runs have in common, and in what they differ."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from thence.cli import human
from thence.cli.page import value_text
from thence.cli.run_environment import environment_of
from thence.cli.table import Column
from thence.cli.verb import Invocation, verb
from thence.model.records import FileRole

if TYPE_CHECKING:
    from thence.index.views import RunDetail
    from thence.project import Project

__all__ = ["compare"]

_SHOWN = 60
_MISSING = "-"
Facts = Mapping[str, Mapping[str, Any]]
"""Of a run: section, name, value."""


class _Row(NamedTuple):
    """One thing that was compared; None stands for a run that has it not."""

    section: str
    name: str
    values: tuple[Any, ...]

    @property
    def is_same(self) -> bool:
        return all(value == self.values[0] for value in self.values)


@verb(
    "compare",
    examples=["thence runs compare metrics.json@v1 run:last"],
    statuses=(4,),
)
@click.argument("refs", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--all", "everything", is_flag=True, help="Also what is the same.")
def compare(invocation: Invocation, *, refs: tuple[str, ...], everything: bool) -> None:
    """Show in what runs differ.

    Compares parameters, metrics, code, inputs, packages and machines; what differs is listed, what
    is the same is counted. A version means the run that made it. The exit status is 0 whether or
    not anything differs.
    """
    if len(refs) < 2:
        raise click.UsageError("two runs or more are compared")
    project = invocation.project()
    runs = [project.find_run(ref) for ref in refs]
    rows = _rows([_facts(project, run) for run in runs])
    output = invocation.output
    output.record("compared", {"runs": [f"run:{run.run}" for run in runs]})
    for row in rows:
        output.record("row", {**row._asdict(), "same": row.is_same})
    if output.json:
        return
    different = [row for row in rows if not row.is_same]
    same = [row for row in rows if row.is_same]
    shown = [*different, *(same if everything else ())]
    if not different:
        output.styled("nothing that was kept of them differs", "green")
    if shown:
        output.table(
            [
                Column("WHAT", style="dim"),
                Column("NAME", flexible=True, middle=True),
                *(Column(run.run.short, flexible=True) for run in runs),
            ],
            _cells(shown if everything else shown[:_SHOWN]),
        )
    if not everything and (more := len(different) - _SHOWN) > 0:
        output.data(f"and {more:,} more that differ: --all")
    if same and not everything:
        counts = Counter(row.section for row in same)
        told = ", ".join(f"{count:,} {section}" for section, count in counts.items())
        output.data(f"the same: {told}")


def _cells(rows: Sequence[_Row]) -> list[tuple[str, ...]]:
    before = ""
    cells = []
    for row in rows:
        title = "" if row.section == before else row.section
        before = row.section
        values = [_MISSING if value is None else value_text(value) for value in row.values]
        cells.append((title, row.name, *values))
    return cells


def _rows(facts: Sequence[Facts]) -> list[_Row]:
    """All that any of the runs has; sections and names in the order of the first that has them."""
    rows = []
    for section in dict.fromkeys(section for one in facts for section in one):
        names = dict.fromkeys(name for one in facts for name in one.get(section, {}))
        rows += [
            _Row(section, name, tuple(one.get(section, {}).get(name) for one in facts))
            for name in names
        ]
    return rows


def _facts(project: "Project", run: "RunDetail") -> Facts:
    sealed = run.sealed
    files = project.run_files(f"run:{run.run}") if run.deletion is None else []
    environment = environment_of(project, run) if run.deletion is None else None
    host = sealed.host if sealed else run.opened.host if run.opened else None
    duration = run.duration_s
    general: dict[str, Any] = {
        "command": human.command(run.command),
        "status": run.status.value,
        "took": None if duration is None else human.duration(duration),
    }
    code: dict[str, Any] = {}
    if sealed is not None:
        code = {
            "commit": sealed.code.commit,
            "uncommitted": None if sealed.code.diff is None else sealed.code.diff.short,
        }
    code |= _digests(files, {FileRole.CODE})
    machine: dict[str, Any] = {"name": run.host}
    if host is not None:
        machine |= {
            "system": f"{host.system} {host.release}",
            "distribution": host.distribution,
            "processor": f"{host.cpus} x {host.cpu}" if host.cpu else None,
        }
    packages: dict[str, Any] = {}
    if environment is not None:
        packages = {one.name: one.version for one in environment.distributions}
        machine["BLAS"] = ", ".join(environment.system.blas) or None
    return {
        "run": general,
        "parameters": {name: one.value for name, one in sorted(run.params.items())},
        "metrics": dict(sorted(run.metrics.items())),
        "code": {name: value for name, value in code.items() if value is not None},
        "configuration": _digests(files, {FileRole.CONFIG}),
        "inputs": _digests(files, {FileRole.INPUT, FileRole.REMOTE}),
        "outputs": _digests(files, {FileRole.OUTPUT}),
        "packages": {"python": run.python, **dict(sorted(packages.items()))},
        "machine": {name: value for name, value in machine.items() if value},
    }


def _digests(files: Sequence[Any], roles: set[FileRole]) -> dict[str, Any]:
    return {
        file.path: f"not kept: {file.why_not_kept}" if file.digest is None else file.digest.short
        for file in files
        if file.role in roles
    }
