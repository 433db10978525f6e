"""Compressed files: what counts is inside."""

import filecmp
import gzip
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thence.formats import media
from thence.formats.base import CompareContext, Comparer, Loader, Outcome, Trust, Unreadable
from thence.formats.csv_table import CSV
from thence.formats.image import Image
from thence.formats.json_value import JSON
from thence.formats.parquet import Arrow, Parquet
from thence.formats.svg import SVG
from thence.formats.tally import Tally
from thence.formats.text import Raw, Text
from thence.model.records import Grade, Kind

__all__ = ["Gzip"]

# A file of a foreign version may unpack to anything: DEFLATE packs by up to 1032. Real data come
# near that only where they are small, so what is large and packs that well is refused.
_LARGEST_BYTES = 4 << 30
_LARGEST_RATIO = 200
_BLOCK_BYTES = 1 << 20

_INNER = (Parquet(), Arrow(), CSV(), JSON(), SVG(), Image(), Text(), Raw())


class Gzip:
    """Loads and compares gzip files by what is inside, without the suffix `.gz`.

    The time and the name in the header, and the level of compression, are `equivalent`. A file
    that unpacks to more than 4 GiB and more than 200 times its size is not unpacked any further.
    """

    name = "gzip"
    media_type = media.GZIP
    kind = Kind.FILE

    def matches(self, name: str, head: bytes) -> bool:
        """By media type."""
        return media.sniff(name, head).media_type == self.media_type

    def load(self, path: Path, metadata: Mapping[str, Any], trust: Trust) -> Any:
        """As the format of the file inside does."""
        with tempfile.TemporaryDirectory() as folder:
            inner = _unpack(path, Path(folder), path.name)
            known = _format(inner)
            loader = known if isinstance(known, Loader) else Raw()
            try:
                return loader.load(inner, {}, trust)
            except Unreadable as error:
                raise Unreadable(path, error.reason) from error

    def compare(self, original: Path, reproduced: Path, context: CompareContext) -> Outcome:
        """As the format of the file inside does.

        Raises:
            MissingExtra: That format needs a package.
        """
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            name = context.name or original.name
            first = _unpack(original, Path(one), name)
            second = _unpack(reproduced, Path(other), name)
            if filecmp.cmp(first, second, shallow=False):
                return Outcome(Grade.EQUIVALENT, self.name, "same content, compressed differently")
            known = _format(first)
            if not isinstance(known, Comparer):
                tally = Tally(self.name, context.tolerance)
                tally.differs("what is inside differs")
                return tally.outcome()
            try:
                return known.compare(first, second, context)
            except Unreadable as error:
                outer = original if error.path == first else reproduced
                raise Unreadable(outer, error.reason) from error


def _format(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(media.HEAD_BYTES)
    return next(known for known in _INNER if known.matches(path.name, head))


def _unpack(path: Path, folder: Path, name: str) -> Path:
    inner = folder / (media.base_name(name).removesuffix(".gz") or "content")
    try:
        with gzip.open(path) as source, inner.open("wb") as target:
            most = max(_LARGEST_BYTES, _LARGEST_RATIO * path.stat().st_size)
            while block := source.read(_BLOCK_BYTES):
                most -= len(block)
                if most < 0:
                    raise Unreadable(path, "far too large when unpacked: more than 4 GiB")
                target.write(block)
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(path, f"not readable as gzip: {error}") from error
    return inner
