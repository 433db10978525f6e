"""Plants `thence_inside` into every Python that a command starts."""

import marshal
import os
import shutil
import tempfile
from collections.abc import Mapping
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from thence.execution import inside
from thence.execution.inside import child, observation

__all__ = ["PREFIX", "Planted", "folder_for_sockets", "is_planted"]

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

    Args:
        place: Where to make it; the usual place of temporary folders otherwise.
    """

    def __init__(self, place: Path | None = None) -> None:
        self.folder = folder_for_sockets(place, PREFIX)
        package = self.folder / "thence_inside"
        package.mkdir()
        source = Path(inside.__file__).parent
        for path in source.glob("*.py"):
            shutil.copy2(path, package / path.name)
            _keep_compiled(path, package)
        first = self.folder / "sitecustomize.py"
        first.write_text(_SITECUSTOMIZE, encoding="utf-8")
        _keep_compiled(first, self.folder)

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


def folder_for_sockets(place: Path | None, prefix: str) -> Path:
    """A new temporary folder; not below the spool: sockets have addresses of at most 107 bytes."""
    usual = tempfile.gettempdir() if place is None else os.fspath(place)
    chosen = usual if len(os.fsencode(usual)) < _LONGEST else "/tmp"  # noqa: S108
    return Path(tempfile.mkdtemp(prefix=prefix, dir=chosen))


def _keep_compiled(source: Path, folder: Path) -> None:
    """Put the bytecode of a module beside it, so that no Python need compile it: 20 ms for all."""
    ready = Path(cache_from_source(str(source)))
    target = folder / "__pycache__" / ready.name
    target.parent.mkdir(exist_ok=True)
    if ready.exists():  # as old as its source, which was copied with its times
        shutil.copy2(ready, target)
        return
    # Thence was installed without bytecode, and PYTHONDONTWRITEBYTECODE may be set. In the form
    # that is not compared with the source (PEP 552).
    data = source.read_bytes()
    code = compile(data, str(folder / source.name), "exec", dont_inherit=True)
    head = MAGIC_NUMBER + (1).to_bytes(4, "little") + source_hash(data)
    target.write_bytes(head + marshal.dumps(code))


def is_planted(path: str) -> bool:
    """Whether a folder of `PYTHONPATH` is of an observer."""
    return os.path.basename(path).startswith(PREFIX)
