"""Folders as they are on disk now, compared with what the stat cache knows of them.

A walk costs little more than the questions to the operating system: names are sorted per folder in
an order that makes the paths of the whole walk sorted by their bytes, facts are packed, and a
folder in which nothing changed is told by comparing its facts at once. What is held of a file is
a name and 80 bytes.
"""

import os
import stat
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from thence.errors import InvalidInput
from thence.store.failures import failures_of
from thence.vault.ignoring import IGNORE_FILE, Rules
from thence.vault.leftovers import is_leftover
from thence.vault.statcache import FACTS, StatCache, Table, to_facts
from thence.vault.tree import NEVER_SAVED, facts_of

__all__ = ["Folder", "Walk", "look"]

_AT_ONCE = 1024
_KEPT = frozenset({stat.S_IFREG, stat.S_IFLNK})
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Folder:
    """The files of one folder, or a single file that was named itself.

    Attributes:
        path: Where it is.
        prefix: What stands before a name to make its path in the tree; ends with `/`, or empty.
        key: Its name in the stat cache; None for a single file.
        to_read: Which files must be read.
        below: Folders in it that have something to save, by the order of their paths.
        table: What the stat cache knows, if that is all of it.
    """

    __slots__ = (
        "_digests",
        "_facts",
        "_names",
        "below",
        "key",
        "path",
        "prefix",
        "table",
        "to_read",
    )

    def __init__(self, path: str, prefix: str, key: bytes | None) -> None:
        self.path = path
        self.prefix = prefix
        self.key = key
        self.below: list[Folder] = []
        self.table: Table | None = None
        self.to_read: array[int] = array("Q")
        self._names = b""
        self._facts: bytes | bytearray = b""
        self._digests = bytearray()

    @property
    def name(self) -> str:
        """Its own, without those of the folders above."""
        return self.prefix[:-1].rpartition("/")[2]

    def path_of(self, name: str) -> str:
        """Where a file in it is."""
        return self.path if self.key is None else f"{self.path}/{name}"

    @property
    def names(self) -> bytes:
        """The names, joined by `/`."""
        return self._names if self.table is None else self.table.names

    @property
    def facts(self) -> bytes | bytearray:
        """The facts, `FACTS` bytes of each file."""
        return self._facts if self.table is None else self.table.facts

    @property
    def digests(self) -> bytes | bytearray:
        """The digests, 32 bytes of each file; zeros where it must be read."""
        return self._digests if self.table is None else self.table.digests

    def __len__(self) -> int:
        return len(self._digests) // 32 if self.table is None else len(self.table)

    def compare(self, names: bytes, facts: bytes, table: Table | None) -> None:
        """Take what is there, and what was there when it was read."""
        if table is not None and table.names == names and table.facts == facts:
            self.table = table
            return
        self._names, self._facts = names, facts
        count = len(facts) // FACTS
        self._digests = bytearray(32 * count)
        if table is None or not len(table):
            self.to_read = array("Q", range(count))
            return
        places = {name: at for at, name in enumerate(table.names.split(b"/"))}
        old_facts, old_digests = table.facts, table.digests
        for at, name in enumerate(names.split(b"/") if count else ()):
            old = places.get(name)
            if old is None or (
                old_facts[old * FACTS : old * FACTS + FACTS]
                != facts[at * FACTS : at * FACTS + FACTS]
            ):
                self.to_read.append(at)
            else:
                self._digests[at * 32 : at * 32 + 32] = old_digests[old * 32 : old * 32 + 32]

    def close(self, table: Table) -> None:
        """Let a table stand for what is held here."""
        self.table = table
        self._names, self._facts, self._digests = b"", b"", bytearray()

    def open_up(self) -> None:
        """Make it possible to `learn`: what came from the cache is copied."""
        if (table := self.table) is not None:
            self._names, self._facts = table.names, table.facts
            self._digests = bytearray(table.digests)
            self.table = None

    def learn(self, at: int, facts: bytes, digest: bytes) -> None:
        """Take the facts and the digest of a file that was read."""
        if self._facts[at * FACTS : at * FACTS + FACTS] != facts:
            if not isinstance(self._facts, bytearray):
                self._facts = bytearray(self._facts)
            self._facts[at * FACTS : at * FACTS + FACTS] = facts
        self._digests[at * 32 : at * 32 + 32] = digest


