"""What is not needed any more, by what it belonged to."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from thence.errors import ThenceError
from thence.vault.pack import BlockKind
from thence.vault.reach import Live, Marker
from thence.vault.references import Root
from thence.vault.rows import Rows
from thence.vault.vault import Vault
from thence.vault.walk import Walk

if TYPE_CHECKING:
    from thence.vault.rows import Array

__all__ = ["Dead", "dead_of"]


class Dead(NamedTuple):
    """Content that is not needed any more.

    Attributes:
        name: The version or run that it belonged to; None where nothing refers to it.
        contents: How many contents: files, trees, logs.
        size_bytes: What they take in packs.
    """

    name: str | None
    contents: int
    size_bytes: int


def dead_of(
    vault: Vault, rows: Rows, live: "Array", stored: "Array", refers: Live
) -> tuple[Dead, ...]:
    """What is not needed, by the versions and runs that were removed; each content once.

    Args:
        vault: Where.
        rows: What there is.
        live: Marks of the rows that are needed.
        stored: How many bytes of its pack each row has.
        refers: What was removed.

    Raises:
        StorageError: The store failed.
        Denied: It may not be read.
    """
    import numpy as np

    contents = (rows.kind == BlockKind.WHOLE) | (rows.kind == BlockKind.RECIPE)
    marks = live.copy()
    found: dict[str, Dead] = {}

    def ignore(wanted: bytes, leaf: bool, error: ThenceError) -> None:
        """Some of it went before."""

    for name, some in _by_name(refers):
        new: list[Array] = []
        Walk(vault, Marker(rows, marks, marked=new.append).visit, ignore).run(some)
        if any(map(len, new)):
            its = np.concatenate(new)
            found[name] = Dead(name, int(contents[its].sum()), int(stored[its].sum()))
    rest = ~(marks | (rows.pack < 0))
    total = (*found.values(),)
    if np.any(rest):
        total += (Dead(None, int((rest & contents).sum()), int(stored[rest].sum())),)
    return total


def _by_name(refers: Live) -> Sequence[tuple[str, list[Root]]]:
    by_name: dict[str, list[Root]] = {}
    for one in refers.removed:
        by_name.setdefault(one.name, []).extend(one.roots)
    return list(by_name.items())
