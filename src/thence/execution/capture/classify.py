"""What kind of place a path is: the project's, the environment's, the system's, or noise."""

import os
import re
import tempfile
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

__all__ = [
    "PLANTED",
    "Classifier",
    "Place",
    "Verdict",
    "is_bulk_data",
    "is_library",
    "is_short_text",
    "source_of_bytecode",
]


class Place(StrEnum):
    """Where a path lies, as far as recording goes."""

    PROJECT = "project"
    """Below the root: content is kept."""
    OUTSIDE = "outside"
    """Elsewhere, and neither of the following: content is kept."""
    ENVIRONMENT = "environment"
    """Installed packages and interpreters: the path is noted."""
    SYSTEM = "system"
    """The operating system: shared libraries are noted."""
    IGNORED = "ignored"
    """Noise: counted by rule."""


class Verdict(NamedTuple):
    """What a path is; `rule` names the reason for what is ignored."""

    place: Place
    rule: str = ""


PLANTED = "sensor"
"""The rule for what `thence.execution.planting` puts into Pythons."""

_SYSTEM = re.compile(
    r"/(usr|lib|lib32|lib64|libx32|bin|sbin|etc|proc|sys|dev|run|boot|snap|nix/store|var(?!/tmp/)"
    r"|System|Library)/"
)
_PACKAGES = re.compile(r"/(site-packages|dist-packages)/")
# /usr/lib/python3.11/, ~/.pyenv/versions/3.11.7/lib/python3.11/, and pypy's.
_STDLIB = re.compile(r"/lib(64)?/(python|pypy)\d[\d.]*t?/")
_NOISE = re.compile(
    r"/(\.thence|\.git|\.hg|\.svn|__pycache__|\.mypy_cache|\.pytest_cache|\.ruff_cache"
    r"|\.ipynb_checkpoints)/"
)
# Version managers and installers of programs: pyenv's shims are scripts that a shell reads.
_TOOLS = re.compile(
    r"/(\.(pyenv|asdf|rbenv|nvm|rustup|cargo|sdkman|volta|nix-profile)|\.local/(bin|share/(uv|mise)))/"
)
# Settings and caches of the person, not of the work.
_HOME_NOISE = (
    ".cache", ".config", ".matplotlib", ".nv", ".ipython", ".jupyter", ".local/share/jupyter",
    ".local/state", ".triton", ".dbus",
)  # fmt: skip
# Caches that hold what results are made of: downloaded models and data.
_HOME_DATA = (".cache/huggingface", ".cache/torch/hub", ".cache/kagglehub", ".cache/openml")
_HOME = "home"
_FONT_CACHE = re.compile(r"fontlist-v\d+\.json(\.matplotlib-lock)?$")
_LIBRARY = re.compile(r"\.(so(\.\d+)*|dylib)$")
_BYTECODE = re.compile(
    r"(?P<folder>.*/)__pycache__/(?P<module>[^/]+?)\.[a-z]+-?\d+t?(\.opt-[^./]+)?\.pyc", re.DOTALL
)

_TEXT_SUFFIX = re.compile(
    r"\.(bash|bib|c|cc|cfg|cmake|conf|cpp|css|cu|cuh|cwl|do|env|go|gradle|h|hpp|html|hydra|ini|ipynb"
    r"|java|jl|js|json|json5|jsonc|jsx|kt|lua|m|make|md|mjs|nf|php|pl|properties|pth|pxd|py|pyi|pyx"
    r"|qmd|r|rb|rmd|rs|rst|sas|sbt|scala|sh|smk|sql|tcl|tex|toml|ts|tsx|wdl|xml|yaml|yml|zsh)",
    re.IGNORECASE,
)
_TEXT_NAME = re.compile(
    r"Dockerfile|Containerfile|Makefile|Snakefile|Jenkinsfile|Procfile|Pipfile|Rakefile|Gemfile"
    r"|Justfile|CMakeLists\.txt|MLproject|\.(gitignore|dockerignore|envrc|netrc|npmrc)|\.env(\..*)?"
    r"|(requirements|constraints).*\.txt"
)


