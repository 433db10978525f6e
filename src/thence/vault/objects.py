"""From named bytes in memory to a tree."""

from collections.abc import Iterable

from thence.vault import tree
from thence.vault.saving import Gathered
from thence.vault.tree import TreeEntry
from thence.vault.writer import Writer

__all__ = ["gather_bytes"]


def gather_bytes(files: Iterable[tuple[str, bytes]], writer: Writer) -> Gathered:
    """Write files given as (path, bytes) and their tree; the caller flushes the writer.

    Raises:
        InvalidInput: Two files have one path.
        StorageError: Writing failed.
    """
    entries = []
    for path, data in files:
        info = writer.put_bytes(data)
        entries.append(TreeEntry(path, info.size_bytes, info.digest))
    info = writer.put_bytes(tree.encode(entries))
    size = sum(entry.size for entry in entries)
    return Gathered(info.digest, size, len(entries), tuple(entries), read_files=len(entries))
