"""The parts that pages are made of: a title, fields, sections."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from thence.cli import human
from thence.cli.output import Output
from thence.model.ids import Digest

__all__ = ["Field", "fields", "folded", "pairs", "section", "text_of", "value_text"]

Field = tuple[str, str | None]

_MAX_VALUE = 200


def fields(output: Output, rows: Iterable[Field]) -> None:
    """Print labels and values, aligned; rows without a value are left out."""
    shown = [(label, value) for label, value in rows if value]
    width = max((len(label) for label, _ in shown), default=0)
    for label, value in shown:
        head = output.paint(f"  {label:<{width}}", "dim")
        first, *rest = folded(output, human.line(value), indent=width + 4)
        output.painted(f"{head}  {first}")
        for text in rest:
            output.painted(f"{' ' * (width + 4)}{text}")


def folded(output: Output, text: str, *, indent: int = 0) -> list[str]:
    """The text in lines that fit beside an indent; one line where there is no terminal."""
    width = output.width()
    if width is None or len(text) <= width - indent:
        return [text]
    return textwrap.wrap(
        text, max(width - indent, 20), break_long_words=False, break_on_hyphens=False
    ) or [text]


def section(output: Output, title: str) -> None:
    """Print the head of a section."""
    output.data("")
    output.styled(title, "bold")


def pairs(values: Mapping[str, Any]) -> str:
    """`name value` of all, in one line."""
    return "  ".join(f"{name} {value_text(value)}" for name, value in values.items())


def value_text(value: Any) -> str:
    """A value in a line."""
    if isinstance(value, float):
        return human.number(value)
    return human.shorten(str(value), _MAX_VALUE)


def text_of(project: Any, digest: Digest) -> str | None:
    """A content as text; None where the store has it no more."""
    from thence.errors import DataDamaged, NotFound

    try:
        return str(project.site.vault.content.read(digest).decode("utf-8", "replace"))
    except (NotFound, DataDamaged):
        return None
