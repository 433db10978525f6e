"""The packages of a conda environment, which pip knows nothing of where they are not Python."""

import os
import re
from pathlib import Path

import msgspec

from thence.execution.capture.urls import without_credentials

__all__ = ["CondaPackage", "list_conda"]

# Name, version and build are in the name of the file; the channel stands before the list of the
# package's files, which makes up nearly all of a file of up to a megabyte.
_HEAD_BYTES = 4096
_CHANNEL = re.compile(r'^\s{0,4}"channel": ?"(?P<value>[^"\n]*)"', re.MULTILINE)


class CondaPackage(msgspec.Struct, frozen=True, kw_only=True):
    """A package that conda installed.

    Attributes:
        build: Which build of the version: `py311h64a7726_0`.
        channel: Where from, without credentials: `conda-forge`, or an address.
    """

    name: str
    version: str
    build: str = ""
    channel: str = ""


def list_conda(prefix: str | Path) -> list[CondaPackage]:
    """The packages of the conda environment in a folder, sorted; empty where it is none."""
    try:
        with os.scandir(Path(prefix, "conda-meta")) as entries:
            paths = sorted(entry.path for entry in entries if entry.name.endswith(".json"))
    except OSError:
        return []
    return [package for path in paths if (package := _read(path)) is not None]


def _read(path: str) -> CondaPackage | None:
    parts = os.path.basename(path).removesuffix(".json").rsplit("-", 2)
    if len(parts) != 3:
        return None
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES).decode("utf-8", "replace")
    except OSError:
        head = ""
    channel = _CHANNEL.search(head)
    return CondaPackage(
        name=parts[0],
        version=parts[1],
        build=parts[2],
        channel=_short(channel["value"]) if channel else "",
    )


def _short(channel: str) -> str:
    """`conda-forge` of `https://conda.anaconda.org/conda-forge/linux-64`."""
    address = re.sub(r"/t/[^/]+/", "/", without_credentials(channel))
    address = re.sub(r"/(noarch|linux-[\w-]+|osx-[\w-]+|win-[\w-]+)/?$", "", address)
    known = ("https://conda.anaconda.org/", "https://repo.anaconda.com/")
    return next((address.removeprefix(k) for k in known if address.startswith(k)), address)
