"""A live notebook: its cells are recorded in the order in which they are really executed.

This is what `%load_ext thence` switches on. The cells of the kernel belong to the run that is open,
and to those that are opened later: what a later run makes also comes from the cells before it.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from thence.execution import live, session
from thence.execution.capture.cell_order import DocumentCell, ExecutedCell, doubts

__all__ = ["CellRecorder", "load"]

_USAGE = "%thence status, %thence finish or %thence start"
_SHOWN = 12


class _Execution(NamedTuple):
    order: int
    source: str
    id: str
    began: float
    seconds: float | None = None
    ok: bool = True


class CellRecorder:
    """Records the cells of an IPython shell, and gives them to the runs of its process.

    Args:
        shell: Of IPython.
        start: Opens a run.
    """

    def __init__(self, shell: Any, start: Callable[[], None]) -> None:
        self._shell = shell
        self._start = start
        self._done = self._before()
        self._current: _Execution | None = None
        # Under `thence run` the cells are recorded by who executes them.
        self._is_guest = live.current() is not None and session.current() is None

    def _before(self) -> list[_Execution]:
        """What was executed before, with the cell that asks for the recording."""
        try:
            sources = list(self._shell.history_manager.input_hist_raw)[1:]
        except AttributeError:  # a shell without a history
            return []
        return [
            _Execution(order, str(source), "", time.monotonic())
            for order, source in enumerate(sources, 1)
        ]

    # What IPython tells

    def before_cell(self, info: Any) -> None:
        """A cell begins."""
        self._current = None
        if info.store_history and not info.silent and not self._is_guest:
            self._current = _Execution(
                int(self._shell.execution_count),
                str(info.raw_cell),
                str(getattr(info, "cell_id", None) or ""),
                time.monotonic(),
            )

    def after_cell(self, result: Any) -> None:
        """It has ended."""
        if self._current is None:
            return
        done = self._ended(self._current, ok=bool(result.success))
        done = done._replace(order=result.execution_count or done.order)
        self._current = None
        self._done.append(done)
        if (run := session.current()) is not None:
            self._tell(run, done)

    @staticmethod
    def _now(cell: _Execution) -> _Execution:
        """The cell that is executed, with its number, which is not known when it begins."""
        return cell._replace(order=live.current_cell() or cell.order)

    @staticmethod
    def _ended(cell: _Execution, *, ok: bool = True) -> _Execution:
        return cell._replace(seconds=round(time.monotonic() - cell.began, 6), ok=ok)

    # What the run asks

    def notebook(self) -> Path | None:
        """The file of the notebook, where the front end tells."""
        told = self._shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
        path = Path(str(told)) if told else None
        return path if path is not None and path.suffix == ".ipynb" and path.is_file() else None

    def opened(self, run: session.Session) -> None:
        """A run is open: what was executed before is part of it."""
        for cell in self._done:
            self._tell(run, cell)

    def ending(self, run: session.Session) -> None:
        """A run is about to be sealed."""
        if self._current is not None:  # the cell that ends it
            self._tell(run, self._ended(self._now(self._current)))
        if document := self._document():
            run.note("document", {"cells": [one._asdict() for one in document]})
        self.warn()

    def _tell(self, run: session.Session, cell: _Execution) -> None:
        fields = cell._asdict()
        del fields["began"]
        run.note("cell", fields)

    # What a person is told

    def doubts(self) -> list[str]:
        """Why a run from top to bottom might differ."""
        executed = [ExecutedCell(one.order, one.source, one.id) for one in self._executed()]
        return doubts(executed, self._document())

    def _executed(self) -> list[_Execution]:
        return [*self._done, *([] if self._current is None else [self._now(self._current)])]

    def warn(self) -> None:
        """Say so on stderr, if there is something to say."""
        found = self.doubts()
        if not found:
            return
        lines = ["thence: a run of this notebook from top to bottom may differ:"]
        lines += [f"  - {one}" for one in found[:_SHOWN]]
        if found[_SHOWN:]:
            lines.append(f"  and {len(found) - _SHOWN} more")
        sys.stderr.write("\n".join(lines) + "\n")

    def magic(self, line: str) -> None:
        """What `%thence` does."""
        wanted = line.strip()
        if wanted == "finish":
            ended = session.finish()
            print("no run is open" if ended is None else f"sealed {ended.short}")
        elif wanted == "start":
            if session.current() is None and not self._is_guest:
                self._start()
            self._say_status()
        elif wanted in {"", "status"}:
            self._say_status()
            self.warn()
        else:
            print(f"there is {_USAGE}")

    def _say_status(self) -> None:
        run = session.current()
        if self._is_guest:
            print("this notebook is executed by thence run, which records it")
            return
        where = self.notebook()
        name = "" if where is None else f" of {where.name}"
        count = len(self._executed())
        cells = f"{count} {'cell' if count == 1 else 'cells'}{name} recorded"
        state = "no run is open" if run is None else f"{run.run.short} is open"
        print(f"{state}, {cells}")

    def _document(self) -> list[DocumentCell]:
        """The cells of code in the file, as it was saved last."""
        path = self.notebook()
        if path is None:
            return []
        try:
            with session.unrecorded():
                content = json.loads(path.read_text(encoding="utf-8"))
            cells = [one for one in content["cells"] if one.get("cell_type") == "code"]
            return [
                DocumentCell(str(one.get("id", "")), "".join(one.get("source", "")))
                for one in cells
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return []  # being written just now, or of another form


def load(shell: Any, start: Callable[[], None]) -> CellRecorder | None:
    """Record the cells of this shell from now on, and open a run for them.

    Args:
        shell: Of IPython.
        start: Opens a run where none is open.

    Returns:
        The recorder; None where one was at work already.
    """
    if session.cells() is not None:
        return None
    recorder = CellRecorder(shell, start)
    session.record_cells(recorder)
    shell.events.register("pre_run_cell", recorder.before_cell)
    shell.events.register("post_run_cell", recorder.after_cell)
    shell.register_magic_function(recorder.magic, "line", "thence")
    if live.current() is None:
        start()
    return recorder
