"""From trees back to files."""

import os
import re
import stat
from array import array
from collections.abc import Callable, Container, Iterable, Sequence
from hashlib import file_digest
from pathlib import Path
from typing import NamedTuple

from thence.errors import Conflict, NotFound
from thence.model.ids import Digest
from thence.model.progress import Progress, silent
from thence.store.failures import failures_of
from thence.vault.content import Content
from thence.vault.leftovers import sweep
from thence.vault.plainfiles import LinkKind
from thence.vault.restorer import Links, Restorer
from thence.vault.statcache import Signature, signature
from thence.vault.tree import Tree, TreeEntry, walk

__all__ = ["CheckedOut", "check_out", "digest_of_file", "select"]

_PLAIN = re.compile(r"[A-Za-z0-9_./ -]+")


class CheckedOut(NamedTuple):
    """What was done.

    Attributes:
        written: Paths that were written.
        unchanged: How many files had the right content already.
        removed: Files of the version that was there before, which this one has not.
        linked: How the files that were written are tied to those of the cache of links, if so.
    """

    written: tuple[str, ...]
    unchanged: int
    removed: tuple[str, ...]
    linked: LinkKind | None = None


def digest_of_file(path: Path) -> Digest:
    """The digest of a file's bytes.

    Raises:
        NotFound: There is no such file.
        Denied: It may not be read.
        StorageError: Reading failed.
    """
    try:
        with (
            failures_of(f"cannot read {path}", about=str(path)),
            path.open("rb", buffering=0) as file,
        ):
            return Digest(file_digest(file, "sha256").digest())
    except NotFound as error:
        raise NotFound(f"there is no file {path}", about=str(path)) from error


def select(entries: Sequence[TreeEntry], path: str | None) -> list[TreeEntry]:
    """The entries at or below a path, relative to it; a single file keeps its base name.

    Raises:
        NotFound: The tree has nothing there; the hint names what is near.
    """
    if path is None:
        return list(entries)
    wanted = path.rstrip("/")
    below = [
        entry._replace(path=entry.path[len(wanted) + 1 :])
        for entry in _near(entries, wanted)
        if entry.path.startswith(f"{wanted}/")
    ]
    if below:
        return below
    for entry in _near(entries, wanted):
        if entry.path == wanted:
            return [entry._replace(path=wanted.rpartition("/")[2])]
    import difflib

    near = difflib.get_close_matches(wanted, [entry.path for entry in entries], n=3, cutoff=0.5)
    raise NotFound(
        f"the version has no file {path!r}",
        why=f"It has {len(entries)} files." if entries else "It is empty.",
        hint=f"Did you mean {' or '.join(near)}?" if near else "List them: thence show REF.",
        about=path,
    )


def _near(entries: Sequence[TreeEntry], wanted: str) -> Iterable[TreeEntry]:
    """The entries whose paths begin so, and perhaps more; few of a tree become objects."""
    # Other paths may be written otherwise: escaped, or percent-encoded.
    if not isinstance(entries, Tree) or not _PLAIN.fullmatch(wanted):
        return entries
    begins = f'["{wanted}'.encode()
    return (entries[at] for at, row in enumerate(entries.rows()) if row.startswith(begins))


def check_out(
    entries: Sequence[TreeEntry],
    content: Content,
    folder: Path,
    *,
    before: Iterable[TreeEntry] = (),
    force: bool = False,
    lost: Callable[[set[Digest]], set[Digest]] | None = None,
    progress: Progress = silent,
    links: Links | None = None,
) -> CheckedOut:
    """Write files into a folder, each whole or not at all.

    A file that is there with other bytes is replaced if these are not lost by that; otherwise
    nothing is written at all, unless `force`. A file makes way for a folder, and a folder for a
    file, where all that is there is of the version `before` and unmodified.

    Args:
        entries: What to write.
        content: Where the bytes come from.
        folder: Is made if need be.
        before: The version that the folder holds now; its files that `entries` has not are removed
            where they are unmodified.
        force: Overwrite files whose bytes are nowhere else.
        lost: Tells which contents could not be had again; by default, those that are not in the
            store.
        progress: Is told files and bytes done so far, and all bytes, by any thread.
        links: Makes the files links to those of a cache.

    Raises:
        Conflict: Files would be lost; `about` names the first.
        NotFound: A content is not in the store.
        DataDamaged: A content is damaged; that file is not written.
        Denied: The folder may not be written to.
        StorageError: The disk is full.
    """
    old = list(before)
    keep = {entry.path for entry in entries} if old else set()
    leaving = _leaving(folder, [entry for entry in old if entry.path not in keep])
    to_write = array("Q")
    total = 0
    differing: list[tuple[str, Digest]] = []
    reached: dict[str, bool] = {}
    for at, entry in enumerate(entries):
        parent = entry.path.rpartition("/")[0]
        there = None
        if _can_be_reached(folder, parent, leaving, reached):
            there = _digest_there(folder, entry.path, leaving)
        if there == entry.digest and _is_right(folder / entry.path, entry):
            continue
        if there is not None and there != entry.digest:
            differing.append((entry.path, there))
        to_write.append(at)
        total += entry.size
    in_danger: list[str] = []
    if differing and not force:
        gone = (lost or content.missing)({there for _, there in differing})
        in_danger = [path for path, there in differing if there in gone]
    if in_danger:
        raise Conflict(
            f"{len(in_danger)} files in {folder} would be lost, first {in_danger[0]!r}",
            why="They differ from every version that this project knows.",
            hint="Save them first, get into another folder, or overwrite them with --force.",
            about=in_danger[0],
        )
    # Before anything is written: a file may become a folder, and a folder a file.
    removed = [path for path, was in leaving.items() if _remove(folder, path, was)]
    _make_folders(folder, (entries[at].path for at in to_write))
    restorer = Restorer(content, folder, progress=progress, total=total, links=links)
    restorer.write(entries, to_write)
    return CheckedOut(
        tuple(entries[at].path for at in to_write),
        len(entries) - len(to_write),
        tuple(removed),
        None if links is None else links.kind,
    )


