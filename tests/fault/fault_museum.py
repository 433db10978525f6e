"""A project with every kind of object that there is, and everything that can be asked of it."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from fault_stage import Stage, noise
from fault_wiring import above_retry, small_parts, wired

from thence.errors import ThenceError
from thence.model.ids import Digest, RunId
from thence.project import Project
from thence.store.local import LocalStore
from thence.testing.faulty import FaultyStore
from thence.vault.live_segments import Piece, Pulse, Segments

__all__ = ["Museum", "Seen", "look"]


class Seen(NamedTuple):
    """An answer.

    Attributes:
        value: What was answered; None where it was an error.
        error: What was said instead.
    """

    value: Any
    error: ThenceError | None


Ask = Callable[[Project], Any]


class Museum:
    """A home, a clone of it with an outbox and a conflict; a home that is treated as a bucket.

    Args:
        folder: Where.
        elsewhere: The home is treated as a bucket is.
    """

    def __init__(self, folder: Path, *, elsewhere: bool) -> None:
        self.stage = Stage(folder / "stage", elsewhere=elsewhere)
        self._elsewhere = elsewhere
        with self.opened():
            self.stage.build("seal")
            project = self.stage.open()
            project.recover()
            self.stage.diverge(project)
            clone = self.stage.open(self.stage.clone)
            clone.alias("data@v1", "best")
            clone.push()
            self._leave_conflict(project, clone)
            self._leave_a_live_run(project)
            project.tag("data", {"seen": "yes"})
            project.refresh()
            clone.refresh()
            self.questions = dict(questions(project))
            self.in_clone = {**dict(questions(clone)), "outbox": lambda p: str(p.outbox())}
            self.good = look(project, self.questions)
            self.good_in_clone = look(clone, self.in_clone)
            assert not [one for one in self.good.values() if one.error], self.good
            self.stage.keep()

    def _leave_conflict(self, project: Project, clone: Project) -> None:
        """Both move an alias, and the clone saves something that waits."""
        clone.pull()
        project.alias("data@v2", "best")
        clone.alias("data@v1", "best")
        assert clone.push().conflicts
        (self.stage.clone / "late").write_bytes(noise(8, 60_000))
        clone.save_paths([self.stage.clone / "late"])

    def _leave_a_live_run(self, project: Project) -> None:
        segments = Segments(project.site.vault.store)
        run = RunId("ab" * 10)
        for number in (1, 2):
            line = b'{"type":"metric","name":"m","value":1.0,"at":"2026-11-23T10:00:00Z"}\n'
            segments.publish(run, Piece("main", number, line))
        segments.beat(run, Pulse(at=project.site.clock()))

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Within this, projects are opened as they were made."""

        def same(store: Any) -> FaultyStore:
            return FaultyStore(store)

        with (
            small_parts(),
            wired(same, above_retry, where="nowhere", bucket_like=self._elsewhere),
        ):
            try:
                yield
            finally:
                self.stage.close()

    def objects(self) -> dict[str, list[Path]]:
        """The files of the home's store, of the clone's own, and of the caches, by kind."""
        found: dict[str, list[Path]] = {}
        for name in ("home", "clone"):
            root = self.stage.folder / name / ".thence" / "store"
            for info in LocalStore(root).list():
                kind = _kind(info.key)
                if name == "home" or kind in {"outbox", "conflicts", "clone.json"}:
                    found.setdefault(kind, []).append(root / info.key)
        local = self.stage.work / ".thence"
        for path in sorted(local.rglob("*")):
            below = path.relative_to(local).parts
            if path.is_file() and below[0] != "store" and path.suffix not in {".lock", ".covers"}:
                found.setdefault(f"local {_local_kind(below)}", []).append(path)
        return found


def _kind(key: str) -> str:
    parts = key.split("/")
    if parts[0] != "refs":
        return parts[0]
    if parts[1] == "artifacts":
        return "refs of edits" if parts[-2] == "@edits" else "refs of versions"
    return f"refs of {parts[1]}"


def _local_kind(parts: tuple[str, ...]) -> str:
    return "/".join(parts[:2]) if parts[0] == "cache" else parts[0]


def questions(project: Project) -> Iterator[tuple[str, Ask]]:
    """Everything that can be asked, by what it is called."""
    yield "ls", lambda p: [(one.name, one.kind, one.description) for one in p.ls()]
    yield "runs", lambda p: [(str(one.run), one.status) for one in p.runs()]
    for artifact in project.ls():
        name = str(artifact.name)
        yield f"history {name}", partial(_history, name)
        yield f"aliases {name}", partial(_aliases, name)
        for version in project.history(name):
            ref = version.ref
            yield f"show {ref}", partial(_show, ref)
            yield f"files {ref}", partial(_files, ref)
            for entry in project.files(ref):
                yield f"content {entry.digest}", partial(_read, entry.digest)
    for run in project.runs():
        ref = f"run:{run.run}"
        yield f"show {ref}", partial(_show, ref)
        yield f"uses of {ref}", partial(_run_files, ref)
        for use in project.run_files(ref):
            if use.digest is not None:
                yield f"content {use.digest}", partial(_read, use.digest)
    yield "load notes", lambda p: p.load("notes")


def _history(name: str, project: Project) -> list[Any]:
    found = project.history(name)
    return [(one.number, str(one.tree), one.note, sorted(one.tags.items())) for one in found]


def _aliases(name: str, project: Project) -> list[Any]:
    found = project.alias_history(name)
    return [(str(one.alias), one.number, one.version) for one in found]


def _show(ref: str, project: Project) -> str:
    return repr(project.show(ref))


def _files(ref: str, project: Project) -> list[Any]:
    return [(one.path, one.size, str(one.digest)) for one in project.files(ref)]


def _run_files(ref: str, project: Project) -> list[Any]:
    return [(one.path, str(one.role), str(one.digest)) for one in project.run_files(ref)]


def _read(digest: Digest, project: Project) -> str:
    return sha256(project.site.vault.content.read(digest)).hexdigest()


def look(project: Project, asked: dict[str, Ask]) -> dict[str, Seen]:
    """All answers; what is not an error of ours is raised."""
    seen = {}
    for name, ask in asked.items():
        try:
            seen[name] = Seen(ask(project), None)
        except ThenceError as error:
            seen[name] = Seen(None, error)
    return seen


def clear_caches(folder: Path) -> None:
    """As another machine sees it."""
    import shutil

    for cache in folder.glob("*/.thence/cache"):
        shutil.rmtree(cache)


class Warnings(logging.Handler):
    """Collects what is said on the side."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.said.append(record.getMessage())


@contextmanager
def listening() -> Iterator[list[str]]:
    """Within this, warnings are collected."""
    handler = Warnings()
    log = logging.getLogger("thence")
    log.addHandler(handler)
    try:
        yield handler.said
    finally:
        log.removeHandler(handler)


def overwrite(path: Path, data: bytes) -> None:
    """Put other bytes at a path, whoever else has the file by another name."""
    mode = path.stat().st_mode
    path.unlink()
    path.write_bytes(data)
    os.chmod(path, mode)
