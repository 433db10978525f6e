"""Which sensor sees which way to read or write a file.

One process for each way and sensor; what a sensor tells of the file that matters is the answer.
Libraries are installed into an environment of their own; what cannot be had is skipped and said.
"""

import contextlib
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bench.coverage_cases import MAKERS, READS, WRITES, Case
from thence.execution.events import CHANGED, CREATED, Action, FileEvent
from thence.execution.launch import launch
from thence.execution.scanning import TreeScan

__all__ = ["SENSORS", "Outcome", "run", "try_case"]

_ROOT = Path(__file__).parent.parent
_PYTHON = _ROOT / ".venv" / "coverage" / "bin" / "python"
_PAGE = _ROOT / "docs" / "explanation" / "what-is-captured.md"
_PACKAGES = {
    "PIL": "pillow", "cv2": "opencv-python-headless", "fastexcel": "fastexcel",
    "sklearn": "scikit-learn",
}  # fmt: skip
_MORE = ("setuptools", "scikit-learn", "scipy")
SENSORS = ("seccomp", "strace", "audit-hook")
_GOALS = {
    ("reads", "seccomp"): (60, True), ("writes", "seccomp"): (30, True),
    ("reads", "audit-hook"): (50, False), ("writes", "audit-hook"): (26, False),
}  # fmt: skip
_WRITES = {Action.TRUNCATE, Action.WRITE, Action.UPDATE, Action.RENAME, Action.LINK}


class Outcome(NamedTuple):
    """What became of a case under a sensor.

    Attributes:
        seen: `yes`, `after` (by the look at the folder), `no`, or empty if it could not be tried.
        why: Why it could not be tried.
    """

    seen: str
    why: str = ""


def try_case(case: Case, *, writes: bool, sensor: str, python: str, prepared: Path) -> Outcome:
    """Run one case in a copy of its folder."""
    with tempfile.TemporaryDirectory(prefix="coverage-") as parent:
        folder = Path(os.path.realpath(parent)) / "work"
        shutil.copytree(prepared, folder)
        (folder / "case.py").write_text(f"p = {case.file!r}\n{case.code}\n")
        wanted = str(folder / case.file)
        found: set[str] = set()

        def on_event(event: FileEvent) -> None:
            counts = event.action in _WRITES if writes else event.action is not Action.EXECUTE
            for path in (event.path, event.target):
                if counts and (path == wanted or path.startswith(wanted + "/")):
                    late = event.detail in {CREATED, CHANGED} and not event.pid
                    found.add("after" if late else "yes")

        said = bytearray()
        with open(os.devnull, "r+b") as null:
            ended = launch(
                [python, "case.py"], cwd=folder, env=_environment(), on_event=on_event,
                sensor=sensor,  # type: ignore[arg-type]
                scan=partial(TreeScan, str(folder)),
                stdout=said.extend, stderr=said.extend,
                target_fds=(null.fileno(), null.fileno()), stdin_fd=null.fileno(),
            )  # fmt: skip
        if ended.exit_code or not os.path.exists(wanted):
            lines = bytes(said).decode(errors="replace").strip().splitlines() or ["failed"]
            return Outcome("", lines[-1])
    return Outcome("yes" if "yes" in found else "after" if "after" in found else "no")


def _environment() -> dict[str, str]:
    left_out = ("THENCE_", "PYTHONPATH", "PYTHONHOME")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}


def missing(case: Case, python: str) -> list[str]:
    """What it needs and is not there."""
    programs = [need[2:] for need in case.needs if need.startswith("$ ")]
    modules = [need for need in case.needs if not need.startswith("$ ")]
    return [name for name in programs if shutil.which(name) is None] + [
        name for name in modules if not _has(name, python)
    ]


_known: dict[tuple[str, str], bool] = {}


def _has(module: str, python: str) -> bool:
    if (module, python) not in _known:
        code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
        _known[module, python] = subprocess.run([python, "-c", code], check=False).returncode == 0
    return _known[module, python]


