"""Environments are really made and filled here, by uv and by pip."""

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from thence.execution import installers, rebuild
from thence.execution.capture.distributions import Distribution, KeptFile
from thence.execution.capture.environment import Environment, capture_environment
from thence.execution.capture.interpreters import Interpreter, describe_interpreter
from thence.execution.installers import parse_pip_config
from thence.execution.rebuild import Rebuilt, rebuild_environment

THIS = describe_interpreter(sys.executable)
assert THIS is not None


def write_wheel(folder: Path, name: str, version: str, text: str = "value = 1\n") -> Path:
    """A wheel with one module and one script."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"{text}def main() -> None:\n    print({name!r})\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
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
    return wheel


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    write_wheel(folder, "thence_one", "1.0")
    write_wheel(folder, "thence_two", "2.0")
    return folder


@pytest.fixture
def only_pip_knows(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which pip alone is configured, and everything else is out of reach."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    return wheels


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The environment of a program that used both packages, installed by pip."""
    folder = tmp_path_factory.mktemp("original")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = str(venv / "bin" / "python")
    one = write_wheel(folder / "wheels", "thence_one", "1.0").parent
    write_wheel(one, "thence_two", "2.0")
    pip = [sys.executable, "-m", "pip", "--isolated", "--python", python, "install", "--quiet"]
    options = ["--no-index", "--no-deps", "--find-links", str(one)]
    subprocess.run([*pip, *options, "thence_one", "thence_two"], check=True)
    site = next(venv.glob("lib/*/site-packages"))
    opened = {str(site / "thence_one.py"), str(site / "thence_two.py")}
    environment = capture_environment(opened, [python])
    assert [item.pin for item in environment.used] == ["thence-one==1.0", "thence-two==2.0"]
    assert [item.installer for item in environment.used] == ["pip", "pip"]
    return environment


@pytest.fixture
def recorded(original: Environment, only_pip_knows: Path) -> Environment:
    return original


