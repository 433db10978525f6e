"""The environment of a run: interpreters, distributions, operating system."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from thence.execution.capture.conda import CondaPackage, list_conda
from thence.execution.capture.distributions import (
    Distribution,
    Found,
    KeptFile,
    find_distributions,
    marker_environment,
)
from thence.execution.capture.interpreters import Interpreter, find_interpreters
from thence.execution.capture.known import KnownPackages
from thence.execution.capture.probe import attempt
from thence.execution.capture.system import System, capture_system

__all__ = ["Environment", "capture_environment", "with_blas"]


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What a run ran on, so far as it can be named and given back.

    Attributes:
        interpreters: The Python interpreters that ran; the first is the one to rebuild.
        distributions: Used distributions and what they require, sorted by name.
        installed: Everything that was installed beside them, `name==version`, for reading.
        kept: Package files whose content must be kept, because no index has them.
        import_roots: Folders that editable installs put on the path. Those of the project itself
            are restored with it, and belong on `PYTHONPATH`.
        conda: The packages of the conda environment that the first interpreter is of.
        system: The operating system and its packages.
        problems: What could not be found out, sentences for people.
    """

    interpreters: tuple[Interpreter, ...] = ()
    distributions: tuple[Distribution, ...] = ()
    installed: tuple[str, ...] = ()
    kept: tuple[KeptFile, ...] = ()
    import_roots: tuple[str, ...] = ()
    conda: tuple[CondaPackage, ...] = ()
    system: System = System()
    problems: tuple[str, ...] = ()

    @property
    def python(self) -> str | None:
        """Version of the interpreter that ran, or None for a run without Python."""
        return self.interpreters[0].version if self.interpreters else None

    @property
    def used(self) -> tuple[Distribution, ...]:
        """The distributions that the run opened files of."""
        return tuple(item for item in self.distributions if item.used)


def with_blas(environment: Environment, said: Mapping[str, str]) -> Environment:
    """The environment with what libraries of linear algebra said of themselves, by their files."""
    system = environment.system
    blas = dict.fromkeys(system.blas, "") | dict(said)
    named = tuple(f"{name} ({text})" if text else name for name, text in sorted(blas.items()))
    return msgspec.structs.replace(environment, system=msgspec.structs.replace(system, blas=named))


def capture_environment(
    opened: Iterable[str],
    executed: Iterable[str],
    *,
    python: str | None = None,
    variables: Mapping[str, str] | None = None,
    cache: Path | None = None,
) -> Environment:
    """Describe the environment of a run from what it opened and executed.

    Never raises for what it finds on the machine: what cannot be read becomes a problem.

    Args:
        opened: Absolute paths of the files that the run opened.
        executed: Absolute paths of the programs that it started, in order.
        python: An interpreter that ran for certain (of this process, or of a notebook kernel).
        variables: The environment variables of the run, with their values.
        cache: A file with what earlier runs found out of packages, which makes it faster.
    """
    # Old file systems hold names that are not UTF-8; no record can hold them.
    files = {path for path in opened if _is_text(path)}
    programs = [*([python] if python else []), *(path for path in executed if _is_text(path))]
    values = dict(variables or {})
    problems: list[str] = []
    known = KnownPackages(cache)

    interpreters, problem = attempt(
        "the Python interpreter", lambda: find_interpreters(files, programs)
    )
    problems += [problem] if problem else []
    interpreters = interpreters or []

    found: Found | None = None
    if interpreters or any("-packages/" in path for path in files):
        first = interpreters[0] if interpreters else None
        search_path = values.get("PYTHONPATH", "").split(os.pathsep)
        found, problem = attempt(
            "the installed packages",
            lambda: find_distributions(
                files,
                markers=marker_environment(
                    version=first.version if first else "3.11.0",
                    implementation=first.implementation if first else "cpython",
                ),
                sites=search_path,
                known=known,
            ),
        )
        problems += [problem] if problem else []

    system, problem = attempt(
        "the operating system", lambda: capture_system(files, programs, values, known)
    )
    problems += [problem] if problem else []
    conda, problem = (
        attempt("the packages of conda", lambda: list_conda(interpreters[0].base_prefix))
        if interpreters
        else (None, None)
    )
    problems += [problem] if problem else []
    known.save()
    return Environment(
        interpreters=tuple(interpreters),
        distributions=found.distributions if found else (),
        installed=found.installed if found else (),
        kept=found.kept if found else (),
        import_roots=found.import_roots if found else (),
        conda=tuple(conda or ()),
        system=system or System(),
        problems=(*problems, *(found.problems if found else ())),
    )


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
