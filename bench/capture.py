"""What capture costs, beside the bare script, MLflow (SQLite) and W&B (offline).

All take turns within each round, under the same Python; of each the least is taken, since the
machine may be shared. So it is that of a second use: bytecode is there, as it is where pip has
installed thence, and what is known of packages.
`python -m bench.capture_page` makes a page of what was measured.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bench.peers import PeerMissing, peer, python_of_peers

ROUNDS = max(2, int(os.environ.get("BENCH_ROUNDS", "3")))
FILES = 5_000
IMAGES = max(FILES, int(os.environ.get("BENCH_IMAGES", "50000")))
POINTS = 100_000
MILLION = 1_000_000
PYTHONS = 20
# MLflow's store takes milliseconds a point.
PEER_POINTS = {"mlflow": 500, "wandb": 10_000}

TRAIN = """
import sys
tool = sys.argv[1]
if tool == "mlflow":
    import mlflow
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    run = mlflow.start_run()
elif tool == "wandb":
    import wandb
    run = wandb.init(mode="offline", project="bench")
import numpy as np, pandas as pd
from sklearn.ensemble import RandomForestClassifier
d = pd.read_csv("data.csv")
for step in range(int(sys.argv[2])):
    m = RandomForestClassifier(30, random_state=step).fit(d[["a", "b", "c"]], d["y"])
    score = float(m.score(d[["a", "b", "c"]], d["y"]))
    if tool == "mlflow":
        mlflow.log_metric("score", score, step=step)
    elif tool == "wandb":
        run.log({"score": score}, step=step)
pd.Series(m.predict(d[["a", "b", "c"]])).to_csv("out.csv")
if tool == "mlflow":
    mlflow.end_run()
elif tool == "wandb":
    run.finish()
"""

READ = """
import os, sys, time
names = [f"img/{n // 1000:02}/{n:05}.bin" for n in range(int(sys.argv[1]))]
def read():
    begun = time.perf_counter()
    for name in names:
        file = os.open(name, os.O_RDONLY); os.read(file, 1 << 20); os.close(file)
    return (time.perf_counter() - begun) / len(names) * 1e6
print(read(), read())
"""

LOG = """
import sys, time
tool, points = sys.argv[1], int(sys.argv[2])
if tool == "thence":
    import thence
    log = lambda step: thence.log({"loss": step * 0.5}, step=step)
    end = lambda: None
elif tool == "mlflow":
    import mlflow
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.start_run()
    log = lambda step: mlflow.log_metric("loss", step * 0.5, step=step)
    end = mlflow.end_run
else:
    import wandb
    run = wandb.init(mode="offline", project="bench")
    log = lambda step: run.log({"loss": step * 0.5}, step=step)
    end = run.finish
log(0)
begun = time.perf_counter()
for step in range(1, points + 1):
    log(step)
