"""A team on one project: a home, and clones that work without it."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from thence.model.ids import Digest, RunId
from thence.model.names import Alias, ArtifactName, VersionRef, parse_ref
from thence.model.records import (
    Entry,
    FileRole,
    FileUse,
    Host,
    Kind,
    RunOpened,
    RunSealed,
    RunStatus,
    SensorReport,
    decode_entry,
    encode_lines,
)
from thence.store.base import Store
from thence.store.memory import MemoryStore
from thence.vault import tree
from thence.vault.artifacts import Artifacts, Draft
from thence.vault.choosing import Chosen, choose
from thence.vault.layout import make_project
from thence.vault.logs import alias_log, run_log, versions_log
from thence.vault.pushing import Pushed, push
from thence.vault.sync import Pulled, pull
from thence.vault.tree import TreeEntry
from thence.vault.vault import Vault

__all__ = ["NOW", "Member", "Team", "objects", "ref"]

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


def ref(text: str) -> VersionRef:
    """A ref to a version."""
    parsed = parse_ref(text)
    assert isinstance(parsed, VersionRef)
    return parsed


def objects(store: Store, prefix: str = "refs/") -> dict[str, bytes]:
    """Every object below a prefix."""
    return {info.key: store.get(info.key) for info in store.list(prefix)}


class Member:
    """Somebody who works in a vault: a clone, or the home itself."""

    def __init__(self, name: str, vault: Vault, home: Vault) -> None:
        self.name = name
        self.vault = vault
        self.home = home
        self.artifacts = Artifacts(vault, author=name)
        self._ids = itertools.count(1)

    def content(self, data: bytes) -> Digest:
        """Keep some bytes."""
        with self.vault.writer(lanes=1) as writer:
            return writer.put_bytes(data).digest

    def save(
        self,
        name: str,
        data: bytes,
        *,
        kind: Kind = Kind.DATASET,
        run: RunId | None = None,
        strict_kind: bool = False,
    ) -> int:
        """Save a version of one file; its number."""
        with self.vault.writer(lanes=1) as writer:
            info = writer.put_bytes(data)
            listed = tree.encode([TreeEntry("file", info.size_bytes, info.digest)])
            root = writer.put_bytes(listed).digest
        draft = Draft(
            ArtifactName(name), kind, root, len(data), 1, run=run, strict_kind=strict_kind
        )
        return self.artifacts.commit(draft, now=NOW, session=writer.session).number

    def move(self, name: str, alias: str, selector: str = "latest") -> None:
        """Point an alias at a version."""
        target = self.find(f"{name}@{selector}").entry.digest
        self.artifacts.move_alias(ArtifactName(name), Alias(alias), target)

    def log_run(
        self,
        output: bytes = b"out",
        *,
        run: RunId | None = None,
        files: Digest | None = None,
        makes: tuple[Digest, ...] = (),
    ) -> RunId:
        """A run with an output and its text; or with a list of files that was put before."""
        run = run or RunId.from_bytes(self.vault.new_id().encode()[:10])
        host = Host(name="machine", system="Linux", release="6", machine="x86_64")
        told = {"command": ("train",), "root": "/", "cwd": ".", "host": host}
        self.vault.append(
            run_log(run),
            RunOpened(run=run, started=NOW, author=self.name, **told),  # type: ignore[arg-type]
            by=self.name,
        )
        with self.vault.writer(lanes=1) as writer:
            stdout = writer.put_bytes(b"said " + output).digest
            made = writer.put_bytes(output).digest
            uses = [FileUse(path="out", role=FileRole.OUTPUT, size=len(output), digest=made)]
            files = files or writer.put_bytes(encode_lines(uses)).digest
        sealed = RunSealed(
            run=run,
            started=NOW,
            ended=NOW + timedelta(seconds=1),
            status=RunStatus.FINISHED,
            author=self.name,
            sensor=SensorReport(name="audit-hook", completeness="partial"),
            stdout=stdout,
            files=files,
            makes=makes,
            **told,  # type: ignore[arg-type]
        )
        self.vault.append(run_log(run), sealed, by=self.name, session=writer.session)
        return run

    def find(self, text: str) -> Chosen:
        """The version that a ref names here, the outbox included."""
        return choose(self.vault.logs, ref(text))

    def read(self, text: str) -> bytes:
        """The bytes of the file of a version."""
        (entry,) = tree.decode(self.vault.content.read(self.find(text).version.tree))
        assert entry.digest is not None
        return self.vault.content.read(entry.digest)

    def history(self, name: str) -> list[Entry]:
        """The versions that have numbers of the home's."""
        log = versions_log(ArtifactName(name))
        return [decode_entry(data) for _, data in self.vault.numbered.after(log, 0)]

    def alias(self, name: str, alias: str) -> Digest | None:
        """Where an alias points, as far as this one knows, by numbered moves."""
        log = alias_log(ArtifactName(name), Alias(alias))
        target = None
        for _, data in self.vault.numbered.after(log, 0):
            target = getattr(decode_entry(data).record, "version", None)
        return target

    def waiting(self) -> list[tuple[str, int]]:
        """What waits: logs and numbers."""
        assert self.vault.outbox is not None
        return [(one.log, one.number) for one in self.vault.outbox.waiting()]

    def push(self) -> Pushed:
        """Send what waits home."""
        return push(self.vault, self.home)

    def pull(self, only: str | None = None) -> Pulled:
        """Get what the home has."""
        return pull(self.vault, self.home, only=None if only is None else ref(only))


class Team:
    """Makes a home and its clones.

    Args:
        folder: For caches.
        home: The store of the home.
        remote: The home is like a bucket.
        around: Puts something between a vault and its store.
    """

    def __init__(
        self,
        folder: Path,
        home: Store | None = None,
        *,
        remote: bool = False,
        around: Callable[[Store], Store] = lambda store: store,
    ) -> None:
        self.folder = folder
        self.remote = remote
        self.home = home or MemoryStore()
        self._around = around
        self._caches = itertools.count()
        make_project(self.home, project_id="p" * 32, now=NOW)

    def home_vault(self, store: Store | None = None) -> Vault:
        """The home, as a process sees it that never saw it."""
        cache = self.folder / f"cache-{next(self._caches)}"
        return Vault(self._around(store or self.home), cache, remote=self.remote)

    def at_home(self, name: str = "home") -> Member:
        """Somebody who works in the home itself."""
        vault = self.home_vault()
        return Member(name, vault, vault)

    def clone(self, name: str, *, store: Store | None = None, only: str | None = None) -> Member:
        """Somebody with a clone."""
        member = self.reopen(name, store or MemoryStore())
        member.pull(only)
        return member

    def reopen(self, name: str, store: Store) -> Member:
        """Another process of a clone."""
        vault = Vault(store, self.folder / f"clone-{name}", clone=True)
        return Member(name, vault, self.home_vault())
