"""Collecting: content that nothing refers to goes, in two phases (design/0011).

A run first deletes packs that were condemned a period of grace ago and are not needed, then
condemns others. Nothing in it decides by a clock whether something lives: a pack is condemned
before the entries are read that tell whether it is needed, and who names content looks at what is
condemned after the entry is there.
"""

from collections.abc import Callable, Collection
from contextlib import nullcontext
from datetime import timedelta
from operator import add
from typing import NamedTuple

from thence.errors import DataDamaged, InvalidInput
from thence.model.ids import Digest, RunId
from thence.model.progress import Progress, silent
from thence.store.base import ObjectInfo
from thence.vault.condemned import Condemned
from thence.vault.dead import Dead, dead_of
from thence.vault.erasures import erased
from thence.vault.layout import read_project
from thence.vault.pack import pack_key, parse_pack_key
from thence.vault.reach import Live, Missing, Reached, live_roots, reach
from thence.vault.repack import copy
from thence.vault.rows import Rows
from thence.vault.selection import Selection, select, verify_copies
from thence.vault.session import alone
from thence.vault.sweep import Swept, sweep_up
from thence.vault.vault import Vault

__all__ = ["GRACE", "LEAST_GRACE_S", "Collected", "collect"]

GRACE = timedelta(hours=24)
LEAST_GRACE_S = 60.0
"""On a bucket; who writes there looks at what is condemned within ten seconds of the entry."""

_NOW = "gc/now/"
_PARTIAL = "partial.json"


class Collected(NamedTuple):
    """What a collection did, or would do.

    Attributes:
        deleted_packs: How many packs went.
        deleted_bytes: Of these packs.
        condemned_packs: How many go with a collection after the period of grace.
        condemned_bytes: Of these packs.
        waiting_packs: How many were condemned before, and are not old enough.
        waiting_bytes: Of these packs.
        copied_bytes: Of new packs, into which what is needed of others was copied.
        dead: What is not needed, by what it belonged to.
        young_bytes: Of what is not needed, in packs that are too young to be condemned.
        kept_bytes: Of what is not needed, in packs that are mostly needed.
        live_contents: How many contents are needed.
        entries: How many entries were read.
        open_runs: How many runs go on.
        swept: What else went.
        dry_run: Nothing was done.
    """

    deleted_packs: int
    deleted_bytes: int
    condemned_packs: int
    condemned_bytes: int
    waiting_packs: int
    waiting_bytes: int
    copied_bytes: int
    dead: tuple[Dead, ...]
    young_bytes: int
    kept_bytes: int
    live_contents: int
    entries: int
    open_runs: int
    swept: Swept
    dry_run: bool


def collect(
    vault: Vault,
    *,
    by: str,
    grace_s: float = GRACE.total_seconds(),
    waste: float = 0.5,
    dry_run: bool = False,
    without: Collection[Digest] = (),
    going: Collection[RunId] = (),
    progress: Progress = silent,
) -> Collected:
    """Delete what nothing needs any more, and condemn what will be deleted the next time.

    Cut anywhere, it loses nothing, and the next one goes on. Several at once are as safe as one.

    Args:
        vault: A home, or a clone.
        by: Who collects, for people.
        grace_s: How long a pack is condemned before it is deleted, and how old it must be to be
            condemned. Without any, in a folder, both is done at once, and nobody may write.
        waste: Packs of which a larger part is not needed are packed anew.
        dry_run: Only find out.
        without: Records of versions that are taken for removed; for a dry run.
        going: Runs that are not over, though they may have given no sign of life for long.
        progress: Is told entries and ids so far.

    Raises:
        InvalidInput: The period is too short for a bucket.
        Conflict: There is no period of grace, and somebody writes.
        DataDamaged: An entry, a tree, or a pack cannot be read, so nobody knows what is needed.
        FormatTooNew: A newer thence wrote here.
        NotFound: There is no project, or a pack went that somebody else collected: repeat it.
        StorageError: The store failed; repeat it.
        Denied: The store may not be read, or not be written to.
    """
    read_project(vault.store)
    if vault.remote and grace_s < LEAST_GRACE_S:
        raise InvalidInput(
            f"a period of grace of {grace_s:g} s is too short for a bucket",
            why="Others may be writing, and an entry may be on its way for some seconds.",
            hint="Give at least a minute; a day is safe also for who loses the connection: "
            "--grace 24h",
        )
    at_once = grace_s <= 0
    with alone(vault.store) if at_once and not dry_run else nullcontext():
        if not dry_run:
            vault.guard()
        options = _Options(by, grace_s, waste, frozenset(without), frozenset(going), dry_run)
        collection = _Collection(vault, options, progress)
        done = collection.run()
        if at_once and not dry_run and done.condemned_packs:
            again = collection.run()
            # What there is now is what the second found; what went, did so in one of both.
            done = again._replace(
                deleted_packs=done.deleted_packs + again.deleted_packs,
                deleted_bytes=done.deleted_bytes + again.deleted_bytes,
                copied_bytes=done.copied_bytes + again.copied_bytes,
                dead=done.dead,
                swept=Swept(*map(add, done.swept, again.swept)),
            )
    return done


