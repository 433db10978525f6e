"""One row inserted five times near the top of a 140 MB CSV: how much the store grows."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from thence.project import Project

ROWS = 3_060_000


def _lines() -> list[bytes]:
    random = np.random.default_rng(7)
    uniform, normal = random.random(ROWS) * 1000, random.standard_normal(ROWS)
    groups = random.integers(0, 100, ROWS)
    words = (b"alpha", b"beta", b"gamma", b"delta", b"epsilon", b"zeta")
    return [
        b"%d,%d,%s,%.4f,%.6f,%d\n"
        % (i, 1_700_000_000 + i * 7, words[groups[i] % 6], uniform[i], normal[i], groups[i])
        for i in range(ROWS)
    ]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run() -> list[dict[str, Any]]:
    """Save, insert, save, and so on."""
    lines = _lines()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = folder / "table.csv"
        table.write_bytes(b"".join(lines))
        project = Project.init(folder)
        store = folder / ".thence" / "store"
        project.save_paths([table])
        size, first = table.stat().st_size, _size(store)
        for number in range(5):
            lines.insert(100 + 37 * number, b"0,0,inserted,0.0,0.0,%d\n" % number)
            table.write_bytes(b"".join(lines))
            project.save_paths([table])
        grown = _size(store) - first
        versions = len(project.history("table.csv"))
    return [
        {"what": f"store after {size / 1e6:.0f} MB", "measured": first / 1e6, "unit": "MB",
         "goal": size / 1e6},
        {"what": f"growth by {versions - 1} more versions", "measured": grown / 1e6, "unit": "MB",
         "goal": 0.6},
    ]  # fmt: skip
