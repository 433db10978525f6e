"""Virtual environments made and filled by uv, or by venv and pip, with the user's indexes."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from thence.execution.capture.interpreters import Interpreter, describe_interpreter
from thence.execution.capture.urls import without_credentials

__all__ = ["Deadline", "Installers", "MadeEnvironment"]

_NOT_FOR_INSTALLERS = re.compile(
    r"PYTHON.*|__PYVENV_LAUNCHER__|VIRTUAL_ENV.*|CONDA_.*|_CE_.*"
    r"|UV_(PYTHON.*|PROJECT.*|CONSTRAINT|OVERRIDE|EXCLUDE.*|SYSTEM_PYTHON|BREAK_SYSTEM_PACKAGES"
    r"|NO_INSTALLER_METADATA|REQUIRE_HASHES|WORKING_DIR.*|RESOLUTION|PRERELEASE|VENV_.*|ENV_FILE)"
    r"|PIP_(TARGET|PREFIX|ROOT|USER|REQUIRE_VIRTUALENV|CONSTRAINT|REQUIREMENT|PYTHON|NO_DEPS"
    r"|REQUIRE_HASHES|EDITABLE|IGNORE_INSTALLED|UPGRADE|PRE|DRY_RUN|REPORT)"
)
"""What a user sets for another environment must not steer the rebuilding of this one. What names
indexes, proxies, certificates and caches stays."""

_NETWORK = re.compile(
    r"error sending request|dns error|could not connect|connection (refused|reset|timed out)"
    r"|network is unreachable|temporary failure in name resolution|failed to establish a new",
    re.IGNORECASE,
)


class Deadline:
    """A moment after which nothing new is begun.

    Args:
        timeout_s: From now.
        clock: Seconds.
    """

    def __init__(self, timeout_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds that are left; never negative."""
        return max(0.0, self._end - self._clock())


class MadeEnvironment(NamedTuple):
    """An empty virtual environment.

    Attributes:
        python: Its interpreter.
        version: `3.11.7`.
    """

    python: Path
    version: str


class _Done(NamedTuple):
    succeeded: bool
    text: str


