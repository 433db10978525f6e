"""Small tables: columns of plain text, or what rich makes of them on a terminal."""

from collections.abc import Sequence
from typing import NamedTuple

from thence.cli.human import line

__all__ = ["Column", "to_terminal", "to_text"]

_FLEXIBLE_WIDTH = 12


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        right: Numbers are aligned to the right.
        style: A rich style for its cells.
        flexible: On a terminal, this column gives way first.
    """

    title: str
    right: bool = False
    style: str = ""
    flexible: bool = False


def to_text(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    """The table for a pipe or a file: aligned, never cut, no colours."""
    cells = [[column.title for column in columns], *([line(cell) for cell in row] for row in rows)]
    widths = [max(_width(row[index]) for row in cells) for index in range(len(columns))]
    return "".join(
        "  ".join(
            _pad(cell, width, right=column.right)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ).rstrip()
        + "\n"
        for row in cells
    )


def to_terminal(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> str:
    """The table for a terminal of this width, with escape sequences for styles."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    cells = [[line(cell) for cell in row] for row in rows]
    for index, column in enumerate(columns):
        widest = max(_width(text) for text in (column.title, *(row[index] for row in cells)))
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            style=column.style,
            no_wrap=True,
            overflow="ellipsis",
            min_width=min(widest, _FLEXIBLE_WIDTH) if column.flexible else widest,
        )
    for row in cells:
        table.add_row(*map(Text, row))
    console = Console(force_terminal=True, width=width, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{text.rstrip()}\n" for text in capture.get().splitlines())


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