class Walk(NamedTuple):
    """All that was found below some paths.

    Attributes:
        roots: One for each path, by the order of their names in the tree.
        special: Paths of sockets, pipes and devices, which have no content.
        ignored: Paths that rules leave out; a folder stands for all in it.
        empty_folders: How many folders hold nothing, which a tree does not keep.
    """

    roots: tuple[Folder, ...]
    special: tuple[str, ...]
    ignored: tuple[str, ...]
    empty_folders: int

    def folders(self) -> Iterator[Folder]:
        """All of them, by the order of their paths."""
        pending = list(reversed(self.roots))
        while pending:
            folder = pending.pop()
            yield folder
            pending.extend(reversed(folder.below))

    def fingerprint(self) -> bytes:
        """Is the same where names, kinds, sizes and digests are; all must have been read."""
        made = blake3()
        for folder in self.folders():
            table = folder.table
            assert table is not None
            prefix = os.fsencode(folder.prefix)
            made.update(len(prefix).to_bytes(8, "little") + prefix + table.identity)
        return made.digest()


def look(paths: Sequence[Path], stats: StatCache, *, root: Path | None = None) -> Walk:
    """Walk through files and folders.

    One folder gives its content at the root of the tree, one file its base name; several paths are
    put side by side under their base names. Links are not followed, except those that are named.

    Args:
        paths: Files or folders.
        stats: Knows what was there before.
        root: The folder of the project whose rules of what is ignored hold; None ignores nothing.

    Raises:
        NotFound: A path does not exist.
        Denied: A file or folder may not be looked at.
        InvalidInput: Two paths have the same base name, or a rule cannot be understood.
        StorageError: The disk failed.
    """
    if len(paths) > 1:
        _check_names(paths)
    walker = _Walker(stats)
    roots = []
    for path in paths:
        facts = facts_of(path)
        base = path.resolve().name if len(paths) > 1 else path.name or str(path)
        if not stat.S_ISDIR(facts.st_mode):
            roots.append((os.fsencode(base), walker.single(path, base, facts)))
            continue
        rules = None if root is None else Rules.above(root, path)
        prefix = f"{base}/" if len(paths) > 1 else ""
        roots.append((os.fsencode(f"{base}/"), walker.walk(path, prefix, rules)))
    roots.sort(key=lambda one: one[0])
    return Walk(
        tuple(folder for _, folder in roots if folder is not None),
        tuple(walker.special),
        tuple(sorted(walker.ignored)),
        walker.empty_folders,
    )


def _check_names(paths: Sequence[Path]) -> None:
    names: set[str] = set()
    for path in paths:
        base = path.resolve().name
        if base in names:
            raise InvalidInput(
                f"two of the paths are called {base!r}",
                why="Together in one artifact they would overwrite each other.",
                hint="Save the folder that holds them, or save them one by one.",
            )
        names.add(base)


