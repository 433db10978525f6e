"""20,000 small files and 1 GiB pushed to and cloned from a bucket, beside DVC and rclone.

All talk to the same SeaweedFS on loopback. Requests and bytes are what the server counted; seconds
and CPU are those of the client's processes. `THENCE_BENCH_SCALE=0.05` makes everything smaller.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.peers import peer

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "servers"))

from seaweed import S3Server, seaweed

SCALE = float(os.environ.get("THENCE_BENCH_SCALE", "1"))
FILES = max(100, int(20_000 * SCALE))
BIG = max(1 << 22, int((1 << 30) * SCALE))
ROUNDS = int(os.environ.get("THENCE_BENCH_ROUNDS", "2"))


class Cost(NamedTuple):
    """What one command took."""

    wall_s: float
    cpu_s: float
    requests: int
    sent: int
    received: int


class Bench:
    """One server, one workload, and what each tool made of it."""

    def __init__(self, server: S3Server, root: Path) -> None:
        self.server = server
        self.root = root
        self.env = {**os.environ, **server.environment, "DVC_NO_ANALYTICS": "1", "NO_COLOR": "1"}
        self.costs: dict[tuple[str, str, str], list[Cost]] = {}

    def timed(self, tool: str, path: str, step: str, *commands: Sequence[str], cwd: Path) -> None:
        """Carry out commands and remember what they took together."""
        before, counted = resource.getrusage(resource.RUSAGE_CHILDREN), self.counted()
        begun = time.perf_counter()
        for command in commands:
            self.run(*command, cwd=cwd)
        wall = time.perf_counter() - begun
        after, now = resource.getrusage(resource.RUSAGE_CHILDREN), self.counted()
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        spent = [int(b - a) for a, b in zip(counted, now, strict=True)]
        self.costs.setdefault((tool, path, step), []).append(Cost(wall, cpu, *spent))
        print(f"  {path:<8} {step:<9} {tool:<7} {wall:8.2f} s {cpu:8.2f} s CPU {spent}", flush=True)

    def run(self, *command: str, cwd: Path) -> None:
        """Carry out a command; its output is shown only where it fails."""
        done = subprocess.run(
            command, cwd=cwd, env=self.env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}")

    def warm_up(self, bucket: str) -> None:
        """Make a bucket, and have the server make the files in which it keeps what comes.

        It takes seconds for that where several write at once, whoever comes first.
        """
        self.server.make_bucket(bucket)
        client = self.server.client()

        def put(number: int) -> None:
            client.put_object(Bucket=bucket, Key=f"warm/{number}", Body=b"warm")

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(put, range(256)))

    def counted(self) -> tuple[float, float, float]:
        """Requests, bytes received and bytes sent by the server so far."""
        with urllib.request.urlopen(self.server.metrics_url) as answer:
            lines = answer.read().decode().splitlines()

        def total(name: str) -> float:
            return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

        return (
            total("SeaweedFS_s3_request_total{"),
            total("SeaweedFS_s3_bucket_traffic_received_bytes_total{"),
            total("SeaweedFS_s3_bucket_traffic_sent_bytes_total{"),
        )


def make_workload(folder: Path) -> None:
    """Small files of 1 to 8 KiB in 100 folders, and one big one; nothing in them compresses."""
    random = np.random.default_rng(11)
    for number in range(FILES):
        path = folder / "small" / f"{number % 100:02d}" / f"{number:05d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.bytes(int(random.integers(1024, 8192))))
    with (folder / "big.bin").open("wb") as file:
        for _ in range(BIG >> 20):
            file.write(random.bytes(1 << 20))


def edit(path: Path) -> None:
    """Change one small file in a hundred, or 1 % of the big one in 20 places."""
    random = np.random.default_rng(12)
    if path.is_dir():
        for file in sorted(path.rglob("*.bin"))[::100]:
            file.write_bytes(random.bytes(file.stat().st_size))
        return
    with path.open("r+b") as file:
        for place in range(20):
            file.seek(place * (BIG // 20) + 12_345)
            file.write(random.bytes(BIG // 100 // 20))


def thence_round(bench: Bench, folder: Path, url: str, path: str) -> None:
    """Save, push, clone and get; then edit and push again; then get straight from the bucket."""
    thence = [sys.executable, "-m", "thence", "-q"]
    bench.run(*thence, "init", cwd=folder)
    bench.run(*thence, "save", path, cwd=folder)
    bench.timed("thence", path, "push", [*thence, "push", url], cwd=folder)
    clone = folder.parent / "clone"
    clone.mkdir()
    bench.timed(
        "thence", path, "clone",
        [*thence, "clone", url, "."],
        [*thence, "get", path, str(clone / path)],
        cwd=clone,
    )  # fmt: skip
    bench.run("diff", "-r", str(folder / path), str(clone / path), cwd=folder)
    edit(folder / path)
    bench.run(*thence, "save", path, cwd=folder)
    bench.timed("thence", path, "push 1 %", [*thence, "push"], cwd=folder)
    joined = folder.parent / "joined"
    joined.mkdir()
    bench.timed(
        "thence", path, "get",
        [*thence, "init", "--store", url],
        [*thence, "get", path, str(joined / path)],
        cwd=joined,
    )  # fmt: skip
    bench.run("diff", "-r", str(folder / path), str(joined / path), cwd=folder)


def dvc_round(bench: Bench, folder: Path, url: str, path: str) -> None:
    """The same with DVC; what is in Git is cloned without being counted."""
    dvc = peer("dvc")
    identity = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    for command in (
        ["git", "init", "-q"],
        [dvc, "init", "-q"],
        [dvc, "remote", "add", "-q", "-d", "store", url.partition("?")[0]],
        [dvc, "remote", "modify", "-q", "store", "endpointurl", bench.server.endpoint],
        [dvc, "add", "-q", path],
        ["git", "add", "-A"],
        [*identity, "commit", "-qm", "one"],
    ):
        bench.run(*command, cwd=folder)
    bench.timed("dvc", path, "push", [dvc, "push", "-q"], cwd=folder)
    clone = folder.parent / "clone"
    bench.run("git", "clone", "-q", str(folder), str(clone), cwd=folder)
    bench.timed("dvc", path, "clone", [dvc, "pull", "-q"], cwd=clone)
    edit(folder / path)
    bench.run(dvc, "add", "-q", path, cwd=folder)
    bench.timed("dvc", path, "push 1 %", [dvc, "push", "-q"], cwd=folder)


def rclone_round(bench: Bench, folder: Path, url: str, path: str) -> None:
    """The same with rclone, which keeps no versions."""
    rclone = [
        peer("rclone"), "-q", "--config", os.devnull, "--s3-provider", "SeaweedFS",
        "--s3-env-auth", "--s3-endpoint", bench.server.endpoint, "--s3-no-check-bucket",
        "--transfers", "16", "--checkers", "16",
    ]  # fmt: skip
    remote = ":s3:" + url.removeprefix("s3://").partition("?")[0]
    bench.timed("rclone", path, "push", [*rclone, "copy", ".", remote], cwd=folder)
    clone = folder.parent / "clone"
    bench.timed("rclone", path, "clone", [*rclone, "copy", remote, str(clone)], cwd=folder)
    edit(folder / path)
    bench.timed("rclone", path, "push 1 %", [*rclone, "copy", ".", remote], cwd=folder)


Round = Callable[[Bench, Path, str, str], None]
TOOLS: Mapping[str, Round] = {"thence": thence_round, "dvc": dvc_round, "rclone": rclone_round}
WORKLOADS = {"small": f"{FILES:,} small files", "big.bin": f"{BIG >> 20} MiB"}


def run() -> list[dict[str, Any]]:
    """Interleave the tools over several rounds."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="thence-bench-")))
        bench = Bench(stack.enter_context(seaweed(root, metrics=True)), root)
        pristine = root / "pristine"
        make_workload(pristine)
        bench.warm_up("bench")
        sizes = {path: _size(pristine / path) for path in WORKLOADS}
        for number, path, tool in product(range(ROUNDS), WORKLOADS, TOOLS):
            folder = root / "round" / "work"
            folder.mkdir(parents=True)
            subprocess.run(["cp", "-r", pristine / path, folder], check=True)
            url = bench.server.url("bench", f"{tool}-{path.removesuffix('.bin')}-{number}")
            TOOLS[tool](bench, folder, url, path)
            subprocess.run(["rm", "-rf", folder.parent], check=True)
        return list(_rows(bench.costs, sizes))


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*.bin")
    return sum(file.stat().st_size for file in files)


def _rows(
    costs: Mapping[tuple[str, str, str], list[Cost]], sizes: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    best = {key: min(found, key=lambda cost: cost.wall_s) for key, found in costs.items()}
    for (tool, path, step), cost in best.items():
        yield {
            "what": f"{WORKLOADS[path]}: {step}, {tool}",
            "measured": cost.wall_s,
            "unit": "s",
            "goal": None,
            **cost._asdict(),
        }
    for path, step in product(WORKLOADS, ("push", "clone")):
        ratio = best["thence", path, step].wall_s / best["dvc", path, step].wall_s
        goal = 0.1 if path == "small" else 1.0
        what = f"{WORKLOADS[path]}: {step}, seconds of DVC's"
        yield {"what": what, "measured": ratio, "unit": "x", "goal": goal}
    for path, size in sizes.items():
        moved = 100 * best["thence", path, "push 1 %"].sent / size
        what = f"{WORKLOADS[path]}: bytes pushed after an edit of 1 %"
        yield {"what": what, "measured": moved, "unit": "%", "goal": 3.0}
