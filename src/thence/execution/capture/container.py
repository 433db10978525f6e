"""The container that a run was in, as far as that can be seen from inside."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

__all__ = ["Container", "find_container"]

_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
# Only what a container engine mounts or groups by the id; other names of 64 digits are layers.
_MOUNT = re.compile(r"/(?:containers|overlay-containers|sandboxes|pods)/(?P<id>[0-9a-f]{64})/")
_GROUPS = (
    ("kubernetes", "kubepods"),
    ("podman", "libpod"),
    ("docker", "docker"),
    ("containerd", "containerd"),
    ("lxc", "/lxc"),
    ("systemd-nspawn", "machine.slice"),
)
_PODMAN = re.compile(r'^(?P<key>\w+)="(?P<value>[^"\n]*)"$', re.MULTILINE)


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """A container.

    Attributes:
        engine: `docker`, `podman`, `kubernetes`, `apptainer` … or `container`.
        id: Of the container; empty where it cannot be seen.
        image: Its name, or its path; empty where it cannot be seen, which is so in Docker.
    """

    engine: str
    id: str = ""
    image: str = ""


def find_container(
    root: Path = Path("/"), variables: Mapping[str, str] | None = None
) -> Container | None:
    """The container that this process is in, or None.

    Args:
        root: Where the file system begins.
        variables: Environment variables; default: those of this process.
    """
    given = os.environ if variables is None else variables
    image = given.get("APPTAINER_CONTAINER") or given.get("SINGULARITY_CONTAINER")
    if image or (root / ".singularity.d").is_dir():
        return Container(engine="apptainer", image=image or "")
    groups = _text(root / "proc/self/cgroup")
    mounts = _text(root / "proc/self/mountinfo")
    found = _MOUNT.search(mounts) or _ID.search(groups)
    number = "" if found is None else (found["id"] if found.lastgroup else found.group())
    told = root / "run/.containerenv"
    if told.is_file():
        facts = {one["key"]: one["value"] for one in _PODMAN.finditer(_text(told))}
        return Container(engine="podman", id=facts.get("id", number), image=facts.get("image", ""))
    engine = next((name for name, word in _GROUPS if word in groups), "")
    if "KUBERNETES_SERVICE_HOST" in given and (engine or number):
        engine = "kubernetes"
    if not engine and (root / ".dockerenv").exists():
        engine = "docker"
    if not engine and (number or given.get("container")):
        engine = given.get("container") or "container"
    return Container(engine=engine, id=number) if engine else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
