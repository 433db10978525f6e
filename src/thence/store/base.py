"""The contract of a store."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from thence.errors import AlreadyExists, InvalidInput, NotFound

__all__ = ["Bytes", "ObjectInfo", "Store", "check_key", "no_object", "taken"]

Bytes: TypeAlias = bytes | bytearray | memoryview

_KEY = re.compile(r"[A-Za-z0-9@%_.,;=+!#$&'()\[\]{}~-]+(/[A-Za-z0-9@%_.,;=+!#$&'()\[\]{}~-]+)*")


class ObjectInfo(NamedTuple):
    """What a store knows of an object without reading it.

    Attributes:
        modified_s: Seconds since 1970, by the store's own clock.
    """

    key: str
    size_bytes: int
    modified_s: float


@runtime_checkable
class Store(Protocol):
    """Bytes at keys.

    Keys are relative paths with `/`, in the characters that `check_key` lets through; no segment is
    `.` or `..`. A store may refuse, with `InvalidInput`, a key that is the folder of another (`a`
    beside `a/b`), and keys below `tmp/`. Every method may be called from any thread. What is
    written is durable when the call returns, and visible whole or not at all.

    All methods raise `StorageError` when the environment fails (`transient` says if retrying may
    help), `Denied` without the rights, and `InvalidInput` for a key that is none. The other errors
    are named at each method.
    """

    @property
    def url(self) -> str:
        """How to open this store again: `file:///srv/data`."""
        ...

    def get(self, key: str) -> bytes:
        """All bytes of an object.

        Raises:
            NotFound: There is no such object.
        """
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start`; a negative `start` counts from the end.

        Fewer bytes come back only where the object ends, none from beyond its end. A `start` before
        the beginning is the beginning.

        Raises:
            NotFound: There is no such object.
            InvalidInput: The length is negative.
        """
        ...

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        """Put the concatenated parts at the key if nobody has; the one concurrency primitive.

        Of any number of racing calls exactly one succeeds. A call that failed with `StorageError`
        may have succeeded: read back before deciding.

        Raises:
            AlreadyExists: There is an object; it was not touched.
        """
        ...

    def create_from_file(self, key: str, path: Path) -> None:
        """As `create`, with the bytes of a local file. The file may be consumed.

        Raises:
            AlreadyExists: There is an object; it was not touched.
            NotFound: There is no such file.
        """
        ...

    def replace(self, key: str, parts: Sequence[Bytes]) -> None:
        """Put the concatenated parts at the key, whether or not there is an object.

        Only for what may be rebuilt (caches, checkpoints): nothing else is ever overwritten.
        """
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """Size and time of an object, or None where there is none."""
        ...

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key begins with the prefix, sorted by key as UTF-8 bytes.

        `prefix` is a plain text prefix, not a folder. Objects that are created or deleted meanwhile
        may or may not appear.

        Args:
            prefix: What the keys begin with.
            after: Leave out this key and all that sort before it.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object; no error where there is none."""
        ...


def check_key(key: str) -> str:
    """The key, if it is one.

    Raises:
        InvalidInput: It has a character, a segment or a length that some store could not hold.
    """
    if (
        not _KEY.fullmatch(key)
        or len(key) > 1000
        or any(part in {".", ".."} or len(part) > 240 for part in key.split("/"))
    ):
        raise InvalidInput(f"not a key: {key!r}", why="Keys are relative paths of plain segments.")
    return key


def no_object(key: str | None, url: str) -> NotFound:
    """The error for a key at which a store has nothing."""
    return NotFound(f"no object {key!r}", why=f"Not in {url}.", about=key)


def taken(key: str | None) -> AlreadyExists:
    """The error for a key that somebody has."""
    return AlreadyExists(f"there is an object {key!r} already", about=key)
