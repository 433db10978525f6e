"""The parts that pages are made of: a title, fields, sections."""

from collections.abc import Iterable, Mapping
from typing import Any

from thence.cli import human
from thence.cli.output import Output
from thence.model.ids import Digest

__all__ = ["Field", "fields", "pairs", "section", "text_of", "value_text"]

Field = tuple[str, str | None]

_MAX_VALUE = 200


def fields(output: Output, rows: Iterable[Field]) -> None:
    """Print labels and values, aligned; rows without a value are left out."""
    shown = [(label, value) for label, value in rows if value]
    width = max((len(label) for label, _ in shown), default=0)
    for label, value in shown:
        head = output.paint(f"  {label:<{width}}", "dim")
        output.painted(f"{head}  {human.line(value)}")


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
