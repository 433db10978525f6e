"""Who else has some contents: versions and runs that are not removed, by all logs."""

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from itertools import groupby
from typing import NamedTuple

from thence.errors import NotFound
from thence.model.ids import Digest, RunId
from thence.model.numbers import label
from thence.model.records import (
    ArtifactEdit,
    Entry,
    RunSealed,
    Version,
    VersionEdit,
    decode_entry,
)
from thence.vault.references import Root, RootKind, digests_in, references
from thence.vault.removals import Removals
from thence.vault.vault import Vault

__all__ = ["Holder", "contents_of", "holders"]


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


def holders(
    vault: Vault,
    wanted: Collection[Digest],
    *,
    progress: Callable[[int], None] = lambda entries: None,
) -> dict[Digest, list[Holder]]:
    """Of each of these contents, who has it, in the order of the logs.

    Every tree and every list of files of the project is read for it.

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

    read = vault.logs.read_many(vault.logs.all())
    count = 0
    names: dict[Digest, str] = {}
    removals = Removals()
    pending: list[tuple[Holder, Entry]] = []
    for log, group in groupby(read, key=lambda one: one[0]):
        for _, number, data in group:
            count += 1
            if data is None:
                continue
            entry = decode_entry(data)
            removals.tell(entry.record)
            if isinstance(entry.record, Version):
                names[entry.digest] = f"{entry.record.artifact}@{label(number)}"
            if (holder := _holder(entry)) is not None:
                pending.append((holder, entry))
        progress(count)
        del log
    for holder, entry in pending:
        if holder.record in removals or holder.run in removals:
            continue
        named = holder
        if holder.record is not None:
            named = holder._replace(name=names.get(holder.record, holder.record.short))
        for digest in {one for root in _roots(entry) for one in hits(root)}:
            found.setdefault(digest, []).append(named)
    return {digest: list(dict.fromkeys(some)) for digest, some in found.items()}


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
