"""Clocks that jump, back an hour or forward a year, between any two steps: nothing is lost.

The clock of the store and those of two people jump on their own. Neither decides what lives, what
is seen, or what a file holds.
"""

import itertools
import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest
from fault_stage import noise
from fault_wiring import small_parts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fault_tally import Faults
from thence.errors import NotFound
from thence.execution.site import LOCAL, Site
from thence.index.database import Index
from thence.model.names import ArtifactName
from thence.model.records import Kind
from thence.project import Project
from thence.store.base import Store
from thence.store.memory import MemoryStore
from thence.vault import gc as collecting
from thence.vault import tree
from thence.vault.artifacts import Artifacts, Draft
from thence.vault.journal import OVERLAP
from thence.vault.layout import make_project
from thence.vault.tree import TreeEntry
from thence.vault.vault import Vault

LONG = os.environ.get("THENCE_FAULTS") == "long"
START = datetime(2026, 11, 23, 10, tzinfo=UTC)
HOUR, YEAR = timedelta(hours=1), timedelta(days=365)


class Clock:
    """A clock that somebody sets."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=7)
        return self.now

    def seconds(self) -> float:
        return self().timestamp()


class Person:
    """Somebody with a folder, and a clock of their own."""

    def __init__(self, root: Path, store: Store, clock: Clock, *, remote: bool) -> None:
        local = root / LOCAL
        local.mkdir(parents=True)
        self.root = root
        self.clock = clock
        self.count = itertools.count(1)
        vault = Vault(store, local / "cache", remote=remote, clock=clock)
        index = Index(local / "cache" / "index.sqlite")
        artifacts = Artifacts(vault, author=root.name)
        self.project = Project(Site(root, local, vault, artifacts, index, root.name, clock=clock))

    def save(self) -> tuple[int, bytes]:
        """Something new; its number."""
        number = next(self.count)
        data = noise(number % 4, 20_000) + f"{self.root.name} {number}".encode()
        (self.root / "file").write_bytes(data)
        (saved,) = self.project.save_paths([self.root / "file"], name="data")
        return saved.version.number, data


class Step(NamedTuple):
    """Something that somebody does, and then a clock jumps."""

    act: str
    who: int
    whose: int
    jump: timedelta


STEPS = st.lists(
    st.builds(
        Step,
        act=st.sampled_from(["save", "save", "read", "remove", "collect", "slow save"]),
        who=st.integers(0, 1),
        whose=st.integers(0, 2),
        jump=st.sampled_from([-HOUR, timedelta(0), timedelta(minutes=20), HOUR, YEAR, -YEAR]),
    ),
    min_size=1,
    max_size=14,
)


class World:
    """A home, two people, and three clocks."""

    def __init__(self, folder: Path, *, remote: bool) -> None:
        self.clocks = [Clock(), Clock(), Clock()]
        self.store = MemoryStore(clock=self.clocks[2].seconds)
        make_project(self.store, project_id="c" * 32, now=START)
        self.people = [
            Person(folder / name, self.store, clock, remote=remote)
            for name, clock in zip(["ann", "bob"], self.clocks, strict=False)
        ]
        self.saved: dict[int, bytes] = {}
        self.removed: set[int] = set()

    def do(self, step: Step) -> None:
        """One step, and then a jump."""
        person = self.people[step.who]
        if step.act == "save":
            self._saved(person.save())
        elif step.act == "slow save":
            self._slow_save(step)
        elif step.act == "read":
            self.read(person)
        elif step.act == "remove":
            self._remove(person)
        else:
            self._collect(person)
        self._jump(step)

    def _saved(self, told: tuple[int, bytes]) -> None:
        number, data = told
        assert self.saved.setdefault(number, data) == data

    def _jump(self, step: Step) -> None:
        """Never before the start, as of a clock that was wrong and is set right."""
        clock = self.clocks[step.whose]
        clock.now = max(clock.now + step.jump, START - HOUR)

    def _slow_save(self, step: Step) -> None:
        """Content, then a jump and collections by somebody else, then the name."""
        person, other = self.people[step.who], self.people[1 - step.who]
        vault = person.project.site.vault
        data = noise(next(person.count) % 4, 20_000)
        path = person.root / "slow"
        path.write_bytes(data)
        with vault.writer() as writer:
            info = writer.put_file(path)
            listed = tree.encode([TreeEntry("slow", info.size_bytes, info.digest)])
            root = writer.put_bytes(listed).digest
            self._jump(step)
            self._collect(other)
            self._jump(step)
            self._collect(other)
        site = person.project.site
        name = ArtifactName("data")
        draft = Draft(name, Kind.FILE, root, len(data), 1)
        done = site.artifacts.commit(draft, now=person.clock())
        site.ingest(*done.appended)
        if done.new:
            self._saved((done.number, data))

    def _remove(self, person: Person) -> None:
        there = sorted(self.saved.keys() - self.removed)
        if len(there) < 2:
            return
        person.project.refresh()
        try:
            found = person.project.plan_removal([f"data@v{there[0]}"])
        except NotFound:
            return
        person.project.remove(found, reason="a test", force=True)
        self.removed.add(there[0])

    def _collect(self, person: Person) -> None:
        collecting.collect(person.project.site.vault, by="x", grace_s=3600.0)

    def read(self, person: Person) -> None:
        """Everything that was acknowledged, as somebody sees it who has looked before."""
        if not self.saved:
            return
        found = {one.number: one for one in person.project.history("data")}
        there = {number for number, one in found.items() if one.deletion is None}
        if self._agree():
            assert there == self.saved.keys() - self.removed
        else:
            # Hints are looked for by one's own clock, and 48 hours are allowed for the difference.
            assert found.keys() <= self.saved.keys()
            there -= self.removed
        for number in there:
            (entry,) = person.project.files(f"data@v{number}")
            assert entry.digest is not None
            data = person.project.site.vault.content.read(entry.digest)
            assert sha256(data).digest() == sha256(self.saved[number]).digest()

    def _agree(self) -> bool:
        times = [person.clock.now for person in self.people]
        return max(times) - min(times) < OVERLAP / 2

    def close(self) -> None:
        for person in self.people:
            person.project.site.index.close()


def live(steps: list[Step], *, remote: bool) -> None:
    """Do the steps, and read everything back, by who was there and by somebody new."""
    folder = Path(tempfile.mkdtemp(prefix="clocks-"))
    world = World(folder, remote=remote)
    try:
        for step in steps:
            world.do(step)
        for clock in world.clocks:  # set right at last
            clock.now = START + HOUR
        world._saved(world.people[0].save())
        for person in world.people:
            world.read(person)
        newcomer = Person(folder / "eve", world.store, Clock(), remote=remote)
        world.people.append(newcomer)
        world.read(newcomer)
    finally:
        world.close()
        shutil.rmtree(folder, ignore_errors=True)


def try_lives(examples: int, *, remote: bool) -> int:
    jumps = 0

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=not LONG,
        suppress_health_check=list(HealthCheck),
    )
    @given(STEPS)
    def attempt(steps: list[Step]) -> None:
        nonlocal jumps
        live(steps, remote=remote)
        jumps += sum(bool(step.jump) for step in steps)

    with small_parts():
        attempt()
    return jumps


@pytest.mark.parametrize("remote", [False], ids=["memory"])
def test_a_few_clocks_that_jump(remote: bool, faults: Faults) -> None:
    jumps = try_lives(2, remote=remote)
    faults("clock jumps", "bucket-like" if remote else "memory", jumps)


@pytest.mark.slow
@pytest.mark.timeout(7200 if LONG else 600)
@pytest.mark.parametrize("remote", [False, True], ids=["memory", "bucket-like"])
def test_many_clocks_that_jump(remote: bool, faults: Faults) -> None:
    jumps = try_lives(2000 if LONG else 30, remote=remote)
    faults("clock jumps", "bucket-like" if remote else "memory", jumps)


@pytest.mark.parametrize("ahead_s", [-4_000_000_000, -3600, 3600, 40_000_000])
def test_a_file_of_another_time_is_read_again_when_it_changes(
    tmp_path: Path, ahead_s: int, faults: Faults
) -> None:
    """Its size and its modification time stay as they were."""
    person = Person(tmp_path / "ann", store := MemoryStore(), Clock(), remote=False)
    make_project(store, project_id="c" * 32, now=START)
    path = person.root / "file"
    at = max(1.0, path.parent.stat().st_mtime + ahead_s)
    found = []
    for text in ("one", "two", "one"):
        path.write_text(text)
        os.utime(path, (at, at))
        (saved,) = person.project.save_paths([path], name="data")
        (entry,) = person.project.files(saved.version.ref)
        assert entry.digest is not None
        assert person.project.site.vault.content.read(entry.digest) == text.encode()
        found.append(saved.version.number)
    assert found == [1, 2, 3]
    person.project.site.index.close()
    faults("clock jumps", "memory", 1)
