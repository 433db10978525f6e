"""Mirroring: how far one vault's logs are behind those of another of the same project.

What clones, mirrors and homes that move are made of; `thence.vault.copying` does the copying. A log
in the target is at any time a beginning of the log in the source, byte for byte.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple, TypeAlias, TypeVar

from thence.errors import AlreadyExists, DataDamaged, InvalidInput, NotFound
from thence.vault.layout import PROJECT, read_project
from thence.vault.logs import ERASURES, entry_key
from thence.vault.vault import Vault

__all__ = [
    "Mirrored",
    "Progress",
    "Span",
    "adopt",
    "at_once",
    "behind",
    "diverged",
    "follow",
    "place",
    "rank",
    "same_project",
    "tails",
]

T = TypeVar("T")
_log = logging.getLogger(__name__)
Progress: TypeAlias = Callable[[int, int], None]

_EVERYTHING = ("refs/",)
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
    """In which order logs are written: what names others comes after them.

    What says that content is not needed comes before what would need it.
    """
    if log == ERASURES:
        return -2
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
            raise diverged(source, target, log, number) from None


def diverged(source: Vault, target: Vault, log: str, number: int) -> DataDamaged:
    """That two vaults have different entries in one place."""
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
