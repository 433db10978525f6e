"""Asking git, in a way that neither touches a repository nor runs anything that it configures."""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["Git", "Refused", "Repository", "find_repository"]

_SETTINGS = (
    # Nothing that a repository configures may run or change what is written down.
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.quotePath=false"),
    *("-c", "core.pager=cat"),
    *("-c", "diff.noprefix=false"),
    *("-c", "diff.mnemonicPrefix=false"),
    *("-c", "diff.submodule=short"),
    *("-c", "core.logAllRefUpdates=false"),
    *("-c", "core.splitIndex=false"),
    *("-c", "gc.auto=0"),
    # The same objects give the same bytes.
    *("-c", "pack.threads=1"),
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


class Refused(Exception):
    """Git did not answer; the text says why."""


class Git:
    """The git of a folder. No call runs a hook, asks a person or reaches the network.

    Args:
        root: The folder.
        timeout_s: For each call.
    """

    def __init__(self, root: Path, timeout_s: float) -> None:
        self.root = root
        self.timeout_s = timeout_s
        self.program = shutil.which("git")

    def output(
        self,
        *arguments: str,
        limit_bytes: int = 1 << 28,
        standard_input: bytes | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> bytes:
        """Standard output, or one byte more than the limit where it is longer.

        Args:
            arguments: Of git.
            limit_bytes: It is ended when it says more.
            standard_input: What it is given to read.
            variables: Environment variables of this call.

        Raises:
            Refused: It failed, is not there, or took too long.
        """
        if self.program is None:
            raise Refused("git is not installed")
        with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as given:
            if standard_input is not None:
                given.write(standard_input)
                given.seek(0)
            try:
                process = subprocess.Popen(
                    [self.program, *_SETTINGS, *arguments],
                    cwd=self.root,
                    stdin=subprocess.DEVNULL if standard_input is None else given,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=_variables() | dict(variables or {}),
                    start_new_session=True,  # Ctrl-C is for the user's program, not for this
                )
            except OSError as error:
                raise Refused(f"git cannot be started: {error}") from error
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
                raise Refused(f"git {arguments[0]} took longer than {self.timeout_s:g} s")
            if process.returncode != 0:
                errors.seek(0)
                raise Refused(_reason(errors.read(4096).decode("utf-8", "replace")))
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


class Repository(NamedTuple):
    """Where a repository lies.

    Attributes:
        top: The folder of its work tree.
        git_dir: What git knows of this work tree.
    """

    top: Path
    git_dir: Path

    @property
    def common(self) -> Path:
        """What all its work trees share."""
        try:
            pointer = (self.git_dir / "commondir").read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return self.git_dir
        return (self.git_dir / pointer).resolve()


def find_repository(root: Path) -> Repository | None:
    """The repository that a folder lies in the work tree of; None outside of any."""
    for folder in (root.resolve(), *root.resolve().parents):
        entry = folder / ".git"
        target = None
        if entry.is_dir():
            target = entry
        elif entry.is_file():  # a worktree or a submodule: `gitdir: <path>`
            try:
                text = entry.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                return None
            target = (folder / text.removeprefix("gitdir: ")).resolve()
        if target is not None:
            return Repository(folder, target) if (target / "HEAD").is_file() else None
    return None
