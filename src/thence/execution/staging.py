"""Setting the stage of a reproduction: the command finds everything at its original path.

Where the system does not permit that, it runs in a plain folder, and the verdict says so.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from thence.errors import InvalidInput
from thence.execution.capture.environment import Environment
from thence.execution.mounts import reason_against
from thence.execution.rebuild import Rebuilt
from thence.execution.restore import Restored
from thence.execution.view import SYSTEM, Scene, View
from thence.model.paths import path_from_text
from thence.model.records import FileRole, FileUse, RunSealed

__all__ = ["Stage", "set_stage"]

# What the kernel makes up is nobody's file.
_OF_THE_KERNEL = ("/dev", "/proc", "/sys")


class Stage(NamedTuple):
    """Where a reproduced command runs.

    Attributes:
        scene: What it sees; None where that is this machine as it is.
        why: Why there is no scene, one sentence.
    """

    scene: Scene | None
    why: str = ""


def set_stage(
    sealed: RunSealed,
    uses: Iterable[FileUse],
    restored: Restored,
    rebuilt: Rebuilt,
    environment: Environment,
    *,
    base: Path,
    visible: Iterable[Path],
    given: Mapping[str, Path],
    strict: bool = False,
) -> Stage:
    """Lay out what the command is to see.

    Args:
        sealed: The run.
        uses: Its files.
        restored: What was given back.
        rebuilt: Its environment; takes the place of the original one.
        environment: As it was recorded.
        base: The folder of the reproduction.
        visible: Folders of ours that the command needs, beside `base`.
        given: Files by the absolute paths outside of the project at which they are to be seen.
        strict: Whether nothing of this machine is to be seen but the system.

    Raises:
        StorageError: The disk is full.
    """
    if sealed.root == "/":
        return Stage(None, "The folder of the project was the root of its machine.")
    view = View(base / "view", strict=strict)
    _give_project(view, sealed.root, restored, base / "tree")
    for path, source in given.items():
        view.open_up(os.path.dirname(path))
        view.give(path, source)
    outputs = [
        path_from_text(use.path, percent=use.percent) for use in uses if use.role is FileRole.OUTPUT
    ]
    for path in outputs:
        if path.startswith("/") and not _is_below(path, _OF_THE_KERNEL):
            view.open_up(os.path.dirname(path))
            view.hide(path)
    _give_environment(view, rebuilt, environment)
    for folder in (base, *visible):
        view.give(str(folder), folder)
    if strict:
        view.open_up("/tmp")  # noqa: S108  # every program expects it
    try:
        scene = view.lay_out(os.path.join(sealed.root, sealed.cwd))
    except InvalidInput as error:
        return Stage(None, f"{error.what}.")
    why = reason_against(scene.entrance)
    return Stage(None, why) if why is not None else Stage(scene)


def _give_project(view: View, root: str, restored: Restored, tree: Path) -> None:
    """The project's folder, and what lay beside it."""
    view.give(root, restored.root)
    here, there = root, restored.root
    while there.parent != tree:
        above = os.path.dirname(here)
        # Whatever is made beside the project stays with us, too.
        view.open_up(above)
        for beside in there.parent.iterdir():
            if beside != there:
                view.give(f"{above}/{beside.name}", beside)
        here, there = above, there.parent


def _give_environment(view: View, rebuilt: Rebuilt, environment: Environment) -> None:
    """The rebuilt environment, where it is and where the original was, and what it stands on."""
    if rebuilt.python is None:
        return
    folder = rebuilt.python.parent.parent
    view.give(str(folder), folder)
    original = environment.interpreters[0]
    if original.prefix != original.base_prefix and original.prefix.startswith("/"):
        view.give(original.prefix, folder)
    # The interpreter may lie in somebody's home; each link on the way to it counts.
    program = str(rebuilt.python)
    for _ in range(_LINKS_AT_MOST):
        if not os.path.islink(program):
            break
        program = os.path.normpath(os.path.join(os.path.dirname(program), os.readlink(program)))
        installation = os.path.dirname(os.path.dirname(program))
        if not _is_below(program, tuple(f"/{name}" for name in SYSTEM)):
            view.give(installation, Path(installation))


_LINKS_AT_MOST = 8


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return path.startswith(tuple(f"{folder}/" for folder in folders))
