"""Selection: which packs a collection deletes, condemns, and copies from."""

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from thence.errors import DataDamaged, NotFound, ThenceError
from thence.vault.blockreader import BlockReader
from thence.vault.directory import Location
from thence.vault.pack import BlockKind
from thence.vault.reach import Marker
from thence.vault.rows import Rows
from thence.vault.vault import Vault
from thence.vault.walk import Walk

if TYPE_CHECKING:
    from thence.vault.rows import Array

__all__ = ["Selection", "select", "verify_copies"]

# Packs that are smaller, where there are so many of them, are put together.
_TINY = 1024 * 1024
_MANY_TINY = 32
_WORKERS = 4
_AT_ONCE = 50_000
_SLICE = 1_000_000


class Selection(NamedTuple):
    """What is to be done.

    Attributes:
        rows: What there is.
        stored: How many bytes of its pack each row has.
        delete: Condemned packs of which nothing is needed.
        condemn: Packs that are to be condemned.
        again: Condemned packs of which something is needed, to be condemned once more.
        copy: Rows that are to be copied before.
        rely: Rows of packs that stay, on which packs that go rely for what is needed of both.
        young_bytes: Of what is not needed, in packs that are too young.
        kept_bytes: Of what is not needed, in packs that stay.
        live_contents: How many contents are needed.
    """

    rows: Rows
    stored: "Array"
    delete: frozenset[bytes]
    condemn: frozenset[bytes]
    again: frozenset[bytes]
    copy: "Array"
    rely: "Array"
    young_bytes: int
    kept_bytes: int
    live_contents: int

    def locations(self, rows: "Array") -> Iterator[Location]:
        """Where rows lie, those of one pack together."""
        import numpy as np

        order = np.argsort(self.rows.pack[rows], kind="stable")
        return (self.rows.location(int(row)) for row in rows[order])


def select(
    vault: Vault,
    rows: Rows,
    live: "Array",
    sizes: Mapping[bytes, int],
    *,
    condemned: Collection[bytes],
    ripe: Collection[bytes],
    young: Collection[bytes],
    waste: float,
) -> Selection:
    """Find what can go.

    Args:
        vault: Where recipes that are not needed are read: what they name stays as long as they do.
        rows: What there is.
        live: Marks of the rows that are needed.
        sizes: Of the packs.
        condemned: Packs that are condemned.
        ripe: Those of them that were so long enough.
        young: Packs that must not be condemned.
        waste: Packs of which a larger part is not needed are packed anew.

    Raises:
        StorageError: The store failed.
        Denied: It may not be read.
    """
    return _Selecting(vault, rows, live, sizes, waste).run(set(condemned), set(ripe), set(young))


