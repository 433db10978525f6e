"""Recipes: how a content is put together from chunks.

A recipe is a list of (id, length). Long lists are cut into *lists* by their own content, as files
are cut into chunks, and so on upwards: an edit in a file of any size then costs its chunks, one
list a level and a short top, instead of the whole list again (design/0003).

::

    node = level (u8)  item … item          level 0: the items are chunks; n: lists of level n-1
    item = id (32 bytes)  length (u64)      length: bytes of content below it
"""

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from blake3 import blake3

from thence.errors import DataDamaged
from thence.store.base import Bytes

__all__ = ["Item", "build", "chunks_of", "parse"]

_ITEM = struct.Struct("<32sQ")
_TOP = 256
# A minimum makes every level at least 16 times shorter, also where one chunk repeats for ever.
_LIST_MINIMUM = 16
_LIST_MAXIMUM = 256
_LIST_MASK = 0x3F
_MAX_LEVEL = 8


class Item(NamedTuple):
    """A chunk or a list, and how many bytes of content lie below it."""

    id: bytes
    length: int


def build(chunks: list[Item], put_list: Callable[[bytes, bytes], None]) -> bytes:
    """The top node of a recipe.

    Args:
        chunks: The chunks of the content, in order.
        put_list: Is given (id, node) of each list on the way.
    """
    level, items = 0, chunks
    while len(items) > _TOP:
        above = []
        start = 0
        for end, item in enumerate(items, 1):
            count = end - start
            by_content = count >= _LIST_MINIMUM and not item.id[-1] & _LIST_MASK
            if by_content or count >= _LIST_MAXIMUM or end == len(items):
                node = _encode(level, items[start:end])
                node_id = blake3(node).digest()
                put_list(node_id, node)
                above.append(Item(node_id, sum(i.length for i in items[start:end])))
                start = end
        level, items = level + 1, above
    return _encode(level, items)


def _encode(level: int, items: list[Item]) -> bytes:
    return bytes([level]) + b"".join(_ITEM.pack(*item) for item in items)


def parse(node: Bytes) -> tuple[int, list[Item]]:
    """(level, items) of a node.

    Raises:
        DataDamaged: It is not one.
    """
    if len(node) < 1 or (len(node) - 1) % _ITEM.size or node[0] > _MAX_LEVEL:
        raise DataDamaged("a recipe that cannot be read")
    return node[0], [Item(*fields) for fields in _ITEM.iter_unpack(memoryview(node)[1:])]


def chunks_of(node: Bytes, read_list: Callable[[bytes], Bytes]) -> Iterator[Item]:
    """The chunks of a recipe, in order.

    Raises:
        DataDamaged: A list is missing, or not one level below.
    """
    level, items = parse(node)
    if level == 0:
        yield from items
        return
    for item in items:
        below = read_list(item.id)
        if len(below) < 1 or below[0] != level - 1:
            raise DataDamaged("a recipe whose lists are not in order")
        yield from chunks_of(below, read_list)
