"""Repairing a store: what is damaged or lost comes from other stores that hold the project.

Nothing gets worse on the way. New packs are durable before an old one goes, content is there before
an entry that names it, and an entry is replaced whole or not at all. Whatever was done by the time
it is stopped stays, and the next repair goes on from there.

What is sound in a damaged pack is put into a new one. What was damaged and nobody has whole is put
aside below `damaged/`, as it lies: people may still make something of it.
"""

import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from thence.errors import AlreadyExists, DataDamaged, FormatTooNew, NotFound
from thence.model import codec
from thence.model.ids import Digest
from thence.model.progress import Progress, silent
from thence.store.base import Store
from thence.vault.check import Checked, check
from thence.vault.content import Content
from thence.vault.deep import Piece, Verified, pieces_of, verify
from thence.vault.erasures import erased_somewhere
from thence.vault.findings import Finding, Severity
from thence.vault.healing import HealedEntry, Plan, Source, plan_healing
from thence.vault.inventory import Inventory, directory_of
from thence.vault.journal import Announced
from thence.vault.lane import Member
from thence.vault.layout import MIRROR, PROJECT
from thence.vault.logs import entry_key
from thence.vault.logscan import LogScan
from thence.vault.mirroring import place, rank
from thence.vault.pack import (
    BlockKind,
    Codec,
    DirectoryEntry,
    entries_of,
    pack_key,
    parse_pack_key,
    to_entry,
)
from thence.vault.plan import covers
from thence.vault.references import Root, RootKind, references
from thence.vault.segment import Location
from thence.vault.survey import ASIDE, CONDEMNED
from thence.vault.transfer import transfer
from thence.vault.vault import Vault
from thence.vault.writer import Writer

__all__ = ["Repaired", "repair"]

# A tree that is healed may name contents that are lost too, and these may be lists again.
_ROUNDS = 4
_READ = 4 * 1024 * 1024
_COPIED = 16 * 1024 * 1024


class Repaired(NamedTuple):
    """What a repair did, or would do.

    Attributes:
        healed: How many damages are gone.
        left: Those that are not: nobody has what is needed.
        entries: How many log entries were restored.
        contents: How many contents came from elsewhere.
        sent_bytes: Of the packs that were written for them.
        packs_replaced: How many damaged packs were replaced.
        caches: How many things were removed that are made again.
        changed: Something was written.
    """

    healed: int
    left: tuple[Finding, ...]
    entries: int = 0
    contents: int = 0
    sent_bytes: int = 0
    packs_replaced: int = 0
    caches: int = 0
    changed: bool = False


def repair(
    vault: Vault,
    sources: Sequence[Source],
    *,
    compare: Callable[[LogScan], None] = lambda scan: None,
    dry_run: bool = False,
    progress: Progress = silent,
) -> Repaired:
    """Heal a store.

    Args:
        vault: What to heal.
        sources: Where from, the best first.
        compare: As for `check`.
        dry_run: Only find out what would be healed.
        progress: Is told of packs and bytes that were read so far, and of all bytes.

    Raises:
        InvalidInput: A source holds another project.
        NotFound: A source holds none.
        StorageError: A store failed; repeat it to go on.
        Denied: A store may not be read, or this one not be written to.
    """
    found = check(vault, deep=True, compare=compare, progress=progress)
    plan = plan_healing(vault, found, sources)
    found = plan.judged(found)
    first = found.of(Severity.DAMAGE)
    if dry_run:
        left = tuple(finding for finding in first if not finding.heals)
        return Repaired(len(first) - len(left), left, caches=len(found.caches))
    work = _Repair(vault, sources)
    for _ in range(_ROUNDS):
        if not work.run(found, plan):
            break
        found = check(vault, compare=compare)
        plan = plan_healing(vault, found, sources)
        found = plan.judged(found)
    left = tuple(found.of(Severity.DAMAGE))
    return Repaired(
        max(0, len(first) - len(left)),
        left,
        work.entries,
        work.contents,
        work.sent_bytes,
        work.packs,
        work.caches,
        work.changed,
    )


