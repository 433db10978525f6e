"""What the documentation shows works: its commands, scripts and files, in order, page by page."""

from pathlib import Path

import pytest
from docs_pages import ROOT, Block, Session, blocks, commands, fits, pages

RUN = ("console", "python")


def _runs(page: Path) -> bool:
    return any(block.language in RUN and "not run" not in block.marks for block in blocks(page))


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in pages() if _runs(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_what_a_page_shows_works(page: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    session = Session(folder)

    for block in blocks(page):
        session.run(block)


def test_the_pages_for_newcomers_are_run() -> None:
    run = {str(page.relative_to(ROOT)) for page in pages() if _runs(page)}

    assert {"README.md", "docs/tutorial/first-run.md"} <= run
    assert len([page for page in run if page.startswith("docs/how-to/")]) >= 5


# The runner itself: what it would let through


def test_output_is_compared_line_by_line() -> None:
    assert fits("saved a@v1\n", "saved a@v1\n\n")
    assert not fits("saved a@v1\n", "saved a@v2\n")
    assert not fits("one\n", "one\ntwo\n")
    assert not fits("one\ntwo\n", "one\n")


def test_an_ellipsis_is_any_text_in_a_line_and_any_lines_alone() -> None:
    assert fits("run:… finished\n", "run:0123abcd finished\n")
    assert not fits("run:… finished\n", "run:0123abcd failed\n")
    assert not fits("run:… finished\n", "run:0\n finished\n")
    assert fits("first\n…\nlast\n", "first\na\nb\nlast\n")
    assert fits("first\n…\n", "first\n")
    assert not fits("first\n…\nlast\n", "first\na\n")


def _block(text: str, **marks: str) -> Block:
    named = {key.replace("_", " "): value for key, value in marks.items()}
    return Block(ROOT / "README.md", 1, "console", text, named)


def test_a_command_that_fails_fails_the_page(tmp_path: Path) -> None:
    session = Session(tmp_path)

    with pytest.raises(AssertionError, match="exit status 3"):
        session.run(_block("$ exit 3\n"))
    session.run(_block("$ exit 3\n", exit_status="3"))
    with pytest.raises(AssertionError, match="the page says"):
        session.run(_block("$ echo one\ntwo\n"))


def test_commands_of_a_page_share_their_folder(tmp_path: Path) -> None:
    session = Session(tmp_path)

    session.run(_block("$ mkdir inside && cd inside\n$ basename $PWD\ninside\n"))
    session.run(_block("$ basename $PWD\ninside\n"))


def test_a_marked_block_is_written_or_passed_over(tmp_path: Path) -> None:
    session = Session(tmp_path)

    session.run(_block("a: 1\n", file="conf/params.yaml"))
    session.run(_block("$ exit 3\n", not_run="it would fail"))

    assert (tmp_path / "conf" / "params.yaml").read_text() == "a: 1\n"


def test_lines_below_a_command_are_its_output() -> None:
    found = commands(_block("$ one\nx\ny\n$ two\n"))

    assert [tuple(command) for command in found] == [("one", "x\ny\n"), ("two", None)]
