"""Small tables: aligned columns of text."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from thence.cli.human import line

__all__ = ["Column", "to_text"]

_GAP = "  "
_NARROWEST = 8


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        right: Numbers are aligned to the right.
        style: Of its cells: a word that `Output.paint` knows.
        flexible: On a terminal that is too narrow, this column is cut.
        optional: Left out where none of its cells says anything.
        middle: It is cut in the middle: what its texts end in tells them apart.
    """

    title: str
    right: bool = False
    style: str = ""
    flexible: bool = False
    optional: bool = False
    middle: bool = False


def to_text(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None = None,
    paint: Callable[[str, str], str] = lambda text, style: text,
) -> str:
    """The table, a line for each row.

    Args:
        columns: What stands where.
        rows: A cell for each column.
        width: Of the terminal; None for a pipe or a file, where nothing is cut.
        paint: Puts a text into a style.
    """
    cells = [[line(cell) for cell in row] for row in rows]
    wanted = [
        index
        for index, column in enumerate(columns)
        if not column.optional or any(row[index] for row in cells)
    ]
    shown = [columns[index] for index in wanted]
    cells = [[row[index] for index in wanted] for row in cells]
    widths = _widths(shown, cells, width)
    head = _line([column.title for column in shown], shown, widths, lambda text, _: text)
    lines = [paint(head, "bold"), *(_line(row, shown, widths, paint) for row in cells)]
    return "".join(f"{text}\n" for text in lines)


def _widths(
    columns: Sequence[Column], cells: Sequence[Sequence[str]], limit: int | None
) -> list[int]:
    """Widths of the columns; flexible ones give way, the widest first."""
    widths = [
        max(_width(text) for text in (column.title, *(row[index] for row in cells)))
        for index, column in enumerate(columns)
    ]
    if limit is None:
        return widths
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - limit
    flexible = [index for index, column in enumerate(columns) if column.flexible]
    while excess > 0 and flexible:
        widest = max(flexible, key=lambda index: widths[index])
        if widths[widest] <= max(_NARROWEST, _width(columns[widest].title)):
            break  # the terminal wraps the lines; nothing more is lost
        widths[widest] -= 1
        excess -= 1
    return widths


def _line(
    cells: Sequence[str],
    columns: Sequence[Column],
    widths: Sequence[int],
    paint: Callable[[str, str], str],
) -> str:
    parts = []
    for index, (cell, column, width) in enumerate(zip(cells, columns, widths, strict=True)):
        text = _fit(cell, width, middle=column.middle)
        space = " " * (width - _width(text))
        painted = paint(text, column.style) if text and column.style else text
        if column.right:
            parts.append(space + painted)
        else:
            is_last = index == len(columns) - 1
            parts.append(painted if is_last else painted + space)
    return _GAP.join(parts).rstrip()


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _fit(text: str, width: int, *, middle: bool = False) -> str:
    if _width(text) <= width:
        return text
    from rich.cells import set_cell_size

    if middle and text.isascii() and width > 4:
        end = (width - 1) // 2
        return f"{text[: width - 1 - end]}…{text[-end:]}"
    return f"{set_cell_size(text, width - 1).rstrip()}…"