class _Remaining(Inventory):
    """What remains when damaged packs go, and what has been written since.

    Args:
        inventory: What there is.
        without: Packs that go.
        hidden: Contents that lack something: they are put again.
    """

    def __init__(
        self, inventory: Inventory, without: Collection[bytes], hidden: Collection[bytes]
    ) -> None:
        self.__dict__.update(inventory.__dict__)
        self._without = frozenset(without)
        self._hidden = frozenset(hidden)
        self._new: dict[bytes, Location] = {}
        self._new_packs: set[bytes] = set()

    def refresh(self) -> None:
        """Forget packs that others have deleted since; what came since was not looked into."""
        there = {parse_pack_key(info.key) for info in self._store.list("packs/")}
        self._without |= {pack for pack in (*self._pack_ids, *self._new_packs) if pack not in there}

    def find(self, wanted: bytes) -> Location | None:
        """Where an id lies that can be relied on."""
        if (new := self._new.get(wanted)) is not None and new.pack not in self._without:
            return new
        if wanted in self._hidden:
            return None
        for where in self.copies(wanted):
            if where.pack not in self._without and (where.pack, wanted) not in self.bad:
                return where
        return None

    def find_kept(self, wanted: bytes, avoid: Collection[bytes] = ()) -> Location | None:
        """As `find`, in a pack that is not to be avoided."""
        where = self.find(wanted)
        if where is None or where.pack not in avoid:
            return where
        going = self._without.union(avoid)
        for other in self.copies(wanted):
            if other.pack not in going and (other.pack, wanted) not in self.bad:
                return other
        return None

    def packs(self) -> set[bytes]:
        """The packs that stay."""
        return (super().packs() | self._new_packs) - self._without

    def add(self, packs: Iterable[tuple[bytes, bytes]]) -> None:
        """Learn what was written."""
        for pack, directory in packs:
            self._new_packs.add(pack)
            for entry in entries_of(directory):
                self._new[entry.id] = Location(pack, entry)


class _Target(Vault):
    """What is written to: nobody is asked, because the log that tells may be damaged."""

    def refusal(self) -> None:
        """Nothing: what comes was chosen, and what moves is here, and goes when it is erased."""


