"""Every promise of a store as a test.

Needs pytest and Hypothesis: `pip install 'thence[test]'`. For a store of your own::

    import pytest
    from thence.testing.store import StoreContract

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self):
            return MyStore(...)       # empty, and of this test alone
"""

import hashlib
import itertools
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest

from thence.errors import AlreadyExists, InvalidInput, NotFound
from thence.store.base import ObjectInfo, Store
from thence.store.open import connect, probe
from thence.testing.machine import check_against_dictionary

__all__ = ["StoreContract"]

_WRITERS = 16
_MIB = 1 << 20

_BAD_KEYS = (
    "", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/../b", "./a", "a b", "a\nb", "a\n",
    "a\0b", "a\\b", "a:b", "a?b", "a*b", 'a"b', "a<b", "a|b", "\u00e4", "a/\udcff", "x" * 241,
    "/".join(["x" * 100] * 10),
)  # fmt: skip

_ODD_KEYS = (
    "%C3%BCmlaut/%2e%2e", "%00", "%2F/%252F", "a%20b", "@/0000000001", "@champion/0000000001",
    "A/b", "CON", "-rf", "--", "~", "#x", "a&b=c;d", "$(x)", "{a,b}", "[0-9]", "(1)!", "'q'", "+,",
    "...", ".hidden/..x", "x" * 240, "/".join(["y" * 100] * 9),
)  # fmt: skip


