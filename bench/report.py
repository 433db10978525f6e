"""What a benchmark with options hands back, and what is said of the machine in it."""

import hashlib
import importlib.util
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".bench"


class Report(NamedTuple):
    """The rows that are printed, and all that was found."""

    rows: list[dict[str, Any]]
    document: dict[str, Any]


def circumstances() -> dict[str, Any]:
    """When, on what machine, and which state of thence was measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    described = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return {
        "measured": time.strftime("%Y-%m-%d"),
        "commit": described.stdout.strip(),
        "source": _source(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cpus": os.cpu_count() or 1,
        "memory_gb": round(memory / 1e9, 1),
        "load": round(os.getloadavg()[2], 1),
    }


def _source() -> str:
    """A digest of the code of thence that is measured."""
    spec = importlib.util.find_spec("thence")
    assert spec is not None, "thence is not installed"
    assert spec.origin is not None, "thence is not installed"
    digest = hashlib.sha256()
    for path in sorted(Path(spec.origin).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