class _Repair:
    def __init__(self, vault: Vault, sources: Sequence[Source]) -> None:
        self._vault = vault
        self._store: Store = vault.store
        self._sources = [source.vault for source in sources]
        self._erased: frozenset[Digest] = frozenset()
        self.entries = 0
        self.contents = 0
        self.sent_bytes = 0
        self.packs = 0
        self.caches = 0

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.entries or self.contents or self.packs or self.caches)

    def run(self, found: Checked, plan: Plan) -> bool:
        """Heal what the plan says; whether there was anything to do."""
        before = (self.entries, self.contents, self.packs, self.caches)
        if plan.project is not None:
            self._store.replace(PROJECT, [plan.project])
            self.caches += 1
        self._pardon(found)
        # What waits in an outbox, or is damaged here, forbids as much.
        self._erased = erased_somewhere(self._vault, self._sources)
        if plan.mirror is not None and any(one.key == MIRROR for one in found.findings):
            self._store.replace(MIRROR, [codec.encode(plan.mirror)])
            self.caches += 1
        for content in plan.recipes:
            copies = found.inventory.copies(content)
            found.inventory.bad.update((where.pack, content) for where in copies)
        going = {
            *found.unread,
            *found.inventory.trailers,
            *(pack for pack, _ in found.inventory.bad),
        }
        if not going:
            self._heal(found, plan, going)
        else:
            # On a folder, nobody collects without a period of grace meanwhile.
            session = self._vault.session()
            try:
                self._heal(found, plan, going)
            finally:
                session.release()
        self._drop_caches(found)
        return before != (self.entries, self.contents, self.packs, self.caches)

    def _heal(self, found: Checked, plan: Plan, going: set[bytes]) -> None:
        remaining = _Remaining(found.inventory, going, found.affected)
        target = self._target(remaining)
        number = 0
        if going:
            # First of all: from now on nobody relies on these packs. What others have condemned
            # is read afterwards: of two who delete one copy each, one sees that the other does.
            self._vault.condemned.put(going, by="repair")
            number = self._move(target, remaining, found, going)
        self._fetch(target, found, plan)
        self._place_entries(target, plan)
        while going and self._last_number() != number:
            number = self._move(target, remaining, found, going)
        self._drop(found, remaining, going)

    def _last_number(self) -> int:
        return max((one.number for one in self._vault.condemned.read()), default=0)

    def _pardon(self, found: Checked) -> None:
        """Replace records of condemned packs that cannot be read: nothing is condemned by them.

        No pack is deleted without one, so what was condemned stays until it is condemned again.
        The record itself stays, because its number says that packs went.
        """
        for finding in found.of(Severity.DAMAGE):
            if finding.key is not None and finding.key.startswith(CONDEMNED):
                self._store.replace(finding.key, [codec.encode({"packs": []})])
                self.caches += 1

    def _target(self, remaining: _Remaining) -> Vault:
        """The vault as it is without what is damaged."""
        target = _Target(self._store, self._vault.cache, remote=self._vault.remote)
        target.directory = remaining
        target.content = Content(self._store, remaining, remote=self._vault.remote)
        return target

    # Content.

    def _move(self, target: Vault, remaining: _Remaining, found: Checked, going: set[bytes]) -> int:
        """Put what is sound in packs that go, and is in none that stays, into new ones.

        Returns:
            The number of the last record of condemned packs by then.
        """
        with target.writer() as writer:
            for pack in sorted(going - set(found.unread)):
                self._move_sound(writer, remaining, pack)
            self._salvage(writer, found)
        self.sent_bytes += writer.new_bytes
        writer.session.release()
        return writer.session.number

    def _move_sound(self, writer: Writer, remaining: _Remaining, pack: bytes) -> None:
        try:
            directory = directory_of(self._store, pack)
        except (NotFound, DataDamaged, FormatTooNew):
            return
        content = Content(self._store, remaining)
        known = {one for place, one in remaining.bad if place == pack}
        for piece in pieces_of(pack, directory, _READ):
            for verified in verify(self._store, content, piece):
                # A recipe looks sound by itself: what it makes showed that it is not.
                wrong = tuple(row for row in verified.rows if row[0] in known)
                _put(writer, verified._replace(bad=(*verified.bad, *wrong)))

    def _salvage(self, writer: Writer, found: Checked) -> None:
        """What lies in packs whose directories are damaged, as far as it was learnt before."""
        if not found.unread:
            return
        known = self._vault.directory
        wanted = [where for one in found.lost if (where := known.find(one)) is not None]
        for pack, entry in wanted:
            if pack in found.unread:
                rows = [[(*entry[:5], int(entry.kind), int(entry.codec))]]
                piece = Piece(pack, entry.offset, entry.stored_length, rows)
                for verified in verify(self._store, self._vault.content, piece):
                    _put(writer, verified)

    def _fetch(self, target: Vault, found: Checked, plan: Plan) -> None:
        by_source: dict[str, tuple[Source, list[Root]]] = {}
        for content, sources in plan.contents.items():
            for source in sources:
                roots = by_source.setdefault(source.url, (source, []))[1]
                if _is_content(source.vault.directory.find(content)):
                    roots.append(Root(Digest(content), RootKind.CONTENT))
        for source, roots in by_source.values():
            left = [root for root in roots if not self._is_whole(target, found, root)]
            self._transfer(source, target, left)

    def _is_whole(self, target: Vault, found: Checked, root: Root) -> bool:
        """Whether a content was healed already, from another source or what lay here."""
        parts = found.affected.get(root.digest.raw, ())
        return all(part in target.directory for part in parts)

    def _transfer(self, source: Source, target: Vault, roots: list[Root]) -> None:
        """Copy what can be copied; what the source cannot give is left out."""
        if not roots:
            return
        try:
            done = transfer(source.vault, target, roots, without=self._erased)
        except (NotFound, DataDamaged):
            if len(roots) == 1:
                return
            middle = len(roots) // 2
            self._transfer(source, target, roots[:middle])
            self._transfer(source, target, roots[middle:])
            return
        self.contents += done.contents
        self.sent_bytes += done.sent_bytes

    # Entries.

    def _place_entries(self, target: Vault, plan: Plan) -> None:
        healed = sorted(plan.entries, key=lambda one: (rank(one.bad.log), one.bad))
        for one in healed:
            if one.entry.record is not None:
                roots = list(references(one.entry.record))
                self._transfer(one.source, target, roots)
            self._announce(one)
            if one.bad.missing:
                with suppress(DataDamaged):  # somebody else put one there a moment ago
                    place(one.source.vault, self._vault, one.bad.log, one.bad.number, one.data)
            else:
                self._store.replace(entry_key(one.bad.log, one.bad.number), [one.data])
            self.entries += 1

    def _announce(self, one: HealedEntry) -> None:
        """Others may have passed it over when they last looked."""
        if self._vault.outbox is None:
            self._vault.journal.note([Announced(one.entry.id, one.bad.log)])

    # What goes.

    def _drop(self, found: Checked, remaining: _Remaining, going: set[bytes]) -> None:
        if not going:
            return
        lost = {one for one in found.needed if remaining.find(one) is None}
        for block in found.blocks:
            if any(member.id in lost for member in block.members):
                self._put_block_aside(block.pack, block.offset, block.stored_length)
        for pack in found.unread:
            if lost:
                self._put_pack_aside(pack)
        for pack in sorted(going):
            self._store.delete(pack_key(pack))
            self.packs += 1

    def _put_block_aside(self, pack: bytes, offset: int, length: int) -> None:
        with suppress(NotFound, AlreadyExists):
            data = self._store.get_range(pack_key(pack), offset, length)
            self._store.create(f"{ASIDE}{pack.hex()}/{offset}", [data])

    def _put_pack_aside(self, pack: bytes) -> None:
        key = pack_key(pack)
        info = self._store.head(key)
        if info is None:
            return
        staging = self._vault.cache / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=staging, prefix="aside-") as file:
            for start in range(0, info.size_bytes, _COPIED):
                file.write(self._store.get_range(key, start, _COPIED))
            file.flush()
            with suppress(AlreadyExists):
                self._store.create_from_file(f"{ASIDE}{pack.hex()}/pack", Path(file.name))
            Path(file.name).touch()  # it may have been moved

    def _drop_caches(self, found: Checked) -> None:
        for key in found.caches:
            self._store.delete(key)
            self.caches += 1


def _put(writer: Writer, verified: Verified) -> None:
    """Put what is sound of a block, as it is if all of it is."""
    rows, stored, decoded, bad, _ = verified
    members = [to_entry(row) for row in rows if row not in bad]
    first = to_entry(rows[0])
    if not bad and len(stored) and (_is_recipe(first) or covers(members, len(decoded))):
        whole = [Member(one.id, one.kind, one.raw_length, one.inner) for one in members]
        writer.put_block(bytes(stored), first.codec, whole)
        return
    view = memoryview(decoded)
    for one in members:
        data = bytes(decoded if _is_recipe(one) else view[one.inner : one.inner + one.raw_length])
        if one.kind is BlockKind.WHOLE:
            writer.put_bytes(data)
        else:
            writer.put_block(data, Codec.RAW, [Member(one.id, one.kind, one.raw_length)])


def _is_recipe(entry: DirectoryEntry) -> bool:
    return entry.kind is BlockKind.RECIPE


def _is_content(where: Location | None) -> bool:
    return where is not None and where.entry.kind in {BlockKind.WHOLE, BlockKind.RECIPE}
