"""Checking a store: its structure, and every byte of it.

What is found is named by what a user knows: versions, paths, runs. Nothing is written.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from thence.model.progress import Progress, silent
from thence.vault.closure import Absent, absent, contents_with, touched
from thence.vault.content import Content
from thence.vault.deep import BadBlock, Proved, prove
from thence.vault.findings import Finding, Severity
from thence.vault.inventory import Inventory, Nodes, take_inventory
from thence.vault.logscan import BadEntry, LogScan, Needs, scan_logs, statements
from thence.vault.pack import pack_key, parse_pack_key
from thence.vault.recipes import Scanned, scan_recipes
from thence.vault.survey import survey
from thence.vault.vault import Vault

__all__ = ["Checked", "check"]

_PARTIAL = "partial.json"
_TRIES = 3


class Checked(NamedTuple):
    """What a check found.

    Attributes:
        findings: What is wrong, the worst first.
        inventory: What lies in the packs, and which of it is bad.
        scan: What the logs say.
        blocks: Blocks that are damaged.
        affected: By content, chunk or list: what of it has no sound copy here.
        needed: Of what has no sound copy: what versions and runs need.
        unread: Packs whose directories cannot be read.
        entries: Entries that are damaged or missing.
        caches: Keys of what can be made again.
        stored_bytes: How much of the packs was read.
        raw_bytes: What that is when it is decoded.
        contents: How many different contents are needed.
    """

    findings: tuple[Finding, ...]
    inventory: Inventory
    scan: LogScan
    blocks: tuple[BadBlock, ...]
    affected: Mapping[bytes, Collection[bytes]]
    needed: frozenset[bytes]
    unread: tuple[bytes, ...]
    entries: tuple[BadEntry, ...]
    caches: tuple[str, ...]
    stored_bytes: int
    raw_bytes: int
    contents: int

    def of(self, severity: Severity) -> list[Finding]:
        """The findings of one severity."""
        return [finding for finding in self.findings if finding.severity is severity]

    @property
    def lost(self) -> frozenset[bytes]:
        """What has no sound copy: contents, chunks and lists, needed or not."""
        return frozenset(one for parts in self.affected.values() for one in parts)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is damaged."""
        return not self.of(Severity.DAMAGE)


def check(
    vault: Vault,
    *,
    deep: bool = False,
    compare: Callable[[LogScan], None] = lambda scan: None,
    progress: Progress = silent,
) -> Checked:
    """Check a store.

    Args:
        vault: What to check. Its caches are not believed.
        deep: Read every byte of every pack, and compare it with what it is called.
        compare: Compares the logs with what is known of them elsewhere, and notes what is bad.
        progress: Is told of things and bytes that were looked at so far, and of all bytes.

    Raises:
        StorageError: The store failed.
        Denied: It may not be read.
    """
    for _ in range(_TRIES - 1):
        done = _Check(vault, progress).run(compare, deep=deep)
        if done.is_sound or not _went(vault, done.inventory):
            return done
        # A collection or a repair wrote packs anew meanwhile: what was in them is elsewhere.
    return _Check(vault, progress).run(compare, deep=deep)


def _went(vault: Vault, inventory: Inventory) -> bool:
    """Whether packs are gone that were there when the inventory was taken."""
    there = {parse_pack_key(info.key) for info in vault.store.list("packs/")}
    return not {*(pack.id for pack in inventory.packs_listed), *inventory.damaged} <= there


class _Found(NamedTuple):
    inventory: Inventory
    recipes: Scanned
    proved: Proved
    gone: Absent


