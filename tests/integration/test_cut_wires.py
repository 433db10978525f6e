"""Answers that are lost: the service did what it was asked, and nobody heard of it.

Each operation is done once undisturbed, then with answers to what it puts lost: the first one about
every object, or one at a time. What is in the store in the end must be the same.
"""

import contextlib
import itertools
import re
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import wire
from seaweed import S3Server
from thence.model.records import (
    AliasMove,
    Record,
    RunOpened,
    RunSealed,
    Version,
    VersionEdit,
    decode_entry,
)
from thence.project import Project
from thence.store.base import Store
from thence.store.open import open_store

_WORK = """
import time
import thence
thence.log(optimizer="adam")
for step in range(4):
    thence.log(step=step, loss=1 / (step + 1))
    time.sleep(0.1)
with open("out.txt", "w") as file:
    file.write("done")
"""

pytestmark = pytest.mark.usefixtures("owner", "quick")


class Place(NamedTuple):
    """Where one try of an operation happens: a prefix in the bucket and a folder, both empty."""

    url: str
    folder: Path


Operation = Callable[[Place], Callable[[], None]]
"""Prepares something, and returns what is to be disturbed."""


class Ended(NamedTuple):
    """What is in a store, without what is different each time."""

    entries: list[str]
    objects: Counter[str]
    contents: dict[str, bytes]
    runs: list[str]


class Attempt(NamedTuple):
    """What came of it, which objects were put, and which answers were lost."""

    ended: Ended
    puts: list[str]
    lost: list[str]


@pytest.fixture(scope="module")
def bucket(seaweed: S3Server) -> str:
    return seaweed.make_bucket("cut-wires")


