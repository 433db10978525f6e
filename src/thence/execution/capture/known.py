"""What earlier runs found out of packages, for as long as the files that tell it stay the same.

A training that imports scikit-learn uses a thousand files of twenty distributions. To hash them,
and to read the RECORD of all that is installed beside them, took 0.25 s of CPU at the end of each
run, to say the same each time. Here each fact stands beside the signature of the file that tells
it; losing all of it costs only that time.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["KnownDistribution", "KnownPackages", "Signature", "signature_of"]

Signature = tuple[int, int, int, int]

# A file that has just been written may be written again within the same tick of the clock.
_SETTLED_NS = 2_000_000_000
_MOST = 4_000


class KnownDistribution(msgspec.Struct):
    """What is known of an installed distribution.

    Attributes:
        record: Signature of its RECORD; with another one nothing of this holds.
        tops: First segments of the paths in it.
        digest: Of it, see `installed.record_digest`; empty where that is not known yet.
        genuine: Files that had the hash of RECORD, with their signatures.
    """

    record: Signature
    tops: frozenset[str] | None = None
    digest: str = ""
    genuine: dict[str, Signature] = {}


class _Document(msgspec.Struct):
    distributions: dict[str, KnownDistribution] = {}
    system: Signature | None = None
    owners: dict[str, list[tuple[str, str]]] = {}


class KnownPackages:
    """A file of what is known; without a path, or where it cannot be read, nothing is.

    Args:
        path: Where it is.
        clock_ns: As of the times of files.
    """

    def __init__(
        self, path: Path | None = None, *, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._path = path
        self._clock_ns = clock_ns
        self._before = b""
        self._document = _Document()
        self._asked: dict[str, KnownDistribution | None] = {}
        if path is not None:
            with contextlib.suppress(OSError, msgspec.DecodeError):
                self._before = path.read_bytes()
                self._document = msgspec.msgpack.decode(self._before, type=_Document)

    def distribution(self, folder: str) -> KnownDistribution | None:
        """What is known of the one with this `.dist-info`, to be added to; None without RECORD."""
        if folder not in self._asked:
            self._asked[folder] = self._distribution(folder)
        return self._asked[folder]

    def _distribution(self, folder: str) -> KnownDistribution | None:
        now = signature_of(f"{folder}/RECORD")
        if now is None:
            return None
        found = self._document.distributions.get(folder)
        if found is None or found.record != now:
            found = KnownDistribution(record=now)
            if self.is_settled(now):
                self._document.distributions[folder] = found
        return found

    def owners(self, state: str) -> dict[str, list[tuple[str, str]]]:
        """System packages by what they were asked for, to be added to.

        Args:
            state: The file in which the system notes what is installed.
        """
        now = signature_of(state)
        if now is None or not self.is_settled(now):
            return {}
        if self._document.system != now:
            self._document.system, self._document.owners = now, {}
        return self._document.owners

    def is_settled(self, signature: Signature) -> bool:
        """Whether a file could not change any more without getting another signature."""
        return max(signature[1], signature[2]) < self._clock_ns() - _SETTLED_NS

    def save(self) -> None:
        """Keep it for the next run; a full disk does not matter."""
        if self._path is None:
            return
        for known in (self._document.distributions, self._document.owners):
            _forget(known)
        data = msgspec.msgpack.encode(self._document)
        if data == self._before:
            return
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(data)
            beside.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()


def _forget(known: dict[str, Any]) -> None:
    """Environments come and go; what was known first goes first."""
    for name in list(known)[: max(0, len(known) - _MOST)]:
        del known[name]


def signature_of(path: str) -> Signature | None:
    """What is equal while a file stays as it is; None where there is none."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
