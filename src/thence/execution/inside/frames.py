"""Who called: the program itself, or a library."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

    Site = tuple[str, int]

__all__ = ["caller", "is_own", "is_own_module", "outside", "own"]

_LIBRARIES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
# Beside the planted package is only what starts it.
_PLANTED = os.path.dirname(_OURS[:-1]) + os.sep if __name__.startswith("thence_inside") else _OURS
_STANDARD = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_IMPORT = "<frozen importlib"
_DEEPEST = 200
# By their files: code of two files can be equal.
_known: dict[str, bool] = {}


def is_own(path: str) -> bool:
    """Whether a source is of the program, and not of a library or an installed command."""
    if path.startswith("<frozen"):
        return False
    if path.startswith("<"):  # typed, or given on the command line
        return True
    path = _absolute(path)
    others = (_STANDARD, _PLANTED, _thence(), os.path.join(sys.prefix, "bin") + os.sep)
    return not (path.startswith(others) or any(folder in path for folder in _LIBRARIES))


def _thence() -> str:
    """The folder of thence, where the program has imported it: a checkout is not among packages."""
    path = getattr(sys.modules.get("thence"), "__file__", None)
    return os.path.dirname(path) + os.sep if path else _OURS


def caller(depth: int, *, is_deep: bool = False) -> Site | None:
    """Path and line of who called, that many frames up, if that is the program.

    Args:
        depth: 1 is who calls this function.
        is_deep: Whether a library may be in between, unless it is just being imported.
    """
    frame: FrameType | None = sys._getframe(depth)  # noqa: SLF001
    if frame is None or frame.f_code.co_filename.startswith(_OURS):
        return None
    if _is_own(frame):
        return _site(frame)
    return _above(frame) if is_deep else None


def own() -> Site | None:
    """Path and line in the program from which all this is done, unless a library is imported."""
    return _above(sys._getframe(1))  # noqa: SLF001


def outside(path: str | None) -> str:
    """The name of the module from which a module was called, given its file."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None:
        file = frame.f_code.co_filename
        if file != path and not file.startswith(_OURS):
            return str(frame.f_globals.get("__name__", ""))
        frame = frame.f_back
    return ""


def is_own_module(name: str) -> bool:
    """Whether a module is of the program."""
    path = getattr(sys.modules.get(name), "__file__", None)
    return path is None or is_own(path)


def _above(frame: FrameType | None) -> Site | None:
    for _ in range(_DEEPEST):
        if frame is None or frame.f_code.co_filename.startswith(_IMPORT):
            return None
        if _is_own(frame):
            return _site(frame)
        frame = frame.f_back
    return None


def _is_own(frame: FrameType) -> bool:
    path = frame.f_code.co_filename
    known = _known.get(path)
    if known is None:
        if len(_known) > 10_000:
            _known.clear()
        known = _known[path] = is_own(path)
    return known


def _site(frame: FrameType) -> Site:
    path = frame.f_code.co_filename
    return (path if path.startswith("<") else _absolute(path), frame.f_lineno)


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError:  # the working directory is gone
        return path
