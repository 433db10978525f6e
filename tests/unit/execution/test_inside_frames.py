"""Who called: of which file the code is."""

import os
from pathlib import Path
from typing import Any

from thence.execution.inside import frames

CODE = """
def ask():
    return caller(1)
"""


def test_equal_code_of_two_files_is_told_apart(tmp_path: Path) -> None:
    library = tmp_path / "site-packages" / "a.py"
    own = tmp_path / "a.py"
    asked: list[Any] = []
    for path in (own, library):
        space: dict[str, Any] = {"caller": frames.caller}
        exec(compile(CODE, os.fspath(path), "exec"), space)
        asked.append(space["ask"])
    assert asked[0].__code__ == asked[1].__code__
    assert asked[0]() == (str(own), 3)
    assert asked[1]() is None
