"""Run benchmarks by name; what begins with `--` and follows goes to those that take options.

A missed goal is said, and is no failure: pages are made of what was missed, too.
"""

import importlib
import json
import sys
from pathlib import Path

NAMES = ("startup", "rows", "capture", "team", "distance", "collecting")
# Only when asked for: they take long.
WITH_OPTIONS = ("storage", "million", "floor", "checking", "coverage")


def main() -> int:
    """Run what the command line names, or all of the first kind."""
    words = sys.argv[1:]
    first = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
    wanted, options = words[:first] or list(NAMES), words[first:]
    for name in wanted:
        if name not in NAMES + WITH_OPTIONS:
            known = ", ".join(NAMES + WITH_OPTIONS)
            sys.stderr.write(f"no benchmark {name!r}; there are {known}\n")
            return 2
        module = importlib.import_module(f"bench.{name}")
        if name in WITH_OPTIONS:
            rows, document = module.run(options)
        else:
            rows = document = module.run()
        folder = Path(__file__).parent / "results"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
        width = max((len(row["what"]) for row in rows), default=0)
        for row in rows:
            text = f"{row['what']:<{width}}  {row['measured']:>10.2f} {row['unit']:<4}"
            if row["goal"] is not None:  # what is measured beside it has none
                held = row["measured"] <= row["goal"]
                text += f"  goal {row['goal']:g}  {'held' if held else 'MISSED'}"
            print(text.rstrip())
    return 0


sys.exit(main())
