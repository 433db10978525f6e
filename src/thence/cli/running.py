"""`run` and `log`: runs as they happen."""

import sys
from typing import TYPE_CHECKING

import click

from thence.cli import human
from thence.cli.notebook_words import is_notebook, read_words
from thence.cli.plain import run_fields
from thence.cli.progress import cells
from thence.cli.run_page import STATUS_STYLES
from thence.cli.runs import tell_waiting
from thence.cli.values import PAIR, as_mapping, value_of
from thence.cli.verb import Invocation, verb
from thence.errors import NotFound
from thence.model.records import FileRole, RunStatus

if TYPE_CHECKING:
    from thence.index.views import RunDetail
    from thence.project import Project

__all__ = ["log", "run"]

_SHOWN = 8


@verb(
    "run",
    examples=[
        "thence run python train.py",
        "thence run --name baseline --tag purpose=paper -- python train.py --lr 3e-4",
        "thence run train.ipynb -p lr 3e-4",
    ],
    statuses=(4,),
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False},
)
@click.option("--name", metavar="TEXT", help="What to call the run.")
@click.option("--experiment", metavar="NAME", help="The group of runs that it belongs to.")
@click.option("--note", metavar="TEXT", help="Why it is done.")
@click.option("--tag", "tags", type=PAIR, multiple=True, help="Tag the run; repeatable.")
@click.option("--param", "params", type=PAIR, multiple=True, help="A parameter; repeatable.")
@click.option(
    "--sensor",
    type=click.Choice(["auto", "seccomp", "strace", "audit-hook"]),
    default="auto",
    show_default=True,
    help="How to watch: by the kernel, by strace, or from inside of Python.",
)
@click.option(
    "--keep-remote",
    is_flag=True,
    help="Keep what its Python programs fetch over HTTP; to reproduce it without the network.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
@click.pass_context
def run(
    ctx: click.Context,
    invocation: Invocation,
    *,
    name: str | None,
    experiment: str | None,
    note: str | None,
    tags: tuple[tuple[str, str], ...],
    params: tuple[tuple[str, str], ...],
    sensor: str,
    keep_remote: bool,
    command: tuple[str, ...],
) -> None:
    """Run a command and keep all that its results are made of.

    What the command reads and writes, its code, configuration, parameters, packages and system are
    kept; the program needs no change. The first word that is no option begins the command, and all
    that follows belongs to it.

    A notebook (NAME.ipynb) is executed from its first cell to its last; its file stays as it is,
    and the executed one is an output of the run. What may follow its name: -p NAME VALUE, once for
    each parameter, --output PATH to write the executed notebook there too, --kernel NAME, and
    --keep-remote.

    The exit status is that of the command. It has the terminal to itself: nothing but its own
    output is on stdout, and with --json the object of the run, or the error, is on stderr.
    """
    invocation.keeps_stdout_free = True
    given_tags = as_mapping(tags, "tag")
    given_params = {key: value_of(value) for key, value in as_mapping(params, "parameter").items()}
    notebook, is_wanted = read_words(command) if is_notebook(command) else (None, False)
    project = invocation.project()
    if notebook is not None:
        with cells(invocation.output) as tell:
            done = project.execute_notebook(
                notebook.path,
                notebook.params,
                kernel=notebook.kernel,
                output=notebook.output,
                name=name,
                experiment=experiment,
                note=note,
                tags=given_tags,
                options=given_params,
                sensor=sensor,  # type: ignore[arg-type]  # click has checked it
                keep_remote=keep_remote or is_wanted,
                progress=tell,
            )
        if done.sealed is not None and done.sealed.traceback:
            invocation.output.trouble(human.clean(done.sealed.traceback))
    else:
        done = project.execute(
            command,
            name=name,
            experiment=experiment,
            note=note,
            tags=given_tags,
            params=given_params,
            sensor=sensor,  # type: ignore[arg-type]  # click has checked it
            keep_remote=keep_remote,
        )
    invocation.output.aside("run", run_fields(done))
    if not (invocation.output.json or invocation.output.quiet):
        _summarize(invocation, project, done)
        tell_waiting(invocation.output, project, but=done.run)
    ctx.exit(1 if done.exit_code is None else done.exit_code)


def _summarize(invocation: Invocation, project: "Project", done: "RunDetail") -> None:
    output = invocation.output
    status = output.paint(done.status.value, STATUS_STYLES[done.status], sys.stderr)
    code = f" with {done.exit_code}" if done.exit_code else ""
    took = "" if done.duration_s is None else f" after {human.duration(done.duration_s)}"
    lines = [f"{output.paint('thence:', 'dim', sys.stderr)} {done.run.short} {status}{code}{took}"]
    inputs = human.count(done.inputs_count, "input")
    made = [one.ref for one in done.makes if one.ref is not None]
    listed = ", ".join(made[:_SHOWN]) + (f" and {len(made) - _SHOWN} more" if made[_SHOWN:] else "")
    outputs = human.count(done.outputs_count, "output")
    lines.append(f"  {inputs}, {outputs}{': ' + human.line(listed) if listed else ''}")
    if done.metrics:
        values = [f"{key}={human.number(value)}" for key, value in sorted(done.metrics.items())]
        more = f" and {len(values) - _SHOWN} more" if values[_SHOWN:] else ""
        lines.append(f"  metrics: {human.line(' '.join(values[:_SHOWN]))}{more}")
    lines += _chance(done)
    lines.append(f"  {_completeness(project, done)}")
    if done.sealed is None:
        lines.append("  publish it later: thence runs recover")
    elif done.status is RunStatus.FINISHED:
        lines.append(f"  prove it: thence reproduce {done.run.short}")
    else:
        lines.append(f"  look at it: thence show {done.run.short}")
    output.trouble("\n".join(lines))


def _chance(done: "RunDetail") -> list[str]:
    """What makes another run come out otherwise, where that was seen."""
    from thence.execution.capture.chance import WITHOUT_A_SEED

    problems = () if done.sealed is None else done.sealed.problems
    found = [text for text in problems if WITHOUT_A_SEED in text]
    more = [f"  and {len(found) - 2} more generators without a seed"] if found[3:] else []
    return [f"  {human.line(text)}" for text in found[: 2 if more else 3]] + more


def _completeness(project: "Project", done: "RunDetail") -> str:
    sealed = done.sealed
    if sealed is None:
        return "kept on this machine, not sealed yet"
    text = f"watched by {sealed.sensor.name}: {sealed.sensor.completeness}"
    lost = [
        file for file in project.run_files(f"run:{done.run}", FileRole.INPUT)
        if file.digest is None
    ]  # fmt: skip
    if lost:
        text += f", {human.count(len(lost), 'input')} not kept"
    gaps = len(sealed.sensor.not_seen) + len(sealed.problems)
    if gaps:
        text += f", {human.count(gaps, 'remark')}: thence show {done.run.short}"
    return text


@verb(
    "log",
    examples=["thence run sh -c 'thence log auc=0.91 optimizer=adam'"],
    statuses=(4,),
)
@click.argument("values", nargs=-1, required=True, type=PAIR, metavar="NAME=VALUE...")
@click.option("--step", type=int, metavar="N", help="Where in the series of the metric.")
def log(invocation: Invocation, *, values: tuple[tuple[str, str], ...], step: int | None) -> None:
    """Log metrics and parameters of the run that is going on.

    For shell scripts that run under thence run. Numbers are metrics, anything else is a parameter.
    """
    from thence.execution import live

    found = {key: value_of(text) for key, text in as_mapping(values, "value").items()}
    tail = live.current()
    if tail is None:
        raise NotFound(
            "no run is going on here",
            why="Values are logged to the run that this command is part of.",
            hint="Put it into a script, and run that: thence run sh script.sh",
        )
    tail.log(found, step=step)
    invocation.output.record("logged", {"values": found, "step": step})
