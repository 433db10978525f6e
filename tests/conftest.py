"""What tests of whole projects share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workshop import Workshop

NewWorkshop = Callable[[], Workshop]


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    """A fresh project."""
    made = Workshop(tmp_path / "project")
    yield made
    made.project.site.index.close()


@pytest.fixture(scope="module")
def module_workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A fresh project that the tests of a module share."""
    made = Workshop(tmp_path_factory.mktemp("shared") / "project")
    yield made
    made.project.site.index.close()
