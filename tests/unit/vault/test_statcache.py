"""The stat cache says "unchanged" only where that is certain."""

import os
import time
from pathlib import Path

import msgspec
import pytest

from thence.model.ids import Digest
from thence.vault.statcache import _RACY_NS, StatCache, signature

D = Digest.of(b"1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"1")
    return path


def later(file: Path) -> int:
    """A time at which the file's times are long past."""
    return max(file.stat().st_mtime_ns, file.stat().st_ctime_ns) + 10 * _RACY_NS


def cached(cache: StatCache, file: Path) -> StatCache:
    cache.remember(file, file.stat(), D, read_at_ns=later(file))
    assert cache.find(file, file.stat()) == D
    return cache


def test_an_unchanged_file_is_known_in_the_next_process(tmp_path: Path, file: Path) -> None:
    path = tmp_path / "cache" / "stat.msgpack"
    cached(StatCache(path), file).save()
    assert StatCache(path).find(file, file.stat()) == D
    assert StatCache(path).find(tmp_path / "other", file.stat()) is None
    assert [item.name for item in path.parent.iterdir()] == ["stat.msgpack"]


def test_every_change_is_noticed(tmp_path: Path, file: Path) -> None:
    cache = cached(StatCache(tmp_path / "cache"), file)
    file.write_bytes(b"12")
    assert cache.find(file, file.stat()) is None
    cached(cache, file)
    os.utime(file, ns=(1, 1))
    assert cache.find(file, file.stat()) is None


def test_a_time_set_back_is_noticed_by_the_change_time(tmp_path: Path, file: Path) -> None:
    """As `cp -p`, rsync and tar do it; another size would be noticed anyway."""
    cache = cached(StatCache(tmp_path / "cache"), file)
    before = file.stat()
    time.sleep(0.02)
    file.write_bytes(b"2")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
    assert cache.find(file, after) is None


def test_another_file_in_its_place_is_noticed(tmp_path: Path, file: Path) -> None:
    cache = cached(StatCache(tmp_path / "cache"), file)
    other = tmp_path / "other"
    other.write_bytes(b"2")
    before = file.stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(file)
    assert cache.find(file, file.stat()) is None


def test_the_signature_has_all_that_must_be_equal(file: Path) -> None:
    facts = file.stat()
    assert signature(facts) == (
        facts.st_size,
        facts.st_mtime_ns,
        facts.st_ctime_ns,
        facts.st_ino,
        facts.st_dev,
    )


@pytest.mark.parametrize("age_ns", [-(10**9), 0, _RACY_NS - 1])
def test_a_file_that_was_just_modified_is_not_remembered(
    tmp_path: Path, file: Path, age_ns: int
) -> None:
    """It could be modified again within the same tick of the clock."""
    facts = file.stat()
    changed = max(facts.st_mtime_ns, facts.st_ctime_ns)
    cache = StatCache(tmp_path / "cache")
    cache.remember(file, facts, D, read_at_ns=changed + age_ns)
    assert cache.find(file, facts) is None
    cache.remember(file, facts, D, read_at_ns=changed + _RACY_NS)
    assert cache.find(file, facts) == D
    cache.remember(file, facts, Digest.of(b"2"), read_at_ns=changed + age_ns)
    assert cache.find(file, facts) is None  # and what was remembered before is forgotten


def test_a_time_in_the_future_is_never_certain(tmp_path: Path, file: Path) -> None:
    ahead = time.time_ns() + 10**15
    os.utime(file, ns=(ahead, ahead))
    cache = StatCache(tmp_path / "cache")
    cache.remember(file, file.stat(), D, read_at_ns=time.time_ns() + 10**9)
    assert cache.find(file, file.stat()) is None


def test_a_real_race_is_lost_by_nobody(tmp_path: Path, file: Path) -> None:
    """Write, read, remember, write the same size again at once: the second write is noticed."""
    cache = StatCache(tmp_path / "cache")
    for count in range(200):
        file.write_bytes(b"%04d" % count)
        facts, read_at = file.stat(), time.time_ns()
        cache.remember(file, facts, Digest.of(file.read_bytes()), read_at_ns=read_at)
        file.write_bytes(b"%04d" % (count + 1000))
        known = cache.find(file, file.stat())
        assert known in {None, Digest.of(file.read_bytes())}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b"\x81",
        msgspec.msgpack.encode([1]),
        msgspec.msgpack.encode({b"a": [[1, 2, 3, 4, 5], b"short"]}),
        msgspec.msgpack.encode({b"a": [[1, 2, 3, 4], bytes(32)]}),
    ],
)
def test_a_damaged_cache_is_an_empty_one(tmp_path: Path, file: Path, data: bytes) -> None:
    path = tmp_path / "cache"
    path.write_bytes(data)
    cache = StatCache(path)
    assert cache.find(Path("a"), file.stat()) is None
    cached(cache, file).save()
    assert StatCache(path).find(file, file.stat()) == D


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, file: Path) -> None:
    (tmp_path / "in the way").write_bytes(b"")
    cache = cached(StatCache(tmp_path / "in the way" / "cache"), file)
    cache.save()
    assert cache.find(file, file.stat()) == D


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.write_bytes(b"1")
    cached(StatCache(tmp_path / "cache"), odd).save()
    assert StatCache(tmp_path / "cache").find(odd, odd.stat()) == D