_OF_SECRETS = frozenset(
    {"csv", "gpg-key", "jks", "kdbx", "key", "keystore", "kubeconfig", "p12", "pem", "pfx", "ppk"}
    | {"txt", "", "local", "production", "pub"}
)


def is_library(path: str) -> bool:
    """Whether it is named like a shared library: `libm.so.6`, `_multiarray.so`."""
    # Looked for first: it is asked of each file, and a search from each letter on is slow.
    return (".so" in path or ".dylib" in path) and _LIBRARY.search(path) is not None


def is_short_text(path: str) -> bool:
    """Whether it is named like code or configuration, where people write secrets."""
    name = path.rpartition("/")[2]
    stem, _, suffix = name.rpartition(".")
    return (bool(stem.strip(".")) and _is_text_suffix(suffix)) or bool(_TEXT_NAME.fullmatch(name))


def is_bulk_data(path: str) -> bool:
    """Whether it is named as neither code, configuration nor secrets are: `img_0001.png`.

    Nothing in it needs to be known before the program goes on.
    """
    stem, _, suffix = path.rpartition("/")[2].rpartition(".")
    return bool(stem) and stem[0] != "." and _is_bulk_suffix(suffix)


@lru_cache(maxsize=512)
def _is_bulk_suffix(suffix: str) -> bool:
    return not _is_text_suffix(suffix) and suffix.lower() not in _OF_SECRETS


@lru_cache(maxsize=512)
def _is_text_suffix(suffix: str) -> bool:
    return _TEXT_SUFFIX.fullmatch(f".{suffix}") is not None


def source_of_bytecode(path: str) -> str | None:
    """The module that a cached bytecode file was compiled from.

    Python does not open a source whose bytecode is fresh, it only looks at its time.

    >>> source_of_bytecode("/p/__pycache__/features.cpython-311.pyc")
    '/p/features.py'
    """
    found = _BYTECODE.fullmatch(path)
    return f"{found['folder']}{found['module']}.py" if found else None