@pytest.fixture
def owner(seaweed: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is for large projects and long runs happens in small and short ones."""
    monkeypatch.setattr("thence.execution.publishing.EVERY_S", 0.05)
    # As an attribute, the package has a function of the name of this module.
    monkeypatch.setattr(sys.modules["thence.index.refresh"], "MIN_ENTRIES", 2)
    monkeypatch.setattr("thence.index.covering.MIN_ENTRIES", 2)
    monkeypatch.setattr("thence.vault.merged.PACKS", 1)
    monkeypatch.setattr("thence.vault.directory._FEW", 1)
    # Sixteen that want the same object at once take SeaweedFS seconds.
    monkeypatch.setattr("thence.store.open._WRITERS", 3)


@pytest.fixture
def broken(seaweed: S3Server) -> Iterator[wire.Wire]:
    with wire.wire_to(int(seaweed.endpoint.rpartition(":")[2])) as made:
        yield made


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def fill(project: Project) -> None:
    """Every kind of entry that there is."""
    root = project.root
    for number in range(2):
        project.save_paths([write(root, "data.csv", f"a\n{number}\n")])
        project.alias("data.csv", "best")
    project.save_paths([write(root, "other.csv", "b\n1\n")])
    project.tag("data.csv", {"stage": "raw"})
    with project.run(name="first") as run:
        run.log({"score": 1.5})


def init(place: Place) -> Callable[[], None]:
    return lambda: fill_nothing(Project.init(place.folder, store=place.url))


def fill_nothing(project: Project) -> None:
    assert project.ls() == []


def save(place: Place) -> Callable[[], None]:
    project = Project.init(place.folder, store=place.url)
    project.save_paths([write(place.folder, "data.csv", "a\n0\n")])

    def act() -> None:
        (saved,) = project.save_paths([write(place.folder, "data.csv", "a\n1\n")])
        assert saved.version.number == 2
        project.alias("data.csv", "best")
        project.alias("data.csv@v1", "best")
        project.tag("data.csv@v2", {"stage": "raw"})
        project.describe("data.csv", "what it is")

    return act


def run(place: Place) -> Callable[[], None]:
    project = Project.init(place.folder, store=place.url)
    write(place.folder, "work.py", _WORK)

    def act() -> None:
        with contextlib.chdir(place.folder):
            done = project.execute([sys.executable, "work.py"])
        assert done.exit_code == 0
        assert done.metrics == {"loss": 0.25}

    return act


def push(place: Place) -> Callable[[], None]:
    seed = Project.init(place.folder / "seed", store=place.url)
    seed.save_paths([write(seed.root, "data.csv", "a\nseed\n")])
    project, _ = Project.clone(place.url, place.folder / "clone")
    fill(project)

    def act() -> None:
        sent = project.push()
        assert not sent.conflicts
        assert [one.ref for one in sent.versions] == ["data.csv@v2", "data.csv@v3", "other.csv@v1"]
        assert project.outbox() == []

    return act


def pull(place: Place) -> Callable[[], None]:
    home = Project.init(place.folder / "home", store=place.url)
    home.save_paths([write(home.root, "data.csv", "a\nseed\n")])
    project, _ = Project.clone(place.url, place.folder / "clone")
    fill(home)

    def act() -> None:
        project.pull()
        assert [one.number for one in project.history("data.csv")] == [3, 2, 1]

    return act


def move(place: Place) -> Callable[[], None]:
    project = Project.init(place.folder)
    fill(project)

    def act() -> None:
        project.move_home(place.url)
        write(place.folder, "later.csv", "c\n")
        project.save_paths([place.folder / "later.csv"])
        assert [one.ref for one in project.push().versions] == ["later.csv@v1"]

    return act


def mirror(place: Place) -> Callable[[], None]:
    project = Project.init(place.folder)
    fill(project)

    def act() -> None:
        project.mirror(place.url)
        project.save_paths([write(place.folder, "later.csv", "c\n")])
        project.mirror(place.url)

    return act


def ended(store: Store, folder: Path) -> Ended:
    """What anybody else finds there."""
    infos = list(store.list())
    found = {i.key: decode_entry(store.get(i.key)) for i in infos if i.key.startswith("refs/")}
    names = {str(entry.digest): key for key, entry in found.items()}  # the digest tells the time
    runs = sorted({key.split("/")[2] for key in found if key.startswith("refs/runs/")})
    names |= {run: f"run {number}" for number, run in enumerate(runs)}
    entries = sorted(
        re.sub("|".join(names), lambda one: names[one[0]], f"{key}: {said(entry.record)}")
        for key, entry in found.items()
    )
    project = Project.init(folder, store=store.url)
    contents = {}
    for name in project.ls():
        for one in project.history(str(name.name)):
            ref = f"{name.name}@v{one.number}"
            path = folder / "got" / ref
            project.get(ref, path)
            contents[ref] = path.read_bytes()
    kinds = Counter(info.key.partition("/")[0] for info in infos)
    shown = [f"{one.name} {one.status.value} {one.metrics}" for one in project.runs()]
    # How many of these there are depends on time: which thread was faster, what a run found.
    for kind in ("journal", "index", "directories", "packs"):
        kinds.pop(kind, None)
    return Ended(entries, kinds, contents, shown)


def said(record: Record | None) -> str:
    match record:
        case Version():
            return f"version {record.tree}"
        case AliasMove():
            return f"to {record.version} from {record.previous is not None}"
        case VersionEdit():
            return f"edit {record.tags}"
        case RunOpened():
            return "opened"
        case RunSealed():
            return f"sealed {record.status.value}"
        case _:
            return type(record).__name__


def kind_of(line: str) -> str:
    """`PUT /bucket/3/packs/ab/… HTTP/1.1` is about `packs`."""
    path = line.split()[1].partition("?")[0]
    parts = path.split("/")[3:]
    if parts[0] != "refs":
        return "probe" if parts[0].startswith("tmp-probe") else parts[0]
    return f"refs/{parts[1]}"


def is_put(line: str) -> bool:
    return line.startswith("PUT ")


KINDS: dict[Operation, set[str]] = {
    init: {"probe", "project.json"},
    save: {"packs", "hints", "journal", "refs/artifacts", "refs/aliases", "index", "directories"},
    run: {"packs", "hints", "journal", "refs/artifacts", "refs/runs", "runs"},
    push: {"packs", "hints", "journal", "refs/artifacts", "refs/aliases", "refs/runs"},
    pull: set(),
    move: {"claim.json", "packs", "refs/artifacts", "refs/aliases", "refs/runs", "project.json"},
    mirror: {"mirror.json", "packs", "refs/artifacts", "refs/aliases", "refs/runs", "project.json"},
}


@pytest.fixture
def attempt(
    seaweed: S3Server, bucket: str, broken: wire.Wire, tmp_path: Path
) -> Callable[[Operation, str, wire.Wanted | None], Attempt]:
    """Does an operation at a place of its own, and loses answers to what the function says."""

    def do(operation: Operation, name: str, lose: wire.Wanted | None) -> Attempt:
        prefix = f"{operation.__name__}-{name}-{secrets.token_hex(4)}"
        folder = tmp_path / name
        folder.mkdir()
        act = operation(Place(f"s3://{bucket}/{prefix}?endpoint={broken.url}", folder))
        broken.mend()
        if lose is not None:
            broken.lose_answers(lose, times=1_000_000)
        act()
        lost, requests = broken.lost, broken.requests
        broken.mend()
        found = ended(open_store(seaweed.url(bucket, prefix)), tmp_path / f"{name}-seen")
        return Attempt(found, [one for one in requests if is_put(one)], lost)

    return do


Do = Callable[[Operation, str, wire.Wanted | None], Attempt]


@pytest.mark.parametrize(
    "operation",
    [pytest.param(one, marks=() if one.__name__ == "save" else pytest.mark.slow) for one in KINDS],
    ids=lambda one: one.__name__,
)
def test_every_put_is_answered_only_the_second_time(operation: Operation, attempt: Do) -> None:
    expected = attempt(operation, "undisturbed", None)
    assert {kind_of(line) for line in expected.puts} >= KINDS[operation]
    seen: set[str] = set()

    def first_time(line: str) -> bool:
        if not is_put(line) or line in seen:
            return False
        seen.add(line)
        return True

    found = attempt(operation, "all", first_time)
    assert {kind_of(line) for line in found.lost} >= KINDS[operation]
    assert found.ended == expected.ended


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("operation", KINDS, ids=lambda one: one.__name__)
def test_the_answer_to_each_put_in_turn_is_lost(operation: Operation, attempt: Do) -> None:
    expected = attempt(operation, "undisturbed", None)
    for number in itertools.count():
        counted = itertools.count()

        def this_one(
            line: str, number: int = number, counted: "itertools.count[int]" = counted
        ) -> bool:
            return is_put(line) and next(counted) == number

        found = attempt(operation, f"{number}", this_one)
        assert found.ended == expected.ended, found.lost
        if not found.lost:
            break
    assert number >= len(KINDS[operation])
