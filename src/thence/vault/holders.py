"""Who else has some contents: versions and runs that are not removed, by all logs."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from thence.errors import NotFound
from thence.model.ids import Digest, RunId
from thence.model.numbers import is_local, label
from thence.model.records import (
    ArtifactEdit,
    Entry,
    Restored,
    RunRestored,
    RunSealed,
    Version,
    VersionEdit,
    decode_entry,
)
from thence.vault.belongings import entries_of_versions
from thence.vault.references import Root, RootKind, digests_in, references
from thence.vault.removals import Removals
from thence.vault.vault import Vault

__all__ = ["Held", "Holder", "contents_of", "holders"]


class Holder(NamedTuple):
    """A version, run or artifact that has a content.

    Attributes:
        name: `data@v3`, `run:ab12…`, or the name of an artifact whose card it is.
        record: Digest of the version record; None for others.
        run: None for others.
    """

    name: str
    record: Digest | None = None
    run: RunId | None = None


def contents_of(vault: Vault, root: Root) -> set[Digest]:
    """A root and everything that it names; what an output's version keeps is not a run's own.

    A tree that is not there names nothing any more.

    Raises:
        DataDamaged: A tree or a list of files is damaged.
        StorageError: The store failed.
    """
    found = {root.digest}
    if root.kind is not RootKind.CONTENT:
        with suppress(NotFound):
            found.update(map(Digest, digests_in(root.kind, vault.content.stream(root.digest))))
    return found


class Held(NamedTuple):
    """Who has contents.

    Attributes:
        holders: Of each content that anybody has, in the order of the logs.
        read: How far the logs were read: the last number of each, and of what waits for it.
    """

    holders: dict[Digest, list[Holder]]
    read: Mapping[tuple[str, bool], int]


def holders(
    vault: Vault,
    wanted: Collection[Digest],
    *,
    since: Mapping[tuple[str, bool], int] = MappingProxyType({}),
    progress: Callable[[int], None] = lambda entries: None,
) -> Held:
    """Of each of these contents, who has it.

    Every tree and every list of files of the project is read for it.

    Args:
        vault: Where; what waits in its outbox counts.
        wanted: The contents.
        since: Only who came to have it after another look: what that had read.
        progress: Is told entries read so far.

    Raises:
        DataDamaged: An entry, a tree or a list of files cannot be read.
        StorageError: The store failed.
    """
    found: dict[Digest, list[Holder]] = {}
    known: dict[Root, frozenset[Digest]] = {}
    wanted = frozenset(wanted)

    def hits(root: Root) -> frozenset[Digest]:
        if root not in known:
            known[root] = frozenset(contents_of(vault, root) & wanted)
        return known[root]

    last = dict(since)
    places = (
        (log, number)
        for log, number in vault.logs.all()
        if number > since.get((log, is_local(number)), 0)
    )
    read = vault.logs.read_many(places)
    count = 0
    names: dict[Digest, str] = {}
    removals = Removals()
    pending: list[tuple[Holder, Entry]] = []
    for log, group in groupby(read, key=lambda one: one[0]):
        for _, number, data in group:
            count += 1
            last[log, is_local(number)] = number
            if data is None:
                continue
            entry = decode_entry(data)
            removals.tell(entry.record)
            if isinstance(entry.record, Version):
                names[entry.digest] = f"{entry.record.artifact}@{label(number)}"
            if (holder := _holder(entry)) is not None:
                pending.append((holder, entry))
            if since:
                pending += _back(vault, log, entry)
        progress(count)
    for holder, entry in pending:
        if holder.record in removals or holder.run in removals:
            continue
        named = holder
        if holder.record is not None:
            named = holder._replace(name=names.get(holder.record, holder.record.short))
        for digest in {one for root in _roots(entry) for one in hits(root)}:
            found.setdefault(digest, []).append(named)
    return Held({digest: list(dict.fromkeys(some)) for digest, some in found.items()}, last)


def _back(vault: Vault, log: str, entry: Entry) -> Iterator[tuple[Holder, Entry]]:
    """What was removed by the look before, and is there again by this entry."""
    back: Iterable[Entry] = ()
    match entry.record:
        case Restored(version=version):
            back = entries_of_versions(vault.logs, log, [version])[version]
        case RunRestored():
            back = vault.logs.records(log)
    for one in back:
        if (holder := _holder(one)) is not None:
            yield holder, one


def _roots(entry: Entry) -> Iterator[Root]:
    if entry.record is not None:
        yield from references(entry.record)


def _holder(entry: Entry) -> Holder | None:
    match entry.record:
        case Version():
            return Holder("", record=entry.digest)
        case VersionEdit(version=version, card=card) if card is not None:
            return Holder("", record=version)
        case ArtifactEdit(artifact=artifact, card=card) if card is not None:
            return Holder(str(artifact))
        case RunSealed(run=run):
            return Holder(run.short, run=run)
    return None
