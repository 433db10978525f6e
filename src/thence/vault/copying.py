"""Copying: entries of one vault's logs to the same places of another, content first.

What entries name is there before they are. The content of what was removed or erased is not needed,
and may be gone: it is left out, and what says so comes before what would need it.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby, islice
from typing import NamedTuple

from thence.errors import AlreadyExists, DataDamaged, NotFound, ThenceError
from thence.model.ids import Digest
from thence.model.records import (
    Entry,
    RunSealed,
    RunTombstone,
    Tombstone,
    Version,
    decode_entry,
)
from thence.vault.checkpoints import MIN_ENTRIES
from thence.vault.erasures import erased
from thence.vault.logs import entry_key
from thence.vault.mirroring import Mirrored, Progress, Span, at_once, diverged, place, rank
from thence.vault.references import Root, roots_of
from thence.vault.removals import Removals, Whole, edits_of
from thence.vault.transfer import transfer
from thence.vault.vault import Vault

__all__ = ["complete", "copy_content", "mark_partial", "mirror_entries"]

_log = logging.getLogger(__name__)

# Entries that are in memory at the same time, and at most as many are read twice after a crash.
_BATCH = 10_000
_PARTIAL = "partial.json"
# Entries of checkpoints that are kept until they are written, some 700 bytes each.
_MOST_IN_MEMORY = 200_000


class _Found(NamedTuple):
    log: str
    number: int
    data: bytes
    entry: Entry


def mirror_entries(
    source: Vault,
    target: Vault,
    spans: Iterable[Span],
    *,
    with_content: Callable[[str, Entry], bool] = lambda log, entry: True,
    progress: Progress = lambda contents, size: None,
) -> Mirrored:
    """Copy entries with the content that they refer to.

    The content of what is removed by the end of these entries is not copied: it may be gone.

    Args:
        source: Where from.
        target: Where to.
        spans: Which entries.
        with_content: Tells whether the content that an entry refers to is wanted.
        progress: Is told contents and bytes done so far.

    Raises:
        DataDamaged: The target has other entries at these places.
        StorageError: A store failed; what was copied by then is used by the next try.
        Denied: A store may not be read, or not be written to.
    """
    return _Mirroring(source, target, spans, with_content).run(progress)


class _Mirroring:
    """One mirroring: in batches, each with its content before its entries.

    Attributes:
        damaged: Of logs that end here: the key of the entry that cannot be copied.
        later: Logs that go on next time: they name what was removed and collected a moment ago.
    """

    def __init__(
        self,
        source: Vault,
        target: Vault,
        spans: Iterable[Span],
        with_content: Callable[[str, Entry], bool],
    ) -> None:
        self._source = source
        self._target = target
        self._with_content = with_content
        self._ranks: dict[str, int] = {}
        self._spans = sorted(spans, key=lambda span: (rank(span.log), span.log))
        self._known = _in_checkpoints(source, self._spans)
        self._named: dict[Root, None] = {}
        self.damaged: dict[str, str] = {}
        self.later: set[str] = set()

    def run(self, progress: Progress) -> Mirrored:
        total = Mirrored()
        removals = self._removals()
        used = self._used_by_runs(removals)
        whole = Whole(self._source.numbered, removals)
        self._spans.sort(key=lambda span: (self._rank(span.log), span.log))
        for batch in _batches(self._spans):
            _check(self._source, self._target, batch)
            left = [span for span in batch if not self._ends(span.log)]
            found = _read(self._source, left, self._known, self.damaged)
            for one in found:
                removals.tell(one.entry.record if one.log.startswith("refs/runs/") else None)
                if one.entry.digest in used and self._is_here(one.entry):
                    removals.keep(one.entry.digest)
            naming = self._target.naming(self._target.session())
            self._named = {}
            copied, done = self._with_their_content(found, whole, _after(total, progress))
            total = total.plus(done)
            naming.before(self._named, spare=self._erased)
            self._write(copied)
            naming.after()
            total = total._replace(entries=total.entries + len(copied))
        return total._replace(damaged=tuple(sorted(self.damaged.values())))

    def _rank(self, log: str) -> int:
        return self._ranks.get(log, rank(log))

    def _ends(self, log: str) -> bool:
        return log in self.damaged or log in self.later

    def _removals(self) -> Removals:
        """Which versions are removed, by what will be in the target when all of it is done.

        Tombstones are written before the versions that they name: so nobody sees a version whose
        content was left out.
        """
        removals = Removals()
        last = {span.log: span for span in self._spans}
        for log in dict.fromkeys(filter(None, (edits_of(span.log) for span in self._spans))):
            span = last.get(log)
            for number, data in self._entries(log, span):
                if (entry := _readable(data)) is None:
                    break
                removals.tell(entry.record)
                if span and number > span.after and isinstance(entry.record, Tombstone):
                    self._ranks[log] = -1
        return removals

    def _erased(self) -> frozenset[Digest]:
        return erased(self._source) | erased(self._target)

    def _used_by_runs(self, removals: Removals) -> set[Digest]:
        """Removed versions that runs have read which are copied too: they cannot go without."""
        used: set[Digest] = set()
        if not removals:
            return used
        runs = [span for span in self._spans if span.log.startswith("refs/runs/")]
        for span in runs:
            uses: tuple[Digest, ...] = ()
            for _, data in self._entries(span.log, span):
                record = entry.record if (entry := _readable(data)) else None
                if isinstance(record, RunSealed):
                    uses = record.uses
                elif isinstance(record, RunTombstone):
                    uses = ()
            used.update(version for version in uses if version in removals)
        return used

    def _is_here(self, entry: Entry) -> bool:
        """Whether the source has a version that was removed: clones do not fetch it."""
        return isinstance(entry.record, Version) and not self._source.content.missing(
            [entry.record.tree]
        )

    def _entries(self, log: str, span: Span | None) -> Iterator[tuple[int, bytes]]:
        after = 0
        for number, data in self._target.numbered.after(log, 0):
            if span is not None and number > span.after:
                break
            after = number
            yield number, data
        if span is None:
            return
        missing = [n for n in range(after + 1, span.last + 1) if (log, n) not in self._known]
        for _, number, read in self._source.numbered.read_many((log, n) for n in missing):
            if read is not None and len(self._known) < _MOST_IN_MEMORY:
                self._known[log, number] = read
        for number in range(after + 1, span.last + 1):
            found = self._known.get((log, number)) or self._source.numbered.read(log, number)
            if found is None:
                return
            yield number, found

    def _with_their_content(
        self, found: list[_Found], whole: Whole, progress: Progress
    ) -> tuple[list[_Found], Mirrored]:
        """Copy the content of entries; those that lack some end their logs, others go on."""
        try:
            entries = [
                entry
                for one in found
                if self._with_content(one.log, one.entry)
                for entry in whole.entries(one.log, one.entry)
            ]
            done = copy_content(self._source, self._target, entries, progress=progress)
        except (NotFound, DataDamaged) as error:
            if len(found) == 1:
                self._end(found[0], error)
                return [], Mirrored()
        else:
            self._named.update(dict.fromkeys(roots_of(entries).roots))
            return found, done
        middle = len(found) // 2
        copied, done = [], Mirrored()
        for half in (found[:middle], found[middle:]):
            left = [one for one in half if not self._ends(one.log)]
            some, more = self._with_their_content(left, whole, _after(done, progress))
            copied += some
            done = done.plus(more)
        return copied, done

    def _end(self, one: _Found, error: ThenceError) -> None:
        """Let a log end before an entry; without a word where that was removed meanwhile."""
        key = entry_key(one.log, one.number)
        about = edits_of(one.log) or one.log
        said = (_readable(data) for _, data in self._source.numbered.after(about, 0))
        if not Removals(entry.record for entry in said if entry).needs(one.entry):
            _log.info("%s is copied next time: it was removed a moment ago", key)
            self.later.add(one.log)
            return
        self.damaged[one.log] = key
        _log.warning("%s cannot be copied: %s", key, error.what)

    def _write(self, found: Sequence[_Found]) -> None:
        """Each log in the order of its numbers, several logs at a time, by their ranks."""

        def write(log: tuple[_Found, ...]) -> None:
            for one in log:
                place(self._source, self._target, one.log, one.number, one.data)

        for _, same_rank in groupby(found, key=lambda one: self._rank(one.log)):
            logs = [tuple(log) for _, log in groupby(same_rank, key=lambda one: one.log)]
            at_once(write, logs, self._target)


def _after(so_far: Mirrored, progress: Progress) -> Progress:
    return lambda contents, size: progress(so_far.contents + contents, so_far.size_bytes + size)


def copy_content(
    source: Vault,
    target: Vault,
    entries: Sequence[Entry],
    *,
    progress: Progress = lambda contents, size: None,
) -> Mirrored:
    """Copy the content that entries refer to, but for what was erased.

    Raises:
        NotFound: Neither vault has a content.
        DataDamaged: A content is damaged.
        StorageError: A store failed.
        Denied: A store may not be read, or not be written to.
    """
    roots = roots_of(entries)
    if not roots.roots:
        return Mirrored(unknown=len(roots.unknown))
    done = transfer(
        source, target, roots.roots, progress=progress, without=erased(source) | erased(target)
    )
    return Mirrored(0, done.contents, done.size_bytes, done.sent_bytes, (), len(roots.unknown))


def mark_partial(target: Vault) -> None:
    """Note, before entries are mirrored without their content, that some are.

    Raises:
        StorageError: The store failed.
        Denied: It may not be written to.
    """
    with suppress(AlreadyExists):
        target.store.create(_PARTIAL, [b"{}"])


def complete(
    source: Vault, target: Vault, *, progress: Progress = lambda contents, size: None
) -> Mirrored:
    """Copy the content of all entries of a target that was a part; nothing to do for any other.

    Raises:
        NotFound: The source lacks a content.
        DataDamaged: An entry or content is damaged.
        StorageError: A store failed.
        Denied: A store may not be read, or not be written to.
    """
    total = Mirrored()
    if target.store.head(_PARTIAL) is None:
        return total
    said = ("/@edits", "refs/runs/")
    telling = (place for place in target.numbered.all() if any(part in place[0] for part in said))
    told = target.numbered.read_many(telling)
    removals = Removals(decode_entry(data).record for _, _, data in told if data is not None)
    everything = target.numbered.read_many(target.numbered.all())
    while batch := list(islice(everything, _BATCH)):
        entries = [decode_entry(data) for _, _, data in batch if data is not None]
        entries = [entry for entry in entries if removals.needs(entry)]
        done = copy_content(source, target, entries, progress=_after(total, progress))
        total = total.plus(done._replace(unknown=0))
    target.store.delete(_PARTIAL)
    return total


def _batches(spans: Iterable[Span]) -> Iterator[list[Span]]:
    batch: list[Span] = []
    size = 0
    for log, begin, last in spans:
        after = begin
        if batch and size + last - begin > _BATCH and log.startswith("refs/runs/"):
            # Whether a run is removed is known when all of its log is.
            yield batch
            batch, size = [], 0
        while after < last:
            end = min(last, after + _BATCH - size)
            batch.append(Span(log, after, end))
            size += end - after
            after = end
            if size >= _BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _check(source: Vault, target: Vault, spans: Sequence[Span]) -> None:
    """See that the last entries that both should have are the same: one request for each log."""
    common = [(span.log, span.after) for span in spans if span.after]
    both = zip(source.numbered.read_many(common), target.numbered.read_many(common), strict=True)
    for (log, number, theirs), (_, _, mine) in both:
        if theirs != mine:
            raise diverged(source, target, log, number)


def _in_checkpoints(source: Vault, spans: Sequence[Span]) -> dict[tuple[str, int], bytes]:
    """Entries of the spans that need not be read one by one, where there are many."""
    count = sum(span.last - span.after for span in spans)
    if source.checkpoints is None or not MIN_ENTRIES <= count <= _MOST_IN_MEMORY:
        return {}
    wanted = {span.log: span for span in spans}
    found = {}
    for log, number, data in source.checkpoints.entries():
        span = wanted.get(log)
        if data is not None and span is not None and span.after < number <= span.last:
            found[log, number] = data
    return found


def _read(
    source: Vault,
    spans: Sequence[Span],
    known: Mapping[tuple[str, int], bytes],
    damaged: dict[str, str],
) -> list[_Found]:
    """The entries of the spans; where one cannot be read, its log ends before it."""
    wanted = [(log, number) for log, after, last in spans for number in range(after + 1, last + 1)]
    others = source.numbered.read_many(place for place in wanted if place not in known)
    found = []
    for log, number in wanted:
        data = known[log, number] if (log, number) in known else next(others)[2]
        if log in damaged:
            continue
        entry = None if data is None else _readable(data)
        if data is None or entry is None:
            damaged[log] = entry_key(log, number)
        else:
            found.append(_Found(log, number, data, entry))
    return found


def _readable(data: bytes) -> Entry | None:
    try:
        return decode_entry(data)
    except DataDamaged:
        return None
