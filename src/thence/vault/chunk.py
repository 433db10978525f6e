"""Content-defined cutting: FastCDC-2020 with normalised chunking, level 1.

Xia et al., "The Design of Fast Content-Defined Chunking for Data Deduplication Based Storage
Systems", IEEE TPDS 31(9), 2020, algorithm 2, with the gear table of its reference implementation
(the first eight bytes of the MD5 of 64 equal bytes). The cuts are fixed for ever by the golden
vectors in tests/golden/chunks.json. `pyfastcdc` computes them; `numpy_cuts` computes the same ones
where that package has no wheel, at about a fifteenth of its speed.
"""

import hashlib
import importlib
from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from thence.store.base import Bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AVERAGE", "MAXIMUM", "MINIMUM", "cut", "numpy_cuts"]

AVERAGE = 64 * 1024
MINIMUM = AVERAGE // 4
MAXIMUM = AVERAGE * 4

# Before the average size a cut needs 17 zero bits, after it 15: the masks of the paper's authors.
_MASK_EARLY = 0xD90703537000
_MASK_LATE = 0xD90F03530000
_WINDOW = 64
# The highest bit of both masks is 47, so a hash is final once it has seen 48 bytes.
_WARM_UP = 48
_BLOCK = 1 << 15


def cut(data: Bytes) -> list[int]:
    """Where the chunks of this data end, in ascending order; the last is `len(data)`.

    Every chunk is at most `MAXIMUM` long, and all but the last at least `MINIMUM`. The cuts depend
    on nothing but the bytes since the previous cut, so a caller may hand over a file piecewise, if
    it hands over again what follows the last cut but one.
    """
    return _engine()(data)


@lru_cache(maxsize=1)
def _engine() -> Callable[[Bytes], list[int]]:
    try:
        library = importlib.import_module("pyfastcdc")
    except ImportError:
        return numpy_cuts
    cutter: Any = library.FastCDC(AVERAGE, min_size=MINIMUM, max_size=MAXIMUM)

    def native_cuts(data: Bytes) -> list[int]:
        return [c.offset + c.length for c in cutter.cut_buf(data)] if len(data) else []

    return native_cuts


@lru_cache(maxsize=1)
def _gear() -> list[int]:
    return [
        int.from_bytes(hashlib.md5(bytes([byte]) * 64, usedforsecurity=False).digest()[:8])
        for byte in range(256)
    ]


def numpy_cuts(data: Bytes) -> list[int]:
    """As `cut`, with numpy alone.

    A gear hash is a sum of table values shifted by their distance, so after 64 bytes it depends on
    the last 64 only and can be computed for all positions at once, by doubling. Only the first 48
    positions of a chunk, where the window is not yet full of its own bytes, are rolled one by one.
    """
    import numpy as np

    array = np.frombuffer(data, np.uint8)
    candidates = _candidates(array)
    size, position, ends = len(array), 0, []
    while position < size:
        length = _next_cut(array, position, min(size - position, MAXIMUM), candidates)
        position += length
        ends.append(position)
    return ends


class _Candidates(NamedTuple):
    """Positions after which a cut is allowed, by the mask of each half of a chunk."""

    early: list[int]
    late: list[int]


def _candidates(array: "NDArray[np.uint8]") -> _Candidates:
    import numpy as np

    table = np.array(_gear(), np.uint64)
    rolled = np.empty(_BLOCK + _WINDOW, np.uint64)
    shifted = np.empty_like(rolled)
    found = _Candidates([], [])
    for start in range(0, len(array), _BLOCK):
        low = max(0, start - _WINDOW + 1)
        end = min(len(array), start + _BLOCK)
        hashes, spare = rolled[: end - low], shifted[: end - low]
        np.take(table, array[low:end], out=hashes, mode="clip")
        width = 1
        while width < _WINDOW:
            np.left_shift(hashes[:-width], np.uint64(width), out=spare[width:])
            np.add(hashes[width:], spare[width:], out=hashes[width:])
            width *= 2
        window = hashes[start - low :]
        for mask, positions in zip((_MASK_EARLY, _MASK_LATE), found, strict=True):
            np.bitwise_and(window, np.uint64(mask), out=spare[: len(window)])
            hits = np.flatnonzero(spare[: len(window)] == 0) + start
            positions.extend(hits.tolist())
    return found


def _next_cut(array: "NDArray[np.uint8]", position: int, room: int, candidates: _Candidates) -> int:
    if room <= MINIMUM:
        return room
    # The reference implementation advances two bytes at a time, so odd ends are never looked at.
    middle, end = min(AVERAGE, room) // 2 * 2, room // 2 * 2
    full = min(MINIMUM + _WARM_UP, end)
    early, late = candidates
    gear = _gear()
    rolled = 0
    for offset in range(MINIMUM, full):
        rolled = ((rolled << 1) + gear[array[position + offset]]) & 0xFFFFFFFFFFFFFFFF
        if not rolled & (_MASK_EARLY if offset < middle else _MASK_LATE):
            return offset
    index = bisect_left(early, position + full)
    if index < len(early) and early[index] < position + middle:
        return early[index] - position
    index = bisect_left(late, position + max(middle, full))
    if index < len(late) and late[index] < position + end:
        return late[index] - position
    return room
