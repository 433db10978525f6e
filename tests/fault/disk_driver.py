"""A program that has a command run out of disk at each of its stages, and proves what is left.

    unshare --mount python disk_driver.py '{"command": "save", …}'

It mounts a small tmpfs, which only its own mount namespace sees, builds the stage there and fills
the disk but for some room: less than the command needs. A line of JSON at the end says how often
the disk was full, or what was wrong, or why no small disk can be had.
"""

import contextlib
import gc
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parent))

from fault_proof import prove
from fault_stage import Ack
from kill_driver import Job as KillJob
from kill_driver import Theatre, in_child

from thence.errors import DataDamaged, NotFound, ThenceError
from thence.formats import registry

__all__ = ["Job"]

_PAGE = 4096
_MIB = 1 << 20
# What was asked to go, and what is damaged from the beginning.
_EXCUSED: dict[str, tuple[type[ThenceError], ...]] = {
    "erase": (NotFound,),
    "repair": (DataDamaged,),
}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to do.

    Attributes:
        folder: Where to mount the disk.
        command: One of the commands of `fault_stage`.
        every: How many KiB of room more there are each time.
        first: How many KiB there are the first time.
    """

    folder: str
    command: str
    every: int
    first: int = 0


def free_bytes(disk: Path) -> int:
    """How much room a disk has."""
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def fill(disk: Path, left: int) -> Path:
    """Fill a disk but for some room."""
    filler = disk / "filler"
    size = free_bytes(disk) - left
    with filler.open("wb") as file:
        while size > 0:
            size -= file.write(bytes(min(size, _MIB)))
    return filler


def attempt(theatre: Theatre) -> list[str]:
    """The command, and what people read, on a disk that is full: what they were told."""
    told = []
    try:
        theatre.act()
    except ThenceError as error:
        said = f"{error.what} {error.why} {error.hint}"
        assert "full" in said or "No space" in said, f"not clear: {said}"
        told.append(said)
    finally:
        theatre.stage.close()
    # Nothing that was there is out of reach, although nothing can be written.
    project = theatre.stage.open()
    for version in project.history("data"):
        if version.deletion is not None:
            continue
        assert project.files(version.ref)
        for entry in project.files(version.ref):
            assert entry.digest is not None
            with contextlib.suppress(*_EXCUSED.get(theatre.job.command, ())):
                project.site.vault.content.read(entry.digest)
    assert project.load("notes") == "notes\n"
    theatre.stage.close()
    return told


def perform(job: Job, disk: Path) -> dict[str, Any]:
    """The command with more and more room, until it needs no more."""
    on_disk = KillJob(folder=str(disk / "theatre"), command=job.command, points=())
    theatre = Theatre(on_disk, notes=disk.parent)
    theatre.folder.mkdir()
    theatre.prepare()
    failures: list[str] = []
    said: list[str] = []
    full = 0
    for left in range(job.first * 1024, 64 * _MIB, job.every * 1024):
        theatre.reset()
        if job.command == "get":  # else what it replaces makes room
            shutil.rmtree(theatre.stage.work / "out")
        filler = fill(disk, left)
        done = in_child(lambda: attempt(theatre))
        filler.unlink()
        if done.status != 0:
            failures.append(f"{job.command} with {left} bytes of room: {done.told}")
            if len(failures) > 3:
                break
            continue

        def afterwards() -> None:
            told: list[Ack] = theatre.acknowledged()
            damaged = job.command == "repair"
            prove(theatre.stage, theatre.caches(), ids=theatre.ids, acks=told, damaged=damaged)
            theatre.act()
            everything = told + theatre.acknowledged()
            found = prove(theatre.stage, theatre.caches(), ids=theatre.ids, acks=everything)
            assert found == theatre.whole

        checked = in_child(afterwards)
        if checked.status != 0:
            failures.append(f"{job.command} after {left} bytes of room: {checked.told}")
        if not done.told:
            break
        full += 1
        said += done.told
    return {"full": full, "failures": failures, "said": sorted(set(said))[:5]}


def main(text: str) -> None:
    """Do a job."""
    job = msgspec.json.decode(text, type=Job)
    disk = Path(job.folder)
    disk.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        json.dump({"skip": done.stderr.strip()}, sys.stdout)
        return
    registry.sniff("warm.csv", b"a,b\n")
    gc.freeze()
    json.dump(perform(job, disk), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
