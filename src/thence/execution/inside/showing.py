"""Parameters of statements as text, of any size and kind, without making more text than is told."""

from __future__ import annotations

from .addresses import is_secret_parameter
from .known import is_known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["clean", "shown"]

_LONGEST = 4_000
_FEW = 100
_DEEPEST = 4
_BITS = 4_000


def clean(text: str) -> str:
    """Text that can be written as UTF-8: what is half of a character is escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shown(parameters: Any) -> tuple[tuple[str, str], ...] | str | None:
    """Names and values as text; who listens takes secrets out of them, which it knows by more.

    >>> shown((3, "a")), shown({"most": 3}), shown(()), shown(7)
    ((('', '3'), ('', "'a'")), (('most', '3'),), None, '<int>')
    """
    if parameters is None:
        return None
    if issubclass(type(parameters), dict):
        pairs = ((_name(name), _shown(one, 1)) for name, one in dict.items(parameters))
    elif issubclass(type(parameters), (list, tuple)):
        pairs = (("", _shown(one, 1)) for one in _items(parameters))
    else:
        return f"<{type(parameters).__name__}>"
    return tuple(_few(pairs)) or None


def _name(name: Any) -> str:
    return clean(str.__str__(name)[:_LONGEST]) if issubclass(type(name), str) else _shown(name, 1)


def _few(texts: Iterable[Any]) -> list[Any]:
    """The first of texts or pairs of them, as many as have room."""
    taken = []
    room = _LONGEST
    for one in texts:
        taken.append(one)
        room -= len(one) if issubclass(type(one), str) else sum(map(len, one))
        if room <= 0 or len(taken) >= _FEW:
            break
    return taken


def _shown(value: Any, depth: int) -> str:
    if value is None or type(value) in (bool, float):
        return repr(value)
    if issubclass(type(value), int):
        plain = int.__int__(value)
        return repr(plain) if plain.bit_length() < _BITS else "<a great number>"
    if issubclass(type(value), (str, bytes)):
        plain_text = str.__str__(value) if issubclass(type(value), str) else value
        text = repr(plain_text[:_LONGEST])
        return text if len(plain_text) <= _LONGEST else f"{text}… ({len(plain_text):,} in all)"
    if issubclass(type(value), (list, tuple, dict)) and depth < _DEEPEST:
        return _several(value, depth + 1)
    kind = type(value)
    if is_known(kind) and not hasattr(kind, "__len__"):
        return repr(value)
    return f"<{kind.__name__}>"


def _several(value: Any, depth: int) -> str:
    if issubclass(type(value), dict):
        return "{" + ", ".join(_few(_pair(*one, depth) for one in dict.items(value))) + "}"
    return "[" + ", ".join(_few(_shown(one, depth) for one in _items(value))) + "]"


def _items(value: Any) -> Any:
    """Without calling what a subclass defines."""
    return list.__iter__(value) if issubclass(type(value), list) else tuple.__iter__(value)


def _pair(name: Any, value: Any, depth: int) -> str:
    is_secret = issubclass(type(name), str) and is_secret_parameter(str.__str__(name)[:_LONGEST])
    return f"{_shown(name, depth)}: {repr('<withheld>') if is_secret else _shown(value, depth)}"
