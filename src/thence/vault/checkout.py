"""From trees back to files."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import file_digest
from pathlib import Path
from typing import NamedTuple

from thence.errors import Conflict, Denied, NotFound, StorageError
from thence.model.ids import Digest
from thence.vault.content import Content
from thence.vault.tree import TreeEntry

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
        with path.open("rb", buffering=0) as file:
            return Digest(file_digest(file, "sha256").digest())
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}", about=str(path)) from error
    except PermissionError as error:
        raise Denied(f"cannot read {path}", why=f"{error.strerror}.", about=str(path)) from error
    except OSError as error:
        raise StorageError(f"cannot read {path}", why=f"{error.strerror}.") from error


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
    nothing is written at all, unless `force`.

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
    to_write, unchanged = [], 0
    in_danger = []
    for entry in entries:
        target = folder / entry.path
        there = _digest_there(target)
        if there == entry.digest and target.is_symlink() == entry.link:
            if not entry.link:
                _set_executable(target, entry)
            unchanged += 1
            continue
        if there is not None and not force and content.info(there) is None:
            in_danger.append(entry.path)
        to_write.append(entry)
    if in_danger:
        raise Conflict(
            f"{len(in_danger)} files in {folder} would be lost, first {in_danger[0]!r}",
            why="They differ from every version that this project knows.",
            hint="Save them first, get into another folder, or overwrite them with --force.",
            about=in_danger[0],
        )
    done_size = 0
    _make_folders(folder, to_write)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        jobs = [pool.submit(_write, content, folder / entry.path, entry) for entry in to_write]
        try:
            for done, (entry, job) in enumerate(zip(to_write, jobs, strict=True), 1):
                job.result()
                done_size += entry.size
                progress(done, done_size)
        finally:
            for job in jobs:
                job.cancel()
    keep = {entry.path for entry in entries}
    removed = [old.path for old in before if old.path not in keep and _remove(folder, old)]
    return CheckedOut(tuple(entry.path for entry in to_write), unchanged, tuple(removed))


def _digest_there(path: Path) -> Digest | None:
    if path.is_symlink():
        return Digest.of(os.fsencode(os.readlink(path)))
    if path.is_dir():
        raise Conflict(
            f"{path} is a folder where a file should be written",
            hint="Move it away, or get into another folder.",
            about=str(path),
        )
    return digest_of_file(path) if path.exists() else None


def _make_folders(folder: Path, entries: Iterable[TreeEntry]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for parent in sorted({entry.path.rpartition("/")[0] for entry in entries}):
            current = folder
            for part in parent.split("/") if parent else ():
                current /= part
                # A link in the way could lead the files of this version out of the folder.
                if current.is_symlink():
                    raise Conflict(
                        f"{current} is a link where a folder should be",
                        hint="Remove it, or get into another folder.",
                        about=str(current),
                    )
                current.mkdir(exist_ok=True)
    except OSError as error:
        kind = Denied if isinstance(error, PermissionError) else StorageError
        raise kind(
            f"cannot make the folder {error.filename or folder}",
            why=f"{error.strerror}.",
            hint="Choose another folder.",
        ) from error


def _write(content: Content, target: Path, entry: TreeEntry) -> None:
    temporary = target.with_name(f".thence-{os.getpid()}-{os.urandom(6).hex()}")
    try:
        if entry.link:
            temporary.symlink_to(os.fsdecode(content.read(entry.digest)))
        else:
            content.write_to(entry.digest, temporary, executable=entry.executable)
        temporary.replace(target)
    except OSError as error:
        if isinstance(error, (Denied, StorageError)):
            raise
        kind = Denied if isinstance(error, PermissionError) else StorageError
        raise kind(f"cannot write {target}", why=f"{error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _set_executable(target: Path, entry: TreeEntry) -> None:
    mode = target.stat().st_mode
    wanted = mode | (mode & 0o444) >> 2 if entry.executable else mode & ~0o111
    if wanted != mode and bool(mode & 0o100) != entry.executable:
        target.chmod(wanted)


def _remove(folder: Path, old: TreeEntry) -> bool:
    target = folder / old.path
    if not target.exists() or target.is_symlink() != old.link:
        return False
    if _digest_there(target) != old.digest:
        return False
    target.unlink()
    parent = target.parent
    while parent != folder and not any(parent.iterdir()):
        parent.rmdir()
        parent = parent.parent
    return True
