"""What follows the name of a notebook on the command line of `thence run`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from thence.execution.notebook import NotebookRequest

__all__ = ["NOTEBOOK_HELP", "is_notebook", "read_words"]

NOTEBOOK_HELP = "-p NAME VALUE, --output PATH, --kernel NAME, --keep-remote"

_ENDING = ".ipynb"


def is_notebook(command: Sequence[str]) -> bool:
    """Whether a command is a notebook that is to be executed."""
    return bool(command) and command[0].endswith(_ENDING)


def read_words(command: Sequence[str]) -> "tuple[NotebookRequest, bool]":
    """The notebook, and what is wanted of it.

    Returns:
        It; and whether `--keep-remote` stands among these words.

    Raises:
        click.UsageError: There are other words.
    """
    from thence.execution.notebook import NotebookRequest

    path, *words = command
    params: list[tuple[str, str]] = []
    named: dict[str, str] = {}
    keep_remote = False
    while words:
        word = words.pop(0)
        if word == "--keep-remote":
            keep_remote = True
            continue
        if word in {"-p", "--parameter"}:
            if len(words) < 2:
                raise click.UsageError(f"{word} takes a name and a value: {word} lr 0.1")
            params.append((words.pop(0), words.pop(0)))
            continue
        option, has_value, value = word.partition("=")
        if option not in {"--output", "--kernel"}:
            raise click.UsageError(
                f"{word!r} says nothing to a notebook; what may follow its name: {NOTEBOOK_HELP}"
            )
        if not has_value and not words:
            raise click.UsageError(f"{option} takes a value")
        named[option] = value if has_value else words.pop(0)
    request = NotebookRequest(path, tuple(params), named.get("--kernel"), named.get("--output"))
    return request, keep_remote
