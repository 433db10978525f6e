"""What the notes of parsed arguments and configurations come to: parameters with their origin."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from thence.execution.capture.params import read_words
from thence.execution.capture.secret_names import is_secret
from thence.execution.capture.secrets import Redactor
from thence.model.records import Param

__all__ = ["DEFAULT", "Parsed", "read_arguments", "scrub_param"]

DEFAULT = " default"
"""Ends the origin of what nobody gave."""

_LIMIT = 1000
_SWEPT = 32


class Parsed(NamedTuple):
    """Parameters by name.

    Attributes:
        given: What somebody gave: on the command line, in the environment, in a configuration.
        defaults: What nobody gave, as the parser had it.
        left: What is left to guess of the command line; None where no parser of the program was
            seen to read it, so that all of it is.
    """

    given: dict[str, Param]
    defaults: dict[str, Param]
    left: dict[str, Param] | None = None


def scrub_param(redactor: Redactor, name: str, value: Any, where: str) -> Any:
    """A parameter without secrets; numbers can be secret by their name."""
    if isinstance(value, list):
        return [scrub_param(redactor, name, one, where) for one in value]
    if isinstance(value, str):
        return redactor.scrub_value(name, value, where)
    if value is None or isinstance(value, bool) or not is_secret(name, str(value)):
        return value
    return redactor.learn(name, str(value), where)


def read_arguments(notes: Iterable[Mapping[str, Any]], command: Sequence[str]) -> Parsed:
    """The parameters that programs of a run parsed.

    What a program parsed last wins: many look for `--config` first and parse all after that. Where
    another program of the run has another value for the same name, that is `<program>.<name>`. The
    jobs of a sweep (Hydra) make lists of their values.

    Args:
        notes: As they were told.
        command: Of the run.
    """
    reader = _Reader()
    left = None
    first = None
    for note in notes:
        reader.read(note)
        argv, pid = note.get("argv"), note.get("pid")
        if not isinstance(argv, list) or first not in {None, pid}:
            continue
        before = command[: len(command) - len(argv)]
        if [*before, *argv] == list(command):
            # The options of what started the program (`torchrun --nproc 2`) are not its own.
            left = read_words([*before, *map(str, note.get("rest", ()))])
            first = pid
    return Parsed(reader.given, reader.defaults, left)


class _Reader:
    def __init__(self) -> None:
        self.given: dict[str, Param] = {}
        self.defaults: dict[str, Param] = {}
        self._owners: dict[str, tuple[str, Any]] = {}

    def read(self, note: Mapping[str, Any]) -> None:
        origin = str(note["origin"])
        program = str(note.get("program", ""))
        defaults = set(note.get("defaults", ()))
        for name, value in note["values"].items():
            if len(self._owners) >= _LIMIT:
                return
            self._add(note, origin, program, name, value, is_default=name in defaults)

    def _add(
        self,
        note: Mapping[str, Any],
        origin: str,
        program: str,
        name: str,
        value: Any,
        *,
        is_default: bool,
    ) -> None:
        owner = (program, note.get("pid"))
        first = self._owners.setdefault(name, owner)
        before = self.given.get(name) or self.defaults.get(name)
        if before is not None and first != owner:
            if before.value == value or first[0] == program:  # a worker parses them once more
                return
            name = f"{program}.{name}"
            self._owners.setdefault(name, owner)
        elif before is not None and origin == before.origin == "hydra":
            value = _swept(before.value, value)
        self.given.pop(name, None)
        self.defaults.pop(name, None)
        if is_default:
            self.defaults[name] = Param(value=value, origin=f"{origin}{DEFAULT}")
        else:
            self.given[name] = Param(value=value, origin=origin)


def _swept(before: Any, value: Any) -> Any:
    if isinstance(value, list) or before == value:
        return value
    several = before if isinstance(before, list) else [before]
    return several if value in several or len(several) >= _SWEPT else [*several, value]
