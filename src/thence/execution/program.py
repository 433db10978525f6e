"""Which program a command means."""

import os
from collections.abc import Callable, Mapping, Sequence

from thence.errors import Denied, InvalidInput, NotFound

__all__ = ["CommandDenied", "CommandNotFound", "find_program"]


class CommandNotFound(NotFound):
    """There is no such program; exit status 127, as of a shell."""

    exit_status = 127


class CommandDenied(Denied):
    """The program cannot be executed; exit status 126, as of a shell."""

    exit_status = 126


def find_program(
    command: Sequence[str],
    *,
    cwd: str | os.PathLike[str],
    env: Mapping[str, str],
    real: Callable[[str], str] = str,
) -> str:
    """The path of the program that a shell would run.

    Args:
        command: Its first word names it.
        cwd: Where.
        env: `PATH` is in it.
        real: Where on this machine a path is, if the command sees another.

    Raises:
        CommandNotFound: There is none.
        CommandDenied: There is one, and it cannot be executed.
        NotFound: The working directory is not there.
        InvalidInput: There is no command.
    """
    if not command or not command[0]:
        raise InvalidInput("no command to run", hint="Give one: thence run python train.py")
    if not os.path.isdir(real(os.fspath(cwd))):
        raise NotFound(
            f"no such folder: {os.fspath(cwd)}",
            why="It is the working directory of the command.",
            hint="Start the command from a folder that exists.",
        )
    name = command[0]
    if "/" in name:
        candidates = [os.path.join(os.fspath(cwd), name)]
    else:
        folders = env.get("PATH", os.defpath).split(os.pathsep)
        candidates = [os.path.join(cwd, folder, name) for folder in folders]
    denied = ""
    for path in candidates:
        there = real(path)
        if os.path.isfile(there) and os.access(there, os.X_OK):
            return path
        if os.path.exists(there):
            denied = denied or path
    if denied:
        why = "It is a folder." if os.path.isdir(real(denied)) else "It has no permission to run."
        raise CommandDenied(
            f"cannot run {name!r}",
            why=why,
            hint=f"Name a program, or allow it: chmod +x {denied}",
            about=denied,
        )
    raise CommandNotFound(
        f"no such command: {name}",
        why="It is on no folder of PATH." if "/" not in name else "There is no file of that name.",
        hint="Check the spelling, or give the path of the program.",
        about=name,
    )