class StoreContract:
    """Subclass it, and supply the fixture `store`: an empty store for one test.

    Attributes:
        many: How many objects the tests of long listings make.
        opener: `module:function` that opens a store by URL in another process.
        examples: How many sequences of calls Hypothesis tries against a dictionary.
    """

    many: ClassVar[int] = 2_000
    opener: ClassVar[str] = "thence.store.open:connect"
    examples: ClassVar[int] = 25

    @pytest.fixture
    def store(self) -> Store:
        """An empty store; supplied by the subclass."""
        raise NotImplementedError("supply a fixture named store")

    def url_for_processes(self, store: Store) -> str | None:
        """What other processes can open; None where they cannot (the test is skipped then)."""
        return store.url if store.url.startswith("file:") else None

    def reopen(self, store: Store) -> Store:
        """The same store, opened again by its URL."""
        return connect(store.url)

    def test_is_a_store(self, store: Store) -> None:
        """It has all methods, and a URL."""
        assert isinstance(store, Store)
        assert "://" in store.url

    def test_its_url_opens_the_same_store(self, store: Store) -> None:
        """What one wrote, the other reads."""
        store.create("a/b", [b"written"])
        assert self.reopen(store).get("a/b") == b"written"

    def test_passes_the_probe(self, store: Store) -> None:
        """A project may be put there, and the probe leaves nothing behind."""
        probe(store)
        assert list(store.list()) == []

    def test_get_gives_what_create_put(self, store: Store) -> None:
        """All bytes there are, in a key of many parts."""
        data = bytes(range(256)) * 3
        store.create("a/b/c/d", [data])
        assert store.get("a/b/c/d") == data
        assert type(store.get("a/b/c/d")) is bytes

    def test_parts_are_concatenated(self, store: Store) -> None:
        """Bytes, bytearrays and memoryviews, also of wider items, and many of them."""
        wide = memoryview(b"12345678").cast("I")
        store.create("parts", [b"a", bytearray(b"bc"), memoryview(b"xdex")[1:3], b"", wide])
        assert store.get("parts") == b"abcde12345678"
        store.replace("parts", (b"x", bytearray(b"y")))
        assert store.get("parts") == b"xy"
        store.create("many", [bytes([n % 256]) for n in range(5_000)])
        assert store.get("many") == bytes(n % 256 for n in range(5_000))

    def test_empty_objects(self, store: Store) -> None:
        """An object may have no bytes, given as no part or as an empty one."""
        store.create("none", [])
        store.create("one", [b""])
        store.replace("two", [])
        for key in ("none", "one", "two"):
            assert store.get(key) == b""
            assert store.get_range(key, 0, 10) == b""
            assert store.get_range(key, -5, 10) == b""
            info = store.head(key)
            assert info is not None
            assert info.size_bytes == 0
        with pytest.raises(AlreadyExists):
            store.create("none", [b"x"])

    def test_what_is_not_there(self, store: Store) -> None:
        """Reads raise `NotFound`, `head` gives None, `delete` does nothing."""
        store.create("a/b", [b"1"])
        for key in ("c", "a", "a/c", "a/b/c", "a/b/c/d"):
            with pytest.raises(NotFound):
                store.get(key)
            with pytest.raises(NotFound):
                store.get_range(key, 0, 0)
            assert store.head(key) is None
            store.delete(key)
        assert store.get("a/b") == b"1"

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
        [
            (0, 10, b"0123456789"),
            (0, 4, b"0123"),
            (3, 4, b"3456"),
            (9, 1, b"9"),
            (8, 5, b"89"),
            (10, 5, b""),
            (11, 5, b""),
            (1 << 40, 5, b""),
            (0, 0, b""),
            (5, 0, b""),
            (2, 1 << 40, b"23456789"),
            (-3, 2, b"78"),
            (-3, 3, b"789"),
            (-3, 100, b"789"),
            (-10, 1, b"0"),
            (-11, 2, b"01"),
            (-(1 << 40), 3, b"012"),
            (-1, 0, b""),
        ],
    )
    def test_ranges(self, store: Store, start: int, length: int, expected: bytes) -> None:
        """A negative start counts from the end; only the end of the object makes it shorter."""
        store.create("digits", [b"0123456789"])
        assert store.get_range("digits", start, length) == expected

    def test_a_negative_length_is_refused(self, store: Store) -> None:
        """As a call that cannot be meant."""
        store.create("digits", [b"0123456789"])
        with pytest.raises(InvalidInput):
            store.get_range("digits", 0, -1)

    def test_create_never_touches_what_is_there(self, store: Store) -> None:
        """Whether it was created or replaced."""
        store.create("created", [b"first"])
        store.replace("replaced", [b"first"])
        for key in ("created", "replaced"):
            before = store.head(key)
            with pytest.raises(AlreadyExists):
                store.create(key, [b"second, and longer"])
            assert store.get(key) == b"first"
            assert store.head(key) == before

    def test_create_after_delete(self, store: Store) -> None:
        """The key is free again."""
        store.create("a/b", [b"1"])
        store.delete("a/b")
        store.delete("a/b")
        with pytest.raises(NotFound):
            store.get("a/b")
        store.create("a/b", [b"2"])
        assert store.get("a/b") == b"2"

    def test_create_from_file(self, store: Store, tmp_path: Path) -> None:
        """The bytes of the file; later changes of the file do not matter."""
        path = tmp_path / "source"
        path.write_bytes(b"of a file" * 1_000)
        store.create_from_file("a/b", path)
        path.unlink(missing_ok=True)
        path.write_bytes(b"another")
        assert store.get("a/b") == b"of a file" * 1_000

    def test_create_from_file_never_touches_what_is_there(
        self, store: Store, tmp_path: Path
    ) -> None:
        """And the file is left for the caller."""
        store.create("a", [b"first"])
        path = tmp_path / "source"
        path.write_bytes(b"second")
        with pytest.raises(AlreadyExists):
            store.create_from_file("a", path)
        assert store.get("a") == b"first"
        assert path.read_bytes() == b"second"

    def test_create_from_file_that_is_missing(self, store: Store, tmp_path: Path) -> None:
        """No object comes of it."""
        with pytest.raises(NotFound):
            store.create_from_file("a", tmp_path / "missing")
        assert store.head("a") is None

    def test_an_object_created_from_a_file_is_new(self, store: Store, tmp_path: Path) -> None:
        """Its time is that of its creation, not that of the file: collectors go by it."""
        store.create("now", [b"1"])
        path = tmp_path / "old"
        path.write_bytes(b"2")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        store.create_from_file("from-file", path)
        assert abs(_info(store, "from-file").modified_s - _info(store, "now").modified_s) < 60

    def test_replace(self, store: Store) -> None:
        """Puts an object where there is none or one, longer or shorter."""
        for data in (b"1", b"longer than that", b"", b"2"):
            store.replace("a/b", [data])
            assert store.get("a/b") == data
            assert _info(store, "a/b").size_bytes == len(data)

    def test_head_knows_size_and_time(self, store: Store) -> None:
        """The time grows, and a listing knows the same."""
        store.create("a", [b"123"])
        time.sleep(0.02)
        store.create("b", [b"12345"])
        first, second = _info(store, "a"), _info(store, "b")
        assert (first.key, first.size_bytes, second.size_bytes) == ("a", 3, 5)
        assert 1_500_000_000 < first.modified_s <= second.modified_s
        assert list(store.list()) == [first, second]

    def test_large_objects(self, store: Store, tmp_path: Path) -> None:
        """64 MiB in parts, from a file, and ranges of it."""
        part = random.Random(1).randbytes(4 * _MIB)  # noqa: S311
        expected = hashlib.sha256(part * 16).digest()
        store.create("large", [part] * 16)
        assert hashlib.sha256(store.get("large")).digest() == expected
        assert _info(store, "large").size_bytes == 64 * _MIB
        assert store.get_range("large", -4 * _MIB, 5 * _MIB) == part
        assert store.get_range("large", 4 * _MIB - 3, 6) == part[-3:] + part[:3]
        path = tmp_path / "large"
        path.write_bytes(part * 16)
        store.create_from_file("large-file", path)
        assert hashlib.sha256(store.get("large-file")).digest() == expected

    @pytest.mark.parametrize("key", _BAD_KEYS)
    def test_bad_keys_are_refused(self, store: Store, tmp_path: Path, key: str) -> None:
        """By every method, before anything is done."""
        path = tmp_path / "source"
        path.write_bytes(b"1")
        calls: list[Callable[[], object]] = [
            lambda: store.get(key),
            lambda: store.get_range(key, 0, 1),
            lambda: store.create(key, [b"1"]),
            lambda: store.create_from_file(key, path),
            lambda: store.replace(key, [b"1"]),
            lambda: store.head(key),
            lambda: store.delete(key),
        ]
        for call in calls:
            with pytest.raises(InvalidInput):
                call()
        assert path.read_bytes() == b"1"
        assert list(store.list()) == []

    def test_odd_keys_are_kept_as_they_are(self, store: Store) -> None:
        """Nothing is decoded, folded or expanded."""
        for key in _ODD_KEYS:
            store.create(key, [key.encode()])
        for key in _ODD_KEYS:
            assert store.get(key) == key.encode()
            assert [info.key for info in store.list(key)] == [key]
        assert [info.key for info in store.list()] == sorted(_ODD_KEYS)

    def test_an_object_beside_a_folder_of_its_name(self, store: Store) -> None:
        """Both are kept, or the second is refused; none is lost."""
        for first, second in (("a", "a/b"), ("c/d/e", "c"), ("f/g/h", "f/g")):
            store.create(first, [b"first"])
            try:
                store.create(second, [b"second"])
            except InvalidInput:
                assert store.head(second) is None
                with suppress(InvalidInput):  # a service may let this pass, and holds both then
                    store.replace(second, [b"second"])
                    assert store.get(second) == b"second"
            else:
                assert store.get(second) == b"second"
            assert store.get(first) == b"first"

    def test_listings_are_sorted_by_key(self, store: Store) -> None:
        """By the bytes of the whole key, which is not the order of folders."""
        keys = ["a-b", "a-c/d", "a/b", "a/b-c", "a/c/d", "a.b/c", "a0", "B", "b"]
        keys += ["a!/x", "A/x", "@/0000000010", "@/0000000009", "@/0000000001", "~"]
        for key in keys:
            store.create(key, [b""])
        assert [info.key for info in store.list()] == sorted(keys, key=str.encode)

    def test_a_prefix_is_text_not_a_folder(self, store: Store) -> None:
        """It may end anywhere in a key."""
        keys = ["a", "ab/c", "ab/cd", "ab/cd0", "ab/ce/f", "abc/d", "b/a"]
        for key in keys:
            store.create(key, [b""])
        prefixes = ["", "a", "ab", "ab/", "ab/c", "ab/cd", "ab/ce", "ab/ce/", "ab/ce/f", "b", "c"]
        prefixes += [
            "/",
            "a/",
            "ab//",
            "ab/..",
            "..",
            "../",
            "./",
            "ab/./",
            " ",
            "\u00e4",
            "ab/cd/x",
        ]
        for prefix in prefixes:
            found = [info.key for info in store.list(prefix)]
            assert found == [key for key in keys if key.startswith(prefix)], prefix

    def test_after_leaves_out_what_sorts_before(self, store: Store) -> None:
        """Also a key that is not there, and what is no key."""
        keys = ["a-b/x", "a/b", "a/c/d", "a/c/e", "a0/x", "b", "b.c"]
        for key in keys:
            store.create(key, [b""])
        for prefix in ("", "a", "a/", "a/c", "a/c/", "b", "zz"):
            for after in (
                *keys,
                "",
                "a",
                "a/",
                "a/c",
                "a/c/",
                "a/c/d/",
                "a/bb",
                "a/z",
                "z",
                "~",
                "-",
            ):
                found = [info.key for info in store.list(prefix, after=after)]
                expected = [key for key in keys if key.startswith(prefix) and key > after]
                assert found == expected, (prefix, after)

    def test_thousands_of_keys(self, store: Store) -> None:
        """In order, in pages, by prefix; deleted while they are listed."""
        keys = [f"log/{n % 7}/{n:010d}" for n in range(self.many)]
        with ThreadPoolExecutor(_WRITERS) as threads:
            list(threads.map(lambda key: store.create(key, [key.encode()]), keys))
        keys.sort()
        assert [info.key for info in store.list()] == keys
        half = len(keys) // 2
        after = keys[half]
        assert [info.key for info in store.list("log/", after=after)] == keys[half + 1 :]
        assert [info.key for info in itertools.islice(store.list("log/6"), 3)] == [
            key for key in keys if key.startswith("log/6")
        ][:3]
        for number, info in enumerate(store.list("log/")):
            if number % 2:
                store.delete(info.key)
        assert [info.key for info in store.list()] == keys[::2]

    def test_listing_while_others_write(self, store: Store) -> None:
        """What was there all the time is listed, each once, in order."""
        lasting = [f"a/{n:03d}/x" for n in range(0, 100, 5)]
        for key in lasting:
            store.create(key, [b""])
        done = threading.Event()

        def disturb() -> None:
            for n in itertools.cycle(range(1, 100, 5)):
                if done.is_set():
                    return
                store.create(f"a/{n:03d}/y", [b""])
                store.delete(f"a/{n:03d}/y")

        with ThreadPoolExecutor(1) as threads:
            disturbing = threads.submit(disturb)
            try:
                for _ in range(20):
                    found = [info.key for info in store.list("a/")]
                    assert found == sorted(set(found))
                    assert [key for key in found if key.endswith("x")] == lasting
            finally:
                done.set()
            disturbing.result()

    @pytest.mark.parametrize("race", range(5))
    def test_of_racing_threads_one_wins(self, store: Store, race: int) -> None:
        """Sixteen create one object; the winner's bytes are there, whole."""
        together = threading.Barrier(_WRITERS)
        key = f"race/{race}"

        def take_part(writer: int) -> bool:
            together.wait()
            try:
                store.create(key, [bytes([writer])] * 10_000)
            except AlreadyExists:
                return False
            return True

        with ThreadPoolExecutor(_WRITERS) as threads:
            won = list(threads.map(take_part, range(_WRITERS)))
        assert won.count(True) == 1
        assert store.get(key) == bytes([won.index(True)]) * 10_000

    def test_of_racing_processes_one_wins(self, store: Store) -> None:
        """The same between processes, where the store can be opened from several."""
        url = self.url_for_processes(store)
        if url is None:
            pytest.skip(f"{store.url} can only be opened in one process")
        command = [sys.executable, "-m", "thence.testing.race", self.opener, url, "race/processes"]
        writers = [
            subprocess.Popen(
                [*command, str(writer)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for writer in range(_WRITERS)
        ]
        try:
            for writer in writers:
                assert writer.stdout is not None
                assert writer.stdout.readline() == "ready\n"
            for writer in writers:
                assert writer.stdin is not None
                writer.stdin.write("go\n")
                writer.stdin.flush()
            answers = [writer.communicate(timeout=200)[0].strip() for writer in writers]
        finally:
            for writer in writers:
                writer.kill()
                writer.communicate()
        assert sorted(answers) == ["lost"] * (_WRITERS - 1) + ["won"]
        assert store.get("race/processes") == str(answers.index("won")).encode()

    def test_creating_and_deleting_in_one_folder(self, store: Store) -> None:
        """No create is lost when a delete empties, and perhaps removes, the folder."""

        def work(writer: int) -> None:
            for n in range(50):
                key = f"shared/folder/{writer}-{n}"
                store.create(key, [key.encode()])
                assert store.get(key) == key.encode()
                store.delete(key)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))
        assert list(store.list("shared/")) == []

    def test_readers_see_whole_objects_while_a_writer_replaces(self, store: Store) -> None:
        """Old or new; never a mixture, a part, or nothing."""
        sizes = [200_000, 1, 70_000, 131_072]
        versions = {bytes([n]) * size for n, size in enumerate(sizes)}
        store.replace("changing", [bytes([0]) * sizes[0]])
        done = threading.Event()

        def read() -> int:
            count = 0
            while not done.is_set() or count < 3:
                assert store.get("changing") in versions
                assert len(set(store.get_range("changing", -50_000, 50_000))) == 1
                assert _info(store, "changing").size_bytes in sizes
                count += 1
            return count

        with ThreadPoolExecutor(3) as threads:
            reading = [threads.submit(read) for _ in range(3)]
            try:
                for n in range(60):
                    store.replace("changing", [bytes([n % 4])] * sizes[n % 4])
            finally:
                done.set()
            assert all(reader.result() for reader in reading)

    def test_behaves_as_a_dictionary(self, store: Store, tmp_path: Path) -> None:
        """Any sequence of calls gives what a dictionary would give."""
        check_against_dictionary(store, tmp_path / "source", examples=self.examples)


def _info(store: Store, key: str) -> ObjectInfo:
    info = store.head(key)
    assert info is not None
    return info
