"""Pushes and pulls that are cut at every operation of either store, and killed; then repeated."""

import itertools
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from team import Member, Team, objects
from thence.errors import StorageError
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.model.records import ArtifactEdit, Kind, decode_entry
from thence.store.base import Bytes, Store
from thence.store.local import LocalStore
from thence.store.memory import MemoryStore
from thence.store.wrap import Retry
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault.conflicts import ConflictingMove
from thence.vault.pushing import push
from thence.vault.sync import pull
from thence.vault.vault import Vault

FAULTS = [Fault.FAIL_BEFORE, Fault.LOSE_RESPONSE, Fault.REPEAT]


def copy(store: Store) -> MemoryStore:
    fresh = MemoryStore()
    for key, data in objects(store, "").items():
        fresh.create(key, [data])
    return fresh


class Scene:
    """A home, and a clone with something of everything that waits, while others went on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers = itertools.count()
        team = Team(folder / "team")
        home = team.at_home()
        home.save("data", b"base")
        home.move("data", "best")
        self.clone: Store = MemoryStore()
        ann = team.clone("ann", store=self.clone)
        run = ann.log_run(b"ann's output")
        ann.save("data", b"of ann" * 20_000, run=run)
        ann.save("data", b"of ann again")
        ann.save("more", b"of ann")
        ann.move("more", "best")
        ann.move("more", "first")
        ann.artifacts.edit(
            ArtifactName("more"), ArtifactEdit(artifact=ArtifactName("more"), description="x")
        )
        home.save("data", b"of others" * 10_000)
        home.log_run(b"of others")
        self.home: Store = team.home
        self.waiting = Counter(
            decode_entry(data).id for data in objects(self.clone, "outbox/").values()
        )
        self.there = objects(self.home)

    def member(self, clone: Store, home: Store) -> Member:
        """A new process of the clone."""
        cache = self.folder / f"cache-{next(self.numbers)}"
        home_vault = Vault(home, cache / "home")
        return Member("ann", Vault(clone, cache / "clone", clone=True), home_vault)

    def check(self, clone: Store, home: Store) -> None:
        """Everything is at home once, where it was nothing changed, and the clone mirrors it."""
        now = objects(home)
        assert {key: now[key] for key in self.there} == self.there
        ids = Counter(decode_entry(now[key]).id for key in now if key not in self.there)
        assert ids == self.waiting
        assert objects(clone) == now
        assert objects(clone, "outbox/") == objects(clone, "conflicts/") == {}
        reader = self.member(clone, home)
        found = {reader.read(f"data@v{n}") for n in (1, 2, 3, 4)}
        assert found == {b"base", b"of others" * 10_000, b"of ann" * 20_000, b"of ann again"}
        for vault in (reader.vault, reader.home):
            assert vault.content.read(Digest.of(b"ann's output")) == b"ann's output"
            assert vault.content.read(Digest.of(b"of others")) == b"of others"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    yield Scene(folder)
    shutil.rmtree(folder, ignore_errors=True)


Around = Callable[[Store], Store]


def at_every_operation(
    scene: Scene, where: str, fault: Fault, act: Callable[[Member], object], around: Around
) -> int:
    """Cut an action at operation 1, 2, …; then push and pull, and all must be well."""
    for step in range(1, 1000):
        clone, home = copy(scene.clone), copy(scene.home)
        rule = Rule(fault=fault, on=frozenset({step}))
        faulty = FaultyStore(clone if where == "clone" else home, rule)
        member = scene.member(
            around(faulty) if where == "clone" else clone,
            around(faulty) if where == "home" else home,
        )
        try:
            act(member)
        except StorageError:
            assert not isinstance(around(faulty), Retry), "a retry should have helped"
        whole = scene.member(clone, home)
        assert whole.push().conflicts == ()
        whole.pull()
        scene.check(clone, home)
        if not faulty.injected:
            return step
    raise AssertionError("the action never came to its end")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("where", ["home", "clone"])
@pytest.mark.parametrize("act", [Member.push, Member.pull], ids=["push", "pull"])
def test_a_cut_at_any_operation_loses_and_doubles_nothing(
    scene: Scene, where: str, fault: Fault, act: Callable[[Member], object]
) -> None:
    steps = at_every_operation(scene, where, fault, act, lambda store: store)
    assert steps > (4 if fault is Fault.REPEAT else 10) or (act, where) == (Member.pull, "home")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("where", ["home", "clone"])
def test_with_retries_no_such_failure_is_seen(scene: Scene, where: str, fault: Fault) -> None:
    def retrying(store: Store) -> Store:
        return Retry(store, sleep=lambda seconds: None)

    def push_and_look(member: Member) -> None:
        done = member.push()
        assert done.conflicts == ()
        assert len(done.numbered) == len(scene.waiting)

    at_every_operation(scene, where, fault, push_and_look, retrying)


DYING = """
import itertools, os, sys
from pathlib import Path
from thence.store.local import LocalStore
from thence.vault.pushing import push
from thence.vault.sync import pull
from thence.vault.vault import Vault

root, die_at, act = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
left = itertools.count(die_at, -1)


class Dying:
    def __init__(self, store):
        self.store = store

    def __getattr__(self, name):
        attribute = getattr(self.store, name)
        if not callable(attribute):
            return attribute

        def call(*arguments, **options):
            result = attribute(*arguments, **options)
            if name == "list":
                result = iter(list(result))
            if next(left) == 1:
                os.kill(os.getpid(), 9)
            return result

        return call


