"""What all verbs share: options, help that ends with exit statuses, the invocation they act in."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from thence.cli.output import Output

if TYPE_CHECKING:
    from thence.project import Project

__all__ = ["STATUSES", "Invocation", "Verb", "VerbGroup", "option", "verb"]

STATUSES = {
    0: "done",
    1: "failed",
    2: "usage",
    3: "partly done or cannot be checked",
    4: "not found",
    5: "conflict",
    6: "damaged data",
    7: "differs",
    130: "interrupted",
}
_ALWAYS = (0, 1, 2, 130)

option = click.option


class Invocation:
    """One command line that is being carried out.

    Attributes:
        output: Where its answers go.
        location: Given with `--project`.
        command: What is carried out: `thence save`.
        keeps_stdout_free: Objects and errors go to stderr, because stdout is the user's program's.
    """

    def __init__(self) -> None:
        self.output = Output()
        self.location: str | None = None
        self.command = "thence"
        self.keeps_stdout_free = False

    def project(self) -> "Project":
        """The project of this invocation.

        Raises:
            NotFound: There is none.
            FormatTooNew: It was made by a newer thence.
        """
        from thence.project import Project

        self.log_to_stderr()
        return Project.open(self.location)

    def log_to_stderr(self) -> None:
        """Show what the library says of itself: warnings, and more with `-v`."""
        import logging

        from thence.cli.logs import show_logs

        wanted = logging.WARNING - 10 * min(2, self.output.verbose)
        show_logs(logging.ERROR if self.output.quiet else wanted)

    def tell_requests(self) -> None:
        """Say how many requests went to which store, and how many bytes went each way."""
        from thence.cli import human
        from thence.store.open import connected
        from thence.store.wrap import READS

        for store in connected():
            counters = store.counters
            calls = sum(one.calls for one in counters.values())
            listed = ", ".join(f"{one.calls} {name}" for name, one in sorted(counters.items()))
            received = sum(one.size_bytes for name, one in counters.items() if name in READS)
            sent = sum(one.size_bytes for name, one in counters.items() if name not in READS)
            self.output.note(
                f"{store.url}: {human.count(calls, 'request')} ({listed}), "
                f"{human.size(received)} received, {human.size(sent)} sent"
            )


def _invocation(ctx: click.Context) -> Invocation:
    return ctx.ensure_object(Invocation)


def _set_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    _invocation(ctx).output.json |= value


def _set_quiet(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    _invocation(ctx).output.quiet |= value


def _set_verbose(ctx: click.Context, param: click.Parameter, value: int) -> None:
    _invocation(ctx).output.verbose += value


def _set_project(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        _invocation(ctx).location = value


def _shared() -> list[click.Option]:
    """The options that every verb has; those before the verb and after it add up."""
    # Eager: an error in another option must know already how to be printed.
    return [
        click.Option(
            ["--json"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_set_json,
            help="Print JSON Lines, errors too.",
        ),
        click.Option(
            ["--project"],
            metavar="DIR|URL",
            is_eager=True,
            expose_value=False,
            callback=_set_project,
            help="The project's folder or store, instead of looking upward from here.",
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_set_quiet,
            help="Say only what was asked for, and errors.",
        ),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            is_eager=True,
            expose_value=False,
            callback=_set_verbose,
            help="Say more; errors come with a traceback.",
        ),
    ]


class _Helped(click.Command):
    """A command whose help has sections of its own for shared options, examples and statuses."""

    examples: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Own options first, those of every verb after."""
        shared = {param.name for param in _shared()}
        helping = self.get_help_option(ctx)
        own: list[tuple[str, str]] = []
        common: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            found = param.get_help_record(ctx)
            if found is not None and isinstance(param, click.Option):
                (common if param.name in shared or param is helping else own).append(found)
        for title, rows in (("Options", own), ("Options of every command", common)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples and exit statuses."""
        if self.examples:
            with formatter.section("Examples" if len(self.examples) > 1 else "Example"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
        with formatter.section("Exit status"):
            texts = [f"{code} {STATUSES[code]}" for code in self.statuses]
            formatter.write_text(", ".join(texts))


class Verb(_Helped):
    """A verb."""

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        statuses: Sequence[int] = (),
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        self.params.extend(_shared())
        self.examples = tuple(examples)
        self.statuses = tuple(sorted({*_ALWAYS, *statuses}))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Options whose value may be missing take it after `=` only, not the next argument."""
        bare = {
            name: f"{name}={param.flag_value}"
            for param in self.params
            if isinstance(param, click.Option)
            and not param.is_flag
            and isinstance(param.flag_value, str)
            for name in param.opts
        }
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [bare.get(text, text) for text in args[:end]] + args[end:])

    def invoke(self, ctx: click.Context) -> Any:
        """Note which verb it is, then carry it out; with `-v` say what it asked of servers."""
        invocation = ctx.ensure_object(Invocation)
        invocation.command = ctx.command_path
        try:
            return super().invoke(ctx)
        finally:
            if invocation.output.verbose:
                invocation.tell_requests()


class VerbGroup(_Helped, click.Group):
    """A group of rare verbs."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        settings.setdefault("subcommand_metavar", "VERB ...")
        super().__init__(*args, **settings)
        self.params.extend(_shared())
        self.examples = tuple(examples)
        self.statuses: tuple[int, ...] = _ALWAYS

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs of the group, then the options."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs, as they were added."""
        with formatter.section("Verbs"):
            rows = [(name, verb.get_short_help_str(80)) for name, verb in self.commands.items()]
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a verb; one that is misspelled is answered with those that are near."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, self.list_commands(ctx), n=3, cutoff=0.6)
            text = f"No such verb: {name!r}."
            if near:
                text += f" Did you mean {' or '.join(near)}?"
            ctx.fail(text)
        return super().resolve_command(ctx, args)


def verb(
    name: str, *, examples: Sequence[str], statuses: Sequence[int] = (), **settings: Any
) -> Callable[[Callable[..., None]], Verb]:
    """Make a verb of a function, which is given the invocation first.

    Args:
        name: As people type it.
        examples: Command lines that work; the tests run them.
        statuses: Exit statuses besides those that every verb has.
        settings: For click.
    """

    def decorate(function: Callable[..., None]) -> Verb:
        made = click.command(name, cls=Verb, examples=examples, statuses=statuses, **settings)
        return made(click.make_pass_decorator(Invocation, ensure=True)(function))

    return decorate
