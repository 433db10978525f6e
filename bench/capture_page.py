"""The page on what capture costs, made from what was measured: `python -m bench.capture_page`.

It takes `capture_page.json` from `bench/results`, keeps it as
`docs/explanation/capture-cost.json`, and writes `docs/explanation/capture-cost.md` from that. With
`--again` only the page is written anew.
"""

import json
import sys
from pathlib import Path
from typing import Any

from bench.report import ROOT

DATA = ROOT / "docs" / "explanation" / "capture-cost.json"
PAGE = DATA.with_suffix(".md")
RESULTS = Path(__file__).parent / "results" / "capture_page.json"

_HEAD = """# What capture costs

This page is made by `python -m bench.capture_page` from what `python -m bench capture` measured;
the numbers are in [capture-cost.json](capture-cost.json).

"""

_WHY = {
    "supervisor, of a training's CPU": "It is the CPU of `thence run` on a short training (random "
    "forests on 20,000 rows) beyond that of the bare script and the fixed cost. Most of it does "
    "not grow with the training: starting Python hears of thousands of opened modules, and "
    "sealing describes the packages that were used. A training of minutes pays it once.",
    "audit layer, of a training's CPU": "Each open of a program is told to another process, and "
    "sealing describes the packages that were used; neither grows with the length of a training.",
    "an open, the first of a file": "It is looked up, judged, copied into the spool and noted in "
    "Python before the program goes on; the copy and the note are what the record is made from.",
    "an open, of a file seen before": "It is one question of the kernel and one answer in Python.",
    "fixed cost of a run, wall": "It is the start of two Pythons, the entry that opens the run and "
    "the record that ends it, each on the disk before the next step.",
    "a logged point (100,000 a second are 10)": "It is encoded in the process that logs.",
}


def page(document: dict[str, Any]) -> str:
    """The page, from what was measured."""
    budgets = [row for row in document["rows"] if row["goal"] is not None]
    others = [row for row in document["rows"] if row["goal"] is None]
    lines = ["## Budgets\n", "| what | measured | budget | |", "|---|---:|---:|---|"]
    lines += [
        f"| {row['what']} | {_amount(row)} | {row['goal']:g} {row['unit']} | "
        f"{'held' if _is_held(row) else '**missed**'} |"
        for row in budgets
    ]
    missed = [row["what"] for row in budgets if not _is_held(row)]
    if missed:
        lines += ["\n## What is missed, and why\n"]
        lines += [f"- **{what}**: {_WHY[what]}" for what in missed]
    lines += ["\n## Beside others\n", "| what | measured |", "|---|---:|"]
    lines += [f"| {row['what']} | {_amount(row)} |" for row in others]
    lines += [f"\nNot measured: {text}" for text in document["missing"]]
    return _HEAD + "\n".join(lines) + _how(document)


def _how(document: dict[str, Any]) -> str:
    return f"""

## How it was measured

{document["where"]}; rounds: {document["rounds"]}, of which the least is given.
The machine was shared with other work. In each round all take turns: the bare script, thence with
each of its sensors, MLflow with its SQLite store and explicit `log_metric`, W&B offline with
explicit `log`. MLflow and W&B keep the metrics that they are given and nothing of the files, so
they do less for their time.
The 50,000 images of 3 kB are read once, in 50 folders; the times of a file are those of the program
that waits for it, less those without thence.
"""


def _is_held(row: dict[str, Any]) -> bool:
    return bool(row["measured"] <= row["goal"])


def _amount(row: dict[str, Any]) -> str:
    value = row["measured"]
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"
    return f"{text} {row['unit']}"


def main() -> None:
    """Keep what was measured, and write the page."""
    if "--again" not in sys.argv[1:]:
        DATA.write_text(RESULTS.read_text())
    PAGE.write_text(page(json.loads(DATA.read_text())))


if __name__ == "__main__":
    main()
