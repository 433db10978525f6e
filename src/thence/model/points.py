"""Metric points as lines of canonical JSON, fast: a run may log a hundred thousand a second.

What is written is byte for byte what `codec.encode` writes, at a tenth of the time.
"""

import json
import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from thence.model import codec
from thence.model.records import MetricPoint

__all__ = ["decode_points", "encode_point", "encode_points", "read_points"]

_SAFE = 2**53 - 1
_AT = b'{"at":"'
_POINT = msgspec.json.Decoder(MetricPoint)


def encode_points(points: Iterable[MetricPoint]) -> bytes:
    """As `encode_lines`, of the points of a series."""
    return b"".join(
        [
            encode_point(point.name, point.value, point.step, point.at)
            or codec.encode(point) + b"\n"
            for point in points
        ]
    )


def decode_points(data: bytes) -> Iterator[MetricPoint]:
    """As `decode_lines`, of a series.

    Raises:
        DataDamaged: A line is no point.
    """
    return map(_decoded, filter(None, data.splitlines()))


def read_points(data: bytes) -> Iterator[tuple[MetricPoint, str | None]]:
    """As `decode_points`, each with its time as text, which mostly stands there as it should.

    Raises:
        DataDamaged: A line is no point.
    """
    for line in filter(None, data.splitlines()):
        point = _decoded(line)
        if point.at is None:
            yield point, None
        elif line[:7] == _AT and line[33:35] == b'Z"':
            yield point, line[7:34].decode()
        else:
            yield point, codec.format_time(point.at)


def _decoded(line: bytes) -> MetricPoint:
    try:
        return _POINT.decode(line)
    except (ValueError, msgspec.MsgspecError):  # a number that is not finite, or damaged
        return codec.decode(line, MetricPoint)


def encode_point(
    name: str, value: float, step: int | None, at: datetime | None, *, tag: str = ""
) -> bytes | None:
    """A point as a line; None for what only `codec.encode` can write, or refuse.

    Args:
        name: Of the metric.
        value: Its value.
        step: Where it was reached.
        at: When.
        tag: What to write as `type`; empty for none.
    """
    if type(value) is not float or not math.isfinite(value):
        return None
    if at is None:
        begin = "{"
    elif at.tzinfo is UTC:
        begin = f'{{"at":"{at.replace(tzinfo=None).isoformat(timespec="microseconds")}Z",'
    else:
        return None
    if step is None:
        middle = ""
    elif type(step) is int and -_SAFE <= step <= _SAFE:
        middle = f',"step":{step}'
    else:
        return None
    try:
        kind = f',"type":"{tag}"' if tag else ""
        return f'{begin}"name":{_quoted(name)}{middle}{kind},"value":{value!r}}}\n'.encode()
    except UnicodeEncodeError:
        return None


@lru_cache(4096)
def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