class Installers:
    """The ways to make and fill an environment on this machine, best first.

    Args:
        progress: Called with short sentences.
        deadline: For all calls together.
    """

    def __init__(self, progress: Callable[[str], None], deadline: Deadline) -> None:
        self._progress = progress
        self._deadline = deadline
        self._uv = _find_uv()
        self._reasons: dict[str, str] = {}

    def reason(self, requirement: str) -> str:
        """Why a requirement could not be installed, so far as an installer said."""
        return self._reasons.get(requirement, "")

    # --- making ----------------------------------------------------------------------------------

    def make(self, folder: Path, wanted: Interpreter) -> MadeEnvironment | None:
        """An empty environment: of the wanted version, else of the nearest that can be had."""
        for request in self._requests(wanted):
            if self._deadline.left_s == 0:
                break
            shutil.rmtree(folder, ignore_errors=True)
            python = self._venv(folder, request)
            found = None if python is None else describe_interpreter(str(python))
            if python is not None and found is not None:
                return MadeEnvironment(python, found.version)
        return None

    def _requests(self, wanted: Interpreter) -> Iterable[tuple[str, bool]]:
        """What to ask for, in order: a path or a version; and whether it may be downloaded."""
        known = [p for p in _known_pythons(wanted) if p.implementation == wanted.implementation]
        flavour = "t" if "t" in wanted.abi_flags else ""
        known = [p for p in known if ("t" in p.abi_flags) is bool(flavour)]
        prefix = "" if wanted.implementation == "cpython" else f"{wanted.implementation}@"
        exact = [p.executable for p in known if p.version == wanted.version]
        minor = [p.executable for p in known if p.minor_version == wanted.minor_version]
        yield from ((path, False) for path in exact[:1])
        if self._uv is not None:
            full, short = wanted.version + flavour, wanted.minor_version + flavour
            yield prefix + full, False
            yield prefix + full, True
            yield prefix + short, False
            yield from ((path, False) for path in minor[:1])
            yield prefix + short, True
            yield f"{prefix}3", False
        else:
            yield from ((path, False) for path in minor[:1])
        yield from ((p.executable, False) for p in known[:1])

    def _venv(self, folder: Path, request: tuple[str, bool]) -> Path | None:
        what, may_download = request
        python = folder / "bin" / "python"
        if self._uv is not None:
            if may_download:
                self._progress(f"looking for Python {what} to download")
            command = [self._uv, "venv", "--quiet", "--no-project", "--no-config", "--python", what]
            command += [] if may_download else ["--no-python-downloads"]
            timeout_s = 300 if may_download else 60
            done = self._call([*command, str(folder)], timeout_s=timeout_s)
            if done.succeeded and python.exists():
                return python
        if not os.path.isabs(what):
            return None
        done = self._call([what, "-I", "-m", "venv", "--without-pip", str(folder)], timeout_s=120)
        return python if done.succeeded and python.exists() else None

    # --- filling ---------------------------------------------------------------------------------

    def install(self, python: Path, requirements: Sequence[str]) -> list[str]:
        """Install exactly these, without what they require; gives back the ones that failed.

        With uv and its own configuration; then with uv and the indexes that pip is configured
        with; then, for those that still fail, with pip.
        """
        if not requirements:
            return []
        failed = list(requirements)
        if self._uv is not None:
            done = self._uv_install(python, failed, {})
            if done.succeeded:
                return []
            indexes = _pip_indexes_for_uv(self._pip_config())
            if indexes:
                self._progress("trying again with the package indexes of pip")
                again = self._uv_install(python, failed, indexes)
                if again.succeeded:
                    return []
                done = again
            offline = ["--offline"] if _NETWORK.search(done.text) else []
            failed = self._bisect(python, failed, indexes, offline)
        if failed:
            failed = self._pip_install(python, failed)
        return failed

    def _uv_install(
        self,
        python: Path,
        requirements: Sequence[str],
        variables: Mapping[str, str],
        options: Sequence[str] = (),
    ) -> _Done:
        assert self._uv is not None
        command = [self._uv, "pip", "install", "--quiet", "--no-deps", "--no-progress"]
        command += ["--python", str(python), *options]
        done = self._call([*command, "--", *requirements], variables=variables)
        if not done.succeeded and len(requirements) == 1:
            self._reasons[requirements[0]] = _short_reason(done.text)
        return done

    def _bisect(
        self,
        python: Path,
        requirements: Sequence[str],
        variables: Mapping[str, str],
        options: Sequence[str],
    ) -> list[str]:
        """Install all that can be installed; uv installs either everything or nothing."""
        failed: list[str] = []
        todo = [list(requirements)]
        first = True
        while todo:
            part = todo.pop()
            # The whole was tried by the caller, with the same options unless it is now offline.
            is_known_to_fail = first and not options and len(part) > 1
            first = False
            if self._deadline.left_s == 0:
                failed += part
                continue
            if (
                not is_known_to_fail
                and self._uv_install(python, part, variables, options).succeeded
            ):
                continue
            if len(part) == 1:
                failed += part
            else:
                half = len(part) // 2
                todo += [part[half:], part[:half]]
        return failed

    def _pip_install(self, python: Path, requirements: Sequence[str]) -> list[str]:
        pip = self._find_pip()
        if pip is None:
            return list(requirements)
        self._progress(f"trying {_several(requirements)} with pip")
        command = [*pip, "--python", str(python), "--disable-pip-version-check", "install"]
        command += ["--quiet", "--no-deps", "--no-input", "--retries", "1"]
        done = self._call([*command, "--", *requirements])
        if done.succeeded:
            return []
        if len(requirements) == 1 or _NETWORK.search(done.text):
            for requirement in requirements:
                self._reasons.setdefault(requirement, _short_reason(done.text))
            return list(requirements)
        failed = []
        for requirement in requirements:
            one = self._call([*command, "--", requirement])
            if not one.succeeded:
                failed.append(requirement)
                self._reasons.setdefault(requirement, _short_reason(one.text))
        return failed

    def _find_pip(self) -> list[str] | None:
        candidates = [[sys.executable, "-I", "-m", "pip"]]
        candidates += [[path] for name in ("pip", "pip3") if (path := shutil.which(name))]
        for command in candidates:
            done = self._call([*command, "--version"], timeout_s=60)
            version = re.match(r"pip (\d+)\.(\d+)", done.text)
            # `--python` came with pip 22.3.
            if done.succeeded and version and tuple(map(int, version.groups())) >= (22, 3):
                return command
        return None

    def _pip_config(self) -> dict[str, list[str]]:
        pip = self._find_pip()
        lines = self._call([*pip, "config", "list"], timeout_s=60).text if pip else ""
        return parse_pip_config(lines, os.environ)

    # --- calling ---------------------------------------------------------------------------------

    def _call(
        self,
        command: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> _Done:
        left_s = self._deadline.left_s
        if left_s == 0:
            return _Done(succeeded=False, text="there was no time left")
        kept = {k: v for k, v in os.environ.items() if not _NOT_FOR_INSTALLERS.fullmatch(k)}
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**kept, "NO_COLOR": "1", **(variables or {})},
                start_new_session=True,  # a build has children: they are ended together
            )
        except OSError as error:
            return _Done(succeeded=False, text=str(error))
        try:
            output, _ = process.communicate(timeout=min(left_s, timeout_s or left_s))
        except subprocess.TimeoutExpired:
            return _Done(succeeded=False, text="it took too long")
        finally:
            if process.poll() is None:  # also when Ctrl-C ends the wait
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()
        return _Done(process.returncode == 0, output.decode("utf-8", "replace"))


