"""CPU beyond the bare interpreter: what every command costs before it does anything."""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROUNDS = 15


def _cpu_ms(command: list[str], folder: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used * 1000


def run() -> list[dict[str, Any]]:
    """Interleave the commands with the bare interpreter and take the least of each."""
    python = sys.executable
    cases = {
        "import thence": ([python, "-c", "import thence"], 50),
        "thence --help": ([python, "-m", "thence", "--help"], 150),
        "thence ls": ([python, "-m", "thence", "ls"], 150),
    }
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [python, "-m", "thence", "init"], cwd=folder, check=True, capture_output=True
        )
        for number in range(20):
            Path(folder, f"{number}.txt").write_text(str(number))
        files = sorted(name for name in os.listdir(folder) if name.endswith(".txt"))
        save = [python, "-m", "thence", "save", *files]
        subprocess.run(save, cwd=folder, check=True, capture_output=True)
        least: dict[str, float] = {}
        for _ in range(ROUNDS):
            for name, command in {
                "bare": [python, "-c", "pass"],
                **{name: command for name, (command, _) in cases.items()},
            }.items():
                least[name] = min(least.get(name, 1e9), _cpu_ms(command, folder))
    return [
        {"what": name, "measured": least[name] - least["bare"], "unit": "ms", "goal": goal}
        for name, (_, goal) in cases.items()
    ]
