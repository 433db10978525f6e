"""Whether a clean run of a notebook, from top to bottom, would do what was really done."""

import builtins
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from thence.execution.capture.cell_names import CellNames, names_of

__all__ = ["DocumentCell", "ExecutedCell", "doubts"]

_LISTED = 20
_KNOWN = {*dir(builtins), "get_ipython", "display", "In", "Out", "_", "__", "__name__", "exit"}


class ExecutedCell(NamedTuple):
    """A cell as it was executed; in the order of execution.

    Attributes:
        order: Its number, as the notebook shows it.
        id: Of the cell, as the front end names it; empty where it does not.
        position: Among the cells of the notebook; None where that is not known.
    """

    order: int
    source: str
    id: str = ""
    position: int | None = None


class DocumentCell(NamedTuple):
    """A cell of code as it stands in the notebook, in its order."""

    id: str
    source: str


class _Cell(NamedTuple):
    """A cell of the document, and its last execution."""

    number: int
    source: str
    names: CellNames
    executions: tuple[int, ...]


def doubts(executed: Sequence[ExecutedCell], document: Sequence[DocumentCell] = ()) -> list[str]:
    """Why a clean run from top to bottom might differ; sentences for people, none if it would not.

    Args:
        executed: What was executed, in this order.
        document: The notebook as it stands; where that is not known, it is taken from the order in
            which its cells were executed first.
    """
    if not executed:
        return []
    return list(dict.fromkeys(_Comparison(executed, document).find()))


class _Comparison:
    def __init__(self, executed: Sequence[ExecutedCell], document: Sequence[DocumentCell]) -> None:
        self._executed = executed
        self._names = [names_of(one.source) for one in executed]
        # Of what was executed before the recording began only the text is known.
        by_source = {one.source.strip(): one.id or one.source for one in document}
        self._keys = [one.id or by_source.get(one.source.strip(), one.source) for one in executed]
        self._is_known = bool(document)
        self._cells = self._lay_out(document)

    def _lay_out(self, document: Sequence[DocumentCell]) -> dict[str, _Cell]:
        """The cells of the document by key, with the indices of their executions."""
        where: dict[str, list[int]] = {}
        for index, key in enumerate(self._keys):
            where.setdefault(key, []).append(index)
        if document:
            keyed = [(one.id if one.id in where else one.source, one.source) for one in document]
            keyed = [
                (key if key in where else one.id or one.source, source)
                for (key, source), one in zip(keyed, document, strict=True)
            ]
        else:
            last = {key: self._executed[found[-1]] for key, found in where.items()}
            keys = list(where)
            if all(one.position is not None for one in last.values()):
                keys.sort(key=lambda key: last[key].position or 0)
            keyed = [(key, last[key].source) for key in keys]
        return {
            key: _Cell(number, source, names_of(source), tuple(where.get(key, ())))
            for number, (key, source) in enumerate(keyed, 1)
        }

    def find(self) -> Iterator[str]:
        yield from self._order()
        for key, cell in self._cells.items():
            yield from self._edits(key, cell)
        for key, cell in self._cells.items():
            yield from self._repetitions(key, cell)
        for key, cell in self._cells.items():
            yield from self._uses(key, cell)

    def _order(self) -> Iterator[str]:
        last = sorted(
            (cell.executions[-1], cell) for cell in self._cells.values() if cell.executions
        )
        numbers = [cell.number for _, cell in last]
        if numbers != sorted(numbers):
            listed = ", ".join(map(str, numbers[:_LISTED])) + (" …" if numbers[_LISTED:] else "")
            yield f"the cells were executed last in the order {listed}"

    def _edits(self, key: str, cell: _Cell) -> Iterator[str]:
        if not cell.executions:
            if self._is_known and cell.source.strip():
                yield f"cell {cell.number} was not executed"
            return
        last = self._executed[cell.executions[-1]]
        if last.source.strip() != cell.source.strip():
            yield f"cell {cell.number} was edited after it was executed as [{last.order}]"

    def _repetitions(self, key: str, cell: _Cell) -> Iterator[str]:
        for index in cell.executions[1:]:
            for name in sorted(self._names[index].changes):
                before = self._provider(name, index)
                if before is not None and self._keys[before] == key:
                    count = len(cell.executions)
                    yield (
                        f"cell {cell.number} was executed {count} times, and each time changes "
                        f"`{name}`, which it had changed before"
                    )

    def _uses(self, key: str, cell: _Cell) -> Iterator[str]:
        if not cell.executions:
            return
        index = cell.executions[-1]
        label = f"cell {cell.number} (executed as [{self._executed[index].order}])"
        for name in sorted(self._names[index].reads - _KNOWN):
            provider = self._provider(name, index)
            if provider is None:
                continue  # from before the recording, or by a magic
            clean = self._clean_provider(name, cell.number)
            source = self._cells.get(self._keys[provider])
            order = self._executed[provider].order
            if source is None:
                yield (
                    f"{label} uses `{name}`, which a cell that is no longer there defined as "
                    f"[{order}]"
                )
            elif name not in source.names.binds | source.names.changes:
                yield (
                    f"{label} uses `{name}`, which cell {source.number} defined as [{order}], "
                    "before it was edited"
                )
            elif clean is None and source.number > cell.number:
                yield f"{label} uses `{name}`, which cell {source.number}, further down, defines"
            elif clean is not None and source.number not in {clean, cell.number}:
                yield (
                    f"{label} used `{name}` as cell {source.number} left it; from top to bottom it "
                    f"would be as cell {clean} leaves it"
                )

    def _provider(self, name: str, index: int) -> int | None:
        """The execution before this one that bound the name last."""
        for before in range(index - 1, -1, -1):
            if name in self._names[before].binds | self._names[before].changes:
                return before
        return None

    def _clean_provider(self, name: str, number: int) -> int | None:
        """The cell that would have bound it last in a run from top to bottom."""
        found = None
        for cell in self._cells.values():
            if cell.number < number and name in cell.names.binds | cell.names.changes:
                found = cell.number
        return found
