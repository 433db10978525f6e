"""The page of a run: a table of contents of everything that was kept of it."""

import shlex
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from thence.cli import human
from thence.cli.output import Output
from thence.cli.page import Field, fields, pairs, section, text_of, value_text
from thence.cli.plain import run_fields
from thence.cli.table import Column
from thence.index.views import RunDetail, UsedVersion
from thence.model.ids import Digest
from thence.model.records import Comparison, FileRole, FileUse, RunSealed, RunStatus

if TYPE_CHECKING:
    from thence.execution.capture.environment import Environment
    from thence.execution.following import Live
    from thence.project import Project

__all__ = ["STATUS_STYLES", "command_text", "show_run"]

STATUS_STYLES = {
    RunStatus.FINISHED: "green",
    RunStatus.FAILED: "red",
    RunStatus.DIED: "red",
    RunStatus.INTERRUPTED: "yellow",
    RunStatus.RUNNING: "cyan",
}
_SHOWN_FILES = 20
_SHOWN_PACKAGES = 30
_SHOWN_WITHHELD = 20
# Packages are in the environment.
_SECTIONS = (
    ("inputs", (FileRole.INPUT,)),
    ("outputs", (FileRole.OUTPUT,)),
    ("overwritten", (FileRole.OVERWRITTEN,)),
    ("code and configuration", (FileRole.CODE, FileRole.CONFIG, FileRole.DOCUMENT)),
)


def command_text(command: Iterable[str]) -> str:
    """The command as it could be typed."""
    return human.line(shlex.join(command))


def show_run(output: Output, project: "Project", run: RunDetail) -> None:
    """Print everything about a run; with `--json` also one object for each of its files."""
    # What was removed may have lost them already.
    there = run.deletion is None
    files = project.run_files(f"run:{run.run}") if there else []
    environment = _environment(project, run) if there else None
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
    if output.json:
        return
    _head(output, project, run)
    if live is not None:
        _going_on(output, run, live)
    sealed = run.sealed
    if sealed is not None and there:
        _code(output, project, sealed)
    _files(output, run, files)
    _inside(output, run, files)
    if run.params:
        section(output, "parameters")
        output.table(
            [Column("NAME"), Column("VALUE", flexible=True), Column("FROM", style="dim")],
            [(name, value_text(one.value), one.origin) for name, one in sorted(run.params.items())],
        )
    if run.metrics:
        section(output, "metrics")
        fields(output, [(name, human.number(value)) for name, value in sorted(run.metrics.items())])
    if environment:
        _show_environment(output, environment)
    if sealed is not None:
        _watched(output, sealed)
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


