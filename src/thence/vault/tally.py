"""Counting what several threads do, for who looks on."""

import threading
import time
from collections.abc import Callable

__all__ = ["Tally"]

_REPORT_EVERY_S = 0.1


class Tally:
    """Counts what is done, and tells of it now and then. May be used from any thread.

    Args:
        progress: Is told contents and bytes so far, never by two threads at once.

    Attributes:
        contents: How many contents are done.
        size_bytes: How many bytes of content.
    """

    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._next = time.monotonic() + _REPORT_EVERY_S
        self.contents = 0
        self.size_bytes = 0

    def add(self, contents: int, size_bytes: int) -> None:
        """Count some more."""
        with self._lock:
            self.contents += contents
            self.size_bytes += size_bytes
            now = time.monotonic()
            if now >= self._next:
                self._next = now + _REPORT_EVERY_S
                self._progress(self.contents, self.size_bytes)

    def end(self) -> None:
        """Tell the final numbers."""
        if self.contents:
            self._progress(self.contents, self.size_bytes)
