"""The page on speed and size, made from what was measured: `python -m bench.performance`.

It takes `storage.json`, `floor.json` and `million.json` from `bench/results`, as far as they are
there, keeps them as `docs/explanation/performance.json`, and writes
`docs/explanation/performance.md` from that. With `--again` only the page is written anew.
"""

import json
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.report import ROOT
from bench.storage_table import Goal, goals, megabytes, ratios_table, tables

DATA = ROOT / "docs" / "explanation" / "performance.json"
PAGE = DATA.with_suffix(".md")
RESULTS = Path(__file__).parent / "results"
PARTS = ("storage", "floor", "million")

_HEAD = """# How fast it is, and how small

This page is made by `python -m bench.performance` from measurements that `python -m bench storage`,
`python -m bench floor` and `python -m bench million` take; the numbers are in
[performance.json](performance.json).

thence is measured beside tools that people use for the same: DVC, borg, restic, Git, Git LFS, Oxen,
and `cp -r`, which only copies. They do not promise the same. DVC, Git and `cp` do not compare what
they give back with its digest; `cp`, DVC and Git LFS keep each version whole; restic encrypts.
thence computes two digests of everything (SHA-256, which names it, and BLAKE3 of each chunk), waits
until it is on the disk, and verifies each byte that it gives back: small files by SHA-256, the
chunks of large ones by BLAKE3 (their SHA-256 is not computed again on the machine that saved them).

"""

_HOW = """## How it was measured

{where}. Numbers are medians; rounds: {rounds}.

- **CPU seconds** are what to compare: user and system time of the command and of all that it
  started, less what the bare interpreter needs to start, for all tools that are written in Python.
  The machine was shared with other work, so **wall seconds** say little.
- **Peak memory** is the resident set of the largest process, as the system counts it, and never
  less than the 9 MB of the small process that starts it.
- **Bytes stored** are the lengths of all files in the store of a tool. Caches and indexes that can
  be made again are not counted, for any of them.
- All that is read was read just before, so nobody waits for the disk to read. Each round begins
  with empty stores; the tools take turns at each step, and another one begins in each round.
{seldom}- What was given back was compared byte for byte with what was kept, outside of the time.

| tool | version | how |
|---|---|---|
"""

_RATIOS = """
## What was to be reached

Ratios of what thence took to what another tool took, within one round: the median of the rounds,
and their range. Of the edited file, new bytes are held against the bytes that were changed.

"""


def page(data: Mapping[str, Any]) -> str:
    """The page for what was measured."""
    storage = data["storage"]
    parts = [_HEAD, _how(storage), _RATIOS, ratios_table(goals(storage))]
    if data.get("missed"):
        parts += ["\n", *_missed(data["missed"], goals(storage))]
    parts += ["\n## All of it\n\n", tables(storage)]
    if "floor" in data:
        parts.append(_floor(data["floor"]))
    if "million" in data:
        parts.append(_million(data["million"]))
    return "".join(parts)


def _where(one: Mapping[str, Any]) -> str:
    return (
        f"Measured on {one['measured']}, thence at {one['commit']}, on {one['system']} with "
        f"{one['cpus']} CPUs, {one['memory_gb']:g} GB of memory and Python {one['python']}"
    )


def _how(storage: Mapping[str, Any]) -> str:
    seldom = ""
    if {"git-lfs", "oxen"} & set(storage["versions"]):
        seldom = (
            "- Git LFS and Oxen take long: they are measured in the first round only, and may be"
            "\n  left out where there are many files.\n"
        )
    text = _HOW.format(where=_where(storage), rounds=storage["rounds"], seldom=seldom)
    for name, version in storage["versions"].items():
        text += f"| {name} | {version} | {storage['notes'][name]} |\n"
    return text


def _missed(reasons: Mapping[str, str], found: list[Goal]) -> list[str]:
    """Why goals were missed, as far as somebody has found out and written it into the data."""
    return [f"**{one.what}**: {reasons[one.what]}\n\n" for one in found if one.what in reasons]


def _floor(floor: Mapping[str, Any]) -> str:
    lines = [
        "\n## The floor\n\nWhat the native calls alone take, with nothing around them: one thread, "
        "no names, no logs, no locks (`python -m bench floor`). What a step takes beyond this is "
        f"ours. {_where(floor)}.\n",
        "| native calls | CPU s |",
        "|---|---:|",
    ]
    lines += [
        f"| {what} | {statistics.median(seconds):.2f} |" for what, seconds in floor["cpu_s"].items()
    ]
    return "\n".join(lines) + "\n"


def _million(million: Mapping[str, Any]) -> str:
    lines = [
        f"\n## {million['files']:,} small files\n\n{_where(million)}. 100 to 2,000 bytes each, in "
        "1,000 folders, by one run of `python -m bench million`.\n",
        "| step | CPU s | wall s | peak memory, MB | bytes stored, MB | objects in the store |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {step['step']} | {step['cpu_s']:.1f} | {step['wall_s']:.1f} "
        f"| {step['rss_bytes'] / 1e6:.0f} | {megabytes(step['stored_bytes'])} "
        f"| {step['objects']:,} |"
        for step in million["steps"]
    ]
    return "\n".join(lines) + "\n"


def packed(data: Mapping[str, Any]) -> str:
    """JSON with one line for each measurement, so that a change of it can be read."""
    text = json.dumps(data, indent=1)
    for sample in data["storage"]["samples"]:
        lines = json.dumps(sample, indent=1).replace("\n", "\n   ")
        text = text.replace(lines, json.dumps(sample))
    return text + "\n"


def main(again: bool) -> None:
    """Write both files."""
    data = json.loads(DATA.read_text()) if DATA.exists() else {}
    for part in () if again else PARTS:
        found = RESULTS / f"{part}.json"
        if found.exists():
            data[part] = json.loads(found.read_text())
    DATA.write_text(packed(data))
    PAGE.write_text(page(data))


if __name__ == "__main__":
    main(again="--again" in sys.argv[1:])