class _State(NamedTuple):
    """What a collection finds.

    Attributes:
        now_s: The time, by the clock of the store.
        infos: The packs, as listed.
        records: What is condemned, read before the packs were listed.
        rows: What is in the packs.
        live: What entries refer to.
        reached: All that this is made of.
    """

    now_s: float
    infos: dict[bytes, ObjectInfo]
    records: tuple[Condemned, ...]
    rows: Rows
    live: Live
    reached: Reached


class _Options(NamedTuple):
    """As `collect` got them."""

    by: str
    grace_s: float
    waste: float
    without: frozenset[Digest]
    going: frozenset[RunId]
    dry_run: bool


class _Collection:
    def __init__(self, vault: Vault, options: _Options, progress: Progress) -> None:
        self._vault = vault
        self._by = options.by
        self._grace_s = options.grace_s
        self._waste = options.waste
        self._without = options.without
        self._going = options.going
        self._dry_run = options.dry_run
        self._progress = progress

    def run(self) -> Collected:
        state = self._look()
        condemned = frozenset[bytes]().union(*(one.packs for one in state.records))
        ripe, odd = self._ripe(state)
        young = {
            pack
            for pack in state.rows.packs
            if pack not in state.infos or state.now_s - state.infos[pack].modified_s < self._grace_s
        }
        sizes = {pack: info.size_bytes for pack, info in state.infos.items()}
        chosen = select(
            self._vault,
            state.rows,
            state.reached.marks,
            sizes,
            condemned=condemned,
            ripe=ripe,
            young=young,
            waste=self._waste,
        )
        dead = dead_of(self._vault, state.rows, state.reached.marks, chosen.stored, state.live)
        copied = 0
        again = (chosen.again | odd) & state.infos.keys()
        if not self._dry_run:
            verify_copies(self._vault, chosen)
            copied = self._copy(chosen, condemned)
            if chosen.condemn or again:
                self._vault.condemned.put({*chosen.condemn, *again}, by=self._by)
            for pack in sorted(chosen.delete):
                self._vault.store.delete(pack_key(pack))
            self._tidy(state, chosen.delete, again, new=bool(chosen.condemn or again))
            self._vault.directory.refresh()
            self._vault.directory.publish_merged()
        swept = Swept()
        if not self._dry_run:
            went = bool(chosen.delete)
            swept = sweep_up(self._vault, state.now_s, self._roots(state), packs_went=went)
        waiting = (condemned & state.infos.keys()) - chosen.delete
        return Collected(
            deleted_packs=len(chosen.delete),
            deleted_bytes=sum(sizes[pack] for pack in chosen.delete),
            condemned_packs=len(chosen.condemn),
            condemned_bytes=sum(sizes[pack] for pack in chosen.condemn),
            waiting_packs=len(waiting),
            waiting_bytes=sum(sizes[pack] for pack in waiting),
            copied_bytes=copied,
            dead=dead,
            young_bytes=chosen.young_bytes,
            kept_bytes=chosen.kept_bytes,
            live_contents=chosen.live_contents,
            entries=state.live.entries,
            open_runs=len(state.live.open_runs),
            swept=swept,
            dry_run=self._dry_run,
        )

    def _look(self) -> _State:
        """Find out, in an order that matters: condemned, packs, entries, what is in packs."""
        vault = self._vault
        now_s = self._store_time()
        records = vault.condemned.read()
        infos = {
            pack: info
            for info in vault.store.list("packs/")
            if (pack := parse_pack_key(info.key)) is not None
        }
        live = live_roots(
            vault,
            now_s=now_s,
            without=self._without,
            going=self._going,
            progress=lambda count: self._progress(count, 0),
        )
        for refusal in live.refusals:
            raise refusal
        # Now, not before: entries that came meanwhile name what came meanwhile.
        vault.directory.refresh()
        vault.directory.refuse_newer()
        for error in vault.directory.damaged.values():
            raise DataDamaged(
                "nothing was collected, because a pack cannot be read",
                why=f"Nobody knows what is in it. {error.what}: {error.why}",
                hint="Repair it first: thence repair",
                about=error.about,
            ) from error
        segments, known = vault.directory.segments(), vault.directory.packs()
        rows = Rows(segments, known)
        infos = {pack: info for pack, info in infos.items() if pack in known}
        gone = erased(vault)
        reached = reach(vault, live.roots, rows=rows, erased=lambda digest: digest in gone)
        partial = vault.store.head(_PARTIAL) is not None
        for missing in reached.missing:
            self._refuse(missing, partial=partial)
        return _State(now_s, infos, records, rows, live, reached)

    def _refuse(self, missing: Missing, *, partial: bool) -> None:
        """Refuse where something is missing that others may be behind."""
        if missing.leaf or (partial and not isinstance(missing.error, DataDamaged)):
            return
        raise DataDamaged(
            "nothing was collected, because something that is needed cannot be read",
            why=f"Nobody knows what else it needs. {missing.error.what}: {missing.error.why}",
            hint="See what it touches: thence check. Heal it: thence repair. "
            "Or remove what needs it: thence rm",
            about=missing.error.about,
        ) from missing.error

    def _store_time(self) -> float:
        """The time, by the clock of the store."""
        store = self._vault.store
        if self._dry_run:
            return self._vault.now().wall_s
        key = f"{_NOW}{self._vault.new_id()}"
        store.create(key, [b"{}"])
        info = store.head(key)
        store.delete(key)
        return self._vault.now().wall_s if info is None else info.modified_s

    def _ripe(self, state: _State) -> tuple[set[bytes], set[bytes]]:
        """Packs that were condemned long enough ago by both clocks, and those with odd records."""
        here_s = self._vault.now().wall_s
        ripe: set[bytes] = set()
        fresh: set[bytes] = set()
        odd: set[bytes] = set()
        for one in state.records:
            at_s = one.modified_s if one.at is None else one.at.timestamp()
            ages = (state.now_s - one.modified_s, here_s - at_s)
            # Clocks that go back make a record that never ripens.
            if min(ages) < -self._grace_s - 3600:
                odd |= one.packs
            elif min(ages) >= self._grace_s:
                ripe |= one.packs
            else:
                fresh |= one.packs
        return ripe - fresh - odd, odd

    def _copy(self, chosen: Selection, condemned: frozenset[bytes]) -> int:
        if not len(chosen.copy):
            return 0
        done = copy(
            self._vault,
            chosen.locations(chosen.copy),
            avoid=condemned.union(chosen.condemn, chosen.again),
            progress=lambda size: self._progress(0, size),
        )
        return done.size_bytes

    def _tidy(
        self, state: _State, deleted: Collection[bytes], again: Collection[bytes], *, new: bool
    ) -> None:
        """Delete records that say nothing any more; the one with the highest number stays."""
        there = state.infos.keys() - set(deleted) - set(again)
        last = max((one.number for one in state.records), default=0)
        for one in state.records:
            if one.packs & there:
                continue
            if one.number == last and not new:
                if not one.packs:
                    continue
                self._vault.condemned.put((), by=self._by)
            self._vault.condemned.remove(one.number)

    def _roots(self, state: _State) -> Callable[[bytes], bool]:
        wanted = {root.digest.raw for root in state.live.roots}
        return lambda raw: raw in wanted
