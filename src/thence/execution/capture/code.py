"""The state of the project's code, as git knows it, and the documents beside it."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from thence.execution.capture.diffs import without_secret_files
from thence.execution.capture.git import Git, Refused, Repository, find_repository
from thence.execution.capture.secret_files import is_secret_file
from thence.execution.capture.urls import without_credentials

__all__ = ["Change", "CodeState", "capture_code", "find_documents"]

DEFAULT_DIFF_LIMIT_BYTES = 20 << 20
DEFAULT_TIMEOUT_S = 20.0

_PATHS_PER_CALL = 500
_HERE = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


class Change(NamedTuple):
    """A tracked file that is not as it was committed.

    Attributes:
        path: From the folder of the work tree.
        mode: Of the file as it is, as git writes it; zeros where there is none.
        head_mode: As it was committed; zeros where it was not.
        head_object: What was committed.
        is_submodule: It is a repository.
    """

    path: str
    mode: str
    head_mode: str
    head_object: str
    is_submodule: bool = False


class CodeState(NamedTuple):
    """What git says about a folder; all empty outside a repository.

    Attributes:
        commit: None outside a repository, and before the first commit.
        branch: None on a detached head.
        remote: Address of the upstream (or `origin`), without credentials.
        dirty: Tracked files are not as they were committed.
        diff: `git diff --binary HEAD` of the whole repository, or None where there is none.
        untracked: Those of the asked files that git does not track, as they were given.
        submodules: `path commit`, with `+` before those whose commit was changed.
        changes: The tracked files that are not as they were committed.
        is_complete: Git answered.
        problems: Sentences for people.
    """

    commit: str | None = None
    branch: str | None = None
    remote: str | None = None
    dirty: bool = False
    diff: bytes | None = None
    untracked: tuple[str, ...] = ()
    submodules: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    is_complete: bool = False
    problems: tuple[str, ...] = ()


def capture_code(
    root: Path,
    files: Iterable[str] = (),
    *,
    diff_limit_bytes: int = DEFAULT_DIFF_LIMIT_BYTES,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> CodeState:
    """Commit, branch, remote and uncommitted changes of the repository that holds a folder.

    Four or five calls of git, about 10 ms each; none takes a lock, runs a hook or reaches the
    network. Changes of secret files (`.env` …) are left out of the diff. Where git is missing or
    refuses the folder, commit and branch are read from the files of the repository.

    Args:
        root: A folder.
        files: Paths of opened project files, absolute or relative to `root`.
        diff_limit_bytes: A longer diff is not kept; a problem says so.
        timeout_s: For each call of git.
    """
    repository = find_repository(root)
    if repository is None:
        return CodeState()
    git = Git(root, timeout_s)
    try:
        status = git.output(
            *("status", "--porcelain=v2", "--branch", "-z"),
            *("--untracked-files=no", "--no-renames"),
        )
    except Refused as refusal:
        state = _read_plainly(repository)
        problem = f"uncommitted changes are not known: {refusal}"
        return state._replace(problems=(problem,))
    state = _parse_status(status)
    problems: list[str] = []
    state = state._replace(remote=_remote(git, state.branch, problems))
    if state.dirty and state.commit is not None:
        diff = _diff(git, diff_limit_bytes, problems)
        state = state._replace(diff=diff)
    try:
        state = state._replace(untracked=tuple(_untracked(git, root, list(files))))
    except Refused as refusal:
        problems.append(f"which files git does not track is not known: {refusal}")
    if state.submodules or _has_submodules(repository):
        state = state._replace(submodules=_submodules(git, problems))
    return state._replace(problems=tuple(problems))


def _parse_status(output: bytes) -> CodeState:
    commit = branch = None
    changes = []
    fields = iter(output.decode("utf-8", "surrogateescape").split("\0"))
    for field in fields:
        if field.startswith("# branch.oid "):
            oid = field.removeprefix("# branch.oid ")
            commit = oid if _HERE.fullmatch(oid) else None
        elif field.startswith("# branch.head "):
            head = field.removeprefix("# branch.head ")
            branch = None if head == "(detached)" else head
        elif field.startswith("1 "):
            _, _, sub, mode, _, now, object_id, _, path = field.split(" ", 8)
            changes.append(Change(path, now, mode, object_id, sub.startswith("S")))
        elif field.startswith("u "):
            # The second of three sides is that of HEAD.
            _, _, sub, _, mode, _, now, _, object_id, _, path = field.split(" ", 10)
            changes.append(Change(path, now, mode, object_id, sub.startswith("S")))
    return CodeState(
        commit=commit,
        branch=branch,
        dirty=bool(changes),
        changes=tuple(changes),
        is_complete=True,
    )


def _remote(git: Git, branch: str | None, problems: list[str]) -> str | None:
    try:
        output = git.output(
            "config", "-z", "--get-regexp", r"^(remote\..*\.url|branch\..*\.remote)$"
        )
    except Refused as refusal:
        # Status 1 without a word: nothing matches.
        if "without a word" not in str(refusal):
            problems.append(f"the remote is not known: {refusal}")
        return None
    pairs = dict(
        item.split("\n", 1)
        for item in output.decode("utf-8", "replace").split("\0")
        if "\n" in item
    )
    return _choose_remote(pairs, branch)


def _choose_remote(pairs: Mapping[str, str], branch: str | None) -> str | None:
    urls = {k[len("remote.") : -len(".url")]: v for k, v in pairs.items() if k.endswith(".url")}
    upstream = pairs.get(f"branch.{branch}.remote", "origin")
    url = urls.get(upstream) or urls.get("origin") or next(iter(urls.values()), None)
    return None if url is None else without_credentials(url)


def _diff(git: Git, limit_bytes: int, problems: list[str]) -> bytes | None:
    try:
        diff = git.output(
            *("diff", "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv"),
            *("--no-renames", "--ignore-submodules=none", "HEAD"),
            limit_bytes=limit_bytes,
        )
    except Refused as refusal:
        problems.append(f"uncommitted changes could not be kept: {refusal}")
        return None
    if len(diff) > limit_bytes:
        problems.append(
            f"uncommitted changes were not kept: the diff is longer than {limit_bytes >> 20} MiB"
        )
        return None
    diff, left_out = without_secret_files(diff)
    problems.extend(
        f"uncommitted changes of {name} were not kept, it holds secrets" for name in left_out
    )
    return diff or None


def _untracked(git: Git, root: Path, files: list[str]) -> Iterator[str]:
    folder = os.path.realpath(root)
    relative: dict[str, str] = {}
    for path in files:
        inside = os.path.relpath(os.path.join(folder, path), folder)
        relative[inside.replace(os.sep, "/")] = path
    names = [name for name in relative if not name.startswith("../")]
    tracked: set[str] = set()
    for start in range(0, len(names), _PATHS_PER_CALL):
        part = names[start : start + _PATHS_PER_CALL]
        output = git.output("ls-files", "-z", "--", *part)
        tracked.update(output.decode("utf-8", "surrogateescape").split("\0"))
    for name in sorted(names):
        if name not in tracked:
            yield relative[name]


def _has_submodules(repository: Repository) -> bool:
    # `git submodule status` is a shell script of 90 ms: only where there are any.
    return (repository.top / ".gitmodules").is_file()


def _submodules(git: Git, problems: list[str]) -> tuple[str, ...]:
    try:
        output = git.output("submodule", "status", "--recursive").decode("utf-8", "replace")
    except Refused as refusal:
        problems.append(f"the state of submodules is not known: {refusal}")
        return ()
    found = []
    for line in output.splitlines():
        words = line[1:].split(" ")
        if len(words) >= 2:
            found.append(f"{line[0].strip()}{words[1]} {words[0]}")
    return tuple(found)


# --- without git ---------------------------------------------------------------------------------


def _read_plainly(repository: Repository) -> CodeState:
    git_dir, common = repository.git_dir, repository.common
    head = (_text(git_dir / "HEAD") or "").strip()
    ref = head.removeprefix("ref: ") if head.startswith("ref: ") else None
    commit: str | None = head
    if ref is not None:
        loose = _text(git_dir / ref) or _text(common / ref)
        packed = re.search(
            rf"^([0-9a-f]+) {re.escape(ref)}$", _text(common / "packed-refs") or "", re.MULTILINE
        )
        commit = loose.strip() if loose else packed.group(1) if packed else None
    remote = re.search(
        r'^\[remote "origin"\][^\[]*?^\s*url\s*=\s*(\S+)',
        _text(common / "config") or "",
        re.MULTILINE,
    )
    return CodeState(
        commit=commit if commit and _HERE.fullmatch(commit) else None,
        branch=ref.removeprefix("refs/heads/") if ref else None,
        remote=without_credentials(remote.group(1)) if remote else None,
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


# --- documents -----------------------------------------------------------------------------------

_DOCUMENT = re.compile(
    r"(README|LICEN[CS]E|COPYING|NOTICE|CITATION|CHANGELOG|CONTRIBUTING|DATASHEET|MODEL_CARD"
    r"|AUTHORS)([._-].*)?",
    re.IGNORECASE,
)
_DOCUMENT_ENDINGS = {"", ".md", ".rst", ".txt", ".cff", ".bib", ".adoc", ".org", ".html", ".pdf"}
_DOCS_ENDINGS = (".md", ".rst", ".adoc", ".txt")


def find_documents(
    root: Path, *, limit_files: int = 200, limit_bytes: int = 10 << 20
) -> list[Path]:
    """README, licence, citation and the text files of `docs` of a project, sorted.

    Args:
        root: The folder of the project.
        limit_files: At most so many.
        limit_bytes: At most so many bytes in all; files that do not fit are passed over.
    """
    found = [
        path
        for path in _files(root)
        if _DOCUMENT.fullmatch(path.name) and path.suffix.lower() in _DOCUMENT_ENDINGS
    ]
    for folder in ("docs", "doc"):
        for parent, folders, names in os.walk(root / folder):
            folders[:] = sorted(n for n in folders if n[0] not in "._")
            found += [Path(parent, name) for name in sorted(names) if name.endswith(_DOCS_ENDINGS)]
            if len(found) > limit_files:
                break
    kept: list[Path] = []
    left = limit_bytes
    for path in found[:limit_files]:
        try:
            size = path.stat().st_size
        except OSError:
            continue
        if size <= left and not is_secret_file(str(path)):
            kept.append(path)
            left -= size
    return kept


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []
