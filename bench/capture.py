"""What capture costs: a training script and a do-nothing command, with and without `thence run`."""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROUNDS = 5
SCRIPT = """
import numpy as np, pandas as pd
from sklearn.ensemble import RandomForestClassifier
d = pd.read_csv("data.csv")
m = RandomForestClassifier(60, random_state=0).fit(d[["a", "b", "c"]], d["y"])
pd.Series(m.predict(d[["a", "b", "c"]])).to_csv("out.csv")
"""


def _measure(command: list[str], folder: str) -> tuple[float, float]:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    after, end = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, end - start


def run() -> list[dict[str, Any]]:
    """Interleave plain and captured runs; ratios of the least CPU time."""
    import numpy as np

    python, thence = sys.executable, [sys.executable, "-m", "thence"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random = np.random.default_rng(0)
        rows = "".join(f"{a},{b},{c},{int(a > b)}\n" for a, b, c in random.random((20000, 3)))
        (folder / "data.csv").write_text("a,b,c,y\n" + rows)
        (folder / "train.py").write_text(SCRIPT)
        subprocess.run([*thence, "init"], cwd=name, check=True, capture_output=True)
        cases = {
            "plain": [python, "train.py"],
            "captured": [*thence, "run", python, "train.py"],
            "nothing": [*thence, "run", "true"],
        }
        least = dict.fromkeys(cases, (1000000000.0, 1000000000.0))
        for _ in range(ROUNDS):
            for case, command in cases.items():
                cpu, wall = _measure(command, name)
                least[case] = (min(least[case][0], cpu), min(least[case][1], wall))
    return [
        {"what": "CPU of a captured training / plain", "measured": least["captured"][0]
         / least["plain"][0], "unit": "x", "goal": 1.5},
        {"what": "wall of `thence run true`", "measured": least["nothing"][1], "unit": "s",
         "goal": 1.0},
    ]  # fmt: skip
