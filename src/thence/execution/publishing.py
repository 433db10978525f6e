"""Publishing a run while it goes on, so that others see how it does.

A thread of the recorder does it: what the program says is in files of the spool already, so nothing
here can slow the program down or fail it. Where the home cannot be reached, that is said once in
the log, and tried again with whatever has come meanwhile.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

from thence.errors import ThenceError
from thence.execution import live
from thence.execution.capture.secrets import Redactor
from thence.execution.patience import is_passing
from thence.execution.relearning import scrub_logged
from thence.model import codec
from thence.model.ids import RunId
from thence.vault.live_segments import Piece, Pulse, Segments
from thence.vault.logs import Appended

__all__ = ["EVERY_S", "Publisher", "clear"]

EVERY_S = 10.0
AT_BYTES = 1 << 20
_BEAT_S = 60.0
_LOOK_S = 1.0
_STOP_S = 3.0
_EVENTS = "events-*.jsonl"

_log = logging.getLogger(__name__)


class _Source:
    """A file of events, and how far it is published.

    Attributes:
        piece: What is being published.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer = path.stem.removeprefix("events-")
        self.offset = 0
        self.number = 0
        self.piece: Piece | None = None

    def pending_bytes(self) -> int:
        waiting = 0 if self.piece is None else len(self.piece.lines)
        try:
            return self.path.stat().st_size - self.offset + waiting
        except OSError:
            return waiting

    def read(self) -> bytes:
        """The whole lines that come next, about 1 MiB of them."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(AT_BYTES)
                if len(data) == AT_BYTES and b"\n" not in data:
                    data += file.readline()
        except OSError:
            return b""
        return data[: data.rfind(b"\n") + 1]


class Publisher:
    """Publishes one run, from `start` to `stop`.

    Args:
        segments: Where to.
        run: The run.
        spool: Its folder.
        open_run: Appends the entry that opens the run; may be repeated.
        redactor: Knows secrets that the program did not know when it wrote its lines.
        clock: Tells the time of the pulse.
        every_s: How long a line waits at most before it is published.
        quietly: What the thread works in: sensors must not take its work for the program's.
    """

    def __init__(
        self,
        segments: Segments,
        run: RunId,
        spool: Path,
        open_run: Callable[[], Appended],
        *,
        redactor: Redactor,
        clock: Callable[[], datetime],
        every_s: float | None = None,
        quietly: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self._segments = segments
        self._run = run
        self._spool = spool
        self._open_run = open_run
        self._redactor = redactor
        self._clock = clock
        self._every_s = EVERY_S if every_s is None else every_s
        self._quietly = quietly
        self._sources: dict[Path, _Source] = {}
        self._metrics: dict[str, float] = {}
        self._params: dict[str, Any] = {}
        self._points = 0
        self._stop = threading.Event()
        self._tried = threading.Event()
        self._error: Exception | None = None
        self._said = False
        self._published_s = 0.0
        self._beat_s = 0.0
        self._thread = threading.Thread(target=self._work, name="thence-publish", daemon=True)
        self.opened: Appended | None = None

    def start(self) -> None:
        """Begin: first the entry that opens the run."""
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is at its end
            self._tried.set()

    def wait_opened(self, patience_s: float) -> Appended | None:
        """The entry that opens the run; None where the home cannot be reached for now.

        Raises:
            Denied: The home may not be written to.
            StorageError: It failed for good.
        """
        self._tried.wait(patience_s)
        error = self._error
        if self.opened is None and isinstance(error, Exception):
            if isinstance(error, ThenceError) and is_passing(error):
                _log.info("the home cannot be reached: %s", error)
            else:
                self.stop()
                raise error
        return self.opened

    @property
    def is_reaching(self) -> bool:
        """Whether the last that was tried has worked."""
        return self.opened is not None and self._error is None

    def stop(self) -> None:
        """End; what is on its way gets a moment. What was not published will be sealed."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S if self.is_reaching else _LOOK_S / 10)

    def _work(self) -> None:
        with self._quietly():
            while True:
                try:
                    self._go_on()
                except ThenceError as error:
                    self._fail(error)
                except Exception as error:  # a bug of ours must not end anybody's run
                    self._fail(error)
                    self._tried.set()
                    return
                self._tried.set()
                if self._stop.wait(min(_LOOK_S, self._every_s)):
                    return

    def _go_on(self) -> None:
        if self.opened is None:
            self.opened = self._open_run()
            self._error = None
            self._beat()
        now = time.monotonic()
        for path in sorted(self._spool.glob(_EVENTS)):
            self._sources.setdefault(path, _Source(path))
        waiting = sum(source.pending_bytes() for source in self._sources.values())
        is_due = now - self._published_s >= self._every_s
        if waiting and (is_due or (waiting >= AT_BYTES and self._error is None)):
            self._published_s = now
            for source in self._sources.values():
                self._publish(source)
            self._beat()
        elif now - self._beat_s >= max(_BEAT_S, self._every_s):
            self._beat()

    def _publish(self, source: _Source) -> None:
        while not self._stop.is_set():
            if source.piece is None:
                data = source.read()
                if not data:
                    return
                lines = self._without_secrets(data)
                source.offset += len(data)
                if not lines:
                    continue
                source.number += 1
                source.piece = Piece(source.writer, source.number, lines)
            # After a failure it may be there: what is tried again must be the same.
            self._segments.publish(self._run, source.piece)
            self._sum_up(source.piece.lines)
            source.piece = None

    def _beat(self) -> None:
        self._beat_s = time.monotonic()
        self._segments.beat(
            self._run,
            Pulse(
                at=self._clock(),
                points=self._points,
                metrics=self._metrics,
                params=self._params,
            ),
        )
        if self._error is not None:
            _log.info("%s is published again", self._run.short)
        self._error = None

    def _fail(self, error: Exception) -> None:
        self._error = error
        # What opens the run is said by who waits for it.
        if self.opened is not None and not self._said:
            self._said = True
            what = error.what if isinstance(error, ThenceError) else repr(error)
            _log.warning(
                "what %s logs is kept here and not visible to others for now: %s",
                self._run.short,
                what,
            )

    def _sum_up(self, lines: bytes) -> None:
        for line in live.parse_lines(lines):
            if isinstance(line, live.LoggedMetric):
                self._metrics[line.name] = line.value
                self._points += 1
            elif isinstance(line, live.LoggedParam):
                self._params[line.name] = line.value

    def _without_secrets(self, data: bytes) -> bytes:
        """The lines as they are, but for those that hold a secret that was learnt since."""
        if self._redactor.contains(data) is None:
            return data
        return b"".join(self._scrubbed(data.splitlines(keepends=True)))

    def _scrubbed(self, lines: list[bytes]) -> Iterator[bytes]:
        for line in lines:
            if self._redactor.contains(line) is None:
                yield line
                continue
            for said in live.parse_lines(line):
                if isinstance(said, live.LoggedParam):
                    value = scrub_logged(self._redactor, said.name, said.value)
                    clean = codec.encode(live.LoggedParam(name=said.name, value=value)) + b"\n"
                    if self._redactor.contains(clean) is None:
                        yield clean


def clear(segments: Segments, run: RunId) -> None:
    """Delete the segments of a run that is sealed; what cannot be deleted now is garbage."""
    try:
        segments.clear(run)
    except (ThenceError, OSError) as error:
        _log.info("the segments of %s were not deleted: %s", run.short, error)
