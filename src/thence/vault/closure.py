"""What entries need and no pack holds, and whom a damage touches."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from thence.errors import DataDamaged, NotFound
from thence.model.ids import Digest
from thence.model.progress import Progress, silent
from thence.vault.content import Content
from thence.vault.inventory import Inventory, Nodes
from thence.vault.logscan import Needs
from thence.vault.pack import BlockKind
from thence.vault.references import Root, RootKind, digests_in, names_in

__all__ = ["Absent", "absent", "contents_with", "touched"]

_SEEN = 1
_TREE = 2
_FILES = 4
# More are not told anyway; a pack that is lost may touch a million files.
_MOST_REFS = 1000


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
                for digest in digests_in(root.kind, content.stream(root.digest)):
                    note(digest, _SEEN)
            except (NotFound, DataDamaged) as error:
                unreadable[root.digest.raw] = error.why or error.what
        progress(needed, 0)
    return Absent(missing, unreadable, needed)


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
        for name in names_in(root.kind, content.stream(root.digest)):
            if name.is_kept_elsewhere or name.digest not in affected:
                continue
            if len(found) < _MOST_REFS:
                found.append((name.path, name.digest))
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
