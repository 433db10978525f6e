"""How errors look: three lines (what happened, why, what to do) or one JSON object."""

import sys
import traceback

import click

from thence.cli.human import clean
from thence.cli.output import Output
from thence.errors import InternalError, Interrupted, InvalidInput, ThenceError

__all__ = ["from_usage", "report", "unexpected"]

# For errors whose author left a line out; each error has all three.
_WHY = {
    "error": "The cause is not known.",
    "not_found": "Nothing of that name is in this project.",
    "already_exists": "The name is taken.",
    "conflict": "Somebody else was faster.",
    "invalid_input": "The command cannot be carried out as it was written.",
    "denied": "The rights that this process has do not suffice.",
    "storage_error": "The storage did not do what it was asked for.",
    "data_damaged": "Stored bytes are not what was written.",
    "format_too_new": "It was written by a newer version of thence.",
    "missing_extra": "A package that is needed for this is not installed.",
    "run_failed": "The command that was run did not succeed.",
    "not_reproduced": "A result came out different.",
    "internal_error": "Something happened that thence did not foresee.",
}
_HINT = {
    "error": "Repeat the command with -v to see more.",
    "not_found": "See what there is: thence ls",
    "already_exists": "Choose another name.",
    "denied": "Give yourself the right to do it, or work in a place of your own.",
    "run_failed": "See what it said above.",
    "not_reproduced": "See what differs: thence show RUN",
    "storage_error": "Repeat the command when the disk or the network is in order again.",
}


def report(
    error: ThenceError, output: Output, *, command: str = "thence", on_stderr: bool = False
) -> None:
    """Print an error: three lines on stderr, or with `--json` one object on stdout.

    Args:
        error: What to say.
        output: Where to.
        command: Whose help to point at: `thence save`.
        on_stderr: With `--json` too, because stdout belongs to the user's program.
    """
    why = error.why or _cause(error) or _WHY.get(error.kind, "")
    hint = error.hint or _HINT.get(error.kind) or f"See how it is meant: {command} --help"
    if not error.hint and error.what.startswith("not a ref"):
        hint = "A ref is written churn, churn@v3, churn@~1, churn@champion, or run:ab12."
    if output.json:
        fields = {**error.to_dict(), "why": why, "hint": hint}
        kind = fields.pop("type")
        (output.aside if on_stderr else output.record)(kind, fields)
    elif isinstance(error, Interrupted):
        # The terminal has just shown ^C in this line.
        start = "\n" if sys.stderr.isatty() else ""
        output.trouble(f"{start}thence: {clean(error.what)}. {why} {hint}".rstrip())
    else:
        head = output.paint("thence:", "red", sys.stderr)
        lines = [f"{head} {clean(error.what)}"]
        if isinstance(error, InvalidInput) and error.text is not None:
            lines += _caret(error.text, error.position)
        lines += [f"  {clean(text)}" for text in (why, hint) if text]
        output.trouble("\n".join(lines))
    if output.verbose:
        output.trouble("".join(traceback.format_exception(error)).rstrip())


def _caret(text: str, position: int | None) -> list[str]:
    if position is None or not text.isprintable():
        return []
    return [f"    {text}", f"    {' ' * position}^"]


def _cause(error: ThenceError) -> str:
    cause = error.__cause__
    return f"{cause}." if cause is not None and str(cause) else ""


def from_usage(error: click.ClickException) -> InvalidInput:
    """A mistake that click found, in our words."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    command = ctx.command_path if ctx is not None else "thence"
    text = " ".join(error.format_message().split())
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        text = "no verb is given"
    what, _, more = text.partition(". ")
    more = f"{more.rstrip('.')}." if more and not more.endswith(("?", "?.")) else more.rstrip(".")
    usage = ctx.get_usage().removeprefix("Usage: ") if ctx is not None else f"{command} --help"
    why = f"{more} " if more else ""
    what = what.rstrip(".")
    return InvalidInput(
        what[:1].lower() + what[1:],
        why=f"{why}It is written: {' '.join(usage.split())}",
        hint=f"See: {command} --help",
        about=command,
    )


def unexpected(error: BaseException) -> InternalError:
    """A bug, as an error of ours; the cause is chained."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {frames[-1].name} ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    found = InternalError(
        f"an unexpected {type(error).__name__}: {error}".rstrip(": "),
        why=f"It came up{where}.",
        hint="This is a bug in thence. Please report it, with what -v prints.",
    )
    found.__cause__ = error
    return found
