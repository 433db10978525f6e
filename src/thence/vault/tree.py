"""Trees: the files of a version as JSON Lines, sorted by path.

::

    ["path", size, "flags", "sha256hex"]

Flags: `x` executable, `l` symbolic link (the content is its target), `p` the path is
percent-encoded because it is not UTF-8. No times and no owners: equal content is an equal tree, and
the digest of the tree is the identity of the version's content.

A tree of a million files is a hundred megabytes. It is kept as these bytes, and its entries are
made when somebody looks at them: as objects they would take five times as much.
"""

import json
import os
import re
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, overload

import msgspec

from thence.errors import DataDamaged, InvalidInput, NotFound
from thence.model.ids import Digest
from thence.model.paths import path_from_text, path_to_text
from thence.store.failures import failures_of

__all__ = [
    "NEVER_SAVED",
    "ODD",
    "Found",
    "Tree",
    "TreeChange",
    "TreeEntry",
    "decode",
    "diff",
    "diff_rows",
    "encode",
    "encode_row",
    "facts_of",
    "walk",
]

NEVER_SAVED = frozenset({".git", ".thence"})
"""What no tree has as part of a path, in upper or lower case: written into a folder, it would run
code at the next command there."""


# Unknown flags are refused: what they would mean for the file cannot be passed over.
_ROW = msgspec.json.Decoder(
    tuple[
        str,
        Annotated[int, msgspec.Meta(ge=0)],
        Literal["", "x", "l", "p", "xl", "xp", "lp", "xlp"],
        str,
    ]
)
# Nearly all rows are like this; to match one is three times as fast as to decode it. Anything else
# is left to the decoder, which knows all the rules.
_PLAIN = re.compile(
    rb'\["([^"\\%\x00-\x1f\x7f-\xff]+)",(0|[1-9][0-9]{0,17}),"(x?l?)","([0-9a-f]{64})"\]\n'
)
_BAD_PART = re.compile(rb"(?:^|/)(?:\.{0,2}|\.git|\.thence)(?:/|\Z)", re.IGNORECASE)
ODD = re.compile('[\x00-\x1f"\\\\\udc80-\udcff]')


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


class Tree(Sequence[TreeEntry]):
    """The entries of a tree, sorted by path, made from its bytes one by one; see `decode`.

    Args:
        data: The bytes of a tree that was checked.
        starts: Where each row begins, and where the last one ends.
    """

    __slots__ = ("_data", "_starts")

    def __init__(self, data: bytes, starts: "array[int]") -> None:
        self._data = data
        self._starts = starts

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> TreeEntry: ...

    @overload
    def __getitem__(self, index: slice) -> list[TreeEntry]: ...

    def __getitem__(self, index: int | slice) -> TreeEntry | list[TreeEntry]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        return _entry(self._data[self._starts[at] : self._starts[at + 1]])

    def __iter__(self) -> Iterator[TreeEntry]:
        return map(_entry, self.rows())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Tree):
            return self._data == other._data
        if not isinstance(other, Sequence) or len(other) != len(self):
            return NotImplemented if not isinstance(other, Sequence) else False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Tree({len(self)} files)"

    def rows(self) -> Iterator[bytes]:
        """The rows as they are written, each with its line feed."""
        data = self._data
        for start, end in pairwise(self._starts):
            yield data[start:end]


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


def encode_row(entry: TreeEntry) -> bytes:
    """The row of one file, with its line feed."""
    flags = ("x" if entry.executable else "") + ("l" if entry.link else "")
    if not ODD.search(entry.path):
        return f'["{entry.path}",{entry.size},"{flags}","{entry.digest.hex}"]\n'.encode()
    text, percent = path_to_text(entry.path)
    row = [text, entry.size, flags + "p" * percent, entry.digest.hex]
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def encode(entries: Iterable[TreeEntry]) -> bytes:
    """The bytes of a tree.

    Raises:
        InvalidInput: Two entries have one path, or one is a folder of another.
    """
    rows = sorted((os.fsencode(entry.path), encode_row(entry)) for entry in entries)
    above = _Above(InvalidInput)
    for (before, _), (after, _) in pairwise(rows):
        if before == after:
            raise InvalidInput(f"two files have one path: {os.fsdecode(after)}")
    for raw, _ in rows:
        above.check(raw)
    return b"".join(row for _, row in rows)


