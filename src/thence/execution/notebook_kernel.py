"""Talks to the kernel of a notebook, which runs under a sensor: sends cells, takes what they give.

The kernel is the command of the run, and only it is observed. The client is a thread beside it.
"""

import asyncio
import contextlib
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from thence.execution.events import Ended
from thence.execution.notebook import ChosenKernel, to_bytes
from thence.execution.planting import PREFIX, folder_for_sockets

__all__ = ["CellProgress", "Executor", "OnCell", "write_notebook"]

CellProgress = Callable[[int, int], None]
"""Is told the number of the cell that begins, and how many there are."""
OnCell = Callable[[Mapping[str, Any]], None]
"""Is told of a cell that has ended, as a note."""

_STARTUP_S = 180
_SHUTDOWN_S = 20.0
_TERMINATION_S = 2.0
_WRITE_EVERY_S = 1.0
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_INTERRUPTED = 130


class _Failure(NamedTuple):
    text: str
    is_interrupt: bool


class Executor:
    """Executes the cells of a notebook in a kernel that somebody else starts.

    Use: `with` it, start `command`, call `begin` once that runs and `end` when it has ended.

    Attributes:
        command: The kernel's.
        on_cell: See `OnCell`.

    Args:
        notebook: Is changed in place: its cells get their outputs.
        kernel: What runs it.
        on_cell: See `OnCell`.
        on_changed: Gets the bytes of the notebook so far, at most once a second, and at the end.
        progress: See `CellProgress`.
        injected: Index of a cell that is not in the source.
        place: Where its sockets go; the usual place of temporary folders otherwise.
    """

    def __init__(
        self,
        notebook: Any,
        kernel: ChosenKernel,
        *,
        on_cell: OnCell = lambda _: None,
        on_changed: Callable[[Any], None] = lambda _: None,
        progress: CellProgress = lambda number, total: None,
        injected: int | None = None,
        place: Path | None = None,
    ) -> None:
        self._notebook = notebook
        for cell in notebook.cells:
            if cell.cell_type == "code":  # what stays empty was not executed
                cell.outputs, cell.execution_count = [], None
        self.on_cell = on_cell
        self._on_changed = on_changed
        self._progress = progress
        self._injected = injected
        self._folder = folder_for_sockets(place, f"{PREFIX}kernel-")
        self._connection = self._folder / "connection.json"
        self._write_connection(is_plain=kernel.is_plain)
        self.command = [
            word.replace("{connection_file}", str(self._connection)) for word in kernel.words
        ]
        self._ended = threading.Event()
        self._deliver: Callable[[int], None] = lambda _: None
        self._thread: threading.Thread | None = None
        self._failure: _Failure | None = None
        self._is_done = False
        self._changed_at = 0.0
        self._cell: tuple[int, float] | None = None
        self._number = 0
        self._executed = 0

    def _write_connection(self, *, is_plain: bool) -> None:
        from jupyter_client.connect import write_connection_file

        # Sockets in a folder that only this user can look into; not every kernel knows them.
        place = {"transport": "ipc", "ip": str(self._folder / "k")} if is_plain else {}
        write_connection_file(str(self._connection), **place)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def begin(self, deliver: Callable[[int], None]) -> None:
        """The kernel has been started; `deliver` sends it a signal."""
        self._deliver = deliver
        self._thread = threading.Thread(target=self._run, name="thence-notebook", daemon=True)
        self._thread.start()

    def end(self, ended: Ended) -> Ended:
        """The kernel has ended; how that counts for the notebook."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None and self._failure.is_interrupt:
            return ended._replace(exit_code=_INTERRUPTED)
        if self._failure is not None or not self._is_done:
            return ended._replace(exit_code=ended.exit_code or 1)
        return ended._replace(exit_code=0, signal=None)

    @property
    def traceback(self) -> str | None:
        """Which cell failed, and how."""
        return None if self._failure is None else self._failure.text

    def _run(self) -> None:
        try:
            asyncio.run(self._execute())
        except Exception as error:  # of the client; the run is recorded as far as it came
            self._failure = self._failure or _Failure(self._explain(error), is_interrupt=False)
        finally:
            with contextlib.suppress(OSError):
                self._on_changed(self._notebook)
            self._see_that_it_ends()

    def _see_that_it_ends(self) -> None:
        """End a kernel that nobody talks to any more; some deadlock while they shut down."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._ended.wait(_TERMINATION_S):
                return
            self._deliver(number)

    def _explain(self, error: Exception) -> str:
        where = "" if self._cell is None else f"In {self._name()}:\n"
        return f"{where}{type(error).__name__}: {_ESCAPE.sub('', str(error))}"

    async def _execute(self) -> None:
        from jupyter_client.asynchronous import AsyncKernelClient
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError

        ended = self._ended

        class Client(AsyncKernelClient):  # type: ignore[misc]
            """Asks who watches the kernel whether it lives: a busy one may miss heartbeats."""

            async def _async_is_alive(self) -> bool:
                return not ended.is_set()

            is_alive = _async_is_alive

        channels = Client()
        channels.load_connection_file(str(self._connection))
        channels.start_channels(hb=False)
        try:
            await channels.wait_for_ready(timeout=_STARTUP_S)
            channels.allow_stdin = False
            client = NotebookClient(
                self._notebook,
                km=_Elsewhere(),
                timeout=None,
                record_timing=False,
                coalesce_streams=True,
                on_cell_start=self._on_start,
                on_cell_executed=self._on_executed,
                on_cell_error=self._on_error,
            )
            client.kc = channels
            try:
                await client.async_execute()
                self._is_done = True
            except CellExecutionError as error:
                text = f"In {self._name()}:\n{self._trace() or error.traceback}"
                self._failure = _Failure(
                    _ESCAPE.sub("", text).strip(), error.ename == "KeyboardInterrupt"
                )
            await self._shut_down(channels)
        finally:
            channels.stop_channels()

    async def _shut_down(self, channels: Any) -> None:
        """Let the kernel end as it wants: it may have things to write."""
        channels.shutdown()
        until = time.monotonic() + _SHUTDOWN_S
        while not self._ended.is_set() and time.monotonic() < until:
            await asyncio.sleep(0.02)

    # What nbclient tells

    def _codes(self) -> list[int]:
        return [
            index
            for index, cell in enumerate(self._notebook.cells)
            if cell.cell_type == "code" and cell.source.strip()
        ]

    def _on_start(self, *, cell: Any, cell_index: int, **_: Any) -> None:
        if cell.cell_type == "code" and cell.source.strip():
            codes = self._codes()
            self._number = codes.index(cell_index) + 1
            self._progress(self._number, len(codes))
            self._cell = (cell_index, time.monotonic())

    def _on_executed(
        self, *, cell: Any, cell_index: int, execute_reply: Any = None, **_: Any
    ) -> None:
        if self._cell is None or self._cell[0] != cell_index:
            return
        began = self._cell[1]
        ok = (execute_reply or {}).get("content", {}).get("status") != "error"
        self._executed += 1
        self.on_cell(
            {
                "kind": "cell",
                "order": cell.get("execution_count") or self._executed,
                "source": cell.source,
                "position": self._position(cell_index),
                "seconds": round(time.monotonic() - began, 6),
                "ok": ok,
            }
        )
        if time.monotonic() - self._changed_at > _WRITE_EVERY_S:
            self._changed_at = time.monotonic()
            self._on_changed(self._notebook)

    def _on_error(self, **_: Any) -> None:
        """Nothing: what `_on_executed` is told says it all."""

    def _position(self, index: int) -> int | None:
        if self._injected is None or index < self._injected:
            return index
        return None if index == self._injected else index - 1

    def _name(self) -> str:
        return f"cell {self._number} of {len(self._codes())}"

    def _trace(self) -> str:
        """As the kernel told it, with the lines around it."""
        if self._cell is None:
            return ""
        outputs = self._notebook.cells[self._cell[0]].outputs
        found = [one for one in outputs if one.output_type == "error"]
        return "\n".join(found[-1].traceback) if found else ""


class _Elsewhere:
    """Stands for the manager of a kernel that is managed by a sensor."""

    has_kernel = True
    kernel_id = None
    ipykernel = True

    def is_alive(self) -> bool:
        return True

    def interrupt_kernel(self) -> None:
        """Nobody asks for it: cells have no limit of time."""


def write_notebook(notebook: Any, path: Path, clean: Callable[[str], str] | None = None) -> None:
    """Write a notebook to its file, in one step.

    Args:
        notebook: What.
        path: Where.
        clean: Replaces secrets in its texts.
    """
    if clean is not None:
        notebook = _cleaned(notebook, clean)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(to_bytes(notebook))
    part.replace(path)


def _cleaned(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return type(value)(
            {
                # Pictures are no text, and what they look like in letters is chance.
                key: one if "/" in str(key) and _is_picture(str(key)) else _cleaned(one, clean)
                for key, one in value.items()
            }
        )
    if isinstance(value, list):
        return [_cleaned(one, clean) for one in value]
    return value


def _is_picture(media_type: str) -> bool:
    return media_type.startswith(("image/", "audio/", "video/")) and "svg" not in media_type
