"""Erasing: what a project says must not be there is taken out of every pack (design/0012).

It follows from the log of erasures and the packs alone, so it may be repeated anywhere and at any
time, and goes on where it was cut.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

import msgspec

from thence.errors import AlreadyExists, Conflict, DataDamaged, NotFound
from thence.model import codec
from thence.model.ids import Digest
from thence.model.numbers import is_local
from thence.model.records import decode_entry
from thence.store.cache import Cache
from thence.store.wrap import Around
from thence.vault import recipe
from thence.vault.condemned import Condemned
from thence.vault.erasures import erased, erased_runs
from thence.vault.inventory import Inventory, Nodes, take_inventory
from thence.vault.logs import ERASURES, entry_key
from thence.vault.pack import BlockKind, pack_key, sweep
from thence.vault.repack import repack
from thence.vault.segment import Location
from thence.vault.survey import ASIDE
from thence.vault.vault import Vault

__all__ = ["CarriedOut", "carry_out", "forget_pages"]

_ERASING = "gc/erasing/"
_HEX = re.compile(r"[0-9a-f]{64}")
# A pack that is being filled is locked a moment after it was made.
_JUST_MADE_S = 2.0
_ROUNDS = 10


class CarriedOut(NamedTuple):
    """What was taken out of packs.

    Attributes:
        contents: How many contents.
        size_bytes: Of these contents.
        packs: How many packs were written anew.
        shared_bytes: Of chunks that stay, as they are part of other contents.
    """

    contents: int = 0
    size_bytes: int = 0
    packs: int = 0
    shared_bytes: int = 0


class _Erasing(msgspec.Struct, frozen=True, kw_only=True):
    """Packs that are to be deleted: all of them that stays lies in others."""

    packs: tuple[str, ...]
    at: datetime | None = None


class _Doomed(NamedTuple):
    """Ids that are to go.

    Attributes:
        shared_bytes: Of chunks that other contents need.
    """

    ids: set[bytes]
    shared_bytes: int


def carry_out(
    vault: Vault, *, by: str = "", progress: Callable[[int], None] = lambda size: None
) -> CarriedOut:
    """Take everything that was erased out of the packs of a store; nothing to do mostly.

    Args:
        vault: Where; what waits in its outbox counts.
        by: Who does, for people.
        progress: Is told bytes read so far.

    Raises:
        Conflict: Others put it again each time.
        DataDamaged: Something cannot be read, so it is not known where erased bytes are.
        FormatTooNew: A pack was written by a newer thence.
        NotFound: Others delete packs all the time: repeat it.
        StorageError: The store failed; what is left to do is done by the next call.
        Denied: The store may not be written to.
    """
    gone = erased(vault)
    tail = vault.logs.tail(ERASURES)
    if not tail:
        return CarriedOut()
    _finish(vault)
    _sweep_aside(vault, tail)
    if gone:
        _tell(vault, tail, by=by)
    total = CarriedOut()
    for number in range(_ROUNDS):
        vault.directory.refresh()
        vault.directory.refuse_newer()
        present = [digest for digest in gone if digest.raw in vault.directory]
        if not present:
            break
        try:
            done = _rewrite(vault, present, by=by, progress=progress)
        except NotFound:
            if number == _ROUNDS - 1:
                raise
            continue  # somebody deletes packs as well: what there is is looked at again
        total = CarriedOut(*(a + b for a, b in zip(total, done, strict=True)))
    else:
        vault.directory.refresh()
        if any(digest.raw in vault.directory for digest in gone):
            raise Conflict(
                "what was erased is still there",
                why="Others put it again each time that it was taken out.",
                hint="Find out who saves it, and repeat: thence erase",
            )
    _sweep_runs(vault)
    forget_pages(vault)
    return total


def forget_pages(vault: Vault) -> None:
    """Remove from this machine what it keeps of packs that are gone, or were never finished."""
    sweep(vault.cache / "staging", clock=lambda: datetime.now(UTC), older_than_s=_JUST_MADE_S)
    store = vault.store
    while isinstance(store, Around):
        if isinstance(store, Cache):
            store.keep_only({pack_key(pack) for pack in vault.directory.packs()})
        store = store.inner


def _tell(vault: Vault, tail: int, *, by: str) -> None:
    """See that who writes just now notices, also where nothing of it is in any pack yet.

    They look at what is condemned and compare. The record names what is no pack and never will be:
    it stands for the last entry of the log, so that it is put once.
    """
    data = vault.logs.read(ERASURES, tail)
    if data is None:
        return  # it waited, and is in its log by now: who brought it there does this
    mark = sha256(f"erasure {decode_entry(data).id}".encode()).digest()
    if not any(mark in one.packs for one in vault.condemned.read()):
        vault.condemned.put([mark], by=by or "erase")


def _rewrite(
    vault: Vault, present: list[Digest], *, by: str, progress: Callable[[int], None]
) -> CarriedOut:
    session = vault.session()  # on a folder, nobody collects without a period of grace meanwhile
    try:
        return _rewrite_now(vault, present, by=by, progress=progress)
    finally:
        session.release()


def _rewrite_now(
    vault: Vault, present: list[Digest], *, by: str, progress: Callable[[int], None]
) -> CarriedOut:
    inventory = take_inventory(vault.store, remote=vault.remote)
    for error in inventory.damaged.values():
        raise DataDamaged(
            "what is in a pack is not known, so nothing was taken out of any",
            why=f"{error.what}: {error.why}",
            hint="Heal it first, from a copy of the project: thence repair --from URL",
            about=error.about,
        ) from error
    doomed = _doomed(vault, inventory, present)
    packs = {where.pack for one in doomed.ids for where in inventory.copies(one)}
    # First of all: from now on nobody relies on these packs, and who does already notices.
    vault.condemned.put(packs, by=by or "erase")
    _move_out(vault, packs, doomed, progress=progress)
    _delete(vault, packs)
    sizes = [where.entry.raw_length for where in map(inventory.find, _raw(present)) if where]
    return CarriedOut(len(present), sum(sizes), len(packs), doomed.shared_bytes)


def _move_out(
    vault: Vault, packs: set[bytes], doomed: _Doomed, *, progress: Callable[[int], None]
) -> None:
    """Copy what stays, as far as it is in no other pack that stays as well.

    What others have condemned is read after these packs were: of two who delete one copy each, one
    sees that the other does (design/0011).
    """
    records = vault.condemned.read()
    while True:
        vault.directory.refresh()  # after the records: of those that are gone, the packs are too
        repack(
            vault,
            packs,
            lambda where: where.entry.id not in doomed.ids,
            avoid=frozenset[bytes]().union(*(one.packs for one in records)),
            progress=progress,
        )
        last = _last(records)
        records = vault.condemned.read()
        if _last(records) == last:
            return


def _last(records: Iterable[Condemned]) -> int:
    return max((one.number for one in records), default=0)


def _raw(digests: Iterable[Digest]) -> Iterator[bytes]:
    return (digest.raw for digest in digests)


def _doomed(vault: Vault, inventory: Inventory, present: list[Digest]) -> _Doomed:
    """The ids of contents, and those of their parts that nothing else is made of."""
    contents = {digest.raw for digest in present}
    nodes = Nodes(vault.store, inventory, vault.content)
    lengths: dict[bytes, int] = {}
    others: list[Location] = []
    for number in inventory.of_kind(BlockKind.RECIPE):
        where = inventory.location(number)
        if where.entry.id in contents:
            lengths.update(_parts(nodes, nodes.top(where)))
        else:
            others.append(where)
    shared: set[bytes] = set()
    if lengths:
        for where in others:
            with suppress(DataDamaged):  # one that lost a part can be put together by nobody
                for part, _ in _parts(nodes, nodes.top(where)):
                    if part in lengths:
                        shared.add(part)
    shared_bytes = sum(
        lengths[part]
        for part in shared
        if (place := inventory.find(part)) and place.entry.kind is BlockKind.CHUNK
    )
    return _Doomed(contents | (lengths.keys() - shared), shared_bytes)


def _parts(nodes: Nodes, node: bytes) -> Iterator[tuple[bytes, int]]:
    """The lists and chunks below a node, with the length of what is below each."""
    level, items = recipe.parse(node)
    for item in items:
        yield item.id, item.length
        if level:
            yield from _parts(nodes, nodes.list(item.id))


def _delete(vault: Vault, packs: Iterable[bytes]) -> None:
    """Delete packs of which everything that stays lies in others; cut, it can be finished."""
    names = tuple(sorted(pack.hex() for pack in packs))
    key = f"{_ERASING}{vault.new_id()}"
    with suppress(AlreadyExists):  # our own, whose answer was lost
        vault.store.create(key, [codec.encode(_Erasing(packs=names))])
    _finish(vault)


def _finish(vault: Vault) -> None:
    for info in list(vault.store.list(_ERASING)):
        try:
            record = codec.decode(vault.store.get(info.key), _Erasing)
        except NotFound:
            continue  # somebody else has finished it
        if not all(_HEX.fullmatch(name) for name in record.packs):
            raise DataDamaged(
                f"{info.key} cannot be read", why="It names something that is no pack."
            )
        for name in record.packs:
            vault.store.delete(pack_key(bytes.fromhex(name)))
        vault.store.delete(info.key)
        vault.directory.refresh()


def _sweep_aside(vault: Vault, tail: int) -> None:
    """Delete what repairs had put aside by then: nobody knows what is in it."""
    last = None if is_local(tail) else vault.store.head(entry_key(ERASURES, tail))
    for info in list(vault.store.list(ASIDE)):
        if last is None or info.modified_s <= last.modified_s:
            vault.store.delete(info.key)


def _sweep_runs(vault: Vault) -> None:
    """Delete what runs that were erased had published while they went on."""
    if not (runs := {str(run) for run in erased_runs(vault)}):
        return
    for info in list(vault.store.list("runs/")):
        if info.key.split("/")[1] in runs:
            vault.store.delete(info.key)
