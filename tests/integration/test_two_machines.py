"""A result made on one machine and reproduced on another, which share nothing but a bucket."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import pytest

from seaweed import S3Server

_TRAIN = """
import csv
import json

import steadymean

import thence

with open("data.csv", newline="") as file:
    values = [float(row["value"]) for row in csv.DictReader(file)]
thence.log(offset=steadymean.OFFSET)
for step, value in enumerate(values):
    thence.log(step=step, seen=value)
with open("model.json", "w") as file:
    json.dump({"mean": steadymean.mean(values)}, file)
"""
_PACKAGE = "OFFSET = 0.5\n\ndef mean(values):\n    return sum(values) / len(values) + OFFSET\n"


def write_wheel(folder: Path, name: str, version: str, text: str) -> None:
    """A wheel with one module."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).decode()
        lines.append(f"{path},sha256={digest.rstrip('=')},{len(content)}")
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
    folder.mkdir(exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)


class Machine:
    """A home, a cache, a project folder and a virtual environment that nobody else has."""

    def __init__(self, root: Path, credentials: dict[str, str], wheels: Path) -> None:
        self.home = root / "home"
        self.folder = root / "work"
        self.folder.mkdir(parents=True)
        self.home.mkdir()
        self.bin = root / "venv" / "bin"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.bin.parent], check=True)
        (site,) = self.bin.parent.glob("lib/*/site-packages")
        # What thence needs is borrowed, to spare minutes of installing; what the program uses is
        # really installed.
        (site / "thence-of-the-tests.pth").write_text(
            f"{Path(__file__).parents[2] / 'src'}\n{sysconfig.get_path('purelib')}\n"
        )
        self.environment = {
            **{n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "THENCE_"))},
            **credentials,
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "UV_OFFLINE": "1",
            "UV_CACHE_DIR": str(self.home / "uv"),
        }

    def install(self, package: str) -> None:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "--python",
                self.bin / "python",
                "install",
                "-q",
                package,
            ],
            env=self.environment,
            check=True,
        )

    def thence(self, *arguments: str, at: Path | None = None) -> list[dict[str, Any]]:
        done = subprocess.run(
            [self.bin / "python", "-m", "thence", *arguments],
            cwd=at or self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = (done.stdout + done.stderr).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.fixture
def machines(seaweed: S3Server, tmp_path: Path) -> tuple[Machine, Machine]:
    wheels = tmp_path / "wheels"
    write_wheel(wheels, "steadymean", "1.0", _PACKAGE)
    here, there = (Machine(tmp_path / n, seaweed.environment, wheels) for n in ("here", "there"))
    there.install("steadymean==1.0")  # and not here
    return here, there


@pytest.fixture
def url(seaweed: S3Server, request: pytest.FixtureRequest) -> str:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())
    return seaweed.url(seaweed.make_bucket(name[:60].strip("-")), "team")


def made(there: Machine, url: str) -> str:
    """A run on one machine; its ref."""
    (there.folder / "data.csv").write_text("value\n1\n2\n6\n")
    (there.folder / "train.py").write_text(_TRAIN)
    there.thence("init", "--store", url)
    there.thence("run", "python", "train.py")
    (run,) = there.thence("runs", "list", "--json")
    assert run["status"] == "finished"
    assert run["metrics"] == {"offset": 0.5, "seen": 6.0}
    return f"run:{run['run']}"


def verdict(found: list[dict[str, Any]]) -> dict[str, Any]:
    (last,) = [one for one in found if one["type"] == "verdict"]
    return last


def finding(machine: Machine, run: str) -> str | None:
    """What a machine knows of how a run was reproduced."""
    (known,) = [one for one in machine.thence("runs", "list", "--json") if one["run"] in run]
    found: str | None = known["finding"]
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_result_is_reproduced_from_the_bucket(
    machines: tuple[Machine, Machine], url: str
) -> None:
    here, there = machines
    run = made(there, url)
    here.thence("init", "--store", url)
    found = verdict(here.thence("reproduce", run, "--json"))
    assert found["finding"] == "reproduced"
    # The first machine sees at once what was found on the second.
    assert finding(there, run) == "reproduced"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_result_is_reproduced_from_a_part_of_the_project(
    machines: tuple[Machine, Machine], url: str
) -> None:
    here, there = machines
    run = made(there, url)
    (there.folder / "other.csv").write_text("value\n9\n")
    there.thence("save", "other.csv")
    here.thence("clone", url, "part", "--only", "model.json@v1")
    part = here.folder / "part"
    found = verdict(here.thence("reproduce", "model.json@v1", "--json", at=part))
    assert found["finding"] == "reproduced"
    # What was found waits here, and is known to all once it is pushed.
    assert finding(there, run) is None
    here.thence("push", at=part)
    assert finding(there, run) == "reproduced"
