"""Spans: pieces of packs that are read at once because many contents in them are wanted soon."""

from collections.abc import Iterator, Sequence
from threading import Lock
from typing import NamedTuple

from thence.errors import NotFound
from thence.store.base import Store
from thence.vault.pack import pack_key
from thence.vault.parallel import ahead
from thence.vault.segment import Location

__all__ = ["Spans"]

SPAN = 4 * 1024 * 1024
# To read so much that nobody asked for takes as long as another request.
_GAP = 1024 * 1024
_AT_ONCE = 6
# No block that we write is larger than 288 KiB; a forged one must not fill the memory.
_LARGEST = 2 * SPAN


class _Plan(NamedTuple):
    """What to read of a pack, and for which of the wanted."""

    pack: bytes
    start: int
    end: int
    wanted: tuple[int, ...]


class Spans:
    """Reads spans ahead and holds them while they are needed. May be used from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._held: dict[bytes, list[tuple[int, memoryview]]] = {}

    def find(self, pack: bytes, offset: int, length: int) -> memoryview | None:
        """A part of a pack, where it is held just now."""
        with self._lock:
            for start, data in self._held.get(pack, ()):
                if start <= offset and offset + length <= start + len(data):
                    return data[offset - start : offset - start + length]
        return None

    def each(self, wanted: Sequence[Location | None]) -> Iterator[list[int]]:
        """Positions in `wanted`, in an order in which few requests read what lies there.

        The blocks of those that are given together are held until the next are asked for; while
        they are used, the next spans are being read. At most seven are in memory. Positions of
        None come last, and nothing is held for them.

        Raises:
            StorageError: The store failed.
        """
        for plan, data in ahead(self._fetch, _plans(wanted), at_once=_AT_ONCE):
            piece = (plan.start, memoryview(data))
            with self._lock:
                self._held.setdefault(plan.pack, []).append(piece)
            try:
                yield list(plan.wanted)
            finally:
                with self._lock:
                    self._held[plan.pack].remove(piece)
        if unknown := [at for at, where in enumerate(wanted) if where is None]:
            yield unknown

    def _fetch(self, plan: _Plan) -> tuple[_Plan, bytes]:
        if plan.end - plan.start > _LARGEST:
            return plan, b""  # who wants it says what is wrong
        try:
            return plan, self._store.get_range(
                pack_key(plan.pack), plan.start, plan.end - plan.start
            )
        except NotFound:
            return plan, b""  # it moved; who wants it looks for it again


def _plans(wanted: Sequence[Location | None]) -> list[_Plan]:
    order: dict[bytes, int] = {}
    there: list[tuple[int, int, int, Location]] = []
    for at, where in enumerate(wanted):
        if where is not None:
            number = order.setdefault(where.pack, len(order))
            there.append((number, where.entry.offset, at, where))
    there.sort(key=lambda item: item[:3])
    plans: list[_Plan] = []
    members: list[int] = []
    pack, start, end = b"", 0, 0
    for _, offset, at, where in there:
        stop = offset + where.entry.stored_length
        near = bool(members) and pack == where.pack and offset - end <= _GAP
        if not near or (stop - start > SPAN and stop > end):
            if members:
                plans.append(_Plan(pack, start, end, tuple(members)))
            # From where the last one ends: what lies between is mostly chunks of this one.
            start = min(end, offset) if near else offset
            pack, end, members = where.pack, stop, []
        members.append(at)
        end = max(end, stop)
    if members:
        plans.append(_Plan(pack, start, end, tuple(members)))
    return plans
