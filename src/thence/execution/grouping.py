"""Which artifacts the files of a run become: one for each file, one for a folder of many."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Group", "group_files"]

MANY = 32
VERY_MANY = 10_000
"""From so many files on a folder is one artifact with all that lies below it, however deep."""


class Group(NamedTuple):
    """Files that are one artifact.

    Attributes:
        name: Path of the file, or of the folder.
        members: Paths of the files; relative to the folder where it is one.
        is_folder: Whether it is a folder.
    """

    name: str
    members: tuple[str, ...]
    is_folder: bool


def group_files(
    paths: Iterable[str], *, many: int = MANY, very_many: int = VERY_MANY
) -> list[Group]:
    """Group relative paths: a folder with more than `many` of them, at any depth, is one artifact.

    Of nested folders the innermost that still holds that many is taken, so that `data/train` and
    `data/test` stay apart; the few files beside such folders keep their own names. A folder with
    more than `very_many` takes in those below it: a class of pictures in each of a thousand folders
    is one data set. Only the files that are given are in it, not all that lie there.

    >>> [g.name for g in group_files(["a.csv", "b/c.csv"])]
    ['a.csv', 'b/c.csv']
    >>> [g.name for g in group_files(["out/m.json", "out/png/1", "out/png/2"], many=1)]
    ['out/m.json', 'out/png']
    >>> [g.name for g in group_files(["d/a/1", "d/a/2", "d/b/1", "d/b/2"], many=1, very_many=3)]
    ['d']
    """
    files = sorted(set(paths))
    chosen = _full(files, very_many)
    chosen |= _full([path for path in files if _home(path, chosen) is None], many)
    homes: dict[str, list[str]] = {}
    for path in files:
        homes.setdefault(_home(path, chosen) or "", []).append(path)
    groups = [Group(path, (path,), is_folder=False) for path in homes.pop("", [])]
    for folder, members in homes.items():
        inside = tuple(path[len(folder) + 1 :] for path in members)
        groups.append(Group(folder, inside, is_folder=True))
    return sorted(groups)


def _full(files: list[str], many: int) -> set[str]:
    """The innermost folders with more files than that, less those that are in such a folder."""
    # How many files of a folder, at any depth, are not in the group of a folder inside of it.
    loose = Counter(path.rpartition("/")[0] for path in files)
    folders = {parent for folder in loose for parent in _with_parents(folder)}
    chosen = set()
    for folder in sorted(folders, key=lambda folder: -folder.count("/")):
        if loose[folder] > many:
            chosen.add(folder)
        else:
            loose[folder.rpartition("/")[0]] += loose[folder]
    return chosen


def _home(path: str, chosen: set[str]) -> str | None:
    if not chosen:
        return None
    return next((folder for folder in _parents(path) if folder in chosen), None)


def _parents(path: str) -> list[str]:
    return _with_parents(path.rpartition("/")[0])


def _with_parents(folder: str) -> list[str]:
    parts = folder.split("/") if folder else []
    return ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]
