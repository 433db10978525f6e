"""Wrappers and stand-ins: what a program finds in place of what it would have found.

They look, are called, are pickled and are subclassed like what they stand for. Several parts of
this package may wrap the same: each knows its own by a name.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["heir", "is_wrapped", "like", "put", "quietly", "stand_in", "wrap"]

_MARK = "__thence__"
_SHOWN = ("__module__", "__name__", "__qualname__", "__doc__")
# From Python 3.14 on, annotations are made only when somebody asks for them.
_ANNOTATED = "__annotate__" if sys.version_info >= (3, 14) else "__annotations__"


def quietly(function: Callable[[], Any]) -> None:
    """Call it; what fails does not reach the program."""
    try:  # noqa: SIM105 - contextlib would have to be imported
        function()
    except Exception:  # noqa: S110
        pass


def is_wrapped(one: Any, part: str) -> bool:
    """Whether that part has wrapped it, or a stand-in is of it: what inherits from one is not."""
    try:
        return part in vars(one).get(_MARK, ())
    except TypeError:  # it has no attributes of its own
        return False


def like(function: Any, original: Any, part: str, *, raw: Any = None) -> Any:
    """Make a wrapper pass for what it wraps.

    Args:
        function: The wrapper.
        original: What it calls.
        part: Whose wrapper it is.
        raw: What the class of a method has under its name, not bound to it.

    Returns:
        The function; or, as most builtins do not become methods of the classes whose attributes
        they are, an object that does not either.
    """
    made = function if _binds(original if raw is None else raw) else _unbound(function, original)
    for name in (*_SHOWN, _ANNOTATED):
        try:
            setattr(made, name, getattr(original, name))
        except Exception:  # noqa: S112 - it has none
            continue
    quietly(lambda: vars(made).update(vars(original)))
    made.__wrapped__ = original
    made.__thence__ = (*_marks(original), part)
    return made


def _marks(original: Any) -> tuple[str, ...]:
    found = getattr(original, "__dict__", {}).get(_MARK, ())
    return found if type(found) is tuple else ()


def _binds(original: Any) -> bool:
    return hasattr(type(original), "__get__") and type(original) is not _BOUND


class _Unbound:
    """Stands for a builtin, or for a type that can have no heirs."""

    def __repr__(self) -> str:
        return repr(self.__wrapped__)

    def __reduce__(self) -> str:
        return str(self.__qualname__)  # pickle and copy find it by its name

    def __getattr__(self, name: str) -> Any:
        # Not by an attribute: copies ask before there are any.
        return getattr(self.__dict__["__wrapped__"], name) if self.__dict__ else _none(name)

    def __instancecheck__(self, one: Any) -> bool:
        return isinstance(one, self.__wrapped__)

    def __subclasscheck__(self, one: Any) -> bool:
        return issubclass(one, self.__wrapped__)


_BOUND = type(_Unbound().__reduce__)


def _none(name: str) -> Any:
    raise AttributeError(name)


def _unbound(function: Any, original: Any) -> Any:
    # What is called is the function itself, without a frame of ours in between: who looks who
    # called counts frames.
    body = {
        "__call__": staticmethod(function),
        "__class__": property(lambda _: type(original)),
        "__module__": __name__,
    }
    return type(type(original).__name__, (_Unbound,), body)()


def wrap(owner: Any, name: str, around: Callable[[Any], Any], part: str) -> None:
    """Put a wrapper in the place of a function of a module or a class, once.

    Args:
        owner: The module or class.
        name: Of the function; where there is none, nothing is done.
        around: Gives the wrapper of a function.
        part: Whose wrapper it is.
    """
    original = getattr(owner, name, None)
    if original is None or is_wrapped(original, part):
        return
    raw: Any = _as_defined(owner, name) if isinstance(owner, type) else None
    if isinstance(raw, classmethod) or type(raw).__name__ == "classmethod_descriptor":

        def of_class(cls: type, *args: Any, **named: Any) -> Any:
            return around(raw.__get__(None, cls))(*args, **named)

        made: Any = classmethod(like(of_class, original, part, raw=of_class))
    elif isinstance(raw, staticmethod):
        made = staticmethod(like(around(original), original, part))
    else:
        made = like(around(original), original, part, raw=raw)
    put(owner, name, made)


def put(owner: Any, name: str, made: Any) -> None:
    """Put it in place, and let pickle find it there.

    Where the original was defined it stays: compiled modules look for the layout of their types.
    """
    if not isinstance(owner, type):
        made.__module__, made.__qualname__ = owner.__name__, name
    setattr(owner, name, made)


def _as_defined(owner: type, name: str) -> Any:
    """What a class has under a name, not bound to it."""
    return next((base.__dict__[name] for base in owner.__mro__ if name in base.__dict__), None)


def heir(original: Any, body: dict[str, Any], part: str) -> Any:
    """A subclass that looks like its parent, or the parent where it is not to have one.

    Classes that do something when they get subclasses, by a metaclass or `__init_subclass__`, keep
    to those that the program gives them.
    """
    hears = any("__init_subclass__" in base.__dict__ for base in original.__mro__[:-1])
    if type(original) is not type or hears:
        return original
    try:
        return type(original.__name__, (original,), _body(original, body, part))
    except Exception:
        return original  # final, or its parents do not go together with this one


def stand_in(original: type, body: dict[str, Any], part: str) -> Any:
    """A subclass that passes for the type itself: what a library makes is an instance of both.

    Raises:
        TypeError: The type cannot have subclasses.
    """
    kind = type(original)

    def made_of(cls: Any, one: Any) -> bool:
        return isinstance(one, original) if cls is made else kind.__instancecheck__(cls, one)

    def is_below(cls: Any, other: Any) -> bool:
        return issubclass(other, original) if cls is made else kind.__subclasscheck__(cls, other)

    checks = {"__instancecheck__": made_of, "__subclasscheck__": is_below}
    body = {"__slots__": (), **body}
    made: Any = type(kind.__name__, (kind,), checks)(
        original.__name__, (original,), _body(original, body, part)
    )
    return made


def _body(original: Any, body: dict[str, Any], part: str) -> dict[str, Any]:
    same = {name: getattr(original, name, None) for name in ("__module__", "__qualname__")}
    return {**same, "__doc__": original.__doc__, _MARK: (part,), **body}
