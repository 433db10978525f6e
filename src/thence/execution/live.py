"""What a program says of its own run while it goes on: metrics, params, versions.

Each process appends lines to a file of its own in the spool of the run. Programs find the spool
through an environment variable. Points that come in quick succession are gathered for a moment and
written together (`thence.execution.burst`); everything else is written before the call returns.
"""

import heapq
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from thence.errors import ThenceError
from thence.execution.burst import Burst, flush_all
from thence.model import codec
from thence.model.ids import Digest
from thence.model.points import encode_point
from thence.model.records import MetricPoint

if TYPE_CHECKING:
    from thence.execution.capture.secrets import Redactor

__all__ = [
    "RUN_VARIABLE",
    "SPOOL_VARIABLE",
    "Line",
    "LoggedMetric",
    "LoggedParam",
    "MadeVersion",
    "Tail",
    "UsedVersion",
    "attach",
    "current",
    "current_cell",
    "merge_lines",
    "parse_lines",
    "read_lines",
    "tell",
]

RUN_VARIABLE = "THENCE_RUN"
SPOOL_VARIABLE = "THENCE_SPOOL"

_log = logging.getLogger(__name__)


class LoggedMetric(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="metric", gc=False
):
    """One value of a metric."""

    name: str
    value: float
    step: int | None = None
    at: datetime | None = None

    def to_point(self) -> MetricPoint:
        """As it is kept in the series of the run."""
        return MetricPoint(name=self.name, value=self.value, step=self.step, at=self.at)


class LoggedParam(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="param"):
    """A parameter that the program named."""

    name: str
    value: Any


class MadeVersion(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="made"):
    """The program saved a version, in this cell of a notebook."""

    version: Digest
    cell: int | None = None


class UsedVersion(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="used"):
    """The program loaded a version, in this cell of a notebook."""

    version: Digest
    cell: int | None = None


Line: TypeAlias = LoggedMetric | LoggedParam | MadeVersion | UsedVersion

_METRIC = msgspec.json.Decoder(LoggedMetric)

_LINES: dict[str, type[LoggedMetric | LoggedParam | MadeVersion | UsedVersion]] = {
    "metric": LoggedMetric,
    "param": LoggedParam,
    "made": MadeVersion,
    "used": UsedVersion,
}


def _now() -> datetime:
    return datetime.now(UTC)


