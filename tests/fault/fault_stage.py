"""A small project with something of everything, what people do with it, and what must hold after.

The same stage serves the tests that kill, fill disks, break stores and damage files. A command may
be done again at any time: it then says the same and adds nothing.
"""

import json
import os
import random
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from thence.errors import StorageError
from thence.model import codec
from thence.model.ids import Digest
from thence.model.numbers import is_local
from thence.model.records import (
    Entry,
    FileUse,
    RunSealed,
    Version,
    decode_entry,
    decode_lines,
)
from thence.project import Project
from thence.store.base import Store
from thence.store.local import LocalStore
from thence.store.open import connect
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault.references import digests_in, roots_of
from thence.vault.vault import Vault

__all__ = ["COMMANDS", "Ack", "Acknowledge", "Command", "Stage", "entry_ids", "prove"]

Ack = list[Any]
"""What somebody was told: `["version", name, number, tree]`, `["alias", …]`, `["run", id]`."""

Acknowledge = Callable[[Ack], None]
Command = Callable[["Stage", Acknowledge], None]

_BIG = 250_000
# What another moment, another process or another number would make different.
_VOLATILE = {"created", "started", "ended", "at", "files", "sensor"}


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
        if command in {"seal", "gc"}:
            self._leave_a_run(project)
        if command in {"push", "pull"}:
            self.diverge(project)
        if command == "get":
            project.get("data@v2", self.work / "out")
        _write(data, 3)
        self._opened.append(project)

    def _make_home(self) -> Project:
        if not self.elsewhere:
            return Project.init(self.work)
        if self.home_url.startswith(str(self.folder)):
            Project.init(self.folder / "home").site.index.close()
        self.work.mkdir(parents=True)
        return Project.init(self.work, store=self.home_url)

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


def push(stage: Stage, acknowledge: Acknowledge) -> None:
    """What waits in the clone goes home."""
    project = stage.open(stage.clone)
    sent = project.push()
    assert (sent.conflicts, sent.damaged) == ((), ())
    assert project.outbox() == []
    for name, number in (("data", 4), ("more", 1)):
        detail = project.show(f"{name}@v{number}")
        acknowledge(["version", name, number, str(detail.tree)])  # type: ignore[union-attr]


def pull(stage: Stage, acknowledge: Acknowledge) -> None:
    """What others did comes to the clone."""
    project = stage.open(stage.clone)
    assert project.pull().damaged == ()
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
    if project.site.home is None:
        project.move_home(str(target))
    assert project.site.home is not None
    assert project.site.home.url == target.as_uri()
    acknowledge(["moved"])


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
}


# What must hold


def _vaults(stage: Stage, caches: Path) -> Iterator[tuple[str, Vault]]:
    for name, store in stage.stores().items():
        in_clone = name != "home" and store.head("clone.json") is not None
        yield name, Vault(store, caches / f"{name}-{os.urandom(4).hex()}", clone=in_clone)


class _Named(NamedTuple):
    log: str
    number: int
    entry: Entry


def _entries(vault: Vault) -> Iterator[_Named]:
    """Every entry that is named; a log has no gap."""
    last: dict[str, int] = {}
    for log, number in vault.logs.all():
        data = vault.logs.read(log, number)
        assert data is not None, f"{log} {number} is listed and not there"
        if not is_local(number):
            assert number == last.get(log, 0) + 1, f"{log} has a gap before {number}"
        last[log] = number
        yield _Named(log, number, decode_entry(data))


def entry_ids(stage: Stage, caches: Path) -> set[str]:
    """The ids of all entries, wherever they are by now."""
    return {one.entry.id for _, vault in _vaults(stage, caches) for one in _entries(vault)}


def prove(
    stage: Stage, caches: Path, *, ids: Collection[str] = (), acks: Sequence[Ack] = ()
) -> dict[str, Any]:
    """No name without its bytes, and nothing that was told before is gone.

    Args:
        stage: Where.
        caches: A folder for caches that know nothing yet; it is removed.
        ids: Of entries that must be there.
        acks: What somebody was told.

    Returns:
        What all stores say, without what differs from one moment to the next, as JSON.
    """
    found: set[str] = set()
    known: list[Ack] = []
    all_entries: list[tuple[str, Vault, list[_Named]]] = []
    for name, vault in _vaults(stage, caches):
        entries = list(_entries(vault))
        all_entries.append((name, vault, entries))
        found.update(one.entry.id for one in entries)
        known += _told(entries)
        read: set[bytes] = set()
        for root in roots_of(one.entry for one in entries).roots:
            data = vault.content.read(root.digest)
            assert Digest.of(data) == root.digest, f"{name}: {root} has other bytes"
            read.add(root.digest.raw)
            for raw in digests_in(root.kind, [data]):
                if raw not in read:
                    assert Digest.of(vault.content.read(Digest(raw))).raw == raw
                    read.add(raw)
    assert {*ids} <= found, f"entries are gone: {({*ids}) - found}"
    for ack in acks:
        if ack[0] in {"version", "alias", "run"}:
            assert ack in known, f"{ack} was acknowledged, and is not there"
    told = _essence(all_entries)
    shutil.rmtree(caches, ignore_errors=True)
    return told


def _told(entries: Iterable[_Named]) -> Iterator[Ack]:
    for log, number, entry in entries:
        record = entry.record
        if isinstance(record, Version):
            yield ["version", str(record.artifact), number, str(record.tree)]
        elif isinstance(record, RunSealed):
            yield ["run", str(record.run)]
        elif log.startswith("refs/aliases/"):
            told = json.loads(codec.encode(record))
            yield ["alias", told["artifact"], told["alias"], told["version"]]


def _essence(entries: Sequence[tuple[str, Vault, list[_Named]]]) -> dict[str, Any]:
    names = {
        str(one.entry.digest): f"{one.entry.record.artifact}@{one.number}"
        for _, _, some in entries
        for one in some
        if isinstance(one.entry.record, Version) and not is_local(one.number)
    }

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items() if key not in _VOLATILE}
        if isinstance(value, list):
            return [plain(one) for one in value]
        return names.get(value, value) if isinstance(value, str) else value

    told: dict[str, Any] = {}
    for name, vault, some in entries:
        for log, number, entry in some:
            summary = plain(json.loads(codec.encode(entry.record)))
            if isinstance(entry.record, RunSealed) and entry.record.files is not None:
                uses = decode_lines(vault.content.read(entry.record.files), FileUse)
                summary["uses of files"] = sorted(
                    [str(one.role), one.path, str(one.digest), one.version is not None]
                    for one in uses
                )
            told[f"{name}: {log} {number}"] = summary
        told[f"{name}: is a clone"] = vault.outbox is not None
    return told
