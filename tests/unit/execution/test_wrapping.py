"""What stands for what a program would have found."""

import abc
import builtins
import copy
import datetime
import inspect
import math
import pickle
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from thence.execution.inside.wrapping import heir, is_wrapped, put, quietly, stand_in, wrap


@pytest.fixture
def module() -> Iterator[Any]:
    made = types.ModuleType("a_module_of_a_library")
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def counted(calls: list[Any]) -> Any:
    def around(inner: Any) -> Any:
        def wrapper(*args: Any, **named: Any) -> Any:
            calls.append(args)
            return inner(*args, **named)

        return wrapper

    return around


def test_what_fails_stays_here() -> None:
    quietly(lambda: 1 / 0)


def test_a_builtin_is_no_method_of_whose_attribute_it_is(module: Any) -> None:
    calls: list[Any] = []
    module.root = math.sqrt
    wrap(module, "root", counted(calls), "one")

    class Program:
        root = module.root
        way = [module.root][0]

    assert Program().root(9) == Program.way(9) == 3
    assert calls == [(9,), (9,)]
    assert inspect.signature(module.root) == inspect.signature(math.sqrt)
    assert (module.root.__name__, module.root.__doc__) == ("sqrt", math.sqrt.__doc__)
    assert module.root.__wrapped__ is math.sqrt
    assert repr(module.root) == repr(math.sqrt)
    assert inspect.isbuiltin(module.root)
    assert module.root.__self__ is math.sqrt.__self__
    assert not hasattr(module.root, "nothing")


def test_a_bound_method_stays_bound(module: Any) -> None:
    words: list[str] = []
    module.add = words.append
    module.own = Speaker().say
    wrap(module, "add", counted([]), "one")
    wrap(module, "own", counted([]), "one")

    class Program:
        add = module.add
        own = module.own

    Program().add("a")
    assert words == ["a"]
    assert Program().own() == "said"


class Speaker:
    """Of a library."""

    def say(self) -> str:
        """Say it."""
        return "said"

    @classmethod
    def made(cls) -> str:
        """Make it."""
        return cls.__name__

    @staticmethod
    def loud(word: str) -> str:
        """Say it loud."""
        return word.upper()


@pytest.mark.parametrize("function", [math.sqrt, quietly], ids=["builtin", "function"])
def test_it_is_pickled_and_copied_by_its_place(module: Any, function: Any) -> None:
    module.one = function
    wrap(module, "one", counted([]), "part")
    assert module.one is not function
    assert pickle.loads(pickle.dumps(module.one)) is module.one
    assert copy.copy(module.one) is module.one
    assert copy.deepcopy(module.one) is module.one


def test_each_part_wraps_once(module: Any) -> None:
    calls: list[Any] = []
    module.one = quietly
    for part in ("a", "b", "a", "b"):
        wrap(module, "one", counted(calls), part)
    module.one(lambda: None)
    assert len(calls) == 2
    assert is_wrapped(module.one, "a")
    assert is_wrapped(module.one, "b")
    assert not is_wrapped(module.one, "c")


def test_methods_of_every_kind_stay_of_their_kind() -> None:
    class Mine(Speaker):
        pass

    for name in ("say", "made", "loud"):
        calls: list[Any] = []
        wrap(Mine, name, counted(calls), "part")
        wrap(Mine, name, counted(calls), "part")
        arguments = ("x",) if name == "loud" else ()
        for one in (Mine, Mine()) if name != "say" else (Mine(),):
            calls.clear()
            assert getattr(one, name)(*arguments) == {"made": "Mine", "loud": "X"}.get(name, "said")
            assert len(calls) == 1
        assert getattr(Mine, name).__doc__ == getattr(Speaker, name).__doc__
    assert isinstance(vars(Mine)["made"], classmethod)
    assert isinstance(vars(Mine)["loud"], staticmethod)


def test_a_type_that_can_have_no_heirs_stays_one_to_ask_after(module: Any) -> None:
    module.kind = bool
    wrap(module, "kind", counted([]), "part")
    assert module.kind(3) is True
    assert isinstance(True, module.kind)
    assert not isinstance(3, module.kind)
    assert issubclass(bool, module.kind)


def test_an_heir_looks_like_its_parent_and_is_not_marked_in_its_own_heirs() -> None:
    found = heir(Speaker, {"say": lambda self: "heard"}, "part")
    assert found is not Speaker
    assert (found.__name__, found.__module__) == (Speaker.__name__, Speaker.__module__)
    assert found().say() == "heard"
    assert is_wrapped(found, "part")
    assert not is_wrapped(type("Own", (found,), {}), "part")


class Listed:
    """Keeps a list of its subclasses, as plug-ins do."""

    known: list[type] = []  # noqa: RUF012

    def __init_subclass__(cls) -> None:
        cls.known.append(cls)


class Told(type):
    """Is told of subclasses."""


@pytest.mark.parametrize("kind", [Listed, Told("Own", (), {}), abc.ABC, bool, type(None)])
def test_classes_that_are_to_have_no_heirs_stay(kind: Any) -> None:
    assert heir(kind, {}, "part") is kind
    assert Listed.known == []


def test_a_stand_in_passes_for_the_type_itself(module: Any) -> None:
    module.date = stand_in(datetime.date, {}, "part")
    put(module, "date", module.date)
    assert isinstance(datetime.date(2020, 1, 1), module.date)
    assert isinstance(module.date(2020, 1, 1), datetime.date)
    assert issubclass(datetime.datetime, module.date)

    class Own(module.date):  # type: ignore[misc]
        pass

    assert not isinstance(datetime.date(2020, 1, 1), Own)
    assert pickle.loads(pickle.dumps(module.date)) is module.date
    with pytest.raises(TypeError):
        stand_in(builtins.bool, {}, "part")
