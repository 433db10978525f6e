"""What is alive: what entries refer to, and everything that this is made of."""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from thence.errors import DataDamaged, FormatTooNew, NotFound, StorageError, ThenceError
from thence.model import codec
from thence.model.ids import Digest, RunId
from thence.model.records import (
    Entry,
    Restored,
    RunOpened,
    RunRestored,
    RunSealed,
    RunTombstone,
    Tombstone,
    Version,
    VersionEdit,
    decode_entry,
)
from thence.vault.logs import entry_key, parse_entry_key
from thence.vault.pack import BlockKind
from thence.vault.references import Root, references
from thence.vault.rows import Rows
from thence.vault.vault import Vault
from thence.vault.walk import Seen, Walk

if TYPE_CHECKING:
    from thence.vault.rows import Array

__all__ = ["SILENCE_S", "Live", "Missing", "Reached", "Removed", "live_roots", "reach"]

SILENCE_S = 7 * 24 * 3600.0
"""A run that gave no sign of life for so long does not hold on to anything."""

_SEGMENT = re.compile(r"runs/([0-9a-f]+)/")


class Removed(NamedTuple):
    """A version or run that was removed, and that no open run holds on to.

    Attributes:
        key: Of its entry.
        name: `sales@v3`, or the id of a run.
        roots: What it refers to.
    """

    key: str
    name: str
    roots: tuple[Root, ...]


class Live(NamedTuple):
    """What is alive, and what says so.

    Attributes:
        roots: What entries refer to, each with the key of the first entry that does.
        removed: Versions and runs that were removed.
        open_runs: Runs that go on: what was removed since they began is alive.
        refusals: Entries that cannot be read, or that a newer thence wrote: nobody knows what they
            refer to, so nothing may be deleted.
        entries: How many entries there are.
    """

    roots: Mapping[Root, str]
    removed: tuple[Removed, ...]
    open_runs: tuple[RunId, ...]
    refusals: tuple[ThenceError, ...]
    entries: int


class Missing(NamedTuple):
    """Something that is referred to, and is in no pack or cannot be read.

    Attributes:
        id: What is missing.
        leaf: It is a content that no pack holds, and nothing is known to be behind it.
        error: What is wrong.
    """

    id: bytes
    leaf: bool
    error: ThenceError


class Reached(NamedTuple):
    """Ids that were reached: contents, chunks and lists.

    Attributes:
        rows: All that there is.
        marks: Which of these rows were reached; of an id in several packs, all of them.
        missing: What could not be reached.
    """

    rows: Rows
    marks: "Array"
    missing: tuple[Missing, ...]

    def __contains__(self, wanted: object) -> bool:
        """Whether an id was reached."""
        return isinstance(wanted, bytes) and bool(self.marks[self.rows.find([wanted]).rows].any())


class _Place(NamedTuple):
    log: str
    number: int
    modified_s: float
    size_bytes: int | None


class _Change(NamedTuple):
    """A removal or restoration.

    Attributes:
        number: Of its entry; one that waits in the outbox comes after all others.
    """

    number: int
    removes: bool
    modified_s: float


class _Thing(NamedTuple):
    """A version or a run, and what it refers to."""

    key: str
    name: str
    roots: tuple[Root, ...]


class _Run:
    def __init__(self) -> None:
        self.opened_s: float | None = None
        self.last_s = 0.0
        self.is_sealed = False


def live_roots(
    vault: Vault,
    *,
    now_s: float,
    without: Collection[Digest] = (),
    going: Collection[RunId] = (),
    progress: Callable[[int], None] = lambda entries: None,
) -> Live:
    """What the entries of all logs, and of the outbox of a clone, refer to.

    Args:
        vault: Of which project.
        now_s: The time, by the clock of the store; a run that gave no sign for 7 days is not open.
        without: Records of versions that are taken for removed.
        going: Runs that are not over, as is known otherwise.
        progress: Is told entries read so far.

    Raises:
        StorageError: The store failed.
        Denied: It may not be read.
    """
    return _Roots(vault, now_s, without, going, progress).gather()


