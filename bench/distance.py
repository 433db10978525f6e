"""What a project in a bucket far away costs: requests for one artifact of 1,000 packs, waits.

The server is SeaweedFS on loopback; requests are what it counted. For the waits each request comes
to it 30 ms late. Seconds are those of whole commands, the start of Python included.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from bench.team import Bench
from seaweed import OWNER, S3Server, seaweed
from wire import wire_to

PACKS = max(300, int(1_000 * float(os.environ.get("THENCE_BENCH_SCALE", "1"))))
WRITERS = 4
DELAY_S = 0.03
ROUNDS = 3

_WRITE = """
import sys
from thence.project import Project

project = Project.init(sys.argv[1], store=sys.argv[2])
for number in range(int(sys.argv[3]), int(sys.argv[4])):
    project.save({"number": number}, f"thing-{number:05d}")
"""
_STEPS = ("save one small file", "ls", "push of one small version", "pull, nothing new")
_THENCE = (sys.executable, "-m", "thence", "-q")


class Cost(NamedTuple):
    """What a command took."""

    wall_s: float
    requests: int


class Far:
    """One server, and commands that are timed."""

    def __init__(self, bench: Bench, root: Path) -> None:
        self._bench = bench
        self._root = root
        self._folders = 0

    def folder(self) -> Path:
        """A new one."""
        self._folders += 1
        path = self._root / f"folder-{self._folders}"
        path.mkdir()
        return path

    def thence(self, *arguments: str, cwd: Path) -> Cost:
        """What a command takes."""
        before = self._bench.counted()[0]
        begun = time.perf_counter()
        self._bench.run(*_THENCE, *arguments, cwd=cwd)
        wall = time.perf_counter() - begun
        return Cost(wall, int(self._bench.counted()[0] - before))

    def cold_get(self, url: str) -> Cost:
        """Get one artifact by a client that knows nothing: both commands together."""
        folder = self.folder()
        joined = self.thence("init", "--store", url, cwd=folder)
        got = self.thence("get", f"thing-{PACKS // 2:05d}", "out", cwd=folder)
        return Cost(joined.wall_s + got.wall_s, joined.requests + got.requests)


def run() -> list[dict[str, Any]]:
    """All rows."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="thence-bench-")))
        server = stack.enter_context(seaweed(root, metrics=True))
        bench = Bench(server, root)
        bench.warm_up("bench")
        wire = stack.enter_context(wire_to(urlsplit(server.endpoint).port or 0))
        distant = S3Server(wire.url, OWNER)
        far = Far(bench, root)
        url = server.url("bench", "packs")
        _fill(far, bench, url)
        return [*_cold(far, bench, url), *_waits(far, distant, wire.__setattr__)]


def _fill(far: Far, bench: Bench, url: str) -> None:
    """A project of so many packs: several processes save as many small things, one by one."""
    bench.run(*_THENCE, "init", "--store", url, cwd=far.folder())
    each = -(-PACKS // WRITERS)
    writers = []
    for first in range(0, PACKS, each):
        arguments = [str(far.folder()), url, str(first), str(min(PACKS, first + each))]
        writers.append(subprocess.Popen([sys.executable, "-c", _WRITE, *arguments], env=bench.env))
    if any(writer.wait() for writer in writers):
        raise RuntimeError("the project could not be filled")


def _cold(far: Far, bench: Bench, url: str) -> Iterator[dict[str, Any]]:
    """The requests of a cold get, with less and less of what helps to find things."""
    client = bench.server.client()
    dropped: set[str] = set()

    def drop(folder: str) -> None:
        pages = client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket="bench", Prefix=f"packs/{folder}/"):
            for found in page.get("Contents", ()):
                client.delete_object(Bucket="bench", Key=found["Key"])

    # The first one who lists it all makes a checkpoint, of which the others have the use.
    far.thence("init", "--store", url, cwd=(teammate := far.folder()))
    far.thence("ls", cwd=teammate)
    goal: float | None = 40
    for missing in ((), ("index",), ("hints",), ("hints", "directories"), ("index",)):
        dropped.update(missing)
        for folder in missing:
            drop(folder)
        cost = far.cold_get(url)
        without = ", ".join(f"{folder}/" for folder in sorted(dropped))
        yield {
            "what": f"one small artifact out of {PACKS:,} packs, cold"
            + (f", without {without}" if without else ""),
            "measured": float(cost.requests),
            "unit": "req",
            "goal": goal,
            "wall_s": cost.wall_s,
        }
        goal = None
        dropped.discard("index")  # the client that had to do without made it again


def _waits(far: Far, distant: S3Server, set_wire: Any) -> Iterator[dict[str, Any]]:
    """Seconds of the commands of every day where each request takes 30 ms more."""
    url = distant.url("bench", "far")
    set_wire("delay_s", 0.0)
    worker = far.folder()
    (worker / "first.txt").write_text("first")
    far.thence("init", "--store", url, cwd=worker)
    far.thence("save", "first.txt", cwd=worker)
    clone = far.folder()
    far.thence("clone", url, ".", cwd=clone)
    set_wire("delay_s", DELAY_S)
    costs: dict[str, list[Cost]] = {}
    for number in range(ROUNDS):
        (worker / f"new-{number}.txt").write_text(f"new {number}")
        (clone / f"mine-{number}.txt").write_text(f"mine {number}")
        far.thence("save", f"mine-{number}.txt", cwd=clone)
        steps: Sequence[tuple[str, Cost]] = (
            (_STEPS[0], far.thence("save", f"new-{number}.txt", cwd=worker)),
            (_STEPS[1], far.thence("ls", cwd=worker)),
            (_STEPS[2], far.thence("push", cwd=clone)),
            ("pull of one small version", far.thence("pull", cwd=clone)),
            (_STEPS[3], far.thence("pull", cwd=clone)),
            ("cold get", _cold_get_of_first(far, url)),
        )
        for step, cost in steps:
            costs.setdefault(step, []).append(cost)
    for step, found in costs.items():
        best = min(found, key=lambda cost: cost.wall_s)
        yield {
            "what": f"30 ms for each request: {step}",
            "measured": best.wall_s,
            "unit": "s",
            "goal": None,
            "requests": best.requests,
        }


def _cold_get_of_first(far: Far, url: str) -> Cost:
    folder = far.folder()
    joined = far.thence("init", "--store", url, cwd=folder)
    got = far.thence("get", "first.txt", "out", cwd=folder)
    return Cost(joined.wall_s + got.wall_s, joined.requests + got.requests)
