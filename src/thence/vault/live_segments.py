"""Segments of live runs: what a run has said so far, for those who look on from elsewhere.

::

    runs/<run id>/<writer>/<n>      segment n of what one process of the run said
    runs/<run id>/pulse             the last sign of life, and where the run stands

Each process of a run that says anything is a *writer* and appends JSON Lines to a file of its own;
`<writer>` is a name for that file, unique in the run. Its segments are the consecutive pieces of
that file: `<n>` counts from 1 with ten digits, without gaps. A segment is

1. the line `sha256:` and 64 hexadecimal digits, the SHA-256 of all that follows;
2. whole lines of the file as they are, each ending with a newline (`live.Line` says what is in
   them).

The pulse is one JSON object (`Pulse`), replaced now and then; it only tells sooner what the
segments tell, and may be missing.

Nothing refers to what is here. It is garbage as soon as the log of the run has a sealed entry: the
sealer deletes it, readers pass it over.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from thence.errors import AlreadyExists, DataDamaged, NotFound
from thence.model import codec
from thence.model.ids import Digest, RunId
from thence.store.base import Store

__all__ = ["Piece", "Pulse", "Segment", "Segments", "by_writer"]

_PREFIX = "runs/"
_PULSE = "pulse"
_KEY = re.compile(rf"runs/([0-9a-f]{{{RunId.LENGTH}}})/(?:(\S+)/(\d{{10}})|{_PULSE})")
_WRITER = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_HEAD = re.compile(rb"sha256:([0-9a-f]{64})\n")


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run stands.

    Attributes:
        at: When this was written, by the clock of the run's machine.
        points: How many metric points there are.
        metrics: The last value of each.
        params: What the program named.
    """

    at: datetime
    points: int = 0
    metrics: dict[str, float] = {}
    params: dict[str, Any] = {}


class Segment(NamedTuple):
    """A segment that is in the store.

    Attributes:
        modified_s: When it was put there, by the store's clock.
    """

    writer: str
    number: int
    modified_s: float


class Piece(NamedTuple):
    """What a segment holds: whole lines."""

    writer: str
    number: int
    lines: bytes


class Segments:
    """The live runs of a project. May be used from any thread.

    Args:
        store: Where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def publish(self, run: RunId, piece: Piece) -> None:
        """Put a segment; publishing the same one again does nothing.

        Raises:
            DataDamaged: There is another segment with this number.
            StorageError: The store failed; whether it is there is not known.
            Denied: The store may not be written to.
        """
        if not _WRITER.fullmatch(piece.writer) or not piece.lines.endswith(b"\n"):
            raise ValueError(f"no segment: {piece.writer}")
        key = _key(run, piece.writer, piece.number)
        data = b"sha256:%s\n%s" % (Digest.of(piece.lines).hex.encode(), piece.lines)
        try:
            self._store.create(key, [data])
        except AlreadyExists:
            # Only one process publishes a run: it is ours, and the answer was lost.
            with suppress(NotFound):
                if self._store.get(key) != data:
                    raise _damaged(
                        key, "It holds something else than was to be put there."
                    ) from None

    def beat(self, run: RunId, pulse: Pulse) -> None:
        """Replace the pulse of a run.

        Raises:
            StorageError: The store failed.
            Denied: The store may not be written to.
        """
        self._store.replace(f"{_PREFIX}{run}/{_PULSE}", [codec.encode(pulse)])

    def pulse(self, run: RunId) -> Pulse | None:
        """The pulse of a run; None where there is none that can be read.

        Raises:
            StorageError: The store failed.
        """
        try:
            return codec.decode(self._store.get(f"{_PREFIX}{run}/{_PULSE}"), Pulse)
        except (NotFound, DataDamaged):
            return None

    def of(self, run: RunId) -> list[Segment]:
        """The segments of a run, by writer and number.

        Raises:
            StorageError: The store failed.
        """
        found = []
        for info in self._store.list(f"{_PREFIX}{run}/"):
            match = _KEY.fullmatch(info.key)
            if match and match.group(2):
                found.append(Segment(match.group(2), int(match.group(3)), info.modified_s))
        return found

    def last_sign_s(self, run: RunId) -> float | None:
        """When anything of a run was last put into the store, by the store's clock.

        Raises:
            StorageError: The store failed.
        """
        return max((info.modified_s for info in self._store.list(f"{_PREFIX}{run}/")), default=None)

    def news(self, run: RunId, known: Mapping[str, int]) -> Iterator[Piece]:
        """The segments that come after those that are known, as they are published.

        Raises:
            DataDamaged: A segment is not what was written.
            StorageError: The store failed.
        """
        for segment in self.of(run):
            if segment.number <= known.get(segment.writer, 0):
                continue
            key = _key(run, segment.writer, segment.number)
            with suppress(NotFound):  # the run was sealed meanwhile
                yield Piece(segment.writer, segment.number, _checked(key, self._store.get(key)))

    def runs(self) -> set[RunId]:
        """The runs of which there is anything.

        Raises:
            StorageError: The store failed.
        """
        found = (_KEY.fullmatch(info.key) for info in self._store.list(_PREFIX))
        return {RunId(match.group(1)) for match in found if match}

    def clear(self, run: RunId) -> None:
        """Delete everything of a run; it is sealed.

        Raises:
            StorageError: The store failed.
            Denied: The store may not be written to.
        """
        for key in [info.key for info in self._store.list(f"{_PREFIX}{run}/")]:
            self._store.delete(key)


def by_writer(pieces: Iterable[Piece]) -> dict[str, bytes]:
    """What each writer has said, in the order of their names."""
    said: defaultdict[str, list[bytes]] = defaultdict(list)
    for piece in pieces:
        said[piece.writer].append(piece.lines)
    return {writer: b"".join(said[writer]) for writer in sorted(said)}


def _key(run: RunId, writer: str, number: int) -> str:
    return f"{_PREFIX}{run}/{writer}/{number:010d}"


def _checked(key: str, data: bytes) -> bytes:
    match = _HEAD.match(data)
    if match is None:
        raise _damaged(key, "It does not begin with its digest.")
    lines = data[match.end() :]
    if Digest.of(lines).hex.encode() != match.group(1):
        raise _damaged(key, "Its bytes do not have the digest that it begins with.")
    return lines


def _damaged(key: str, why: str) -> DataDamaged:
    return DataDamaged(f"a segment of a live run is damaged: {key}", why=why, about=key)