class _Check:
    def __init__(self, vault: Vault, progress: Progress) -> None:
        self._vault = vault
        self._progress = progress
        self._findings: list[Finding] = []

    def run(self, compare: Callable[[LogScan], None], *, deep: bool) -> Checked:
        vault, store = self._vault, self._vault.store
        scan = scan_logs(vault, progress=self._progress)
        compare(scan)
        inventory = take_inventory(store, remote=vault.remote, progress=self._progress)
        self._findings += scan.findings
        self._findings += survey(
            store,
            inventory,
            scan,
            remote=vault.remote,
            progress=self._progress,
        )
        content = Content(store, inventory, remote=vault.remote)
        nodes = Nodes(store, inventory, content)
        recipes = scan_recipes(inventory, nodes, follow=not deep)
        proved = Proved([], {}, [], {}, 0, 0)
        if deep:
            proved = self._prove(inventory, content, recipes)
            recipes.broken.update(proved.broken)
        gone = absent(content, inventory, self._needs(scan), scan.erased, progress=self._progress)
        lost = self._lost(inventory, recipes, proved, gone)
        affected = contents_with(inventory, nodes, lost, recipes.broken) if lost else {}
        refs = touched(content, self._needs(scan), affected) if lost else {}
        self._tell(_Found(inventory, recipes, proved, gone), lost, refs)
        worst = list(Severity)
        self._findings.sort(key=lambda finding: (worst.index(finding.severity), finding.key or ""))
        return Checked(
            tuple(self._findings),
            inventory,
            scan,
            tuple(proved.blocks),
            affected,
            frozenset(one for one, names in refs.items() if names),
            tuple(sorted({*inventory.damaged, *proved.packs})),
            tuple(scan.bad),
            tuple(one.key for one in self._findings if one.severity is Severity.CACHE and one.key),
            proved.stored_bytes,
            proved.raw_bytes,
            gone.needed,
        )

    def _prove(self, inventory: Inventory, content: Content, recipes: Scanned) -> Proved:
        return prove(
            self._vault.store,
            inventory,
            content,
            recipes.starts,
            remote=self._vault.remote,
            progress=self._progress,
        )

    def _needs(self, scan: LogScan) -> Iterator[Needs]:
        for log, number, entry in statements(self._vault):
            if (needs := scan.needs(log, number, entry)) is not None:
                yield needs

    def _lost(
        self, inventory: Inventory, recipes: Scanned, proved: Proved, gone: Absent
    ) -> set[bytes]:
        """What is bad and has no sound copy; whether anything needs it is not said."""
        lost = {*gone.missing, *gone.unreadable}
        for parts in recipes.broken.values():
            lost.update(parts)
        for where, _ in recipes.unreadable:
            lost.add(where.entry.id)
        for block in proved.blocks:
            lost.update(member.id for member in block.members)
        lost.update(where.entry.id for where in proved.contents)
        unreadable = {one for one in gone.unreadable if inventory.number_of(one) is not None}
        return {one for one in lost if one in unreadable or not inventory.is_sound(one)}

    def _tell(
        self,
        found: "_Found",
        lost: Collection[bytes],
        refs: dict[bytes, list[str]],
    ) -> None:
        inventory, recipes, proved, gone = found
        told: set[bytes] = set()
        for pack, error in {**inventory.damaged, **proved.packs}.items():
            self._damage(f"{pack_key(pack)} cannot be read", error.why, key=pack_key(pack))
        for pack, error in inventory.trailers.items():
            what = f"the end of {pack_key(pack)} is damaged"
            self._damage(what, error.why, key=pack_key(pack))
        for text in inventory.unknown:
            self._findings.append(
                Finding(
                    severity=Severity.UNCHECKED,
                    what=text,
                    why="This version of thence does not know it.",
                )
            )
        for block in proved.blocks:
            self._tell_block(block, lost, refs)
            told.update(member.id for member in block.members)
        for where in proved.contents:
            self._tell_ids([where.entry.id], "does not make its bytes", pack_key(where.pack), refs)
            told.add(where.entry.id)
        for where, why in recipes.unreadable:
            if where.entry.id not in told:
                self._tell_ids([where.entry.id], why, pack_key(where.pack), refs)
                told.add(where.entry.id)
        for one, why in gone.unreadable.items():
            if one not in told and one in lost:
                self._tell_ids([one], f"cannot be read: {why}", None, refs)
                told.add(one)
        self._tell_missing([one for one in lost if one not in told], refs)

    def _tell_block(
        self, block: BadBlock, lost: Collection[bytes], refs: dict[bytes, list[str]]
    ) -> None:
        ids = [member.id for member in block.members]
        touches = [ref for one in ids for ref in refs.get(one, ())]
        key = pack_key(block.pack)
        where = f"bytes {block.offset:,} to {block.offset + block.stored_length:,}"
        why = block.why
        if not any(one in lost for one in ids):
            why += " Another pack has it whole."
        elif not touches:
            why += " Nothing refers to it."
        finding = Finding(
            severity=Severity.DAMAGE,
            what=f"{key} is damaged, {where}",
            why=why,
            key=key,
            start=block.offset,
            end=block.offset + block.stored_length,
        )
        self._findings.append(finding.about(ids).touching(touches))

    def _tell_ids(
        self, ids: list[bytes], why: str, key: str | None, refs: dict[bytes, list[str]]
    ) -> None:
        touches = [ref for one in ids for ref in refs.get(one, ())]
        what = f"content {ids[0].hex()[:12]} is damaged"
        finding = Finding(severity=Severity.DAMAGE, what=what, why=why, key=key)
        self._findings.append(finding.about(ids).touching(touches))

    def _tell_missing(self, ids: list[bytes], refs: dict[bytes, list[str]]) -> None:
        """All of it at once: a pack that is gone may have held a million."""
        if not ids:
            return
        needed = [one for one in ids if refs.get(one)]
        idle = len(ids) - len(needed)
        if not needed:
            self._note(f"{idle:,} parts of unused contents are missing", "Nothing refers to them.")
            return
        amount = f"{len(needed):,} contents or parts of them are"
        what = f"{'1 content or a part of one is' if len(needed) == 1 else amount} in no pack"
        touches = [ref for one in needed for ref in refs[one]]
        if self._is_partial():
            self._note(what, "This store holds only a part of its project.")
            return
        finding = Finding(
            severity=Severity.DAMAGE, what=what, why="A pack was lost, or lost what it held."
        )
        self._findings.append(finding.about(needed).touching(touches))

    def _is_partial(self) -> bool:
        return self._vault.store.head(_PARTIAL) is not None

    def _damage(self, what: str, why: str, *, key: str | None) -> None:
        self._findings.append(Finding(severity=Severity.DAMAGE, what=what, why=why, key=key))

    def _note(self, what: str, why: str) -> None:
        self._findings.append(Finding(severity=Severity.NOTE, what=what, why=why))