for step in range(die_at, 1000, 7):
    there = root / str(step)
    (there / "begun").touch()
    child = os.fork()
    if child == 0:
        left = itertools.count(step, -1)
        clone = Vault(Dying(LocalStore(there / "clone")), there / "cache", clone=True)
        home = Vault(Dying(LocalStore(there / "home")), there / "home-cache")
        (push if act == "push" else pull)(clone, home)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != -9:
        sys.exit(0 if status == 0 else status)
    if not (root / str(step + 7)).is_dir():
        sys.exit(0)
"""


@pytest.mark.parametrize("act", ["push", "pull"])
@pytest.mark.parametrize("first", [1, 4])
def test_killed_at_many_operations_and_repeated(
    scene: Scene, tmp_path: Path, act: str, first: int
) -> None:
    steps = range(first, 120, 7)
    for step in steps:
        for name, store in (("clone", scene.clone), ("home", scene.home)):
            on_disk = LocalStore(tmp_path / str(step) / name, create=True)
            for key, data in objects(store, "").items():
                on_disk.create(key, [data])
    subprocess.run(
        [sys.executable, "-c", DYING, str(tmp_path), str(first), act], check=True, timeout=240
    )
    killed = 0
    for step in steps:
        there = tmp_path / str(step)
        if not (there / "begun").exists():
            break
        killed += 1
        clone, home = LocalStore(there / "clone"), LocalStore(there / "home")
        vault = Vault(clone, there / "cache", clone=True)
        home_vault = Vault(home, there / "home-cache")
        assert push(vault, home_vault).conflicts == ()
        pull(vault, home_vault)
        scene.check(clone, home)
    assert killed > 5


def test_two_pushes_of_one_clone_at_once_number_everything_once(
    scene: Scene, tmp_path: Path
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    clone, home = copy(scene.clone), copy(scene.home)
    cache = tmp_path / "cache"

    def one(number: int) -> int:
        vault = Vault(clone, cache, clone=True)
        return len(push(vault, Vault(home, tmp_path / f"home-{number}")).numbered)

    with ThreadPoolExecutor(4) as pool:
        counts = sorted(pool.map(one, range(4)))
    assert counts == [0, 0, 0, len(scene.waiting)]
    scene.member(clone, home).pull()
    scene.check(clone, home)


def test_many_clones_push_at_once(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    team = Team(tmp_path)
    people = [team.clone(f"person-{n}") for n in range(8)]
    for person in people:
        for n in range(3):
            person.save("data", f"{person.name} {n}".encode())
        person.move("data", f"of-{person.name}")
        person.log_run(person.name.encode())
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(Member.push, people))
    assert [one.conflicts for one in done] == [()] * 8
    history = people[0].home.numbered.tail("refs/artifacts/data/@")
    assert history == 24
    for person in people:
        person.pull()
        assert objects(person.vault.store) == objects(team.home)
        mine = [person.read(f"data@v{n}").decode() for n in range(1, 25)]
        for other in people:
            of_other = [text for text in mine if text.startswith(f"{other.name} ")]
            assert of_other == [f"{other.name} {n}" for n in range(3)]


class Between(MemoryStore):
    """Lets somebody else act when the first entry of a log is about to be put."""

    def __init__(self, log: str) -> None:
        super().__init__()
        self.log = log
        self.act: Callable[[], object] | None = None

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        if key.startswith(f"{self.log}/") and self.act is not None:
            act, self.act = self.act, None
            act()
        super().create(key, parts)


def test_a_kind_that_two_give_a_new_name_at_once_is_decided_once(tmp_path: Path) -> None:
    """Both looked before either appended: the second finds out when it appends."""
    home = Between("refs/artifacts/new/@")
    team = Team(tmp_path, home)
    ann, bob = team.clone("ann"), team.clone("bob")
    ann.save("new", b"of ann")
    ann.move("new", "best")
    bob.save("new", b"of bob", kind=Kind.MODEL)
    home.act = bob.push
    (conflict,) = ann.push().conflicts
    assert conflict.log == "refs/artifacts/new/@"
    assert list(objects(home)) == ["refs/artifacts/new/@/0000000001"]
    assert len(ann.waiting()) == 2


def test_an_alias_that_two_move_at_once_is_moved_once(tmp_path: Path) -> None:
    home = Between("refs/aliases/data/@best")
    team = Team(tmp_path, home)
    member = team.at_home()
    member.save("data", b"1")
    member.save("data", b"2")
    ann, bob = team.clone("ann"), team.clone("bob")
    ann.move("data", "best", "v1")
    bob.move("data", "best", "v2")
    home.act = bob.push
    (conflict,) = ann.push().conflicts
    assert isinstance(conflict, ConflictingMove)
    assert conflict.found == ann.alias("data", "best") == ann.find("data@v2").entry.digest
    assert list(objects(home, "refs/aliases/")) == ["refs/aliases/data/@best/0000000001"]


class Gapless(MemoryStore):
    """Refuses an entry of a log before the one that it follows."""

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        log, _, number = key.rpartition("/")
        if log.startswith("refs/") and int(number) > 1:
            assert self.head(f"{log}/{int(number) - 1:010d}"), f"{key} leaves a gap"
        super().create(key, parts)


def test_a_mirror_has_no_gap_where_others_were_faster(tmp_path: Path) -> None:
    home = Between("refs/artifacts/data/@")
    team = Team(tmp_path, home)
    member = team.at_home()
    member.save("data", b"base")
    ann, bob = team.clone("ann", store=Gapless()), team.clone("bob")
    ann.save("data", b"of ann")
    ann.save("data", b"of ann again")
    bob.save("data", b"of bob")
    home.act = bob.push
    pushed = ann.push()
    assert [one.number for one in pushed.numbered] == [3, 4]
    assert ann.waiting() == []
    assert [ann.read(f"data@v{n}") for n in (2, 3, 4)] == [b"of bob", b"of ann", b"of ann again"]
