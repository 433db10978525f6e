"""Fields of notes: programs told them, so that each may be missing or anything at all."""

from collections.abc import Mapping
from typing import Any

__all__ = ["Program", "program_of", "text", "whole"]

Program = tuple[int, str]
"""A process and the image in it: `exec` puts another program into the same process."""


def program_of(note: Mapping[str, Any]) -> Program:
    """Which program told a note."""
    return whole(note.get("pid")) or 0, text(note.get("image")) or ""


def whole(value: Any) -> int | None:
    """A whole number, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text(value: Any) -> str | None:
    """Text that is not empty, or None."""
    return value if isinstance(value, str) and value else None
