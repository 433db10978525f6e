"""Run a benchmark by name."""

import importlib
import json
import sys
from pathlib import Path

NAMES = ("startup", "rows", "capture", "team", "distance")


def main() -> int:
    """Run what the command line names, or all."""
    wanted = sys.argv[1:] or list(NAMES)
    missed = 0
    for name in wanted:
        if name not in NAMES:
            sys.stderr.write(f"no benchmark {name!r}; there are {', '.join(NAMES)}\n")
            return 2
        rows = importlib.import_module(f"bench.{name}").run()
        folder = Path(__file__).parent / "results"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
        width = max(len(row["what"]) for row in rows)
        for row in rows:
            text = f"{row['what']:<{width}}  {row['measured']:>10.2f} {row['unit']:<4}"
            if row["goal"] is not None:  # what is measured beside it has none
                held = row["measured"] <= row["goal"]
                missed += not held
                text += f"  goal {row['goal']:g}  {'held' if held else 'MISSED'}"
            print(text.rstrip())
    return 1 if missed else 0


sys.exit(main())