def run(rebuilt: Rebuilt, code: str) -> str:
    assert rebuilt.python is not None
    done = subprocess.run(
        [rebuilt.python, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_real_packages_come_back_file_by_file(tmp_path: Path) -> None:
    import numpy
    import packaging

    environment = capture_environment(
        {packaging.__file__, msgspec.__file__, numpy.__file__}, [sys.executable]
    )
    assert {"numpy", "packaging", "msgspec"} <= {item.name for item in environment.used}
    said: list[str] = []
    rebuilt = rebuild_environment(environment, tmp_path / "env", progress=said.append)
    if any("network" in text or "sending request" in text for text in rebuilt.missing):
        pytest.skip(f"no package index can be reached: {rebuilt.missing[0]}")
    assert rebuilt.missing == ()
    # No deviation: the version of Python and every digest are the recorded ones.
    assert rebuilt.deviations == ()
    pins = {item.pin for item in environment.distributions}
    assert set(rebuilt.packages) == pins
    version = run(rebuilt, "import numpy, msgspec, packaging; print(numpy.__version__)")
    assert version == numpy.__version__
    assert said[0] == f"making an environment with Python {environment.python}"


def test_the_indexes_of_pip_are_tried_when_uv_has_none(
    recorded: Environment, tmp_path: Path
) -> None:
    said: list[str] = []
    rebuilt = rebuild_environment(recorded, tmp_path / "env", progress=said.append)
    assert rebuilt.missing == ()
    assert rebuilt.deviations == ()
    assert rebuilt.packages == ("thence-one==1.0", "thence-two==2.0")
    assert "trying again with the package indexes of pip" in said
    assert run(rebuilt, "import thence_one; print(thence_one.value)") == "1"


@pytest.mark.parametrize("uv", ["missing", "broken"])
def test_venv_and_pip_do_it_without_uv(
    recorded: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uv: str
) -> None:
    broken = tmp_path / "uv"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 1\n")
    broken.chmod(0o755)
    found = None if uv == "missing" else str(broken)
    monkeypatch.setattr(installers, "_find_uv", lambda: found)
    rebuilt = rebuild_environment(recorded, tmp_path / "env")
    assert rebuilt.missing == ()
    assert rebuilt.deviations == ()
    assert run(rebuilt, "import thence_two; print(thence_two.value)") == "1"


def test_exactly_the_packages_that_cannot_be_had_are_missing(
    recorded: Environment, tmp_path: Path
) -> None:
    gone = [
        Distribution(name="thence-one", version="9.9", site="/x"),
        Distribution(name="thence-nowhere", version="1.0", site="/x"),
    ]
    environment = msgspec.structs.replace(
        recorded, distributions=(*gone, *recorded.distributions[1:])
    )
    rebuilt = rebuild_environment(environment, tmp_path / "env", cache=tmp_path / "cache")
    assert [text.partition(" (")[0] for text in rebuilt.missing] == [
        "thence-nowhere==1.0",
        "thence-one==9.9",
    ]
    assert rebuilt.packages == ("thence-two==2.0",)
    assert rebuilt.python == tmp_path / "env" / "bin" / "python"
    assert list((tmp_path / "cache").iterdir()) == []  # never reused while something is missing


def test_other_files_under_the_same_version_are_a_deviation(
    recorded: Environment, only_pip_knows: Path, tmp_path: Path
) -> None:
    write_wheel(only_pip_knows, "thence_one", "1.0", "value = 2\n")
    rebuilt = rebuild_environment(recorded, tmp_path / "env")
    assert rebuilt.deviations == ("thence-one 1.0 has other files than originally (another build)",)


@pytest.mark.parametrize("uv", [True, False])
def test_another_patch_release_of_python_is_a_deviation(
    recorded: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, uv: bool
) -> None:
    if not uv:
        monkeypatch.setattr(installers, "_find_uv", lambda: None)
    first = recorded.interpreters[0]
    wanted = f"{first.minor_version}.99"
    environment = msgspec.structs.replace(
        recorded, interpreters=(msgspec.structs.replace(first, version=wanted),)
    )
    rebuilt = rebuild_environment(environment, tmp_path / "env")
    assert len(rebuilt.deviations) == 1
    assert rebuilt.deviations[0].startswith(f"Python {first.minor_version}.")
    assert rebuilt.deviations[0].endswith(f"; originally {wanted}")
    assert rebuilt.missing == ()


def test_a_python_that_cannot_be_had_is_missing_with_all_its_packages(
    recorded: Environment, tmp_path: Path
) -> None:
    nowhere = Interpreter(executable="/x", version="7.4.1", implementation="pypy")
    environment = msgspec.structs.replace(recorded, interpreters=(nowhere,))
    rebuilt = rebuild_environment(environment, tmp_path / "env")
    assert rebuilt.python is None
    assert rebuilt.missing == ("Python 7.4.1", "thence-one==1.0", "thence-two==2.0")
    assert not (tmp_path / "env").exists()


def test_a_run_without_python_needs_nothing(tmp_path: Path) -> None:
    assert rebuild_environment(Environment(), tmp_path / "env") == Rebuilt(None)
    assert not (tmp_path / "env").exists()


def test_kept_packages_are_not_installed(recorded: Environment, tmp_path: Path) -> None:
    kept = KeptFile(path="/x/a.py", place="a.py", package="thence-one", reason="local")
    environment = msgspec.structs.replace(recorded, kept=(kept,))
    rebuilt = rebuild_environment(environment, tmp_path / "env")
    assert rebuilt.packages == ("thence-two==2.0",)
    assert rebuilt.missing == ()


def test_a_vcs_package_is_installed_by_commit_or_missing(tmp_path: Path) -> None:
    assert THIS is not None
    item = Distribution(
        name="gone", version="1", site="/x", source="vcs", url=f"git+file://{tmp_path}/no.git@abc"
    )
    environment = Environment(interpreters=(THIS,), distributions=(item,))
    rebuilt = rebuild_environment(environment, tmp_path / "env")
    assert [text.partition(" (")[0] for text in rebuilt.missing] == ["gone==1"]


# --- what must not leak --------------------------------------------------------------------------


def test_an_active_environment_does_not_leak(
    recorded: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "active"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", other], check=True)
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "sitecustomize.py").write_text("raise SystemExit('leaked')\n")
    monkeypatch.setenv("VIRTUAL_ENV", str(other))
    monkeypatch.setenv("CONDA_PREFIX", str(other))
    monkeypatch.setenv("PYTHONPATH", str(hostile))
    monkeypatch.setenv("PYTHONHOME", str(hostile))
    monkeypatch.setenv("UV_PYTHON", "3.5")
    monkeypatch.setenv("PIP_TARGET", str(hostile))
    monkeypatch.setenv("UV_CONSTRAINT", str(hostile / "none.txt"))
    rebuilt = rebuild_environment(recorded, tmp_path / "env")
    assert rebuilt.missing == ()
    monkeypatch.delenv("PYTHONHOME")
    assert run(rebuilt, "import sys; print(sys.prefix)") == str(tmp_path / "env")
    assert not list(other.glob("lib/*/site-packages/thence*"))


# --- the cache -----------------------------------------------------------------------------------


@pytest.fixture
def no_building(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def fail(*_: object) -> Rebuilt:
        raise AssertionError("it was built again")

    return lambda: monkeypatch.setattr(rebuild, "_build", fail)


def test_an_environment_is_reused_and_its_scripts_work_where_it_is(
    recorded: Environment, tmp_path: Path, no_building: Callable[[], None]
) -> None:
    cache = tmp_path / "cache"
    one = rebuild_environment(recorded, tmp_path / "1", cache=cache)
    no_building()
    two = rebuild_environment(recorded, tmp_path / "2", cache=cache)
    assert one == two
    assert one.python is not None
    assert one.python.is_relative_to(cache)
    assert len(list(cache.iterdir())) == 1
    script = one.python.parent / "thence_one"
    assert subprocess.check_output([script], text=True) == "thence_one\n"
    assert b".draft" not in script.read_bytes()


def test_an_environment_that_a_program_wrote_to_is_built_again(
    recorded: Environment, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    one = rebuild_environment(recorded, tmp_path / "1", cache=cache)
    assert one.site is not None
    smuggled = one.site / "smuggled.pth"
    smuggled.write_text("import this\n")

    two = rebuild_environment(recorded, tmp_path / "2", cache=cache)

    assert two.site == one.site
    assert not smuggled.exists()


def test_what_a_crash_left_is_built_again(recorded: Environment, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    one = rebuild_environment(recorded, tmp_path / "1", cache=cache)
    assert one.python is not None
    folder = one.python.parent.parent
    (folder / "thence-environment.json").write_bytes(b"")
    (folder / "lib").rename(folder / "half")
    two = rebuild_environment(recorded, tmp_path / "2", cache=cache)
    assert two == one
    assert not (folder / "half").exists()
    assert run(two, "import thence_one; print(thence_one.value)") == "1"


def test_a_failed_build_leaves_nothing(
    recorded: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(installers.Installers, "install", interrupt)
    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        rebuild_environment(recorded, tmp_path / "1", cache=cache)
    assert list(cache.iterdir()) == []


def test_an_environment_to_be_patched_is_not_shared(recorded: Environment, tmp_path: Path) -> None:
    kept = KeptFile(path="/x", place="thence_one.py", package="thence-one", reason="patched")
    environment = msgspec.structs.replace(recorded, kept=(kept,))
    rebuilt = rebuild_environment(environment, tmp_path / "env", cache=tmp_path / "cache")
    assert rebuilt.python == tmp_path / "env" / "bin" / "python"
    assert "thence-one==1.0" in rebuilt.packages


def test_no_time_left_is_missing_not_an_error(recorded: Environment, tmp_path: Path) -> None:
    rebuilt = rebuild_environment(recorded, tmp_path / "env", timeout_s=0)
    assert rebuilt.python is None
    assert rebuilt.missing[0].startswith("Python ")


# --- the configuration of pip --------------------------------------------------------------------


def test_the_configuration_of_pip_is_read() -> None:
    lines = (
        ":env:.find-links='/opt/wheels'\nglobal.index-url='https://a/simple'\n"
        "global.extra-index-url='https://b/simple https://c/simple'\n"
        "install.find-links='/opt/wheels\\n/srv/wheels'\nglobal.timeout='9'\n"
    )
    assert parse_pip_config(lines, {"PIP_INDEX_URL": "https://z/simple"}) == {
        "find-links": ["/opt/wheels", "/srv/wheels"],
        "index-url": ["https://z/simple"],
        "extra-index-url": ["https://b/simple", "https://c/simple"],
    }
    assert parse_pip_config("", {}) == {}
