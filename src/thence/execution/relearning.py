"""Learning secrets where they are not told by the command or the environment.

What a program reads from a secret file it may print; and who seals the run of a recorder that died
has to find out again what that one knew, since secrets are written nowhere.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from thence.execution.capture.secrets import Redactor
from thence.execution.capture.states import Ledger
from thence.model.records import Withheld

__all__ = ["learn_again", "learn_from_file", "scrub_logged"]

_FILE = 1 << 20
_OUTPUT = 8 << 20
# A value as it stands in JSON and tables, in `name=value`, and as base64 in anything.
_TOKENS = tuple(
    map(re.compile, (r"[^\s\"',;<>]{6,}", r"[^\s\"',;<>(){}\[\]=:&?@/|\\]{6,}", r"[\w+/=.~-]{6,}"))
)


def learn_from_file(redactor: Redactor, path: Path) -> None:
    """Learn the secrets in a file of code, configuration or passwords, as far as it can be read."""
    try:
        with path.open("rb") as file:
            data = file.read(_FILE)
    except OSError:
        return
    redactor.scrub_config(str(path), data)


def learn_again(redactor: Redactor, withheld: Iterable[Withheld], ledger: Ledger) -> None:
    """Learn what the dead recorder of a run had learnt.

    From the files that the run read, which are mostly still there. For the rest only keyed hashes
    are known: each word of an output that has such a hash is a secret.

    Args:
        redactor: What learns.
        withheld: Secrets in the command line and the environment of the run.
        ledger: Its files.
    """
    for state in ledger.reads:
        if state.why_not_kept == "secret":
            redactor.note_file(str(state.path))
        if state.redacted or state.why_not_kept == "secret":
            learn_from_file(redactor, state.path)
    wanted = {
        one.placeholder: one.name
        for one in withheld
        if one.placeholder is not None and not redactor.knows(one.placeholder)
    }
    for output in ledger.outputs if wanted else ():
        for word in _words_of(output.path):
            if (placeholder := redactor.placeholder(word)) in wanted:
                redactor.learn(wanted.pop(placeholder), word, "output")


def _words_of(path: Path) -> set[str]:
    try:
        with path.open("rb") as file:
            text = file.read(_OUTPUT).decode("utf-8", "surrogateescape")
    except OSError:
        return set()
    return {word for pattern in _TOKENS for word in pattern.findall(text)}


def scrub_logged(redactor: Redactor, name: str, value: Any) -> Any:
    """A logged parameter without secrets: text, or a list that may hold text."""
    if isinstance(value, str):
        return redactor.scrub_value(name, value, "log")
    if isinstance(value, (list, tuple)):
        return [scrub_logged(redactor, name, item) for item in value]
    return value
