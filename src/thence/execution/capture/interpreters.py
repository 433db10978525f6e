"""The Python interpreters of a run, found from the programs that it started."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import msgspec

__all__ = ["Interpreter", "describe_interpreter", "find_interpreters", "read_pyvenv_cfg"]

_PYTHON_NAME = re.compile(r"(python|pypy)(\d+(\.\d+)*)?t?(\.exe)?")
_QUESTION_TIMEOUT_S = 10.0
_QUESTION = """
import json, sys, sysconfig
print(json.dumps([
    "%d.%d.%d" % sys.version_info[:3]
    + ("" if sys.version_info[3] == "final" else sys.version_info[3][0] + str(sys.version_info[4])),
    sys.implementation.name, sys.implementation.cache_tag, sysconfig.get_platform(),
    sys.base_prefix, getattr(sys, "abiflags", ""),
    sys.version.replace("\\n", " "), sysconfig.get_config_var("CONFIG_ARGS") or "",
    "" if getattr(sys, "_is_gil_enabled", lambda: True)() else "off",
]))
"""


class Interpreter(msgspec.Struct, frozen=True, kw_only=True):
    """A Python interpreter that ran.

    Attributes:
        executable: The path that it was started by.
        version: `3.11.7`.
        implementation: `cpython`, `pypy`.
        prefix: Folder of the virtual environment, or `base_prefix` without one.
        base_prefix: Folder of the installation.
        platform: `linux-x86_64`.
        cache_tag: `cpython-311`.
        abi_flags: `t` for a free-threaded build.
        system_site_packages: The virtual environment also sees the packages of the base.
        build: What it says of itself: version, when and with which compiler it was built.
        build_options: What its `configure` was given; empty where that is not known.
        gil: Whether the lock of the interpreter is on when it starts.
    """

    executable: str
    version: str
    implementation: str = "cpython"
    prefix: str = ""
    base_prefix: str = ""
    platform: str = ""
    cache_tag: str = ""
    abi_flags: str = ""
    system_site_packages: bool = False
    build: str = ""
    build_options: str = ""
    gil: bool = True

    @property
    def minor_version(self) -> str:
        """`3.11`."""
        return ".".join(self.version.split(".")[:2])


def find_interpreters(opened: Iterable[str], executed: Iterable[str]) -> list[Interpreter]:
    """Which interpreters ran, in the order in which they were started.

    A program counts when it is named like Python or is a script whose first line names one; a
    `pyvenv.cfg` that was opened tells its virtual environment where the program path alone does
    not (it was resolved through the link `venv/bin/python`).

    Args:
        opened: Absolute paths of the files that the run opened.
        executed: Paths of the programs that the run started.
    """
    configs = [path for path in opened if path.endswith("/pyvenv.cfg")]
    programs = [program for path in executed if (program := _python_of(path)) is not None]
    if not programs:
        programs = [str(p) for c in configs if (p := Path(c).parent / "bin/python").exists()]
    homes = {_home(config): os.path.dirname(config) for config in configs}
    found: dict[str, Interpreter] = {}
    for program in programs:
        prefix = _prefix_of(program) or homes.get(os.path.dirname(os.path.realpath(program)))
        key = prefix or os.path.realpath(program)
        if key not in found:
            interpreter = _describe(program, prefix)
            if interpreter is not None:
                found[key] = interpreter
    return list(found.values())


def describe_interpreter(program: str) -> Interpreter | None:
    """Version and place of an interpreter, by asking it; None where it does not answer."""
    return _describe(program, _prefix_of(program))


def read_pyvenv_cfg(path: str | Path) -> dict[str, str]:
    """The keys of a `pyvenv.cfg`, in lower case; empty where it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip().lower(): value.strip() for key, _, value in pairs if key.strip()}


def _python_of(path: str) -> str | None:
    # The kernel replaces a script by the interpreter in its first line without a second exec that
    # a sensor could see, so the line is read here. Shims of pyenv are shell scripts called python:
    # that is why the first line goes before the name.
    line = _first_line(path)
    if line is None:
        return None
    if not line.startswith("#!"):
        return path if _PYTHON_NAME.fullmatch(os.path.basename(path)) else None
    words = line[2:].split()
    if words and _PYTHON_NAME.fullmatch(os.path.basename(words[0])) and os.path.exists(words[0]):
        return words[0]
    return None


def _first_line(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read(512).split(b"\n", 1)[0].decode("utf-8", "replace")
    except OSError:
        return None


def _prefix_of(program: str) -> str | None:
    folder = os.path.dirname(program)
    for candidate in (folder, os.path.dirname(folder)):
        if os.path.isfile(os.path.join(candidate, "pyvenv.cfg")):
            return candidate
    return None


def _home(config: str) -> str:
    return os.path.realpath(read_pyvenv_cfg(config).get("home", ""))


def _describe(program: str, prefix: str | None) -> Interpreter | None:
    config = read_pyvenv_cfg(os.path.join(prefix, "pyvenv.cfg")) if prefix else {}
    answers = _ask(program)
    if answers is None:
        version = config.get("version") or config.get("version_info", "")
        if not version:
            return None
        answers = [version, config.get("implementation", "cpython").lower(), *7 * [""]]
    (version, implementation, cache_tag, platform, base_prefix, abi_flags, *build) = answers
    described, options, gil = build
    return Interpreter(
        executable=program,
        version=version,
        implementation=implementation,
        prefix=prefix or base_prefix,
        base_prefix=base_prefix,
        platform=platform,
        cache_tag=cache_tag,
        abi_flags=abi_flags,
        build=described,
        build_options=options,
        gil=gil != "off",
        system_site_packages=config.get("include-system-site-packages", "").lower() == "true",
    )


def _ask(program: str) -> list[str] | None:
    if os.path.realpath(program) == os.path.realpath(sys.executable):
        return _answer_for_this_process()
    try:
        # -S and -I: no .pth file and no sitecustomize of the user's runs once more for a question.
        done = subprocess.run(
            [program, "-I", "-S", "-c", _QUESTION],
            capture_output=True,
            timeout=_QUESTION_TIMEOUT_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        answers = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return [str(answer) for answer in answers] if len(answers) == 9 else None


def _answer_for_this_process() -> list[str]:
    info = sys.version_info
    suffix = "" if info.releaselevel == "final" else f"{info.releaselevel[0]}{info.serial}"
    return [
        f"{info.major}.{info.minor}.{info.micro}{suffix}",
        sys.implementation.name,
        sys.implementation.cache_tag or "",
        sysconfig.get_platform(),
        sys.base_prefix,
        getattr(sys, "abiflags", ""),
        sys.version.replace("\n", " "),
        str(sysconfig.get_config_var("CONFIG_ARGS") or ""),
        "" if getattr(sys, "_is_gil_enabled", lambda: True)() else "off",
    ]
