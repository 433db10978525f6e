"""The code of a run: what git knows of it, as the record says it, with what is kept beside."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from thence.execution.capture.bundle import make_bundle
from thence.execution.capture.code import CodeState, capture_code
from thence.execution.capture.diffs import scrub_diff
from thence.execution.capture.git import Git, find_repository
from thence.execution.capture.probe import attempt
from thence.execution.capture.secrets import Redactor
from thence.execution.capture.snapshot import Opened, Snapshot, take_snapshot
from thence.execution.capture.states import FileState
from thence.model.records import Code
from thence.vault.writer import Writer

__all__ = ["CodeRecord", "record_code"]

_TIMEOUT_S = 20.0


class CodeRecord(NamedTuple):
    """What the record says of the code.

    Attributes:
        problems: Sentences for people.
    """

    code: Code
    problems: tuple[str, ...]


def record_code(
    root: Path,
    run: str,
    files: Iterable[str],
    reads: Iterable[FileState],
    *,
    redactor: Redactor,
    writer: Writer,
) -> CodeRecord:
    """Keep the state of the code: changes, a commit in the repository, a bundle.

    Never raises for what git does not do: it is said in the record. May be repeated.

    Args:
        root: The project's folder.
        run: The run.
        files: Paths of the code and configuration that it opened, relative to `root`.
        reads: What is known of the files that it opened.
        redactor: Tells secrets.
        writer: Where content goes.

    Raises:
        StorageError: The writer failed.
        Denied: The store may not be written to.
    """
    files = list(files)
    problems: list[str] = []
    found, problem = attempt("the git state", lambda: capture_code(root, files))
    problems += [problem] if problem else []
    state = found or CodeState()
    problems += state.problems
    snapshot, problem = attempt(
        "the commit of the code", lambda: _snapshot(root, run, state, reads, redactor)
    )
    problems += [problem] if problem else []
    snapshot = snapshot or Snapshot(None)
    problems += snapshot.problems
    # The diff is scrubbed after the files were searched, which knows more secrets.
    diff = scrub_diff(redactor, state.diff, snapshot.left_out) if state.diff else None
    bundle, problem = attempt(
        "the commits that no remote has", lambda: _bundle(root, snapshot, redactor, problems)
    )
    problems += [problem] if problem else []
    code = Code(
        commit=state.commit,
        branch=state.branch,
        remote=state.remote,
        dirty=state.dirty,
        diff=writer.put_bytes(diff).digest if diff else None,
        untracked=state.untracked,
        submodules=state.submodules,
        snapshot=snapshot.commit,
        bundle=writer.put_bytes(bundle).digest if bundle else None,
    )
    return CodeRecord(code, tuple(problems))


def _snapshot(
    root: Path, run: str, state: CodeState, reads: Iterable[FileState], redactor: Redactor
) -> Snapshot:
    repository = find_repository(root)
    if repository is None or not state.is_complete:
        return Snapshot(None)
    top = os.path.realpath(repository.top)

    def from_top(path: str | Path) -> str:
        return os.path.relpath(os.path.join(os.path.realpath(root), path), top)

    opened = {
        from_top(one.path): Opened(
            (one.kept or one.path).read_bytes, one.size_bytes, is_secret=one.redacted
        )
        for one in reads
        if one.path.is_relative_to(top) and one.why_not_kept is None
    }
    return take_snapshot(
        repository,
        Git(repository.top, _TIMEOUT_S),
        state,
        run,
        added=map(from_top, state.untracked),
        opened=opened,
        find_secret=redactor.find_in_file,
    )


def _bundle(
    root: Path, snapshot: Snapshot, redactor: Redactor, problems: list[str]
) -> bytes | None:
    repository = find_repository(root)
    if repository is None or snapshot.commit is None:
        return None
    made = make_bundle(
        repository,
        Git(repository.top, _TIMEOUT_S),
        snapshot.commit,
        snapshot.ref or "HEAD",
        find_secret=redactor.find_in_file,
    )
    problems += made.problems
    return made.data
