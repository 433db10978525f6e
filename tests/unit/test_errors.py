"""The errors: what handlers, shells, HTTP clients and other processes rely on."""

import copy
import pickle

import pytest

from thence import errors
from thence.errors import (
    ERRORS,
    Conflict,
    Denied,
    FormatTooNew,
    InvalidInput,
    MissingExtra,
    NotFound,
    NotReproduced,
    StorageError,
    ThenceError,
)

# Written out, not computed: kinds and statuses are promises to scripts, so a change must be seen.
PINNED = {
    "NotFound": ("not_found", 4, 404, KeyError),
    "AlreadyExists": ("already_exists", 5, 409, Exception),
    "Conflict": ("conflict", 5, 409, Exception),
    "InvalidInput": ("invalid_input", 2, 400, ValueError),
    "Denied": ("denied", 1, 403, PermissionError),
    "StorageError": ("storage_error", 1, 503, OSError),
    "DataDamaged": ("data_damaged", 6, 500, Exception),
    "FormatTooNew": ("format_too_new", 1, 501, Exception),
    "MissingExtra": ("missing_extra", 1, 501, ImportError),
    "RunFailed": ("run_failed", 1, 500, Exception),
    "NotReproduced": ("not_reproduced", 7, 409, Exception),
    "Interrupted": ("interrupted", 130, 500, Exception),
    "InternalError": ("internal_error", 1, 500, Exception),
}


def test_the_tree_is_the_pinned_one() -> None:
    found = {kind.__name__: kind for kind in ERRORS}
    assert found.keys() == PINNED.keys()
    for name, (kind, exit_status, http_status, base) in PINNED.items():
        error = found[name]
        assert (error.kind, error.exit_status, error.http_status) == (
            kind,
            exit_status,
            http_status,
        )
        assert issubclass(error, ThenceError)
        assert issubclass(error, base)


def test_all_errors_are_exported_and_listed_once() -> None:
    exported = {getattr(errors, name) for name in errors.__all__ if name != "ERRORS"}
    assert exported == {ThenceError, *ERRORS}
    assert len({kind.kind for kind in ERRORS}) == len(ERRORS)
    assert set(ThenceError.__subclasses__()) >= set(ERRORS)


@pytest.mark.parametrize("kind", ERRORS)
def test_anchors_are_good_in_a_url(kind: type[ThenceError]) -> None:
    assert kind.anchor() == kind.kind.replace("_", "-")
    assert kind.anchor().replace("-", "").isalpha()
    assert kind.anchor() == kind.anchor().lower()


@pytest.mark.parametrize("kind", ERRORS)
def test_prints_three_lines(kind: type[ThenceError]) -> None:
    error = kind("it broke", why="Because.", hint="Do this.")
    assert str(error) == "it broke\nBecause.\nDo this."


@pytest.mark.parametrize("kind", ERRORS)
def test_without_why_and_hint_the_defaults_of_its_kind_are_used(kind: type[ThenceError]) -> None:
    lines = str(kind("it broke")).splitlines()
    assert lines == [line for line in ("it broke", kind.default_why, kind.default_hint) if line]
    assert str(kind("it broke", why="", hint="")) == "it broke"


def test_a_missing_key_is_not_printed_with_quotes() -> None:
    """`str(KeyError("x"))` is `'x'`, with quotes and escapes."""
    assert str(NotFound("there is no 'x'")) == "there is no 'x'"
    with pytest.raises(KeyError):
        raise NotFound("gone")


def test_an_os_error_takes_keywords_and_has_no_number() -> None:
    error = StorageError("disk", why="Full.", transient=True)
    assert (error.errno, error.strerror, error.transient) == (None, None, True)
    assert error.args == ("disk",)
    assert str(Denied("no", why="Rights.")) == "no\nRights."
    assert StorageError("disk").transient is False


def test_a_position_is_shown_below_the_text() -> None:
    error = InvalidInput("not a ref: 'a@!'", why="Bad.", text="a@!", position=2)
    assert str(error) == "not a ref: 'a@!'\n  a@!\n    ^\nBad."
    assert error.to_dict()["position"] == 2
    assert str(InvalidInput("what", text="a")) == "what"


def test_position_zero_is_a_position() -> None:
    assert str(InvalidInput("what", text="!a", position=0)) == "what\n  !a\n  ^"


@pytest.mark.parametrize("kind", ERRORS)
def test_survives_pickling_and_copying(kind: type[ThenceError]) -> None:
    """Errors come back from other processes, and are copied by concurrent futures."""
    error = kind("what", why="Why.", hint="Hint.", about="name@v1")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert again.to_dict() == error.to_dict()
        assert str(again) == str(error)


def test_what_only_one_kind_has_survives_pickling_too() -> None:
    assert pickle.loads(pickle.dumps(StorageError("x", transient=True))).transient is True
    assert pickle.loads(pickle.dumps(InvalidInput("x", text="ab", position=1))).position == 1
    assert pickle.loads(pickle.dumps(NotReproduced("x", verdict={"a": 1}))).verdict == {"a": 1}


def test_the_json_of_an_error() -> None:
    assert Conflict("two at once", about="refs/x").to_dict() == {
        "type": "error",
        "kind": "conflict",
        "what": "two at once",
        "why": "",
        "hint": "Read the current state again and repeat the command.",
        "about": "refs/x",
        "exit_status": 5,
    }


def test_each_error_is_caught_as_what_it_is() -> None:
    with pytest.raises(ImportError):
        raise MissingExtra("no pandas", hint="pip install 'thence[pandas]'")
    assert "pip install" in str(FormatTooNew("new"))
