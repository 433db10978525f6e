"""From trees back to files."""

import os
import stat
from collections.abc import Callable, Container, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import file_digest
from pathlib import Path
from typing import NamedTuple

from thence.errors import Conflict, NotFound
from thence.model.ids import Digest
from thence.store.failures import failures_of
from thence.vault.content import Content
from thence.vault.statcache import Signature, signature
from thence.vault.tree import TreeEntry, walk

__all__ = ["CheckedOut", "check_out", "digest_of_file", "select"]


class CheckedOut(NamedTuple):
    """What was done.

    Attributes:
        written: Paths that were written.
        unchanged: How many files had the right content already.
        removed: Files of the version that was there before, which this one has not.
    """

    written: tuple[str, ...]
    unchanged: int
    removed: tuple[str, ...]


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
        for entry in entries
        if entry.path.startswith(f"{wanted}/")
    ]
    if below:
        return below
    for entry in entries:
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


def check_out(
    entries: Sequence[TreeEntry],
    content: Content,
    folder: Path,
    *,
    before: Iterable[TreeEntry] = (),
    force: bool = False,
    progress: Callable[[int, int], None] = lambda files, size: None,
) -> CheckedOut:
    """Write files into a folder, each whole or not at all.

    A file that is there with other bytes is replaced if the store has those bytes; otherwise
    nothing is written at all, unless `force`. A file makes way for a folder, and a folder for a
    file, where all that is there is of the version `before` and unmodified.

    Args:
        entries: What to write.
        content: Where the bytes come from.
        folder: Is made if need be.
        before: The version that the folder holds now; its files that `entries` has not are removed
            where they are unmodified.
        force: Overwrite files whose bytes are nowhere else.
        progress: Is told files and bytes done so far.

    Raises:
        Conflict: Files would be lost; `about` names the first.
        NotFound: A content is not in the store.
        DataDamaged: A content is damaged; that file is not written.
        Denied: The folder may not be written to.
        StorageError: The disk is full.
    """
    keep = {entry.path for entry in entries}
    leaving = _leaving(folder, [old for old in before if old.path not in keep])
    to_write, unchanged = [], 0
    differing: list[tuple[TreeEntry, Digest]] = []
    reached: dict[str, bool] = {}
    for entry in entries:
        target = folder / entry.path
        parent = entry.path.rpartition("/")[0]
        there = None
        if _can_be_reached(folder, parent, leaving, reached):
            there = _digest_there(folder, entry.path, leaving)
        if there == entry.digest and target.is_symlink() == entry.link:
            if not entry.link:
                _set_executable(target, entry)
            unchanged += 1
            continue
        if there is not None:
            differing.append((entry, there))
        to_write.append(entry)
    lost = set() if force else content.missing(there for _, there in differing)
    if in_danger := [entry.path for entry, there in differing if there in lost]:
        raise Conflict(
            f"{len(in_danger)} files in {folder} would be lost, first {in_danger[0]!r}",
            why="They differ from every version that this project knows.",
            hint="Save them first, get into another folder, or overwrite them with --force.",
            about=in_danger[0],
        )
    # Before anything is written: a file may become a folder, and a folder a file.
    removed = [path for path, was in leaving.items() if _remove(folder, path, was)]
    done_size = 0
    _make_folders(folder, to_write)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        done = 0
        for batch in content.in_batches([entry.digest for entry in to_write]):
            jobs = [
                pool.submit(_write, content, folder / to_write[at].path, to_write[at])
                for at in batch
            ]
            try:
                for at, job in zip(batch, jobs, strict=True):
                    job.result()
                    done += 1
                    done_size += to_write[at].size
                    progress(done, done_size)
            finally:
                for job in jobs:
                    job.cancel()
    return CheckedOut(tuple(entry.path for entry in to_write), unchanged, tuple(removed))


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
        return True
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


def _make_folders(folder: Path, entries: Iterable[TreeEntry]) -> None:
    parents = {entry.path.rpartition("/")[0] for entry in entries}
    for path in (folder, *(folder / parent for parent in sorted(parents) if parent)):
        with failures_of(f"cannot make the folder {path}", about=str(path)):
            path.mkdir(parents=True, exist_ok=True)


def _write(content: Content, target: Path, entry: TreeEntry) -> None:
    temporary = target.with_name(f".thence-{os.getpid()}-{os.urandom(6).hex()}")
    with failures_of(f"cannot write {target}", about=str(target)):
        try:
            if entry.link:
                temporary.symlink_to(os.fsdecode(content.read(entry.digest)))
            else:
                content.write_to(entry.digest, temporary, executable=entry.executable)
            _remove_empty_folders(target)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def _set_executable(target: Path, entry: TreeEntry) -> None:
    mode = target.stat().st_mode
    wanted = mode | (mode & 0o444) >> 2 if entry.executable else mode & ~0o111
    if wanted != mode and bool(mode & 0o100) != entry.executable:
        target.chmod(wanted)


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


def _remove_empty_folders(target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        for path, _, _ in os.walk(target, topdown=False):
            os.rmdir(path)
