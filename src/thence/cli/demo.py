"""`thence demo`: a small study that is run, thrown away and made again, through the public API."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from thence.cli import human
from thence.cli.output import Output
from thence.cli.plain import run_fields
from thence.cli.progress import steps
from thence.cli.reproducing import show_verdict
from thence.cli.verb import Invocation, verb
from thence.errors import AlreadyExists, MissingExtra, RunFailed, StorageError
from thence.model.records import FileRole, RunStatus, Verdict

if TYPE_CHECKING:
    from thence.execution.capture.environment import Environment
    from thence.index.views import RunDetail
    from thence.project import Project

__all__ = ["demo"]

# What the study imports, and the distribution that brings it.
_NEEDED = {
    "pandas": "pandas",
    "sklearn": "scikit-learn",
    "skops": "skops",
    "matplotlib": "matplotlib",
    "PIL": "pillow",
}
_DATA = "data/biopsies.csv"
# All but this one is committed: nobody commits everything, and a run must not depend on it.
_NOT_COMMITTED = "features.py"


@verb(
    "demo",
    examples=("thence demo", "thence demo --keep my-demo"),
    statuses=(3, 5, 7),
)
@click.option(
    "--keep",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Make the project in this folder, which is empty or not there yet, instead of in a "
    "temporary one.",
)
def demo(invocation: Invocation, *, keep: Path | None) -> None:
    """Make a small project that shows what thence does.

    A study of real data is run once, with nothing said about what it reads or writes. Then all its
    files are removed, and it is made again from what was kept. The exit status is that of the
    verdict. Nothing here is special: the same commands do the same with a project of your own.
    """
    _check_extras()
    invocation.log_to_stderr()
    folder = _make_folder(keep)
    tour = _Tour(invocation.output, folder)
    verdict = tour.take()
    click.get_current_context().exit(verdict.finding.exit_status)


class _Tour:
    """The demonstration, step by step."""

    def __init__(self, output: Output, folder: Path) -> None:
        self._output = output
        self._folder = folder
        self._steps = 0

    def take(self) -> Verdict:
        self._output.done("thence demo: a study is run, thrown away, and made again.")
        project = self._make_project()
        run = self._run(project)
        self._show_kept(project, run)
        self._remove_originals()
        verdict = self._reproduce(project, run)
        self._say_what_next(run)
        return verdict

    # The steps

    def _make_project(self) -> "Project":
        from thence.project import Project

        self._step(f"A project in {self._folder}")
        with as_file(files("thence.cli") / "demo_project") as source:
            for path in sorted(source.iterdir()):
                if path.is_file():
                    shutil.copyfile(path, self._folder / path.name)
        with steps(self._output) as tell:
            tell("writing the data")
            said = self._call([sys.executable, "prepare.py"])
        self._fact("data", f"{_DATA}: {said.strip()} (a data set that scikit-learn ships)")
        self._fact("study", self._commit())
        return Project.init(self._folder)

    def _commit(self) -> str:
        """Commit the files as people do: all but one."""
        names = sorted(path.name for path in self._folder.iterdir() if path.is_file())
        code = "train.py and features.py"
        if shutil.which("git") is None:
            return f"{code} (git is not installed, so nothing is committed)"
        names.remove(_NOT_COMMITTED)
        git = ["git", "-c", "user.name=thence demo", "-c", "user.email=demo@example.invalid"]
        try:
            self._call([*git, "init", "--quiet", "--template="])
            self._call([*git, "add", "--", *names])
            self._call([*git, "-c", "commit.gpgsign=false", "commit", "-qm", "A study of biopsies"])
        except RunFailed as error:
            return f"{code} (git did not work here: {error.why})"
        return "train.py, in git; features.py, which train.py imports and nobody committed"

    def _run(self, project: "Project") -> "RunDetail":
        self._step("thence run python train.py")
        with contextlib.chdir(self._folder), _stdout_free(self._output):
            run = project.execute([sys.executable, "train.py"], name="train", experiment="demo")
        self._output.record("run", run_fields(run))
        if run.status is not RunStatus.FINISHED:
            raise RunFailed(
                "the demonstration's train.py failed",
                why=f"It ended with exit status {run.exit_code}; what it said is above.",
                hint=f"Look at it in {self._folder}",
                about=run.run.short,
            )
        return run

    def _show_kept(self, project: "Project", run: "RunDetail") -> None:
        self._step(f"What was kept of {run.run.short}, without a word from train.py")
        uses = {role: project.run_files(run.run.short, role) for role in FileRole}
        made = {str(one.artifact): one for one in (*run.uses, *run.makes)}

        def named(role: FileRole) -> str:
            parts = []
            for use in uses[role]:
                version = made.get(use.path)
                parts.append((version and version.ref) or use.path)
            return ", ".join(parts)

        sealed = run.sealed
        assert sealed is not None
        untracked = [path for path in sealed.code.untracked if not path.endswith(".csv")]
        code = named(FileRole.CODE)
        if run.commit:
            code += f"; commit {run.commit[:8]}"
            code += f", and what is not in it: {', '.join(untracked)}" if untracked else ""
        params = ", ".join(f"{name}={one.value}" for name, one in sorted(run.params.items()))
        self._fact("inputs", named(FileRole.INPUT))
        self._fact("code", code)
        self._fact("config", f"{named(FileRole.CONFIG)}: {params}")
        self._fact("environment", _describe_environment(_environment(project, run)))
        self._fact("outputs", named(FileRole.OUTPUT))
        metrics = (f"{name}={human.number(value)}" for name, value in sorted(run.metrics.items()))
        self._fact("metrics", ", ".join(metrics))
        self._fact("documents", named(FileRole.DOCUMENT))
        self._fact("sensor", f"{run.sensor}, {run.completeness}")
        for problem in (*sealed.problems, *sealed.sensor.not_seen):
            self._fact("problem", problem)

    def _remove_originals(self) -> None:
        gone = [path for path in sorted(self._folder.iterdir()) if path.name != ".thence"]
        self._step(f"Everything but .thence is removed: {', '.join(path.name for path in gone)}")
        for path in gone:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _reproduce(self, project: "Project", run: "RunDetail") -> Verdict:
        self._step(f"thence reproduce {run.run.short}")
        with steps(self._output) as tell:
            verdict = project.reproduce(run.run.short, progress=tell)
        self._output.done("")
        show_verdict(self._output, verdict)
        return verdict

    def _say_what_next(self, run: "RunDetail") -> None:
        commands = (
            f"thence show {run.run.short}",
            "thence get results/model.skops",
            f"thence reproduce {run.run.short} --report report.html",
        )
        self._output.done(f"\nTry next:\n   cd {self._folder}")
        for command in commands:
            self._output.done(f"   {command}")
            self._output.record("next", {"command": command, "folder": str(self._folder)})

    # How it is told

    def _step(self, title: str) -> None:
        self._steps += 1
        if not (self._output.quiet or self._output.json):
            number = self._output.paint(f"{self._steps}.", "cyan")
            self._output.painted(f"\n{number} {self._output.paint(human.clean(title), 'bold')}")
        self._output.record("step", {"number": self._steps, "title": title})

    def _fact(self, label: str, text: str) -> None:
        if text:
            self._output.done(f"   {label:<12} {text}")
            self._output.record("fact", {"label": label, "text": text})

    def _call(self, command: list[str]) -> str:
        """Run a command that belongs to the scenery, not to the study; gives what it printed.

        Raises:
            RunFailed: It failed.
        """
        done = subprocess.run(
            command, cwd=self._folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or ["it said nothing"]
            raise RunFailed(
                f"{' '.join(command[:2])} failed", why=said[-1], hint=f"Look in {self._folder}"
            )
        return done.stdout


@contextlib.contextmanager
def _stdout_free(output: Output) -> Iterator[None]:
    """With `--json`, what the study prints goes to stderr: stdout holds nothing but objects."""
    if not output.json:
        yield
        return
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def _check_extras() -> None:
    missing = [package for module, package in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise MissingExtra(
            f"the demonstration needs {', '.join(missing)}",
            why="Its study reads, trains and draws with them, and they are not installed.",
            hint="Install them: pip install 'thence[demo]'",
        )


def _make_folder(keep: Path | None) -> Path:
    try:
        if keep is None:
            return Path(tempfile.mkdtemp(prefix="thence-demo-")).resolve()
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise AlreadyExists(
                f"{keep} is not empty",
                why="The demonstration removes what is in its folder.",
                hint="Name a folder that is not there yet: thence demo --keep my-demo",
                about=str(keep),
            )
        return keep.resolve()
    except OSError as error:
        if isinstance(error, AlreadyExists):
            raise
        raise StorageError(
            "the folder of the demonstration cannot be made",
            why=f"{error.strerror or error}.",
            hint="Name another one: thence demo --keep DIR",
        ) from error


def _environment(project: "Project", run: "RunDetail") -> "Environment":
    from thence.execution.capture.environment import Environment
    from thence.model import codec

    if run.sealed is None or run.sealed.environment is None:
        return Environment()
    return codec.decode(project.site.vault.content.read(run.sealed.environment), Environment)


def _describe_environment(environment: "Environment") -> str:
    proved = sum(one.record is not None for one in environment.distributions)
    packages = human.count(len(environment.distributions), "package")
    system = human.count(len(environment.system.packages), "package")
    return (
        f"Python {environment.python}, {packages} ({proved} with the digest of their files), "
        f"{system} of the operating system"
    )
