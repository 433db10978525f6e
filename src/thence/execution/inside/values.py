"""Values of parameters as plain JSON."""

from __future__ import annotations

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
        if isinstance(value, dict):
            deeper = [(f"{name}.{key}" if name else str(key), one) for key, one in value.items()]
            todo[:0] = [(key, one) for key, one in deeper if not _is_hidden(key)]
        elif isinstance(value, (list, tuple, set, frozenset)):
            todo[:0] = _listed(name, value, found)
        elif value.__class__.__name__ == "Namespace" and hasattr(value, "__dict__"):
            todo.insert(0, (name, dict(vars(value))))
        else:
            plain = _plain(value)
            if plain is not _NOTHING:
                found[name] = plain
    return found


def _is_hidden(name: str) -> bool:
    return name.rpartition(".")[2].startswith("_")


def _listed(name: str, value: Any, found: dict[str, Any]) -> list[tuple[str, Any]]:
    """Puts a list of scalars among what was found, and gives the parts of another one."""
    items = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else list(value)
    if any(isinstance(one, (dict, list, tuple)) for one in items):
        parts = [(f"{name}.{index}", one) for index, one in enumerate(items)]
        return parts if len(items) <= _ROWS else []
    plain = [_plain(one) for one in items] if len(items) <= _ITEMS else [_NOTHING]
    if _NOTHING not in plain:
        found[name] = plain
    return []


def _plain(value: Any) -> Any:
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # of an array library
        value = value.item()
    if value is None or isinstance(value, (bool, int, float)):
        inner = getattr(value, "_value_", value)  # of enumerations of numbers
        return float(inner) if isinstance(inner, float) else inner
    if isinstance(value, str):
        text = str(getattr(value, "_value_", value))
        return _NOTHING if text == _MISSING else text[:_TEXT]
    if hasattr(value, "__fspath__"):
        return str(value)[:_TEXT]
    if hasattr(value, "_name_") and hasattr(value, "_value_"):
        return str(value._name_)
    if hasattr(value, "read") or hasattr(value, "write"):
        name = getattr(value, "name", None)
        return name if isinstance(name, str) else _NOTHING
    if callable(value):
        return _NOTHING
    text = str(value)
    return _NOTHING if " at 0x" in text else text[:_TEXT]


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
