"""Plain text, and bytes of no known format."""

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from thence.errors import InvalidInput
from thence.formats.base import (
    CompareContext,
    Dumped,
    DumpedFile,
    Outcome,
    Sniffed,
    Tolerance,
    Trust,
    Unreadable,
    with_suffix,
)
from thence.formats.media import sniff, suffix_of
from thence.formats.tally import Tally, show
from thence.model.records import Kind

__all__ = ["Raw", "Text", "compare_lines"]

_CLOCK = r"\d{1,2}:\d\d:\d\d(?:[.,]\d+)?"
_DAY = r"\d{4}-\d\d-\d\d"
_UNIT = r"(?:ns|us|µs|ms|s|sec|secs|seconds?|min|mins|minutes?|h|hours?)"
_MASKS = tuple(
    (re.compile(pattern, re.IGNORECASE), mask)
    for pattern, mask in (
        (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<uuid>"),
        (rf"\b{_DAY}[T ]{_CLOCK}(?:\s?(?:Z|[+-]\d\d:?\d\d))?(?![\d:])", "<time>"),
        (
            r"\b(?:mon|tue|wed|thu|fri|sat|sun) \w{3} [ \d]\d \d\d:\d\d:\d\d (?:\w+ )?\d{4}",
            "<time>",
        ),
        (rf"(?<![\d:]){_CLOCK}(?![\d:])", "<time>"),
        (rf"(?<=\b(?:created|updated))( (?:on|at))?:? {_DAY}\b", " <day>"),
        (rf"(?<=\bgenerated)( (?:on|at))?:? {_DAY}\b", " <day>"),
        (r"(?<=\bat )0x[0-9a-f]{4,16}\b|\b0x7[0-9a-f]{6,15}\b", "<address>"),
        (
            rf"\b((?:took|elapsed|runtime|duration|(?:finished|done|completed) in)(?: time)?"
            rf"[:=]?\s*)\d+(?:\.\d+)?\s?{_UNIT}\b",
            r"\1<duration>",
        ),
    )
)
_NUMBER = re.compile(r"(?<![\w.])[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w])")


class Text:
    """Saves strings as UTF-8; loads and compares any text.

    Compared line by line. Line endings and a missing last newline are `equivalent`; so are times
    of day (with or without a date), dates after *created*, *updated* or *generated*, durations
    after words such as *took* or *elapsed*, memory addresses and UUIDs. A date on its own is taken
    for data. With a tolerance, numbers within the lines may deviate.
    """

    name = "text"
    media_type = "text/plain"
    kind = Kind.DOCUMENT

    def matches(self, name: str, head: bytes) -> bool:
        """Texts that no other format reads."""
        media_type = sniff(name, head).media_type
        return media_type.startswith("text/") or media_type in {
            "application/xml",
            "application/x-ipynb+json",
            "application/x-pmml",
        }

    def saves(self, obj: Any) -> bool:
        """Strings."""
        return isinstance(obj, str)

    def save(self, obj: Any, stem: str) -> Dumped:
        """As UTF-8, exactly the characters given; `.txt` unless the name has a suffix of a text.

        Raises:
            InvalidInput: It holds a lone surrogate, which is not Unicode text.
        """
        named = sniff(stem, b"")
        file_name = stem if self.matches(stem, b"") else with_suffix(stem, ".txt")
        try:
            data = str(obj).encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"cannot be saved as text: {show(error.object[error.start : error.end])}"
                f" at character {error.start} is not Unicode",
                hint="Save it as bytes: text.encode('utf-8', 'surrogateescape').",
            ) from error
        kind = named.kind if file_name == stem else self.kind
        metadata = {"format": self.name, "file": file_name, "python_type": "str"}
        return Dumped((DumpedFile(file_name, data),), kind, metadata)

    def load(self, path: Path, metadata: Mapping[str, Any], trust: Trust) -> str:
        """The text, with the line endings it has."""
        try:
            return path.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise Unreadable(path, f"not UTF-8 at byte {error.start}") from error

    def compare(self, original: Path, reproduced: Path, context: CompareContext) -> Outcome:
        """Line by line."""
        tally = Tally(self.name, context.tolerance)
        pairs = zip_longest(_lines(original), _lines(reproduced))
        for number, (first, second) in enumerate(pairs, 1):
            where = f"line {number}"
            if first is None or second is None:
                tally.differs(f"{where}: {_or_end(first)} -> {_or_end(second)}")
            elif first != second:
                compare_lines(tally, where, first, second)
        return tally.outcome() if tally.passed_over else tally.outcome("only line endings differ")


class Raw:
    """Saves bytes as they are; takes every file that no other format takes.

    Such files are compared by their bytes alone.
    """

    name = "bytes"
    media_type = "application/octet-stream"
    kind = Kind.FILE

    def matches(self, name: str, head: bytes) -> bool:
        """Everything."""
        return True

    def saves(self, obj: Any) -> bool:
        """Bytes-like objects."""
        return isinstance(obj, (bytes, bytearray, memoryview))

    def save(self, obj: Any, stem: str) -> Dumped:
        """The bytes; `.bin` unless the name has a suffix."""
        data = bytes(obj)
        file_name = stem if suffix_of(stem) else f"{stem}.bin"
        found: Sniffed = sniff(file_name, data[:8192])
        metadata = {"format": self.name, "file": file_name, "python_type": "bytes"}
        return Dumped((DumpedFile(file_name, data),), found.kind, metadata)

    def load(self, path: Path, metadata: Mapping[str, Any], trust: Trust) -> bytes:
        """The bytes."""
        return path.read_bytes()


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        for line in lines:
            yield line.rstrip("\r\n")


def _or_end(line: str | None) -> str:
    return "end of file" if line is None else show(line)


def compare_lines(tally: Tally, where: str, original: str, reproduced: str) -> None:
    """Compare two lines that are not the same, but for what texts may have otherwise."""
    first, second = _mask(original), _mask(reproduced)
    if first == second:
        tally.passes_over(f"ignored times, addresses or ids, first in {where}")
    elif tally.tolerance.is_exact or not _numbers_agree(tally.tolerance, first, second):
        tally.differs(f"{where}: {show(original)} -> {show(reproduced)}")
    else:
        for one, other in zip(_NUMBER.findall(first), _NUMBER.findall(second), strict=True):
            tally.number(where, float(one), float(other))


def _numbers_agree(tolerance: Tolerance, original: str, reproduced: str) -> bool:
    if _NUMBER.sub("#", original) != _NUMBER.sub("#", reproduced):
        return False
    pairs = zip(_NUMBER.findall(original), _NUMBER.findall(reproduced), strict=True)
    return all(one == other or tolerance.allows(float(one), float(other)) for one, other in pairs)


def _mask(line: str) -> str:
    for pattern, mask in _MASKS:
        line = pattern.sub(mask, line)
    return line
