"""A store and a dictionary, given the same calls."""

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from thence.errors import AlreadyExists, NotFound
from thence.store.base import Store

__all__ = ["check_against_dictionary"]

# No name of a folder is also one of a file. The order of whole keys is not that of their parts:
# `a-b/x` sorts before `a/x`, which sorts before `a0/x`.
_FOLDERS = st.sampled_from(["a", "a-b", "a0", "a.b", "b"])
_FILES = st.sampled_from(["x", "x-", "x.y", "x0", "!", "~"])
_KEYS = st.builds(
    lambda folders, file: "/".join([*folders, file]), st.lists(_FOLDERS, max_size=2), _FILES
)
_PREFIXES = st.sampled_from(
    ["", "a", "a/", "a-", "a0", "b/", "a/a", "a/a/", "a/x", "x", "zz", "a/x/"]
)
_DATA = st.binary(max_size=40)


def check_against_dictionary(store: Store, source: Path, *, examples: int) -> None:
    """Give random sequences of calls to the store and to a dictionary, and compare.

    Args:
        store: What is tested; may already hold objects.
        source: Where a file can be put that objects are created from.
        examples: How many sequences.
    """
    bases = itertools.count()

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.base = f"machine/{next(bases)}/"  # each example in a place of its own
            self.model: dict[str, bytes] = {}

        @rule(key=_KEYS, data=_DATA, from_file=st.booleans())
        def create(self, key: str, data: bytes, from_file: bool) -> None:
            def attempt() -> None:
                if from_file:
                    source.unlink(missing_ok=True)
                    source.write_bytes(data)
                    store.create_from_file(self.base + key, source)
                else:
                    store.create(self.base + key, [data[:3], data[3:]])

            if key in self.model:
                with pytest.raises(AlreadyExists):
                    attempt()
            else:
                attempt()
                self.model[key] = data

        @rule(key=_KEYS, data=_DATA)
        def replace(self, key: str, data: bytes) -> None:
            store.replace(self.base + key, [data])
            self.model[key] = data

        @rule(key=_KEYS)
        def delete(self, key: str) -> None:
            store.delete(self.base + key)
            self.model.pop(key, None)

        @rule(key=_KEYS, start=st.integers(-50, 50), length=st.integers(0, 50))
        def read(self, key: str, start: int, length: int) -> None:
            info = store.head(self.base + key)
            if key in self.model:
                data = self.model[key]
                first = start if start >= 0 else max(0, len(data) + start)
                assert store.get(self.base + key) == data
                assert (
                    store.get_range(self.base + key, start, length) == data[first : first + length]
                )
                assert info is not None
                assert info.size_bytes == len(data)
            else:
                assert info is None
                with pytest.raises(NotFound):
                    store.get(self.base + key)

        @rule(prefix=_PREFIXES, after=st.one_of(st.just(""), _KEYS, _PREFIXES))
        def listing(self, prefix: str, after: str) -> None:
            found = store.list(self.base + prefix, after=self.base + after)
            assert [info.key.removeprefix(self.base) for info in found] == sorted(
                key for key in self.model if key.startswith(prefix) and key > after
            )

        @invariant()
        def everything_is_there(self) -> None:
            found = {
                info.key.removeprefix(self.base): info.size_bytes for info in store.list(self.base)
            }
            assert found == {key: len(data) for key, data in self.model.items()}

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
