"""What a collection takes, and that it takes nothing else: 100,000 contents, 1 % of them dead.

Two processes save all the time, some of it what is dead, and a run goes on that began before the
removals of half of it. Everything that anybody was told is saved is read at the end. The period of
grace is short, so that nobody waits for a day; nothing of what keeps content safe depends on it.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench.team import Bench
from seaweed import seaweed

CONTENTS = max(1_000, int(100_000 * float(os.environ.get("THENCE_BENCH_SCALE", "1"))))
PARTS = 10
SIZE = 4_000
LOCAL_GRACE_S = 3
BUCKET_GRACE_S = 60

_WRITER = """
import hashlib, itertools, json, os, random, sys
from pathlib import Path
from thence.errors import Conflict
from thence.project import Project

root, stop, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
os.chdir(root)
project = Project.open(root)
dice = random.Random(seed)
told = []
for number in itertools.count():
    if stop.exists():
        break
    data = dice.randbytes(4_000)
    if number % 5 == 0:  # what is dead, or is about to be
        data = random.Random(f"gone-{dice.randrange(20)}").randbytes(4_000)
    path = root / f"writer-{seed}.bin"
    path.write_bytes(data)
    try:
        saved = project.save(path, f"writer-{seed}")
    except Conflict:
        continue
    told.append([saved.tree.hex, hashlib.sha256(data).hexdigest()])
Path(sys.argv[4]).write_text(json.dumps(told))
"""
_RUN = "import sys, time, pathlib\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.2)"


def run() -> list[dict[str, Any]]:
    """All rows."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="thence-bench-")))
        rows = _measure(root / "local", None, "folder", LOCAL_GRACE_S, dict(os.environ))
        server = stack.enter_context(seaweed(root, metrics=True))
        bench = Bench(server, root)
        bench.warm_up("bench")
        with _variables(server.environment):
            url = server.url("bench", "collecting")
            rows += _measure(root / "far", url, "SeaweedFS", BUCKET_GRACE_S, bench.env)
        return rows


@contextmanager
def _variables(more: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _measure(
    root: Path, url: str | None, where: str, grace_s: int, env: dict[str, str]
) -> list[dict[str, Any]]:
    from thence.project import Project

    root.mkdir()
    project = Project.init(root, store=url)
    gone = _fill(project, root)
    half = len(gone) // 2
    _remove(project, gone[:half])
    with ExitStack() as stack:
        stop = root / "stop"
        stack.callback(stop.touch)
        run = [sys.executable, "-m", "thence", "-q", "run", sys.executable, "-c", _RUN, str(stop)]
        going = subprocess.Popen(run, cwd=root, env=env)
        _wait_for_run(project)
        _remove(project, gone[half:])
        time.sleep(grace_s + 2)  # packs that are younger are left alone
        began = _sizes(project)
        told = [root / f"told-{n}" for n in (1, 2)]
        writers = [
            subprocess.Popen([sys.executable, "-c", _WRITER, root, stop, str(n), path], env=env)
            for n, path in enumerate(told)
        ]
        while not all(any(project.site.vault.store.list(_log(n))) for n in (0, 1)):
            time.sleep(0.2)
        rows = []
        for step in ("condemning", "deleting"):
            rows += _collect(project, f"gc, {where}, {step}", grace_s)
            time.sleep(grace_s + 2 if step == "condemning" else 0)
        freed = sum(size for key, size in began.items() if key not in _sizes(project))
        stop.touch()
        if any(process.wait() for process in (*writers, going)):
            raise RuntimeError("a writer or the run failed")
    saved = [one for path in told for one in json.loads(path.read_text())]
    time.sleep(grace_s + 2)
    rows += _collect(project, f"gc, {where}, the run has ended", grace_s)
    rows += [
        _row(f"gc, {where}: freed while the run was open", freed / 1e6, "MB"),
        _row(f"gc, {where}: versions saved meanwhile", len(saved), ""),
        _row(f"gc, {where}: contents lost or damaged", _lost(project, saved), "", goal=0),
    ]
    project.site.index.close()
    return rows


def _collect(project: Any, what: str, grace_s: int) -> list[dict[str, Any]]:
    from thence.store.open import requests_of

    store = project.site.vault.store
    before = sum(one.calls for one in requests_of(store).values())
    cpu, wall = time.process_time(), time.perf_counter()
    done = project.collect(grace=timedelta(seconds=grace_s)).collected
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    calls = sum(one.calls for one in requests_of(store).values()) - before
    print(f"  {what:<32} {wall:7.2f} s {cpu:7.2f} s CPU {calls:>5} requests", flush=True)
    print(f"    {done._replace(dead=done.dead[:2])}", flush=True)
    rows = [_row(f"{what}: wall", wall, "s"), _row(f"{what}: CPU", cpu, "s")]
    return rows + ([_row(f"{what}: requests", calls, "")] if calls else [])


def _remove(project: Any, names: list[str]) -> None:
    project.remove(project.plan_removal((), artifacts=names), reason="bench")


def _wait_for_run(project: Any) -> None:
    while not any(project.site.vault.store.list("refs/runs/")):
        time.sleep(0.2)


def _log(number: int) -> str:
    return f"refs/artifacts/writer-{number}/@/"


def _fill(project: Any, root: Path) -> list[str]:
    """Save folders of files; the names of what is to be removed, 1 % of all."""
    each = CONTENTS // PARTS
    dead = each // 100
    number = 0
    gone = []
    for part in range(PARTS):
        for name, count in ((f"part-{part}", each - dead), (f"gone-{part}", dead)):
            folder = root / name
            folder.mkdir()
            for at in range(count):
                seed = f"gone-{part * dead + at}" if name.startswith("gone") else number
                (folder / f"{at:05d}").write_bytes(random.Random(seed).randbytes(SIZE))
                number += 1
            project.save(folder, name)
        gone.append(f"gone-{part}")
    return gone


def _sizes(project: Any) -> dict[str, int]:
    return {info.key: info.size_bytes for info in project.site.vault.store.list("packs/")}


def _lost(project: Any, saved: list[list[str]]) -> int:
    """What is needed, or was said to be saved, and is not there or not as it was."""
    from thence.errors import DataDamaged, NotFound
    from thence.model.ids import Digest

    found = project.check(deep=True).checked.findings
    lost = sum(one.severity == "damage" for one in found)
    for tree, content in saved:
        for digest in (tree, content):
            try:
                project.site.vault.content.read(Digest.from_hex(digest))
            except (NotFound, DataDamaged):
                lost += 1
    return lost


def _row(what: str, measured: float, unit: str, goal: float | None = None) -> dict[str, Any]:
    return {"what": what, "measured": measured, "unit": unit, "goal": goal}
