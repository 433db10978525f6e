"""Values of parameters as plain JSON."""

from __future__ import annotations

from .known import is_known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["calls_resolvers", "flat"]

_NAMES = 300
_ITEMS = 32
_ROWS = 10
_TEXT = 1000
_MISSING = "???"
_NOTHING = object()


def flat(tree: dict[Any, Any]) -> dict[str, Any]:
    """Scalars and short lists by name, nested names joined with dots; what is neither is left out.

    >>> flat({"model": {"depth": 3}, "layers": (1, 2), "run": print, "_hidden": 1})
    {'model.depth': 3, 'layers': [1, 2]}
    """
    found: dict[str, Any] = {}
    todo: list[tuple[str, Any]] = [("", tree)]
    while todo and len(found) < _NAMES:
        name, value = todo.pop(0)
        if issubclass(type(value), dict):
            deeper = [(_joined(name, key), one) for key, one in dict.items(value)]
            todo[:0] = [(key, one) for key, one in deeper if key and not _is_hidden(key)]
        elif issubclass(type(value), (list, tuple, set, frozenset)):
            todo[:0] = _listed(name, value, found)
        elif _descends(value, "argparse", "Namespace"):
            todo.insert(0, (name, object.__getattribute__(value, "__dict__")))
        else:
            plain = _plain(value)
            if plain is not _NOTHING:
                found[name] = plain
    return found


def _is_hidden(name: str) -> bool:
    return name.rpartition(".")[2].startswith("_")


def _joined(name: str, key: Any) -> str:
    """The name of a value in a mapping; none where only code of the program could tell it."""
    plain = _plain(key)
    return "" if plain is _NOTHING else f"{name}.{plain}" if name else str(plain)


def _listed(name: str, value: Any, found: dict[str, Any]) -> list[tuple[str, Any]]:
    """Puts a list of scalars among what was found, and gives the parts of another one."""
    kind = next(one for one in (list, tuple, set, frozenset) if issubclass(type(value), one))
    items: list[Any] = [*kind.__iter__(value)]
    if any(issubclass(type(one), (dict, list, tuple)) for one in items):
        parts = [(f"{name}.{index}", one) for index, one in enumerate(items)]
        return parts if len(items) <= _ROWS and kind in (list, tuple) else []
    plain = [_plain(one) for one in items] if len(items) <= _ITEMS else [_NOTHING]
    if _NOTHING not in plain:
        found[name] = plain if kind in (list, tuple) else sorted(plain, key=repr)
    return []


def _descends(value: Any, module: str, name: str) -> bool:
    """Whether a value is of a class, without importing that."""
    return any(
        base.__name__ == name and base.__module__ == module
        for base in type.__getattribute__(type(value), "__mro__")
    )


def _plain(value: Any) -> Any:
    """A scalar or short text; only of types that are known no methods are called."""
    kind = type(value)
    if _descends(value, "enum", "Enum"):
        return _of_enumeration(value)
    if value is None or kind is bool:
        return value
    if issubclass(type(value), (int, float)):
        return int.__int__(value) if issubclass(type(value), int) else float.__float__(value)
    if issubclass(type(value), str):
        text = str.__str__(value)
        return _NOTHING if text == _MISSING else text[:_TEXT]
    if is_known(kind, "jax", "jaxlib", "tensorflow", "torch"):
        if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # of an array library
            found = value.item()
            return found if type(found) in (bool, int, float, str) else str(value)[:_TEXT]
        # A module has parts of the program's own, and so may what holds objects.
        holds = callable(value) or (
            kind.__module__.startswith("pandas") and hasattr(kind, "__len__")
        )
        return _NOTHING if holds or getattr(value, "dtype", None) == "O" else str(value)[:_TEXT]
    if is_known(kind, "_io", "click", "codecs", "io", "tempfile"):  # open files
        name = getattr(value, "name", None)
        return name if type(name) is str else _NOTHING
    if kind in (bytes, complex, range):
        return str(value[:_TEXT] if issubclass(type(value), bytes) else value)[:_TEXT]
    return _NOTHING


def _of_enumeration(member: Any) -> Any:
    """Its value, if that is a number or text that it is itself; else its name."""
    value = object.__getattribute__(member, "_value_")
    if issubclass(type(member), (int, float, str)) and type(value) in (bool, int, float, str):
        return value[:_TEXT] if issubclass(type(value), str) else value
    name = object.__getattribute__(member, "_name_")
    return name if type(name) is str else _NOTHING


def calls_resolvers(tree: Any) -> bool:
    """Whether a configuration has values that functions of the program make (`${name:…}`)."""
    todo = [tree]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            todo += one.values()
        elif isinstance(one, list):
            todo += one
        elif isinstance(one, str) and "${" in one:
            for part in one.split("${")[1:]:
                name, colon, _ = part.partition("}")[0].partition(":")
                if colon and not name.startswith("oc."):
                    return True
    return False
