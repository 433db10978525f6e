"""A store in the memory of this process."""

import bisect
import itertools
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from thence.errors import InvalidInput
from thence.store.base import Bytes, ObjectInfo, check_key, no_object, taken
from thence.store.failures import failures_of

__all__ = ["MemoryStore"]


class _Object(NamedTuple):
    data: bytes
    modified_s: float


class MemoryStore:
    """Objects in a dictionary: for tests, and for trying things out.

    As in a bucket, `a` and `a/b` may both be objects. What is written is gone with the process,
    which is the one promise of a store that this one does not keep.

    Args:
        name: What the URL ends with; a random one if empty.
        clock: Seconds since 1970.
    """

    _named: ClassVar[weakref.WeakValueDictionary[str, "MemoryStore"]] = (
        weakref.WeakValueDictionary()
    )
    _kept: ClassVar[dict[str, "MemoryStore"]] = {}
    _registry: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, name: str = "", *, clock: Callable[[], float] = time.time) -> None:
        self._name = name or secrets.token_hex(8)
        self._clock = clock
        self._lock = threading.Lock()
        self._objects: dict[str, _Object] = {}
        self._keys: list[str] = []  # sorted; keys are ASCII, so this is the order of their bytes
        MemoryStore._named[self._name] = self

    @classmethod
    def shared(cls, name: str) -> "MemoryStore":
        """The store of that name in this process, made when there is none.

        Once asked for by name, it lives as long as the process.
        """
        with cls._registry:
            store = cls._named.get(name) or cls(name)
            cls._kept[name] = store
            return store

    def __repr__(self) -> str:
        return f"MemoryStore({self._name!r})"

    @property
    def url(self) -> str:
        """`memory://<name>`; opens the same store within this process."""
        return f"memory://{self._name}"

    def get(self, key: str) -> bytes:
        """As `Store.get`.

        Raises:
            NotFound: There is no such object.
            InvalidInput: The key is none.
        """
        found = self._objects.get(check_key(key))
        if found is None:
            raise no_object(key, self.url)
        return found.data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """As `Store.get_range`.

        Raises:
            NotFound: There is no such object.
            InvalidInput: The key is none, or the length is negative.
        """
        data = self.get(key)
        if length < 0:
            raise InvalidInput(f"not a length: {length}", about=key)
        if start < 0:
            start = max(0, len(data) + start)
        return data[start : start + length]

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        """As `Store.create`.

        Raises:
            AlreadyExists: There is an object; it was not touched.
            InvalidInput: The key is none.
        """
        check_key(key)
        data = b"".join(parts)
        with self._lock:
            if key in self._objects:
                raise taken(key)
            self._put(key, data)

    def create_from_file(self, key: str, path: Path) -> None:
        """As `Store.create_from_file`; the file is left alone.

        Raises:
            AlreadyExists: There is an object; it was not touched.
            NotFound: There is no such file.
            Denied: The file may not be read.
            StorageError: The file cannot be read.
            InvalidInput: The key is none.
        """
        check_key(key)
        if key in self._objects:
            raise taken(key)
        with failures_of(f"cannot read {str(path)!r}", about=str(path)):
            data = path.read_bytes()
        self.create(key, [data])

    def replace(self, key: str, parts: Sequence[Bytes]) -> None:
        """As `Store.replace`.

        Raises:
            InvalidInput: The key is none.
        """
        check_key(key)
        data = b"".join(parts)
        with self._lock:
            self._put(key, data)

    def head(self, key: str) -> ObjectInfo | None:
        """As `Store.head`.

        Raises:
            InvalidInput: The key is none.
        """
        found = self._objects.get(check_key(key))
        return ObjectInfo(key, len(found.data), found.modified_s) if found else None

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """As `Store.list`."""
        with self._lock:
            first = bisect.bisect_left(self._keys, prefix)
            if after >= prefix:
                first = max(first, bisect.bisect_right(self._keys, after))
            rest = itertools.islice(self._keys, first, None)
            keys = list(itertools.takewhile(lambda key: key.startswith(prefix), rest))
        for key in keys:
            if found := self._objects.get(key):
                yield ObjectInfo(key, len(found.data), found.modified_s)

    def delete(self, key: str) -> None:
        """As `Store.delete`.

        Raises:
            InvalidInput: The key is none.
        """
        check_key(key)
        with self._lock:
            if self._objects.pop(key, None) is not None:
                del self._keys[bisect.bisect_left(self._keys, key)]

    def _put(self, key: str, data: bytes) -> None:
        if key not in self._objects:
            bisect.insort(self._keys, key)
        self._objects[key] = _Object(data, self._clock())
