"""What a command is given when it runs again: its words, variables and standard input."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from thence.execution.capture.environment import Environment
from thence.execution.capture.placeholders import restore as fill_in
from thence.execution.rebuild import Rebuilt
from thence.execution.restore import Restored
from thence.execution.scripts import write_scripts
from thence.execution.view import Scene
from thence.model.records import RunSealed
from thence.store.failures import failures_of

__all__ = ["Secrets", "Surroundings"]

_PYTHON = re.compile(r"python(\d+(\.\d+)?t?)?")
# Of the machine, not of the work; without bytecode each run would compile every package.
_NOT_GIVEN = ("VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")


class Secrets(NamedTuple):
    """Values for what was withheld, by placeholder, and those that a person named."""

    by_placeholder: Mapping[str, str]
    by_name: Mapping[str, str]

    def find(self, name: str, placeholder: str | None) -> str | None:
        """The value of a variable that was withheld, where it is known here."""
        return self.by_placeholder.get(placeholder or "") or self.by_name.get(name)


class Surroundings(NamedTuple):
    """The surroundings of a reproduced command.

    Attributes:
        base: The folder of the reproduction.
        caches: Where fonts and the like are cached, which cost seconds to make and mean nothing.
        scene: What the command sees, if that is not simply this machine.
    """

    sealed: RunSealed
    environment: Environment
    restored: Restored
    rebuilt: Rebuilt
    secrets: Secrets
    base: Path
    caches: Path
    scene: Scene | None = None

    @property
    def root(self) -> Path:
        """The project's folder, as the command sees it."""
        return self.restored.root if self.scene is None else Path(self.sealed.root)

    @property
    def cwd(self) -> Path:
        """Where it runs, as it sees that."""
        return self.root / self.sealed.cwd

    @property
    def real_cwd(self) -> Path:
        """Where it runs, on this machine."""
        return self.restored.root / self.sealed.cwd

    def command(self) -> list[str]:
        """The words of the command; a secret that is not known here stays a placeholder."""
        words = [fill_in(word, self.secrets.by_placeholder) for word in self.sealed.command]
        first, *rest = map(self._relocated, words)
        return [self._program(first), *rest]

    def standard_input(self) -> Path | None:
        """The file that was its standard input, if it was a file and is there."""
        given = self.sealed.stdin
        if given is None or given == "pipe":
            return None
        path = self.restored.root / given
        return path if path.is_file() else None

    def variables(self) -> dict[str, str]:
        """Its environment variables.

        Raises:
            StorageError: The disk is full.
        """
        recorded = {
            name: fill_in(value, self.secrets.by_placeholder)
            for name, value in self.sealed.environment_variables.items()
            if name not in _NOT_GIVEN
        }
        for one in self.sealed.withheld:
            value = self.secrets.find(one.name, one.placeholder)
            if one.where == "environment" and value is not None:
                recorded[one.name] = value
        modules = self._module_path(recorded.pop("PYTHONPATH", ""))
        if modules:
            recorded["PYTHONPATH"] = os.pathsep.join(modules)
        temporary = self.base / "tmp"
        with failures_of(f"make {temporary}"):
            temporary.mkdir(exist_ok=True)
        return {
            **recorded,
            "PATH": os.pathsep.join([*self._programs(), os.environ.get("PATH", os.defpath)]),
            "HOME": str(self.base / "home"),
            "XDG_CACHE_HOME": str(self.caches),
            "TMPDIR": str(temporary),
        }

    def _module_path(self, recorded: str) -> list[str]:
        # An editable install of the project itself: its folders came back with the project.
        own = f"{self.sealed.root}/"
        roots = [one for one in self.environment.import_roots if f"{one}/".startswith(own)]
        folders = [folder for folder in recorded.split(os.pathsep) if folder]
        return [
            *map(str, self.restored.packages),
            *(self._relocated(folder) for folder in (*roots, *folders)),
        ]

    def _programs(self) -> list[str]:
        """Folders of programs that come before those of this machine."""
        if self.rebuilt.python is None:
            return []
        scripts = self.base / "scripts"
        for folder in self.restored.packages:
            write_scripts(folder, self.rebuilt.python, scripts)
        return [str(scripts), str(self.rebuilt.python.parent)]

    def _relocated(self, word: str) -> str:
        """A word that names the original folder names the restored one."""
        original = self.sealed.root
        if word == original or word.startswith(original + "/"):
            return str(self.root) + word[len(original) :]
        return word

    def _program(self, program: str) -> str:
        """The rebuilt environment's interpreter or script in place of the original one."""
        if self.rebuilt.python is None or ("/" in program and self._is_file(program)):
            return program
        name = Path(program).name
        if _PYTHON.fullmatch(name):
            return str(self.rebuilt.python)
        found = (Path(folder) / name for folder in self._programs())
        return next((str(path) for path in found if path.exists()), program)

    def _is_file(self, program: str) -> bool:
        path = os.path.join(self.cwd, program)
        return os.path.isfile(path if self.scene is None else self.scene.real(path))
