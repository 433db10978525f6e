"""`.thenceignore`: what is not saved with a folder, in the language of `.gitignore`.

Rules hold for the folder that their file lies in and for all below, up to the project's folder. As
in Git, the last rule of a file that fits decides, a file further down decides before those above,
and what lies in an ignored folder cannot be taken back.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from thence.errors import InvalidInput
from thence.store.failures import failures_of

__all__ = ["IGNORE_FILE", "Rules"]

IGNORE_FILE = ".thenceignore"


class _Rule(NamedTuple):
    """One line.

    Attributes:
        fits: The whole path of what it is about, from where the file of rules lies. Folders end
            with `/`.
        ignores: False where it takes back.
    """

    fits: re.Pattern[str]
    ignores: bool


class _Source(NamedTuple):
    """One file of rules, seen from a folder at or below it.

    Attributes:
        rules: The last that fits decides.
        quick: Fits all that one of the rules ignores, and some of what another takes back.
        inside: The path of the folder from where the file lies; ends with `/`, or empty.
    """

    rules: tuple[_Rule, ...]
    quick: re.Pattern[str]
    inside: str


class Rules:
    """The rules that hold in one folder."""

    __slots__ = ("_sources",)

    def __init__(self, sources: tuple[_Source, ...] = ()) -> None:
        self._sources = sources

    @classmethod
    def above(cls, root: Path, path: Path) -> "Rules":
        """The rules of the folders above a path, from the root of a project down, seen from there.

        None hold where the path is not below the root, or is itself ignored by them: it was named,
        so it is meant.

        Raises:
            InvalidInput: A rule cannot be understood.
            Denied: A file of rules may not be read.
        """
        named = path.parent.resolve() / path.name if path.name not in {"", ".."} else path.resolve()
        if named == root or not named.is_relative_to(root):
            return cls()
        rules: Rules = cls()
        folder = root
        *above, last = named.relative_to(root).parts
        for part in above:
            rules = rules.read(str(folder))
            if rules.ignored([part], folders=True):
                return cls()
            rules = rules.enter(part)
            folder /= part
        rules = rules.read(str(folder))
        return cls() if rules.ignored([last], folders=path.is_dir()) else rules.enter(last)

    def enter(self, name: str) -> "Rules":
        """The same rules, seen from a folder in this one."""
        if not self._sources:
            return self
        return type(self)(
            tuple(source._replace(inside=f"{source.inside}{name}/") for source in self._sources)
        )

    def read(self, folder: str) -> "Rules":
        """These rules and those of a file in this folder, if there is one.

        Raises:
            InvalidInput: A rule cannot be understood.
            Denied: The file may not be read.
        """
        path = Path(folder, IGNORE_FILE)
        if not path.is_file():
            return self
        with failures_of(f"cannot read {path}", about=str(path)):
            text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
        source = _parse(path, text.splitlines())
        return self if source is None else type(self)((*self._sources, source))

    def ignored(self, names: Iterable[str], *, folders: bool) -> set[str]:
        """Those of the names in this folder that are not saved."""
        found: set[str] = set()
        end = "/" if folders else ""
        for source in self._sources:
            fits, inside = source.quick.fullmatch, source.inside
            found.update(name for name in names if fits(f"{inside}{name}{end}"))
        return {name for name in found if self._decide(name + end)}

    def _decide(self, name: str) -> bool:
        for source in reversed(self._sources):
            path = f"{source.inside}{name}"
            for rule in reversed(source.rules):
                if rule.fits.fullmatch(path):
                    return rule.ignores
        return False


def _parse(path: Path, lines: list[str]) -> _Source | None:
    # 20 ms, which projects without such a file need not pay.
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    rules: list[_Rule] = []
    for number, line in enumerate(lines, 1):
        try:
            pattern = GitIgnoreSpecPattern(line)
        except ValueError as error:
            raise InvalidInput(
                f"line {number} of {path} is no pattern: {line!r}",
                why="It ends where something must follow.",
                hint="Write it as in a .gitignore file, or put # before it.",
                about=str(path),
            ) from error
        if pattern.include is not None and pattern.regex is not None:
            text = _of_itself(pattern.regex.pattern, line.rstrip())
            rules.append(_Rule(re.compile(text, re.DOTALL), pattern.include))
    if not rules:
        return None
    # Nothing may fit: rules that only take back say nothing here, but may undo those above.
    ignoring = [f"(?:{rule.fits.pattern})" for rule in rules if rule.ignores] or ["(?!)"]
    return _Source(tuple(rules), re.compile("|".join(ignoring), re.DOTALL), "")


def _of_itself(expression: str, line: str) -> str:
    """What fits a path itself, of an expression that also fits all that is in it.

    The library is made for lists of paths. Here folders are asked about before what is in them, as
    Git does; only so `*`, `!*/`, `!*.txt` means all texts, wherever they are.
    """
    folder = "(?:/)"
    expression = re.sub(r"\(\?P<\w+>", "(?:", expression)
    if expression == ".":
        return ".+"
    if expression == folder:
        return ".+/"
    if line.endswith("/**/"):
        return f"{expression.removesuffix(folder)}/.+/"
    return f"{expression}.+" if expression.endswith("/") else expression
