"""Files outside of a reproduction's folder that its command may write to: none is lost.

A command that names its outputs by absolute paths writes there again. What lay there is put back
afterwards, and what the command wrote is moved to where it is compared.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from thence.model.ids import Digest
from thence.store.failures import failures_of
from thence.vault.content import Content
from thence.vault.statcache import Signature, signature

__all__ = ["preserved"]


@contextlib.contextmanager
def preserved(
    paths: Iterable[Path],
    folder: Path,
    content: Content,
    *,
    digest_of: Callable[[Path, os.stat_result], Digest | None],
) -> Iterator[dict[Path, Path]]:
    """Look after files while a block runs.

    Args:
        paths: What the block may write to.
        folder: An empty folder for copies, and for what is written.
        content: Where files that are kept already are taken from again.
        digest_of: Tells which content a file is, where that is kept already.

    Yields:
        What the block wrote, by its path; filled when the block has ended.

    Raises:
        StorageError: A file could not be put aside, and nothing has run; or not be put back.
        Denied: A file may not be read.
    """
    watched = list(dict.fromkeys(paths))
    before: dict[Path, Signature] = {}
    kept: dict[Path, Digest] = {}
    written: dict[Path, Path] = {}
    with failures_of("put aside what the command may write to outside of its folder"):
        (folder / "before").mkdir(parents=True)
        for number, path in enumerate(watched):
            if not path.is_file():
                continue
            facts = path.stat()
            before[path] = signature(facts)
            digest = digest_of(path, facts)
            if digest is not None:
                kept[path] = digest
            else:
                shutil.copy2(path, folder / "before" / str(number))
    try:
        yield written
    finally:
        with failures_of("put back what the command wrote to outside of its folder"):
            for number, path in enumerate(watched):
                there = path.is_file()
                if (signature(path.stat()) if there else None) == before.get(path):
                    continue
                if there:
                    written[path] = folder / "after" / str(number) / path.name
                    written[path].parent.mkdir(parents=True)
                    shutil.move(path, written[path])
                if path not in before:
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                if path in kept:
                    content.write_to(kept[path], path)
                else:
                    shutil.move(folder / "before" / str(number), path)
