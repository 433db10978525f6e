import sys
from pathlib import Path

import pytest

from thence.execution.capture.classify import (
    Classifier,
    Place,
    is_library,
    is_short_text,
    source_of_bytecode,
)


@pytest.mark.parametrize(
    ("path", "place", "rule"),
    [
        ("/p/data/a.csv", Place.PROJECT, ""),
        ("/p/.git/index", Place.IGNORED, ".git"),
        ("/p/x/__pycache__/m.cpython-311.pyc", Place.IGNORED, "__pycache__"),
        ("/p/.thence/project.json", Place.IGNORED, ".thence"),
        ("/p/env/lib/python3.11/site-packages/x.py", Place.ENVIRONMENT, ""),
        ("/usr/lib/python3/dist-packages/x.py", Place.ENVIRONMENT, ""),
        ("/usr/lib/python3.11/json/__init__.py", Place.ENVIRONMENT, ""),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", Place.SYSTEM, ""),
        ("/etc/passwd", Place.SYSTEM, ""),
        ("/proc/self/maps", Place.SYSTEM, ""),
        ("/dev/shm/x", Place.SYSTEM, ""),
        ("/var/lib/x", Place.SYSTEM, ""),
        ("/var/tmp/x", Place.OUTSIDE, ""),
        ("/data/x.csv", Place.OUTSIDE, ""),
        ("/tmp/x", Place.OUTSIDE, ""),
        ("/h/data/x.csv", Place.OUTSIDE, ""),
        ("/h/.cache/x/y", Place.IGNORED, "~/.cache"),
        ("/h/.cache/huggingface/hub/model", Place.OUTSIDE, ""),
        ("/h/.config/matplotlib/matplotlibrc", Place.IGNORED, "~/.config"),
        ("/h/.gitconfig", Place.IGNORED, "~/.*"),
        ("/h/notes.txt", Place.OUTSIDE, "home"),
        ("/h/.pyenv/shims/python", Place.ENVIRONMENT, ""),
        ("/h/.local/share/uv/python/x/lib/y", Place.ENVIRONMENT, ""),
        ("/mpl/fontlist-v330.json", Place.IGNORED, "font cache"),
    ],
)
def test_places(path: str, place: Place, rule: str) -> None:
    assert Classifier("/p", home="/h").resolve(path)[1] == (place, rule)


@pytest.mark.parametrize("root", ["/usr/src/app", "/h/.cache/work", "/opt/x/site-packages/mine"])
def test_a_project_may_lie_anywhere(root: str) -> None:
    assert Classifier(root, home="/h").resolve(f"{root}/a.csv")[1].place is Place.PROJECT


def test_what_is_known_of_a_folder_is_not_taken_for_one_of_another_kind_below(
    tmp_path: Path,
) -> None:
    packages = "/opt/x/site-packages"
    classifier = Classifier(f"{packages}/mine", home="/h", ignore={"mine": f"{packages}/left/out"})
    places = [
        (f"{packages}/a.py", Place.ENVIRONMENT),
        (f"{packages}/sub/a.py", Place.ENVIRONMENT),
        (f"{packages}/mine/a.py", Place.PROJECT),
        (f"{packages}/mine/sub/a.py", Place.PROJECT),
        (f"{packages}/left/a.py", Place.ENVIRONMENT),
        (f"{packages}/left/out/a.py", Place.IGNORED),
    ]
    assert [(path, classifier.resolve(path)[1].place) for path, _ in places] == places


def test_links_among_the_folders_are_followed(tmp_path: Path) -> None:
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "project/pkg/sub").mkdir(parents=True)
    (tmp_path / "site-packages/pkg").symlink_to(tmp_path / "project/pkg")
    classifier = Classifier(str(tmp_path / "project"), home="/h")
    assert classifier.resolve(f"{tmp_path}/site-packages/x")[1].place is Place.ENVIRONMENT
    real, (place, _) = classifier.resolve(f"{tmp_path}/site-packages/pkg/sub/m.py")
    assert (real, place) == (f"{tmp_path}/project/pkg/sub/m.py", Place.PROJECT)


def test_a_folder_that_became_a_link_is_looked_at_again(tmp_path: Path) -> None:
    (tmp_path / "now").mkdir()
    (tmp_path / "next/sub").mkdir(parents=True)
    classifier = Classifier(str(tmp_path), home="/h")
    assert classifier.resolve(f"{tmp_path}/now/a")[0] == f"{tmp_path}/now/a"
    (tmp_path / "now").rmdir()
    (tmp_path / "now").symlink_to("next")
    classifier.forget(f"{tmp_path}/now")
    assert classifier.resolve(f"{tmp_path}/now/sub/a")[0] == f"{tmp_path}/next/sub/a"


def test_the_root_of_the_system_as_project() -> None:
    classifier = Classifier("/", home="/root")
    assert classifier.resolve("/data/x")[1].place is Place.PROJECT
    assert classifier.resolve("/usr/share/x")[1].place is Place.SYSTEM


def test_the_home_as_project() -> None:
    classifier = Classifier("/h", home="/h")
    assert classifier.resolve("/h/data/x")[1].place is Place.PROJECT
    assert classifier.resolve("/h/.cache/pip/x")[1].place is Place.IGNORED


def test_a_virtual_environment_inside_the_project(tmp_path: Path) -> None:
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/pyvenv.cfg").write_text("home = /usr\n")
    classifier = Classifier(str(tmp_path), home="/h")
    assert classifier.resolve(f"{tmp_path}/venv/bin/activate")[1].place is Place.ENVIRONMENT
    assert classifier.resolve(f"{tmp_path}/vent/bin/activate")[1].place is Place.PROJECT


def test_a_project_that_is_its_own_virtual_environment(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").write_text("home = /usr\n")
    assert Classifier(str(tmp_path), home="/h").resolve(f"{tmp_path}/a")[1].place is Place.PROJECT


def test_the_interpreter_of_this_test_is_environment() -> None:
    program = f"{sys.base_prefix}/include/python/Python.h"
    found = Classifier("/p", home="/h").resolve(program)[1].place
    assert found in {Place.ENVIRONMENT, Place.SYSTEM}


def test_the_caller_may_ignore_more(tmp_path: Path) -> None:
    classifier = Classifier("/p", home="/h", ignore={"spool": str(tmp_path)})
    assert classifier.resolve(f"{tmp_path}/a/b")[1] == (Place.IGNORED, "spool")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/p/__pycache__/m.cpython-311.pyc", "/p/m.py"),
        ("/p/__pycache__/m.cpython-311.opt-1.pyc", "/p/m.py"),
        ("/p/__pycache__/m.pypy310.pyc", "/p/m.py"),
        ("/p/__pycache__/m.cpython-311.pyc.140", None),
        ("/p/m.pyc", None),
    ],
)
def test_bytecode_names_its_source(path: str, expected: str | None) -> None:
    assert source_of_bytecode(path) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("libm.so.6", True), ("_x.cpython-311.so", True), ("x.dylib", True), ("a.so.txt", False)],
)
def test_libraries(name: str, expected: bool) -> None:
    assert is_library(f"/p/{name}") is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train.py", True),
        ("conf.YAML", True),
        (".env", True),
        (".env.local", True),
        ("Dockerfile", True),
        ("requirements-dev.txt", True),
        ("data.csv", False),
        ("notes.txt", False),
        ("model.pt", False),
    ],
)
def test_text_that_may_hold_secrets(name: str, expected: bool) -> None:
    assert is_short_text(f"/p/{name}") is expected
