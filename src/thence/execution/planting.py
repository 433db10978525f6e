"""Plants `thence_inside` into every Python that a command starts."""

import marshal
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from thence.execution import inside
from thence.execution.inside import child, observation

__all__ = ["PREFIX", "Planted", "is_planted"]

PREFIX = "thence-sensor-"
_LONGEST = 70
# Older Pythons could not even read the package; tools of the system still run on them.
_SITECUSTOMIZE = """\
import sys
if sys.version_info >= (3, 9):
    from thence_inside.observation import begin
    begin()
"""


class Planted:
    """A folder for `PYTHONPATH`, with the package in it and the sockets of who observes.

    Attributes:
        folder: Removed at the end.
    """

    def __init__(self) -> None:
        # Not below the spool: the address of a socket has at most 107 bytes.
        usual = tempfile.gettempdir()
        place = usual if len(os.fsencode(usual)) < _LONGEST else "/tmp"  # noqa: S108
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        package = self.folder / "thence_inside"
        package.mkdir()
        source = Path(inside.__file__).parent
        for path in source.glob("*.py"):
            shutil.copy2(path, package / path.name)
        # As old as their sources, so that the first Python need not compile them: 20 ms.
        compiled = list((source / "__pycache__").glob(f"*.{sys.implementation.cache_tag}.pyc"))
        if compiled:
            (package / "__pycache__").mkdir()
            for path in compiled:
                shutil.copy2(path, package / "__pycache__" / path.name)
        (self.folder / "sitecustomize.py").write_text(_SITECUSTOMIZE, encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Take the folder away; programs that still look for it go on without."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        """Say what is wanted, before the first Python starts.

        Args:
            plan: `files` says whether files are watched from inside; parts of `thence_inside`
                define the other keys. Plain values.
        """
        # An old form, which every Python reads.
        (self.folder / observation.PLAN).write_bytes(marshal.dumps(dict(plan), 2))

    def variables(self, env: Mapping[str, str]) -> dict[str, str]:
        """The environment with the package in it."""
        before = env.get("PYTHONPATH", "").split(os.pathsep)
        # Not also that of an observer around us: what it told its children is about it.
        others = [path for path in before if path and not is_planted(path)]
        paths = [str(self.folder), *others]
        return {
            **env,
            child.FOLDER_VARIABLE: str(self.folder),
            "PYTHONPATH": os.pathsep.join(paths),
        }


def is_planted(path: str) -> bool:
    """Whether a folder of `PYTHONPATH` is of an observer."""
    return os.path.basename(path).startswith(PREFIX)
