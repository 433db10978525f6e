"""The reference says all there is and nothing else: settings, errors, verbs, dependencies."""

import inspect
import re
import tomllib
from typing import Any, get_type_hints

import msgspec
import pytest
from docs_pages import ROOT, blocks

import thence
from thence import errors
from thence.errors import ERRORS, ThenceError
from thence.execution.settings import Settings, parse_settings
from thence.formats import json_value
from thence.project import Project

REFERENCE = ROOT / "docs" / "reference"


def _keys(shape: Any, prefix: str = "") -> set[str]:
    """The keys of settings and of the tables in them, `results.tolerance.*.absolute`."""
    found = set()
    for name, hint in get_type_hints(shape).items():
        key = f"{prefix}{name}"
        if inspect.isclass(hint) and issubclass(hint, msgspec.Struct):
            found |= _keys(hint, f"{key}.")
        else:
            found.add(key)
            inner = [arg for arg in getattr(hint, "__args__", ()) if inspect.isclass(arg)]
            for arg in inner:
                if issubclass(arg, msgspec.Struct):
                    found |= _keys(arg, f"{key}.*.")
    return found


def test_every_key_of_the_settings_is_documented_and_no_other() -> None:
    text = (REFERENCE / "thence-toml.md").read_text("utf-8")
    documented = set(re.findall(r"^\| `([a-z.*]+)` \|", text, re.MULTILINE))

    assert documented == _keys(Settings)


def test_the_example_of_thence_toml_is_one() -> None:
    (example,) = (one for one in blocks(REFERENCE / "thence-toml.md") if one.language == "toml")

    settings = parse_settings(example.text.encode())

    assert settings.results.tolerance_of("metrics.json").volatile == ("fit_seconds", "*.duration_s")


def test_every_field_that_is_volatile_by_itself_is_documented() -> None:
    text = (REFERENCE / "thence-toml.md").read_text("utf-8")
    section = text.partition("\n### Fields that need not be declared")[2].partition("\n## ")[0]
    documented = re.findall(r"`([a-z_*]+)`", section.partition("\n- ")[2])

    assert sorted(documented) == sorted(json_value._MEASURED + json_value._MOMENTS)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.kind)
def test_every_kind_of_error_has_its_place(error: type[ThenceError]) -> None:
    text = (REFERENCE / "errors.md").read_text("utf-8")
    base = next((f" (a `{one.__name__}`)" for one in error.__mro__ if one in _ADDED), "")
    base = base.replace("(a `O", "(an `O").replace("(a `I", "(an `I")
    row = (
        f"| [`{error.kind}`](#{error.anchor()}) | `{error.__name__}`{base} "
        f"| {error.exit_status} | {error.http_status} |"
    )

    assert row in text
    assert re.search(rf"^## {error.anchor()}$", text, re.MULTILINE)


_ADDED = (KeyError, ValueError, PermissionError, OSError, ImportError)


def test_no_error_is_documented_that_is_not_there() -> None:
    text = (REFERENCE / "errors.md").read_text("utf-8")
    named = set(re.findall(r"^## ([a-z-]+)$", text, re.MULTILINE))

    assert named == {error.anchor() for error in ERRORS}
    assert all(error.__name__ in errors.__all__ for error in ERRORS)


def test_every_verb_of_a_project_is_documented_and_no_other() -> None:
    text = (REFERENCE / "python.md").read_text("utf-8")
    section = text.partition("\n## Project")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `(?:Project\.)?(\w+)", section, re.MULTILINE))
    verbs = {
        name
        for name, _ in inspect.getmembers(Project)
        if not name.startswith("_") and name != "site"
    }

    assert documented == verbs


def test_every_name_of_the_module_is_documented_and_no_other() -> None:
    text = (REFERENCE / "python.md").read_text("utf-8")
    section = text.partition("\n## Module")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)", row)}

    assert documented == set(thence.__all__)


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "docs" / "explanation" / "dependencies.md").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    declared = set()
    for requirement in _requirements(project):
        name = re.match(r"[\w.-]+", requirement)
        assert name is not None
        declared.add(name[0])
    named = set(re.findall(r"`([A-Za-z][\w-]*)`", text))

    assert declared - {"thence"} <= named
    always = text.partition("## Always installed")[2].partition("\n## ")[0]
    rows = set(re.findall(r"^\| `([\w-]+)` \|", always, re.MULTILINE))
    assert rows == {re.split(r"[<>=~!]", one)[0] for one in project["project"]["dependencies"]}


def _requirements(project: dict[str, Any]) -> list[str]:
    extras = project["project"]["optional-dependencies"]
    return [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(one for extra in extras.values() for one in extra),
    ]


def test_every_word_of_the_glossary_stands_once_in_order() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    words = re.findall(r"^\| \*\*([^*]+)\*\* \|", text, re.MULTILINE)

    assert words == sorted(words, key=str.lower)
    assert len(words) == len(set(words)) > 30
