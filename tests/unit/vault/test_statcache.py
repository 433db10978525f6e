"""The stat cache says "unchanged" only where that is certain."""

import os
import time
from pathlib import Path

import pytest

from thence.model.ids import Digest
from thence.vault.statcache import (
    _RACY_NS,
    FACTS,
    KnownTree,
    StatCache,
    Table,
    signature,
    to_facts,
)

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
    path = tmp_path / "cache" / "stat"
    cached(StatCache(path), file).save()
    assert StatCache(path).find(file, file.stat()) == D
    assert StatCache(path).find(tmp_path / "other", file.stat()) is None
    assert len(list(path.iterdir())) == 1


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


@pytest.mark.parametrize("at", [0, 8, 9, 40, 70, 74, 100, -1, -33, -80])
def test_a_damaged_byte_makes_no_wrong_answer(tmp_path: Path, file: Path, at: int) -> None:
    path = tmp_path / "cache"
    cached(StatCache(path), file).save()
    (only,) = path.iterdir()
    data = bytearray(only.read_bytes())
    data[at] ^= 1
    only.write_bytes(data)
    cache = StatCache(path)
    assert cache.find(file, file.stat()) is None
    cached(cache, file).save()
    assert StatCache(path).find(file, file.stat()) == D


def test_a_cut_cache_is_an_empty_one(tmp_path: Path, file: Path) -> None:
    path = tmp_path / "cache"
    cached(StatCache(path), file).save()
    (only,) = path.iterdir()
    data = only.read_bytes()
    for size in range(0, len(data), 7):
        only.write_bytes(data[:size])
        assert StatCache(path).find(file, file.stat()) is None
        only.write_bytes(data[:size] + bytes(len(data) - size))  # as after a crash
        assert StatCache(path).find(file, file.stat()) is None


def test_a_damaged_note_of_trees_is_none(tmp_path: Path) -> None:
    known = KnownTree(D.raw, 5, 1, (b"p" * 32,), "file", None)
    cache = StatCache(tmp_path / "cache")
    cache.note_tree(b"fingerprint", known)
    cache.save()
    assert StatCache(tmp_path / "cache").tree(b"fingerprint") == known
    path = tmp_path / "cache" / "trees"
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert StatCache(tmp_path / "cache").tree(b"fingerprint") is None


def test_what_two_processes_learn_of_folders_is_kept(tmp_path: Path) -> None:
    """All files of the cache are written by both, in turn."""
    first, second = StatCache(tmp_path / "cache"), StatCache(tmp_path / "cache")
    files = []
    for number in range(100):
        path = tmp_path / f"folder-{number}" / "file"
        path.parent.mkdir()
        path.write_bytes(b"1")
        files.append(path)
        cached(second if number % 2 else first, path)
    first.save()
    second.save()
    cache = StatCache(tmp_path / "cache")
    assert all(cache.find(path, path.stat()) == D for path in files)


def test_folders_that_went_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    folders = [tmp_path / f"folder-{number}" for number in range(200)]
    cache = StatCache(path)
    for folder in folders:
        folder.mkdir()
        (folder / "file").write_bytes(b"1")
        cached(cache, folder / "file")
    cache.save()
    before = sum(item.stat().st_size for item in path.iterdir())
    for folder in folders[1:]:
        (folder / "file").unlink()
        folder.rmdir()
    for number in range(200, 400):
        folder = tmp_path / f"folder-{number}"
        folder.mkdir()
        (folder / "file").write_bytes(b"1")
        cached(cache, folder / "file")
    cache.save()
    # Only files of the cache that are written are cleaned.
    assert sum(item.stat().st_size for item in path.iterdir()) < 1.2 * before
    assert cache.find(folders[0] / "file", (folders[0] / "file").stat()) == D


def test_equal_folders_have_one_identity_whatever_their_times() -> None:
    facts = to_facts([0o100644, 5, 1, 2, 3, 4])
    table = Table.of(b"a", facts, D.raw)
    assert table.identity == Table.of(b"a", to_facts([0o100600, 5, 9, 9, 9, 9]), D.raw).identity
    others = [
        Table.of(b"b", facts, D.raw),
        Table.of(b"a", facts, Digest.of(b"2").raw),
        Table.of(b"a", to_facts([0o100755, 5, 1, 2, 3, 4]), D.raw),
        Table.of(b"a", to_facts([0o120777, 5, 1, 2, 3, 4]), D.raw),
        Table.of(b"a", to_facts([0o100644, 6, 1, 2, 3, 4]), D.raw),
    ]
    assert len({table.identity, *(one.identity for one in others)}) == 6


def test_inodes_of_64_bits_and_times_before_1970() -> None:
    facts = to_facts([0o100644, 5, -1, -2, (1 << 64) - 1, 4])
    assert len(facts) == FACTS
    assert facts != to_facts([0o100644, 5, -1, -2, 1, 4])


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