class _Roots:
    def __init__(
        self,
        vault: Vault,
        now_s: float,
        without: Collection[Digest],
        going: Collection[RunId],
        progress: Callable[[int], None],
    ) -> None:
        self._vault = vault
        self._without = frozenset(without)
        self._going = frozenset(map(str, going))
        self._now_s = now_s
        self._progress = progress
        self._roots: dict[Root, str] = {}
        self._things: dict[Digest | str, list[_Thing]] = defaultdict(list)
        self._changes: dict[Digest | str, list[_Change]] = defaultdict(list)
        self._runs: dict[str, _Run] = defaultdict(_Run)
        self._refusals: list[ThenceError] = []
        self._uses: dict[RunId, tuple[Digest, ...]] = {}

    def gather(self) -> Live:
        """Read everything."""
        places = self._places()
        count = 0
        for place, data in self._read(places):
            count += 1
            if not count % 1000:
                self._progress(count)
            if data is None:
                if place.size_bytes is not None:  # what waited is in its log by now
                    self._refuse(_gone(place))
                continue
            try:
                self._take(place, decode_entry(data))
            except DataDamaged as error:
                key = entry_key(place.log, place.number)
                self._refuse(DataDamaged(f"{key} cannot be read", why=error.why, about=key))
        open_runs = self._open_runs()
        opened = [run.opened_s for run in open_runs.values() if run.opened_s is not None]
        first_open_s = min(opened, default=None)
        removed: list[Removed] = []
        directory = self._vault.directory
        read = self._read_by_runs(first_open_s)
        for about, things in self._things.items():
            is_removed = self._is_removed(about, first_open_s)
            name = next((thing.name for thing in things if thing.name), str(about))
            for thing in things:
                # Clones do not fetch what was removed, and a card of it may have been erased.
                kept = [
                    root
                    for root in thing.roots
                    if not is_removed or (about in read and root.digest.raw in directory)
                ]
                self._roots.update((root, thing.key) for root in kept)
                if is_removed and len(kept) < max(len(thing.roots), 1):
                    left = tuple(root for root in thing.roots if root not in kept)
                    removed.append(Removed(thing.key, name, left))
        self._progress(count)
        return Live(
            self._roots,
            tuple(removed),
            tuple(RunId(run) for run in sorted(open_runs)),
            tuple(self._refusals),
            count,
        )

    def _places(self) -> list[_Place]:
        """All entries. What waits first: it is in its log before it is taken out of there."""
        waiting = [] if self._vault.outbox is None else self._vault.outbox.waiting()
        found = [_Place(one.log, one.number, one.modified_s, None) for one in waiting]
        found += (
            _Place(*parsed, info.modified_s, info.size_bytes)
            for info in self._vault.store.list("refs/")
            if (parsed := parse_entry_key(info.key))
        )
        return found

    def _read(self, places: Sequence[_Place]) -> Iterator[tuple[_Place, bytes | None]]:
        known = self._in_checkpoints(places)
        left = [place for place in places if (place.log, place.number) not in known]
        others = self._vault.logs.read_many((place.log, place.number) for place in left)
        for place in places:
            data = known.pop((place.log, place.number), None)
            yield place, next(others)[2] if data is None else data

    def _in_checkpoints(self, places: Sequence[_Place]) -> dict[tuple[str, int], bytes]:
        """Entries that need not be read one by one; each proves itself and has its size.

        None that may remove a version: of a bucket that was put back, a checkpoint may remember
        what was there instead.
        """
        checkpoints = self._vault.checkpoints
        if checkpoints is None:
            return {}
        sizes = {(place.log, place.number): place.size_bytes for place in places}
        found: dict[tuple[str, int], bytes] = {}
        ids: set[tuple[str, str]] = set()
        for log, number, data in checkpoints.entries():
            if data is None or log.endswith("/@edits"):
                continue
            if sizes.get((log, number)) != len(data) or (log, number) in found:
                continue
            mark = (log, decode_entry(data).id)
            if mark not in ids:
                ids.add(mark)
                found[log, number] = data
        return found

    def _take(self, place: _Place, entry: Entry) -> None:
        record = entry.record
        key = entry_key(place.log, place.number)
        if record is None or codec.encode(record) != entry.record_bytes:
            self._refuse(
                FormatTooNew(
                    f"{key} was written by a newer thence",
                    why="What it refers to is not known to this version.",
                    about=key,
                )
            )
            return
        roots = tuple(references(record))
        match record:
            case Version():
                name = f"{record.artifact}@v{place.number}"
                self._things[entry.digest].append(_Thing(key, name, roots))
            case VersionEdit():
                self._things[record.version].append(_Thing(key, "", roots))
            case Tombstone() | Restored():
                removes = isinstance(record, Tombstone)
                self._changes[record.version].append(
                    _Change(place.number, removes, place.modified_s)
                )
            case RunTombstone() | RunRestored():
                removes = isinstance(record, RunTombstone)
                self._changes[record.run].append(_Change(place.number, removes, place.modified_s))
            case RunOpened() | RunSealed():
                self._things[record.run].append(_Thing(key, f"run:{record.run}", roots))
                if isinstance(record, RunSealed):
                    self._uses[record.run] = record.uses
            case _:
                self._roots.update((root, key) for root in roots)
        if place.log.startswith("refs/runs/"):
            run = self._runs[place.log.removeprefix("refs/runs/")]
            run.last_s = max(run.last_s, place.modified_s)
            if isinstance(record, RunOpened):
                run.opened_s = place.modified_s
            run.is_sealed |= isinstance(record, RunSealed)

    def _refuse(self, error: ThenceError) -> None:
        self._refusals.append(error)

    def _read_by_runs(self, first_open_s: float | None) -> set[Digest | str]:
        """Versions that runs have read which are kept: without them, these cannot be repeated."""
        kept = (run for run in self._uses if not self._is_removed(run, first_open_s))
        read: set[Digest | str] = {version for run in kept for version in self._uses[run]}
        read -= self._without
        if any(self._is_removed(version, first_open_s) for version in read):
            self._vault.directory.refresh()
        return read

    def _open_runs(self) -> dict[str, _Run]:
        found = {
            key: run
            for key, run in self._runs.items()
            if run.opened_s is not None and not run.is_sealed
        }
        if not found:
            return {}
        for info in self._vault.store.list("runs/"):
            if (match := _SEGMENT.match(info.key)) and (run := found.get(match.group(1))):
                run.last_s = max(run.last_s, info.modified_s)
        since_s = self._now_s - SILENCE_S
        return {
            key: run for key, run in found.items() if run.last_s > since_s or key in self._going
        }

    def _is_removed(self, key: Digest | str, first_open_s: float | None) -> bool:
        """Whether it is, without the removals that came after a run that is open began."""
        if key in self._without:
            return True
        counted = [
            change
            for change in self._changes.get(key, ())
            if not change.removes or first_open_s is None or change.modified_s < first_open_s
        ]
        return bool(counted) and max(counted).removes


