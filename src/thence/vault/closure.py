"""What entries need and no pack holds, and whom a damage touches."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from thence.errors import DataDamaged, NotFound, ThenceError
from thence.model.ids import Digest
from thence.model.progress import Progress, silent
from thence.store.base import Bytes
from thence.vault.content import Content
from thence.vault.inventory import Inventory, Nodes
from thence.vault.logscan import Needs
from thence.vault.pack import BlockKind
from thence.vault.references import Root, RootKind

__all__ = ["Absent", "Line", "absent", "contents_with", "touched"]

_SEEN = 1
_TREE = 2
_FILES = 4
_LONGEST_LINE = 1024 * 1024
# More are not told anyway; a pack that is lost may touch a million files.
_MOST_REFS = 1000


class Line(NamedTuple):
    """A file that a tree or a list of file uses names.

    Attributes:
        output: A run wrote it.
    """

    path: str
    content: bytes
    output: bool


class Absent(NamedTuple):
    """What is needed and cannot be had.

    Attributes:
        missing: Contents that no pack holds.
        unreadable: Trees and lists of files that cannot be read, and why.
        needed: How many different contents are needed.
    """

    missing: dict[bytes, None]
    unreadable: dict[bytes, str]
    needed: int


class _Use(msgspec.Struct):
    path: str = ""
    role: str = ""
    digest: str | None = None


_ROW: msgspec.json.Decoder[tuple[str, int, str, str]] = msgspec.json.Decoder(
    tuple[str, int, str, str]
)
_USE: msgspec.json.Decoder[_Use] = msgspec.json.Decoder(_Use)


def absent(
    content: Content,
    inventory: Inventory,
    needs: Iterable[Needs],
    erased: Collection[Digest],
    *,
    progress: Progress = silent,
) -> Absent:
    """Look for everything that entries need.

    Args:
        content: Reads trees, by what the inventory says.
        inventory: What there is.
        needs: What is needed.
        erased: Contents that may be gone.
        progress: Is told contents so far.

    Raises:
        StorageError: The store failed.
    """
    marks = bytearray(len(inventory))
    missing: dict[bytes, None] = {}
    unreadable: dict[bytes, str] = {}
    gone = {digest.raw for digest in erased}
    needed = 0

    def note(wanted: bytes, flag: int) -> bool:
        """Whether this is the first time that an id is wanted so."""
        nonlocal needed
        number = inventory.number_of(wanted)
        if number is None:
            if wanted not in gone:
                missing[wanted] = None
            return False
        if not marks[number]:
            needed += 1
        is_first = not marks[number] & flag
        marks[number] |= flag | _SEEN
        return is_first

    for need in needs:
        for root in need.roots:
            flag = {RootKind.TREE: _TREE, RootKind.FILES: _FILES}.get(root.kind, _SEEN)
            if not note(root.digest.raw, flag) or root.kind is RootKind.CONTENT:
                continue
            try:
                for line in lines_of(content, root):
                    if not (need.lenient and line.output):
                        note(line.content, _SEEN)
            except (NotFound, DataDamaged) as error:
                unreadable[root.digest.raw] = error.why or error.what
        progress(needed, 0)
    return Absent(missing, unreadable, needed)


def lines_of(content: Content, root: Root) -> Iterator[Line]:
    """The files that a tree or list of file uses names; those without content left out.

    Raises:
        NotFound: It is not there.
        DataDamaged: It is damaged, or no such thing.
    """
    is_tree = root.kind is RootKind.TREE
    decoder: msgspec.json.Decoder[Any] = _ROW if is_tree else _USE
    for line in _split(content.stream(root.digest)):
        try:
            row = decoder.decode(line)
            if is_tree:
                yield Line(row[0], bytes.fromhex(row[3]), False)
            elif row.digest is not None:
                yield Line(row.path, Digest.parse(row.digest).raw, row.role == "output")
        except (ValueError, RecursionError, ThenceError) as error:
            raise DataDamaged(
                f"{root.digest.short} is no list of files", why=f"Line {line[:80]!r}."
            ) from error


def _split(pieces: Iterable[Bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from filter(None, lines)
        if len(rest) > _LONGEST_LINE:
            raise DataDamaged("a list of files with a line that has no end")
    if rest:
        yield rest


def touched(
    content: Content, needs: Iterable[Needs], affected: Mapping[bytes, Collection[bytes]]
) -> dict[bytes, list[str]]:
    """Which versions and runs need what is lost, with the paths of the files.

    Args:
        content: Reads trees.
        needs: Who needs what.
        affected: By content: what of it is lost.

    Raises:
        StorageError: The store failed.
    """
    found: dict[bytes, dict[str, None]] = defaultdict(dict)

    def add(wanted: bytes, ref: str) -> None:
        for one in affected.get(wanted, ()):
            if len(found[one]) < _MOST_REFS:
                found[one][ref] = None

    known: dict[Root, list[tuple[str, bytes]]] = {}
    for need in needs:
        for root in need.roots:
            add(root.digest.raw, need.ref)
            if root.kind is RootKind.CONTENT:
                continue
            if root not in known:
                known[root] = _paths(content, root, affected)
            for path, wanted in known[root]:
                add(wanted, f"{need.ref}:{path}")
    return {one: list(refs) for one, refs in found.items()}


def _paths(
    content: Content, root: Root, affected: Mapping[bytes, Collection[bytes]]
) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    try:
        for line in lines_of(content, root):
            if line.content in affected and len(found) < _MOST_REFS:
                found.append((line.path, line.content))
    except (NotFound, DataDamaged):
        return found  # the list itself is lost, which is told
    return found


def contents_with(
    inventory: Inventory,
    nodes: Nodes,
    lost: Collection[bytes],
    broken: Mapping[bytes, Collection[bytes]],
) -> dict[bytes, set[bytes]]:
    """By content: what of it is lost.

    Raises:
        StorageError: The store failed.
    """
    affected: defaultdict[bytes, set[bytes]] = defaultdict(set)
    for one in lost:
        affected[one].add(one)
    for wanted, parts in broken.items():
        affected[wanted].update(part for part in parts if part in lost)
    parts = {one for one in lost if _is_part(inventory, one)}
    if parts:
        for number in inventory.of_kind(BlockKind.RECIPE):
            where = inventory.location(number)
            try:
                for item in nodes.chunks(nodes.top(where)):
                    if item.id in parts:
                        affected[where.entry.id].add(item.id)
            except DataDamaged as error:
                if error.about and bytes.fromhex(error.about) in lost:
                    affected[where.entry.id].add(bytes.fromhex(error.about))
            except NotFound:
                continue
    return dict(affected)


def _is_part(inventory: Inventory, wanted: bytes) -> bool:
    """Whether it is a chunk or list, as far as any pack says."""
    where = inventory.find(wanted)
    return where is not None and where.entry.kind in {BlockKind.CHUNK, BlockKind.LIST}
