"""`reproduce`: run a run again and judge its results."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from thence.cli import human
from thence.cli.asking import ask_for_secrets
from thence.cli.output import Output
from thence.cli.progress import steps
from thence.cli.values import PAIR, as_mapping
from thence.cli.verb import Invocation, verb
from thence.errors import Denied, InvalidInput, StorageError
from thence.model.records import Comparison, Finding, Grade, Verdict

if TYPE_CHECKING:
    from thence.project import Project

__all__ = ["reproduce", "show_verdict"]

_STYLES = {
    Grade.IDENTICAL: "green",
    Grade.EQUIVALENT: "green",
    Grade.WITHIN_TOLERANCE: "green",
    Grade.UNCHECKED: "yellow",
    Grade.DIFFERENT: "red",
    Grade.MISSING: "red",
}
_FINDING_STYLES = {
    Finding.REPRODUCED: "green",
    Finding.WITHIN_TOLERANCE: "green",
    Finding.CANNOT_BE_CHECKED: "yellow",
    Finding.DIFFERS: "red",
}


@verb(
    "reproduce",
    examples=[
        "thence reproduce run:last",
        "thence reproduce metrics.json --report report.html",
    ],
    statuses=(3, 4, 5, 6, 7),
)
@click.argument("ref")
@click.option("--report", metavar="FILE", help="Write the verdict as a page to send around.")
@click.option("--keep", metavar="DIR", help="Work in this empty folder, and leave it there.")
@click.option(
    "--strict", is_flag=True, help="Let it see nothing of this machine but the system's folders."
)
@click.option(
    "--secret",
    "secrets",
    type=PAIR,
    multiple=True,
    metavar="NAME=VARIABLE",
    help="Give a withheld value: the content of this environment variable; repeatable.",
)
@click.pass_context
def reproduce(
    ctx: click.Context,
    invocation: Invocation,
    *,
    ref: str,
    report: str | None,
    keep: str | None,
    strict: bool,
    secrets: tuple[tuple[str, str], ...],
) -> None:
    """Run a run again and judge its results.

    REF is a run, or a version that a run made. Its inputs, code and environment are given back in
    an empty folder, the same command runs there, and each result is compared.

    Secrets that were withheld of it are found in the environment variables of this machine, or
    asked for by name on a terminal; what is typed is neither shown nor kept.

    The verdict is kept with the run. Exit status 0: reproduced, or within tolerance. 7: differs.
    3: cannot be checked.
    """
    values = _secrets(as_mapping(secrets, "secret"))
    if report is not None:
        _check_writable(Path(report))
    project = invocation.project()
    output = invocation.output
    values = ask_for_secrets(output, project, ref, values)
    with steps(output) as tell:
        verdict = project.reproduce(
            ref,
            keep=None if keep is None else Path(keep),
            secrets=values,
            strict=strict,
            progress=tell,
        )
    show_verdict(output, verdict)
    if report is not None:
        _write_report(project, verdict, Path(report))
        output.done(f"report: {report}")
    if keep is not None:
        output.done(f"its folder: {keep}")
    ctx.exit(verdict.finding.exit_status)


def _secrets(names: dict[str, str]) -> dict[str, str]:
    """Values never stand on a command line, where every process could read them."""
    missing = sorted({variable for variable in names.values() if variable not in os.environ})
    if missing:
        raise InvalidInput(
            f"the environment variable {missing[0]} is not set",
            why="--secret NAME=VARIABLE takes the value of NAME from it.",
            hint=f"Set it first: export {missing[0]}=…",
            about=missing[0],
        )
    return {name: os.environ[variable] for name, variable in names.items()}


def _check_writable(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir() or path.is_dir() or not os.access(folder, os.W_OK):
        raise InvalidInput(
            f"cannot write the report {path}",
            why=f"{path} is a folder." if path.is_dir() else f"{folder} cannot be written to.",
            hint="Name a file in a folder that is there.",
            about=str(path),
        )


def show_verdict(output: Output, verdict: Verdict) -> None:
    """Print a verdict: a line for each result, then how the run came out and why."""
    for result in verdict.results:
        output.record("result", result)
    output.record("verdict", verdict, ref=f"run:{verdict.run}")
    if output.json:
        return
    width = max((len(result.path) for result in verdict.results), default=0)
    for result in verdict.results:
        output.painted(_result(output, result, width))
    took = human.duration((verdict.ended - verdict.started).total_seconds())
    finding = output.paint(verdict.finding.value, _FINDING_STYLES[verdict.finding])
    cause = ""
    if verdict.finding is Finding.CANNOT_BE_CHECKED and verdict.reasons:
        cause = f": {human.line(verdict.reasons[0])}"
    results = human.count(len(verdict.results), "result")
    output.painted(f"{verdict.run.short} {finding}{cause} ({results}, {took})")
    reasons = verdict.reasons[1:] if cause else verdict.reasons
    for label, texts in (
        ("reason", reasons),
        ("deviation", verdict.deviations),
        ("missing", verdict.missing),
        ("opened outside", verdict.opened_outside),
        ("kept from it", verdict.hidden),
    ):
        for text in texts:
            output.data(f"  {label}: {human.line(text)}")


def _result(output: Output, result: Comparison, width: int) -> str:
    grade = output.paint(f"{result.grade.value:<16}", _STYLES[result.grade])
    detail = f"{result.rule}: {human.line(result.detail)}" if result.detail else result.rule
    return f"  {grade}  {human.clean(result.path):<{width}}  {detail}".rstrip()


def _write_report(project: "Project", verdict: Verdict, path: Path) -> None:
    from thence.execution.report import to_html

    text = to_html(verdict, project.find_run(f"run:{verdict.run}"))
    try:
        path.write_text(text, "utf-8")
    except PermissionError as error:
        raise Denied(f"cannot write the report {path}", why=f"{error.strerror}.") from error
    except OSError as error:
        raise StorageError(f"cannot write the report {path}", why=f"{error.strerror}.") from error
