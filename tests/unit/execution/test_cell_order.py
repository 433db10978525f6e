"""Whether a clean run of a notebook would differ: found from what was executed, and the names."""

import pytest

from thence.execution.capture.cell_names import names_of
from thence.execution.capture.cell_order import DocumentCell, ExecutedCell, doubts


@pytest.mark.parametrize(
    ("source", "reads", "binds", "changes"),
    [
        ("y = x + 1", {"x"}, {"y"}, set()),
        ("x += 1", {"x"}, {"x"}, {"x"}),
        ("df = df.dropna()", {"df"}, {"df"}, {"df"}),
        ("df['b'] = df['a'] * 2", {"df"}, set(), set()),
        ("df['a'] = df['a'] * 2", {"df"}, set(), {"df"}),
        ("rows.append(1)", {"rows"}, set(), {"rows"}),
        ("df.drop(columns='a', inplace=True)", {"df"}, set(), {"df"}),
        ("rows = []\nrows.append(1)", set(), {"rows"}, set()),
        ("import numpy as np, os.path", set(), {"np", "os"}, set()),
        ("def f(a):\n    return a + b", {"b"}, {"f"}, set()),
        ("[i + k for i in items]", {"k", "items"}, set(), set()),
        ("for i in items: print(i)", {"items", "print"}, {"i"}, set()),
        ("%matplotlib inline\nfiles = !ls\ny = 1", set(), {"files", "y"}, set()),
        ("%%bash\necho $x", set(), set(), set()),
        ("%%time\ny = x", {"x"}, {"y"}, set()),
        ("this is no python", set(), set(), set()),
    ],
)
def test_names(source: str, reads: set[str], binds: set[str], changes: set[str]) -> None:
    found = names_of(source)
    assert (set(found.reads), set(found.binds), set(found.changes)) == (reads, binds, changes)


def _done(*cells: tuple[str, str]) -> list[ExecutedCell]:
    return [ExecutedCell(order, source, name) for order, (name, source) in enumerate(cells, 1)]


def _page(*cells: tuple[str, str]) -> list[DocumentCell]:
    return [DocumentCell(name, source) for name, source in cells]


A, B, C = ("a", "x = 1"), ("b", "y = x + 1"), ("c", "print(y)")


def test_a_clean_run_leaves_no_doubt() -> None:
    assert doubts(_done(A, B, C), _page(A, B, C)) == []
    assert doubts(_done(A, B, C)) == []
    # Executed again in the same order, and changed by a cell that starts anew each time.
    assert doubts(_done(A, B, C, A, B, C), _page(A, B, C)) == []
    assert doubts([]) == []


def test_what_is_executed_again_after_a_fresh_start_is_no_doubt() -> None:
    grow = ("d", "x = x * 2")
    assert doubts(_done(A, grow, A, grow), _page(A, grow)) == []
    (told,) = doubts(_done(A, grow, grow), _page(A, grow))
    assert told == (
        "cell 2 was executed 2 times, and each time changes `x`, which it had changed before"
    )


def test_a_name_of_a_later_cell() -> None:
    told = doubts(_done(A, B), _page(B, A))
    assert told == [
        "the cells were executed last in the order 2, 1",
        "cell 1 (executed as [2]) uses `x`, which cell 2, further down, defines",
    ]


def test_a_name_of_a_cell_that_was_edited_or_deleted() -> None:
    assert doubts(_done(A, B), _page(B)) == [
        "cell 1 (executed as [2]) uses `x`, which a cell that is no longer there defined as [1]"
    ]
    edited = ("a", "z = 1")
    assert doubts(_done(A, B), _page(edited, B)) == [
        "cell 1 was edited after it was executed as [1]",
        "cell 2 (executed as [2]) uses `x`, which cell 1 defined as [1], before it was edited",
    ]


def test_a_cell_that_was_not_executed() -> None:
    assert doubts(_done(A), _page(A, C)) == ["cell 2 was not executed"]


def test_without_ids_the_text_says_which_cell_it_was() -> None:
    executed = [ExecutedCell(1, "x = 1"), ExecutedCell(2, "y = x + 1", "b")]
    assert doubts(executed, _page(A, B)) == []
