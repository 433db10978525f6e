"""What a reproduced command sees of this machine: the files of the run at their original paths.

A folder becomes the root of the command. Into it are mounted the folders of this machine, and over
these what the run is given back. Where the original path does not exist on this machine, the folder
that should hold it is replaced by one of ours, in which each of its entries is mounted: a run of
`/home/alice/proj` finds that path on a machine that has never heard of alice, and `/home` on it is
not touched. What the command makes in such a folder stays in ours.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from thence.errors import InvalidInput
from thence.execution.mounts import Bind, Entrance
from thence.store.failures import failures_of

__all__ = ["SYSTEM", "Scene", "View"]

SYSTEM = frozenset(
    {
        *("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "nix", "opt", "proc"),
        *("run", "sbin", "snap", "sys", "usr", "var"),
    }
)
"""Folders of `/` that belong to the system, and not to what people keep on it."""

_ENTRIES_AT_MOST = 10_000


class _Node:
    """A path that is not simply this machine's.

    Attributes:
        source: What is seen there; None where that is made of what is below.
        is_open: Whether what the command makes there is to stay in our folder.
        is_hidden: Whether nothing is there, whatever this machine has.
    """

    def __init__(self) -> None:
        self.below: dict[str, _Node] = {}
        self.source: str | None = None
        self.is_open = False
        self.is_hidden = False

    @property
    def is_folder(self) -> bool:
        return self.source is None or os.path.isdir(self.source)


class Scene(NamedTuple):
    """A view that is laid out.

    Attributes:
        places: Where on this machine a path is that is seen, for those that differ.
    """

    entrance: Entrance
    places: Mapping[str, str]

    def real(self, path: str) -> str:
        """Where on this machine a path of the view is."""
        path = os.path.normpath(path)
        for folder in (path, *map(str, PurePosixPath(path).parents)):
            place = self.places.get(folder)
            if place is not None:
                return place.rstrip("/") + path[len(folder.rstrip("/")) :]
        return path

    def hides(self, path: str) -> bool:
        """Whether this machine has a file at a path where the view has none."""
        real = self.real(path)
        if real == path or os.path.lexists(real) or not os.path.lexists(path):
            return False
        # Links of this machine, such as /lib, are in the view as they are.
        direct = os.path.realpath(path)
        return not os.path.lexists(self.real(direct))


class View:
    """What a command is to see.

    Args:
        folder: Empty; becomes the root.
        strict: Whether nothing of this machine is seen but the system and what is given.
    """

    def __init__(self, folder: Path, *, strict: bool = False) -> None:
        self._folder = os.fspath(folder)
        self._root = f"{self._folder}/root"
        self._strict = strict
        self._top = _Node()
        self._binds: list[Bind] = []
        self._places: dict[str, str] = {}

    def give(self, path: str, source: Path) -> None:
        """Let a folder or file be seen at an absolute path.

        A file is moved into a folder that is opened up, and must be on the disk of the view.
        """
        self._node(path).source = os.fspath(source)

    def open_up(self, path: str) -> None:
        """Let a folder take new files, which stay with us."""
        self._node(path).is_open = True

    def hide(self, path: str) -> None:
        """Let nothing be at a path of a folder that is opened up."""
        self._node(path).is_hidden = True

    def lay_out(self, cwd: str) -> Scene:
        """Make the folders and mount points of the view.

        Args:
            cwd: The working directory of the command, in the view.

        Raises:
            InvalidInput: A folder that would have to be replaced has too many entries.
            StorageError: The disk is full.
        """
        with failures_of(f"make {self._folder}"):
            self._lay_plain("/", self._top)
        entrance = Entrance(
            os.fsencode(self._root), tuple(self._binds), os.fsencode(os.path.normpath(cwd))
        )
        return Scene(entrance, self._places)

    def _node(self, path: str) -> _Node:
        node = self._top
        for name in PurePosixPath(_without_links(path)).parts[1:]:
            node = node.below.setdefault(name, _Node())
        return node

    def _lay(self, path: str, node: _Node) -> None:
        """Lay out what is seen at a path, where there is a mount point for it."""
        if node.source is not None:
            self._bind(node.source, path)
            self._lay_within(node.source, path, node)
        elif node.is_open or not self._has_points(path, node):
            self._lay_plain(path, node)
        else:
            self._bind(path, path)
            for name, below in node.below.items():
                self._lay(f"{path}/{name}", below)

    def _lay_within(self, source: str, path: str, node: _Node) -> None:
        """Lay out what is below something given, whose folder then holds the mount points."""
        for name, below in node.below.items():
            if below.is_hidden and below.source is None:
                continue  # what is given has nothing there, or it is meant
            there, seen = f"{source}/{name}", f"{path}/{name}"
            _make_point(there, is_folder=below.is_folder)
            if below.source is not None:
                self._lay(seen, below)
            else:
                self._lay_within(there, seen, below)

    def _has_points(self, path: str, node: _Node) -> bool:
        """Whether this machine's own folder has all mount points, and may be seen."""
        if not self._is_shown(path) or not os.access(path, os.R_OK | os.X_OK):
            return False
        points = [(f"{path}/{name}", below.is_folder) for name, below in node.below.items()]
        return all(
            os.path.lexists(point)
            and not os.path.islink(point)
            and os.path.isdir(point) == is_folder
            for point, is_folder in points
        )

    def _lay_plain(self, path: str, node: _Node) -> None:
        """Put a folder of ours in the place of one of this machine, with all its entries."""
        if path == "/":
            ours, prefix = self._root, ""
            os.makedirs(ours)
            self._places[path] = ours
        else:
            ours, prefix = f"{self._folder}/{len(self._binds)}", path
            os.makedirs(ours)
            self._bind(ours, path)
        for name, mode in self._entries(path):
            if name in node.below:
                continue
            there = f"{prefix}/{name}"
            if stat.S_ISLNK(mode):
                os.symlink(os.readlink(there), f"{ours}/{name}")
                continue
            _make_point(f"{ours}/{name}", is_folder=stat.S_ISDIR(mode))
            self._bind(there, there)
        for name, below in node.below.items():
            if below.is_hidden and below.source is None:
                continue
            if below.source is not None and not below.is_folder:
                # Itself, for a program that replaces or removes it: a mount point lets nobody.
                os.rename(below.source, f"{ours}/{name}")
                continue
            _make_point(f"{ours}/{name}", is_folder=below.is_folder)
            self._lay(f"{prefix}/{name}", below)

    def _entries(self, path: str) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        try:
            entries = os.scandir(path)
        except OSError:
            return found  # nobody of ours could see it anyway
        with entries:
            for entry in entries:
                if len(found) >= _ENTRIES_AT_MOST:
                    raise InvalidInput(
                        f"{path} has too many entries",
                        why=f"A folder of its own can stand for one with {_ENTRIES_AT_MOST:,}.",
                        hint="Reproduce it in a container, or on a machine with its folders.",
                    )
                if self._is_shown(f"{path.rstrip('/')}/{entry.name}"):
                    try:
                        found.append((entry.name, entry.stat(follow_symlinks=False).st_mode))
                    except OSError:
                        continue
        return found

    def _is_shown(self, path: str) -> bool:
        parts = PurePosixPath(path).parts
        return not self._strict or len(parts) < 2 or parts[1] in SYSTEM

    def _bind(self, source: str, path: str) -> None:
        self._places[path] = source
        self._binds.append(Bind(os.fsencode(source), os.fsencode(self._root + path)))


def _without_links(path: str) -> str:
    """An absolute path as this machine means it, as far as it exists here."""
    path = os.path.normpath(path)
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name) if name else path


def _make_point(path: str, *, is_folder: bool) -> None:
    if os.path.lexists(path):
        return
    if is_folder:
        os.makedirs(path)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
