"""The root of all verbs: loads a verb when it is used, and says what went wrong."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from thence.cli import failure
from thence.cli.catalogue import SECTIONS, VERBS
from thence.cli.verb import STATUSES, Invocation, VerbGroup
from thence.errors import Interrupted, ThenceError

__all__ = ["Root", "cli"]


class Root(VerbGroup):
    """All verbs, each in a module that is imported when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all verbs, as the overview orders them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb, freshly imported."""
        entry = VERBS.get(cmd_name)
        if entry is None:
            return None
        module = import_module(f"thence.cli.{entry.module}")
        command: click.Command = getattr(module, entry.name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview; it imports no verb."""
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.summary) for name, entry in entries.items()])

    def main(self, args: Sequence[str] | None = None, *rest: Any, **settings: Any) -> NoReturn:
        """Carry out a command line and exit.

        Errors are three lines on stderr, or with `--json` an object on stdout.
        """
        given = list(sys.argv[1:] if args is None else args)
        invocation = Invocation()
        settings["standalone_mode"] = False
        try:
            status = super().main(given, *rest, obj=invocation, **settings)
        except click.ClickException as error:
            output = invocation.output
            output.json |= "--json" in given  # what it stumbled over may stand before
            if isinstance(error, click.exceptions.NoArgsIsHelpError) and not output.json:
                output.trouble(error.format_message())
                sys.exit(error.exit_code)
            status = _fail(failure.from_usage(error), invocation)
        except ThenceError as error:
            status = _fail(error, invocation)
        except (KeyboardInterrupt, click.Abort):
            status = _fail(Interrupted("interrupted"), invocation)
        except BrokenPipeError:
            status = 0  # of the reader of our progress; all else is written by Output
        except Exception as error:
            status = _fail(failure.unexpected(error), invocation)
        sys.exit(status or 0)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does, but Ctrl-C arrives as what it is."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None


def _fail(error: ThenceError, invocation: Invocation) -> int:
    failure.report(
        error,
        invocation.output,
        command=invocation.command,
        on_stderr=invocation.keeps_stdout_free,
    )
    return error.exit_status


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"thence {version('thence')}")
        ctx.exit()


@click.group(
    cls=Root,
    examples=("thence init", "thence save data/", "thence run python train.py"),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version of thence.",
)
def cli() -> None:
    """Keep everything a result was made from, prove it, and get it back.

    What a REF is: churn (the latest version), churn@v3, churn@~1 (the one before the latest),
    churn@champion (an alias), churn@sha256:ab12, each with :path/inside; run:ab12, run:last.
    """


cli.statuses = tuple(STATUSES)
