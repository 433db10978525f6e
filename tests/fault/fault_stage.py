"""A small project with something of everything, what people do with it, and what must hold after.

The same stage serves the tests that kill, fill disks, break stores and damage files. A command may
be done again at any time: it then says the same and adds nothing.
"""

import os
import random
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from thence.errors import DataDamaged, NotFound, StorageError
from thence.execution import erasing
from thence.model.ids import Digest
from thence.project import Project
from thence.store.base import Store
from thence.store.local import LocalStore
from thence.store.open import connect
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault import gc as collecting
from thence.vault.vault import Vault

__all__ = ["COMMANDS", "Ack", "Acknowledge", "Command", "Stage", "noise"]

Ack = list[Any]
"""What somebody was told: `["version", name, number, tree]`, `["alias", …]`, `["run", id]`."""

Acknowledge = Callable[[Ack], None]
Command = Callable[["Stage", Acknowledge], None]

_BIG = 250_000


def noise(seed: int, size: int) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size)


class Stage:
    """A home, somebody who works in it, and a clone; all below one folder.

    Args:
        folder: Where.
        home_url: The store of the home, where it is not in the folder `home`.
        elsewhere: Who works in the home does so from another folder, as with a bucket.
    """

    def __init__(self, folder: Path, *, home_url: str = "", elsewhere: bool = False) -> None:
        self.folder = folder
        self.home_url = home_url or str(folder / "home" / ".thence" / "store")
        self.elsewhere = elsewhere or bool(home_url)
        self._far = connect(home_url) if home_url else None
        self._objects: dict[str, bytes] = {}
        self._opened: list[Project] = []

    @property
    def work(self) -> Path:
        """Where somebody works in the home."""
        return self.folder / ("work" if self.elsewhere else "home")

    @property
    def clone(self) -> Path:
        """Where somebody works in a clone."""
        return self.folder / "clone"

    def open(self, root: Path | None = None) -> Project:
        """The project, as a new process sees it."""
        project = Project.open(root or self.work)
        self._opened.append(project)
        return project

    def close(self) -> None:
        """Close what was opened."""
        for project in self._opened:
            project.site.index.close()
        self._opened.clear()

    def keep(self) -> None:
        """Remember how everything is now; `reset` makes it so again."""
        self.close()
        self.folder.rename(self._template)
        if self._far is not None:
            self._objects = {one.key: self._far.get(one.key) for one in self._far.list()}
        self.reset()

    def reset(self) -> None:
        """Make everything as it was; objects are never written to again, so links will do."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

        def copy(source: str, target: str) -> str:
            if "/store/packs/" in source or "/store/refs/" in source:
                os.link(source, target)
                return target
            return shutil.copy2(source, target)

        shutil.copytree(self._template, self.folder, copy_function=copy, symlinks=True)
        if self._far is not None:
            there = {one.key for one in self._far.list()}
            for key in there - self._objects.keys():
                self._far.delete(key)
            for key, data in self._objects.items():
                # Those of a cache may have been replaced.
                if key not in there or not key.startswith(("packs/", "refs/")):
                    self._far.replace(key, [data])

    @property
    def _template(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}-template")

    def build(self, command: str) -> None:
        """Make what a command begins with."""
        project = self._make_home()
        data = self.work / "data"
        _write(data, 1)
        project.save_paths([data], name="data", metrics={"rows": 1.0})
        _write(data, 2)
        project.save_paths([data], name="data", note="second")
        project.alias("data@v1", "best")
        (self.work / "notes.txt").write_text("notes\n")
        project.save_paths([self.work / "notes.txt"], name="notes", tags={"of": "ann"})
        project.describe("data", "what it is")
        if command in {"gc", "collect with grace"}:
            self._leave_rubbish(project)
        if command in {"seal", "gc"}:
            self._leave_a_run(project)
        if command in {"push", "pull"}:
            self.diverge(project)
        if command == "get":
            project.get("data@v2", self.work / "out")
        if command == "repair":
            self._damage(project)
        _write(data, 3)
        self._opened.append(project)

    def _make_home(self) -> Project:
        if not self.elsewhere:
            return Project.init(self.work)
        if self.home_url.startswith(str(self.folder)):
            Project.init(self.folder / "home").site.index.close()
        self.work.mkdir(parents=True)
        return Project.init(self.work, store=self.home_url)

    def _leave_rubbish(self, project: Project) -> None:
        """A version that was removed, and what somebody wrote who died before naming it."""
        project.remove(project.plan_removal(["data@v2"]), reason="a test")
        with project.site.vault.writer() as writer:
            writer.put_bytes(noise(20, _BIG))

    def _damage(self, project: Project) -> None:
        """A mirror, and a pack that is not as it was; nobody reads it here any more."""
        project.mirror(str(self.folder / "mirror"))
        store = LocalStore(self.folder / "home" / ".thence" / "store")
        key = max(store.list("packs/"), key=lambda info: info.size_bytes).key
        data = store.get(key)
        store.delete(key)
        store.create(key, [data[:1000], bytes([data[1000] ^ 1]), data[1001:]])

    def _leave_a_run(self, project: Project) -> None:
        """A run that has ended, and whose recorder could not reach the store any more."""
        site = project.site
        (self.work / "in.txt").write_bytes(noise(7, 50_000))
        gone = Rule(
            fault=Fault.FAIL_BEFORE,
            operations=frozenset({"create", "create_from_file"}),
            prefix="packs/",
            transient=False,
        )
        store = FaultyStore(site.vault.store, gone)
        vault = Vault(store, site.local / "cache", remote=site.vault.remote)
        broken = Project(replace(site, vault=vault))
        command = "cat in.txt in.txt > out.bin; echo said"
        before = Path.cwd()
        os.chdir(self.work)
        try:
            broken.execute(["sh", "-c", command])
        except StorageError:
            pass
        finally:
            os.chdir(before)

    def diverge(self, project: Project) -> None:
        """A clone with something of everything that waits, while others went on."""
        clone, _ = Project.clone(self.home_url, self.clone)
        data = self.clone / "data"
        _write(data, 4)
        clone.save_paths([data], name="data", note="of the clone")
        (self.clone / "more").write_bytes(noise(5, 150_000))
        clone.save_paths([self.clone / "more"])
        clone.alias("more", "first")
        clone.tag("more", {"a": "b"})
        self._opened.append(clone)
        (self.work / "data" / "f1").write_text("others")
        project.save_paths([self.work / "data"], name="data", note="of others")
        project.alias("data", "best")
        (self.work / "theirs").write_bytes(noise(6, 150_000))
        project.save_paths([self.work / "theirs"])

    def stores(self) -> dict[str, Store]:
        """The stores that are there, by name; the home is among them."""
        found: dict[str, Store] = {}
        if self._far is not None:
            found["home"] = self._far
        for path in sorted(self.folder.glob("*/.thence/store")):
            found[path.parents[1].name] = LocalStore(path)
        for path in sorted(self.folder.glob("*/project.json")):
            found[path.parent.name] = LocalStore(path.parent)
        return found


def _write(folder: Path, generation: int) -> None:
    folder.mkdir(exist_ok=True)
    for n in range(6):
        (folder / f"f{n}").write_text(f"small {n} of {generation if n % 2 else 0}\n" * 40)
    big = noise(1, _BIG)
    (folder / f"new-{generation}.bin").write_bytes(noise(10 + generation, _BIG))
    (folder / "big.bin").write_bytes(big[: _BIG // 2] + b"%d" % generation + big[_BIG // 2 :])


# What people do


def save(stage: Stage, acknowledge: Acknowledge) -> None:
    """A folder, and a file that nobody saved before."""
    project = stage.open()
    for path, name in ((stage.work / "data", "data"), (stage.work / "notes.txt", "copy")):
        (saved,) = project.save_paths([path], name=name, note="third")
        version = saved.version
        acknowledge(["version", str(version.artifact), version.number, str(version.tree)])


def alias(stage: Stage, acknowledge: Acknowledge) -> None:
    """An alias that others know moves, and one is new."""
    project = stage.open()
    for name, ref in (("best", "data@v2"), ("first", "data@v1")):
        version = project.alias(ref, name)
        acknowledge(["alias", "data", name, str(version.record)])


def rollback(stage: Stage, acknowledge: Acknowledge) -> None:
    """The first version is the latest one."""
    version = stage.open().rollback("data", "v1").version
    acknowledge(["version", "data", version.number, str(version.tree)])


def seal(stage: Stage, acknowledge: Acknowledge) -> None:
    """The run that waits in its spool is sealed."""
    for run in stage.open().recover():
        acknowledge(["run", str(run.run)])


def get(stage: Stage, acknowledge: Acknowledge) -> None:
    """An old version takes the place of another one."""
    project = stage.open()
    given = project.get("data@v1", stage.work / "out")
    wanted = {entry.path: str(entry.digest) for entry in project.files("data@v1")}
    there = {
        path.relative_to(given.target).as_posix(): str(Digest.of(path.read_bytes()))
        for path in given.target.rglob("*")
        if path.is_file() and not path.name.startswith(".thence-")
    }
    assert there == wanted
    acknowledge(["files", str(given.target)])


def _refuse(damaged: tuple[str, ...]) -> None:
    """As the command line does, at its end: what could not be read is left for the next time."""
    if damaged:
        raise DataDamaged("something was not copied", why=f"{damaged[0]} cannot be read.")


def push(stage: Stage, acknowledge: Acknowledge) -> None:
    """What waits in the clone goes home."""
    project = stage.open(stage.clone)
    sent = project.push()
    _refuse(sent.damaged)
    assert sent.conflicts == ()
    assert project.outbox() == []
    for name, number in (("data", 4), ("more", 1)):
        detail = project.show(f"{name}@v{number}")
        acknowledge(["version", name, number, str(detail.tree)])  # type: ignore[union-attr]


def pull(stage: Stage, acknowledge: Acknowledge) -> None:
    """What others did comes to the clone."""
    project = stage.open(stage.clone)
    _refuse(project.pull().damaged)
    for name, number in (("data", 3), ("theirs", 1)):
        detail = project.show(f"{name}@v{number}")
        acknowledge(["version", name, number, str(detail.tree)])  # type: ignore[union-attr]


def mirror(stage: Stage, acknowledge: Acknowledge) -> None:
    """A copy to read from."""
    stage.open().mirror(str(stage.folder / "mirror"))
    acknowledge(["mirror"])


def clone(stage: Stage, acknowledge: Acknowledge) -> None:
    """A fresh clone, which goes on where it was cut."""
    project, _ = Project.clone(stage.home_url, stage.folder / "fresh")
    project.site.index.close()
    acknowledge(["clone"])


def move(stage: Stage, acknowledge: Acknowledge) -> None:
    """The home moves to another store, and the folder becomes its clone."""
    project = stage.open()
    target = stage.folder / "new-home"
    if not (target / "project.json").is_file():  # else it is a home already, and refuses
        project.move_home(str(target))
    assert project.site.home is not None
    assert project.site.home.url == target.as_uri()
    acknowledge(["moved"])


def remove(stage: Stage, acknowledge: Acknowledge) -> None:
    """A version is removed."""
    project = stage.open()
    with suppress(NotFound):  # it is removed already
        project.remove(project.plan_removal(["data@v2"]), reason="a test")
    there = [one.number for one in project.history("data") if one.deletion is None]
    assert there == [1]
    acknowledge(["removed"])


def gc(stage: Stage, acknowledge: Acknowledge) -> None:
    """What nothing needs goes, in two phases, and nothing else does."""
    vault = stage.open().site.vault
    grace_s = 0.01 if vault.remote else 0.0
    dead = [Digest.of(noise(12, _BIG)), Digest.of(noise(20, _BIG))]
    for _ in range(100):
        with patch.object(collecting, "LEAST_GRACE_S", 0.0):
            collecting.collect(vault, by="ann", grace_s=grace_s)
        if all(vault.content.info(digest) is None for digest in dead):
            break
        time.sleep(0.02)
    else:
        raise AssertionError("what is dead does not go")
    acknowledge(["collected"])


def erase(stage: Stage, acknowledge: Acknowledge) -> None:
    """A file of a version goes at once, from every pack, and whoever asks is told."""
    site = stage.open().site
    wanted = erasing.plan(site, ["data@v2:new-2.bin"])
    erasing.erase(site, wanted, reason="a test")
    secret = noise(12, _BIG)
    for info in site.vault.store.list("packs/"):
        data = site.vault.store.get(info.key)
        assert not any(secret[at : at + 64] in data for at in range(0, _BIG - 64, 5000)), info.key
    acknowledge(["erased"])


def repair(stage: Stage, acknowledge: Acknowledge) -> None:
    """What is damaged is healed from a mirror."""
    project = stage.open()
    project.repair(others=[str(stage.folder / "mirror")])
    assert project.check(deep=True).checked.is_sound
    acknowledge(["repaired"])


COMMANDS: Mapping[str, Command] = {
    "save": save,
    "alias": alias,
    "rollback": rollback,
    "seal": seal,
    "get": get,
    "push": push,
    "pull": pull,
    "mirror": mirror,
    "clone": clone,
    "move": move,
    "remove": remove,
    "gc": gc,
    "erase": erase,
    "repair": repair,
}
