"""What `import thence` offers, and what it does not load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import thence

_SOURCE = Path(thence.__file__)


def test_every_public_name_is_there() -> None:
    assert thence.__all__ == sorted(thence.__all__)
    for name in thence.__all__:
        assert getattr(thence, name) is not None
    assert dir(thence) == thence.__all__


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(_SOURCE.read_text("utf-8"))
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name
        for node in guarded.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("thence")
        for alias in node.names
    }
    assert seen == set(thence.__all__)
    assert set(thence._SOURCES) == seen


def test_what_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        thence.nonsense  # noqa: B018


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert thence.__version__ == version("thence")


def test_importing_loads_nothing_else() -> None:
    code = "import sys, thence; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.startswith("thence")} == {"thence"}
    assert not {"numpy", "msgspec", "click", "rich", "sqlite3", "asyncio", "logging"} & loaded
    assert done.stderr == ""


def test_the_verbs_load_no_library_that_the_work_does_not_need() -> None:
    code = "import sys, thence; thence.save; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "pandas", "click", "rich", "thence.project"} & set(done.stdout.split())
