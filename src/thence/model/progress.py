"""How long work says how far it is."""

from typing import Protocol

__all__ = ["Progress", "silent"]


class Progress(Protocol):
    """Is told how far long work is, now and then, by any thread.

    A function of two arguments will do where whoever calls it never knows the total.
    """

    def __call__(self, files: int, size: int, total: int | None = None, /) -> None:
        """Take note.

        Args:
            files: How many files (or whatever is counted) are done.
            size: How many bytes are done.
            total: How many bytes there are in all, where that is known.
        """


def silent(files: int, size: int, total: int | None = None, /) -> None:
    """A `Progress` for when nobody looks on."""