class Classifier:
    """Says what each path is, by its folder; each folder is looked at once.

    Args:
        root: The project's folder.
        home: The user's folder, for the rules on caches.
        ignore: Further folders whose files are noise, by the name of the rule.
    """

    def __init__(self, root: str, *, home: str, ignore: dict[str, str] | None = None) -> None:
        self.root = os.path.realpath(root)
        self._under_root = self.root.rstrip("/") + "/"
        self._home = os.path.realpath(home)
        # What is planted into Pythons (`thence.execution.planting`).
        planted = os.path.join(os.path.realpath(tempfile.gettempdir()), "thence-sensor-")
        self._ignored = {
            planted: PLANTED,
            **{os.path.realpath(path) + "/": rule for rule, path in (ignore or {}).items()},
        }
        self._verdicts: dict[str, tuple[str, Verdict]] = {}
        self._prefixes: dict[str, bool] = {}

    def resolve(self, path: str) -> tuple[str, Verdict]:
        """The path with the links in its folder resolved, and what it is.

        The last part is not resolved: a link in the project is a file of the project.
        """
        folder, _, name = path.rpartition("/")
        real, verdict = self._verdicts.get(folder) or self._look_at(folder)
        if (
            name.startswith("fontlist")
            and verdict.place is not Place.ENVIRONMENT
            and _FONT_CACHE.match(name)
        ):
            verdict = Verdict(Place.IGNORED, "font cache")
        elif verdict.rule == _HOME and name.startswith("."):
            verdict = Verdict(Place.IGNORED, "~/.*")
        return f"{real}/{name}", verdict

    def forget(self, folder: str) -> None:
        """A folder is about to become another one, or a link."""
        if folder in self._verdicts:
            for known in [one for one in self._verdicts if f"{one}/".startswith(f"{folder}/")]:
                del self._verdicts[known]

    def _look_at(self, folder: str) -> tuple[str, Verdict]:
        """The folder with its links resolved, and what is in it.

        Imports open files in hundreds of folders of an installation. What is known of the folder
        above spares looking at each part of the path, and mostly judging it, once more.
        """
        above, _, name = folder.rpartition("/")
        if name in {"", ".", ".."}:
            real = os.path.realpath(folder or "/").rstrip("/")
            found = (real, self._judge(f"{real}/"))
        else:
            real_above, verdict = self._verdicts.get(above) or self._look_at(above)
            real = f"{real_above}/{name}"
            if os.path.islink(real):
                real = os.path.realpath(real).rstrip("/")
                found = (real, self._judge(f"{real}/"))
            else:
                found = (real, self._judge_below(real_above, verdict, f"{real}/"))
        self._verdicts[folder] = found
        return found

    def _judge_below(self, above: str, verdict: Verdict, folder: str) -> Verdict:
        """What a folder is, from what the one above it is."""
        # Within an installation all is of it, but for what was left out, and a project in there.
        if (
            verdict.place is Place.ENVIRONMENT
            and self.is_in_project(f"{above}/") == self.is_in_project(folder)
            and not any(folder.startswith(prefix) for prefix in self._ignored)
        ):
            return verdict
        return self._judge(folder)

    def is_in_project(self, path: str) -> bool:
        """Whether it lies below the root; with `/` as root the system's folders do not."""
        if self._under_root == "/" and _SYSTEM.match(path):
            return False
        return path.startswith(self._under_root)

    def _judge(self, folder: str) -> Verdict:
        for prefix, rule in self._ignored.items():
            if folder.startswith(prefix):
                return Verdict(Place.IGNORED, rule)
        in_project = self.is_in_project(folder)
        # The folders above the root do not count: a project may lie in ~/.cache or below /usr/src.
        below = folder[len(self._under_root) - 1 :] if in_project else folder
        if any(place.search(below) for place in (_PACKAGES, _STDLIB, _TOOLS)):
            return Verdict(Place.ENVIRONMENT)
        if self._in_prefix(folder):
            return Verdict(Place.ENVIRONMENT)
        if noise := _NOISE.search(below):
            return Verdict(Place.IGNORED, noise[1])
        # A project that *is* the home holds its caches too; one below it has not to do with them.
        if not (in_project and self.root.startswith(self._home + "/")):
            personal = self._judge_home(folder, in_project=in_project)
            if personal is not None:
                return personal
        if in_project:
            return Verdict(Place.PROJECT)
        return Verdict(Place.SYSTEM if _SYSTEM.match(folder) else Place.OUTSIDE)

    def _judge_home(self, folder: str, *, in_project: bool) -> Verdict | None:
        if not folder.startswith(self._home + "/"):
            return None
        inside = folder[len(self._home) + 1 :]
        if not inside:
            return None if in_project else Verdict(Place.OUTSIDE, _HOME)
        if any(inside.startswith(name + "/") for name in _HOME_DATA):
            return None
        rule = next((name for name in _HOME_NOISE if inside.startswith(name + "/")), None)
        if rule is not None:
            return Verdict(Place.IGNORED, f"~/{rule}")
        return None if in_project else Verdict(Place.OUTSIDE)

    def _in_prefix(self, folder: str) -> bool:
        """Whether an ancestor is a virtual environment or an interpreter's installation."""
        if _SYSTEM.match(folder) and not self.is_in_project(folder):
            return False
        at = folder.rstrip("/")
        climbed = []
        answer = False
        # The folders above the project and the home hold more than an installation; `/` itself has
        # a bin and a lib/python3.
        while at and not any(f"{top}/".startswith(at + "/") for top in (self.root, self._home)):
            if at in self._prefixes:
                answer = self._prefixes[at]
                break
            climbed.append(at)
            if _is_prefix(at):
                answer = True
                break
            at = at.rpartition("/")[0]
        for seen in climbed:
            self._prefixes[seen] = answer
        return answer


def _is_prefix(folder: str) -> bool:
    if os.path.exists(f"{folder}/pyvenv.cfg") or os.path.isdir(f"{folder}/conda-meta"):
        return True
    if not os.path.isdir(f"{folder}/bin"):
        return False
    try:
        names = os.listdir(f"{folder}/lib")
    except OSError:
        return False
    return any(
        name.startswith(("python", "pypy")) and os.path.exists(f"{folder}/lib/{name}/os.py")
        for name in names
    )