def parse_pip_config(lines: str, variables: Mapping[str, str]) -> dict[str, list[str]]:
    """The index settings in the output of `pip config list`; variables count without pip, too.

    >>> parse_pip_config("global.extra-index-url='https://a https://b'", {})
    {'extra-index-url': ['https://a', 'https://b']}
    """
    found: dict[str, list[str]] = {}
    settings = [line.partition("=") for line in lines.splitlines()]
    pairs = [(key.rpartition(".")[2], value) for key, _, value in settings]
    names = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host")
    for name in names:
        variable = variables.get(f"PIP_{name.upper().replace('-', '_')}")
        values = [" ".join(shlex.split(value)) for key, value in pairs if key == name]
        values += [variable] if variable and variable not in values else []
        words = [word for value in values for word in value.replace("\\n", " ").split()]
        if words:
            # Of a setting with one value, the last is the one that counts.
            single = name in {"index-url", "no-index"}
            found[name] = words[-1:] if single else list(dict.fromkeys(words))
    return found


def _pip_indexes_for_uv(config: Mapping[str, Sequence[str]]) -> dict[str, str]:
    # As variables and not as options: an address may hold a password, and everybody can read the
    # command lines of a machine.
    variables: dict[str, str] = {}
    if "index-url" in config:
        variables["UV_DEFAULT_INDEX"] = config["index-url"][-1]
    if "extra-index-url" in config:
        variables["UV_INDEX"] = " ".join(config["extra-index-url"])
    if "find-links" in config:
        variables["UV_FIND_LINKS"] = ",".join(config["find-links"])
    if config.get("no-index", [""])[-1].lower() in {"1", "true", "yes", "on"}:
        variables["UV_NO_INDEX"] = "1"
    if "trusted-host" in config:
        variables["UV_INSECURE_HOST"] = " ".join(config["trusted-host"])
    if variables:
        # pip looks at all indexes alike; uv would stop at the first that knows the name.
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return variables


def _find_uv() -> str | None:
    try:
        import uv

        return os.fsdecode(uv.find_uv_bin())
    except (ImportError, FileNotFoundError):
        return shutil.which("uv")


def _known_pythons(wanted: Interpreter) -> list[Interpreter]:
    """Interpreters that need no search: the recorded one, the one that runs us, those on PATH."""
    base = getattr(sys, "_base_executable", sys.executable)
    names = [
        os.path.join(wanted.base_prefix, "bin", f"python{wanted.minor_version}"),
        base,
        *(shutil.which(f"python{wanted.minor_version}"), shutil.which("python3")),
    ]
    found: dict[str, Interpreter] = {}
    for name in names:
        if name and os.path.isabs(name) and os.path.isfile(name):
            interpreter = describe_interpreter(name)
            if interpreter is not None:
                found.setdefault(os.path.realpath(name), interpreter)
    return list(found.values())


def _several(requirements: Sequence[str]) -> str:
    return requirements[0] if len(requirements) == 1 else f"{len(requirements)} packages"


def _short_reason(text: str) -> str:
    """The line of an installer's output that says why, without addresses that hold passwords."""
    lines = [re.sub(r"^[\W_]+|^(ERROR|error|hint|Caused by): *", "", line).strip()
             for line in text.splitlines()]  # fmt: skip
    lines = [line for line in lines if line]
    telling = [
        line
        for line in lines
        if re.search(r"no version|not found|No matching|no wheels|Failed to|denied|because", line)
    ]
    chosen = (telling or lines or ["no reason was given"])[0]
    return without_credentials(chosen)[:300]
