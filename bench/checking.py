"""`thence check --deep` on data that is in the page cache: GB per CPU second of the whole process.

`python -m bench checking [--rounds 5] [--scale 1] [--folder DIR]`, on the workloads of `storage`.
CPU seconds are user and system time of the process, the interpreter and all imports included, and
the best of some rounds: whatever else the machine does only makes it worse. The floor is what the
native calls alone take in the same round: read, SHA-256 and BLAKE3 of the same bytes.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from blake3 import blake3

from bench.contenders import environment_of
from bench.measured import Command, measure
from bench.report import FOLDER, Report, circumstances
from bench.workloads import WORKLOADS, made

_GOAL = 1.0
_PIECE = 1 << 20
_CHUNK = 80_000
_NAMES = {"big": "incompressible file", "csv": "CSV"}


def run(arguments: Sequence[str] = ()) -> Report:
    """CPU seconds of each round, and the best of them as a rate."""
    parser = argparse.ArgumentParser(prog="python -m bench checking", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args(arguments)
    work: Path = given.folder.resolve() / "checking"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        found = dict(_each(given.folder.resolve(), work, given.scale, given.rounds))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    rows = [row for name, one in found.items() for row in _rows(_NAMES[name], one)]
    return Report(rows, {**circumstances(), "scale": given.scale, "workloads": found})


def _each(
    folder: Path, work: Path, scale: float, rounds: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    environment = environment_of(work)
    for name in _NAMES:
        entry = made(folder / "workloads", name, scale) / "1" / WORKLOADS[name].entry
        project = work / name
        project.mkdir()
        shutil.copyfile(entry, project / entry.name)
        for words in (("init", "-q"), ("save", "-q", entry.name)):
            thence = Command([sys.executable, "-m", "thence", *words], project)
            measure([thence], environment=environment)
        (project / entry.name).unlink()
        packs = [path for path in (project / ".thence/store/packs").rglob("*") if path.is_file()]
        check = Command([sys.executable, "-m", "thence", "check", "--deep", "-q"], project)
        cpu, floor = [], []
        for _ in range(rounds):
            floor.append(_floor(packs))  # it brings the packs into the page cache, too
            cpu.append(measure([check], environment=environment).cpu_s)
            print(f"  {name}: {cpu[-1]:.2f} s CPU, native calls {floor[-1]:.2f} s", flush=True)
        yield (
            name,
            {
                "raw_bytes": entry.stat().st_size,
                "stored_bytes": sum(path.stat().st_size for path in packs),
                "cpu_s": cpu,
                "floor_s": floor,
            },
        )
        shutil.rmtree(project)


def _floor(packs: Sequence[Path]) -> float:
    """CPU seconds of reading and hashing the stored bytes, and nothing else."""
    buffer = memoryview(bytearray(_PIECE))
    begun = time.process_time()
    whole = sha256()
    for path in packs:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                for start in range(0, count, _CHUNK):
                    piece = buffer[start : min(count, start + _CHUNK)]
                    blake3(piece).digest()
                    whole.update(piece)
    return time.process_time() - begun


def _rows(name: str, one: dict[str, Any]) -> Iterator[dict[str, Any]]:
    best, floor = min(one["cpu_s"]), min(one["floor_s"])
    stored, raw = one["stored_bytes"] / 1e9, one["raw_bytes"] / 1e9
    what = f"check --deep, {name}"
    # A goal is the most that may be measured, so the rate is turned round.
    goal = _GOAL if name == _NAMES["big"] else None
    yield {"what": f"{what}: CPU per GB kept", "measured": best / raw, "unit": "s/GB", "goal": goal}
    yield {"what": f"{what}: kept", "measured": raw / best, "unit": "GB/s", "goal": None}
    yield {"what": f"{what}: stored", "measured": stored / best, "unit": "GB/s", "goal": None}
    yield {
        "what": f"{what}: stored, native calls alone",
        "measured": stored / floor,
        "unit": "GB/s",
        "goal": None,
    }
