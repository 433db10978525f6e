"""Content transfer between vaults: what push, pull, clone, mirror and import are made of.

Blocks are copied as they are stored, so nothing is compressed twice, and each is verified before
it is written. Content comes before what refers to it, and what nothing refers to does not travel:
it may have been deleted, or was never meant for others.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from thence.errors import DataDamaged, NotFound, StorageError, ThenceError
from thence.model.ids import Digest
from thence.store.base import Bytes
from thence.vault import recipe
from thence.vault.blockreader import BlockReader, Fetched, damaged
from thence.vault.directory import Location
from thence.vault.lane import Member
from thence.vault.layout import read_project
from thence.vault.pack import BlockKind, Codec
from thence.vault.plan import Block, covers
from thence.vault.references import Root, RootKind, names_in
from thence.vault.tally import Tally
from thence.vault.vault import Vault
from thence.vault.writer import SMALL, Writer

__all__ = ["Transferred", "transfer"]

_LOCAL_WORKERS = 4
_REMOTE_WORKERS = 16
# How many ids are planned and copied together; an edge between two batches may divide a block,
# which is then compressed anew.
BATCH = 50_000
_ROOTS_AT_ONCE = 64
_LISTS_AT_ONCE = 64
# More roots than these are found faster by reading all directories than by asking for each.
_HINTED = 8
_READ_WHOLE = 4 * 1024 * 1024
# Recipes wait in memory until what they name is durable. The largest has 10 KiB.
_RECIPES_AT_ONCE = 2_000
_RECIPES_WAITING = 32 * 1024 * 1024
# After so many ids they are written out and looked up in the directory instead.
_REMEMBERED = 500_000


class Transferred(NamedTuple):
    """What a transfer did.

    Attributes:
        contents: How many contents the target did not have.
        size_bytes: Of these contents.
        sent_bytes: Bytes of the packs that were written.
        packs: Ids of the target's packs that hold what the roots need, sorted.
    """

    contents: int
    size_bytes: int
    sent_bytes: int
    packs: tuple[bytes, ...]


class _Recipe(NamedTuple):
    """A recipe of the source, verified as far as it can be without what it names."""

    where: Location
    stored: bytes
    node: bytes


class _Piece(NamedTuple):
    """A chunk or list that a recipe names."""

    id: bytes
    kind: BlockKind
    length: int


def transfer(
    source: Vault,
    target: Vault,
    roots: Iterable[Root],
    *,
    progress: Callable[[int, int], None] = lambda contents, size: None,
    workers: int | None = None,
    foreign: bool = False,
    without: Collection[Digest] = (),
) -> Transferred:
    """Copy what the roots need and the target does not have.

    When it returns, all of it is durable and known in the target. When it fails or is interrupted,
    what was published by then stays, and the next try goes on from there: it sends at most what
    was in the packs being filled once more.

    Args:
        source: Where from. What it lacks but the target has is not missed.
        target: Where to.
        roots: What is wanted, with all that these refer to.
        progress: Is told how many contents and how many bytes of content are done so far, about
            ten times a second, by any thread but never by two at once.
        workers: How many reads go on at the same time; 4, or 16 where a bucket takes part.
        foreign: The source is another project, whose word is not taken for what cannot be verified
            piece by piece: contents of several chunks are read whole, and cut again.
        without: Contents that are not copied, nor what only they refer to: they were erased.

    What a run wrote and the source lacks is not missed where it was a version of something: that
    one was removed.

    Raises:
        NotFound: Neither source nor target has a content.
        DataDamaged: What the source holds is not what was written; the target did not take it.
        StorageError: A store failed.
        Denied: A store may not be read, or not be written to.
        FormatTooNew: A pack was written by a newer thence.
    """
    count = workers or (_REMOTE_WORKERS if source.remote or target.remote else _LOCAL_WORKERS)
    report = Tally(progress)
    with target.writer() as writer:
        try:
            with ThreadPoolExecutor(count, "thence-transfer") as pool:
                reader = BlockReader(source, pool, workers=count)
                work = _Transfer(
                    source, target, reader, writer, report, foreign=foreign, without=without
                )
                try:
                    work.run(roots)
                    if work.rescued:
                        _rescue(target, writer, work.rescued)
                except BaseException:
                    # The pool is waited for: nobody may write when the writer drops the rest.
                    reader.stop()
                    raise
        except StorageError:
            # A pack in a folder has 256 MiB, which came in vain if it were dropped half full.
            if not target.remote:
                with suppress(ThenceError):
                    writer.flush()
            raise
    report.end()
    return Transferred(
        report.contents,
        report.size_bytes,
        writer.new_bytes,
        tuple(sorted(work.packs.union(writer.packs))),
    )


def _rescue(target: Vault, writer: Writer, contents: Sequence[Digest]) -> None:
    from thence.vault.securing import secure  # seldom needed

    roots = [Root(digest, RootKind.CONTENT) for digest in contents]
    secure(target, roots, avoid=writer.session.condemned)


class _Transfer:
    """One transfer.

    Attributes:
        packs: Packs of the target that had some of what is wanted before.
        rescued: Contents that only condemned packs of the target have.
    """

    def __init__(
        self,
        source: Vault,
        target: Vault,
        reader: BlockReader,
        writer: Writer,
        report: Tally,
        *,
        foreign: bool,
        without: Collection[Digest],
    ) -> None:
        self._source = source
        self._target = target
        self._reader = reader
        self._writer = writer
        self._report = report
        self._avoid = writer.session.condemned
        self.rescued: list[Digest] = []
        self._foreign = foreign
        self._without = frozenset(digest.raw for digest in without)
        self._planned: set[bytes] = set()
        self._spared: set[bytes] = set()
        self._had_recipes: list[bytes] = []
        self._recipe_bytes = 0
        self._refreshed = False
        self.packs: set[bytes] = set()

    def run(self, roots: Iterable[Root]) -> None:
        """Put all that the roots need."""
        wanted: dict[bytes, None] = {}
        for digest, is_needed in self._expand(roots):
            if is_needed:
                self._spared.discard(digest)
            elif digest not in wanted:
                self._spared.add(digest)
            if digest in self._planned or digest in wanted or digest in self._without:
                continue
            if self._has(digest):
                continue
            wanted[digest] = None
            if len(wanted) >= BATCH:
                self._move(wanted)
                wanted = {}
        self._move(wanted)
        self._note_packs()

    def _has(self, wanted: bytes) -> bool:
        """Whether the target has it; where it has, its pack is noted."""
        where = self._target.directory.find_kept(wanted, self._avoid)
        if where is None:
            return False
        self.packs.add(where.pack)
        if where.entry.kind is BlockKind.RECIPE:
            self._had_recipes.append(wanted)
        return True

    def _note_packs(self) -> None:
        """Note which packs hold the parts of contents that the target had.

        Only a bucket has a use for it, and only a local source tells it without costing requests.
        """
        if not self._target.remote or self._source.remote:
            return
        found = map(self._source.directory.find, self._had_recipes)
        there = [where for where in found if where and where.entry.kind is BlockKind.RECIPE]
        for known in self._reader.each(there, _recipe_of):
            for piece in self._pieces_of(known):
                self._has(piece.id)

    # From roots to contents.

    def _expand(self, roots: Iterable[Root]) -> Iterator[tuple[bytes, bool]]:
        """The contents that the roots name, each before what refers to it.

        With each, whether it is needed, and not only copied where it is there.
        """
        seen: set[Root] = set()
        left = iter(roots)
        while batch := list(islice(left, _ROOTS_AT_ONCE)):
            new = [root for root in dict.fromkeys(batch) if root not in seen]
            seen.update(new)
            new = [root for root in new if root.digest.raw not in self._without]
            self._learn([root.digest for root in new])
            # Lists of files are small mostly, so on a bucket the time goes into asking for them.
            for root, data in zip(new, self._reader.in_parallel(new, self._small), strict=True):
                if root.kind is not RootKind.CONTENT:
                    pieces = self._holder(root).content.stream(root.digest)
                    for name in names_in(root.kind, pieces if data is None else [data]):
                        yield name.digest, not name.is_kept_elsewhere
                yield root.digest.raw, True

    def _learn(self, digests: list[Digest]) -> None:
        """Have the source's directory know roots, by what hints say where they are few."""
        directory = self._source.directory
        unknown = [digest for digest in digests if digest.raw not in directory]
        if len(unknown) > _HINTED:
            self._refresh()
            return
        for _ in self._reader.in_parallel(unknown, directory.learn):
            pass

    def _refresh(self) -> bool:
        """Have the source's directory read all that there is, once; False where it did before."""
        if self._refreshed:
            return False
        self._source.directory.refresh()
        self._refreshed = True
        return True

    def _holder(self, root: Root) -> Vault:
        """Which of both has a list of files: a source that is a part may lack some."""
        for vault in (self._source, self._target):
            if root.digest.raw in vault.directory:
                return vault
        self._locate([root.digest.raw])
        return self._source

    def _small(self, root: Root) -> bytes | None:
        """All bytes of a list of files that is not too large to have a few of them in memory."""
        if root.kind is RootKind.CONTENT:
            return None
        content = self._holder(root).content
        info = content.info(root.digest)
        if info is None or info.size_bytes > _READ_WHOLE:
            return None
        return content.read(root.digest)

    def _locate(self, wanted: Iterable[bytes]) -> list[Location]:
        """Where these lie in the source.

        Raises:
            NotFound: It does not have all of them.
        """
        directory = self._source.directory
        found, absent = [], []
        for digest in wanted:
            where = directory.find(digest)
            if where is None:
                absent.append(digest)
            else:
                found.append(where)
        if absent and self._refresh():
            return found + self._locate(absent)
        absent = [digest for digest in absent if digest not in self._spared]
        if self._avoid:
            # The target has it in packs that are about to be deleted, and nobody else has it.
            there = self._target.directory
            self.rescued += [Digest(digest) for digest in absent if digest in there]
            absent = [digest for digest in absent if digest not in there]
        if absent:
            raise self._absent(absent)
        return found

    def _absent(self, absent: Sequence[bytes]) -> ThenceError:
        first = Digest(absent[0])
        others = f" and {len(absent) - 1} others are" if len(absent) > 1 else " is"
        what = f"content {first.short}{others} not in {self._source.store.url}"
        for newer in self._source.directory.newer.values():
            return newer
        for error in self._source.directory.damaged.values():
            return DataDamaged(
                what,
                why=f"It may be in a pack that cannot be read: {error.what}.",
                about=str(first),
            )
        return NotFound(
            what,
            why="No pack there holds it, nor does one of the target.",
            hint="It may have been collected, or only a part of the project was copied there.",
            about=str(first),
        )

    # From contents to blocks.

    @cached_property
    def _same_cuts(self) -> bool:
        """Whether both projects cut contents in the same way, so that chunks can be shared."""
        theirs = _chunking(self._target)
        # What is no project yet gets the source's project.json last, when all content is there.
        return not theirs or _chunking(self._source) == theirs

    def _move(self, wanted: Iterable[bytes]) -> None:
        """Put contents that the target does not have."""
        blocks: list[Location] = []
        recipes: list[Location] = []
        streams: list[Location] = []
        for where in self._locate(wanted):
            entry = where.entry
            self._planned.add(entry.id)
            if entry.kind is BlockKind.RECIPE:
                (recipes if self._same_cuts and not self._foreign else streams).append(where)
            elif entry.kind is BlockKind.WHOLE:
                one_piece = entry.raw_length <= SMALL or self._same_cuts
                (blocks if one_piece else streams).append(where)
            else:
                raise damaged(where.pack, f"{entry.id.hex()[:12]} is not a content.")
        self._move_recipes(recipes, blocks)
        for _ in self._reader.in_parallel(streams, self._restream):
            pass
        if self._recipe_bytes > _RECIPES_WAITING or len(self._planned) > _REMEMBERED:
            self._writer.flush()
            self._recipe_bytes = 0
            self._planned.clear()

    def _move_recipes(self, recipes: list[Location], blocks: list[Location]) -> None:
        """Put blocks and what recipes name, together where they lie together; then the recipes."""
        ready: list[_Recipe] = []
        for found in self._reader.each(recipes, _recipe_of):
            new_bytes = 0
            for piece in self._pieces_of(found):
                if piece.id in self._planned or self._has(piece.id):
                    continue
                self._planned.add(piece.id)
                blocks.append(self._where(piece))
                new_bytes += piece.length if piece.kind is BlockKind.CHUNK else 0
                if len(blocks) >= 2 * BATCH:
                    self._copy(blocks)
                    blocks = []
            self._report.add(0, found.where.entry.raw_length - new_bytes)
            ready.append(found)
            if len(ready) >= _RECIPES_AT_ONCE:
                self._copy(blocks)
                self._put_recipes(ready)
                blocks, ready = [], []
        self._copy(blocks)
        self._put_recipes(ready)

    def _put_recipes(self, recipes: list[_Recipe]) -> None:
        for where, stored, _ in recipes:
            member = Member(where.entry.id, BlockKind.RECIPE, where.entry.raw_length)
            self._writer.put_block(stored, where.entry.codec, [member])
            self._recipe_bytes += len(stored)
            self._report.add(1, 0)

    def _pieces_of(self, found: _Recipe) -> Iterator[_Piece]:
        """The lists and chunks that a recipe names, each list before what it names."""
        return self._below(*recipe.parse(found.node))

    def _below(self, level: int, items: list[recipe.Item]) -> Iterator[_Piece]:
        if level == 0:
            for item in items:
                yield _Piece(item.id, BlockKind.CHUNK, item.length)
            return
        for start in range(0, len(items), _LISTS_AT_ONCE):
            lists = items[start : start + _LISTS_AT_ONCE]
            wanted = {item.id: self._where(_Piece(item.id, BlockKind.LIST, 0)) for item in lists}
            nodes: dict[bytes, bytes] = {}
            for some in self._reader.each(wanted.values(), _members_of):
                nodes.update(some)
            for item in lists:
                yield _Piece(item.id, BlockKind.LIST, item.length)
                below, parts = recipe.parse(nodes[item.id])
                if below != level - 1 or sum(part.length for part in parts) != item.length:
                    raise damaged(wanted[item.id].pack, "A recipe's lists are not in order.")
                yield from self._below(below, parts)

    def _where(self, piece: _Piece) -> Location:
        """Where a chunk or list lies in the source."""
        directory = self._source.directory
        where = directory.find(piece.id)
        if where is None and self._refresh():
            where = directory.find(piece.id)
        short = piece.id.hex()[:12]
        if where is None:
            raise DataDamaged(
                f"a part of a content is missing in {self._source.store.url}",
                why=f"No pack holds the {piece.kind.name.lower()} {short}.",
                about=piece.id.hex(),
            )
        chunk = piece.kind is BlockKind.CHUNK
        if where.entry.kind is not piece.kind or (chunk and where.entry.raw_length != piece.length):
            raise damaged(where.pack, f"{short} is not the {piece.kind.name.lower()} it should be.")
        return where

    # What the threads do.

    def _copy(self, locations: list[Location]) -> None:
        for _ in self._reader.each(locations, self._put):
            pass

    def _put(self, fetched: Fetched) -> None:
        block, stored, decoded = fetched
        # A block without bytes would begin where the next one does; it goes in with others.
        if len(stored) and covers(block.members, len(decoded)):
            members = [Member(m.id, m.kind, m.raw_length, m.inner) for m in block.members]
            self._writer.put_block(stored, block.codec, members)
        else:
            self._put_apart(block, memoryview(decoded))
        contents = [m.raw_length for m in block.members if m.kind is BlockKind.WHOLE]
        chunks = [m.raw_length for m in block.members if m.kind is BlockKind.CHUNK]
        self._report.add(len(contents), sum(contents) + sum(chunks))

    def _put_apart(self, block: Block, decoded: memoryview) -> None:
        """Put members of a block that holds others too, which nobody asked for."""
        for member in block.members:
            data = bytes(decoded[member.inner : member.inner + member.raw_length])
            if member.kind is BlockKind.WHOLE:
                self._writer.put_bytes(data)
            else:
                # Only lists share blocks, and they are digests, which cannot be compressed.
                alone = Member(member.id, member.kind, member.raw_length)
                self._writer.put_block(data, Codec.RAW, [alone])

    def _restream(self, where: Location) -> None:
        """Put a content by reading all of it, where its blocks cannot be taken as they are."""
        content, digest = self._source.content, Digest(where.entry.id)
        if where.entry.raw_length <= _READ_WHOLE:
            self._writer.put_bytes(content.read(digest))
        else:
            self._writer.put_pieces(self._until_stopped(content.stream(digest)))
        self._report.add(1, where.entry.raw_length)

    def _until_stopped(self, pieces: Iterator[Bytes]) -> Iterator[Bytes]:
        for piece in pieces:
            self._reader.check()
            yield piece


def _recipe_of(fetched: Fetched) -> _Recipe:
    return _Recipe(fetched.block.where, bytes(fetched.stored), bytes(fetched.decoded))


def _members_of(fetched: Fetched) -> dict[bytes, bytes]:
    return {
        member.id: bytes(memoryview(fetched.decoded)[member.inner :][: member.raw_length])
        for member in fetched.block.members
    }


def _chunking(vault: Vault) -> dict[str, Any]:
    try:
        return read_project(vault.store).chunking
    except NotFound:
        return {}  # a bare store of content cuts as all do
