"""Full disks, read-only disks, killed writers, lost answers."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from thence.errors import AlreadyExists, Denied, StorageError
from thence.store.base import Store
from thence.store.local import LocalStore
from thence.store.memory import MemoryStore
from thence.store.wrap import Retry
from thence.testing.faulty import READS, WRITES, Fault, FaultyStore, Rule

MIB = 1 << 20


def contents(store: Store) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list()}


# --- full and read-only disks


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        store = LocalStore(disk / "store", create=True)
        store.create("a/first", [b"1" * MIB])
        source = tmp_path / "source"
        source.write_bytes(b"2" * 8 * MIB)
        for _ in range(3):
            with pytest.raises(StorageError, match="the disk is full") as caught:
                store.create("a/second", [b"2" * MIB] * 8)
            assert not caught.value.transient
            with pytest.raises(StorageError, match="the disk is full"):
                store.create_from_file("a/second", source)
            with pytest.raises(StorageError, match="the disk is full"):
                store.replace("a/first", [b"2" * 8 * MIB])
            assert source.stat().st_size == 8 * MIB
            assert contents(store) == {"a/first": b"1" * MIB}
            assert os.listdir(disk / "store" / "tmp") == []
        store.create("a/second", [b"2" * 2 * MIB])  # the space of what failed was given back
        store.delete("a/first")
        store.create("a/third", [b"3" * MIB])
        assert sorted(contents(store)) == ["a/second", "a/third"]


def test_a_disk_mounted_read_only(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        LocalStore(disk).create("a/b", [b"1"])
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        store = LocalStore(disk)
        assert contents(store) == {"a/b": b"1"}
        for key in ("a/c", "new/folder/c"):
            with pytest.raises(Denied) as caught:
                store.create(key, [b"2"])
            assert "read-only" in caught.value.why
        with pytest.raises(Denied):
            store.replace("a/b", [b"2"])
        with pytest.raises(Denied):
            store.delete("a/b")
        with pytest.raises(AlreadyExists):
            store.create("a/b", [b"2"])
        assert contents(store) == {"a/b": b"1"}


def test_a_file_larger_than_the_limit(tmp_path: Path) -> None:
    """By `ulimit -f`, in a process of its own."""
    program = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({MIB}, {MIB}))\n"
        "from thence.errors import StorageError\n"
        "from thence.store.local import LocalStore\n"
        "store = LocalStore(sys.argv[1], create=True)\n"
        "store.create('small', [b'1' * 100_000])\n"
        "try:\n"
        "    store.create('large', [b'2' * 1_000_000] * 3)\n"
        "except StorageError as error:\n"
        "    print(error.what)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("cannot create 'large'")
    assert contents(LocalStore(tmp_path / "store")) == {"small": b"1" * 100_000}
    assert os.listdir(tmp_path / "store" / "tmp") == []


# --- kill -9

WRITER = """
import hashlib, random, sys
from pathlib import Path
from thence.errors import AlreadyExists
from thence.store.local import LocalStore

root, seed = Path(sys.argv[1]), int(sys.argv[2])
store = LocalStore(root / "store")
dice = random.Random(seed)
number = 1
while True:
    body = dice.randbytes(dice.choice([0, 10, 5_000, 300_000]))
    data = hashlib.sha256(body).hexdigest().encode() + body
    key = f"log/{number:010d}"
    try:
        if number % 3:
            store.create(key, [data[:70], data[70:]])
        else:
            path = root / f"source-{seed}"
            path.write_bytes(data)
            store.create_from_file(key, path)
    except AlreadyExists:
        number += 1
        continue
    print(key, hashlib.sha256(data).hexdigest(), flush=True)
    store.replace("cache/latest", [data])
    store.create(f"brief/{number}", [data])
    store.delete(f"brief/{number}")
