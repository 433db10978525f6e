"""A commit of the files as a run had them, which leaves the user's own work as it is.

The commit hangs on no branch: `refs/thence/runs/<run>` keeps it from being collected by git. It is
made from a copy of the index, so that neither the index nor a file of the work tree is touched.
Equal files give the same commit, whichever run had them.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from thence.execution.capture.code import Change, CodeState
from thence.execution.capture.git import Git, Refused, Repository
from thence.execution.capture.secret_files import is_secret_file

__all__ = ["REFS", "FindSecret", "Opened", "Snapshot", "take_snapshot"]

REFS = "refs/thence/runs/"

DEFAULT_FILE_LIMIT_BYTES = 20 << 20
DEFAULT_LIMIT_BYTES = 100 << 20

FindSecret = Callable[[str, bytes], str | None]
"""Name of a secret in a file of this path and content, or None."""

_NOTHING = "000000"
_SHOWN = 5
_LINK = "120000"
_WHO = {
    f"GIT_{role}_{fact}": value
    for role in ("AUTHOR", "COMMITTER")
    for fact, value in (("NAME", "thence"), ("EMAIL", "thence@localhost"))
}


class Opened(NamedTuple):
    """What is known of a file that the run opened.

    Attributes:
        read: Gives the bytes that it had at its first use.
        size_bytes: How many these are.
        is_secret: Secrets were found in it.
    """

    read: Callable[[], bytes]
    size_bytes: int
    is_secret: bool = False


class Snapshot(NamedTuple):
    """What a snapshot came to.

    Attributes:
        commit: None where none could be made.
        ref: What keeps it; None where it is a commit of the user.
        left_out: Paths of changed files that it has as they were committed, or not at all,
            because they hold secrets; from the folder of the work tree.
        problems: Sentences for people.
    """

    commit: str | None
    ref: str | None = None
    left_out: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class _File(NamedTuple):
    path: str
    mode: str
    data: bytes


def take_snapshot(
    repository: Repository,
    git: Git,
    state: CodeState,
    run: str,
    *,
    added: Iterable[str] = (),
    opened: Mapping[str, Opened] | None = None,
    find_secret: FindSecret = lambda path, data: None,
    file_limit_bytes: int = DEFAULT_FILE_LIMIT_BYTES,
    limit_bytes: int = DEFAULT_LIMIT_BYTES,
) -> Snapshot:
    """Commit the changed files of a work tree, and some that git does not track, beside everything.

    Index, work tree, HEAD, branches, stash and reflogs stay as they are; no filter and no hook
    runs. Where nothing is changed the commit of HEAD is the snapshot, and nothing is made.

    Args:
        repository: Where.
        git: To ask, with the folder of the work tree as its own.
        state: As it was found.
        run: Names the ref.
        added: Paths of untracked files, from the folder of the work tree.
        opened: What is known of opened files, by such paths.
        find_secret: Tells files that may not be in it.
        file_limit_bytes: Files beyond this are left out.
        limit_bytes: All files together beyond this are left out.
    """
    problems: list[str] = []
    secrets: list[str] = []
    submodules = [change for change in state.changes if change.is_submodule]
    plain = [change for change in state.changes if not change.is_submodule]
    modes = {change.path: change.mode for change in plain if change.mode != _NOTHING}
    reader = _Reader(repository.top, opened or {}, find_secret, file_limit_bytes, limit_bytes)
    new = dict.fromkeys((path for path in added if not _is_in_another(repository.top, path)), "")
    files = list(reader.read({**new, **modes}))
    problems += reader.problems
    secrets += reader.secrets
    read = {file.path for file in files}
    kept_back = [change for change in plain if change.path in modes and change.path not in read]
    if not (files or state.changes):
        return Snapshot(state.commit, None, tuple(secrets), tuple(problems))
    try:
        with tempfile.TemporaryDirectory(prefix="thence-git-") as folder:
            lines = [f"0 {one.head_object}\t{one.path}" for one in plain if one.mode == _NOTHING]
            lines += [_as_committed(change) for change in kept_back]
            lines += _write_objects(git, files, Path(folder))
            tree = _write_tree(git, repository, lines, submodules, Path(folder))
        time, tree_of_head = _head(git, state.commit)
        if tree == tree_of_head:
            return Snapshot(state.commit, None, tuple(secrets), tuple(problems))
        commit = _commit(git, tree, state.commit, time)
        ref = REFS + run
        git.output("update-ref", "--no-deref", ref, commit)
    except (OSError, Refused) as error:
        problems.append(f"the code could not be kept as a commit: {error}")
        return Snapshot(None, None, tuple(secrets), tuple(problems))
    return Snapshot(commit, ref, tuple(secrets), tuple(problems))


class _Reader:
    """Reads the files that may be in a snapshot."""

    def __init__(
        self,
        top: Path,
        opened: Mapping[str, Opened],
        find_secret: FindSecret,
        file_limit_bytes: int,
        limit_bytes: int,
    ) -> None:
        self.problems: list[str] = []
        self.secrets: list[str] = []
        self._top = top
        self._opened = opened
        self._find_secret = find_secret
        self._file_limit_bytes = file_limit_bytes
        self._left_bytes = limit_bytes

    def read(self, modes: Mapping[str, str]) -> Iterator[_File]:
        """The files with their bytes; those that are left out become problems."""
        for path, mode in sorted(modes.items()):
            why = None
            file = None
            try:
                file, why = self._read(path, mode)
            except OSError as error:
                why = str(error.strerror)
            if file is not None:
                yield file
            elif why is not None:
                self.problems.append(f"the commit of the code does not have {path}: {why}")
        if self.secrets:
            names = ", ".join(self.secrets[:_SHOWN])
            more = f" and {len(self.secrets) - _SHOWN} more" if self.secrets[_SHOWN:] else ""
            self.problems.append(
                f"the commit of the code leaves out what holds secrets: {names}{more}"
            )

    def _read(self, path: str, mode: str) -> tuple[_File | None, str | None]:
        """A file, or why it is left out; neither where it holds secrets."""
        target = self._top / path
        if is_secret_file(str(target)):
            self.secrets.append(path)
            return None, None
        facts = target.lstat()
        if stat.S_ISLNK(facts.st_mode):
            return _File(path, _LINK, os.fsencode(os.readlink(target))), None
        if not stat.S_ISREG(facts.st_mode):
            return None, "it is no file"
        known = self._opened.get(path, Opened(target.read_bytes, facts.st_size))
        if known.is_secret:
            self.secrets.append(path)
            return None, None
        if known.size_bytes > min(self._file_limit_bytes, self._left_bytes):
            return None, f"it has {known.size_bytes >> 20} MiB"
        data = known.read()
        if self._find_secret(path, data) is not None:
            self.secrets.append(path)
            return None, None
        self._left_bytes -= len(data)
        if mode in {"", _LINK}:
            mode = "100755" if facts.st_mode & 0o100 else "100644"
        return _File(path, mode, data), None


def _is_in_another(top: Path, path: str) -> bool:
    """Whether a path lies in a submodule, or in a repository of its own."""
    return any((top / folder / ".git").exists() for folder in list(Path(path).parents)[:-1])


def _as_committed(change: Change) -> str:
    mode = "0" if change.head_mode == _NOTHING else change.head_mode
    return f"{mode} {change.head_object}\t{change.path}"


def _write_objects(git: Git, files: list[_File], folder: Path) -> list[str]:
    """Lines for an index; the bytes as they are, whatever the attributes of the files say."""
    names = []
    for number, file in enumerate(files):
        target = folder / str(number)
        target.write_bytes(file.data)
        names.append(f"{target}\n")
    if not names:
        return []
    output = git.output(
        *("hash-object", "-w", "--no-filters", "--stdin-paths"),
        standard_input=os.fsencode("".join(names)),
    )
    ids = output.decode().split()
    return [f"{file.mode} {one}\t{file.path}" for file, one in zip(files, ids, strict=True)]


def _write_tree(
    git: Git, repository: Repository, lines: list[str], submodules: list[Change], folder: Path
) -> str:
    index = folder / "index"
    own = repository.git_dir / "index"
    if own.is_file():
        shutil.copyfile(own, index)
    variables = {"GIT_INDEX_FILE": str(index)}
    given = "".join(f"{line}\0" for line in lines)
    git.output(
        *("update-index", "-z", "--replace", "--index-info"),
        standard_input=given.encode("utf-8", "surrogateescape"),
        variables=variables,
    )
    if submodules:
        given = "".join(f"{one.path}\0" for one in submodules)
        git.output(
            *("update-index", "-z", "--add", "--remove", "--replace", "--stdin"),
            standard_input=given.encode("utf-8", "surrogateescape"),
            variables=variables,
        )
    return git.output("write-tree", variables=variables).decode().strip()


def _head(git: Git, commit: str | None) -> tuple[str, str | None]:
    """When a commit was made, and its tree."""
    if commit is None:
        return "0", None
    time, _, tree = git.output("show", "-s", "--format=%ct %T", commit).decode().partition(" ")
    return time, tree.strip()


def _commit(git: Git, tree: str, parent: str | None, time: str) -> str:
    # With the time of its parent, so that it depends on nothing but the files.
    times = {f"GIT_{role}_DATE": f"@{time} +0000" for role in ("AUTHOR", "COMMITTER")}
    output = git.output(
        *("commit-tree", "--no-gpg-sign", tree, *(("-p", parent) if parent else ())),
        standard_input=b"The files as a run had them\n",
        variables=_WHO | times,
    )
    return output.decode().strip()
