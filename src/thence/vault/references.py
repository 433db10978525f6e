"""What content a record refers to: what must be there before the record may be."""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from thence.errors import DataDamaged, ThenceError
from thence.model import codec
from thence.model.ids import Digest
from thence.model.records import (
    AliasMove,
    ArtifactEdit,
    Code,
    Entry,
    Erasure,
    ErasureLifted,
    FileRole,
    FileUse,
    Record,
    Restored,
    RunEdit,
    RunOpened,
    RunRestored,
    RunSealed,
    RunTombstone,
    Tombstone,
    Verdict,
    Version,
    VersionEdit,
)
from thence.store.base import Bytes

__all__ = [
    "FIELDS",
    "Named",
    "Root",
    "RootKind",
    "Roots",
    "digests_in",
    "names_in",
    "references",
    "roots_of",
]

# Longer than any line that is written: a path of 4 KiB, percent-encoded, and what is beside it.
_LONGEST_LINE = 1024 * 1024


class RootKind(Enum):
    """What a content is, as far as it refers to others."""

    CONTENT = "content"
    """It refers to nothing."""

    TREE = "tree"
    """The files of a version; it refers to the content of each."""

    FILES = "files"
    """The file uses of a run, one JSON object a line; it refers to the content of each."""


class Root(NamedTuple):
    """A content that something refers to, together with all that it refers to itself."""

    digest: Digest
    kind: RootKind


class Roots(NamedTuple):
    """What some entries refer to.

    Attributes:
        unknown: Ids of the entries that a newer thence wrote: what they refer to is not, or not
            all, among the roots, so it cannot be copied with them.
    """

    roots: tuple[Root, ...]
    unknown: tuple[str, ...]


FIELDS: Mapping[type[msgspec.Struct], Mapping[str, RootKind | None]] = MappingProxyType(
    {
        Version: {
            "tree": RootKind.TREE,
            "sources": None,
            "card": RootKind.CONTENT,
            "profile": RootKind.CONTENT,
        },
        VersionEdit: {"version": None, "card": RootKind.CONTENT},
        ArtifactEdit: {"card": RootKind.CONTENT},
        Tombstone: {"version": None},
        Restored: {"version": None},
        AliasMove: {"version": None, "previous": None},
        RunOpened: {},
        RunSealed: {
            "series": RootKind.CONTENT,
            "files": RootKind.FILES,
            "uses": None,
            "makes": None,
            "environment": RootKind.CONTENT,
            "observed": RootKind.CONTENT,
            "stdout": RootKind.CONTENT,
            "stderr": RootKind.CONTENT,
        },
        RunEdit: {},
        RunTombstone: {},
        RunRestored: {},
        Verdict: {},
        # These contents are the ones that nobody may need any more.
        Erasure: {"contents": None, "versions": None},
        ErasureLifted: {"contents": None},
        Code: {"diff": RootKind.CONTENT, "bundle": RootKind.CONTENT},
        FileUse: {"digest": RootKind.CONTENT, "version": None},
    }
)
"""Every field that holds digests: of which content, or None where they refer to none."""


def references(record: Record) -> Iterator[Root]:
    """The content that a record refers to."""
    yield from _fields_of(record)
    if isinstance(record, RunSealed):
        yield from _fields_of(record.code)


def _fields_of(struct: msgspec.Struct) -> Iterator[Root]:
    for name, kind in FIELDS[type(struct)].items():
        digest = getattr(struct, name)
        if kind is not None and digest is not None:
            yield Root(digest, kind)


def roots_of(entries: Iterable[Entry]) -> Roots:
    """The content that entries of logs refer to, each once, and which entries leave that open."""
    roots: dict[Root, None] = {}
    unknown = []
    for entry in entries:
        if entry.record is not None:
            roots.update(dict.fromkeys(references(entry.record)))
        # A field that we do not know may name a content just as well as a record that we do not.
        if entry.record is None or codec.encode(entry.record) != entry.record_bytes:
            unknown.append(entry.id)
    return Roots(tuple(roots), tuple(unknown))


class _Use(msgspec.Struct):
    """Of a file use, what is needed here."""

    path: str = ""
    digest: str | None = None
    role: str = ""
    version: str | None = None


# Other flags than ours do not matter here: a tree is copied, not written to a disk.
_ROW: msgspec.json.Decoder[tuple[str, int, str, str]] = msgspec.json.Decoder(
    tuple[str, int, str, str]
)
_USE: msgspec.json.Decoder[_Use] = msgspec.json.Decoder(_Use)


class Named(NamedTuple):
    """A content that a tree or a list of file uses names.

    Attributes:
        digest: Its raw digest.
        is_kept_elsewhere: It is an output of a run that is a version of something, which keeps it:
            it may be gone with that version.
        path: Of the file.
    """

    digest: bytes
    is_kept_elsewhere: bool
    path: str


def digests_in(kind: RootKind, pieces: Iterable[Bytes]) -> Iterator[bytes]:
    """The raw digests of what a tree or a list of file uses keeps, while it is being read.

    An output of a run that is a version of something is kept by that version, and not by the run.

    Raises:
        DataDamaged: It is no such thing.
    """
    return (name.digest for name in names_in(kind, pieces) if not name.is_kept_elsewhere)


def names_in(kind: RootKind, pieces: Iterable[Bytes]) -> Iterator[Named]:
    """What a tree or a list of file uses refers to, while it is being read.

    Raises:
        DataDamaged: It is no such thing.
    """
    if kind is RootKind.CONTENT:
        return
    decoder: msgspec.json.Decoder[Any] = _ROW if kind is RootKind.TREE else _USE
    for line in _lines(pieces):
        is_elsewhere = False
        try:
            row = decoder.decode(line)
            if kind is RootKind.TREE:
                path, digits = row[0], row[3]
            elif row.digest is None:
                continue
            else:
                path, digits = row.path, Digest.parse(row.digest).hex
                is_elsewhere = row.role == FileRole.OUTPUT and row.version is not None
            raw = bytes.fromhex(digits)
        except (ValueError, RecursionError, ThenceError) as error:
            raise _unreadable(kind, line) from error
        if len(raw) != 32:
            raise _unreadable(kind, line)
        yield Named(raw, is_elsewhere, path)


def _lines(pieces: Iterable[Bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from filter(None, lines)
        if len(rest) > _LONGEST_LINE:
            raise DataDamaged("a list of files with a line that has no end")
    if rest:
        yield rest


def _unreadable(kind: RootKind, line: bytes) -> DataDamaged:
    what = "a tree" if kind is RootKind.TREE else "a list of file uses"
    return DataDamaged(f"{what} that cannot be read", why=f"Line {line[:80]!r}.")
