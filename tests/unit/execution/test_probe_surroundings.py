"""What is below the packages of a run: container, conda, the build of Python, limits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from thence.execution.capture.conda import CondaPackage, list_conda
from thence.execution.capture.container import Container, find_container
from thence.execution.capture.interpreters import describe_interpreter
from thence.execution.capture.system import System, capture_system
from thence.model import codec

NUMBER = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("files", "variables", "expected"),
    [
        ({}, {}, None),
        ({"proc/self/cgroup": "0::/user.slice/user-1000.slice/session-2.scope\n"}, {}, None),
        ({".dockerenv": ""}, {}, Container(engine="docker")),
        (
            {"proc/self/cgroup": f"12:memory:/docker/{NUMBER}\n", ".dockerenv": ""},
            {},
            Container(engine="docker", id=NUMBER),
        ),
        (  # with groups of the second kind only the mounts tell
            {
                ".dockerenv": "",
                "proc/self/cgroup": "0::/\n",
                "proc/self/mountinfo": f"1 2 254:1 /var/lib/docker/containers/{NUMBER}/hostname "
                "/etc/hostname rw - ext4 /dev/vda1 rw\n",
            },
            {},
            Container(engine="docker", id=NUMBER),
        ),
        (
            {
                "run/.containerenv": f'engine="podman-4.9"\nname="x"\nid="{NUMBER}"\n'
                'image="quay.io/org/train:3"\n'
            },
            {},
            Container(engine="podman", id=NUMBER, image="quay.io/org/train:3"),
        ),
        (
            {"proc/self/cgroup": f"0::/kubepods.slice/pod1/cri-containerd-{NUMBER}.scope\n"},
            {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
            Container(engine="kubernetes", id=NUMBER),
        ),
        (
            {".singularity.d/env/x": ""},
            {"APPTAINER_CONTAINER": "/images/torch.sif"},
            Container(engine="apptainer", image="/images/torch.sif"),
        ),
        ({}, {"container": "lxc"}, Container(engine="lxc")),
    ],
)
def test_the_container(
    tmp_path: Path, files: dict[str, str], variables: dict[str, str], expected: Container | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert find_container(tmp_path, variables) == expected


def test_the_packages_of_conda(tmp_path: Path) -> None:
    meta = tmp_path / "conda-meta"
    meta.mkdir()
    packages = {
        "numpy-1.26.4-py311h64a7726_0": "https://conda.anaconda.org/conda-forge/linux-64",
        "r-base-4.3.1-h_0": "https://ada:pw@conda.example.org/t/to-ken-1/inner/linux-64",
        "tzdata-2024a-h0": "https://repo.anaconda.com/pkgs/main/noarch",
        "pip-24.0-pyhd8_0": None,
    }
    for name, channel in packages.items():
        facts: dict[str, object] = {"build": "x", **({"channel": channel} if channel else {})}
        facts |= {"files": [f"lib/{n}" for n in range(1000)], "name": "later"}
        (meta / f"{name}.json").write_text(json.dumps(facts, indent=2))
    (meta / "history").write_text("")
    assert list_conda(tmp_path) == [
        CondaPackage(
            name="numpy", version="1.26.4", build="py311h64a7726_0", channel="conda-forge"
        ),
        CondaPackage(name="pip", version="24.0", build="pyhd8_0"),
        CondaPackage(
            name="r-base", version="4.3.1", build="h_0", channel="https://conda.example.org/inner"
        ),
        CondaPackage(name="tzdata", version="2024a", build="h0", channel="pkgs/main"),
    ]
    assert list_conda(tmp_path / "gone") == []


def test_the_build_of_an_interpreter(tmp_path: Path) -> None:
    mine = describe_interpreter(sys.executable)
    assert mine is not None
    assert mine.build == sys.version.replace("\n", " ")
    assert mine.gil
    # Of another one the same is found out by asking it.
    other = tmp_path / "python3"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    asked = describe_interpreter(str(other))
    assert asked is not None
    assert (asked.build, asked.build_options) == (mine.build, mine.build_options)


def test_locale_time_zone_and_limits() -> None:
    found = capture_system([], [], {"TZ": "Asia/Tokyo", "LANG": "de_DE.UTF-8"})
    assert (found.timezone, found.locale) == ("Asia/Tokyo", "de_DE.UTF-8")
    assert capture_system([], [], {"LC_ALL": "C", "LANG": "x"}).locale == "C"
    done = subprocess.run(
        ["sh", "-c", "ulimit -n"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert done == "unlimited" or found.limits["open files"] == int(done)
    assert codec.decode(codec.encode(found), System) == found
