"""Trees: the files of a version as JSON Lines, sorted by path.

::

    ["path", size, "flags", "sha256hex"]

Flags: `x` executable, `l` symbolic link (the content is its target), `p` the path is
percent-encoded because it is not UTF-8. No times and no owners: equal content is an equal tree, and
the digest of the tree is the identity of the version's content.
"""

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec

from thence.errors import DataDamaged, InvalidInput, NotFound
from thence.model.ids import Digest
from thence.model.paths import path_from_text, path_to_text
from thence.store.failures import failures_of

__all__ = ["Found", "TreeChange", "TreeEntry", "decode", "diff", "encode", "walk"]


# Unknown flags are refused: what they would mean for the file cannot be passed over.
_ROW = msgspec.json.Decoder(
    tuple[
        str,
        Annotated[int, msgspec.Meta(ge=0)],
        Literal["", "x", "l", "p", "xl", "xp", "lp", "xlp"],
        str,
    ]
)

_NEVER_WRITTEN = {b".git", b".thence"}


class TreeEntry(NamedTuple):
    """A file of a version.

    Attributes:
        path: Relative, with `/`; bytes that are not UTF-8 as Python's surrogates.
        digest: Of its bytes; of its target for a link.
    """

    path: str
    size: int
    digest: Digest
    executable: bool = False
    link: bool = False


class TreeChange(NamedTuple):
    """A difference of two trees; `old` is None for an added file, `new` for a removed one."""

    path: str
    old: TreeEntry | None
    new: TreeEntry | None


class Found(NamedTuple):
    """A file, link or special file on disk.

    Attributes:
        relative: To the folder that was walked, with `/`; the base name for a single file.
        special: `socket`, `pipe` or `device` for what has no content to keep.
    """

    relative: str
    path: Path
    stat: os.stat_result
    special: str | None = None

    @property
    def link(self) -> bool:
        """True for a symbolic link."""
        return stat.S_ISLNK(self.stat.st_mode)

    @property
    def executable(self) -> bool:
        """True where the owner may execute it."""
        return bool(self.stat.st_mode & stat.S_IXUSR) and not self.link


def encode(entries: Iterable[TreeEntry]) -> bytes:
    """The bytes of a tree.

    Raises:
        InvalidInput: Two entries have one path, or one is a folder of another.
    """
    rows = []
    for entry in entries:
        raw = os.fsencode(entry.path)
        text, percent = path_to_text(entry.path)
        flags = "".join(
            mark for mark, on in (("x", entry.executable), ("l", entry.link), ("p", percent)) if on
        )
        row = json.dumps(
            [text, entry.size, flags, entry.digest.hex], ensure_ascii=False, separators=(",", ":")
        )
        rows.append((raw, row.encode()))
    rows.sort()
    for (before, _), (after, _) in pairwise(rows):
        if before == after:
            raise InvalidInput(f"two files have one path: {os.fsdecode(after)}")
    _check_folders([raw for raw, _ in rows], InvalidInput)
    return b"".join(row + b"\n" for _, row in rows)


def decode(data: bytes) -> list[TreeEntry]:
    """Read a tree.

    The paths are safe to join to a folder: relative, without `..`, no file inside a link.

    Raises:
        DataDamaged: It is not a tree, or has a path that could escape.
    """
    entries = []
    paths = []
    for line in data.splitlines():
        try:
            text, size, flags, digits = _ROW.decode(line)
            path = path_from_text(text, percent="p" in flags)
            raw = os.fsencode(path)
            entry = TreeEntry(path, size, Digest.from_hex(digits), "x" in flags, "l" in flags)
        except (ValueError, RecursionError) as error:
            raise DataDamaged("a tree that cannot be read", why=f"Line {line[:80]!r}.") from error
        if any(part.lower() in _NEVER_WRITTEN for part in raw.split(b"/")):
            # Written into a folder they would run code at the next command there.
            raise DataDamaged(f"a tree with a path that no save makes: {text!r}")
        if b"\0" in raw or any(part in {b"", b".", b".."} for part in raw.split(b"/")):
            raise DataDamaged(f"a tree with a path that could escape: {text!r}")
        entries.append(entry)
        paths.append(raw)
    if any(before >= after for before, after in pairwise(paths)):
        raise DataDamaged("a tree that is not sorted by path")
    _check_folders(paths, DataDamaged)
    return entries


def _check_folders(paths: list[bytes], error: Callable[[str], Exception]) -> None:
    names = set(paths)
    for path in paths:
        parent = path.rpartition(b"/")[0]
        while parent:
            if parent in names:
                raise error(f"{os.fsdecode(parent)!r} is a file and a folder at once")
            parent = parent.rpartition(b"/")[0]


def diff(old: Iterable[TreeEntry], new: Iterable[TreeEntry]) -> list[TreeChange]:
    """What was added, removed or changed, sorted by path."""
    before = {entry.path: entry for entry in old}
    after = {entry.path: entry for entry in new}
    return [
        TreeChange(path, before.get(path), after.get(path))
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]


def walk(path: Path, *, skip: Callable[[Path], bool] = lambda _: False) -> Iterator[Found]:
    """The files below a path, or the path itself; links are reported, not followed.

    A link given as the path itself is followed. Empty folders are not reported.

    Args:
        path: A file or folder.
        skip: Is asked of every folder and file below.

    Raises:
        NotFound: There is nothing, or the link leads nowhere.
        Denied: A folder may not be read.
        StorageError: The disk failed.
    """
    with failures_of(f"cannot look at {path}", about=str(path)):
        try:
            top = path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            broken = path.is_symlink()
            raise NotFound(
                f"there is no file or folder {path}",
                why=f"It is a link to {os.readlink(path)}, which does not exist."
                if broken
                else None,
                hint="See the path for typing errors; it is taken relative to the current folder.",
                about=str(path),
            ) from error
    if not stat.S_ISDIR(top.st_mode):
        yield Found(path.name or str(path), path, top, _special(top))
        return
    pending = [(str(path), "")]
    while pending:
        folder, relative = pending.pop()
        with failures_of(f"cannot read the folder {folder}", about=folder):
            items = list(os.scandir(folder))
        for item in items:
            name = f"{relative}{item.name}"
            if skip(Path(item.path)):
                continue
            with failures_of(f"cannot look at {item.path}", about=item.path):
                if item.is_dir(follow_symlinks=False):
                    pending.append((item.path, f"{name}/"))
                    continue
                facts = item.stat(follow_symlinks=False)
            yield Found(name, Path(item.path), facts, _special(facts))


def _special(facts: os.stat_result) -> str | None:
    mode = facts.st_mode
    if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
        return None
    if stat.S_ISSOCK(mode):
        return "socket"
    return "pipe" if stat.S_ISFIFO(mode) else "device"
