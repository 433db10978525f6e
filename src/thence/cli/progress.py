"""Progress of long work, on a terminal."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from thence.cli import human
from thence.cli.output import Output
from thence.model.progress import Progress, silent

__all__ = ["cells", "progress", "steps"]

# Shorter work shows nothing, and does not pay for what shows it.
_PATIENCE_S = 0.5
_EVERY_S = 0.1
# Columns of a terminal below which only what is done and how long it takes are shown.
_NARROW = 80


@contextmanager
def progress(output: Output, doing: str, *, unit: str = "file") -> Iterator[Progress]:
    """Show how far something is, how fast it goes and how long it will take.

    On a terminal, on stderr, once it takes long; nothing elsewhere. Gives what to tell the progress
    to: (files, bytes) or (files, bytes, bytes in all), from any thread and as often as you like.

    Args:
        output: Says whether somebody looks on.
        doing: In a word: `saving`.
        unit: What is counted, where it is no files.
    """
    if not output.shows_progress():
        yield silent
        return
    shown = _Shown(doing, unit)
    shown.start()
    try:
        yield shown.tell
    finally:
        shown.stop()


@contextmanager
def cells(output: Output) -> Iterator[Callable[[int, int], None]]:
    """Show which cell of a notebook is executed; gives what to tell it to, from any thread.

    A line that moves on a terminal, nothing elsewhere.
    """
    if not output.shows_progress():
        yield lambda number, total: None
        return
    from rich.console import Console
    from rich.status import Status

    with Status("starting the kernel", console=Console(stderr=True)) as status:
        yield lambda number, total: status.update(f"cell {number} of {total}")


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
    def __init__(self, doing: str, unit: str) -> None:
        self._doing = doing
        self._unit = unit
        self._state: tuple[int, int, int | None] = (0, 0, None)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="thence-progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def tell(self, files: int, size: int, total: int | None = None, /) -> None:
        self._state = files, size, total

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _show(self) -> None:
        if self._over.wait(_PATIENCE_S):
            return
        from rich import progress as rich
        from rich.console import Console

        console = Console(stderr=True)
        counted = rich.TextColumn("{task.fields[counted]}", markup=False)
        columns: list[Any] = [
            rich.TextColumn("{task.description}", markup=False),
            rich.BarColumn(bar_width=30),
            counted,
            rich.DownloadColumn(),
            rich.TransferSpeedColumn(),
            rich.TimeRemainingColumn(compact=True),
        ]
        shown: Any = rich.Progress(
            *(columns if console.width >= _NARROW else [columns[0], columns[3], columns[5]]),
            console=console,
            transient=True,  # what was done is said when it is done
            refresh_per_second=1 / _EVERY_S,
        )
        with shown:
            task = shown.add_task(self._doing, total=None, counted="")
            while True:
                files, size, total = self._state
                counted_text = human.count(files, self._unit) if files else ""
                shown.update(task, completed=size, total=total, counted=counted_text)
                if self._over.wait(_EVERY_S):
                    return
