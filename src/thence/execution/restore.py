"""Restoring what a run was made from into an empty folder.

::

    <base>/tree/…/<root>   the project's folder, and beside it what the run read there (../data)
    <base>/packages        local and patched packages, put on PYTHONPATH
    <base>/home            an empty home
    <base>/environment     the rebuilt environment
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from thence.errors import DataDamaged, NotFound, ThenceError
from thence.execution.capture.placeholders import restore as fill_in
from thence.model.ids import Digest
from thence.model.paths import path_from_text
from thence.model.records import FileRole, FileUse, RunSealed
from thence.store.failures import failures_of
from thence.vault.content import Content

__all__ = ["Restored", "check_elsewhere", "put_back", "restore_elsewhere", "restore_files"]

_PATCHED = "patched/"
_RESTORED = {FileRole.INPUT, FileRole.CODE, FileRole.CONFIG}
_WHY = {
    "secret": "a secret file, which is never kept",
    "unreadable": "it could not be read",
    "no-space": "there was no room to keep it",
    "changed": "it changed before it could be kept",
    "vanished": "it vanished before it could be kept",
}


class Restored(NamedTuple):
    """What was given back.

    Attributes:
        root: The project's folder.
        packages: Folders to be put on PYTHONPATH.
        patched: Files that are to be laid over those of the rebuilt environment, by place.
        missing: What could not be given back, sentences; by the path that the run used.
        elsewhere: Inputs at absolute paths, which are used where they are, by path.
        beside: Where outputs beside the project lie (`../out.csv`), by absolute path.
        files: Number of files.
    """

    root: Path
    packages: tuple[Path, ...]
    patched: dict[str, Path]
    missing: dict[str, str]
    elsewhere: dict[str, FileUse]
    beside: dict[str, Path]
    files: int


def restore_files(
    sealed: RunSealed,
    uses: Iterable[FileUse],
    content: Content,
    base: Path,
    *,
    secrets: Mapping[str, str],
    progress: Callable[[str], None],
) -> Restored:
    """Write the files of a run below a folder.

    Args:
        sealed: The run.
        uses: Its files.
        content: Where their bytes are.
        base: An empty folder.
        secrets: Values by placeholder, to be put back into redacted files.
        progress: Is told what is being done.

    Raises:
        StorageError: The disk is full.
        Denied: The folder may not be written to.
    """
    uses = list(uses)
    root, depth = _place_root(sealed, uses, base / "tree")
    missing: dict[str, str] = {}
    elsewhere: dict[str, FileUse] = {}
    patched: dict[str, Path] = {}
    packages = base / "packages"
    count = 0
    with failures_of(f"restore files into {base}"):
        for folder in (root, root / sealed.cwd, base / "home", *(root / f for f in sealed.folders)):
            if _is_inside(folder, base):
                folder.mkdir(parents=True, exist_ok=True)
    wanted = [use for use in uses if use.role in _RESTORED or use.role is FileRole.PACKAGE]
    progress(f"restoring {len(wanted)} {'file' if len(wanted) == 1 else 'files'}")
    for use in wanted:
        path = path_from_text(use.path, percent=use.percent)
        if use.role is FileRole.PACKAGE:
            reason, _, place = path.partition("/")
            home, target = packages / reason, packages / reason / place
        elif path.startswith("/"):
            beside = _beside(sealed.root, path, depth)
            if beside is None:
                elsewhere[path] = use
                continue
            home, target = base / "tree", root / beside
        else:
            home, target = root, root / path
        if not _is_inside(target, home):
            # No run of ours records that: the record was made by hand.
            missing[path] = f"{path}: it leads out of its folder"
            continue
        if use.digest is None:
            why = _WHY.get(use.why_not_kept or "", use.why_not_kept or "it was not kept")
            missing[path] = f"{path}: {why}"
            continue
        try:
            _write(content, use, target, secrets)
            count += 1
            if use.role is FileRole.PACKAGE and path.startswith(_PATCHED):
                patched[path.removeprefix(_PATCHED)] = target
        except (NotFound, DataDamaged) as error:
            missing[path] = f"{path}: {error.what}"
    on_path = (packages / name for name in ("local", "editable"))
    found = tuple(folder for folder in on_path if folder.is_dir())
    places: dict[str, Path] = {}
    for use in uses:
        outside = _beside(sealed.root, use.path, depth) if use.path.startswith("/") else None
        if use.role is FileRole.OUTPUT and outside is not None:
            places[use.path] = Path(os.path.normpath(root / outside))
            with failures_of(f"restore files into {base}"):
                places[use.path].parent.mkdir(parents=True, exist_ok=True)
    return Restored(root, found, patched, missing, elsewhere, places, count)


def restore_elsewhere(
    uses: Iterable[FileUse],
    content: Content,
    folder: Path,
    *,
    secrets: Mapping[str, str],
) -> dict[str, Path]:
    """Write inputs at absolute paths into a folder, each under a number; where, by their paths.

    What was not kept is not among them.

    Raises:
        StorageError: The disk is full.
    """
    found: dict[str, Path] = {}
    for number, use in enumerate(uses):
        if use.digest is None:
            continue
        target = folder / str(number)
        # One that cannot be had is missing, as it is without us.
        with contextlib.suppress(NotFound, DataDamaged):
            _write(content, use, target, secrets)
            found[path_from_text(use.path, percent=use.percent)] = target
    return found


def _write(content: Content, use: FileUse, target: Path, secrets: Mapping[str, str]) -> None:
    assert use.digest is not None
    with failures_of(f"restore {use.path}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
    content.write_to(use.digest, target, executable=use.executable)
    if use.redacted:
        put_back(target, secrets)


def put_back(path: Path, secrets: Mapping[str, str]) -> None:
    """Put secrets in the place of their placeholders in a file, as far as they are known.

    Raises:
        StorageError: The disk is full.
    """
    if not secrets:
        return
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    with failures_of(f"restore {path}"):
        path.write_bytes(fill_in(text, secrets).encode("utf-8", "surrogateescape"))


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether a path stays in a folder, by its text: there are no links in what we restore."""
    return Path(os.path.normpath(path)).is_relative_to(folder)


