"""1,000,000 small files: saved, looked at, one changed, saved again, restored.

`python -m bench million [--scale 1] [--folder DIR]`. It needs some 12 GB on the disk and as many
inodes as there are files, three times; what it made is removed at the end, but for the files that
are saved.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.contenders import environment_of
from bench.measured import Command, bare, measure
from bench.report import FOLDER, Report, circumstances
from bench.workloads import WORKLOADS, made, million

GOAL_MB = 500
_STEPS = ("save", "status", "save again, nothing changed", "save, one file changed", "restore")


def run(arguments: Sequence[str] = ()) -> Report:
    """Measure each step once."""
    parser = argparse.ArgumentParser(prog="python -m bench million", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="make it smaller")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args(arguments)
    folder: Path = given.folder.resolve()
    source = made(folder / "workloads", "million", given.scale) / "1"
    work = folder / "million"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    entry = WORKLOADS["million"].entry
    # The files are not copied for it, only moved there and back.
    (source / entry).rename(work / entry)
    try:
        steps = _steps(work, entry)
    finally:
        _first(work / entry).write_bytes(next(million(given.scale))[1])
        (work / entry).rename(source / entry)
    shutil.rmtree(work)
    files = sum(len(names) for _, _, names in os.walk(source / entry))
    document = {**circumstances(), "scale": given.scale, "files": files, "steps": steps}
    return Report(_rows(steps, files), document)


def _steps(work: Path, entry: str) -> list[dict[str, Any]]:
    environment = environment_of(work)
    thence = [sys.executable, "-m", "thence"]
    subprocess.run([*thence, "-q", "init"], cwd=work, env=environment, check=True)
    idle = bare(sys.executable, environment)
    commands = {
        _STEPS[0]: ["-q", "save", entry],
        _STEPS[1]: ["status"],
        _STEPS[2]: ["-q", "save", entry],
        _STEPS[3]: ["-q", "save", entry],
        _STEPS[4]: ["-q", "get", entry, str(work / "out")],
    }
    found = []
    for step, words in commands.items():
        if step == _STEPS[3]:
            with _first(work / entry).open("ab") as file:
                file.write(b"changed\n")
        os.sync()
        took = measure([Command([*thence, *words], work)], environment=environment, timeout_s=7200)
        stored, objects = _store(work / ".thence" / "store")
        found.append(
            {
                "step": step,
                "wall_s": round(took.wall_s, 2),
                "cpu_s": round(took.cpu_s - idle, 2),
                "rss_bytes": took.rss_bytes,
                "stored_bytes": stored,
                "objects": objects,
            }
        )
        print(f"  {found[-1]}", flush=True)
    subprocess.run(["diff", "-rq", work / entry, work / "out"], check=True)
    return found


def _first(folder: Path) -> Path:
    return folder / "000" / "0000.txt"


def _store(folder: Path) -> tuple[int, int]:
    """The bytes and the number of objects in a store."""
    sizes = [
        (Path(root) / name).lstat().st_size for root, _, names in os.walk(folder) for name in names
    ]
    return sum(sizes), len(sizes)


def _rows(steps: Sequence[dict[str, Any]], files: int) -> list[dict[str, Any]]:
    rows = []
    for step in steps:
        what = f"{files:,} files: {step['step']}"
        rows.append({"what": what, "measured": step["cpu_s"], "unit": "s", "goal": None})
        megabytes = step["rss_bytes"] / 1e6
        rows.append(
            {"what": f"{what}, memory", "measured": megabytes, "unit": "MB", "goal": GOAL_MB}
        )
    last = steps[-1]
    rows.append(
        {"what": "objects in the store", "measured": last["objects"], "unit": "", "goal": None}
    )
    return rows
