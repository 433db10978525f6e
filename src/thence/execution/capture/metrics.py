"""Metrics that a run wrote into a file of its own."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["FoundMetrics", "is_metrics_file", "read_metrics"]

LIMIT_BYTES = 4 << 20
LIMIT_METRICS = 10_000


class FoundMetrics(NamedTuple):
    """Metrics by name.

    Attributes:
        problem: Why the file could not be read, one sentence; None where it could.
    """

    metrics: dict[str, float]
    problem: str | None = None


def is_metrics_file(path: str) -> bool:
    """Whether a file is called `metrics.json` or `<something>.metrics.json`.

    >>> [is_metrics_file(p) for p in ("out/metrics.json", "val.metrics.json", "my_metrics.json")]
    [True, True, False]
    """
    name = path.replace("\\", "/").rpartition("/")[2].lower()
    return name == "metrics.json" or name.endswith(".metrics.json")


def read_metrics(path: str, data: bytes) -> FoundMetrics:
    """The numbers of a JSON object, nested names joined with dots.

    NaN and infinities count; text, booleans and lists are passed over.

    >>> read_metrics("metrics.json", b'{"auc": 0.9, "val": {"loss": NaN}, "note": "x"}').metrics
    {'auc': 0.9, 'val.loss': nan}

    Args:
        path: For the problem.
        data: The content of the file.
    """
    if len(data) > LIMIT_BYTES:
        return FoundMetrics(
            {}, f"no metrics were read from {path}: it is over {LIMIT_BYTES >> 20} MiB"
        )
    try:
        tree = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        return FoundMetrics({}, f"no metrics were read from {path}: it is not JSON ({reason})")
    if not isinstance(tree, dict):
        return FoundMetrics({}, f"no metrics were read from {path}: it is not a JSON object")
    metrics: dict[str, float] = {}
    for name, value in _numbers("", tree):
        if len(metrics) >= LIMIT_METRICS:
            return FoundMetrics(metrics, f"only {LIMIT_METRICS} metrics were read from {path}")
        metrics[name] = value
    return FoundMetrics(metrics)


def _numbers(prefix: str, tree: dict[str, Any]) -> Iterator[tuple[str, float]]:
    # An explicit stack: JSON may be nested more deeply than Python may call.
    todo = [(prefix, tree)]
    while todo:
        place, node = todo.pop()
        deeper = []
        for key, value in node.items():
            name = f"{place}.{key}" if place else key
            if isinstance(value, dict):
                deeper.append((name, value))
            elif isinstance(value, (int, float)) and not isinstance(value, bool) and _is_text(name):
                try:
                    yield name, float(value)
                except OverflowError:
                    continue
        todo += reversed(deeper)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return bool(name)
