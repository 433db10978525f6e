"""What other stores have of that which is damaged or lost in one."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec

from thence.errors import DataDamaged, NotFound
from thence.model import codec
from thence.model.records import Entry, decode_entry
from thence.vault.check import Checked
from thence.vault.findings import Finding, Severity
from thence.vault.layout import (
    CHUNKING,
    MIRROR,
    PROJECT,
    MirrorFile,
    ProjectFile,
    mirror_of,
    read_project,
)
from thence.vault.logscan import BadEntry, LogScan, misplaced, ref_of
from thence.vault.mirroring import same_project
from thence.vault.survey import CONDEMNED
from thence.vault.vault import Vault

__all__ = ["HealedEntry", "Plan", "Source", "plan_healing", "right_project"]


class Source(NamedTuple):
    """Another store of the project."""

    url: str
    vault: Vault


class HealedEntry(NamedTuple):
    """An entry as another store has it."""

    bad: BadEntry
    data: bytes
    entry: Entry
    source: Source


class Plan(NamedTuple):
    """What can be healed.

    Attributes:
        contents: By content that is lost, or that lacks something: who has it.
        recipes: Contents whose recipes are damaged here: they name parts that nobody knows.
        entries: Entries that others have.
        project: The bytes of project.json, where it must be restored.
        mirror: What mirror.json would be; None where no store was looked at.
        healed: What has no sound copy here and another store has.
        found: What comparing the stores brought up.
    """

    contents: dict[bytes, list[Source]]
    recipes: frozenset[bytes]
    entries: tuple[HealedEntry, ...]
    project: bytes | None
    mirror: MirrorFile | None
    healed: frozenset[bytes]
    found: tuple[Finding, ...]

    def judged(self, checked: Checked) -> Checked:
        """What was found, each with whether it would be healed."""
        keys = {one.bad.key for one in self.entries}
        # An alias that points beyond the end of a log is healed by what follows there.
        keys.update(one.bad.log for one in self.entries if one.bad.missing)
        judged = tuple(
            msgspec.structs.replace(finding, heals=self._heals(checked, finding, keys))
            for finding in (*checked.findings, *self.found)
        )
        return checked._replace(findings=judged)

    def _heals(self, checked: Checked, finding: Finding, keys: set[str]) -> bool | None:
        if finding.severity is Severity.CACHE:
            return True
        if finding.severity is not Severity.DAMAGE:
            return None
        if finding.key in keys:
            return True
        if finding.key is not None and finding.key.startswith(CONDEMNED):
            return True
        if finding.key == MIRROR:
            return self.mirror is not None
        if finding.key == PROJECT:
            return self.project is not None
        if finding.ids:
            ids = (bytes.fromhex(one) for one in finding.ids)
            return all(one in self.healed or one not in checked.needed for one in ids)
        # What an unreadable pack held is told apart; the pack itself is replaced.
        return finding.key is not None and finding.key.startswith("packs/")


def plan_healing(vault: Vault, checked: Checked, sources: Sequence[Source]) -> Plan:
    """See what other stores have; nothing is written.

    Args:
        vault: Where something is damaged.
        checked: What.
        sources: Where to look, the best first.

    Raises:
        InvalidInput: One of them holds another project.
        NotFound: One of them holds none.
        StorageError: A store failed.
        Denied: A store may not be read.
    """
    gives_numbers = vault.outbox is None and _no_mirror(vault)
    bad = {one.key: one for one in checked.entries}
    project, found = right_project(vault, checked.scan, sources, gives_numbers=gives_numbers)
    for source in sources:
        more, findings = _compare(vault, checked.scan, source, bad, gives_numbers=gives_numbers)
        bad.update((one.key, one) for one in more)
        found += findings
    entries = tuple(_entries(vault, checked.scan, bad, sources))
    contents = _contents(checked, sources)
    healed = frozenset(one for content in contents for one in checked.affected[content])
    mirror: MirrorFile | None = None
    if sources:
        mirror = MirrorFile(of=sources[0].url, project=read_project(sources[0].vault.store).id)
    return Plan(
        contents,
        _wrong_recipes(checked, contents),
        entries,
        project,
        mirror,
        healed,
        tuple(found),
    )


def right_project(
    vault: Vault, scan: LogScan, sources: Sequence[Source], *, gives_numbers: bool
) -> tuple[bytes | None, list[Finding]]:
    """The bytes that project.json should have, where it has others.

    None for the bytes where they are right, or where nobody can tell. project.json has no sum. What
    most stores have is right; of two the home, or the one that cuts content as all do.

    Raises:
        InvalidInput: A source holds another project.
        NotFound: A source holds none.
        StorageError: A store failed.
        Denied: A store may not be read.
    """
    here = _raw_project(vault)
    others: list[bytes] = []
    for source in sources:
        project = read_project(source.vault.store)
        data = _raw_project(source.vault)
        if here is not None and data == here:
            others.append(here)
            continue
        # A flipped bit in the id must not make two projects of one.
        if _id_of(here) != project.id and not _agree(scan, source):
            same_project(vault, source.vault)
        if data is not None:
            others.append(data)
    wrong = [data for data in others if data != here]
    if not wrong:
        return None, []
    best: bytes | None
    best, votes = Counter(wrong).most_common(1)[0]
    rivals = others.count(here) + 1 if here is not None and _id_of(here) else 0
    if not rivals:
        return best, []
    if votes < rivals:
        return None, []
    what = "project.json is not what it is elsewhere"
    why = "It never changes, so it is damaged."
    if votes == rivals and gives_numbers and _cuts_as_all(here):
        best, why = None, "It never changes. Look at one more store, to see which of both is right."
    return best, [Finding(severity=Severity.DAMAGE, what=what, why=why, key=PROJECT)]


def _raw_project(vault: Vault) -> bytes | None:
    try:
        return vault.store.get(PROJECT)
    except NotFound:
        return None


def _id_of(data: bytes | None) -> str | None:
    try:
        return None if data is None else codec.decode(data, ProjectFile).id
    except DataDamaged:
        return None


def _cuts_as_all(data: bytes | None) -> bool:
    return data is not None and codec.decode(data, ProjectFile).chunking == CHUNKING


def _no_mirror(vault: Vault) -> bool:
    try:
        return mirror_of(vault.store) is None
    except DataDamaged:
        return False


def _contents(checked: Checked, sources: Sequence[Source]) -> dict[bytes, list[Source]]:
    found: defaultdict[bytes, list[Source]] = defaultdict(list)
    if not checked.affected:
        return found
    for source in sources:
        source.vault.directory.refresh()
        for one in checked.affected:
            if one in source.vault.directory:
                found[one].append(source)
    return dict(found)


def _wrong_recipes(checked: Checked, contents: dict[bytes, list[Source]]) -> frozenset[bytes]:
    """A recipe has no digest of its own: a flipped bit in it looks like a chunk that was lost."""
    return frozenset(
        content
        for content, sources in contents.items()
        for part in checked.affected[content]
        if part != content and not any(part in one.vault.directory for one in sources)
    )


# Entries.


def _sum(data: bytes) -> int:
    return int.from_bytes(sha256(data).digest()[:8])


def _here(scan: LogScan, log: str, number: int) -> int:
    """The sum of an entry here; 0 where there is none."""
    sums = scan.sums.get(log)
    return sums[number - 1] if sums is not None and 0 < number <= len(sums) else 0


def _agree(scan: LogScan, source: Source) -> bool:
    """Whether most entries that both have are the same: then it is the same project."""
    same = others = 0
    for log, number, data in source.vault.numbered.read_many(source.vault.numbered.all()):
        if data is not None and (here := _here(scan, log, number)):
            same += here == _sum(data)
            others += here != _sum(data)
    return same > others


def _compare(
    vault: Vault,
    scan: LogScan,
    source: Source,
    bad: dict[str, BadEntry],
    *,
    gives_numbers: bool,
) -> tuple[list[BadEntry], list[Finding]]:
    """Entries that the other store has and this one has not, or has others of."""
    missing: list[BadEntry] = []
    differing: defaultdict[str, list[int]] = defaultdict(list)
    theirs = source.vault.numbered
    for log, number, data in theirs.read_many(theirs.all()):
        here = _here(scan, log, number)
        if data is None or here == _sum(data) or _decoded(log, data) is None:
            continue
        one = BadEntry(log, number, not here, f"{source.url} has it.")
        if one.key in bad:
            continue
        if here:
            differing[log].append(number)
        elif gives_numbers or log in scan.cut:
            missing.append(one)
    findings = [_missing(one) for one in missing]
    for log, numbers in differing.items():
        swapped = _ids(vault, log) <= _ids(source.vault, log)
        why = (
            f"It has its place elsewhere in the log of {source.url}."
            if swapped
            else f"{source.url} has another entry there; one of both was put back or changed."
        )
        for number in numbers:
            one = BadEntry(log, number, False, why)
            findings.append(_missing(one))
            if swapped:
                missing.append(one)
    return missing, findings


def _missing(bad: BadEntry) -> Finding:
    return Finding(
        severity=Severity.DAMAGE,
        what=f"{bad.key} {'is missing' if bad.missing else 'is another one elsewhere'}",
        why=bad.why,
        key=bad.key,
        refs=(ref_of(bad.log, bad.number),),
    )


def _ids(vault: Vault, log: str) -> set[str]:
    found = set()
    for _, data in vault.numbered.after(log, 0):
        try:
            found.add(decode_entry(data).id)
        except DataDamaged:
            continue
    return found


def _decoded(log: str, data: bytes) -> Entry | None:
    """The entry, where it is a whole one that may be in this log."""
    try:
        entry = decode_entry(data)
    except DataDamaged:
        return None
    return None if misplaced(log, entry, {}) else entry


def _entries(
    vault: Vault, scan: LogScan, bad: dict[str, BadEntry], sources: Sequence[Source]
) -> Iterator[HealedEntry]:
    for one in sorted(bad.values()):
        if one.log.startswith("outbox/"):
            continue  # nobody else has it
        for source in sources:
            data = source.vault.numbered.read(one.log, one.number)
            entry = None if data is None else _decoded(one.log, data)
            if data is None or entry is None:
                continue
            if _neighbours_agree(scan, bad, source, one):
                yield HealedEntry(one, data, entry, source)
                break


def _neighbours_agree(
    scan: LogScan, bad: dict[str, BadEntry], source: Source, one: BadEntry
) -> bool:
    """Whether the sound entries next to one are the same in both stores."""
    length = len(scan.sums.get(one.log, ()))
    for step in (-1, 1):
        number = one.number + step
        while 0 < number <= length and one._replace(number=number).key in bad:
            number += step
        if not 0 < number <= length:
            continue
        data = source.vault.numbered.read(one.log, number)
        if data is not None and _sum(data) != _here(scan, one.log, number):
            return False
    return True
