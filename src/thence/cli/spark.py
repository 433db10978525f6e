"""Series of numbers as a line of little bars."""

import math
import sys
from collections.abc import Sequence

__all__ = ["spark"]

_BARS = "▁▂▃▄▅▆▇█"
# Where the terminal or file has no bars.
_PLAIN = "_.-~=+*#"


def spark(values: Sequence[float], *, width: int = 24, plain: bool | None = None) -> str:
    """The course of a series; nothing for fewer than two numbers.

    Args:
        values: In order; what is not finite becomes a gap.
        width: Of the line at most; longer series are averaged.
        plain: Without Unicode; default: where stdout does not take it.

    >>> spark([1, 2, 3, 4], plain=False)
    '▁▃▅█'
    """
    if plain is None:
        plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    means = [_mean(part) for part in _parts(values, width)]
    finite = [one for one in means if one is not None]
    if len(values) < 2 or not finite:
        return ""
    bars = _PLAIN if plain else _BARS
    low, high = min(finite), max(finite)
    steps = len(bars) - 1
    return "".join(
        " "
        if one is None
        else bars[0 if high == low else int((one - low) / (high - low) * steps + 1e-9)]
        for one in means
    )


def _parts(values: Sequence[float], width: int) -> list[Sequence[float]]:
    count = min(width, len(values))
    return [
        values[len(values) * index // count : len(values) * (index + 1) // count]
        for index in range(count)
    ]


def _mean(values: Sequence[float]) -> float | None:
    finite = [one for one in values if math.isfinite(one)]
    # Each divided first: two large numbers may be infinite together.
    return sum(one / len(finite) for one in finite) if finite else None