class _Selecting:
    def __init__(
        self, vault: Vault, rows: Rows, live: "Array", sizes: Mapping[bytes, int], waste: float
    ) -> None:
        import numpy as np

        self._np = np
        self._vault = vault
        self._rows = rows
        self._live = live
        self._waste = waste
        self._count = len(rows.packs)
        self._stored = rows.stored_bytes()
        self._repeated = rows.repeated()
        self._sizes = np.array([sizes.get(pack, 0) for pack in rows.packs], np.float64)

    def _of(self, packs: Collection[bytes]) -> "Array":
        """Marks for packs, by their position."""
        wanted = set(packs)
        found: Array = self._np.array([pack in wanted for pack in self._rows.packs], self._np.bool_)
        return found

    def _bytes_by_pack(self, marks: "Array") -> "Array":
        total: Array = self._np.zeros(self._count)
        for start in range(0, len(marks), _SLICE):  # as it makes copies
            some = slice(start, start + _SLICE)
            pack, here = self._rows.pack[some], marks[some]
            here = here & (pack >= 0)
            total += self._np.bincount(pack[here], self._stored[some][here], minlength=self._count)
        return total

    def run(self, condemned: set[bytes], ripe: set[bytes], young: set[bytes]) -> Selection:
        np, rows = self._np, self._rows
        is_condemned, is_ripe, is_young = self._of(condemned), self._of(ripe), self._of(young)
        stays = ~is_condemned
        old = stays & ~is_young
        needed = self._canonical(self._live, stays)
        needed_bytes = self._bytes_by_pack(needed)
        pins, dangling = self._pins_by_pack(stays)
        pinned_bytes = np.zeros(self._count)
        for at, pinned in pins.items():
            pinned_bytes[at] = self._stored[pinned].sum()
        dead_bytes = np.maximum(self._sizes - needed_bytes, 0.0)
        has_dead = np.bincount(rows.pack[~needed & (rows.pack >= 0)], minlength=self._count).astype(
            np.bool_
        )
        goes = (
            old
            & has_dead
            & (
                (needed_bytes == 0)
                | (dead_bytes > self._waste * self._sizes)
                | (pinned_bytes > needed_bytes)
                | dangling
            )
        )
        tiny = old & (self._sizes < _TINY)
        if tiny.sum() >= _MANY_TINY:
            goes |= tiny
        goes, pinned = self._settle(goes, stays, pins, needed, dangling | tiny)
        return self._result(goes, stays, is_ripe, is_young, pinned)

    def _settle(
        self,
        goes: "Array",
        stays: "Array",
        pins: "dict[int, Array]",
        needed: "Array",
        anyhow: "Array",
    ) -> "tuple[Array, Array]":
        """Let packs stay that are not worth it for what recipes in others keep; and these marks."""
        np = self._np
        needed_bytes = self._bytes_by_pack(needed)
        while True:
            pinned = self._rows.marks()
            for at, some in pins.items():
                if stays[at] and not goes[at]:
                    pinned[some] = True
            # What another pack that stays has need not stay here.
            pinned = self._canonical(pinned & ~self._live, stays & ~goes) & ~needed
            kept = needed_bytes + self._bytes_by_pack(pinned)
            has_pins = self._bytes_by_pack(pinned) > 0
            dead = np.maximum(self._sizes - kept, 0.0)
            back = goes & has_pins & ~anyhow & (dead <= self._waste * self._sizes)
            if not back.any():
                return goes, pinned
            goes = goes & ~back

    def _result(
        self,
        goes: "Array",
        stays: "Array",
        is_ripe: "Array",
        is_young: "Array",
        pinned: "Array",
    ) -> Selection:
        np, rows = self._np, self._rows
        firm = stays & ~goes
        # Everything alive that is in no pack that stays, each id once, and who has it elsewhere.
        lacking = self._canonical((self._live | pinned), firm)
        lacking &= self._in(~firm)
        wanted = (self._live | pinned) & (rows.pack >= 0)
        lacks = np.zeros(self._count, np.bool_)
        if lacking.any():
            # All rows of such an id: none of its packs can be deleted yet.
            _, every = rows.find(rows.ids(np.flatnonzero(lacking)))
            lacks[rows.pack[every]] = True
        delete = is_ripe & ~stays & ~lacks
        again = is_ripe & ~stays & lacks
        # Of packs that are condemned and not ripe nothing is copied yet.
        source = goes | again
        copying = lacking & self._in(source)
        going = delete | goes | again
        shared = np.flatnonzero(wanted & self._in(going) & ~lacking)
        rely = np.zeros(0, np.int64)
        if len(shared):
            _, every = rows.find(rows.ids(shared))
            rely = np.unique(every[firm[rows.pack[every]]])
        dead = ~self._live & (rows.pack >= 0)
        by_pack = self._bytes_by_pack(dead)
        contents = (rows.kind == BlockKind.WHOLE) | (rows.kind == BlockKind.RECIPE)
        return Selection(
            rows,
            self._stored,
            self._names(delete),
            self._names(goes),
            self._names(again),
            np.flatnonzero(copying),
            rely,
            int(by_pack[stays & is_young].sum()),
            int(by_pack[firm & ~is_young].sum()),
            int((self._live & contents & (rows.pack >= 0)).sum()),
        )

    def _names(self, packs: "Array") -> frozenset[bytes]:
        return frozenset(self._rows.packs[int(at)] for at in self._np.flatnonzero(packs))

    def _in(self, packs: "Array") -> "Array":
        """Marks of the rows of some packs."""
        found: Array = (self._rows.pack >= 0) & packs[self._rows.pack]
        return found

    def _canonical(self, marks: "Array", good: "Array") -> "Array":
        """Of the marked rows one for each id: in a good pack, else where most is marked.

        Two collectors that see the same choose the same.
        """
        np, rows = self._np, self._rows
        chosen: Array = marks & (rows.pack >= 0)
        at = np.flatnonzero(chosen & self._repeated)
        if not len(at):
            return chosen
        share = self._bytes_by_pack(marks) / np.maximum(self._sizes, 1.0)
        order = np.lexsort((np.arange(self._count), -share, ~good))
        rank = np.empty(self._count, np.int64)
        rank[order] = np.arange(self._count)
        ids = np.frombuffer(rows.ids(at), ">u8").reshape(-1, 4)
        by = np.lexsort((rank[rows.pack[at]], ids[:, 3], ids[:, 2], ids[:, 1], ids[:, 0]))
        ids = ids[by]
        first = np.ones(len(by), np.bool_)
        first[1:] = (ids[1:] != ids[:-1]).any(axis=1)
        chosen[at] = False
        chosen[at[by[first]]] = True
        return chosen

    def _pins_by_pack(self, stays: "Array") -> "tuple[dict[int, Array], Array]":
        """What recipes that are not needed name, by the pack they are in, and which name nothing.

        As long as a recipe can be found, what it names is there: who saves the same content again
        finds the recipe, and need not look further.
        """
        np, rows = self._np, self._rows
        dead = ~self._live & self._in(stays) & (rows.kind == BlockKind.RECIPE)
        at = np.flatnonzero(dead)
        pins: dict[int, Array] = {}
        dangling = np.zeros(self._count, np.bool_)
        for pack in np.unique(rows.pack[at]):
            marks = rows.marks()
            broken: list[bytes] = []

            def miss(
                wanted: bytes, leaf: bool, error: ThenceError, found: list[bytes] = broken
            ) -> None:
                found.append(wanted)

            here = at[rows.pack[at] == pack]
            walk = Walk(self._vault, Marker(rows, marks).visit, miss)
            walk.parts([rows.location(int(row)) for row in here])
            pins[int(pack)] = np.flatnonzero(marks & ~self._live)
            dangling[pack] = bool(broken)
        return pins, dangling


def verify_copies(vault: Vault, selection: Selection) -> None:
    """Read what packs that go have in common with others that stay: it must be as it was written.

    Raises:
        DataDamaged: It is not; nothing may be deleted.
        StorageError: The store failed.
        Denied: It may not be read.
    """
    if not len(selection.rely):
        return
    with ThreadPoolExecutor(_WORKERS, "thence-verify") as pool:
        for start in range(0, len(selection.rely), _AT_ONCE):
            reader = BlockReader(vault, pool, workers=_WORKERS)
            some = selection.rely[start : start + _AT_ONCE]
            try:
                for _ in reader.each(selection.locations(some), lambda fetched: None):
                    pass
            except (DataDamaged, NotFound) as error:
                raise DataDamaged(
                    "nothing was collected, because the copy that would stay is damaged",
                    why=f"{error.what}: {error.why}",
                    hint="Heal it first: thence repair",
                    about=error.about,
                ) from error