class _Walker:
    def __init__(self, stats: StatCache) -> None:
        self._stats = stats
        self.special: list[str] = []
        self.ignored: list[str] = []
        self.empty_folders = 0

    def single(self, path: Path, base: str, facts: os.stat_result) -> Folder | None:
        if not stat.S_ISREG(facts.st_mode):
            self.special.append(base)
            return None
        found = Folder(str(path), "", None)
        name, packed = os.fsencode(base), to_facts(_numbers(facts))
        digest = self._stats.find(path, facts)
        found.compare(name, packed, None if digest is None else Table.of(name, packed, digest.raw))
        return found

    def walk(self, path: Path, prefix: str, rules: Rules | None) -> Folder:
        top = Folder(str(path), prefix, os.fsencode(os.path.abspath(path)))
        pending = [(top, rules)]
        while pending:
            folder, rules = pending.pop()
            with failures_of(f"cannot read the folder {folder.path}", about=folder.path):
                # A folder that became a link since it was listed is not entered.
                how = _OPEN if folder is top else _OPEN | os.O_NOFOLLOW
                descriptor = os.open(folder.path, how)
                try:
                    rules = self._look_into(folder, descriptor, rules)
                finally:
                    os.close(descriptor)
            pending.extend(
                (child, rules and rules.enter(child.name)) for child in reversed(folder.below)
            )
        return top

    def _look_into(self, folder: Folder, descriptor: int, rules: Rules | None) -> Rules | None:
        files: list[str] = []
        folders: list[str] = []
        with os.scandir(descriptor) as entries:
            for entry in entries:
                (folders if entry.is_dir(follow_symlinks=False) else files).append(entry.name)
        is_empty = not files and not folders
        files, folders = _allowed(files), _allowed(folders)
        if rules is not None:
            if IGNORE_FILE in files:
                rules = rules.read(folder.path)
            files = self._kept(files, folder, rules, "")
            folders = self._kept(folders, folder, rules, "/")
        self._compare(folder, descriptor, _sorted(files))
        for name in _sorted(folders, "/"):
            child = Folder(
                f"{folder.path}/{name}",
                f"{folder.prefix}{name}/",
                os.path.join(folder.key or b"", os.fsencode(name)),
            )
            folder.below.append(child)
        self.empty_folders += is_empty
        return rules

    def _kept(self, names: list[str], folder: Folder, rules: Rules, end: str) -> list[str]:
        out = rules.ignored(names, folders=bool(end))
        if not out:
            return names
        self.ignored.extend(f"{folder.prefix}{name}{end}" for name in sorted(out))
        return [name for name in names if name not in out]

    def _compare(self, folder: Folder, descriptor: int, names: list[str]) -> None:
        packed: list[bytes] = []
        kept: list[str] = []
        ask = os.stat
        for start in range(0, len(names), _AT_ONCE):
            numbers: list[int] = []
            for name in names[start : start + _AT_ONCE]:
                try:
                    facts = ask(name, dir_fd=descriptor, follow_symlinks=False)
                except FileNotFoundError:
                    continue  # it went since the folder was listed
                mode = facts.st_mode
                if mode & 0o170000 in _KEPT:
                    kept.append(name)
                    numbers += (
                        mode,
                        facts.st_size,
                        facts.st_mtime_ns,
                        facts.st_ctime_ns,
                        facts.st_ino,
                        facts.st_dev,
                    )
                elif mode & 0o170000 != stat.S_IFDIR:
                    self.special.append(f"{folder.prefix}{name}")
            packed.append(to_facts(numbers))
        joined = os.fsencode("/".join(kept))
        table = self._stats.table(folder.key or b"")
        folder.compare(joined, b"".join(packed), table)


def _allowed(names: list[str]) -> list[str]:
    """Without those that no tree has."""
    if any(name[0] == "." and _is_ours(name) for name in names):
        return [name for name in names if not _is_ours(name)]
    return names


def _is_ours(name: str) -> bool:
    return name.lower() in NEVER_SAVED or is_leftover(name)


def _sorted(names: list[str], end: str = "") -> list[str]:
    """By the bytes of the paths that they make."""
    if end or not all(map(str.isascii, names)):
        return sorted(names, key=lambda name: os.fsencode(name + end))
    return sorted(names)


def _numbers(facts: os.stat_result) -> list[int]:
    return [
        facts.st_mode,
        facts.st_size,
        facts.st_mtime_ns,
        facts.st_ctime_ns,
        facts.st_ino,
        facts.st_dev,
    ]
