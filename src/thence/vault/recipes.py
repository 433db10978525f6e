"""Scanning all recipes of a store: whether what they are made of is there."""

import struct
from array import array
from collections import defaultdict
from typing import NamedTuple

from thence.errors import DataDamaged, NotFound
from thence.vault import recipe
from thence.vault.inventory import Inventory, Nodes
from thence.vault.pack import BlockKind
from thence.vault.segment import Location

__all__ = ["Scanned", "missing_of", "scan_recipes"]


class Scanned(NamedTuple):
    """What the recipes of a store are made of.

    Attributes:
        broken: By content: chunks and lists that no pack holds as they should be.
        unreadable: Recipes whose own block cannot be read, and why.
        starts: By number of a pack: pairs of the offset of a chunk there and the number of the
            entry of a recipe that begins with it.
        size_bytes: Of all contents that can be put together.
    """

    broken: dict[bytes, list[bytes]]
    unreadable: list[tuple[Location, str]]
    starts: "dict[int, array[int]]"
    size_bytes: int


def scan_recipes(inventory: Inventory, nodes: Nodes, *, follow: bool = True) -> Scanned:
    """Follow every recipe to its chunks.

    Args:
        inventory: What there is.
        nodes: Reads recipes.
        follow: Look for all chunks; else only for the first one: who reads every byte meets the
            others anyway.

    Raises:
        StorageError: The store failed.
    """
    broken: dict[bytes, list[bytes]] = {}
    unreadable: list[tuple[Location, str]] = []
    starts: defaultdict[int, array[int]] = defaultdict(lambda: array("Q"))
    total = 0
    numbers = list(inventory.of_kind(BlockKind.RECIPE))
    places = [inventory.location(number) for number in numbers]
    for at in sorted(range(len(numbers)), key=lambda at: _place(inventory, places[at])):
        where = places[at]
        try:
            first, absent, size = (_follow if follow else _begin)(inventory, nodes, where)
        except (DataDamaged, NotFound, struct.error) as error:
            why = getattr(error, "why", None) or str(error)
            unreadable.append((where, why))
            inventory.bad.add((where.pack, where.entry.id))
            continue
        if absent:
            broken.setdefault(where.entry.id, []).extend(absent)
        elif first is not None:
            pack, offset = min(_place(inventory, copy) for copy in inventory.copies(first))
            starts[pack].extend((offset, numbers[at]))
            total += size
    return Scanned(broken, unreadable, dict(starts), total)


def _place(inventory: Inventory, where: Location) -> tuple[int, int]:
    return inventory.order[where.pack], where.entry.offset


def _follow(
    inventory: Inventory, nodes: Nodes, where: Location
) -> tuple[bytes | None, list[bytes], int]:
    """Its first chunk, what is missing, and its size."""
    first: bytes | None = None
    absent: dict[bytes, None] = {}
    size = 0
    top = nodes.top(where)
    for item in _items(nodes, top, absent):
        first = first or item.id
        size += item.length
        if item.id in absent:
            continue
        if not item.length or not inventory.has(item.id, BlockKind.CHUNK, item.length):
            absent[item.id] = None
    if any(inventory.is_sound(one) for one in absent):
        raise DataDamaged("a recipe", why="It names what is no chunk, or one of another length.")
    if not absent and size != where.entry.raw_length:
        raise DataDamaged("a recipe", why="It makes a content of another length.")
    return first, list(absent), size


def _begin(
    inventory: Inventory, nodes: Nodes, where: Location
) -> tuple[bytes | None, list[bytes], int]:
    """As `_follow`, of a recipe of which the first chunk is there."""
    try:
        first = next(nodes.chunks(nodes.top(where)), None)
    except DataDamaged:
        return _follow(inventory, nodes, where)
    if first is None or not inventory.has(first.id, BlockKind.CHUNK, first.length):
        return _follow(inventory, nodes, where)
    return first.id, [], where.entry.raw_length


def missing_of(inventory: Inventory, nodes: Nodes, where: Location) -> list[bytes]:
    """The chunks and lists of a recipe that are not there as they should be.

    Raises:
        DataDamaged: The recipe cannot be read.
        StorageError: The store failed.
    """
    return _follow(inventory, nodes, where)[1]


def _items(nodes: Nodes, top: bytes, absent: dict[bytes, None]) -> "list[recipe.Item]":
    """The chunks below a node; lists that are not there are noted instead."""
    found: list[recipe.Item] = []
    level, items = recipe.parse(top)
    if level == 0:
        return items
    for item in items:
        try:
            node = nodes.list(item.id)
        except DataDamaged:
            absent[item.id] = None
            continue
        below, _ = recipe.parse(node)
        if below != level - 1:
            raise DataDamaged("a recipe", why="Its lists are not in order.")
        found += _items(nodes, node, absent)
    return found
