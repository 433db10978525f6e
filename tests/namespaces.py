"""Whether namespaces can be made on this machine."""

import tempfile
from pathlib import Path

import pytest

from thence.execution.mounts import reason_against
from thence.execution.view import View

__all__ = ["needs_namespaces"]


def _why_not() -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        return reason_against(View(Path(folder) / "view").lay_out("/").entrance)


needs_namespaces = pytest.mark.skipif(_why_not() is not None, reason=str(_why_not()))
