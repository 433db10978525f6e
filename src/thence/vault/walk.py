"""Walking from what entries refer to down to the chunks that it is made of."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from thence.errors import DataDamaged, NotFound, ThenceError
from thence.vault import recipe
from thence.vault.blockreader import BlockReader, Fetched
from thence.vault.directory import Location
from thence.vault.pack import BlockKind
from thence.vault.references import Root, RootKind, digests_in

if TYPE_CHECKING:
    from thence.vault.vault import Vault

__all__ = ["Seen", "Walk"]

_BATCH = 20_000
_LISTS_AT_ONCE = 256
_LOCAL_WORKERS = 4
_REMOTE_WORKERS = 16


class Seen(NamedTuple):
    """What became of some ids.

    Attributes:
        below: Recipes and lists among them that were not seen before.
        absent: Those that are in no pack.
    """

    below: Sequence[Location]
    absent: Sequence[bytes]


class Walk:
    """One walk.

    Args:
        vault: Where.
        visit: Is told ids and what they are: `WHOLE` for contents, `CHUNK`, `LIST`.
        missing: Is told what cannot be had: the id; whether it is a content that is in no pack and
            has nothing behind it; and what is wrong.
    """

    def __init__(
        self,
        vault: "Vault",
        visit: Callable[[Sequence[bytes], BlockKind], Seen],
        missing: Callable[[bytes, bool, ThenceError], None],
    ) -> None:
        self._vault = vault
        self._visit = visit
        self._missing = missing
        self._workers = _REMOTE_WORKERS if vault.remote else _LOCAL_WORKERS

    def run(self, roots: Iterable[Root]) -> None:
        """Visit everything that roots are made of.

        Raises:
            StorageError: The store failed.
            Denied: It may not be read.
        """
        left = iter(dict.fromkeys(roots))
        while batch := list(islice(left, _BATCH)):
            absent = set(self._contents([root.digest.raw for root in batch], leaf=None))
            lists = []
            for root in batch:
                is_list = root.kind is not RootKind.CONTENT
                if root.digest.raw in absent:
                    self._missing(root.digest.raw, not is_list, _nowhere(root.digest.raw))
                elif is_list:
                    lists.append(root)
            for some in self._vault.content.in_batches([root.digest for root in lists]):
                for at in some:
                    self._below(lists[at])

    def parts(self, recipes: Sequence[Location]) -> None:
        """Visit all that recipes and lists name.

        Raises:
            StorageError: The store failed.
            Denied: It may not be read.
        """
        for start in range(0, len(recipes), _BATCH):
            lists: list[Location] = []
            chunks: list[bytes] = []
            for level, items in self._nodes(recipes[start : start + _BATCH]):
                ids = [item.id for item in items]
                if level == 0:
                    chunks += ids
                    if len(chunks) >= _BATCH:
                        self._take(chunks, BlockKind.CHUNK)
                        chunks = []
                else:
                    lists += self._take(ids, BlockKind.LIST)
                    if len(lists) >= _LISTS_AT_ONCE:
                        self.parts(lists)
                        lists = []
            self._take(chunks, BlockKind.CHUNK)
            if lists:
                self.parts(lists)

    def _below(self, root: Root) -> None:
        """Visit the contents that a tree or list of files names."""
        try:
            found = digests_in(root.kind, self._vault.content.stream(root.digest))
            while batch := list(islice(found, _BATCH)):
                self._contents(batch, leaf=True)
        except (NotFound, DataDamaged) as error:
            self._missing(root.digest.raw, False, error)

    def _contents(self, ids: Sequence[bytes], *, leaf: bool | None) -> Sequence[bytes]:
        seen = self._visit(ids, BlockKind.WHOLE)
        if leaf is not None:
            for one in seen.absent:
                self._missing(one, leaf, _nowhere(one))
        if seen.below:
            self.parts(seen.below)
        return seen.absent

    def _take(self, ids: Sequence[bytes], kind: BlockKind) -> Sequence[Location]:
        if not ids:
            return ()
        seen = self._visit(ids, kind)
        for one in seen.absent:
            self._missing(one, False, _nowhere(one))
        return seen.below

    def _nodes(self, locations: Sequence[Location]) -> Iterator[tuple[int, list[recipe.Item]]]:
        with ThreadPoolExecutor(self._workers, "thence-walk") as pool:
            done: set[tuple[bytes, bytes]] = set()
            reader = BlockReader(self._vault, pool, workers=self._workers)
            try:
                for found in reader.each(locations, _nodes_of):
                    done.update((found.pack, wanted) for wanted, _ in found.nodes)
                    for _, node in found.nodes:
                        yield recipe.parse(node)
            except (NotFound, DataDamaged):
                pass
            else:
                return
            # One of them is damaged: each by itself tells which.
            for where in locations:
                if (where.pack, where.entry.id) in done:
                    continue
                reader = BlockReader(self._vault, pool, workers=self._workers)
                try:
                    (found,) = reader.each([where], _nodes_of)
                except (NotFound, DataDamaged) as error:
                    self._missing(where.entry.id, False, error)
                    continue
                for _, node in found.nodes:
                    yield recipe.parse(node)


class _Nodes(NamedTuple):
    pack: bytes
    nodes: list[tuple[bytes, bytes]]


def _nodes_of(fetched: Fetched) -> _Nodes:
    view = memoryview(fetched.decoded)
    return _Nodes(
        fetched.block.pack,
        [
            (
                member.id,
                bytes(
                    view
                    if member.kind is BlockKind.RECIPE
                    else view[member.inner : member.inner + member.raw_length]
                ),
            )
            for member in fetched.block.members
        ],
    )


def _nowhere(wanted: bytes) -> NotFound:
    return NotFound(f"{wanted.hex()[:12]} is missing", why="No pack holds it.", about=wanted.hex())
