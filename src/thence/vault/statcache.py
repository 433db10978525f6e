"""The stat cache: which content a file had when it was last read.

A file is taken as unchanged if its mode, size, times, inode and device are the same, and if its
times were already past when it was read. A file that was modified just before could be modified
again within the same tick of the clock (git calls such entries racy), so it is read again.

What is known of a folder is one `Table`, of which the columns are bytes: that nothing changed in a
folder of a thousand files is one comparison of bytes, not a thousand of objects, and a million
files take a hundred megabytes. Tables lie in a few files, so that a change writes one of them.

::

    file   = "THNCSTA1" table …
    table  = seal (32 bytes)  identity (32 bytes)  length of folder, of names, number of files (u32)
             folder  names, joined by "/"  facts (48 bytes a file)  digests (32 bytes a file)

The seal is the BLAKE3-256 of all that follows it: a file that was cut by a crash must not name a
wrong content.
"""

import os
import struct
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from blake3 import blake3

from thence.model.ids import Digest

__all__ = [
    "FACTS",
    "KnownTree",
    "Signature",
    "StatCache",
    "Table",
    "is_racy",
    "signature",
    "to_facts",
    "without_times",
]

# Linux 6.13 and later stamp files finely; older kernels tick every 1 to 4 ms, FAT every 2 s.
_RACY_NS = 20_000_000
_MAGIC = b"THNCSTA1"
_HEAD = struct.Struct("<32s32sIII")
_FACTS = struct.Struct("<6q")
FACTS = _FACTS.size
"""Bytes of the facts of a file: mode, size, time of modification, of change, inode, device."""

_FILES = 64
_TREES = 256
_UNKNOWN_TIMES = b"\xff" * 32
_MASK = (1 << 64) - 1

Signature = tuple[int, int, int, int, int]


def signature(facts: os.stat_result) -> Signature:
    """What must be equal for a file to count as unchanged.

    The change time is among it: `cp -p`, rsync and tar set the modification time back.
    """
    return (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_dev)


def to_facts(numbers: "list[int]") -> bytes:
    """The facts of files, from six numbers of each, in the order of `FACTS`."""
    try:
        return array("q", numbers).tobytes()
    except OverflowError:  # inodes of some network disks have 64 bits
        return array("Q", [number & _MASK for number in numbers]).tobytes()


def is_racy(facts: bytes, read_at_ns: int) -> bool:
    """Whether a file with these facts could change without another time, when read at a time."""
    _, _, modified, changed, _, _ = _FACTS.unpack(facts)
    return bool(max(modified, changed) > read_at_ns - _RACY_NS)


def without_times(facts: bytes, size: int) -> bytes:
    """Facts that no file has: what is noted with them is read again."""
    return facts[:8] + size.to_bytes(8, "little") + _UNKNOWN_TIMES


class Table:
    """The files of one folder: names, facts and digests, in the order of the names' bytes.

    Args:
        data: Has names, joined by `/`, which no name has; `FACTS` bytes of each file; a digest of
            32 bytes of each.
        places: Where in the data the names begin, the facts, the digests, and where these end.
        identity: Is the same for equal names, kinds, sizes and digests, whatever the times.
    """

    __slots__ = ("_data", "_digests", "_end", "_facts", "_names", "identity")

    def __init__(self, data: bytes, places: tuple[int, int, int, int], identity: bytes) -> None:
        self._data = data
        self._names, self._facts, self._digests, self._end = places
        self.identity = identity

    @classmethod
    def of(cls, names: bytes, facts: bytes, digests: bytes) -> "Table":
        """A table of these columns."""
        identity = _identify(names, facts, digests)
        data = b"".join((names, facts, digests))
        digests_at = len(names) + len(facts)
        return cls(data, (0, len(names), digests_at, len(data)), identity)

    @property
    def names(self) -> bytes:
        """Of the files, joined by `/`."""
        return self._data[self._names : self._facts]

    @property
    def facts(self) -> bytes:
        """Of the files."""
        return self._data[self._facts : self._digests]

    @property
    def digests(self) -> bytes:
        """Of the files."""
        return self._data[self._digests : self._end]

    def __len__(self) -> int:
        return (self._end - self._digests) // 32

    def parts(self, folder: bytes) -> tuple[bytes, ...]:
        """The table of a folder as it is written."""
        names = self._facts - self._names
        head = _HEAD.pack(bytes(32), self.identity, len(folder), names, len(self))
        parts = (head[32:], folder, self._data[self._names : self._end])
        seal = blake3()
        for part in parts:
            seal.update(part)
        return (seal.digest(), *parts)


