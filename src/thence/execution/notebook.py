"""A notebook that is to be executed: read, given its parameters, and its kernel chosen.

The convention of papermill is followed: a cell tagged `parameters` holds defaults, and a cell with
the values that were given is put after it.
"""

import ast
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from thence.errors import DataDamaged, InvalidInput, MissingExtra, NotFound

__all__ = [
    "ENDING",
    "INJECTED",
    "ChosenKernel",
    "NotebookRequest",
    "choose_kernel",
    "defaults_of",
    "executed_name",
    "inject",
    "is_python",
    "read_notebook",
    "read_value",
    "require_clients",
    "to_bytes",
]

ENDING = ".ipynb"
INJECTED = "injected-parameters"
_TAG = "parameters"
_NAME = re.compile(r"[A-Za-z_]\w*")
_PLAIN_KERNELS = {"", "python3", "python"}


class NotebookRequest(NamedTuple):
    """What a person asks for.

    Attributes:
        path: Of the notebook, as it was given.
        params: As they were given: names and texts.
        kernel: Name of a kernelspec; None for that of the notebook.
        output: Where the executed notebook is also written; None for nowhere.
    """

    path: str
    params: Sequence[tuple[str, str]] = ()
    kernel: str | None = None
    output: str | None = None

    @property
    def command(self) -> tuple[str, ...]:
        """As it could be typed after `thence run`."""
        words = [self.path]
        for name, value in self.params:
            words += ["-p", name, value]
        if self.kernel is not None:
            words += ["--kernel", self.kernel]
        if self.output is not None:
            words += ["--output", self.output]
        return tuple(words)

    @classmethod
    def of_command(cls, words: Sequence[str]) -> "NotebookRequest":
        """What `command` was made from."""
        path, *rest = words
        params: list[tuple[str, str]] = []
        named: dict[str, str] = {}
        while rest:
            if rest[0] == "-p":
                params.append((rest[1], rest[2]))
                rest = rest[3:]
            else:
                named[rest[0]] = rest[1]
                rest = rest[2:]
        return cls(path, tuple(params), named.get("--kernel"), named.get("--output"))


def require_clients() -> None:
    """See that what executes notebooks is installed.

    Raises:
        MissingExtra: It is not.
    """
    try:
        import jupyter_client
        import nbclient
        import nbformat
    except ImportError as error:
        raise MissingExtra(
            f"{error.name} is needed to execute notebooks",
            why=f"{error.name} is not installed.",
            hint="Install it: pip install 'thence[notebooks]'",
        ) from error
    del jupyter_client, nbclient, nbformat


def read_notebook(path: Path) -> Any:
    """The notebook in a file, in the newest form.

    Raises:
        NotFound: There is no such file.
        DataDamaged: It is no notebook.
    """
    import nbformat

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(
            f"there is no notebook {path}", hint="See that the name is right."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataDamaged(f"{path} cannot be read: {error}") from error
    try:
        notebook = nbformat.reads(text, as_version=4)
        is_notebook = isinstance(notebook.get("cells"), list)
    except Exception as error:  # its readers fail in ways of their own
        raise DataDamaged(f"{path} is no notebook", why=f"{error}".splitlines()[0][:200]) from error
    if not is_notebook:
        raise DataDamaged(f"{path} is no notebook", why="It has no cells.")
    return notebook


def is_python(notebook: Any) -> bool:
    """Whether its cells are in Python."""
    metadata = notebook.get("metadata", {})
    language = metadata.get("kernelspec", {}).get("language") or metadata.get(
        "language_info", {}
    ).get("name", "python")
    return str(language).lower() == "python"


def read_value(text: str) -> Any:
    """A parameter as papermill reads it: a scalar, list or dictionary of YAML."""
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    # `1e-3` is text in YAML 1.1, and a number to everybody else.
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value


def _tagged(cell: Any, tag: str) -> bool:
    return tag in cell.get("metadata", {}).get("tags", ())


def inject(notebook: Any, params: Mapping[str, Any]) -> int | None:
    """Put a cell with the parameters after the one tagged `parameters`, or before all others.

    One that an earlier execution has left is replaced.

    Returns:
        Its index; None where there are no parameters.

    Raises:
        InvalidInput: The notebook is not in Python, or a name is none of Python.
    """
    import nbformat.v4

    notebook.cells = [cell for cell in notebook.cells if not _tagged(cell, INJECTED)]
    if not params:
        return None
    if not is_python(notebook):
        raise InvalidInput(
            "parameters cannot be given to this notebook",
            why="Its cells are not in Python.",
            hint="Write them into its cell of parameters.",
        )
    for name in params:
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                f"{name!r} cannot be a parameter", why="It is no name of a Python variable."
            )
    lines = "".join(f"{name} = {value!r}\n" for name, value in params.items())
    cell = nbformat.v4.new_code_cell(
        f"# Parameters\n{lines}".rstrip(), id=INJECTED, metadata={"tags": [INJECTED]}
    )
    index = next((i + 1 for i, one in enumerate(notebook.cells) if _tagged(one, _TAG)), 0)
    notebook.cells.insert(index, cell)
    return index


