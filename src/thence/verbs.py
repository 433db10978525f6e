"""The verbs of `import thence`: each acts on the current project.

That is the project of `THENCE_PROJECT`, or the one found upward from the working directory, or from
the folder of the script. Where there is none, one is made beside the script or notebook, and a line
on stderr says so.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from thence.errors import InvalidInput, NotFound, ThenceError

if TYPE_CHECKING:
    from thence.execution.session import Session
    from thence.index.views import RunDetail, VersionDetail
    from thence.model.records import Kind, Verdict
    from thence.project import Project
    from thence.vault.difference import Diff

__all__ = ["begin", "diff", "finish", "init", "load", "log", "reproduce", "run", "save"]

PathLike = str | os.PathLike[str]

_log = logging.getLogger(__name__)

# By folder and process: a connection to the index must not be carried over a fork.
_projects: dict[tuple[str | Path, int], "Project"] = {}
# What was loaded before a run was open; it becomes an input of the run that is opened then.
_loaded: dict[PathLike, None] = {}
_said_lost = False
_opening = Lock()


def init(folder: PathLike = ".", *, store: str | None = None) -> "Project":
    """Make a project in a folder, or join the one in a store elsewhere.

    Args:
        folder: Of the project.
        store: URL of its home, `.thence/store` without; a project that is there is joined.

    Raises:
        AlreadyExists: There is a project in the folder.
        Denied: The folder or the store may not be written to.
        StorageError: The store does not keep a promise that a project needs, or failed.
    """
    from thence.project import Project

    return Project.init(folder, store=store)


def save(
    obj: Any,
    name: str | None = None,
    *,
    kind: "Kind | str | None" = None,
    note: str | None = None,
    tags: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    doc: PathLike | None = None,
    allow_pickle: bool = False,
) -> "VersionDetail":
    """Save an object under a name, or a path (a `Path`, or text that begins with `./`).

    Outside of `with thence.run():` the first save of a script or notebook opens a run, which is
    sealed by `finish`, or when the process ends.

    Raises:
        InvalidInput: The object cannot be saved safely, or a name is missing.
        MissingExtra: A package is needed for it.
        AlreadyExists: The name is taken by another kind or spelling.
        StorageError: The store failed.
    """
    from thence.execution import live

    project = _current()
    wanted = None if kind is None else _kind(kind)
    if live.current() is None:
        _open_run(project)
    return project.save(
        obj,
        name,
        kind=wanted,
        note=note,
        tags=tags,
        metrics=metrics,
        doc=doc,
        allow_pickle=allow_pickle,
    )


def load(ref: PathLike, *, allow_pickle: bool = False, trusted: Iterable[str] = ()) -> Any:
    """The object that a version holds, or that a file on disk does.

    It becomes an input of the run that is going on, or else of the one that the next save or log
    opens.

    Raises:
        NotFound: There is no such version, path or file.
        InvalidInput: It is a folder of several files.
        Denied: It is a pickle, or holds types that are not trusted.
        MissingExtra: A package is needed for it.
        DataDamaged: A content is damaged.
    """
    from thence.execution import live

    loaded = _current().load(ref, allow_pickle=allow_pickle, trusted=trusted)
    if live.current() is None:
        _loaded[ref] = None
    return loaded


def log(
    values: Mapping[str, Any] | None = None, /, *, step: int | None = None, **more: Any
) -> None:
    """Log metrics (numbers) and parameters (anything else) of the run that is going on.

    Outside of one, a run is opened, which is sealed by `finish`, or when the process ends. Never
    raises: what cannot be logged must not end a training. It is said once in the log.

    Args:
        values: By name; for names that are no Python words.
        step: Where in the series of the metric.
        more: By name: `thence.log(auc=0.91, lr=3e-4)`.
    """
    global _said_lost  # noqa: PLW0603 - once in a process
    try:
        from thence.execution import live

        found = {**(values or {}), **more}
        # The usual case first: under `thence run` nothing else needs to be imported.
        if live.current() is None:
            _open_run(_current())
        if (tail := live.current()) is not None:
            tail.log(found, step=step)
    except Exception as error:
        if not _said_lost:
            _said_lost = True
            _log.warning("logged values are lost: %s", error)


def run(
    *,
    name: str | None = None,
    experiment: str | None = None,
    note: str | None = None,
    tags: Mapping[str, str] | None = None,
    params: Mapping[str, Any] | None = None,
) -> "AbstractContextManager[Session]":
    """A run around a block of this program: `with thence.run(name="baseline"): …`.

    Under `thence run`, and in a program that a run started, the block is part of that run: `params`
    and `tags` are noted as parameters of it, `name`, `experiment` and `note` are ignored.

    Raises:
        Conflict: A run is open in this process.
        StorageError: The spool or the store cannot be written.
    """
    return _current().run(name=name, experiment=experiment, note=note, tags=tags, params=params)


def begin() -> None:
    """Open a run for this process, if it is not part of one: what `import thence.auto` does.

    It is sealed by `finish`, or when the process ends.

    Raises:
        NotFound: `THENCE_PROJECT` names a folder without a project.
        Denied: There is no project, and none can be made.
        StorageError: The spool or the store cannot be written.
    """
    from thence.execution import live

    if live.current() is None:
        _open_run(_current())


def finish() -> "RunDetail | None":
    """Seal the run that this process has opened, and give it back; None where there is none.

    Raises:
        StorageError: The store failed; `thence runs recover` seals it later.
    """
    from thence.execution import following, session

    ended = session.finish()
    return None if ended is None else following.detail(_current().site, ended)


def record_cells(shell: Any) -> None:
    """Record the cells of a notebook or prompt of IPython from now on: `%load_ext thence`.

    A run is opened, which is sealed by `finish`, or when the kernel ends.

    Raises:
        StorageError: The spool or the store cannot be written.
    """
    from thence.execution.notebook_live import load

    load(shell, lambda: _open_run(_current()))


def diff(old: str, new: str) -> "Diff":
    """What changed from one version to another.

    Raises:
        NotFound: There is no such version or path.
        DataDamaged: A content is damaged.
    """
    return _current().diff(old, new)


def reproduce(
    ref: str,
    *,
    keep: PathLike | None = None,
    secrets: Mapping[str, str] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> "Verdict":
    """Run a run again in an empty folder and say how well its results came out.

    Args:
        ref: A run, or a version that a run made.
        keep: An empty folder to work in and leave.
        secrets: Values for what was withheld, by name.
        progress: Is told what is being done.

    Raises:
        NotFound: There is no such run.
        InvalidInput: The run is not sealed yet.
        AlreadyExists: `keep` is not empty.
        StorageError: The disk is full.
    """
    return _current().reproduce(ref, keep=keep, secrets=secrets, progress=progress)


def _current() -> "Project":
    """The current project, opened once in a process; made, where there is none.

    Raises:
        NotFound: `THENCE_PROJECT` names a folder without a project.
        FormatTooNew: It was made by a newer thence.
        Denied: There is none, and none can be made here.
    """
    from thence.execution.opening import PROJECT_VARIABLE, find_root, is_url
    from thence.project import Project

    given = os.environ.get(PROJECT_VARIABLE)
    where: str | Path
    if given and is_url(given):
        where = given
    else:
        try:
            where = find_root()
        except NotFound:
            if given:
                raise
            where = _beside_the_script()
    key = where, os.getpid()
    if key not in _projects:
        _projects[key] = Project.open(where)
    return _projects[key]


def _open_run(project: "Project") -> None:
    from thence.execution import live, session
    from thence.execution.record import RunOptions
    from thence.model.names import is_path

    with _opening:
        # Of several threads that log for the first time, the first opens the run.
        if live.current() is not None:
            return
        session.start(project.site, RunOptions())
    for ref in _loaded:
        try:
            if isinstance(ref, os.PathLike) or is_path(ref):
                # The sensor that is on now sees this.
                Path(ref).expanduser().open("rb").close()
            else:
                live.tell(live.UsedVersion(version=_version(project, ref).record))
        except (OSError, ThenceError) as error:
            _log.warning("%s was loaded before the run and is not among its inputs: %s", ref, error)
    _loaded.clear()


def _version(project: "Project", ref: str) -> "VersionDetail":
    from thence.execution.giving import resolve

    return resolve(project.site, ref).version


def _beside_the_script() -> Path:
    """The project above the script, or a new one beside it."""
    from thence.project import Project

    folder = _folder_of_program()
    for above in (folder, *folder.parents):
        if (above / ".thence" / "store" / "project.json").is_file():
            return above
    root = Project.init(folder).root
    sys.stderr.write(f"thence: made a project in {root}, which had none\n")
    return root


def _folder_of_program() -> Path:
    """The folder of the script; for a notebook, a prompt or an installed program: this one."""
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    here = Path.cwd()
    if not isinstance(path, str) or getattr(main, "__spec__", None) is not None:
        return here
    script = Path(path).resolve()
    installed = (Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve())
    if script.suffix != ".py" or any(script.is_relative_to(prefix) for prefix in installed):
        return here
    return script.parent


def _kind(kind: "Kind | str") -> "Kind":
    from thence.model.records import Kind

    try:
        return Kind(kind)
    except ValueError as error:
        raise InvalidInput(
            f"not a kind: {kind!r}",
            why=f"Kinds are {', '.join(known.value for known in Kind)}.",
            hint="Leave it out, and thence looks for itself.",
        ) from error
