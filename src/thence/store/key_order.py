"""The order of keys, for services that begin a listing anywhere, or list in another order."""

import heapq
import string
from collections.abc import Iterator

from thence.errors import InvalidInput
from thence.store.base import ObjectInfo, check_key

__all__ = ["in_order", "is_key", "just_before", "key_before", "sure_start"]

_CHARACTERS = sorted(string.ascii_letters + string.digits + "!#$%&'()+,-.;=@[]_{}~")  # of keys


def is_key(text: str) -> bool:
    """Whether it is a key."""
    try:
        check_key(text)
    except InvalidInput:
        return False
    return True


def key_before(text: str) -> str:
    """The longest key that the text begins with: it sorts before the text, or is it."""
    end = len(text)
    while end and not is_key(text[:end]):
        end -= 1
    return text[:end]


def just_before(prefix: str) -> str:
    """A key that sorts before all that begin with the prefix, and after most of the others.

    Empty where there is none in the folder of the prefix.
    """
    lower = [char for char in _CHARACTERS if prefix[-1:] not in {"", "/"} and char < prefix[-1]]
    return key_before(prefix[:-1] + lower[-1] + "~~~") if lower else ""


def sure_start(after: str) -> str:
    """Where a listing may begin so that it has all keys that sort after this one.

    Also with a service that goes folder by folder (`a/z` before `a-b`): its order and that of the
    keys agree up to the first character that sorts before `/`. Not quite there, because such a
    service that is told to begin after `a` leaves out what is in the folder `a`.
    """
    safe = next((at for at, char in enumerate(after) if char < "/"), len(after))
    return just_before(key_before(after[:safe]))


def in_order(found: Iterator[ObjectInfo], folder: str) -> Iterator[ObjectInfo]:
    """Sort by key what may have been listed folder by folder.

    A key is held back until no smaller one can come: until the service has got to a name in this
    folder that sorts after it. So a folder of plain objects streams; folders in it are collected.
    """
    held: list[ObjectInfo] = []
    name = ""
    for info in found:
        current = info.key[len(folder) :].partition("/")[0]
        if current != name:
            name = current
            while held and held[0].key < folder + name:
                yield heapq.heappop(held)
        heapq.heappush(held, info)
    while held:
        yield heapq.heappop(held)
