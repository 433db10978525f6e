"""Signals while a command runs: they are the command's, not ours."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["passed_on"]

# The terminal sends these to the whole foreground process group: the command has had its own.
_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
_SENT_TO_US = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def passed_on(
    deliver: Callable[[int], None], *, on_resize: Callable[[], None] | None = None
) -> Iterator[None]:
    """Live through signals, and pass on those that only we were sent.

    Does nothing outside the main thread, where Python cannot handle signals.

    Args:
        deliver: Sends a signal to the command; may be called when it has ended.
        on_resize: Called when the size of the terminal has changed, before the command is told.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ignore(_number: int, _frame: FrameType | None) -> None:
        # A handler, not SIG_IGN: exec resets handlers, but a program inherits SIG_IGN.
        pass

    def pass_on(number: int, _frame: FrameType | None) -> None:
        deliver(number)

    def resized(number: int, _frame: FrameType | None) -> None:
        if on_resize is not None:
            on_resize()
            deliver(number)

    wanted = dict.fromkeys(_FROM_TERMINAL, ignore) | dict.fromkeys(_SENT_TO_US, pass_on)
    wanted[signal.SIGWINCH] = resized
    # What is ignored already (nohup) stays so, for us and for the command.
    before = {number: signal.getsignal(number) for number in wanted}
    chosen = [number for number in wanted if before[number] is not signal.SIG_IGN]
    for number in chosen:
        signal.signal(number, wanted[number])
    try:
        yield
    finally:
        for number in chosen:
            # None: it was set by C code, which Python cannot put back.
            signal.signal(number, before[number] or signal.SIG_DFL)