def _head(output: Output, project: "Project", run: RunDetail) -> None:
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
    fields(
        output,
        [
            ("removed", human.removal(run.deletion, now)),
            ("undo", f"thence rm --undo {run.run.short}" if project.can_undo(run) else None),
            ("command", command_text(run.command)),
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


def _code(output: Output, project: "Project", sealed: RunSealed) -> None:
    code = sealed.code
    if code.commit is None and not code.untracked:
        return
    diff = None if code.diff is None else text_of(project, code.diff)
    changed = (
        []
        if diff is None
        else [part.split(" b/")[-1] for part in diff.splitlines() if part.startswith("diff --git ")]
    )
    section(output, "code")
    state = "with uncommitted changes" if code.dirty else "nothing uncommitted"
    branch = f" on {code.branch}" if code.branch else ""
    fields(
        output,
        [
            ("commit", None if code.commit is None else f"{code.commit}{branch}, {state}"),
            ("remote", code.remote),
            ("changed", ", ".join(changed[:_SHOWN_FILES])),
            ("untracked", ", ".join(code.untracked[:_SHOWN_FILES])),
        ],
    )


def _files(output: Output, run: RunDetail, files: list[FileUse]) -> None:
    refs = {one.record: _ref(one) for one in (*run.uses, *run.makes)}
    for title, roles in _SECTIONS:
        shown = [file for file in files if file.role in roles]
        if not shown:
            continue
        section(output, f"{title} ({len(shown):,})")
        output.table(
            [
                Column("PATH", flexible=True),
                Column("SIZE", right=True),
                Column("VERSION", style="cyan", optional=True),
                Column("REMARK", style="dim", flexible=True, optional=True),
            ],
            [
                (file.path, human.size(file.size), _version(refs, file.version), _remark(file))
                for file in shown[:_SHOWN_FILES]
            ],
        )
        if (more := len(shown) - _SHOWN_FILES) > 0:
            output.data(
                f"and {human.count(more, 'more file')}: thence show run:{run.run[:8]} --json"
            )


def _inside(output: Output, run: RunDetail, files: list[FileUse]) -> None:
    """Versions that the program loaded and saved itself, which are no files of the project."""
    bound = {file.version for file in files}
    for title, versions in (("loaded", run.uses), ("saved", run.makes)):
        refs = [_ref(one) for one in versions if one.record not in bound]
        if refs:
            section(output, f"{title} by the program itself ({len(refs):,})")
            output.data("\n".join(f"  {ref}" for ref in refs))


def _ref(used: UsedVersion) -> str:
    return used.ref or used.record.short


def _version(refs: dict[Digest, str], version: Digest | None) -> str:
    return "" if version is None else refs.get(version, version.short)


def _remark(file: FileUse) -> str:
    remarks = []
    if file.why_not_kept:
        remarks.append(f"not kept: {file.why_not_kept}")
    if file.redacted:
        remarks.append("secrets replaced")
    if file.changed_during_run:
        remarks.append("changed during the run")
    if file.role in {FileRole.CONFIG, FileRole.DOCUMENT}:
        remarks.append(file.role.value)
    return ", ".join(remarks)


def _environment(project: "Project", run: RunDetail) -> "Environment | None":
    from thence.execution.capture.environment import Environment
    from thence.model import codec

    if run.sealed is None or run.sealed.environment is None:
        return None
    text = text_of(project, run.sealed.environment)
    return None if text is None else codec.decode(text.encode(), Environment)


def _show_environment(output: Output, environment: "Environment") -> None:
    section(output, "environment")
    used = [f"{one.name} {one.version}" for one in environment.used]
    required = len(environment.distributions) - len(used)
    listed = ", ".join(used[:_SHOWN_PACKAGES])
    if (more := len(used) - _SHOWN_PACKAGES) > 0:
        listed += f" and {more} more"
    system = environment.system
    fields(
        output,
        [
            *(
                ("python", f"{one.implementation} {one.version}, {one.executable}")
                for one in environment.interpreters
            ),
            ("packages used", listed),
            ("with them", human.count(required, "required package") if required else None),
            ("kept whole", ", ".join(sorted({one.package for one in environment.kept}))),
            ("system", ", ".join(filter(None, (system.distribution, system.libc)))),
            ("its packages", human.count(len(system.packages), "package")),
            ("BLAS", ", ".join(system.blas)),
            ("accelerators", ", ".join(system.accelerators)),
            ("threads", pairs(system.threads)),
            *(("problem", text) for text in environment.problems),
        ],
    )


def _watched(output: Output, sealed: RunSealed) -> None:
    section(output, "how complete this is")
    sensor = sealed.sensor
    rows: list[Field] = [("sensor", f"{sensor.name}: {sensor.completeness}")]
    rows += [("not seen", text) for text in sensor.not_seen]
    rows += [("network", address) for address in sealed.connections]
    rows += [("problem", text) for text in sealed.problems]
    rows += [("withheld", f"{one.name} ({one.where})") for one in sealed.withheld[:_SHOWN_WITHHELD]]
    if (more := len(sealed.withheld) - _SHOWN_WITHHELD) > 0:
        rows.append(("", f"and {more} more withheld"))
    if sealed.omitted_variables:
        rows.append(
            ("variables", f"{len(sealed.environment_variables)} of the environment kept, "
             f"{len(sealed.omitted_variables)} left out")
        )  # fmt: skip
    fields(output, rows)


def _grades(results: Iterable[Comparison]) -> str:
    counted = Counter(result.grade.value for result in results)
    return ", ".join(f"{number} {grade}" for grade, number in counted.items())
