"""A project that has every kind of object, with a clone and a mirror of it, and ways to hurt it."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from unittest import mock

from team import NOW, Member, Team
from thence.model import codec
from thence.model.ids import RunId
from thence.model.names import Alias, ArtifactName
from thence.model.records import (
    AliasMove,
    ArtifactEdit,
    FileRole,
    FileUse,
    MetricPoint,
    RunOpened,
    RunSealed,
    RunStatus,
    SensorReport,
    Tombstone,
    VersionEdit,
    decode_entry,
    encode_lines,
)
from thence.store.base import Store
from thence.store.memory import MemoryStore
from thence.vault import recipe
from thence.vault.healing import Source
from thence.vault.live_segments import Piece, Pulse, Segments
from thence.vault.logs import edits_log, run_log
from thence.vault.replica import mirror
from thence.vault.sync import pull
from thence.vault.vault import Vault

__all__ = ["ACTIONS", "Everything", "copy_of", "short_lists"]


@contextmanager
def short_lists() -> Iterator[None]:
    """Recipes have lists from a few chunks on, as those of many gigabytes have."""
    with (
        mock.patch.object(recipe, "_TOP", 4),
        mock.patch.object(recipe, "_LIST_MINIMUM", 2),
        mock.patch.object(recipe, "_LIST_MAXIMUM", 4),
    ):
        yield


def copy_of(store: Store) -> MemoryStore:
    """Another store with the same objects."""
    copied = MemoryStore()
    for info in store.list():
        copied.create(info.key, [store.get(info.key)])
    return copied


def flip(store: Store, key: str, at: float) -> None:
    """Change one bit of an object, at a part of its length."""
    data = bytearray(store.get(key))
    place = min(len(data) - 1, int(at * len(data)))
    data[place] ^= 1 << (place % 8)
    store.replace(key, [bytes(data)])


def truncate(store: Store, key: str, at: float) -> None:
    """Cut an object off."""
    data = store.get(key)
    store.replace(key, [data[: min(len(data) - 1, int(at * len(data)))]])


def delete(store: Store, key: str, at: float) -> None:
    """Remove an object."""
    store.delete(key)


ACTIONS: dict[str, Callable[[Store, str, float], None]] = {
    "flip": flip,
    "truncate": truncate,
    "delete": delete,
}


class Everything:
    """The project.

    Attributes:
        home: Its home.
        clone: A clone, with something in its outbox and a conflict.
        mirror: A mirror.
        contents: Every version's bytes by its ref.
    """

    def __init__(self, folder: Path, *, remote: bool = False, seed: int = 1) -> None:
        self.folder = folder
        self.team = Team(folder, remote=remote)
        self._random = random.Random(seed)
        self.contents: dict[str, bytes] = {}
        home = self.team.at_home()
        self._fill(home)
        self.home = self.team.home
        self.clone = MemoryStore()
        member = self.team.clone("ada", store=self.clone)
        self.mirror = MemoryStore()
        mirror(self.team.home_vault(), self.vault(self.mirror))
        self._diverge(home, member)

    def _fill(self, home: Member) -> None:
        large = self._random.randbytes(1_500_000)
        self._save(home, "model", large)
        edited = bytearray(large)
        edited[700_000:700_010] = b"0123456789"
        self._save(home, "model", bytes(edited))
        for number in range(3):
            self._save(home, "data", f"x\n{number}\n".encode() * (number + 1))
        self._save(home, "notes", self._random.randbytes(30_000).hex().encode())
        home.save("scratch", b"to be removed")
        self._save(home, "scratch", b"to be kept")
        self._edit(home)
        home.move("model", "champion", "v1")
        home.move("model", "champion", "v2")
        self.run = home.log_run(b"output of the run")
        self._run_with_everything(home)
        self._going_on(home)
        home.vault.condemned.put([b"\7" * 32], by="a collection")

    def _save(self, member: Member, name: str, data: bytes) -> None:
        number = member.save(name, data)
        self.contents[f"{name}@v{number}"] = data

    def _edit(self, home: Member) -> None:
        card = home.content(b"# A card\n")
        about = home.content(b"# About models\n")
        edits = edits_log(ArtifactName("model"))
        first = home.find("model@v1").entry.digest
        home.vault.append(edits, VersionEdit(version=first, note="first", card=card), by="ada")
        told = ArtifactEdit(artifact=ArtifactName("model"), description="it", card=about)
        home.vault.append(edits, told, by="ada")
        gone = home.find("scratch@v1").entry.digest
        stone = Tombstone(version=gone, reason="not needed")
        home.vault.append(edits_log(ArtifactName("scratch")), stone, by="ada")

    def _run_with_everything(self, home: Member) -> None:
        run = RunId("0123456789abcdef0123")
        opened = decode_entry(home.vault.numbered.read(run_log(self.run), 1) or b"").record
        assert isinstance(opened, RunOpened)
        told = {
            "run": run, "command": opened.command, "root": "/", "cwd": ".", "started": NOW,
            "author": "ada", "host": opened.host,
        }  # fmt: skip
        home.vault.append(run_log(run), RunOpened(**told), by="ada")  # type: ignore[arg-type]
        series = home.content(
            encode_lines([MetricPoint(name="auc", value=n / 7, step=n) for n in range(900)])
        )
        made = home.content(b"made by a run")
        uses = [FileUse(path="made.txt", role=FileRole.OUTPUT, size=13, digest=made)]
        sealed = RunSealed(
            **told,  # type: ignore[arg-type]
            ended=NOW + timedelta(seconds=5),
            status=RunStatus.FINISHED,
            sensor=SensorReport(name="audit-hook", completeness="partial"),
            series=series,
            files=home.content(encode_lines(uses)),
            environment=home.content(codec.encode({"python": "3.11"})),
        )
        home.vault.append(run_log(run), sealed, by="ada")

    def _going_on(self, home: Member) -> None:
        segments = Segments(home.vault.store)
        run = RunId("fedcba9876543210fedc")
        segments.publish(run, Piece("1", 1, b'{"type":"metric"}\n'))
        segments.beat(run, Pulse(at=NOW))

    def _diverge(self, home: Member, member: Member) -> None:
        """Something waits in the clone, and an alias was moved here and there."""
        member.move("model", "champion", "v1")
        home.move("data", "best", "v1")
        home.move("model", "champion", "v2")
        home.vault.append(
            "refs/aliases/model/@champion",
            lambda tail: self._other_move(home),
            by="ada",
        )
        pull(member.vault, home.vault)
        member.save("offline", b"made on a train")
        member.save("offline", b"made on a train, later")

    def _other_move(self, home: Member) -> AliasMove:
        return AliasMove(
            artifact=ArtifactName("model"),
            alias=Alias("champion"),
            version=None,
            previous=home.find("model@v2").entry.digest,
        )

    def vault(self, store: Store, *, clone: bool = False, remote: bool | None = None) -> Vault:
        """A vault as a process has it that never saw the store."""
        place = self.folder / f"fresh-{random.randbytes(6).hex()}"
        return Vault(
            store, place, clone=clone, remote=self.team.remote if remote is None else remote
        )

    def source(self, store: Store) -> Source:
        """A store to heal from."""
        return Source(store.url, self.vault(store))

    def reads(self, vault: Vault) -> dict[str, bytes]:
        """Every version's bytes as they can be read."""
        member = Member("reader", vault, vault)
        return {name: member.read(name) for name in self.contents}

    def keys(self, store: Store) -> list[str]:
        """All objects."""
        return [info.key for info in store.list()]
