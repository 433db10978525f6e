"""A program that has a command die at each of its steps, and proves that nothing is lost.

    python kill_driver.py '{"command": "save", …}'

It imports everything once and forks for each death: the child opens the project, begins the
command and kills itself with SIGKILL at step n; another child then reads everything back, does the
command again, and compares what came of it with what comes of it without a death. A line of JSON
at the end says how many deaths there were, or what was wrong.
"""

import contextlib
import gc
import importlib
import itertools
import json
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

sys.path.insert(0, str(Path(__file__).parent))

from fault_proof import assert_sound, entry_ids, prove
from fault_stage import COMMANDS, Ack, Stage
from fault_wiring import small_parts

from thence.formats import registry
from thence.store import local as local_module
from thence.store.local import LocalStore
from thence.testing.faulty import WRITES

__all__ = ["OPERATIONS", "Job"]

DIED = -signal.SIGKILL
OPERATIONS = {name for name in vars(LocalStore) if not name.startswith("_")} - {"url", "root"}
_MOST = 2000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_EVENTS = {
    *("os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir"),
    *("os.utime", "os.chmod", "os.truncate"),
}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to do.

    Attributes:
        folder: Where; it is emptied.
        command: One of `COMMANDS`.
        points: Where it dies: `before` or `after` an operation of the store, `unnamed` when an
            object is written and has no name yet, `named` when it has one and its temporary name
            too, `system` before a call of the operating system that changes a file.
        elsewhere: The home is treated as a bucket is.
        every: Only each nth step of a point; all where it is not named.
        first: The first of them.
        writes: Of the operations of the store only those that change it.
    """

    folder: str
    command: str
    points: tuple[str, ...]
    elsewhere: bool = False
    every: dict[str, int] = {}
    first: int = 1
    writes: bool = False


class Done(NamedTuple):
    """How a child ended.

    Attributes:
        status: As of `os.waitstatus_to_exitcode`.
        told: What it said, as JSON; the traceback of what went wrong.
    """

    status: int
    told: Any


class Countdown:
    """Counts steps, and kills this process at one of them; 0 for never."""

    def __init__(self, die_at: int) -> None:
        self._die_at = die_at
        self._lock = threading.Lock()
        self.seen: list[str] = []

    def step(self, what: str) -> None:
        """One step."""
        with self._lock:
            self.seen.append(what)
            if len(self.seen) == self._die_at:
                os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], Any]) -> Done:
    """Do something in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            try:
                told, status = work(), 0
            except BaseException:
                told = traceback.format_exc()
            with os.fdopen(writing, "w") as pipe:
                json.dump(told, pipe)
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Done(status, json.loads(text) if text else None)


def as_bucket() -> None:
    """Treat every store that is connected to as a bucket."""
    from thence.execution import opening
    from thence.store import open as open_module
    from thence.vault import layout

    def is_far(store: object) -> bool:
        url = store if isinstance(store, str) else getattr(store, "url", str(store))
        return "/clone/" not in url and "/fresh" not in url

    for module in (opening, open_module, layout):
        vars(module)["is_remote"] = is_far


def arm(point: str, countdown: Countdown, *, writes: bool) -> None:
    """Have every step of this process counted, which may be its last."""
    if point == "system":
        _arm_system(countdown)
    elif point in {"unnamed", "named"}:
        for name in ("link_if_free", "move_if_free", "put_over"):
            _arm_naming(name, point, countdown)
    else:
        for name in sorted(WRITES if writes else OPERATIONS):
            _arm_operation(name, point, countdown)


def _arm_system(countdown: Countdown) -> None:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS:
            countdown.step(f"{event} {arguments[0]!r}")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            countdown.step(f"open {arguments[0]!r}")

    sys.addaudithook(hook)


def _arm_naming(name: str, point: str, countdown: Countdown) -> None:
    original = getattr(local_module, name)

    def naming(source: Any, folder: int, to: str, key: str) -> None:
        if point == "unnamed":
            countdown.step(f"{name} {key}")
        original(source, folder, to, key)
        if point == "named":
            countdown.step(f"{name} {key}")

    setattr(local_module, name, naming)


def _arm_operation(name: str, point: str, countdown: Countdown) -> None:
    original = getattr(LocalStore, name)

    def listing(store: LocalStore, *arguments: Any, **options: Any) -> Iterator[Any]:
        if point == "before":
            countdown.step(name)
        yield from original(store, *arguments, **options)
        if point == "after":
            countdown.step(name)

    def operation(store: LocalStore, key: str, *arguments: Any, **options: Any) -> Any:
        if point == "before":
            countdown.step(f"{name} {key}")
        result = original(store, key, *arguments, **options)
        if point == "after":
            countdown.step(f"{name} {key}")
        return result

    setattr(LocalStore, name, listing if name == "list" else operation)