def _place_root(sealed: RunSealed, uses: Iterable[FileUse], tree: Path) -> tuple[Path, int]:
    """Where the project's folder goes, deep enough that `../..` of the run stays below `tree`.

    Returns:
        The folder, and how many of its parents may hold files of the run.
    """
    original = sealed.root
    parts = PurePosixPath(original).parts
    # A command may be run from a folder above or beside its project.
    depth = min(PurePosixPath(sealed.cwd).parts.count(".."), max(0, len(parts) - 2))
    for use in uses:
        if use.role in {*_RESTORED, FileRole.OUTPUT} and use.path.startswith("/"):
            common = os.path.commonpath([original, use.path])
            # One shared folder such as /home or / says nothing about lying side by side.
            if len(PurePosixPath(common).parts) > 2:
                depth = max(depth, len(parts) - len(PurePosixPath(common).parts))
    below = parts[len(parts) - depth - 1 :] if len(parts) > 1 else ("root",)
    return tree.joinpath(*below), depth


def _beside(original: str, path: str, depth: int) -> str | None:
    relative = os.path.relpath(path, original)
    ups = relative.split("/").count("..")
    return relative if 0 < ups <= depth else None


def check_elsewhere(
    elsewhere: Mapping[str, FileUse], digest_of: Callable[[Path, FileUse], Digest]
) -> dict[str, str]:
    """Which of the inputs at absolute paths are not there as they were, with the reason.

    Args:
        elsewhere: Inputs by path.
        digest_of: Gives the digest of a file as it would be kept here.
    """
    wrong = {}
    for path, use in elsewhere.items():
        try:
            found = digest_of(Path(path), use)
        except ThenceError:
            wrong[path] = f"{path}: it is not on this machine"
            continue
        if use.digest is not None and found != use.digest:
            hidden = ", or other secrets in it" if use.redacted else ""
            wrong[path] = f"{path}: it has other content on this machine{hidden}"
    return wrong
