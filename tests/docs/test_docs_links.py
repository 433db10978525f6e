"""Links of the documentation lead somewhere, and it names no machine."""

import re
from pathlib import Path

import pytest
from docs_pages import ROOT, pages

LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
MACHINE = re.compile(r"(?<![\w.~-])/(home|Users|root|work|tmp|opt|mnt|srv)/[\w.-]+")
FENCED = re.compile(r"^(`{3,}).*?^\1\s*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")

each_page = pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))


def _prose(page: Path) -> str:
    return CODE.sub("", FENCED.sub("", page.read_text("utf-8")))


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = FENCED.sub("", page.read_text("utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@each_page
def test_each_relative_link_leads_somewhere(page: Path) -> None:
    for found in LINK.finditer(_prose(page)):
        target, _, anchor = found["target"].partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{found[0]} leads nowhere"
        assert path.is_relative_to(ROOT), f"{found[0]} leads out of the project"
        if anchor and path.suffix == ".md":
            assert anchor in _anchors(path), f"{found[0]} names a heading that is not there"


@each_page
def test_no_page_names_a_folder_of_some_machine(page: Path) -> None:
    found = MACHINE.search(page.read_text("utf-8"))

    assert found is None, found


@each_page
def test_no_page_is_half_done(page: Path) -> None:
    found = re.search(r"\b(TODO|FIXME|XXX|TBD)\b", page.read_text("utf-8"))

    assert found is None, found


def test_every_page_of_docs_can_be_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    reached, waiting = set[Path](), [index]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        for found in LINK.finditer(_prose(page)):
            path = (page.parent / found["target"].partition("#")[0]).resolve()
            if path.is_file():
                waiting.append(path)
    lost = {path for path in pages() if path.is_relative_to(ROOT / "docs")} - reached

    assert not lost