"""


def digests(lines: str) -> dict[str, str]:
    """What a writer told; of a line that was cut nobody was told."""
    whole = lines[: lines.rfind("\n") + 1].splitlines()
    return {key: digest for key, _, digest in (line.partition(" ") for line in whole)}


def test_killed_writers_leave_no_half_and_no_wrong_object(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store", create=True)
    dice = random.Random(5)
    told: dict[str, str] = {}
    killed = 0
    for round_number in range(12):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(tmp_path), str(2 * round_number + writer)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for writer in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            for _ in range(3):  # it has begun, also on a busy machine
                told.update(digests(writer.stdout.readline()))
        time.sleep(dice.random() * 0.15)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
        for writer in writers:
            assert writer.stdout is not None
            with writer.stdout as stdout:  # not `communicate`, which forgets what was read ahead
                told.update(digests(stdout.read()))
            killed += writer.wait(timeout=60) == -signal.SIGKILL
    assert killed == 24

    kept = contents(store)
    for key, data in kept.items():
        assert data[:64].decode() == hashlib.sha256(data[64:]).hexdigest(), key
    assert len(told) > 50
    for key, digest in told.items():
        assert hashlib.sha256(kept[key]).hexdigest() == digest
    log = [key for key in kept if key.startswith("log/")]
    assert log == [f"log/{n:010d}" for n in range(1, len(log) + 1)]
    assert len(log) - len(told) <= killed  # at most one each whose success nobody could be told

    # What the killed left is in nobody's way, and the next writer sweeps it a day later.
    for name in os.listdir(store.root / "tmp"):
        os.utime(store.root / "tmp" / name, (1, 1))
    LocalStore(store.root).create("after", [b""])
    assert os.listdir(store.root / "tmp") == []


# --- lost answers and other faults


def append(store: Store, data: bytes) -> int:
    """A log of numbered entries as the vault keeps it: after any doubt, read back."""
    number = 1
    while True:
        key = f"log/{number:010d}"
        try:
            store.create(key, [data])
        except (AlreadyExists, StorageError):
            if store.head(key) is None:
                continue
            if store.get(key) != data:
                number += 1
                continue
        return number


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("retrying", [False, True])
def test_reading_back_settles_every_doubt(seed: int, retrying: bool) -> None:
    """Lost answers, requests that arrive twice: each entry is there once, in the right place."""
    inside = MemoryStore()
    creates = frozenset({"create"})
    faulty: Store = FaultyStore(
        inside,
        Rule(fault=Fault.LOSE_RESPONSE, operations=creates, chance=0.3),
        Rule(fault=Fault.REPEAT, operations=creates, chance=0.3),
        Rule(fault=Fault.FAIL_BEFORE, operations=creates, chance=0.3),
        seed=seed,
    )
    store = Retry(faulty, sleep=lambda _: None) if retrying else faulty
    entries = [f"entry {n}".encode() for n in range(40)]
    assert [append(store, entry) for entry in entries] == list(range(1, 41))
    assert list(contents(inside).values()) == entries


def test_each_fault_is_what_it_says() -> None:
    inside = MemoryStore()
    inside.create("a", [b"0123456789"])

    def broken(fault: Fault, **options: object) -> FaultyStore:
        return FaultyStore(inside, Rule(fault=fault, **options), seed=1)  # type: ignore[arg-type]

    with pytest.raises(StorageError) as caught:
        broken(Fault.FAIL_BEFORE).create("b", [b"1"])
    assert caught.value.transient
    assert inside.head("b") is None
    with pytest.raises(StorageError) as caught:
        broken(Fault.LOSE_RESPONSE, transient=False).create("b", [b"1"])
    assert not caught.value.transient
    assert inside.get("b") == b"1"
    with pytest.raises(AlreadyExists):
        broken(Fault.REPEAT).create("c", [b"1"])
    assert inside.get("c") == b"1"
    broken(Fault.REPEAT).replace("c", [b"2"])
    assert inside.get("c") == b"2"
    for data in (
        broken(Fault.SHORT_READ).get("a"),
        broken(Fault.SHORT_READ).get_range("a", 0, 10),
    ):
        assert len(data) < 10
        assert b"0123456789".startswith(data)
    pauses: list[float] = []
    slow = FaultyStore(inside, Rule(fault=Fault.DELAY, delay_s=3.0), sleep=pauses.append)
    assert slow.get("a") == b"0123456789"
    assert pauses == [3.0]


def test_a_listing_breaks_off_at_a_place_that_the_seed_chooses() -> None:
    inside = MemoryStore()
    for key in "abcdef":
        inside.create(key, [b""])

    def until_it_fails(seed: int) -> str:
        listed = ""
        store = FaultyStore(inside, Rule(fault=Fault.LOSE_RESPONSE), seed=seed)
        try:
            for info in store.list():
                listed += info.key
        except StorageError:
            return listed
        raise AssertionError("did not fail")

    assert {until_it_fails(seed) for seed in range(30)} == {"", "a", "ab", "abc"}


def test_rules_choose_calls_by_number_method_key_and_chance() -> None:
    store = FaultyStore(
        MemoryStore(),
        Rule(fault=Fault.FAIL_BEFORE, operations=WRITES, on=frozenset({2, 4}), prefix="refs/"),
    )
    failed = []
    for n in range(1, 6):
        for key in (f"packs/{n}", f"refs/{n}"):
            store.head(key)
            try:
                store.create(key, [b""])
            except StorageError:
                failed.append(key)
    assert failed == ["refs/2", "refs/4"]
    assert [(done.operation, done.key) for done in store.injected] == [
        ("create", "refs/2"),
        ("create", "refs/4"),
    ]


def test_the_same_seed_gives_the_same_faults() -> None:
    def run(seed: int) -> list[str]:
        rule = Rule(fault=Fault.FAIL_BEFORE, operations=READS, chance=0.5)
        store = FaultyStore(MemoryStore(), rule, seed=seed)
        for n in range(40):
            with suppress(StorageError):
                store.head(f"{n}")
        return [done.key for done in store.injected]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert 5 < len(run(1)) < 35