def defaults_of(notebook: Any) -> dict[str, Any]:
    """What the cell tagged `parameters` assigns that is a plain value."""
    source = next((str(cell.source) for cell in notebook.cells if _tagged(cell, _TAG)), "")
    found: dict[str, Any] = {}
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # another language, or a magic
        return found
    for statement in statements:
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(statement, (ast.Assign, ast.AnnAssign)):
                try:
                    value = ast.literal_eval(statement.value)  # type: ignore[arg-type]
                except ValueError:
                    continue
                if value is None or isinstance(value, (str, int, float, bool)):
                    found[target.id] = value
    return found


def executed_name(path: str) -> str:
    """What the executed notebook is called that nobody wanted on the disk.

    >>> executed_name("reports/train.ipynb")
    'reports/train.executed.ipynb'
    """
    return f"{path[: -len(ENDING)]}.executed{ENDING}"


class ChosenKernel(NamedTuple):
    """The kernel of a notebook.

    Attributes:
        words: Its command; `{connection_file}` stands for that.
        variables: That it wants in its environment.
        is_plain: Whether it is the Python of the environment, which a reproduction rebuilds.
    """

    words: tuple[str, ...]
    variables: Mapping[str, str] = {}
    is_plain: bool = True


def choose_kernel(
    notebook: Any, *, wanted: str | None = None, python: Path | None = None
) -> ChosenKernel:
    """The kernel that executes a notebook: the Python of this environment, or what its spec names.

    Args:
        notebook: With the name of a kernelspec in its metadata.
        wanted: That of another one.
        python: Takes the place of the Python of this environment.

    Raises:
        NotFound: There is no such kernelspec here.
    """
    name = wanted or str(notebook.metadata.get("kernelspec", {}).get("name", ""))
    if wanted is None and is_python(notebook) and (name in _PLAIN_KERNELS or python is not None):
        return _plain(python or _python_here())
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec(name)
    except NoSuchKernel as error:
        raise NotFound(
            f"there is no kernel {name!r} here",
            why="The notebook names it, or it was asked for.",
            hint="See `jupyter kernelspec list`, and choose: --kernel NAME",
        ) from error
    words = [str(word).replace("{resource_dir}", str(spec.resource_dir)) for word in spec.argv]
    if is_python(notebook) and python is not None:
        return _plain(python)
    if words and re.fullmatch(r"python(3(\.\d+)?)?", words[0]):
        words[0] = str(_python_here())
    return ChosenKernel(tuple(words), dict(spec.env), is_plain=False)


def _plain(python: Path) -> ChosenKernel:
    # What is typed is kept with the run; the history of a person's own prompts stays his.
    options = ("--HistoryManager.hist_file=:memory:",)
    words = (str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}", *options)
    # One that knows of no client tells the terminal how to find it.
    return ChosenKernel(words, {"JPY_PARENT_PID": str(os.getpid())})


def _python_here() -> Path:
    """The interpreter of the environment that is switched on; that of thence without one."""
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        prefix = os.environ.get(variable)
        if prefix and any(Path(prefix).glob("lib/python*/site-packages/ipykernel")):
            return Path(prefix) / "bin" / "python"
    return Path(sys.executable)


def to_bytes(notebook: Any) -> bytes:
    """The bytes of its file, the same for the same notebook."""
    return (json.dumps(_split(notebook), indent=1, ensure_ascii=False) + "\n").encode()


def _split(notebook: Any) -> Any:
    from nbformat.v4.rwbase import split_lines, strip_transient

    return split_lines(strip_transient(_copy(notebook)))


def _copy(notebook: Any) -> Any:
    import copy

    return copy.deepcopy(notebook)