class Theatre:
    """One command on its stage, again and again.

    Args:
        job: What to do.
        notes: A folder where it is noted what somebody was told; that of the job without.
    """

    def __init__(self, job: Job, notes: Path | None = None) -> None:
        self.job = job
        self.notes = (notes or Path(job.folder)) / "acknowledged"
        self.folder = Path(job.folder)
        self.stage = Stage(self.folder / "stage", elsewhere=job.elsewhere)
        self.numbers = itertools.count()
        self.ids: set[str] = set()
        self.whole: Any = None

    def caches(self) -> Path:
        """A place that nobody used."""
        return self.folder / f"caches-{next(self.numbers)}-{os.getpid()}"

    def prepare(self) -> None:
        """Build the stage, keep how it is, and see what comes of the command undisturbed."""

        def build() -> list[str]:
            self._adapt()
            self.stage.build(self.job.command)
            prove(self.stage, self.caches(), damaged=self.job.command == "repair")
            self.stage.close()
            return sorted(entry_ids(self.stage, self.caches()))

        self.ids = set(_succeeded(in_child(build)))
        self.stage.keep()

        def undisturbed() -> Any:
            self._adapt()
            for _ in range(2):
                self.act()
            told = prove(self.stage, self.caches(), ids=self.ids, acks=self.acknowledged())
            return told, [name for name in sys.modules if name.startswith("thence.")]

        self.whole, modules = _succeeded(in_child(undisturbed))
        for name in modules:
            importlib.import_module(name)  # here, so that no other child need do it
        gc.freeze()  # else the first collection of each child copies every page

    def _adapt(self) -> None:
        small_parts().__enter__()
        if self.job.elsewhere:
            as_bucket()

    def reset(self) -> None:
        """The stage as it was, and nobody was told anything."""
        self.stage.reset()
        self.notes.unlink(missing_ok=True)

    def act(self) -> None:
        """Do the command."""

        def acknowledge(ack: Ack) -> None:
            with self.notes.open("a") as file:
                file.write(json.dumps(ack) + "\n")
                file.flush()
                os.fsync(file.fileno())

        COMMANDS[self.job.command](self.stage, acknowledge)

    def acknowledged(self) -> list[Ack]:
        """What somebody was told."""
        with contextlib.suppress(FileNotFoundError):
            lines = self.notes.read_text().split("\n")[:-1]
            return [json.loads(line) for line in lines]
        return []

    def die(self, point: str, at: int) -> Done:
        """The command, which dies at a step; it says its steps where it does not."""

        def dying() -> list[str]:
            self._adapt()
            countdown = Countdown(at)
            arm(point, countdown, writes=self.job.writes)
            self.act()
            return countdown.seen

        return in_child(dying)

    def check(self, at: int) -> Done:
        """What another process finds, and what comes of the command done again."""

        def checking() -> None:
            self._adapt()
            told = self.acknowledged()
            if at % 2:  # somebody at another machine, or a cache that was cleared
                for cache in self.stage.folder.glob("*/.thence/cache"):
                    shutil.rmtree(cache)
            damaged = self.job.command == "repair"
            prove(self.stage, self.caches(), ids=self.ids, acks=told, damaged=damaged)
            if at % 4 == 1 and not damaged:
                assert_sound(self.stage)
            self.act()
            everything = told + self.acknowledged()
            found = prove(self.stage, self.caches(), ids=self.ids, acks=everything)
            assert found == self.whole, _difference(self.whole, found)
            if at % 4 == 3:
                assert_sound(self.stage)

        return in_child(checking)


def _succeeded(done: Done) -> Any:
    if done.status != 0:
        raise RuntimeError(f"status {done.status}: {done.told}")
    return done.told


def _difference(wanted: dict[str, Any], found: dict[str, Any]) -> str:
    keys = sorted({*wanted, *found})
    lines = [
        f"{key}: {wanted.get(key)} became {found.get(key)}"
        for key in keys
        if wanted.get(key) != found.get(key)
    ]
    return "\n".join(lines)


def perform(job: Job) -> dict[str, Any]:
    """All deaths of a job."""
    theatre = Theatre(job)
    theatre.prepare()
    kills: dict[str, int] = {}
    failures: list[str] = []
    for point in job.points:
        kills[point] = 0
        every = job.every.get(point, 1)
        # Not the same steps before as after.
        first = job.first + (every // 2 if point == "after" else 0)
        for at in range(first, _MOST, every):
            theatre.reset()
            died = theatre.die(point, at)
            if died.status == 0:
                break
            if died.status != DIED:
                failures.append(f"{job.command}, {point} step {at}: {died.told}")
                break
            done = theatre.check(at)
            if done.status != 0:
                failures.append(f"{job.command}, {point} step {at}: {done.told}")
                if len(failures) > 3:
                    return {"kills": kills, "failures": failures}
            kills[point] += 1
    return {"kills": kills, "failures": failures}


def main(text: str) -> None:
    """Do a job."""
    job = msgspec.json.decode(text, type=Job)
    registry.sniff("warm.csv", b"a,b\n")
    # What a killed process wrote is in the cache of the system: only a power failure asks for more.
    vars(os).update(fsync=lambda descriptor: None, fdatasync=lambda descriptor: None)
    json.dump(perform(job), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
