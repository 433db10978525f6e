"""Waiting for what another process or thread does: as long as the busiest machine takes."""

import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["PATIENCE_S", "until", "wait_for"]

PATIENCE_S = 150.0
"""Less than the limit of a test, so that what did not come is named."""


def until(there: Callable[[], object], what: str) -> None:
    """Return when something is there; fails where it never comes."""
    deadline = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.01)


def wait_for(path: Path) -> None:
    """Return when a file is there; it may still be written to, unless it was renamed into place."""
    until(path.exists, path.name)
