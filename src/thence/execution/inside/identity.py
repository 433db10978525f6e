"""Which program tells something: a process may run several, one after the other (`exec`)."""

from __future__ import annotations

import os

__all__ = ["forget", "image"]

_images: list[str] = []


def image() -> str:
    """Drawn by chance when a program begins, and anew in each fork of it."""
    if not _images:
        _images.append(os.urandom(8).hex())
    return _images[-1]


def forget() -> None:
    """This is a fork: the image was that of its parent."""
    _images.clear()
