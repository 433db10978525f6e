"""Progress of long work, on a terminal."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from thence.cli import human
from thence.cli.output import Output

__all__ = ["progress", "steps"]

# Shorter work shows nothing, and does not pay for what shows it.
_PATIENCE_S = 0.5
_EVERY_S = 0.1


@contextmanager
def progress(output: Output, doing: str) -> Iterator[Callable[[int, int], None]]:
    """Show files, bytes and rate while something is done; gives what to tell them to.

    Args:
        output: Says whether somebody looks on.
        doing: In a word: `saving`.
    """
    if not output.shows_progress():
        yield lambda files, size: None
        return
    shown = _Shown(doing)
    shown.start()
    try:
        yield shown.tell
    finally:
        shown.stop()


@contextmanager
def steps(output: Output) -> Iterator[Callable[[str], None]]:
    """Show what is being done, step by step; gives what to tell it to.

    A line that moves on a terminal, lines on stderr elsewhere, objects with `--json`.
    """
    if output.json:
        yield lambda text: output.record("progress", {"text": text})
        return
    if not output.shows_progress():
        yield lambda text: output.note(f"{text} …")
        return
    from rich.console import Console
    from rich.status import Status
    from rich.text import Text

    console = Console(stderr=True)
    status: Any = Status("", console=console)

    def tell(text: str) -> None:
        status.update(Text(human.shorten(text, max(20, console.width - 4))))

    with status:
        yield tell


class _Shown:
    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._files = 0
        self._size = 0
        self._started = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="thence-progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def tell(self, files: int, size: int) -> None:
        self._files, self._size = files, size

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _show(self) -> None:
        if self._over.wait(_PATIENCE_S):
            return
        from rich.console import Console
        from rich.status import Status

        status: Any = Status(self._text(), console=Console(stderr=True))
        with status:
            while not self._over.wait(_EVERY_S):
                status.update(self._text())

    def _text(self) -> str:
        took = time.monotonic() - self._started
        text = f"{self._doing}, {human.duration(took)}"
        if self._size:
            rate = human.size(int(self._size / max(took, 0.001)))
            text += f": {human.count(self._files, 'file')}, {human.size(self._size)}, {rate}/s"
        return text
