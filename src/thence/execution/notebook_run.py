"""A notebook executed from its first cell to its last, as a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from thence.errors import InvalidInput
from thence.execution.events import Action, FileEvent
from thence.execution.notebook import (
    ENDING,
    NotebookRequest,
    choose_kernel,
    defaults_of,
    executed_name,
    inject,
    read_notebook,
    read_value,
    require_clients,
)
from thence.execution.notebook_kernel import CellProgress, Executor, write_notebook
from thence.execution.noting import NoteBook
from thence.execution.record import OpenedNotebook, RunOptions, Sensor, carry_out, open_run
from thence.execution.site import Site
from thence.model.ids import RunId
from thence.model.paths import path_to_text

__all__ = ["SPOOLED", "Prepared", "execute_notebook", "prepare_again"]

SPOOLED = "notebook.ipynb"
"""The executed notebook in the spool of its run."""


def execute_notebook(
    site: Site,
    request: NotebookRequest,
    options: RunOptions,
    *,
    sensor: Sensor = "auto",
    progress: CellProgress = lambda number, total: None,
) -> RunId:
    """Execute a notebook in the working directory, its kernel under capture, and seal the run.

    The source stays as it is. The executed notebook is an output of the run; on the disk it is
    only where the request wants it.

    Args:
        site: Where.
        request: Which, and how.
        options: What a person says of the run.
        sensor: Which.
        progress: Is told of each cell that begins.

    Raises:
        MissingExtra: What executes notebooks is not installed.
        NotFound: There is no such notebook, or no such kernel.
        DataDamaged: It is no notebook.
        InvalidInput: It cannot be given these parameters.
        Denied: The store may not be written to.
        StorageError: The spool or the store cannot be written.
    """
    require_clients()
    source = Path(request.path).absolute()
    notebook = read_notebook(source)
    kernel = choose_kernel(notebook, wanted=request.kernel)
    given = {name: read_value(text) for name, text in request.params}
    defaults = defaults_of(notebook)
    injected = inject(notebook, given)
    output = None if request.output is None else Path(request.output).absolute()
    _check_output(output, source)
    name = _name_of(site, source)
    executed = executed_name(name) if output is None else _name_of(site, output)
    opened = open_run(
        site,
        request.command,
        options,
        notebook=OpenedNotebook(name, executed, {**defaults, **given}),
    )
    # The kernel does not open the notebook: its cells come from us.
    opened.ledger.on_event(FileEvent(Action.READ, str(source)))
    kept = opened.spool.folder / SPOOLED

    def keep(changed: Any) -> None:
        write_notebook(changed, kept, opened.redactor.scrub_text)
        if output is not None:
            write_notebook(changed, output)

    def companion(notes: NoteBook) -> Executor:
        executor.on_cell = notes.add
        return executor

    executor = Executor(notebook, kernel, on_changed=keep, progress=progress, injected=injected)
    with executor:
        return carry_out(
            site,
            opened,
            executor.command,
            sensor=sensor,
            variables=kernel.variables,
            companion=companion,
        )


class Prepared(NamedTuple):
    """A notebook that is executed once more.

    Attributes:
        variables: That its kernel wants.
        deviations: In what it is executed otherwise; sentences for people.
    """

    executor: Executor
    variables: Mapping[str, str]
    deviations: tuple[str, ...]


def prepare_again(
    request: NotebookRequest,
    *,
    notebook: str,
    root: Path,
    cwd: Path,
    place: Path,
    python: Path | None,
) -> Prepared:
    """Make ready to execute the notebook of a run again.

    Args:
        request: As it was.
        notebook: Its path, as the record has it.
        root: Of the restored project, where it is.
        cwd: Where it is executed, on this machine.
        place: A folder that the kernel sees.
        python: Of the rebuilt environment: the kernel, where that was the environment's Python.

    Raises:
        MissingExtra: What executes notebooks is not installed.
        NotFound: The notebook or its kernel is not there.
        DataDamaged: It is no notebook.
    """
    require_clients()
    content = read_notebook(root / notebook)
    kernel = choose_kernel(content, wanted=request.kernel, python=python)
    injected = inject(content, {name: read_value(text) for name, text in request.params})
    result = root / executed_name(notebook) if request.output is None else cwd / request.output

    def keep(changed: Any) -> None:
        result.parent.mkdir(parents=True, exist_ok=True)
        write_notebook(changed, result)

    deviations = () if kernel.is_plain else ("the kernel is the one that is installed here",)
    executor = Executor(content, kernel, on_changed=keep, injected=injected, place=place)
    return Prepared(executor, kernel.variables, deviations)


def _check_output(output: Path | None, source: Path) -> None:
    if output is None:
        return
    if output == source:
        raise InvalidInput(
            "the executed notebook would overwrite its source",
            hint="Give another name: --output NAME.ipynb",
        )
    if output.suffix != ENDING or not output.parent.is_dir():
        raise InvalidInput(
            f"the executed notebook cannot be written to {output}",
            why=f"Its name must end in {ENDING}, and its folder be there.",
        )


def _name_of(site: Site, path: Path) -> str:
    try:
        name = path.relative_to(site.root).as_posix()
    except ValueError:
        name = path.as_posix()
    return path_to_text(name).text