print("rate", points / (time.perf_counter() - begun))
end()
"""


class Cost(NamedTuple):
    """Of one command."""

    cpu_s: float
    wall_s: float
    said: str


def _measure(command: list[str], folder: str, *, check: bool = True) -> Cost:
    # Without bytecode 0.35 s go to compiling thence anew each time.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment, check=check, capture_output=True, text=True
    )
    after, end = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu, end - start, done.stdout)


def _prepare(folder: Path) -> None:
    import numpy as np

    random = np.random.default_rng(0)
    rows = "".join(f"{a},{b},{c},{int(a > b)}\n" for a, b, c in random.random((20000, 3)))
    (folder / "data.csv").write_text("a,b,c,y\n" + rows)
    for name, text in (("train.py", TRAIN), ("read.py", READ), ("log.py", LOG)):
        (folder / name).write_text(text)
    for number in range(IMAGES):
        path = folder / f"img/{number // 1000:02}/{number:05}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0" + random.bytes(3000))


def _peers() -> tuple[list[str], list[str]]:
    """Those that are there, and why the others are not."""
    there, missing = [], []
    for name in PEER_POINTS:
        try:
            peer(name)
        except PeerMissing as error:
            missing.append(str(error))
        else:
            there.append(name)
    return there, missing


def _commands(peers: list[str]) -> dict[str, list[str]]:
    # All under the same Python, so that the libraries of the training are the same.
    python = python_of_peers() if peers else None
    python = python or sys.executable
    thence = [sys.executable, "-m", "thence", "run"]
    audit = [*thence, "--sensor", "audit-hook"]
    train, read = [python, "train.py"], [python, "read.py", str(FILES)]
    pythons = ["sh", "-c", f"for n in $(seq {PYTHONS}); do {python} -c pass; done"]
    commands = {
        "true": ["true"],
        "true, captured": [*thence, "true"],
        "train": [*train, "bare", "5"],
        "train, captured": [*thence, *train, "bare", "5"],
        "train, audit": [*audit, *train, "bare", "5"],
        **{f"train, {name}": [*train, name, "5"] for name in peers},
        "true, audit": [*audit, "true"],
        "pythons": pythons,
        "pythons, audit": [*audit, *pythons],
        "read": read,
        "read, captured": [*thence, *read],
        "read, audit": [*audit, *read],
        "log": [*thence, sys.executable, "log.py", "thence", str(POINTS)],
    }
    return commands | {
        f"log, {name}": [python, "log.py", name, str(PEER_POINTS[name])] for name in peers
    }


def run() -> list[dict[str, Any]]:
    """Measure everything; the rows, of which some are a budget."""
    peers, missing = _peers()
    commands = _commands(peers)
    found: dict[str, list[Cost]] = {name: [] for name in commands}
    images: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder)
        thence = [sys.executable, "-m", "thence"]
        subprocess.run([*thence, "init"], cwd=name, check=True, capture_output=True)
        os.environ["WANDB_SILENT"] = "true"
        for at in range(ROUNDS):
            for case, command in commands.items():
                if case.startswith("read, "):  # what is known of the files is forgotten
                    for path in folder.glob(f"img/{at % 5:02}/*"):
                        os.utime(path)
                found[case].append(_measure(command, name))
        long = _long(commands, name)
        million = _measure([*thence, "run", sys.executable, "log.py", "thence", str(MILLION)], name)
        plain = [sys.executable, "read.py", str(IMAGES)]
        images["bare"] = _measure(plain, name)
        images["captured"] = _measure([*thence, "run", *plain], name)
        began = time.perf_counter()
        subprocess.run([*thence, "show", "run:last"], cwd=name, check=True, capture_output=True)
        show_s = time.perf_counter() - began
        # What it prints are times, so it never comes out the same: the status is not 0.
        reproduced = _measure([*thence, "reproduce", "run:last"], name, check=False)
    rows = _rows(found, peers)
    first, again = _opens(images["captured"])
    rows += [
        *long,
        _row(
            "a million points, from the last one to the end of the run",
            million.wall_s - MILLION / _rate(million),
            "s",
        ),
        _row(
            f"reading an image the first time, of {IMAGES:,}",
            first - _opens(images["bare"])[0],
            "us",
        ),
        _row(f"reading an image again, of {IMAGES:,}", again - _opens(images["bare"])[1], "us"),
        _row(f"a run of {IMAGES:,} images, with sealing", images["captured"].wall_s, "s"),
        _row("to show it", show_s, "s"),
        _row("to reproduce it", reproduced.wall_s, "s"),
    ]
    _keep(rows, missing)
    return rows


def _long(commands: dict[str, list[str]], folder: str) -> list[dict[str, Any]]:
    """A training four times as long: what of the cost does not grow with it."""
    cases = ("train", "train, captured", "train, audit")
    bare, *observed = (_measure([*commands[case][:-1], "20"], folder).cpu_s for case in cases)
    names = ("supervisor", "audit layer")
    return [_row("a training four times as long, bare", bare, "s CPU")] + [
        _row(f"{name}, of that with all that a run costs", (cost - bare) / bare * 100, "%")
        for name, cost in zip(names, observed, strict=True)
    ]


def _rate(cost: Cost) -> float:
    return float(cost.said.split("rate")[1].split()[0])


def _rows(found: dict[str, list[Cost]], peers: list[str]) -> list[dict[str, Any]]:
    def least(case: str, of: Callable[[Cost], float]) -> float:
        return min(of(cost) for cost in found[case])

    def cpu(case: str) -> float:
        return least(case, lambda cost: cost.cpu_s)

    def wall(case: str) -> float:
        return least(case, lambda cost: cost.wall_s)

    def opens(case: str, which: int) -> float:
        return least(case, lambda cost: _opens(cost)[which])

    bare = cpu("train")
    fixed = cpu("true, captured") - cpu("true")
    fixed_audit = cpu("true, audit") - cpu("true")

    def rate(case: str) -> float:
        return max(_rate(cost) for cost in found[case])

    each_python = (cpu("pythons, audit") - cpu("pythons") - fixed_audit) / PYTHONS
    rows = [
        _row(
            "supervisor, of a training's CPU",
            (cpu("train, captured") - bare - fixed) / bare * 100, "%", 5,
        ),
        _row(
            "audit layer, of a training's CPU",
            (cpu("train, audit") - bare - fixed_audit) / bare * 100, "%", 2,
        ),
        _row("an open, the first of a file", opens("read, captured", 0) - opens("read", 0),
             "us", 60),
        _row("an open, of a file seen before", opens("read, captured", 1) - opens("read", 1),
             "us", 60),
        _row("fixed cost of a run, wall", (wall("true, captured") - wall("true")) * 1000,
             "ms", 300),
        _row("each Python that starts, under the audit layer", each_python * 1000, "ms CPU", 5),
        _row("a logged point (100,000 a second are 10)", 1e6 / rate("log"), "us", 10),
        _row("training, bare", bare, "s CPU"),
        _row("training, captured, all in all", cpu("train, captured"), "s CPU"),
        _row("training, captured by the audit layer", cpu("train, audit"), "s CPU"),
    ]  # fmt: skip
    rows += [_row(f"training, {name}", cpu(f"train, {name}"), "s CPU") for name in peers]
    rows += [_row("thence.log", rate("log"), "points/s")]
    return rows + [_row(f"log of {name}", rate(f"log, {name}"), "points/s") for name in peers]


def _opens(cost: Cost) -> tuple[float, float]:
    first, again = cost.said.split()[:2]
    return float(first), float(again)


def _row(what: str, measured: float, unit: str, goal: float | None = None) -> dict[str, Any]:
    return {"what": what, "measured": measured, "unit": unit, "goal": goal}


def _keep(rows: list[dict[str, Any]], missing: list[str]) -> None:
    """For the page."""
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    document = {
        "rows": rows,
        "missing": missing,
        "images": IMAGES,
        "load": round(os.getloadavg()[2], 1),
        "rounds": ROUNDS,
        "where": f"{platform.system()} {platform.release()}, {platform.machine()}, "
        f"{os.cpu_count()} processors, Python {platform.python_version()}",
    }
    (folder / "capture_page.json").write_text(json.dumps(document, indent=1) + "\n")
