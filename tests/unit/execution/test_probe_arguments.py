"""What parsed arguments and configurations come to."""

import datetime
import enum
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from thence.execution.capture.arguments import read_arguments, scrub_param
from thence.execution.capture.secrets import Redactor
from thence.execution.inside.values import calls_resolvers, flat
from thence.model.records import Param

COMMAND = ["python", "fit.py", "--lr", "0.5", "--more", "1"]


def note(values: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"kind": "params", "pid": 1, "origin": "argparse", "program": "fit", "defaults": []} | {
        "values": values,
        **fields,
    }


def test_given_and_defaults() -> None:
    found = read_arguments([note({"lr": 0.5, "depth": 3}, defaults=["depth"])], COMMAND)
    assert found.given == {"lr": Param(value=0.5, origin="argparse")}
    assert found.defaults == {"depth": Param(value=3, origin="argparse default")}
    assert found.left is None


def test_what_was_parsed_last_wins() -> None:
    notes = [
        note({"lr": 0.1}, defaults=["lr"], argv=COMMAND[2:], rest=["--lr", "0.5", "--more", "1"]),
        note({"lr": 0.5}, argv=COMMAND[2:], rest=["--more", "1"]),
    ]
    found = read_arguments(notes, COMMAND)
    assert (found.given["lr"].value, found.defaults) == (0.5, {})
    assert found.left == {"more": Param(value=1, origin="argv")}


def test_options_of_what_started_the_program_stay() -> None:
    command = ["torchrun", "--nproc", "2", "fit.py", "--lr", "0.5"]
    found = read_arguments([note({"lr": 0.5}, argv=["--lr", "0.5"], rest=[])], command)
    assert found.left == {"nproc": Param(value=2, origin="argv")}


def test_another_program_has_names_of_its_own_and_a_worker_has_not() -> None:
    notes = [
        note({"seed": 1, "same": 2}),
        note({"seed": 9}, pid=2),
        note({"seed": 3, "same": 2}, pid=3, program="score"),
    ]
    found = read_arguments(notes, COMMAND).given
    assert {name: one.value for name, one in found.items()} == {
        "seed": 1,
        "same": 2,
        "score.seed": 3,
    }


def test_jobs_of_a_sweep() -> None:
    jobs = [note({"lr": lr, "depth": 3}, origin="hydra") for lr in (1, 2, 1)]
    found = read_arguments(jobs, COMMAND).given
    assert (found["lr"].value, found["depth"].value) == ([1, 2], 3)


@pytest.mark.parametrize(
    ("name", "value", "is_kept"),
    [
        ("api_key", "hunter22hunter22", False),
        ("passwords", ["hunter22hunter22"], False),
        ("max_tokens", 4096, True),
        ("lr", 0.1, True),
        ("verbose", True, True),
        ("nothing", None, True),
    ],
)
def test_secrets_by_name(name: str, value: Any, is_kept: bool) -> None:
    found = scrub_param(Redactor(b"key"), name, value, "argparse")
    assert (found == value) is is_kept
    assert "hunter22" not in str(found)


class Colour(enum.Enum):
    RED = "r"


def test_values_become_plain() -> None:
    class Number(enum.IntEnum):
        ONE = 1

    tree = {
        "colour": Colour.RED,
        "number": Number.ONE,
        "path": Path("a/b"),
        "inner": Namespace(x=1, y={"z": None}),
        "set": {"b", "a"},
        "rows": [{"a": 1}, {"a": 2}],
        "long": list(range(100)),
        "function": print,
        "object": object(),
        "_hidden": 1,
    }
    assert flat(tree) == {
        "colour": "RED",
        "number": 1,
        "path": "a/b",
        "inner.x": 1,
        "inner.y.z": None,
        "set": ["a", "b"],
        "rows.0.a": 1,
        "rows.1.a": 2,
    }


class Own:
    """Of a program, and not to be asked for anything."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(name)

    def __str__(self) -> str:
        raise AssertionError

    __repr__ = __fspath__ = __str__


class OwnDict(dict[str, Any]):
    """Looks up what it is asked for."""

    def items(self) -> Any:
        raise AssertionError


class OwnText(str):
    """Is more than text."""

    __slots__ = ()

    def __str__(self) -> str:
        raise AssertionError

    __repr__ = __str__


class OwnNumber(int):
    """Counts."""

    def __int__(self) -> int:
        raise AssertionError


class OwnMode(enum.Enum):
    """Tells more than its name."""

    FAST = 1

    def __str__(self) -> str:
        raise AssertionError


def test_code_of_the_program_is_not_called() -> None:
    tree = OwnDict(
        own=Own(),
        within=[Own()],
        among={Own()},
        key={Own(): 1},
        text=OwnText("a"),
        number=OwnNumber(3),
        mode=OwnMode.FAST,
        more=OwnDict(a=1),
        date=datetime.date(2026, 1, 2),
    )
    assert flat(tree) == {
        "text": "a",
        "number": 3,
        "mode": "FAST",
        "more.a": 1,
        "date": "2026-01-02",
    }


def test_values_of_numpy_are_plain() -> None:
    numpy = pytest.importorskip("numpy")
    objects = numpy.empty(1, dtype=object)
    objects[0] = OwnMode.FAST
    tree = {
        "one": numpy.float32(0.5),
        "none": numpy.array(3),
        "few": numpy.array([1, 2]),
        "own": objects,
    }
    assert flat(tree) == {"one": 0.5, "none": 3, "few": "[1 2]"}


def test_resolvers_of_the_program_are_not_called() -> None:
    assert calls_resolvers({"a": [{"b": "x ${now:%Y}"}]})
    assert not calls_resolvers({"a": "${b} ${oc.env:HOME}", "c": 3})
