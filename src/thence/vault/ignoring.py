"""`.thenceignore`: what is not saved with a folder, in the language of `.gitignore`.

Rules hold for the folder that their file lies in and for all below, up to the project's folder. As
in Git, the last rule of a file that fits decides, a file further down decides before those above,
and what lies in an ignored folder cannot be taken back.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from thence.errors import InvalidInput
from thence.store.failures import failures_of

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

__all__ = ["IGNORE_FILE", "Rules"]

IGNORE_FILE = ".thenceignore"


class _Source(NamedTuple):
    """One file of rules, seen from a folder at or below it.

    Attributes:
        quick: Fits all that one of the rules ignores, and some of what another takes back.
        inside: The path of the folder from where the file lies; ends with `/`, or empty.
    """

    spec: "GitIgnoreSpec"
    quick: re.Pattern[str]
    inside: str


class Rules:
    """The rules that hold in one folder."""

    __slots__ = ("_sources",)

    def __init__(self, sources: tuple[_Source, ...] = ()) -> None:
        self._sources = sources

    @classmethod
    def above(cls, root: Path, path: Path) -> "Rules":
        """The rules of the folders from the root of a project down to where a path lies.

        None hold where the path is not below the root, or is itself ignored by them: it was named,
        so it is meant.

        Raises:
            InvalidInput: A rule cannot be understood.
            Denied: A file of rules may not be read.
        """
        here = path.parent.resolve()
        if not here.is_relative_to(root):
            return cls()
        rules: Rules = cls().read(str(root))
        folder = root
        for part in here.relative_to(root).parts:
            if rules.ignored([part], folders=True):
                return cls()
            folder /= part
            rules = rules.enter(part).read(str(folder))
        return cls() if rules.ignored([path.name], folders=path.is_dir()) else rules

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
            fits, inside = source.quick.match, source.inside
            found.update(name for name in names if fits(f"{inside}{name}{end}"))
        return {name for name in found if self._decide(name + end)}

    def _decide(self, name: str) -> bool:
        for source in reversed(self._sources):
            include = source.spec.check_file(f"{source.inside}{name}").include
            if include is not None:
                return include
        return False


def _parse(path: Path, lines: list[str]) -> _Source | None:
    from pathspec import GitIgnoreSpec  # 20 ms, which projects without such a file need not pay

    for number, line in enumerate(lines, 1):
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError as error:
            raise InvalidInput(
                f"line {number} of {path} is no pattern: {line!r}",
                why="It ends where something must follow.",
                hint="Write it as in a .gitignore file, or put # before it.",
                about=str(path),
            ) from error
    spec = GitIgnoreSpec.from_lines(lines)
    patterns = [
        # Python wants the names of groups to be unique, and nobody asks for these.
        re.sub(r"\(\?P<\w+>", "(?:", pattern.regex.pattern)
        for pattern in spec.patterns
        if pattern.include and pattern.regex is not None
    ]
    if not patterns:
        # Rules that only take back say nothing of their own, but may undo those above.
        patterns = ["(?!)"]
    if not any(pattern.include is not None for pattern in spec.patterns):
        return None
    return _Source(spec, re.compile("|".join(f"(?:{one})" for one in patterns)), "")
