"""The state of the project's code, as git knows it, and the documents beside it."""

import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from thence.execution.capture.secret_files import is_secret_file
from thence.execution.capture.urls import without_credentials

__all__ = ["CodeState", "capture_code", "find_documents"]

DEFAULT_DIFF_LIMIT_BYTES = 20 << 20
DEFAULT_TIMEOUT_S = 20.0

_PATHS_PER_CALL = 500
_HERE = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SETTINGS = (
    # Nothing that a repository configures may run or change what is written down.
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.quotePath=false"),
    *("-c", "core.pager=cat"),
    *("-c", "diff.noprefix=false"),
    *("-c", "diff.mnemonicPrefix=false"),
    *("-c", "diff.submodule=short"),
)
_OF_ANOTHER_REPOSITORY = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_EXTERNAL_DIFF",
    "GIT_DIFF_OPTS",
)
"""Set while a git hook runs us; they would answer for the wrong folder."""


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
        problems: Sentences for people.
    """

    commit: str | None = None
    branch: str | None = None
    remote: str | None = None
    dirty: bool = False
    diff: bytes | None = None
    untracked: tuple[str, ...] = ()
    submodules: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class _Refused(Exception):
    """Git did not answer; the text says why."""


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
    git_dir = _find_git_dir(root)
    if git_dir is None:
        return CodeState()
    git = _Git(root, timeout_s)
    try:
        status = git.output("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=no")
    except _Refused as refusal:
        state = _read_plainly(git_dir)
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
    except _Refused as refusal:
        problems.append(f"which files git does not track is not known: {refusal}")
    if state.submodules or _has_submodules(git_dir, root):
        state = state._replace(submodules=_submodules(git, problems))
    return state._replace(problems=tuple(problems))


class _Git:
    def __init__(self, root: Path, timeout_s: float) -> None:
        self.root = root
        self.timeout_s = timeout_s
        self.program = shutil.which("git")

    def output(self, *arguments: str, limit_bytes: int = 1 << 28) -> bytes:
        """Standard output, or one byte more than the limit where it is longer."""
        if self.program is None:
            raise _Refused("git is not installed")
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(
                    [self.program, *_SETTINGS, *arguments],
                    cwd=self.root,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=_variables(),
                    start_new_session=True,  # Ctrl-C is for the user's program, not for this
                )
            except OSError as error:
                raise _Refused(f"git cannot be started: {error}") from error
            late = threading.Event()

            def end() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(self.timeout_s, end)
            timer.start()
            try:
                with process:
                    assert process.stdout is not None
                    output = process.stdout.read(limit_bytes + 1)
                    if len(output) > limit_bytes:
                        process.kill()
                        return output
            finally:
                timer.cancel()
            if late.is_set():
                raise _Refused(f"git {arguments[0]} took longer than {self.timeout_s:g} s")
            if process.returncode != 0:
                errors.seek(0)
                raise _Refused(_reason(errors.read(4096).decode("utf-8", "replace")))
            return output


def _variables() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in _OF_ANOTHER_REPOSITORY}
    return kept | {
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_TRACE": "0",
        "LC_ALL": "C",
    }


def _reason(text: str) -> str:
    if "dubious ownership" in text:
        return "git does not trust the folder, which belongs to another user (see safe.directory)"
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("fatal: ") if lines else "git failed without a word"


def _parse_status(output: bytes) -> CodeState:
    commit = branch = None
    dirty = False
    submodules = []
    fields = iter(output.decode("utf-8", "surrogateescape").split("\0"))
    for field in fields:
        if field.startswith("# branch.oid "):
            oid = field.removeprefix("# branch.oid ")
            commit = oid if _HERE.fullmatch(oid) else None
        elif field.startswith("# branch.head "):
            head = field.removeprefix("# branch.head ")
            branch = None if head == "(detached)" else head
        elif field[:2] in {"1 ", "2 ", "u "}:
            dirty = True
            if field.startswith("2 "):
                next(fields, "")  # the path that it was renamed from
            if field.split(" ", 3)[2].startswith("S"):
                submodules.append(field.rpartition(" ")[2])
    return CodeState(commit=commit, branch=branch, dirty=dirty, submodules=tuple(submodules))


def _remote(git: _Git, branch: str | None, problems: list[str]) -> str | None:
    try:
        output = git.output(
            "config", "-z", "--get-regexp", r"^(remote\..*\.url|branch\..*\.remote)$"
        )
    except _Refused as refusal:
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


def _diff(git: _Git, limit_bytes: int, problems: list[str]) -> bytes | None:
    try:
        diff = git.output(
            *("diff", "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv"),
            *("--no-renames", "--ignore-submodules=none", "HEAD"),
            limit_bytes=limit_bytes,
        )
    except _Refused as refusal:
        problems.append(f"uncommitted changes could not be kept: {refusal}")
        return None
    if len(diff) > limit_bytes:
        problems.append(
            f"uncommitted changes were not kept: the diff is longer than {limit_bytes >> 20} MiB"
        )
        return None
    diff, left_out = _without_secret_files(diff)
    problems.extend(
        f"uncommitted changes of {name} were not kept, it holds secrets" for name in left_out
    )
    return diff or None


def _without_secret_files(diff: bytes) -> tuple[bytes, list[str]]:
    # A line that begins with `diff --git ` is always a header: content lines begin with a sign or
    # a blank, and lines of binary patches hold no blank.
    sections = re.split(rb"^(?=diff --git )", diff, flags=re.MULTILINE)
    kept, left_out = [], []
    for section in sections:
        header = section.split(b"\n", 1)[0].decode("utf-8", "replace")
        name = header.rpartition(" b/")[2].strip('"')
        if section and name and is_secret_file(name):
            left_out.append(name)
        else:
            kept.append(section)
    return b"".join(kept), left_out


def _untracked(git: _Git, root: Path, files: list[str]) -> Iterator[str]:
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


def _has_submodules(git_dir: Path, root: Path) -> bool:
    # `git submodule status` is a shell script of 90 ms: only where there are any.
    return (git_dir / "modules").is_dir() or (root / ".gitmodules").is_file()


def _submodules(git: _Git, problems: list[str]) -> tuple[str, ...]:
    try:
        output = git.output("submodule", "status").decode("utf-8", "replace")
    except _Refused as refusal:
        problems.append(f"the state of submodules is not known: {refusal}")
        return ()
    found = []
    for line in output.splitlines():
        words = line[1:].split(" ")
        if len(words) >= 2:
            found.append(f"{line[0].strip()}{words[1]} {words[0]}")
    return tuple(found)


# --- without git ---------------------------------------------------------------------------------


def _find_git_dir(root: Path) -> Path | None:
    for folder in (root.resolve(), *root.resolve().parents):
        entry = folder / ".git"
        if entry.is_dir():
            return entry if (entry / "HEAD").is_file() else None
        if entry.is_file():  # a worktree or a submodule: `gitdir: <path>`
            try:
                text = entry.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                return None
            target = (folder / text.removeprefix("gitdir: ")).resolve()
            return target if (target / "HEAD").is_file() else None
    return None


def _read_plainly(git_dir: Path) -> CodeState:
    common = git_dir
    pointer = _text(git_dir / "commondir")
    if pointer is not None:
        common = (git_dir / pointer.strip()).resolve()
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
