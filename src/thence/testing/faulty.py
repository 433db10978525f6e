"""A store that fails as you say: to test what your code does when a store fails."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TypeVar

from thence.errors import AlreadyExists, StorageError
from thence.store.base import Bytes, ObjectInfo, Store

__all__ = ["READS", "WRITES", "Fault", "FaultyStore", "Injected", "Rule"]

_T = TypeVar("_T")

READS = frozenset({"get", "get_range", "head", "list"})
"""The methods of a store that only read."""

WRITES = frozenset({"create", "create_from_file", "replace", "delete"})
"""The methods of a store that change it."""


class Fault(StrEnum):
    """What may go wrong."""

    FAIL_BEFORE = "fail_before"
    """`StorageError`, and nothing was done."""

    LOSE_RESPONSE = "lose_response"
    """It was done, then `StorageError`; a listing breaks off in the middle."""

    DELAY = "delay"
    """It takes longer."""

    SHORT_READ = "short_read"
    """`get` and `get_range` give only the beginning, and no error."""

    REPEAT = "repeat"
    """A write arrives twice, and the caller gets the second answer.

    So does a proxy that sends a request again: the winner of a `create` is told `AlreadyExists`.
    """


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When which fault happens.

    Attributes:
        fault: What goes wrong.
        operations: The methods that it happens to.
        on: Which calls of these, counted from 1 by each rule; None for any.
        chance: How likely it is for such a call, from 0 to 1.
        prefix: Only keys (for `list`: prefixes) that begin so.
        transient: Of the `StorageError` that is raised.
        delay_s: How long a `DELAY` is.
    """

    fault: Fault
    operations: frozenset[str] = READS | WRITES
    on: frozenset[int] | None = None
    chance: float = 1.0
    prefix: str = ""
    transient: bool = True
    delay_s: float = 0.01


class Injected(NamedTuple):
    """A fault that happened."""

    fault: Fault
    operation: str
    key: str


class FaultyStore:
    """A store around a store that breaks as the rules say, the same way for the same seed.

    Of several rules that fit a call, all happen: first delays, then failures. For example, the
    third `create` succeeds but its answer is lost::

        FaultyStore(MemoryStore(), Rule(
            fault=Fault.LOSE_RESPONSE, operations=frozenset({"create"}), on=frozenset({3}),
        ))

    Args:
        store: The store that does the work.
        rules: What goes wrong, and when.
        seed: Of the dice for `chance`, for where a short read ends and a listing breaks off.
        sleep: What waits.
    """

    def __init__(
        self,
        store: Store,
        *rules: Rule,
        seed: int = 0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._rules = rules
        self._random = random.Random(seed)  # noqa: S311 - the same faults again, no secret
        self._sleep = sleep
        self._lock = threading.Lock()
        self._seen = [0] * len(rules)
        self._injected: list[Injected] = []

    def __repr__(self) -> str:
        return f"FaultyStore({self._store!r}, {len(self._rules)} rules)"

    @property
    def url(self) -> str:
        """The URL of the store inside."""
        return self._store.url

    @property
    def injected(self) -> tuple[Injected, ...]:
        """What went wrong so far."""
        with self._lock:
            return tuple(self._injected)

    def get(self, key: str) -> bytes:
        """As `Store.get`."""
        return self._read("get", key, lambda: self._store.get(key))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """As `Store.get_range`."""
        return self._read("get_range", key, lambda: self._store.get_range(key, start, length))

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        """As `Store.create`."""
        self._write("create", key, lambda: self._store.create(key, parts))

    def create_from_file(self, key: str, path: Path) -> None:
        """As `Store.create_from_file`."""
        self._write("create_from_file", key, lambda: self._store.create_from_file(key, path))

    def replace(self, key: str, parts: Sequence[Bytes]) -> None:
        """As `Store.replace`."""
        self._write("replace", key, lambda: self._store.replace(key, parts))

    def head(self, key: str) -> ObjectInfo | None:
        """As `Store.head`."""
        return self._call("head", key, lambda: self._store.head(key), self._faults("head", key))

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """As `Store.list`."""
        faults = self._faults("list", prefix)
        lost = faults.pop(Fault.LOSE_RESPONSE, None)
        found = self._call("list", prefix, lambda: self._store.list(prefix, after=after), faults)
        with self._lock:
            left = self._random.randrange(4)
        for info in found:
            if lost is not None and left == 0:
                break
            left -= 1
            yield info
        if lost is not None:
            raise self._error("list", prefix, lost)

    def delete(self, key: str) -> None:
        """As `Store.delete`."""
        self._write("delete", key, lambda: self._store.delete(key))

    def _read(self, operation: str, key: str, call: Callable[[], bytes]) -> bytes:
        faults = self._faults(operation, key)
        data = self._call(operation, key, call, faults)
        if Fault.SHORT_READ in faults and data:
            with self._lock:
                return data[: self._random.randrange(len(data))]
        return data

    def _write(self, operation: str, key: str, call: Callable[[], None]) -> None:
        faults = self._faults(operation, key)

        def twice() -> None:
            with suppress(AlreadyExists):
                call()
            call()

        self._call(operation, key, twice if Fault.REPEAT in faults else call, faults)

    def _faults(self, operation: str, key: str) -> dict[Fault, Rule]:
        """What happens to this call."""
        faults: dict[Fault, Rule] = {}
        with self._lock:
            for number, rule in enumerate(self._rules):
                if operation not in rule.operations or not key.startswith(rule.prefix):
                    continue
                if rule.fault is Fault.SHORT_READ and operation not in {"get", "get_range"}:
                    continue
                if rule.fault is Fault.REPEAT and operation not in WRITES:
                    continue
                self._seen[number] += 1
                if rule.on is not None and self._seen[number] not in rule.on:
                    continue
                if self._random.random() < rule.chance:
                    faults[rule.fault] = rule
                    self._injected.append(Injected(rule.fault, operation, key))
        return faults

    def _call(
        self, operation: str, key: str, call: Callable[[], _T], faults: dict[Fault, Rule]
    ) -> _T:
        if rule := faults.get(Fault.DELAY):
            self._sleep(rule.delay_s)
        if rule := faults.get(Fault.FAIL_BEFORE):
            raise self._error(operation, key, rule)
        result = call()
        if rule := faults.get(Fault.LOSE_RESPONSE):
            raise self._error(operation, key, rule)
        return result

    def _error(self, operation: str, key: str, rule: Rule) -> StorageError:
        return StorageError(
            f"{operation} {key!r} failed",
            why=f"A test asked for it: {rule.fault}.",
            about=key,
            transient=rule.transient,
        )
