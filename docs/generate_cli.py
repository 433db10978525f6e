"""Write docs/reference/cli.md from the commands themselves.

    python docs/generate_cli.py

A test says when the page is stale.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from thence.cli.catalogue import SECTIONS
from thence.cli.group import cli
from thence.cli.verb import STATUSES, Verb, VerbGroup

PAGE = Path(__file__).parent / "reference" / "cli.md"

_HEAD = """\
# Command line

<!-- Made by docs/generate_cli.py; change the commands, not this page. -->

Each verb says all of this itself: `thence VERB --help`.

## Refs

| written | means |
|---|---|
| `churn` | the latest version |
| `churn@v3` | version 3 |
| `churn@~1` | the one before the latest |
| `churn@champion` | the version that the alias points at |
| `churn@sha256:ab12` | the version whose content has this digest |
| `churn:model.skops` | a file in it; after any of the above |
| `run:ab12` | the run whose id begins so |
| `run:last` | the run that began last |

A version where a run is wanted means the run that made it.
"""

_JSON = """\
## Output for programs

With `--json` each line of stdout is an object with a `type`: `artifact`, `version`, `run`, `file`,
`saved`, `verdict` and so on, with the fields of the records in Python. Times are RFC 3339 in UTC,
sizes are bytes; numbers that JSON has not are `"NaN"`, `"Infinity"` and `"-Infinity"`. A ref that
another command takes is in `ref`. Progress and warnings are objects too.

An error is the object `{"type": "error", "kind": …, "what": …, "why": …, "hint": …, "about": …,
"exit_status": …}` in place of the three lines on stderr; the [kinds](errors.md) do not change.

`thence run` leaves stdout to the program that it runs: with `--json` its object, or its error, is
the last line of stderr.

Text for people may change in any release. It has colours only on a terminal, and none where
`NO_COLOR` is set.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD, _shared(), _JSON, _statuses()]
    for title, entries in SECTIONS.items():
        parts.append(f"## {title}\n")
        for name in entries:
            context = click.Context(cli, info_name="thence", **cli.context_settings)
            command = cli.get_command(context, name)
            assert command is not None
            parts += _sections(command, click.Context(command, parent=context, info_name=name))
    return "\n".join(parts)


def _shared() -> str:
    rows = [
        _row(option, cli)
        for option in cli.params
        if isinstance(option, click.Option) and option.name != "version"
    ]
    return _table("## Options of every command\n\nBefore the verb or after it.\n", rows)


def _statuses() -> str:
    rows = [f"| {code} | {text} |" for code, text in STATUSES.items()]
    head = "## Exit statuses\n\n| status | means |\n|---|---|"
    return "\n".join([head, *rows, "", "`thence run` exits with the status of the command.", ""])


def _sections(command: click.Command, context: click.Context) -> Iterator[str]:
    assert isinstance(command, (Verb, VerbGroup))
    level = "#" * (2 + len(context.command_path.split()) - 1)
    usage = " ".join(context.get_usage().removeprefix("Usage: ").split())
    text = inspect.cleandoc(command.help or "")
    examples = "\n".join(command.examples)
    yield f"{level} {context.command_path}\n\n```text\n{usage}\n```\n\n{text}\n"
    common = {option.name for option in cli.params}
    own = [
        option
        for option in command.params
        if isinstance(option, click.Option) and option.name not in common
    ]
    if own:
        yield _table("", [_row(option, command) for option in own]).lstrip()
    statuses = ", ".join(f"{code} {STATUSES[code]}" for code in command.statuses)
    yield f"```sh\n{examples}\n```\n\nExit status: {statuses}.\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _sections(inner, click.Context(inner, parent=context, info_name=name))


def _table(head: str, rows: list[str]) -> str:
    return "\n".join([head, "| option | what it does |", "|---|---|", *rows, ""])


def _row(option: click.Option, command: click.Command) -> str:
    record = option.get_help_record(click.Context(command, **cli.context_settings))
    assert record is not None
    written, text = record
    return f"| `{_cell(written)}` | {_cell(text)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
