"""Asking who sits before the terminal."""

import os
import sys
from typing import TYPE_CHECKING

import click

from thence.cli import human
from thence.cli.output import Output

if TYPE_CHECKING:
    from thence.project import Project

__all__ = ["ask_for_secrets", "asks"]


def asks() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty()


def ask_for_secrets(
    output: Output, project: "Project", ref: str, given: dict[str, str]
) -> dict[str, str]:
    """Ask for each secret that a reproduction needs and nobody gave; without a terminal, name them.

    What is typed is not shown, and is kept in memory only.

    Returns:
        All values by name.
    """
    missing = project.missing_secrets(ref, given)
    if output.json or not asks():
        for one in missing:
            output.note(f"not given: {human.line(str(one))}{_how_to_give(one.name)}")
        return given
    values = dict(given)
    if missing:
        output.note("The run had secrets, which are not kept. Press Enter to go on without one.")
    for one in missing:
        # One value may have several names, and one that was just typed need not be asked for twice.
        if one not in project.missing_secrets(ref, values):
            continue
        typed = click.prompt(
            f"{human.line(one.name)} ({human.line(one.where)})",
            default="",
            show_default=False,
            hide_input=True,
            err=True,
        )
        if typed:
            values[one.name] = typed
    return values


def _how_to_give(name: str) -> str:
    if name in os.environ:
        return f", {name} is another value here; to give that: --secret {name}={name}"
    return f"; set a variable to it, and add: --secret {name}=VARIABLE"
