"""Names and refs, for any text."""

import os
import unicodedata
from urllib.parse import unquote_to_bytes

from hypothesis import example, given
from hypothesis import strategies as st

from thence.errors import InvalidInput
from thence.model.names import (
    Alias,
    ArtifactName,
    Ref,
    RunRef,
    Selector,
    SelectorKind,
    VersionRef,
    parse_ref,
)
from thence.model.paths import path_from_text, path_to_text
from thence.store.base import check_key

GOOD = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="@:\\/")
SEGMENTS = st.text(GOOD, min_size=1, max_size=12).filter(
    lambda text: text == text.strip() and text not in {".", ".."}
)
NAMES = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join).map(ArtifactName)
PATHS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)


def _is_alias(text: str) -> bool:
    try:
        Alias(text)
    except InvalidInput:
        return False
    return True


ALIASES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(_is_alias)
HEX = st.text("0123456789abcdef", min_size=4, max_size=64)
SELECTORS = st.one_of(
    st.just(Selector()),
    st.builds(Selector, st.just(SelectorKind.NUMBER), st.integers(1, 10**10 - 1)),
    st.builds(Selector, st.just(SelectorKind.BACK), st.integers(0, 10**10 - 1)),
    st.builds(Selector, st.just(SelectorKind.LOCAL), st.integers(1, 10**10 - 1)),
    st.builds(Selector, st.just(SelectorKind.DIGEST), st.just(0), HEX),
    st.builds(Selector, st.just(SelectorKind.ALIAS), st.just(0), ALIASES),
)
REFS: st.SearchStrategy[Ref] = st.one_of(
    st.builds(VersionRef, NAMES | st.just(ArtifactName("run")), SELECTORS, st.none() | PATHS),
    st.builds(
        RunRef, st.none() | st.text("0123456789abcdef", min_size=2, max_size=20), st.none() | PATHS
    ),
)
# What a file system can hold, cut into parts as it does.
FILE_PATHS = st.lists(
    st.binary(min_size=1, max_size=30).filter(lambda part: not {0, 47} & set(part)),
    min_size=1,
    max_size=5,
).map(lambda parts: os.fsdecode(b"/".join(parts)))


@given(REFS)
def test_refs_come_back(ref: Ref) -> None:
    assert parse_ref(str(ref)) == ref


@given(st.text(max_size=40))
@example("a@\ud800")
@example("run:\0")
def test_any_text_is_a_ref_or_refused_with_a_position_inside(text: str) -> None:
    position: int | None = None
    try:
        ref = parse_ref(text)
    except InvalidInput as error:
        position = error.position
    else:
        assert parse_ref(str(ref)) == ref
    assert position is None or 0 <= position <= len(text)


@given(NAMES)
def test_a_name_is_stable_and_its_key_is_good_in_a_store(name: ArtifactName) -> None:
    assert ArtifactName(name) == name
    assert unicodedata.is_normalized("NFC", name)
    check_key(f"refs/artifacts/{name.key}/@edits/0000000001")
    assert not any(part.startswith((".", "@")) for part in name.key.split("/"))
    assert not any(part.endswith(".") for part in name.key.split("/"))


@given(NAMES)
def test_spellings_of_one_name_share_a_key(name: ArtifactName) -> None:
    assert ArtifactName(unicodedata.normalize("NFD", name)).key == name.key
    assert ArtifactName(name.swapcase()).key == ArtifactName(name.swapcase().casefold()).key


@given(NAMES, NAMES)
def test_only_names_that_fold_alike_share_a_key(one: ArtifactName, two: ArtifactName) -> None:
    def folded(name: ArtifactName) -> str:
        return unicodedata.normalize("NFC", name.casefold())

    assert (one.key == two.key) == (folded(one) == folded(two))


@given(ALIASES, ALIASES)
@example("best", "BEST")
def test_only_aliases_that_fold_alike_share_a_key(one: str, two: str) -> None:
    assert (Alias(one).key == Alias(two).key) == (one.casefold() == two.casefold())
    check_key(f"refs/aliases/a/@{Alias(one).key}/0000000001")
    assert not Alias(one).key.endswith(".")


@given(NAMES)
def test_no_log_of_an_artifact_lies_in_that_of_another(name: ArtifactName) -> None:
    """`a` and `a/@/0000000001` cannot both be names, so their logs cannot meet."""
    assert "@" not in name.key


@given(FILE_PATHS)
@example("x" * 4000)
@example(os.fsdecode(b"\xff" * 300 + b"/" + b" "))
@example("%25/%/%~")
def test_every_path_has_a_name(path: str) -> None:
    name = ArtifactName.from_path(path)
    assert ArtifactName(name) == name
    check_key(f"refs/aliases/{name.key}/@{'a' * 100}/0000000001")
    if len(name) < 400 and unicodedata.is_normalized("NFC", path):
        back = os.fsdecode(unquote_to_bytes(name))
        assert unicodedata.normalize("NFC", back) == unicodedata.normalize("NFC", path)


@given(FILE_PATHS, FILE_PATHS)
@example(" a", "a")
@example("a%40", "a@")
@example("a/%2E", "a/.")
def test_two_paths_have_two_names(one: str, two: str) -> None:
    same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", two)
    assert (ArtifactName.from_path(one) == ArtifactName.from_path(two)) == same


@given(FILE_PATHS)
def test_paths_come_back_from_text(path: str) -> None:
    text, percent = path_to_text(path)
    text.encode("utf-8")
    assert path_from_text(text, percent=percent) == path
