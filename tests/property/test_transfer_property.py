"""Any contents, any part of them asked for: the target gets exactly what the roots need."""

import itertools
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thence.model.ids import Digest
from thence.model.records import FileRole, FileUse, encode_lines
from thence.store.memory import MemoryStore
from thence.vault import lane, recipe, tree
from thence.vault import transfer as transfer_module
from thence.vault.pack import BlockKind, entries_of, parse_pack_key, read_directory
from thence.vault.references import Root, RootKind
from thence.vault.transfer import transfer
from thence.vault.tree import TreeEntry
from thence.vault.vault import Vault

_BASE = random.Random(1).randbytes(2_000_000)
_TEXT = b"".join(b"%d,%d\n" % (n, n * n) for n in range(60_000))


class Piece(NamedTuple):
    """A content that has much in common with others: whole chunks, and lists of chunks."""

    start: int
    size: int
    compressible: bool

    @property
    def data(self) -> bytes:
        return (_TEXT if self.compressible else _BASE)[self.start * 40_000 :][: self.size]


SIZES = st.one_of(
    st.integers(0, 2_000), st.integers(30_000, 300_000), st.integers(300_000, 1_500_000)
)
CONTENTS = st.lists(
    st.builds(Piece, st.integers(0, 6), SIZES, st.booleans()),
    min_size=1,
    max_size=8,
)


class Case(NamedTuple):
    """What a source holds, and what is asked of it.

    Attributes:
        sessions: Contents by the session in which they were put; each has packs of its own.
        trees: Which contents each tree has, by number.
        runs: Which contents each list of file uses has.
        asked: Which of the trees, then of the runs, then of the contents are asked for.
        had: Which contents the target has before.
    """

    sessions: list[list[Piece]]
    trees: list[set[int]]
    runs: list[set[int]]
    asked: list[set[int]]
    had: set[int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    sessions = draw(st.lists(CONTENTS, min_size=1, max_size=3))
    some = st.sets(st.integers(0, sum(map(len, sessions)) - 1), max_size=5)
    few = st.sets(st.integers(0, 2), max_size=3)
    lists = st.lists(some, min_size=1, max_size=3)
    asked = [draw(few), draw(few), draw(some)]
    return Case(sessions, draw(lists), draw(lists), asked, draw(some))


@contextmanager
def small_limits() -> Iterator[None]:
    """So that a few contents already make several batches, lists, blocks and packs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer_module, "BATCH", 5)
        patch.setattr(transfer_module, "_ROOTS_AT_ONCE", 2)
        patch.setattr(transfer_module, "_LISTS_AT_ONCE", 2)
        patch.setattr(transfer_module, "_RECIPES_AT_ONCE", 2)
        patch.setattr(transfer_module, "_RECIPES_WAITING", 500)
        patch.setattr(recipe, "_TOP", 4)
        patch.setattr(recipe, "_LIST_MINIMUM", 2)
        patch.setattr(recipe, "_LIST_MAXIMUM", 4)
        patch.setattr(lane, "SOLID", 20_000)
        patch.setattr(lane, "PACK", 400_000)
        yield


def ids_in(vault: Vault) -> set[bytes]:
    """Every id that the packs of a store hold, read without the vault."""
    found = set()
    for info in vault.store.list("packs/"):
        pack = parse_pack_key(info.key)
        assert pack is not None
        found |= {entry.id for entry in entries_of(read_directory(vault.store, pack))}
    return found


def needed_for(vault: Vault, contents: set[Digest]) -> set[bytes]:
    """The ids of contents, with all chunks and lists below them."""
    found = set()
    for digest in contents:
        found.add(digest.raw)
        where = vault.directory.find(digest.raw)
        assert where is not None
        if where.entry.kind is BlockKind.RECIPE:

            def read_list(node_id: bytes) -> bytes:
                found.add(node_id)  # noqa: B023 - used before the next turn
                return bytes(vault.content._list(node_id))

            node = bytes(vault.content._member(where))
            found |= {item.id for item in recipe.chunks_of(node, read_list)}
    return found


@settings(max_examples=100, deadline=None)
@given(case=cases())
def test_the_target_gets_exactly_what_the_roots_need(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder, small_limits():
        numbers = itertools.count()

        def new_vault(store: MemoryStore | None = None) -> Vault:
            return Vault(store or MemoryStore(), Path(folder) / str(next(numbers)))

        source, store = new_vault(), MemoryStore()
        every: list[bytes] = []
        for session in case.sessions:
            with source.writer(lanes=2) as writer:
                for piece in session:
                    writer.put_bytes(piece.data)
                    every.append(piece.data)

        roots: list[Root] = []
        contents: dict[Digest, bytes] = {}

        def ask(data: bytes, kind: RootKind, files: set[int]) -> None:
            roots.append(Root(Digest.of(data), kind))
            contents[Digest.of(data)] = data
            contents.update((Digest.of(every[n]), every[n]) for n in files)

        with source.writer() as writer:
            for number, files in enumerate(case.trees):
                data = tree.encode(
                    TreeEntry(str(n), len(every[n]), Digest.of(every[n])) for n in files
                )
                writer.put_bytes(data)
                if number in case.asked[0]:
                    ask(data, RootKind.TREE, files)
            for number, files in enumerate(case.runs):
                uses = [
                    FileUse(path=str(n), role=FileRole.INPUT, digest=Digest.of(every[n]))
                    for n in sorted(files)
                ]
                data = encode_lines(uses)
                writer.put_bytes(data)
                if number in case.asked[1]:
                    ask(data, RootKind.FILES, files)
        for n in case.asked[2]:
            ask(every[n], RootKind.CONTENT, set())

        with new_vault(store).writer() as writer:
            for n in case.had:
                writer.put_bytes(every[n])
        before = ids_in(new_vault(store))
        done = transfer(source, new_vault(store), roots)

        there = new_vault(store)
        for digest, data in contents.items():
            assert there.content.read(digest) == data
        assert ids_in(there) == before | needed_for(source, set(contents))
        new = {digest: data for digest, data in contents.items() if digest.raw not in before}
        assert (done.contents, done.size_bytes) == (len(new), sum(map(len, new.values())))
        again = transfer(source, new_vault(store), roots)
        assert (again.contents, again.size_bytes, again.sent_bytes) == (0, 0, 0)
