"""Outputs outside of the project: a reproduction writes to the same paths and loses no file.

What lies there is put aside before the command runs and put back after it; what the command wrote
is moved to where it is compared.
"""

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from thence.model.paths import path_from_text
from thence.model.records import FileRole, FileUse
from thence.store.failures import failures_of

__all__ = ["preserved"]


@contextlib.contextmanager
def preserved(uses: Iterable[FileUse], folder: Path) -> Iterator[Mapping[str, Path]]:
    """Look after the files at the absolute paths of outputs while a block runs.

    Args:
        uses: The files of the run.
        folder: An empty folder for what lies there before, and for what is written.

    Yields:
        Where what the command wrote is after the block, by path.

    Raises:
        StorageError: A file could not be put aside; then nothing has run.
        Denied: A file may not be read.
    """
    paths = [
        Path(path_from_text(use.path, percent=use.percent))
        for use in uses
        if use.role is FileRole.OUTPUT and use.path.startswith("/")
    ]
    before = {path: folder / "before" / str(number) for number, path in enumerate(paths)}
    after = {path: folder / "after" / str(number) / path.name for number, path in enumerate(paths)}
    with failures_of("put aside the files that the command writes outside of its folder"):
        (folder / "before").mkdir(parents=True)
        for path, place in before.items():
            if path.is_file():
                shutil.copy2(path, place)
    try:
        yield {str(path): place for path, place in after.items()}
    finally:
        with failures_of("put back the files that the command wrote outside of its folder"):
            for path, place in after.items():
                if path.is_file():
                    place.parent.mkdir(parents=True)
                    shutil.move(path, place)
                if before[path].exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    shutil.move(before[path], path)
