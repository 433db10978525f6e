"""What earlier runs found out of packages is used as long as it is true, and not longer."""

import time
from pathlib import Path

import pytest

from sites import MARKERS, Site
from thence.execution.capture import system
from thence.execution.capture.distributions import Found, find_distributions
from thence.execution.capture.known import KnownPackages
from thence.execution.capture.system import find_packages


def _later() -> int:
    """A moment at which all that was written before has settled."""
    return time.time_ns() + 10_000_000_000


def _found(site: Site, cache: Path, *, budget_s: float = 9) -> Found:
    known = KnownPackages(cache, clock_ns=_later)
    found = find_distributions(
        site.at("six.py", "many/a.py"), markers=MARKERS, check_budget_s=budget_s, known=known
    )
    known.save()
    return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.install("six", "1", {"six.py": "x = 1"})
    made.install("many", "1", {"many/a.py": "a = 1", "many/b.py": "b = 1"}, requires=("other",))
    made.install("other", "1", {"other.py": ""})
    return made


def test_what_is_known_says_the_same(site: Site, tmp_path: Path) -> None:
    plain = find_distributions(site.at("six.py", "many/a.py"), markers=MARKERS)
    assert [item.name for item in plain.distributions] == ["many", "other", "six"]
    assert _found(site, tmp_path / "cache") == plain
    assert _found(site, tmp_path / "cache") == plain


def test_files_that_are_known_are_not_hashed_again(site: Site, tmp_path: Path) -> None:
    no_time = _found(site, tmp_path / "cache", budget_s=-1)
    assert no_time.problems == ("2 used package files were not compared with their hashes",)
    _found(site, tmp_path / "cache")
    assert _found(site, tmp_path / "cache", budget_s=-1).problems == ()


def test_a_file_that_is_edited_later_is_noticed(site: Site, tmp_path: Path) -> None:
    assert _found(site, tmp_path / "cache").kept == ()
    (site.path / "six.py").write_text("x = 2")
    for _ in range(2):
        (kept,) = _found(site, tmp_path / "cache").kept
        assert (kept.place, kept.reason) == ("six.py", "patched")


def test_another_version_in_the_same_folder_is_noticed(site: Site, tmp_path: Path) -> None:
    before = _found(site, tmp_path / "cache")
    site.install("six", "1", {"six.py": "x = 3", "many/a.py": "a = 2"})
    (site.path / "many-1.dist-info" / "RECORD").unlink()
    after = _found(site, tmp_path / "cache")
    digests = [{one.name: one.record for one in found.distributions} for found in (before, after)]
    assert digests[0]["six"] != digests[1]["six"]
    assert after == find_distributions(site.at("six.py", "many/a.py"), markers=MARKERS)


def test_what_was_written_a_moment_ago_is_not_taken_as_known(site: Site, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for _ in range(2):
        known = KnownPackages(cache)
        found = find_distributions(
            site.at("six.py"), markers=MARKERS, check_budget_s=-1, known=known
        )
        known.save()
        assert found.problems == ("1 used package files were not compared with their hashes",)


@pytest.mark.parametrize("content", [b"", b"\x00", b"\x93not a document"])
def test_a_damaged_cache_is_as_none(site: Site, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cache").write_bytes(content)
    assert len(_found(site, tmp_path / "cache").distributions) == 3


@pytest.mark.skipif(
    not Path("/var/lib/dpkg/info").is_dir(), reason="no dpkg on this machine: rpm is not tested"
)
def test_owners_of_system_files_are_looked_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ["/bin/sh", "/usr/lib/nothing.so"]
    known = KnownPackages(tmp_path / "cache", clock_ns=_later)
    found = find_packages(paths, known)
    assert found == find_packages(paths) != []
    known.save()
    monkeypatch.setattr(system, "_DPKG_LISTS", str(tmp_path))  # where nothing is found
    known = KnownPackages(tmp_path / "cache", clock_ns=_later)
    assert find_packages(paths, known) == found
    state = tmp_path / "status"
    state.write_text("another state")
    monkeypatch.setattr(system, "_DPKG_STATE", str(state))
    assert find_packages(paths, known) == []
