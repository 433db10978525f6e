"""The help: complete, and the same in the overview, in the commands and in the reference."""

import runpy
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from thence.cli.catalogue import VERBS
from thence.cli.group import cli
from thence.cli.verb import STATUSES, Verb, VerbGroup

_ROOT = Path(__file__).parents[3]


def _commands() -> Iterator[click.Context]:
    root = click.Context(cli, info_name="thence", **cli.context_settings)
    for name in VERBS:
        command = cli.get_command(root, name)
        assert command is not None
        context = click.Context(command, parent=root, info_name=name)
        yield context
        if isinstance(command, click.Group):
            for inner in command.commands.values():
                yield click.Context(inner, parent=context, info_name=inner.name)


COMMANDS = list(_commands())


@pytest.mark.parametrize("name", VERBS)
def test_the_overview_says_what_the_verb_says(name: str) -> None:
    command = cli.get_command(click.Context(cli, **cli.context_settings), name)
    assert command is not None
    assert command.name == name
    assert (command.help or "").splitlines()[0] == VERBS[name].summary


@pytest.mark.parametrize("context", COMMANDS, ids=lambda context: context.command_path)
def test_help_ends_with_an_example_and_the_exit_statuses(context: click.Context) -> None:
    command = context.command
    assert isinstance(command, (Verb, VerbGroup))
    text = command.get_help(context)
    own, _, tail = text.partition("\nExample")
    assert context.command_path in tail
    assert tail.index("Exit status:") > tail.index(context.command_path)
    for status in command.statuses:
        assert f"{status} {STATUSES[status]}" in " ".join(tail.split())
    for shared in ("--json", "--project DIR", "-q, --quiet", "-v, --verbose"):
        assert shared in own
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize("context", COMMANDS, ids=lambda context: context.command_path)
def test_every_option_is_explained(context: click.Context) -> None:
    for option in context.command.params:
        if isinstance(option, click.Option):
            assert option.help
            assert option.help.endswith(".")


def test_the_reference_is_what_the_commands_say() -> None:
    made = runpy.run_path(str(_ROOT / "docs" / "generate_cli.py"))["page"]()
    written = (_ROOT / "docs" / "reference" / "cli.md").read_text("utf-8")
    assert written == made, "stale: run python docs/generate_cli.py"
