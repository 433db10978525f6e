"""What files begin with, as far as it is looked at."""

from pathlib import Path

__all__ = ["HEAD", "TEXT", "beginning_of", "head_of"]

TEXT = 8 << 20
"""A longer file is not taken for a text in which secrets can be replaced."""

HEAD = 8192
"""This much tells the kind of a file."""


def beginning_of(path: Path) -> bytes:
    """All of a short text, and a byte too many of anything longer.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return file.read(TEXT + 1)


def head_of(path: Path) -> bytes:
    """Enough to tell the kind of a file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""
