"""What people write on the command line: `key=value` and kinds."""

import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from thence.model.records import Kind

__all__ = ["KIND", "NUMBER", "PAIR", "KindChoice", "NumberPair", "Pair", "as_mapping", "value_of"]

_NUMBERS = {"nan": math.nan, "inf": math.inf, "+inf": math.inf, "-inf": -math.inf}


if TYPE_CHECKING:
    _ParamType: TypeAlias = click.ParamType[Any, Any]
else:
    _ParamType = click.ParamType  # generic only since click 8.5


class Pair(_ParamType):
    """`key=value`."""

    name = "key=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """Cut at the first `=`."""
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not key.strip():
            self.fail(f"{value!r} is not key=value, as in owner=ada.", param, ctx)
        return key.strip(), text


class NumberPair(Pair):
    """`name=number`."""

    name = "name=number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        """Cut at the first `=` and read the number."""
        key, text = super().convert(value, param, ctx)
        try:
            return key, float(text)
        except ValueError:
            self.fail(f"{text!r} is not a number, as in auc=0.91.", param, ctx)


class KindChoice(click.Choice[str]):
    """The kind of an artifact."""

    name = "kind"

    def __init__(self) -> None:
        super().__init__([kind.value for kind in Kind], case_sensitive=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """One of the words."""
        return Kind(super().convert(value, param, ctx))


PAIR = Pair()
NUMBER = NumberPair()
KIND = KindChoice()


def as_mapping(pairs: Iterable[tuple[str, Any]], what: str) -> dict[str, Any]:
    """The pairs as a mapping; a key that is given twice is a mistake."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise click.UsageError(f"The {what} {key!r} is given twice, with different values.")
        found[key] = value
    return found


def value_of(text: str) -> Any:
    """A parameter as it was meant: a number, a boolean, None, a list of these, or text.

    >>> [value_of(text) for text in ("3e-4", "true", "adam", "[1, 2]", "007")]
    [0.0003, True, 'adam', [1, 2], '007']
    """
    if (found := _NUMBERS.get(text.strip().casefold())) is not None:
        return found
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, (dict, str)) else value