def decode(data: bytes) -> Tree:
    """Read a tree.

    The paths are safe to join to a folder: relative, without `..`, no file inside a link.

    Raises:
        DataDamaged: It is not a tree, or has a path that could escape.
    """
    starts = array("Q", [0])
    before = b""
    above = _Above(DataDamaged)
    at, end = 0, len(data)
    while at < end:
        if plain := _PLAIN.match(data, at):
            raw = plain[1]
            at = plain.end()
        else:
            stop = data.find(b"\n", at)
            stop = end if stop < 0 else stop
            raw = os.fsencode(_entry(data[at:stop]).path)
            at = stop + 1
        if _BAD_PART.search(raw) or b"\0" in raw:
            raise _unsafe(raw)
        if len(starts) > 1 and before >= raw:
            raise DataDamaged("a tree that is not sorted by path")
        above.check(raw)
        before = raw
        starts.append(min(at, end))
    return Tree(data, starts)


def _entry(row: bytes) -> TreeEntry:
    if plain := _PLAIN.fullmatch(row):
        path, size, flags, digits = plain.groups()
        return TreeEntry(
            path.decode(),
            int(size),
            Digest(bytes.fromhex(digits.decode())),
            flags.startswith(b"x"),
            flags.endswith(b"l"),
        )
    try:
        text, number, marks, digest = _ROW.decode(row)
        path_text = path_from_text(text, percent="p" in marks)
        os.fsencode(path_text)
        return TreeEntry(path_text, number, Digest.from_hex(digest), "x" in marks, "l" in marks)
    except (ValueError, RecursionError) as error:
        raise DataDamaged("a tree that cannot be read", why=f"Line {row[:80]!r}.") from error


def _unsafe(raw: bytes) -> DataDamaged:
    text = os.fsdecode(raw)
    if any(part.lower() in NEVER_SAVED for part in text.split("/")):
        return DataDamaged(f"a tree with a path that no save makes: {text!r}")
    return DataDamaged(f"a tree with a path that could escape: {text!r}")


class _Above:
    """Refuses a file that is in a file. Asked in the order of the paths.

    All paths that begin with the same bytes follow each other, so only those need to be kept that
    the next one may begin with.
    """

    def __init__(self, error: Callable[[str], Exception]) -> None:
        self._error = error
        self._paths: list[bytes] = []

    def check(self, path: bytes) -> None:
        paths = self._paths
        while paths and not path.startswith(paths[-1]):
            paths.pop()
        for one in paths:
            if path[len(one) : len(one) + 1] == b"/":
                raise self._error(f"{os.fsdecode(one)!r} is a file and a folder at once")
        paths.append(path)


def diff(old: Iterable[TreeEntry], new: Iterable[TreeEntry]) -> Iterator[TreeChange]:
    """What was added, removed or changed, sorted by path; a `Tree` is never held as entries."""
    return diff_rows(_sorted_rows(old), _sorted_rows(new))


def _sorted_rows(entries: Iterable[TreeEntry]) -> Iterator[bytes]:
    if isinstance(entries, Tree):
        return entries.rows()
    return map(encode_row, sorted(entries, key=lambda entry: os.fsencode(entry.path)))


def diff_rows(old: Iterator[bytes], new: Iterator[bytes]) -> Iterator[TreeChange]:
    """The same, of rows that are sorted by path."""
    before, after = next(old, None), next(new, None)
    while before is not None or after is not None:
        if before == after:
            before, after = next(old, None), next(new, None)
            continue
        gone = None if before is None else _entry(before)
        come = None if after is None else _entry(after)
        if gone is not None and come is not None and gone.path != come.path:
            if os.fsencode(gone.path) < os.fsencode(come.path):
                come = None
            else:
                gone = None
        if gone is not None:
            before = next(old, None)
        if come is not None:
            after = next(new, None)
        if gone != come:
            either: Any = gone or come
            yield TreeChange(either.path, gone, come)


def facts_of(path: Path) -> os.stat_result:
    """What the disk says of a file or folder that a person named; a link is followed.

    Raises:
        NotFound: There is nothing, or the link leads nowhere.
        Denied: It may not be looked at.
        StorageError: The disk failed.
    """
    with failures_of(f"cannot look at {path}", about=str(path)):
        try:
            return path.stat()
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


def walk(path: Path) -> Iterator[Found]:
    """The files below a path, or the path itself; links are reported, not followed.

    A link given as the path itself is followed. Empty folders are not reported.

    Args:
        path: A file or folder.

    Raises:
        NotFound: There is nothing, or the link leads nowhere.
        Denied: A folder may not be read.
        StorageError: The disk failed.
    """
    top = facts_of(path)
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
