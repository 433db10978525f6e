"""How this process ends, as far as a function of atexit can know it.

Python tells atexit of an exception that ends the program (`sys.last_value`), and nothing of
`SystemExit`. But the frame of the program's main module stays where it was left: at its last
instruction if it came to its end, and where the `sys.exit` was called if that has ended it.
"""

import builtins
import dis
import sys
import threading
from types import FrameType
from typing import Any, NamedTuple, NoReturn

__all__ = ["Ending", "is_prompt", "look", "watch"]

_RETURNS = ("RETURN_VALUE", "RETURN_CONST")


class Ending(NamedTuple):
    """How the program ended.

    Attributes:
        error: The exception that ended it, or None.
        is_known: Whether `error` can be relied upon.
    """

    error: BaseException | None
    is_known: bool


class _Asked(NamedTuple):
    """A `sys.exit` in the main thread.

    Attributes:
        instruction: Where the main module was at that time.
    """

    status: Any
    instruction: int


_main: FrameType | None = None
_asked: _Asked | None = None


def is_prompt() -> bool:
    """Whether a person types the program, at a prompt or into a notebook, or it comes by a pipe."""
    if hasattr(sys, "ps1") or hasattr(builtins, "__IPYTHON__") or "ipykernel" in sys.modules:
        return True
    return sys.argv[:1] in ([], [""], ["-"])


def watch() -> None:
    """Begin to look: to be called once, while the main module runs."""
    global _main  # noqa: PLW0603 - there is one main module
    _main = _main_frame()
    _note_exits()


def look() -> Ending:
    """How the program has ended; to be called by atexit."""
    if is_prompt():
        # An error of long ago says nothing about the end.
        return Ending(None, is_known=False)
    last = getattr(sys, "last_value", None)
    if isinstance(last, BaseException):
        return Ending(last, is_known=True)
    if _main is None or _main.f_lasti < 0:
        return Ending(None, is_known=False)
    instruction = _main.f_lasti
    if dis.opname[_main.f_code.co_code[instruction]] in _RETURNS:
        return Ending(None, is_known=True)
    # It was left by SystemExit: by this one, unless that was caught and others followed.
    if _asked is not None and _asked.instruction == instruction:
        return Ending(SystemExit(_asked.status), is_known=True)
    return Ending(None, is_known=False)


def _note_exits() -> None:
    """Remember the status given to `sys.exit`."""
    leave = sys.exit

    def noted(status: Any = None, /) -> NoReturn:
        global _asked  # noqa: PLW0603 - a process ends once
        if _main is not None and threading.current_thread() is threading.main_thread():
            _asked = _Asked(status, _main.f_lasti)
        leave(status)

    sys.exit = noted


def _main_frame() -> FrameType | None:
    """The frame that runs the main module, if it still does."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001
    names = getattr(sys.modules.get("__main__"), "__dict__", None)
    while frame is not None:
        if frame.f_globals is names and frame.f_code.co_name == "<module>":
            return frame
        frame = frame.f_back
    return None
