"""thence beside DVC, borg, restic, Git, Git LFS, Oxen and `cp -r`, on the same work.

`python -m bench storage [--rounds 3] [--scale 1] [--only thence,borg,big] [--add]
[--folder DIR]`

In each round each workload is kept by each tool: the tools take turns at each step, each with a
store of its own that is made anew. Sources and stores are read once before each step, so that
nothing waits for the disk; what is given back is compared byte for byte when the clock has stopped.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.contenders import CONTENDERS, Contender, environment_of
from bench.measured import CommandFailed, Measured, bare, measure
from bench.peers import PeerMissing
from bench.report import FOLDER, Report, circumstances
from bench.storage_table import Sample, goals, markdown, rows
from bench.workloads import WORKLOADS, made

RESULTS = Path(__file__).parent / "results"
GROUPS = ("big", "csv", "files", "model", "parquet")
NEEDED_BYTES = {"big": 3.3e9, "csv": 1.6e9, "files": 2e9}  # on the disk for each tool, at most
SELDOM = ("git-lfs", "oxen")  # slow: once, when the others are done


class Round:
    """One workload, kept by some tools that take turns."""

    def __init__(self, bench: "Bench", group: str, number: int, tools: Sequence[str]) -> None:
        self._bench = bench
        self._group = group
        self._number = number
        self._states = bench.workload(group)
        self._entry = WORKLOADS[group].entry
        self._root = bench.folder / f"round-{os.getpid()}"  # two may be going on
        shutil.rmtree(self._root, ignore_errors=True)
        (self._root / "home").mkdir(parents=True)
        self._environment = environment_of(self._root / "home")
        shared = self._root / "shared"
        shared.mkdir()
        self._tools = []
        for name in tools:
            kind = CONTENDERS[name]
            root = self._root / name
            work = root / "work" if kind.own_tree else shared
            for folder in (root, work, root / "out"):
                folder.mkdir(exist_ok=True)
            self._tools.append(kind(root, work, self._entry, self._environment))
        self._trees = {tool.work for tool in self._tools}
        self._stored = {tool.name: 0 for tool in self._tools}
        self._failed: set[str] = set()

    def go(self) -> None:
        """All steps."""
        self._lay(1)
        for tool in self._tools:
            tool.prepare()
        self._all("save", lambda tool: tool.save(1))
        if self._group == "files":
            self._all("save again", lambda tool: tool.save(2))
            self._all("status", lambda tool: tool.status())
        if self._group in ("big", "csv", "files"):
            self._all("restore", lambda tool: tool.restore(1))
        for state in range(2, len(self._states) + 1):
            self._lay(state)
            self._all(f"save v{state}", lambda tool, state=state: tool.save(state))
        shutil.rmtree(self._root)

    def _lay(self, state: int) -> None:
        """Put a state of the entry into each folder of work, on the disk and in its cache."""
        for tree in self._trees:
            path = tree / self._entry
            _remove(path)
            subprocess.run(["cp", "-r", self._states[state - 1], path], check=True)
        os.sync()

    def _all(self, step: str, commands: Any) -> None:
        for tool in self._tools:
            if tool.name not in self._failed:
                self._one(tool, step, commands)

    def _one(self, tool: Contender, step: str, commands: Any) -> None:
        asked = commands(tool)
        if asked is None:
            return
        if step == "restore":
            _remove(tool.given_back)
            _warm(tool.stores())
        else:
            _warm([tool.work / self._entry])
        try:
            took = measure(asked, environment=self._environment)
            if step == "restore":
                subprocess.run(
                    ["diff", "-rq", self._states[0], tool.given_back],
                    check=True, capture_output=True,
                )  # fmt: skip
        except (CommandFailed, subprocess.CalledProcessError) as error:
            self._bench.note(Sample(self._group, step, tool.name, self._number, failed=str(error)))
            if step != "save again":  # whoever refuses to keep the same twice may go on
                self._failed.add(tool.name)
            return
        if tool.given_back.parent != tool.work:
            _remove(tool.given_back)
        stored = _size(tool.stores())
        new, self._stored[tool.name] = stored - self._stored[tool.name], stored
        self._bench.note(
            self._bench.sample(self._group, step, tool, self._number, took, stored, new)
        )


class Bench:
    """Where it is done, and what was found."""

    def __init__(self, folder: Path, scale: float) -> None:
        self.folder = folder
        self.scale = scale
        self.samples: list[Sample] = []
        self._bare: dict[str, float] = {}

    def workload(self, group: str) -> list[Path]:
        """The entry in each of its states; made the first time."""
        folder = made(self.folder / "workloads", group, self.scale)
        return [folder / state / WORKLOADS[group].entry for state in sorted(os.listdir(folder))]

    def bare_of(self, tool: type[Contender], environment: dict[str, str]) -> float:
        """CPU seconds of the interpreter that a tool runs in; none where it needs none."""
        if not tool.is_python:
            return 0.0
        program = Path(tool.program())
        python = program if "python" in program.name else program.parent / "python"
        if not python.exists():  # of the system
            python = Path("/usr/bin/python3")
        if str(python) not in self._bare:
            self._bare[str(python)] = bare(python, environment)
        return self._bare[str(python)]

    def sample(
        self, group: str, step: str, tool: Contender, number: int, took: Measured, *sizes: int
    ) -> Sample:
        """One measurement, net of the interpreter."""
        net = took.cpu_s - self.bare_of(type(tool), dict(tool.environment))
        stored, new = sizes
        return Sample(
            group, step, tool.name, number,
            round(took.wall_s, 3), round(net, 3), took.rss_bytes, stored, new,
        )  # fmt: skip

    def note(self, sample: Sample) -> None:
        """Remember one, and say it."""
        self.samples.append(sample)
        told = sample.failed.splitlines()[0][:90] if sample.failed else (
            f"{sample.wall_s:8.2f} s {sample.cpu_s:8.2f} s CPU {sample.rss_bytes / 1e6:7.0f} MB "
            f"{sample.new_bytes / 1e6:9.2f} MB new"
        )  # fmt: skip
        print(
            f"  {sample.number} {sample.group:<8}{sample.step:<11}{sample.tool:<8}{told}",
            flush=True,
        )


def run(arguments: Sequence[str] = ()) -> Report:
    """Measure, and write `storage.json` and `storage.md` into the folder of results."""
    parser = argparse.ArgumentParser(prog="python -m bench storage", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="make the workloads smaller")
    parser.add_argument("--only", default="", help="tools and workloads, with commas")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--add", action="store_true", help="keep what was measured before")
    given = parser.parse_args(arguments)
    only = [name for name in given.only.split(",") if name]
    for name in only:
        if name not in CONTENDERS and name not in GROUPS:
            parser.error(f"no tool and no workload is called {name!r}")
    tools = [name for name in only if name in CONTENDERS] or list(CONTENDERS)
    groups = [name for name in only if name in GROUPS] or list(GROUPS)
    bench = Bench(given.folder.resolve(), given.scale)
    bench.folder.mkdir(parents=True, exist_ok=True)
    largest = max(NEEDED_BYTES.get(group, 1e9) for group in groups)
    needed = given.scale * largest * len(set(tools) - set(SELDOM))
    free = shutil.disk_usage(bench.folder).free
    if free < needed:
        parser.error(
            f"it needs {needed / 1e9:.0f} GB on the disk, and {free / 1e9:.0f} GB are free"
        )
    tools, versions = _there(tools, environment_of(bench.folder))
    document = {
        **circumstances(),
        "scale": given.scale,
        "rounds": 0,
        "versions": versions,
        "notes": {name: CONTENDERS[name].note for name in tools},
        "samples": [],
        "sizes": {group: _sizes(bench, group) for group in groups},
    }
    if given.add:
        document = added(json.loads((RESULTS / "storage.json").read_text()), document)
    first = document["rounds"] + 1
    bench.samples = [Sample(*packed) for packed in document["samples"]]
    for number in range(first, first + given.rounds):
        document["rounds"] = number
        often = [name for name in tools if name not in SELDOM]
        seldom = [name for name in tools if name in SELDOM and number == first]
        for group, some in itertools.product(groups, (often, seldom)):
            if some:
                # Who begins changes from round to round.
                turn = (number - 1) % len(some)
                Round(bench, group, number, some[turn:] + some[:turn]).go()
                document["samples"] = [sample.packed() for sample in bench.samples]
                _write(document)
    return Report(rows(goals(document)), document)


def added(earlier: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What is to be measured now, after what was measured earlier.

    What was measured of another state of thence is left out; what the others did stands.

    Raises:
        ValueError: the workloads had another size.
    """
    if earlier["scale"] != now["scale"]:
        raise ValueError(f"what is there was measured at a scale of {earlier['scale']}")
    same = earlier["source"] == now["source"]
    return {
        **now,
        "rounds": earlier["rounds"],
        "versions": {**earlier["versions"], **now["versions"]},
        "notes": {**earlier["notes"], **now["notes"]},
        "samples": [one for one in earlier["samples"] if same or Sample(*one).tool != "thence"],
        "sizes": {**earlier["sizes"], **now["sizes"]},
    }


def _write(document: dict[str, Any]) -> None:
    """After each workload, so that a run that is stopped was not for nothing."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "storage.json").write_text(json.dumps(document, indent=1) + "\n")
    (RESULTS / "storage.md").write_text(markdown(document))


def _there(names: Sequence[str], environment: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    versions = {}
    for name in names:
        try:
            versions[name] = CONTENDERS[name].version(environment)
        except PeerMissing as error:
            print(f"LEFT OUT: {error}", file=sys.stderr, flush=True)
    return [name for name in names if name in versions], versions


def _sizes(bench: Bench, group: str) -> list[int]:
    return [_size([state]) for state in bench.workload(group)]


def _files(path: Path) -> Iterator[str]:
    if path.is_file():
        yield str(path)
    for folder, _, names in os.walk(path):
        for name in names:
            yield os.path.join(folder, name)


def _size(paths: Sequence[Path]) -> int:
    return sum(os.lstat(file).st_size for path in paths for file in _files(path))


def _warm(paths: Sequence[Path]) -> None:
    buffer = bytearray(1 << 20)
    for path in paths:
        for file in _files(path):
            with open(file, "rb", buffering=0) as opened:
                while opened.readinto(buffer):
                    pass


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
