"""The operating system below a run: packages of the libraries and programs that it loaded."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from thence.execution.capture.container import Container, find_container
from thence.execution.capture.known import KnownPackages

__all__ = ["System", "SystemPackage", "capture_system", "find_packages"]

_TIMEOUT_S = 10.0
_DPKG_LISTS = "/var/lib/dpkg/info"
_DPKG_STATE = "/var/lib/dpkg/status"
_LIBRARY = re.compile(r"\.so(\.[0-9.]+)?$")
_BLAS = re.compile(r"lib(openblas|mkl_rt|mkl_core|blis|flexiblas|cublas|scipy_openblas|atlas)")
_CUDA = re.compile(r"lib(cuda|cudart|cudnn|nccl|cublas|hipblas|amdhip64)[._-]")
_THREAD_VARIABLES = re.compile(
    r"(OMP|MKL|OPENBLAS|BLIS|NUMEXPR|VECLIB|GOTO|NUMBA|POLARS|RAYON)_(NUM_|MAX_)?THREADS"
    r"|CUDA_VISIBLE_DEVICES|CUBLAS_WORKSPACE_CONFIG|OMP_(DYNAMIC|PROC_BIND|SCHEDULE)"
)
_LIMITS = (
    ("address space", "RLIMIT_AS"),
    ("cpu seconds", "RLIMIT_CPU"),
    ("file size", "RLIMIT_FSIZE"),
    ("locked memory", "RLIMIT_MEMLOCK"),
    ("open files", "RLIMIT_NOFILE"),
    ("processes", "RLIMIT_NPROC"),
    ("stack", "RLIMIT_STACK"),
)
_SIMD = (
    "sse4_2",
    "avx",
    "avx2",
    "avx512f",
    "avx512_bf16",
    "amx_tile",
    "fma",
    "neon",
    "asimd",
    "sve",
)


class SystemPackage(msgspec.Struct, frozen=True, kw_only=True):
    """A package of the operating system, by its own names."""

    name: str
    version: str


class System(msgspec.Struct, frozen=True, kw_only=True):
    """The operating system below a run.

    Attributes:
        distribution: `debian 12`, as os-release says.
        libc: `glibc 2.36`.
        packages: Owners of the shared libraries and programs that the run loaded.
        blas: Linear algebra libraries that were loaded, by file name; behind it, where a program
            could be asked, their versions and numbers of threads.
        accelerators: Libraries and driver of GPUs that were loaded.
        threads: Settings of thread counts and devices.
        cpu_features: Vector instructions that results may depend on.
        container: The container that it ran in.
        timezone: `Europe/Berlin`; empty where it is not known.
        locale: What sorting and formatting follow: `en_US.UTF-8`.
        limits: Of resources, as the shell calls them: `open files`, `memory` …; those without
            a limit are left out.
    """

    distribution: str = ""
    libc: str = ""
    packages: tuple[SystemPackage, ...] = ()
    blas: tuple[str, ...] = ()
    accelerators: tuple[str, ...] = ()
    threads: dict[str, str] = {}
    cpu_features: tuple[str, ...] = ()
    container: Container | None = None
    timezone: str = ""
    locale: str = ""
    limits: dict[str, int] = {}


def capture_system(
    opened: Iterable[str],
    executed: Iterable[str],
    variables: Mapping[str, str],
    known: KnownPackages | None = None,
) -> System:
    """The operating system, and its packages that the run loaded something of.

    Args:
        opened: Absolute paths of the files that the run opened.
        executed: Absolute paths of the programs that it started.
        variables: The environment variables of the run.
        known: What was found out before; is added to.
    """
    libraries = [p for p in opened if ".so" in p and _LIBRARY.search(p)]
    owned = [p for p in (*libraries, *executed) if p.startswith(("/lib", "/usr", "/bin", "/sbin"))]
    names = {os.path.basename(path) for path in libraries}
    return System(
        distribution=_distribution(),
        libc=" ".join(platform.libc_ver()).strip(),
        packages=tuple(find_packages((p for p in owned if not p.startswith("/usr/local/")), known)),
        blas=tuple(sorted(name for name in names if _BLAS.match(name))),
        accelerators=(*sorted(name for name in names if _CUDA.match(name)), *_driver()),
        threads={k: variables[k] for k in sorted(variables) if _THREAD_VARIABLES.fullmatch(k)},
        cpu_features=_cpu_features(),
        container=find_container(),
        timezone=variables.get("TZ") or _timezone(),
        locale=_locale(variables),
        limits=_limits(),
    )


def find_packages(paths: Iterable[str], known: KnownPackages | None = None) -> list[SystemPackage]:
    """The packages that own these files, sorted by name; empty without dpkg and rpm."""
    wanted = set(paths)
    if not wanted:
        return []
    if os.path.isdir(_DPKG_LISTS):
        return _dpkg(wanted, {} if known is None else known.owners(_DPKG_STATE))
    if shutil.which("rpm"):
        return _rpm(wanted)
    return []


def _dpkg(paths: set[str], known: dict[str, list[tuple[str, str]]]) -> list[SystemPackage]:
    # A link may lead to another file by now, as that of `update-alternatives`.
    asked = {path: f"{path}\n{os.path.realpath(path)}" for path in paths}
    new = {path for path, question in asked.items() if question not in known}
    if new and shutil.which("dpkg-query"):
        owners = _owners(new)
        for path in new:
            known[asked[path]] = owners.get(path, [])
    found = {one for question in asked.values() for one in known.get(question, [])}
    return [SystemPackage(name=name, version=version) for name, version in sorted(found)]


def _owners(paths: set[str]) -> dict[str, list[tuple[str, str]]]:
    """Names and versions of the packages that own each of these."""
    # `dpkg-query -S` takes 340-560 ms because it builds a tree of all files; looking for a few
    # paths in its plain lists takes a tenth. One dpkg-query then tells the versions.
    path_of: dict[bytes, set[str]] = {}
    for path in paths:
        for name in _spellings(path):
            path_of.setdefault(os.fsencode(name), set()).add(path)
    wanted = re.compile(
        rb"^(?:" + b"|".join(map(re.escape, sorted(path_of))) + rb")$", re.MULTILINE
    )
    stems = sorted({os.path.basename(name) for name in path_of})
    folders = sorted({os.path.dirname(name) + b"/" for name in path_of})
    owned: dict[str, set[str]] = {}
    with os.scandir(_DPKG_LISTS) as entries:
        lists = [entry.path for entry in entries if entry.name.endswith(".list")]
    for path in lists:
        try:
            data = Path(path).read_bytes()
        except OSError:
            continue
        # Most packages have nothing in these folders, which takes less to see.
        if not any(folder in data for folder in folders):
            continue
        if any(stem in data for stem in stems) and (names := wanted.findall(data)):
            package = os.path.basename(path).removesuffix(".list")
            owned[package] = set().union(*(path_of[name] for name in names))
    if not owned:
        return {}
    lines = _output(["dpkg-query", "-W", "-f", "${binary:Package} ${Version}\n", *sorted(owned)])
    versions = dict(line.strip().split(" ", 1) for line in lines if " " in line.strip())
    found: dict[str, list[tuple[str, str]]] = {}
    for package, files in owned.items():
        version = versions.get(package) or versions.get(package.split(":")[0], "")
        for path in files if version else ():
            found.setdefault(path, []).append((package.split(":")[0], version))
    return found


def _spellings(path: str) -> set[str]:
    # On a merged /usr, dpkg still knows libc as /lib/x86_64-linux-gnu/libc.so.6 while the process
    # may have opened /usr/lib/…, and the name it opened may be a link to the versioned file.
    names = {path, os.path.realpath(path)}
    for name in tuple(names):
        bare = name.removeprefix("/usr")
        if bare.startswith(("/lib", "/bin", "/sbin")):
            names |= {bare, f"/usr{bare}"}
    return names


def _rpm(paths: set[str]) -> list[SystemPackage]:
    query = ["rpm", "-qf", "--qf", "%{NAME} %{VERSION}-%{RELEASE}\n", *sorted(paths)]
    pairs = {tuple(line.split(" ")) for line in _output(query) if line.count(" ") == 1}
    return [SystemPackage(name=name, version=version) for name, version in sorted(pairs)]


def _output(command: list[str]) -> list[str]:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_TIMEOUT_S,
        check=False,  # it also fails when only one of the files is unknown
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.splitlines()


def _distribution() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return f"{platform.system()} {platform.release()}"
    return f"{release.get('ID', '')} {release.get('VERSION_ID', '')}".strip()


def _driver() -> list[str]:
    try:
        first = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError):
        return []
    return [f"driver: {first.partition(':')[2].strip() or first}"]


def _timezone() -> str:
    try:
        return os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    except OSError:
        return ""


def _locale(variables: Mapping[str, str]) -> str:
    names = ("LC_ALL", "LC_CTYPE", "LANG")
    return next((variables[name] for name in names if variables.get(name)), "C")


def _limits() -> dict[str, int]:
    import resource  # not everywhere

    soft = {name: resource.getrlimit(getattr(resource, kind))[0] for name, kind in _LIMITS}
    return {name: value for name, value in soft.items() if value != resource.RLIM_INFINITY}


def _cpu_features() -> tuple[str, ...]:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() in {"flags", "Features"}:
                    flags = set(value.split())
                    return tuple(name for name in _SIMD if name in flags)
    except OSError:
        pass
    return ()
