"""Mirroring: entries of one vault's logs copied to the same places of another, content first.

What clones, mirrors and homes that move are made of. A log in the target is at any time a beginning
of the log in the source, byte for byte, and what it names is there.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby, islice
from typing import NamedTuple, TypeAlias, TypeVar

from thence.errors import AlreadyExists, DataDamaged, InvalidInput, NotFound
from thence.model.records import Entry, decode_entry
from thence.vault.checkpoints import MIN_ENTRIES
from thence.vault.layout import PROJECT, read_project
from thence.vault.logs import entry_key
from thence.vault.references import roots_of
from thence.vault.transfer import transfer
from thence.vault.vault import Vault

__all__ = [
    "Mirrored",
    "Progress",
    "Span",
    "adopt",
    "at_once",
    "behind",
    "complete",
    "copy_content",
    "follow",
    "mark_partial",
    "mirror_entries",
    "place",
    "rank",
    "same_project",
    "tails",
]

T = TypeVar("T")
_log = logging.getLogger(__name__)
Progress: TypeAlias = Callable[[int, int], None]

_EVERYTHING = ("refs/",)
# Entries that are in memory at the same time, and at most as many are read twice after a crash.
_BATCH = 10_000
_PARTIAL = "partial.json"
# Entries of checkpoints that are kept until they are written, some 700 bytes each.
_MOST_IN_MEMORY = 200_000
_REMOTE_WORKERS = 16
_LOCAL_WORKERS = 4


class Span(NamedTuple):
    """Entries of a log that one vault has and another has not.

    Attributes:
        after: The last one that both have; 0 for none.
        last: The last one of those that are missing.
    """

    log: str
    after: int
    last: int


class Mirrored(NamedTuple):
    """What was copied.

    Attributes:
        entries: How many entries are new in the target.
        contents: How many contents are.
        size_bytes: Of these contents.
        sent_bytes: Of the packs that were written.
        damaged: Keys of entries of the source that cannot be read, or whose content is missing;
            neither they nor what follows them in their logs was copied.
        unknown: How many entries a newer thence wrote; content that only they name was not copied.
    """

    entries: int = 0
    contents: int = 0
    size_bytes: int = 0
    sent_bytes: int = 0
    damaged: tuple[str, ...] = ()
    unknown: int = 0

    def plus(self, other: "Mirrored") -> "Mirrored":
        """Both together."""
        return Mirrored(
            self.entries + other.entries,
            self.contents + other.contents,
            self.size_bytes + other.size_bytes,
            self.sent_bytes + other.sent_bytes,
            tuple(sorted({*self.damaged, *other.damaged})),
            self.unknown + other.unknown,
        )


class _Found(NamedTuple):
    log: str
    number: int
    data: bytes
    entry: Entry


def at_once(work: Callable[[T], object], items: Sequence[T], *vaults: Vault) -> None:
    """Do the work for all items, for several at a time where one of the vaults is remote.

    After the first error no further item is begun, and those that were are waited for: nothing is
    written any more when it is raised.
    """
    workers = _REMOTE_WORKERS if any(vault.remote for vault in vaults) else _LOCAL_WORKERS
    if len(items) < 2:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="thence-sync") as pool:
        waiting = [pool.submit(work, item) for item in items]
        try:
            for done in waiting:
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def same_project(one: Vault, other: Vault) -> None:
    """See that two vaults hold one project.

    Raises:
        InvalidInput: They do not; it names both.
        NotFound: One of them holds none.
        FormatTooNew: One of them was made by a newer thence.
        DataDamaged: A project.json cannot be read.
        StorageError: A store failed.
    """
    mine, theirs = read_project(one.store), read_project(other.store)
    if mine.id != theirs.id:
        raise InvalidInput(
            f"{one.store.url} and {other.store.url} are different projects",
            why=f"The first is {mine.id}, the second {theirs.id}.",
            hint="Versions come from one project into another by: thence import",
            about=other.store.url,
        )


def adopt(source: Vault, target: Vault) -> None:
    """Make an empty store a place of the source's project; see that any other one is already.

    Raises:
        InvalidInput: They are different projects.
        NotFound: The source holds none.
        FormatTooNew: It was made by a newer thence.
        DataDamaged: A project.json cannot be read.
        StorageError: A store failed.
        Denied: A store may not be read, or not be written to.
    """
    try:
        read_project(target.store)
    except NotFound:
        data = source.store.get(PROJECT)
        with suppress(AlreadyExists):
            target.store.create(PROJECT, [data])
    same_project(source, target)


def rank(log: str) -> int:
    """In which order logs are written: what names others comes after them."""
    if log.startswith("refs/artifacts/"):
        return 1 if log.endswith("/@edits") else 0
    return 3 if log.startswith("refs/aliases/") else 2


def tails(vault: Vault, prefixes: Sequence[str] = _EVERYTHING) -> dict[str, int]:
    """How far each log below the prefixes goes without a gap.

    Raises:
        StorageError: The store failed.
    """
    found: dict[str, int] = {}
    for prefix in prefixes:
        for log, number in vault.numbered.all(prefix):
            if number == found.get(log, 0) + 1:
                found[log] = number
    return found


def behind(source: Vault, target: Vault, prefixes: Sequence[str] = _EVERYTHING) -> list[Span]:
    """What the source has and the target has not, by a listing of each.

    Raises:
        DataDamaged: The target has entries that the source has not.
        StorageError: A store failed.
    """
    # The target first: what it has was in the source before.
    have = tails(target, prefixes)
    there: dict[str, int] = {}
    for prefix in prefixes:
        for log, number in source.numbered.all(prefix):
            there[log] = max(number, there.get(log, 0))
    for log, tail in have.items():
        if tail > there.get(log, 0):
            raise _lost(source, target, log, tail)
    spans = (Span(log, have.get(log, 0), last) for log, last in there.items())
    return [span for span in spans if span.last > span.after]


def follow(source: Vault, target: Vault, logs: Iterable[str]) -> list[Span]:
    """What the source has of some logs and the target has not, by looking at each.

    Raises:
        StorageError: A store failed.
    """
    spans: list[Span] = []

    def look(log: str) -> None:
        have = target.numbered.tail(log)
        last = source.numbered.tail(log, since=have)
        if last > have:
            spans.append(Span(log, have, last))

    at_once(look, list(logs), source)
    return spans


def mirror_entries(
    source: Vault,
    target: Vault,
    spans: Iterable[Span],
    *,
    with_content: Callable[[str, Entry], bool] = lambda log, entry: True,
    progress: Progress = lambda contents, size: None,
) -> Mirrored:
    """Copy entries with the content that they refer to.

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
    total = Mirrored()
    damaged: dict[str, str] = {}
    ordered = sorted(spans, key=lambda span: (rank(span.log), span.log))
    known = _in_checkpoints(source, ordered)
    for batch in _batches(ordered):
        _check(source, target, batch)
        left = [span for span in batch if span.log not in damaged]
        found = _read(source, left, known, damaged)
        whole, done = _with_their_content(
            source,
            target,
            found,
            damaged,
            with_content=with_content,
            progress=_after(total, progress),
        )
        total = total.plus(done)
        _write(source, target, whole)
        total = total._replace(entries=total.entries + len(whole))
    return total._replace(damaged=tuple(sorted(damaged.values())))


