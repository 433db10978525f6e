"""Surveying all other objects of a store: marks, caches, hints, and what no one knows."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256

import msgspec
from blake3 import blake3

from thence.errors import DataDamaged, FormatTooNew, NotFound
from thence.model import codec
from thence.model.progress import Progress, silent
from thence.model.records import decode_entry
from thence.store.base import ObjectInfo, Store
from thence.vault import checkpoints
from thence.vault.findings import Finding, Severity
from thence.vault.inventory import Inventory
from thence.vault.journal import hour_of
from thence.vault.layout import FEATURES, MIRROR, PROJECT, MirrorFile, ProjectFile, read_project
from thence.vault.live_segments import Pulse
from thence.vault.logs import parse_entry_key
from thence.vault.logscan import LogScan, ref_of
from thence.vault.pack import parse_pack_key
from thence.vault.parallel import ahead
from thence.vault.segment import Segment

__all__ = ["ASIDE", "CONDEMNED", "survey"]

ASIDE = "damaged/"
"""Where a repair puts what nobody has whole, for people to look at."""
CONDEMNED = "gc/condemned/"
"""What says which packs are about to be deleted."""

_PARTIAL = "partial.json"
_CLONE = "clone.json"
_CLAIM = "claim.json"
_ERASING = re.compile(r"gc/erasing/[0-9a-f]+")
_NOW = re.compile(r"gc/now/[0-9a-f]+")
_HINT = re.compile(r"hints/[0-9a-f]{64}/([0-9a-f]{32})")
_DIRECTORY = re.compile(r"directories/[1-9]/([0-9a-f]{64})")
_CHECKPOINT = re.compile(r"index/(\d-[0-9a-f]{32})")
_JOURNAL = re.compile(r"journal/\d{4}-\d\d-\d\dT\d\d/[0-9a-zA-Z]+")
_WAITING = re.compile(r"outbox/refs/.+/\d{10}")
_CONFLICT = re.compile(r"conflicts/refs/.+/\d{10}")
_LIVE = re.compile(r"runs/([0-9a-f]{20})/(?:([A-Za-z0-9_.-]{1,100})/(\d{10})|pulse)")
_CONDEMNED = re.compile(r"gc/condemned/\d{10}")
_HEX = re.compile(r"[0-9a-f]{64}")
_HEAD = re.compile(rb"sha256:([0-9a-f]{64})\n")
_LARGEST = 1024 * 1024 * 1024
_AT_ONCE = 16
_TOLD = 10

_REBUILT = "It only saves time. A repair removes it, and it is made again."


def survey(
    store: Store,
    inventory: Inventory,
    scan: LogScan,
    *,
    remote: bool,
    progress: Progress = silent,
) -> list[Finding]:
    """Look at every object that is neither a pack nor an entry of a log.

    Raises:
        StorageError: The store failed.
        Denied: It may not be read.
    """
    found = _project(store)
    strangers: list[str] = []
    aside: list[str] = []

    def wanted() -> Iterable[ObjectInfo]:
        for info in store.list():
            key = info.key
            if key.startswith("refs/") and parse_entry_key(key):
                continue
            if key.startswith("packs/") and parse_pack_key(key):
                continue
            if key.startswith(ASIDE):
                aside.append(key)
            elif _kind(key) is None:
                strangers.append(key)
            else:
                yield info

    def look(info: ObjectInfo) -> Finding | None:
        kind = _kind(info.key)
        assert kind is not None
        try:
            return kind(store, info, inventory, scan)
        except NotFound:
            return None

    for number, finding in enumerate(ahead(look, wanted(), at_once=_AT_ONCE if remote else 1)):
        if finding is not None:
            found.append(finding)
        progress(number + 1, 0)
    found += _told(strangers, "which the format does not know", "Nobody reads what is there.")
    found += _told(aside, "put aside by a repair", "Delete it when nobody wants to look at it.")
    return found


def _told(keys: Sequence[str], what: str, why: str) -> list[Finding]:
    if not keys:
        return []
    named = ", ".join(keys[:_TOLD])
    more = f" and {len(keys) - _TOLD} more" if len(keys) > _TOLD else ""
    amount = "1 object" if len(keys) == 1 else f"{len(keys):,} objects"
    note = Severity.NOTE
    return [Finding(severity=note, what=f"{amount} {what}", why=f"{named}{more}. {why}")]


def _project(store: Store) -> list[Finding]:
    try:
        read_project(store)
    except (NotFound, DataDamaged) as error:
        return [_damage(PROJECT, "project.json cannot be read", error.why or error.what)]
    except FormatTooNew as error:
        return [Finding(severity=Severity.UNCHECKED, what=error.what, why=error.why, key=PROJECT)]
    return []


class _Marked(msgspec.Struct, frozen=True, kw_only=True):
    project: str | None = None


class _Condemned(msgspec.Struct, frozen=True, kw_only=True):
    packs: tuple[str, ...]


def _id_of(store: Store) -> str | None:
    try:
        return codec.decode(store.get(PROJECT), ProjectFile).id
    except (NotFound, DataDamaged):
        return None


# What looks at an object of some kind.
_Look = Callable[[Store, ObjectInfo, Inventory, LogScan], Finding | None]


def _nothing(store: Store, info: ObjectInfo, inventory: Inventory, scan: LogScan) -> None:
    """Others look at it."""


def _json(store: Store, info: ObjectInfo, inventory: Inventory, scan: LogScan) -> Finding | None:
    what = f"{info.key} cannot be read"
    try:
        data = store.get(info.key)
        said = codec.decode(data, _Marked).project
        if info.key == MIRROR:
            codec.decode(data, MirrorFile)
    except DataDamaged as error:
        return _damage(info.key, what, error.why or error.what)
    if said is not None and said != _id_of(store):
        return _damage(info.key, what, "It names another project than project.json does.")
    return None


def _hint(store: Store, info: ObjectInfo, inventory: Inventory, scan: LogScan) -> Finding | None:
    body = store.get(info.key)
    if len(body) % 32 or blake3(body).hexdigest(16) != info.key.rpartition("/")[2]:
        return _cache(info.key, "a hint is damaged")
    return None


def _merged(store: Store, info: ObjectInfo, inventory: Inventory, scan: LogScan) -> Finding | None:
    if info.size_bytes > _LARGEST:
        return _cache(info.key, "a merged directory is too large")
    segment = Segment.parse(store.get(info.key))
    if segment is None or segment.seal.hex() != info.key.rpartition("/")[2]:
        return _cache(info.key, "a merged directory is damaged")
    known = inventory.packs()
    numbers = [number if pack in known else None for number, pack in enumerate(segment.packs)]
    for row in segment.rows(numbers):
        pack = segment.packs[int.from_bytes(row[58:62], "little")]
        there = ((one.pack, one.entry.offset) for one in inventory.copies(row[:32]))
        if (pack, int.from_bytes(row[32:40], "little")) not in there:
            return _cache(info.key, "a merged directory contradicts a pack")
    return None


def _checkpoint(
    store: Store, info: ObjectInfo, inventory: Inventory, scan: LogScan
) -> Finding | None:
    try:
        loaded = checkpoints.load(info.key.removeprefix("index/"), store.get(info.key))
        for line in loaded.lines:
            if line.data is None:
                continue
            sums = scan.sums.get(line.log)
            here = sums[line.number - 1] if sums and line.number <= len(sums) else None
            if here != int.from_bytes(sha256(line.data).digest()[:8]):
                return _cache(info.key, f"a checkpoint contradicts {line.log}")
    except DataDamaged as error:
        return _cache(info.key, "a checkpoint is damaged", error.why)
    return None


def _journal(store: Store, info: ObjectInfo, inventory: Inventory, scan: LogScan) -> Finding | None:
    body = store.get(info.key)
    name = info.key.rpartition("/")[2]
    lines = body.split(b"\n")
    if lines.pop() or not lines or hour_of(info.key) is None:
        return _cache(info.key, "a hint of the journal is damaged")
    for line in lines:
        entry_id, _, log = line.partition(b" ")
        if len(lines) == 1 and entry_id.decode("ascii", "replace") != name:
            return _cache(info.key, "a hint of the journal is damaged")
        if not entry_id or not log.startswith(b"refs/") or not body.isascii():
            return _cache(info.key, "a hint of the journal is damaged")
    return None


def _conflict(
    store: Store, info: ObjectInfo, inventory: Inventory, scan: LogScan
) -> Finding | None:
    log = info.key.removeprefix("conflicts/").rpartition("/")[0]
    try:
        # An empty one is no entry either, and behind the last one there is no line feed.
        for data in store.get(info.key).split(b"\n"):
            decode_entry(data)
    except DataDamaged as error:
        what = f"moves of {ref_of(log, 0)} that conflict cannot be read"
        finding = _damage(info.key, what, error.why or error.what)
        return finding.touching([ref_of(log, 0)])
    return None


def _live(store: Store, info: ObjectInfo, inventory: Inventory, scan: LogScan) -> Finding | None:
    match = _LIVE.fullmatch(info.key)
    assert match is not None
    data = store.get(info.key)
    why = "Its bytes are not what was written."
    if match.group(2) is None:
        with suppress(DataDamaged):
            codec.decode(data, Pulse)
            return None
    else:
        head = _HEAD.match(data)
        if head and sha256(data[head.end() :]).hexdigest().encode() == head.group(1):
            return None
    if match.group(1) in scan.sealed:
        return _cache(info.key, "a piece of a run that has ended is damaged")
    if match.group(2) is None:
        return _cache(info.key, "the pulse of a run is damaged")
    what = f"what run:{match.group(1)[:8]} said so far is damaged"
    return _damage(info.key, what, why).touching([f"run:{match.group(1)[:8]}"])


def _condemned(
    store: Store, info: ObjectInfo, inventory: Inventory, scan: LogScan
) -> Finding | None:
    why = "It names something that is no pack."
    try:
        packs = codec.decode(store.get(info.key), _Condemned).packs
    except DataDamaged as error:
        packs, why = ("?",), error.why or error.what
    if not all(_HEX.fullmatch(pack) for pack in packs):
        return _damage(info.key, f"{info.key} cannot be read, so nothing can be written", why)
    return None


def _erasing(store: Store, info: ObjectInfo, inventory: Inventory, scan: LogScan) -> Finding:
    return Finding(
        severity=Severity.NOTE,
        what="an erasure is under way, or was cut",
        why="Who erases, collects or pulls next goes on with it. Do not delete this object.",
        key=info.key,
    )


def _feature(store: Store, info: ObjectInfo, inventory: Inventory, scan: LogScan) -> None:
    """Told with project.json."""


_KINDS: Mapping[re.Pattern[str], _Look] = {
    re.compile(re.escape(PROJECT)): _nothing,
    re.compile("|".join(map(re.escape, (MIRROR, _CLONE, _CLAIM, _PARTIAL)))): _json,
    re.compile(f"{FEATURES}.+"): _feature,
    _WAITING: _nothing,
    _CONFLICT: _conflict,
    _HINT: _hint,
    _DIRECTORY: _merged,
    _CHECKPOINT: _checkpoint,
    _JOURNAL: _journal,
    _LIVE: _live,
    _CONDEMNED: _condemned,
    _ERASING: _erasing,
    _NOW: _nothing,
}


def _kind(key: str) -> _Look | None:
    for pattern, look in _KINDS.items():
        if pattern.fullmatch(key):
            return look
    return None


def _damage(key: str, what: str, why: str) -> Finding:
    return Finding(severity=Severity.DAMAGE, what=what, why=why, key=key)


def _cache(key: str, what: str, why: str = "") -> Finding:
    return Finding(
        severity=Severity.CACHE, what=f"{what}: {key}", why=f"{why} {_REBUILT}".strip(), key=key
    )
