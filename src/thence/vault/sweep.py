"""Sweeping: objects that only save time, and whose time is over."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from thence.model.ids import RunId
from thence.model.records import RunSealed
from thence.store.base import ObjectInfo
from thence.vault.journal import KEPT, hour_of
from thence.vault.live_segments import Segments
from thence.vault.logs import run_log
from thence.vault.parallel import ahead
from thence.vault.vault import Vault

__all__ = ["Swept", "sweep_up"]

_AT_ONCE = 16
# More are looked at by the next collections.
_MOST_HINTS = 10_000
_NOW = "gc/now/"
_HOUR_S = 3600.0


class Swept(NamedTuple):
    """What went.

    Attributes:
        journal: Hints of the journal that were older than 30 days.
        segments: Runs whose live segments were there though they are sealed.
        hints: Hints about packs, of contents that are not needed or in packs that are gone.
        directories: Merged directories of packs that are gone.
    """

    journal: int = 0
    segments: int = 0
    hints: int = 0
    directories: int = 0


def sweep_up(
    vault: Vault, now_s: float, is_root: Callable[[bytes], bool], *, packs_went: bool
) -> Swept:
    """Delete what is of no use any more; all of it may be lost at any time.

    Args:
        vault: Where.
        now_s: The time, by the clock of the store.
        is_root: Whether something refers to a content.
        packs_went: Packs were deleted, so hints may name them.

    Raises:
        StorageError: The store failed.
        Denied: It may not be written to.
    """
    old = [info for info in vault.store.list(_NOW) if info.modified_s < now_s - _HOUR_S]
    _delete(vault, old)
    return Swept(
        _journal(vault, now_s),
        _segments(vault),
        _hints(vault, is_root, packs_went=packs_went) if vault.remote else 0,
        vault.directory.sweep_merged(),
    )


def _delete(vault: Vault, infos: Iterable[ObjectInfo]) -> int:
    keys = [info.key for info in infos]
    for _ in ahead(vault.store.delete, keys, at_once=_AT_ONCE if vault.remote else 1):
        pass
    return len(keys)


def _journal(vault: Vault, now_s: float) -> int:
    """Both the hour that its writer had and the time at which it came must be long ago."""
    before = datetime.fromtimestamp(now_s, UTC) - KEPT
    found = (
        info
        for info in vault.store.list("journal/")
        if (hour := hour_of(info.key)) is not None
        and hour < before
        and info.modified_s < before.timestamp()
    )
    return _delete(vault, found)


def _segments(vault: Vault) -> int:
    segments = Segments(vault.store)
    count = 0
    for run in sorted(segments.runs()):
        if _is_sealed(vault, run):
            segments.clear(run)
            count += 1
    return count


def _is_sealed(vault: Vault, run: RunId) -> bool:
    return any(isinstance(entry.record, RunSealed) for entry in vault.logs.records(run_log(run)))


def _hints(vault: Vault, is_root: Callable[[bytes], bool], *, packs_went: bool) -> int:
    there = vault.directory.packs()
    gone: list[ObjectInfo] = []
    asked: list[ObjectInfo] = []
    for info in vault.store.list("hints/"):
        try:
            root = bytes.fromhex(info.key.split("/")[1])
        except (IndexError, ValueError):
            continue
        (asked if is_root(root) else gone).append(info)

    def names_gone(info: ObjectInfo) -> bool:
        body = vault.store.get(info.key)
        return any(body[at : at + 32] not in there for at in range(0, len(body) // 32 * 32, 32))

    some = asked[:_MOST_HINTS] if packs_went else []  # each is a request
    stale = ahead(names_gone, some, at_once=_AT_ONCE)
    gone += [info for info, is_stale in zip(some, stale, strict=True) if is_stale]
    return _delete(vault, gone)