def _identify(names: bytes, facts: bytes, digests: bytes) -> bytes:
    numbers = array("q")
    numbers.frombytes(facts)
    kinds = bytes([mode >> 8 & 0xF0 | mode >> 6 & 1 for mode in numbers[::6]])
    made = blake3(len(names).to_bytes(8, "little"))
    for part in (names, kinds, numbers[1::6].tobytes(), digests):
        made.update(part)
    return made.digest()


class KnownTree(msgspec.Struct, array_like=True, frozen=True):
    """A tree that was made of folders.

    Attributes:
        packs: All that hold a content of the tree, or the tree; empty where that is not known.
        kind: What it looked like.
    """

    tree: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    size: int = 0
    files: int = 0
    packs: tuple[bytes, ...] = ()
    kind: str = ""
    media_type: str | None = None


_TREES_DECODER = msgspec.msgpack.Decoder(dict[bytes, KnownTree])


class _Note(NamedTuple):
    """Of one file, beside the table of its folder."""

    facts: bytes
    digest: bytes


class _File:
    """One file of the cache, read whole; tables are looked into when they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._data = path.read_bytes()
        except OSError:
            self._data = b""
        self.places: dict[bytes, tuple[int, int]] = {}
        at = len(_MAGIC)
        if self._data[:at] != _MAGIC:
            return
        while at + _HEAD.size <= len(self._data):
            _, _, folder, names, files = _HEAD.unpack_from(self._data, at)
            start = at + _HEAD.size
            end = start + folder + names + files * (FACTS + 32)
            if end > len(self._data):
                return
            self.places[self._data[start : start + folder]] = (at, end)
            at = end

    def table(self, folder: bytes) -> Table | None:
        """What is known of a folder; None where that is damaged."""
        if (place := self.places.get(folder)) is None:
            return None
        start, end = place
        with memoryview(self._data) as view:
            seal, identity, length, names, files = _HEAD.unpack_from(view, start)
            if blake3(view[start + 32 : end]).digest() != seal:
                return None
        at = start + _HEAD.size + length
        facts, digests = at + names, at + names + files * FACTS
        return Table(self._data, (at, facts, digests, end), identity)

    def raw(self, folder: bytes) -> bytes:
        start, end = self.places[folder]
        return self._data[start:end]


class StatCache:
    """A cache in a local folder; losing it costs time only.

    Args:
        folder: For its files; made when there is something to write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, _File] = {}
        self._tables: dict[bytes, Table] = {}
        self._notes: dict[bytes, dict[bytes, _Note | None]] = {}
        self._rows: dict[bytes, dict[bytes, _Note]] = {}
        self._trees: dict[bytes, KnownTree] | None = None
        self._has_new_trees = False

    def find(self, path: Path | str, facts: os.stat_result) -> Digest | None:
        """The digest of a file's bytes, where they are certainly still the same."""
        folder, name = _split(path)
        notes = self._notes.get(folder, {})
        if name in notes:
            note = notes[name]
        else:
            if folder not in self._rows:
                table = self.table(folder)
                self._rows = {folder: {} if table is None else dict(_rows(table))}
            note = self._rows[folder].get(name)
        if note is None or note.facts != _facts_of(facts):
            return None
        return Digest(note.digest)

    def remember(
        self, path: Path, facts: os.stat_result, digest: Digest, *, read_at_ns: int
    ) -> None:
        """Note the digest of a file that was read at a time; racy ones are not kept."""
        folder, name = _split(path)
        packed = _facts_of(facts)
        note = None if is_racy(packed, read_at_ns) else _Note(packed, digest.raw)
        self._notes.setdefault(folder, {})[name] = note

    def table(self, folder: bytes) -> Table | None:
        """What is known of a folder, named by its absolute path; notes of single files apart."""
        if (table := self._tables.get(folder)) is not None:
            return table
        return self._file_of(folder).table(folder)

    def put(self, folder: bytes, table: Table) -> None:
        """Replace what is known of a folder."""
        self._tables[folder] = table
        self._rows.pop(folder, None)
        self._notes.pop(folder, None)

    def put_file(self, path: str, table: Table) -> None:
        """Note what is known of a single file, as a table of its own."""
        folder, name = _split(path)
        self._notes.setdefault(folder, {})[name] = _Note(table.facts, table.digests)

    def tree(self, fingerprint: bytes) -> KnownTree | None:
        """The tree that was made of folders with this fingerprint."""
        return self._known_trees().get(fingerprint)

    def note_tree(self, fingerprint: bytes, known: KnownTree) -> None:
        """Note which tree was made."""
        trees = self._known_trees()
        if trees.get(fingerprint) != known:
            trees.pop(fingerprint, None)
            trees[fingerprint] = known
            self._has_new_trees = True

    def save(self) -> None:
        """Write what is new; a failure is passed over, since it is only a cache."""
        for folder, notes in self._notes.items():
            table = self.table(folder)
            rows = {} if table is None else dict(_rows(table))
            for name, note in notes.items():
                if note is not None:
                    rows[name] = note
                else:
                    rows.pop(name, None)
            self._tables[folder] = _to_table(rows)
        self._notes, self._rows = {}, {}
        changed: dict[int, dict[bytes, Table]] = {}
        for folder, table in self._tables.items():
            changed.setdefault(_number(folder), {})[folder] = table
        if not changed and not self._has_new_trees:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for number, tables in changed.items():
                self._write(number, tables)
            if self._has_new_trees:
                last = dict(list(self._known_trees().items())[-_TREES:])
                data = msgspec.msgpack.encode(last)
                self._replace("trees", [blake3(data).digest(), data])
        except OSError:
            return
        self._tables = {}
        self._has_new_trees = False

    def _write(self, number: int, tables: dict[bytes, Table]) -> None:
        old = _File(self._folder / f"{number:02x}")  # another process may have written it meanwhile
        self._files[number] = old

        def parts() -> Iterator[bytes]:
            yield _MAGIC
            for folder, table in tables.items():
                yield from table.parts(folder)
            for folder in old.places:
                # Folders that went would stay for ever.
                if folder not in tables and os.path.isdir(folder):
                    yield old.raw(folder)

        try:
            self._replace(old.path.name, parts())
        finally:
            del self._files[number]

    def _replace(self, name: str, parts: Iterable[bytes]) -> None:
        temporary = self._folder / f"{name}.{os.getpid()}.new"
        try:
            with temporary.open("wb") as file:
                file.writelines(parts)
            temporary.replace(self._folder / name)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _file_of(self, folder: bytes) -> _File:
        number = _number(folder)
        if number not in self._files:
            self._files[number] = _File(self._folder / f"{number:02x}")
        return self._files[number]

    def _known_trees(self) -> dict[bytes, KnownTree]:
        if self._trees is None:
            try:
                data = (self._folder / "trees").read_bytes()
                whole = blake3(data[32:]).digest() == data[:32]
                self._trees = _TREES_DECODER.decode(data[32:]) if whole else {}
            except (OSError, ValueError):
                self._trees = {}
        return self._trees


def _number(folder: bytes) -> int:
    return blake3(folder).digest()[0] % _FILES


def _split(path: Path | str) -> tuple[bytes, bytes]:
    text = os.fspath(path)
    folder, _, name = text.rpartition("/")
    # Asked of each file while a program waits; most paths are as `abspath` would leave them.
    if not (folder.startswith("/") and name) or "//" in folder or "/." in text:
        folder, name = os.path.split(os.path.abspath(text))
    return os.fsencode(folder), os.fsencode(name)


def _facts_of(facts: os.stat_result) -> bytes:
    return to_facts([facts.st_mode, *signature(facts)])


def _rows(table: Table) -> Iterator[tuple[bytes, _Note]]:
    facts, digests = table.facts, table.digests
    for at, name in enumerate(table.names.split(b"/") if len(table) else ()):
        yield name, _Note(facts[at * FACTS : at * FACTS + FACTS], digests[at * 32 : at * 32 + 32])


def _to_table(rows: dict[bytes, _Note]) -> Table:
    names = sorted(rows)
    return Table.of(
        b"/".join(names),
        b"".join(rows[name].facts for name in names),
        b"".join(rows[name].digest for name in names),
    )
