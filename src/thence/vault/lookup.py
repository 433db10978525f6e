"""Where many ids lie, asked at once: forty times as fast as one by one."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from thence.vault.segment import Segment

__all__ = ["Looked", "look_up"]

# Where an entry has the number of its pack.
_PACK_AT = 58


class Looked(NamedTuple):
    """What came of it.

    Attributes:
        packs: All that hold one of the ids that were found.
        missing: Which ids no segment has, by their numbers, in order.
        doubtful: Those that the first pack that has them is not good enough for; another may be.
    """

    packs: set[bytes]
    missing: list[int]
    doubtful: list[int]


def look_up(segments: Sequence[Segment], ids: bytes, *, counts: Callable[[bytes], bool]) -> Looked:
    """Look for ids in segments.

    Args:
        segments: Where to look; the first that has an id is taken.
        ids: 32 bytes each.
        counts: Tells whether a pack is good enough.
    """
    import numpy as np

    wanted = np.frombuffer(ids, np.uint8).reshape(-1, 32)
    left = np.argsort(_keys(wanted), kind="stable")
    packs: set[bytes] = set()
    doubtful: set[int] = set()
    for segment in segments:
        if not len(left) or not segment.count:
            continue
        rows = segment.array()
        keys = _keys(rows)
        at = np.minimum(np.searchsorted(keys, _keys(wanted[left])), segment.count - 1)
        found = (rows[at, :32] == wanted[left]).all(axis=1)
        numbers = rows[at][:, _PACK_AT : _PACK_AT + 4].copy().view("<u4").ravel()
        good = np.zeros(len(segment.packs) + 1, bool)
        good[:-1] = [counts(pack) for pack in segment.packs]
        fits = good[np.minimum(numbers, len(segment.packs))]
        doubtful.update(left[found & ~fits].tolist())
        found &= fits
        packs.update(segment.packs[number] for number in np.unique(numbers[found]))
        left = left[~found]
    missing = sorted(left.tolist())
    return Looked(
        packs,
        [at for at in missing if at not in doubtful],
        [at for at in missing if at in doubtful],
    )


def _keys(rows: Any) -> Any:
    """The first eight bytes of each, as numbers of the same order."""
    return rows[:, :8].copy().view(">u8").ravel().astype("u8")