def _facts(path: Path) -> os.stat_result | None:
    """What is at a path, links not followed; None where nothing can be."""
    with failures_of(f"cannot look at {path}", about=str(path)):
        try:
            return path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None


def _leaving(folder: Path, old: Iterable[TreeEntry]) -> dict[str, Signature]:
    """The files of the old version that are as they were, and what they look like."""
    found = {}
    for entry in old:
        path = folder / entry.path
        if _behind_a_link(folder, entry.path) or (facts := _facts(path)) is None:
            continue
        kind = stat.S_ISLNK if entry.link else stat.S_ISREG
        if kind(facts.st_mode) and _digest(path, facts) == entry.digest:
            found[entry.path] = signature(facts)
    return found


def _behind_a_link(folder: Path, path: str) -> bool:
    while path := path.rpartition("/")[0]:
        if (folder / path).is_symlink():
            return True
    return False


def _can_be_reached(
    folder: Path, parent: str, leaving: Container[str], known: dict[str, bool]
) -> bool:
    """Whether a folder is there; where it is not, it can be made once the files left.

    Raises:
        Conflict: Something is there that stays.
    """
    if not parent:
        if parent not in known:
            known[parent] = os.path.lexists(folder)
        return known[parent]
    if parent not in known:
        known[parent] = False
        if _can_be_reached(folder, parent.rpartition("/")[0], leaving, known):
            path = folder / parent
            facts = _facts(path)
            known[parent] = facts is not None and stat.S_ISDIR(facts.st_mode)
            if facts is not None and not known[parent] and parent not in leaving:
                # A link could lead the files of this version out of the folder.
                kind = "link" if stat.S_ISLNK(facts.st_mode) else "file"
                raise Conflict(
                    f"{path} is a {kind} where a folder should be",
                    why="It is not as the version left it that was there before.",
                    hint="Remove it, or get into another folder.",
                    about=str(path),
                )
    return known[parent]


def _digest_there(folder: Path, name: str, leaving: Container[str]) -> Digest | None:
    path = folder / name
    facts = _facts(path)
    if facts is None:
        return None
    if not stat.S_ISDIR(facts.st_mode):
        return _digest(path, facts)
    for found in walk(path):
        if f"{name}/{found.relative}" not in leaving:
            raise Conflict(
                f"{path} is a folder where a file should be written",
                why=f"It holds {found.relative!r}, which is not of the version before.",
                hint="Move it away, or get into another folder.",
                about=str(found.path),
            )
    return None


def _digest(path: Path, facts: os.stat_result) -> Digest:
    if stat.S_ISLNK(facts.st_mode):
        return Digest.of(os.fsencode(os.readlink(path)))
    if not stat.S_ISREG(facts.st_mode):
        raise Conflict(
            f"{path} is no file",
            why="Sockets, pipes and devices have no content.",
            hint="Move it away, or get into another folder.",
            about=str(path),
        )
    return digest_of_file(path)


def _make_folders(folder: Path, paths: Iterable[str]) -> None:
    parents = {path.rpartition("/")[0] for path in paths}
    for path in (folder, *(folder / parent for parent in sorted(parents) if parent)):
        with failures_of(f"cannot make the folder {path}", about=str(path)):
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                if not path.is_dir():
                    raise
                sweep(path)


def _is_right(target: Path, entry: TreeEntry) -> bool:
    """Whether a file with the right bytes is right; its permissions are made so.

    Not those of a file with several names: it would get them under all.
    """
    facts = target.lstat()
    if stat.S_ISLNK(facts.st_mode) or entry.link:
        return stat.S_ISLNK(facts.st_mode) == entry.link
    if bool(facts.st_mode & 0o100) == entry.executable:
        return True
    if facts.st_nlink > 1:
        return False
    mode = facts.st_mode
    target.chmod(mode | (mode & 0o444) >> 2 if entry.executable else mode & ~0o111)
    return True


def _remove(folder: Path, name: str, was: Signature) -> bool:
    target = folder / name
    facts = _facts(target)
    if facts is None or signature(facts) != was:
        return False
    with failures_of(f"cannot remove {target}", about=str(target)):
        target.unlink()
        parent = target.parent
        while parent != folder and not any(parent.iterdir()):
            parent.rmdir()
            parent = parent.parent
    return True