def prepare(case: Case, *, writes: bool, python: str, folder: Path) -> str:
    """Make what it reads; why that failed, or nothing."""
    folder.mkdir(parents=True)
    if writes:
        return ""
    maker = MAKERS[case.file.rpartition(".")[2]][1]
    done = subprocess.run(
        [python, "-c", f"p = {case.file!r}\n{maker}"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return (done.stderr.strip().splitlines() or ["failed"])[-1] if done.returncode else ""


def _whole(job: tuple[str, int, str]) -> dict[str, Any]:
    verb, number, python = job
    case = (READS if verb == "reads" else WRITES)[number]
    row: dict[str, Any] = {"verb": verb, "group": case.group, "name": case.name, "skipped": ""}
    if absent := missing(case, python):
        return {**row, "skipped": "needs " + ", ".join(absent)}
    with tempfile.TemporaryDirectory(prefix="coverage-") as parent:
        prepared = Path(parent) / "prepared"
        if why := prepare(case, writes=verb == "writes", python=python, folder=prepared):
            return {**row, "skipped": why}
        for sensor in SENSORS:
            if sensor == "strace" and shutil.which("strace") is None:
                continue
            outcome = try_case(
                case, writes=verb == "writes", sensor=sensor, python=python, prepared=prepared
            )
            if not outcome.seen:
                return {**row, "skipped": outcome.why}
            row[sensor] = outcome.seen
    return row


def run(options: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Try all; with `--here` in this Python, else in an environment where all is installed.

    With `--only WORDS` only those whose name, group or file fits the regular expression; the page
    is left as it is.
    """
    here = "--here" in options
    only = options[options.index("--only") + 1] if "--only" in options else ""
    python = sys.executable if here else _install()
    jobs = [
        (verb, number, python)
        for verb, cases in (("reads", READS), ("writes", WRITES))
        for number, case in enumerate(cases)
        if re.search(only, f"{verb} {case.group} {case.name} {case.file}")
    ]
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=20) as pool:
        rows = list(pool.imap(_whole, jobs))
    for row in rows:
        seen = row["skipped"] or " ".join(f"{s}:{row[s]}" for s in SENSORS if s in row)
        if row["skipped"] or only or any(row.get(s, "yes") == "no" for s in SENSORS):
            print(f"{row['verb']:<6} {row['group']}: {row['name']}  {seen}")
    if not here and not only:
        _PAGE.write_text(page(rows), encoding="utf-8")
    return [] if only else _measured(rows), {"cases": rows}


def _measured(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    made = []
    for (verb, sensor), (at_least, every) in _GOALS.items():
        tried = [row for row in rows if row["verb"] == verb and not row["skipped"]]
        seen = sum(row[sensor] != "no" for row in tried)
        # In the form of the other benchmarks: what is measured must not be above its goal.
        short = max(len(tried) - seen if every else 0, at_least - seen, 0)
        made.append(
            {
                "what": f"{verb} that {sensor} does not see, {seen} of {len(tried)} seen",
                "measured": float(short), "unit": "short", "goal": 0,
            }
        )  # fmt: skip
    return made


def _install() -> str:
    if not _PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(_PYTHON.parent.parent)], check=True)
    needs = {n for case in (*READS, *WRITES) for n in case.needs if not n.startswith("$ ")}
    absent = sorted(name for name in needs if not _has(name, str(_PYTHON)))
    if absent:
        print("Installing what the cases need; this takes minutes.")
        for name in (*_MORE, *absent):  # one by one: what cannot be had must not keep the others
            with contextlib.suppress(subprocess.CalledProcessError):
                subprocess.run(
                    [str(_PYTHON), "-m", "pip", "install", "-q", _PACKAGES.get(name, name)],
                    check=True,
                )
        _known.clear()
    return str(_PYTHON)


_MARKS = {"yes": "yes", "after": "afterwards", "no": "**no**"}
_INTRO = """\
<!-- Written by `python -m bench coverage`; do not edit. -->
# What is captured

Each way to read or write a file below was tried in a process of its own, under each
[sensor](how-capture-works.md#sensors). *yes* says that the sensor told of the file when it was
used; *afterwards*, that the file was found by looking at the folder before and after the run;
**no**, that the record would not have it.

"""


def page(rows: list[dict[str, Any]]) -> str:
    """The page of the documentation."""
    sensors = [sensor for sensor in SENSORS if any(sensor in row for row in rows)]
    lines = [_INTRO, f"| | tried | {' | '.join(f'`{s}`' for s in sensors)} |\n"]
    lines.append("|---" * (2 + len(sensors)) + "|\n")
    for verb in ("reads", "writes"):
        tried = [row for row in rows if row["verb"] == verb and not row["skipped"]]
        counts = []
        for sensor in sensors:
            count = Counter(row[sensor] for row in tried)
            text = str(count["yes"] + count["after"])
            counts.append(text + (f" ({count['after']} afterwards)" if count["after"] else ""))
        lines.append(f"| {verb} | {len(tried)} | {' | '.join(counts)} |\n")
    for verb, title in (("reads", "Reading"), ("writes", "Writing")):
        lines.append(f"\n## {title}\n\n| | way | {' | '.join(f'`{s}`' for s in sensors)} |\n")
        lines.append("|---" * (2 + len(sensors)) + "|\n")
        for row in rows:
            if row["verb"] == verb and not row["skipped"]:
                seen = " | ".join(_MARKS[row[sensor]] for sensor in sensors)
                lines.append(f"| {row['group']} | {row['name']} | {seen} |\n")
    skipped = [row for row in rows if row["skipped"]]
    if skipped:
        lines.append("\n## Not tried\n\n")
        lines += [f"- {r['verb']}, {r['group']}, {r['name']}: {r['skipped']}\n" for r in skipped]
    return "".join(lines)


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1:])[1], indent=1))
