"""A wire that is cut in the middle of a push, a pull or a clone, and what going on costs then."""

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import wire
from seaweed import S3Server
from thence.errors import StorageError
from thence.project import Project
from thence.store.base import Store
from thence.store.open import open_store
from thence.store.wrap import Retry
from thence.vault.uploads import AT_ONCE

_MIB = 1 << 20
_PACK = _MIB // 2
_LARGEST_PACK = _PACK + _MIB // 4  # the chunk that fills it is in it
_TALK = _MIB  # heads of requests and answers, directories, logs
_READERS = 16
_FILES = 48

pytestmark = pytest.mark.usefixtures("owner", "small")


@pytest.fixture
def owner(seaweed: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs in the bucket have half a MiB, and failures are told after a second."""
    monkeypatch.setattr("thence.vault.lane.REMOTE_PACK", _PACK)
    monkeypatch.setattr("thence.store.open.Retry", functools.partial(Retry, budget_s=1.0))


@pytest.fixture
def broken(seaweed: S3Server) -> Iterator[wire.Wire]:
    with wire.wire_to(int(seaweed.endpoint.rpartition(":")[2])) as made:
        yield made


@pytest.fixture
def bucket(seaweed: S3Server, request: pytest.FixtureRequest) -> str:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())
    return seaweed.make_bucket(name[:60].strip("-"))


def noise(folder: Path) -> int:
    """Files that cannot be compressed; their bytes in all."""
    folder.mkdir(parents=True)
    for number in range(_FILES):
        (folder / f"{number}.bin").write_bytes(os.urandom(_MIB))
    return _FILES * _MIB


def same(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    return names == sorted(path.name for path in other.iterdir()) and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names
    )


def refs(store: Store) -> list[str]:
    return [info.key for info in store.list("refs/")]


def test_a_push_that_is_cut_goes_on(
    seaweed: S3Server, bucket: str, broken: wire.Wire, tmp_path: Path
) -> None:
    url = f"s3://{bucket}/team?endpoint={broken.url}"
    Project.init(tmp_path / "home", store=url)
    project, _ = Project.clone(url, tmp_path / "clone")
    size = noise(project.root / "noise")
    project.save_paths([project.root / "noise"])
    broken.mend()
    broken.cut_after(sent=size // 2)
    with pytest.raises(StorageError) as caught:
        project.push()
    first = broken.sent
    assert caught.value.why
    assert "Repeat the command" in caught.value.hint
    assert refs(open_store(seaweed.url(bucket, "team"))) == []  # nothing is half-visible
    assert [one.ref for one in project.outbox()] == ["noise@local.1"]

    broken.mend()
    project = Project.open(project.root)
    assert [one.ref for one in project.push().versions] == ["noise@v1"]
    twice = first + broken.sent - size
    assert twice <= AT_ONCE * _LARGEST_PACK + _TALK
    seen = Project.init(tmp_path / "seen", store=seaweed.url(bucket, "team"))
    seen.get("noise", tmp_path / "got")
    assert same(tmp_path / "got", project.root / "noise")


@pytest.mark.parametrize("again", ["clone", pytest.param("pull", marks=pytest.mark.slow)])
def test_a_clone_that_is_cut_goes_on(
    seaweed: S3Server, bucket: str, broken: wire.Wire, tmp_path: Path, again: str
) -> None:
    url = f"s3://{bucket}/team?endpoint={broken.url}"
    home = Project.init(tmp_path / "home", store=url)
    size = noise(home.root / "noise")
    folder = tmp_path / "clone"
    if again == "pull":
        Project.clone(url, folder)
    home.save_paths([home.root / "noise"])
    broken.mend()
    broken.cut_after(received=size // 2)
    with pytest.raises(StorageError) as caught:
        fetch(again, url, folder)
    first = broken.received
    assert "Repeat the command" in caught.value.hint
    assert refs(open_store(folder / ".thence" / "store")) == []

    broken.mend()
    fetch(again, url, folder)
    twice = first + broken.received - size
    assert twice <= _READERS * _LARGEST_PACK + _TALK
    broken.cut()  # all is here
    project = Project.open(folder)
    project.get("noise", tmp_path / "got")
    assert same(tmp_path / "got", home.root / "noise")


def fetch(again: str, url: str, folder: Path) -> None:
    if again == "clone":
        Project.clone(url, folder)
    else:
        Project.open(folder).pull()
