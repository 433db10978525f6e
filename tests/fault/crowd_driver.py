"""A program in which many processes work on one home at once, and which then reads everything back.

    python crowd_driver.py '{"folder": …, "roles": ["save", "save", "collect", …], "seconds": 5}'

Each process has a role and does it again and again. What it was told it notes; what it is about to
remove it notes before. A line of JSON at the end says how much each role did, or what was wrong.
"""

import json
import os
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

sys.path.insert(0, str(Path(__file__).parent))

from fault_proof import assert_sound, prove
from fault_stage import Stage
from kill_driver import as_bucket, in_child

from thence.errors import NotFound, ThenceError
from thence.formats import registry
from thence.project import Project
from thence.vault import gc as collecting

__all__ = ["Job"]

_GRACE_S = 0.3


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to do.

    Attributes:
        folder: Where; it is empty.
        roles: One for each process: `save`, `alias`, `remove`, `collect`, `read`.
        seconds: How long.
        elsewhere: The home is treated as a bucket is, and each process has its own folder; else
            all of them work in one.
    """

    folder: str
    roles: tuple[str, ...]
    seconds: float
    elsewhere: bool = False


class Worker:
    """One process."""

    def __init__(self, job: Job, number: int) -> None:
        self.number = number
        self.folder = Path(job.folder)
        self.root = self.folder / (f"work-{number}" if job.elsewhere else "home")
        self.dice = random.Random(number)
        self.ends = time.monotonic() + job.seconds
        self.done = 0
        home = self.folder / "home" / ".thence" / "store"
        if job.elsewhere:
            self.root.mkdir()
            self.project = Project.init(self.root, store=str(home))
        else:
            self.project = Project.open(self.root)

    def note(self, *words: Any) -> None:
        """Note what was told; another process reads it at the end."""
        with (self.folder / f"notes-{self.number}").open("a") as file:
            file.write(json.dumps(words) + "\n")

    def work(self, role: str) -> int:
        """Do a role until the time is over; how often it was done."""
        act: Callable[[], None] = getattr(self, role)
        while time.monotonic() < self.ends or self.done == 0:
            act()
            self.done += 1
        return self.done

    def save(self) -> None:
        """Save something that nobody saved, which has a part of what others save."""
        same = random.Random(self.done % 3).randbytes(60_000)
        data = same + self.dice.randbytes(self.dice.choice([10, 3_000, 90_000]))
        path = self.root / f"file-{self.number}"
        path.write_bytes(data)
        (saved,) = self.project.save_paths([path], name="data")
        self.note("saved", saved.version.number, sha256(data).hexdigest())

    def alias(self) -> None:
        """Point an alias of this process at a version."""
        version = self._some_version()
        if version is not None:
            try:
                self.project.alias(f"data@v{version}", f"mine-{self.number}")
            except NotFound:
                return
            self.note("alias", f"mine-{self.number}", version)

    def remove(self) -> None:
        """Remove a version, mostly while others read it."""
        version = self._some_version()
        if version is None:
            return
        self.note("removing", version)
        try:
            found = self.project.plan_removal([f"data@v{version}"])
            self.project.remove(found, reason="a test", force=True)
        except NotFound:
            return  # somebody else was faster
        time.sleep(0.1)

    def collect(self) -> None:
        """Collect what nothing needs, with hardly any grace."""
        try:
            with patch.object(collecting, "LEAST_GRACE_S", 0.0):
                done = collecting.collect(self.project.site.vault, by="x", grace_s=_GRACE_S)
        except NotFound:
            return  # another collector was faster
        self.note("collected", done.deleted_packs)

    def read(self) -> None:
        """Read a version as a whole; it is there, or it is removed."""
        version = self._some_version()
        if version is None:
            return
        try:
            (entry,) = self.project.files(f"data@v{version}")
            self.project.site.vault.content.read(entry.digest)
        except ThenceError as error:
            self.note("missed", version, f"{type(error).__name__}: {error}")

    def _some_version(self) -> int | None:
        try:
            found = [one.number for one in self.project.history("data") if one.deletion is None]
        except NotFound:
            return None  # nobody has saved yet
        return self.dice.choice(found) if found else None


def notes(folder: Path) -> Iterator[list[Any]]:
    """What all processes noted."""
    for path in sorted(folder.glob("notes-*")):
        yield from map(json.loads, path.read_text().splitlines())


def read_back(job: Job) -> dict[str, Any]:
    """Everything that was acknowledged reads back equal, and nothing is named without its bytes."""
    folder = Path(job.folder)
    told = list(notes(folder))
    removing = {version for kind, version, *_ in told if kind == "removing"}
    stage = Stage(folder)
    prove(stage, folder / "caches")
    project = stage.open()
    saved = {words[1]: words[2] for words in told if words[0] == "saved"}
    assert sorted(one.number for one in project.history("data")) == list(range(1, max(saved) + 1))
    for version, digest in saved.items():
        if version not in removing:
            (entry,) = project.files(f"data@v{version}")
            assert entry.digest is not None
            data = project.site.vault.content.read(entry.digest)
            assert sha256(data).hexdigest() == digest, f"v{version} has other bytes"
    missed = [words for words in told if words[0] == "missed" and words[1] not in removing]
    assert not missed, missed
    assert_sound(stage)
    stage.close()
    return {
        "saved": len(saved),
        "removed": len(removing),
        "deleted packs": sum(words[1] for words in told if words[0] == "collected"),
    }


def start(job: Job, number: int, role: str) -> int:
    """Begin a process; its id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if job.elsewhere:
                as_bucket()
            told = Worker(job, number).work(role)
            (Path(job.folder) / f"did-{number}").write_text(f"{role} {told}")
            status = 0
        except BaseException:
            (Path(job.folder) / f"failed-{number}").write_text(traceback.format_exc())
        finally:
            os._exit(status)
    return child


def main(text: str) -> None:
    """Do a job."""
    job = msgspec.json.decode(text, type=Job)
    registry.sniff("warm.csv", b"a,b\n")
    folder = Path(job.folder)
    folder.mkdir(parents=True)

    def make() -> None:
        Project.init(folder / "home").site.index.close()

    made = in_child(make)
    assert made.status == 0, made.told
    children = [start(job, number, role) for number, role in enumerate(job.roles)]
    failed = [child for child in children if os.waitpid(child, 0)[1]]
    failures = [path.read_text() for path in sorted(folder.glob("failed-*"))]
    counts: dict[str, int] = {}
    for path in folder.glob("did-*"):
        role, number = path.read_text().split()
        counts[role] = counts.get(role, 0) + int(number)
    done = in_child(lambda: read_back(job))
    if done.status != 0:
        failures.append(done.told)
    told = {"counts": counts, "failures": failures, "ended": len(failed), "found": done.told}
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