def _gone(place: _Place) -> ThenceError:
    key = entry_key(place.log, place.number)
    return StorageError(
        f"{key} was listed and cannot be read", why="Entries are never deleted.", about=key
    )


def reach(
    vault: Vault,
    roots: Iterable[Root],
    *,
    rows: Rows | None = None,
    erased: Callable[[Digest], bool] = lambda digest: False,
    progress: Callable[[int], None] = lambda ids: None,
) -> Reached:
    """Everything that roots are made of: contents, their chunks, and lists of these.

    What is marked twice is walked once: it is compared by all bytes of its id.

    Args:
        vault: Where.
        roots: Where to begin.
        rows: What there is; by default, all that the directory knows after a fresh listing.
        erased: Whether a content was erased: it is not missing then.
        progress: Is told ids reached so far.

    Raises:
        StorageError: The store failed.
        Denied: It may not be read.
    """
    if rows is None:
        vault.directory.refresh()
        vault.directory.refuse_newer()
        rows = Rows(vault.directory.segments(), vault.directory.packs())
    marks = rows.marks()
    missing: list[Missing] = []

    def miss(wanted: bytes, leaf: bool, error: ThenceError) -> None:
        if not isinstance(error, NotFound) or not erased(Digest(wanted)):
            missing.append(Missing(wanted, leaf, error))

    marker = Marker(rows, marks, progress)
    Walk(vault, marker.visit, miss).run(roots)
    return Reached(rows, marks, tuple(missing))


class Marker:
    """Marks rows, and tells what is below those that were not marked.

    Args:
        rows: What there is.
        marks: What was marked.
        progress: Is told how many were marked by it so far.
        marked: Is told which rows were marked, each once.
    """

    def __init__(
        self,
        rows: Rows,
        marks: "Array",
        progress: Callable[[int], None] = lambda ids: None,
        marked: Callable[["Array"], None] = lambda rows: None,
    ) -> None:
        self._rows = rows
        self._marks = marks
        self._progress = progress
        self._marked = marked
        self._count = 0

    def visit(self, ids: Sequence[bytes], kind: BlockKind) -> Seen:
        """As `Walk` asks for it."""
        import numpy as np

        wanted, rows = self._rows.find(ids)
        there = np.zeros(len(ids), np.bool_)
        there[wanted] = True
        absent = [ids[int(at)] for at in np.flatnonzero(~there)]
        new = np.unique(rows[~self._marks[rows]])
        self._marks[new] = True
        self._marked(new)
        self._count += len(new)
        self._progress(self._count)
        kinds = self._rows.kind[new]
        deep = new[(kinds == BlockKind.RECIPE) | (kinds == BlockKind.LIST)]
        # A recipe in two packs may be two recipes of one content, cut in different ways.
        return Seen([self._rows.location(int(row)) for row in deep], absent)
