"""Trees, for any names that a file system can hold."""

import os

from hypothesis import given
from hypothesis import strategies as st

from thence.errors import DataDamaged, InvalidInput
from thence.model.ids import Digest
from thence.vault import tree
from thence.vault.tree import TreeEntry

PARTS = st.one_of(
    st.binary(min_size=1, max_size=6).filter(lambda part: not {0, 47} & set(part)),
    st.sampled_from([b"a", b"b", b"a-b", b"%", b"%2e", b"\xff", "ä".encode(), b"...", b"\n"]),
).filter(lambda part: part not in {b".", b".."})
PATHS = st.lists(PARTS, min_size=1, max_size=4).map(lambda parts: os.fsdecode(b"/".join(parts)))
ENTRIES = st.builds(
    TreeEntry,
    PATHS,
    st.integers(0, 2**63),
    st.binary(min_size=32, max_size=32).map(Digest),
    st.booleans(),
    st.booleans(),
)
TREES = st.lists(ENTRIES, max_size=12)


@given(TREES)
def test_a_tree_comes_back_or_is_refused(entries: list[TreeEntry]) -> None:
    paths = [os.fsencode(entry.path) for entry in entries]
    clash = len(set(paths)) < len(paths) or any(
        one.startswith(two + b"/") for one in paths for two in paths
    )
    try:
        data = tree.encode(entries)
    except InvalidInput:
        assert clash
        return
    assert not clash
    assert tree.decode(data) == sorted(entries, key=lambda entry: os.fsencode(entry.path))
    assert tree.encode(tree.decode(data)) == data
    data.decode("utf-8")


@given(TREES, TREES)
def test_a_difference_says_how_to_get_from_one_to_the_other(
    old: list[TreeEntry], new: list[TreeEntry]
) -> None:
    before = {entry.path: entry for entry in old}
    after = {entry.path: entry for entry in new}
    changed = dict(before)
    for change in tree.diff(before.values(), after.values()):
        assert change.old == before.get(change.path)
        assert change.old != change.new
        if change.new is None:
            del changed[change.path]
        else:
            changed[change.path] = change.new
    assert changed == after


@given(st.binary(max_size=200))
def test_any_bytes_are_a_tree_or_damaged(data: bytes) -> None:
    try:
        entries = tree.decode(data)
    except DataDamaged:
        return
    assert len(entries) == len(data.splitlines())


@given(TREES, st.data())
def test_a_changed_byte_never_lets_a_path_escape(
    entries: list[TreeEntry], data: st.DataObject
) -> None:
    unique = {entry.path.partition("/")[0]: entry for entry in entries}
    good = bytearray(tree.encode(unique.values()))
    for _ in range(data.draw(st.integers(0, 3))):
        if good:
            at = data.draw(st.integers(0, len(good) - 1))
            good[at] = data.draw(st.integers(0, 255))
    try:
        found = tree.decode(bytes(good))
    except DataDamaged:
        return
    for entry in found:
        parts = os.fsencode(entry.path).split(b"/")
        assert not {b"", b".", b".."} & set(parts)
        assert b"\0" not in os.fsencode(entry.path)