def _with_their_content(
    source: Vault,
    target: Vault,
    found: list[_Found],
    damaged: dict[str, str],
    *,
    with_content: Callable[[str, Entry], bool],
    progress: Progress,
) -> tuple[list[_Found], Mirrored]:
    """Copy the content of entries; those whose content is missing end their logs, others go on."""
    entries = [one.entry for one in found if with_content(one.log, one.entry)]
    try:
        return found, copy_content(source, target, entries, progress=progress)
    except (NotFound, DataDamaged) as error:
        if len(found) == 1:
            damaged[found[0].log] = entry_key(found[0].log, found[0].number)
            _log.warning("%s cannot be copied: %s", damaged[found[0].log], error.what)
            return [], Mirrored()
    middle = len(found) // 2
    whole, done = [], Mirrored()
    for half in (found[:middle], found[middle:]):
        left = [one for one in half if one.log not in damaged]
        copied, more = _with_their_content(
            source,
            target,
            left,
            damaged,
            with_content=with_content,
            progress=_after(done, progress),
        )
        whole += copied
        done = done.plus(more)
    return whole, done


def _after(so_far: Mirrored, progress: Progress) -> Progress:
    return lambda contents, size: progress(so_far.contents + contents, so_far.size_bytes + size)


def copy_content(
    source: Vault,
    target: Vault,
    entries: Sequence[Entry],
    *,
    progress: Progress = lambda contents, size: None,
) -> Mirrored:
    """Copy the content that entries refer to.

    Raises:
        NotFound: Neither vault has a content.
        DataDamaged: A content is damaged.
        StorageError: A store failed.
        Denied: A store may not be read, or not be written to.
    """
    roots = roots_of(entries)
    if not roots.roots:
        return Mirrored(unknown=len(roots.unknown))
    done = transfer(source, target, roots.roots, progress=progress)
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
    everything = target.numbered.read_many(target.numbered.all())
    while batch := list(islice(everything, _BATCH)):
        entries = [decode_entry(data) for _, _, data in batch if data is not None]
        done = copy_content(source, target, entries, progress=_after(total, progress))
        total = total.plus(done._replace(unknown=0))
    target.store.delete(_PARTIAL)
    return total


def place(source: Vault, target: Vault, log: str, number: int, data: bytes) -> None:
    """Put an entry at its place in the target; nothing to do where it is there.

    Raises:
        DataDamaged: Another one is there.
        StorageError: The store failed.
        Denied: It may not be written to.
    """
    try:
        target.store.create(entry_key(log, number), [data])
    except AlreadyExists:
        if target.numbered.read(log, number) != data:
            raise _diverged(source, target, log, number) from None


def _batches(spans: Iterable[Span]) -> Iterator[list[Span]]:
    batch: list[Span] = []
    size = 0
    for log, begin, last in spans:
        after = begin
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
            raise _diverged(source, target, log, number)


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


def _write(source: Vault, target: Vault, found: Sequence[_Found]) -> None:
    """Each log in the order of its numbers, several logs at a time, by their ranks."""

    def write(log: tuple[_Found, ...]) -> None:
        for one in log:
            place(source, target, one.log, one.number, one.data)

    for _, same_rank in groupby(found, key=lambda one: rank(one.log)):
        logs = [tuple(log) for _, log in groupby(same_rank, key=lambda one: one.log)]
        at_once(write, logs, target)


def _diverged(source: Vault, target: Vault, log: str, number: int) -> DataDamaged:
    key = entry_key(log, number)
    return DataDamaged(
        f"{target.store.url} and {source.store.url} have different entries {key}",
        why="Numbers are given once, by the home; one of both was changed or put back.",
        hint=f"Compare the two. Where {target.store.url} is the wrong one, clone again.",
        about=key,
    )


def _lost(source: Vault, target: Vault, log: str, number: int) -> DataDamaged:
    key = entry_key(log, number)
    return DataDamaged(
        f"{target.store.url} has an entry that {source.store.url} lost: {key}",
        why="Entries are never removed; it was put back to an earlier state, or written to beside.",
        hint=f"Keep {target.store.url}: it holds what is missing there.",
        about=key,
    )
