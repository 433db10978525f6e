"""Which artifacts the files of a run become: one for each file, one for a folder of many."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Group", "group_files"]

MANY = 32


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


def group_files(paths: Iterable[str], *, many: int = MANY) -> list[Group]:
    """Group relative paths: a folder with more than `many` of them, at any depth, is one artifact.

    Of nested folders the innermost that still holds that many is taken, so that `data/train` and
    `data/test` stay apart; the few files beside such folders keep their own names.

    >>> [g.name for g in group_files(["a.csv", "b/c.csv"])]
    ['a.csv', 'b/c.csv']
    >>> [g.name for g in group_files(["out/m.json", "out/png/1", "out/png/2"], many=1)]
    ['out/m.json', 'out/png']
    """
    files = sorted(set(paths))
    # How many files of a folder, at any depth, are not in the group of a folder inside of it.
    loose = Counter(path.rpartition("/")[0] for path in files)
    folders = {folder for path in files for folder in _parents(path)}
    chosen = set()
    for folder in sorted(folders, key=lambda folder: -folder.count("/")):
        if loose[folder] > many:
            chosen.add(folder)
        else:
            loose[folder.rpartition("/")[0]] += loose[folder]
    homes: dict[str, list[str]] = {}
    for path in files:
        home = next((folder for folder in _parents(path) if folder in chosen), "")
        homes.setdefault(home, []).append(path)
    groups = [Group(path, (path,), is_folder=False) for path in homes.pop("", [])]
    for folder, members in homes.items():
        inside = tuple(path[len(folder) + 1 :] for path in members)
        groups.append(Group(folder, inside, is_folder=True))
    return sorted(groups)


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]
