"""The difference of two versions: which files, and which lines of small texts."""

from collections.abc import Sequence
from typing import NamedTuple

from thence.vault import tree
from thence.vault.content import Content
from thence.vault.tree import TreeEntry

__all__ = ["Diff", "FileChange", "difference"]

_TEXT_LIMIT = 256 * 1024


class FileChange(NamedTuple):
    """A file that is not the same in both.

    Attributes:
        what: `added`, `removed` or `changed`.
        lines: A unified diff of small texts; empty for anything else.
    """

    path: str
    what: str
    old_size: int | None
    new_size: int | None
    lines: tuple[str, ...] = ()


class Diff(NamedTuple):
    """What changed from one version to another.

    Attributes:
        old: Ref of the first.
        new: Ref of the second.
        same: Number of files that are equal.
    """

    old: str
    new: str
    changes: tuple[FileChange, ...]
    same: int

    @property
    def added(self) -> tuple[str, ...]:
        """Paths that only the second has."""
        return tuple(change.path for change in self.changes if change.what == "added")

    @property
    def removed(self) -> tuple[str, ...]:
        """Paths that only the first has."""
        return tuple(change.path for change in self.changes if change.what == "removed")

    @property
    def changed(self) -> tuple[str, ...]:
        """Paths that both have, with other content."""
        return tuple(change.path for change in self.changes if change.what == "changed")


def difference(
    content: Content,
    old: Sequence[TreeEntry],
    new: Sequence[TreeEntry],
    *,
    names: tuple[str, str],
) -> Diff:
    """Compare two trees, and the texts in them.

    Raises:
        NotFound: A content is not in the store.
        DataDamaged: A content is damaged.
    """
    changes = []
    for path, before, after in tree.diff(old, new):
        what = "added" if before is None else "removed" if after is None else "changed"
        lines: tuple[str, ...] = ()
        if before is not None and after is not None:
            lines = _text_diff(content, before, after, names)
        changes.append(FileChange(path, what, before and before.size, after and after.size, lines))
    unchanged = len(new) - sum(1 for change in changes if change.what != "removed")
    return Diff(*names, tuple(changes), unchanged)


def _text_diff(
    content: Content, before: TreeEntry, after: TreeEntry, names: tuple[str, str]
) -> tuple[str, ...]:
    if before.digest == after.digest:
        return ("only the kind of file or its permission to execute changed",)
    from difflib import unified_diff  # not for who gets and saves

    old, new = _text(content, before), _text(content, after)
    if old is None or new is None:
        return ()
    return tuple(
        unified_diff(
            old, new, f"{names[0]}:{before.path}", f"{names[1]}:{after.path}", lineterm="", n=2
        )
    )


def _text(content: Content, entry: TreeEntry) -> list[str] | None:
    if entry.size > _TEXT_LIMIT:
        return None
    data = content.read(entry.digest)
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return None
