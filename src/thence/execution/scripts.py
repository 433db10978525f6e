"""Commands of packages that are given back on `PYTHONPATH` and not installed."""

import configparser
import shlex
from pathlib import Path

from thence.errors import StorageError

__all__ = ["write_scripts"]


def write_scripts(packages: Path, python: Path, folder: Path) -> list[Path]:
    """Make the console scripts that installing would have made.

    They run with what `PYTHONPATH` is when they are started.

    Args:
        packages: Folder with packages and their `.dist-info` folders.
        python: The interpreter that is to run them.
        folder: Where to put the scripts; made where it does not exist.

    Returns:
        The scripts, sorted.

    Raises:
        StorageError: They cannot be written.
    """
    written = []
    try:
        for file in sorted(packages.glob("*.dist-info/entry_points.txt")):
            for name, target in _console_scripts(file.read_text(encoding="utf-8")).items():
                folder.mkdir(parents=True, exist_ok=True)
                script = folder / name
                script.write_text(_script(python, target), encoding="utf-8")
                script.chmod(0o755)
                written.append(script)
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError("scripts could not be written", why=str(error)) from error
    return sorted(written)


def _console_scripts(text: str) -> dict[str, tuple[str, str]]:
    parser = configparser.ConfigParser(delimiters="=", interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    found: dict[str, tuple[str, str]] = {}
    for section in ("console_scripts", "gui_scripts"):
        for name, value in parser.items(section) if parser.has_section(section) else ():
            module, _, function = value.partition("[")[0].strip().partition(":")
            parts = [*module.split("."), *function.split(".")]
            # Names come from a file: what is no plain name is no script.
            if "/" not in name and name not in {".", ".."} and all(p.isidentifier() for p in parts):
                found[name] = module, function
    return found


def _script(python: Path, target: tuple[str, str]) -> str:
    module, function = target
    first = function.partition(".")[0]
    # By way of the shell: a first line longer than 127 bytes is cut off by older kernels.
    return (
        "#!/bin/sh\n"
        f"'''exec' {shlex.quote(str(python))} \"$0\" \"$@\"\n"
        "' '''\n"
        "import sys\n"
        f"from {module} import {first}\n"
        f"sys.exit({function}())\n"
    )