class Tail:
    """Appends lines for this process; follows a fork into a file of its own.

    Args:
        spool: The folder of the run's spool.
        clock: Tells the time of metrics.
    """

    def __init__(self, spool: Path, *, clock: Callable[[], datetime] = _now) -> None:
        self._spool = spool
        self._clock = clock
        self._pid = 0
        self._file = -1
        self._redactor: Redactor | None = None
        self._burst: Burst[LoggedMetric] = Burst(self._write)

    def log(self, values: dict[str, Any], *, step: int | None = None) -> None:
        """Append metrics (numbers) and params (anything else).

        Metrics are on their way to the file when this returns, and in it a moment later: of a
        process that is killed at most the last second is lost, and nothing where it logs less than
        some times a second. Never raises: a full disk must not end a training. What cannot be
        written is said once in the log of this module.
        """
        now = self._clock()
        for name, value in values.items():
            try:
                number = value if type(value) is float else _as_number(value)
                if number is None:
                    plain = self._scrub(name, _as_param(value))
                    self.append(LoggedParam(name=str(name), value=plain))
                else:
                    self._burst.add(LoggedMetric(name=str(name), value=number, step=step, at=now))
            except Exception as error:  # what people log may do anything when it is looked at
                _log.warning("a logged value was lost: %r", error)

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Append params, whatever they are; never raises."""
        for name, value in values.items():
            try:
                number = _as_number(value)
                plain = _as_param(value) if number is None else number
                if isinstance(value, int):
                    plain = value
                line = LoggedParam(name=str(name), value=self._scrub(name, plain))
            except Exception as error:  # what people log may do anything when it is looked at
                _log.warning("a logged value was lost: %r", error)
            else:
                self.append(line)

    def _scrub(self, name: str, value: Any) -> Any:
        """A parameter without secrets, before it is written anywhere."""
        if value is None or isinstance(value, bool):
            return value
        if self._redactor is None:
            from thence.execution.capture.secrets import Redactor  # metrics alone need it not

            # A reproduction has no key: what it logs is thrown away.
            key = self._spool.parent.parent / "secret.key"
            self._redactor = Redactor(key.read_bytes() if key.is_file() else os.urandom(32))
            self._redactor.scrub_environment(os.environ)
        from thence.execution.relearning import scrub_logged

        return scrub_logged(self._redactor, str(name), value)

    def append(self, line: Line) -> None:
        """Append one line; durable against the death of this process when it returns."""
        self._burst.write([line])

    def flush(self) -> None:
        """Write what waits to be written."""
        self._burst.write([])

    def _write(self, lines: Sequence[Line]) -> None:
        """Append lines; called by one thread at a time."""
        encoded = []
        for line in lines:
            try:
                encoded.append(_encode(line))
            except ThenceError as error:
                _log.warning("a logged value was lost: %s", error)
        try:
            pid = os.getpid()
            if self._pid != pid:
                name = f"events-{pid}-{os.urandom(4).hex()}.jsonl"
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                # The file first: another thread goes by the pid.
                self._file = os.open(self._spool / name, flags, 0o600)
                self._pid = pid
            rest = memoryview(b"".join(encoded))
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            _log.warning("a logged value was lost: %s", error)


def _encode(line: Line) -> bytes:
    if type(line) is LoggedMetric:
        fast = encode_point(line.name, line.value, line.step, line.at, tag="metric")
        if fast is not None:
            return fast
    return codec.encode(line) + b"\n"


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return _as_float(value)
    # Scalars of numpy, torch, jax and tensorflow all have item().
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", 0) == 0:
        try:
            inner = item()
        except Exception:
            return None
        if isinstance(inner, (int, float)) and not isinstance(inner, bool):
            return _as_float(inner)
    return None


def _as_float(value: float) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None


def _as_param(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (list, tuple)) and len(value) <= 100:
        return [_as_param(item) if _as_number(item) is None else item for item in value]
    return str(value)[:1000]


def read_lines(spool: Path) -> Iterator[Line]:
    """All lines of all processes: each file in order, metrics of several by time, then step.

    Torn lines are passed over.
    """
    flush_all()  # of this process, which may be the one that logs
    # By name where times are equal, so that the same spool always reads the same.
    paths = sorted(spool.glob("events-*.jsonl"))
    if len(paths) == 1:
        return parse_lines(paths[0].read_bytes())
    files = map(_lines_of, paths)
    return (line for _, line in heapq.merge(*files, key=lambda item: item[0]))


def _lines_of(path: Path) -> Iterator[tuple[tuple[float, int], Line]]:
    return _placed(parse_lines(path.read_bytes()))


def _placed(lines: Iterable[Line]) -> Iterator[tuple[tuple[float, int], Line]]:
    """Lines with their places; one without a time is where the one before it is."""
    place = (0.0, -1)
    for line in lines:
        if isinstance(line, LoggedMetric) and line.at is not None:
            place = (line.at.timestamp(), -1 if line.step is None else line.step)
        yield place, line


def merge_lines(writers: Iterable[bytes]) -> Iterator[Line]:
    """As `read_lines`, of what each writer has said; give them in the order of their names."""
    placed = (_placed(parse_lines(data)) for data in writers)
    return (line for _, line in heapq.merge(*placed, key=lambda item: item[0]))


def parse_lines(data: bytes) -> Iterator[Line]:
    """The lines of one writer; torn ones and those of newer versions are passed over."""
    for one in data.splitlines():
        if b'"type":"metric"' in one:
            try:
                yield _METRIC.decode(one)
                continue
            except ValueError:  # not a finite number, or no metric
                pass
        try:
            kind = msgspec.json.decode(one)["type"]
            yield codec.decode(one, _LINES[kind])
        except (ThenceError, ValueError, KeyError, TypeError):
            continue


_current: Tail | None = None


def attach(tail: Tail | None) -> None:
    """Make this the tail that `tell` appends to; None for none."""
    global _current  # noqa: PLW0603 - there is one run in a process, as there is one process
    if _current is not None:
        _current.flush()
    _current = tail


def current() -> Tail | None:
    """The tail of the run that this process is part of: attached here, or found by the variable."""
    if _current is None and (folder := os.environ.get(SPOOL_VARIABLE)) and Path(folder).is_dir():
        attach(Tail(Path(folder)))
    return _current


def tell(line: Line) -> None:
    """Append a line to the current run, if there is one; says in which cell of a notebook."""
    if (tail := current()) is not None:
        if isinstance(line, (MadeVersion, UsedVersion)):
            line = msgspec.structs.replace(line, cell=current_cell())
        tail.append(line)


def current_cell() -> int | None:
    """The number of the cell that is executed now, as the notebook shows it; None elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    # The counter of the shell is that of the next cell, in some versions of IPython.
    result = getattr(getattr(shell, "displayhook", None), "exec_result", None)
    number = getattr(result, "execution_count", None)
    return number if isinstance(number, int) else None
