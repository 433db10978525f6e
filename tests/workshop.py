"""A project to run real programs in, as a person would."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from thence.index.views import RunDetail
from thence.model.ids import Digest
from thence.model.records import Comparison, FileRole, FileUse, RunSealed, Verdict
from thence.project import Project

__all__ = ["KILL_THE_RECORDER", "Workshop", "again", "empty", "environment", "seal_of"]

KILL_THE_RECORDER = """
import os, signal, sys, time
from pathlib import Path
from thence.execution.burst import flush_all
flush_all()
for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
    print("last words", file=stream, flush=True)
    while b"last words" not in Path(os.environ["THENCE_SPOOL"], name).read_bytes():
        time.sleep(0.01)
os.kill(os.getppid(), signal.SIGKILL)
"""
"""The end of a program: all that it said has reached the spool, and the recorder dies."""


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """With these environment variables, and without any that would lead to another project."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith("THENCE_"):
            del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def seal_of(run: RunDetail) -> RunSealed:
    """The record of the end of a run that has one."""
    assert run.sealed is not None
    return run.sealed


class Workshop:
    """A fresh project in a folder."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True)
        self.root = root
        self.project = Project.init(root)

    def write(self, path: str, data: str | bytes, *, executable: bool = False) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data.encode() if isinstance(data, str) else data)
        if executable:
            target.chmod(0o755)
        return target

    def git(self, *arguments: str) -> None:
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=self.root, check=True, capture_output=True)

    def run(
        self,
        *command: str,
        cwd: str = ".",
        variables: Mapping[str, str] | None = None,
        **options: Any,
    ) -> RunDetail:
        with contextlib.chdir(self.root / cwd), environment(**(variables or {})):
            return self.project.execute(command, **options)

    def script(self, text: str, *arguments: str, **options: Any) -> RunDetail:
        """Run Python code as `script.py`."""
        self.write("script.py", text)
        return self.run(sys.executable, "script.py", *arguments, **options)

    def reproduce(
        self, ref: str = "run:last", variables: Mapping[str, str] | None = None, **options: Any
    ) -> Verdict:
        with environment(**(variables or {})):
            return self.project.reproduce(ref, **options)

    def thence(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """The command, as a process of its own."""
        with environment():
            return subprocess.run(
                [sys.executable, "-m", "thence", *arguments],
                cwd=self.root,
                capture_output=True,
                text=True,
                check=False,
                **options,
            )

    def files(self, run: RunDetail, *roles: FileRole) -> dict[str, FileUse]:
        """The files of a run by their paths, of all roles or of some."""
        found = self.project.run_files(f"run:{run.run}")
        return {use.path: use for use in found if not roles or use.role in roles}

    def read(self, digest: Digest | None) -> bytes:
        assert digest is not None
        return self.project.site.vault.content.read(digest)

    def outcomes(self, verdict: Verdict) -> dict[str, str]:
        """Grade of each result."""
        return {one.path: str(one.grade) for one in verdict.results}

    def result(self, verdict: Verdict, path: str) -> Comparison:
        return next(one for one in verdict.results if one.path == path)

    def spools(self) -> list[Path]:
        folder = self.project.site.local / "spool"
        return sorted(folder.iterdir()) if folder.is_dir() else []


def empty(workshop: Workshop) -> None:
    """Delete everything but `.thence`."""
    for path in workshop.root.iterdir():
        if path.name == ".thence":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def again(workshop: Workshop, run: RunDetail, **options: Any) -> Verdict:
    empty(workshop)
    return workshop.reproduce(f"run:{run.run}", **options)
