"""Rebuilding the Python environment of a run, and proving that it is the same."""

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from thence.errors import DataDamaged, StorageError
from thence.execution.capture.distributions import Distribution
from thence.execution.capture.environment import Environment
from thence.execution.capture.installed import list_installed, record_digest
from thence.execution.capture.interpreters import Interpreter
from thence.execution.installers import Deadline, Installers
from thence.model import codec
from thence.model.ids import Digest

__all__ = ["Rebuilt", "rebuild_environment"]

DEFAULT_TIMEOUT_S = 1800.0

_NOTE = "thence-environment.json"


class Rebuilt(NamedTuple):
    """A rebuilt environment.

    Attributes:
        python: Its interpreter; None where the run had none, or none could be had (see `missing`).
        site: Its folder of packages.
        deviations: In what it is not the recorded one, sentences for people.
        missing: What could not be given back: packages as `name==version`, and why.
        packages: What is installed in it: `name==version`, sorted.
    """

    python: Path | None
    site: Path | None = None
    deviations: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


class _Job(NamedTuple):
    environment: Environment
    packages: list[Distribution]
    progress: Callable[[str], None]
    timeout_s: float

    @property
    def wanted(self) -> Interpreter:
        return self.environment.interpreters[0]


class _Note(msgspec.Struct, frozen=True, kw_only=True):
    """Written into a cached environment when it is whole.

    Attributes:
        files: Of the listing of its packages, so that one that a program wrote to is made anew.
    """

    deviations: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    files: Digest | None = None


def rebuild_environment(
    environment: Environment,
    folder: Path,
    *,
    progress: Callable[[str], None] = lambda _: None,
    cache: Path | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Rebuilt:
    """Make a virtual environment with the recorded packages: used ones and what they require.

    The exact version of Python is wanted; another patch release, or another version, is taken where
    there is none, and is a deviation. Packages come from the indexes that uv and pip are
    configured with, as exact versions, nothing else. Then the normalised digest of each package is
    compared with the recorded one. Packages whose files were kept (`local`, `editable`) are not
    installed: they go on `PYTHONPATH`.

    Args:
        environment: As it was recorded.
        folder: Where to make it; replaced where it exists. Unused where the cache has it.
        progress: Called with short sentences.
        cache: Folder with environments of earlier calls. One with all packages is reused, and kept
            for the next call; never one whose packages are to be patched by hand.
        timeout_s: For everything together.

    Raises:
        StorageError: The folder cannot be written.
    """
    if not environment.interpreters:
        return Rebuilt(None)
    packages = _packages(environment)
    job = _Job(environment, packages, progress, timeout_s)
    is_patched = any(kept.reason == "patched" for kept in environment.kept)
    try:
        if cache is None or is_patched:
            return _build(job, folder)
        return _build_cached(job, cache, folder)
    except OSError as error:
        raise StorageError(
            "the environment could not be rebuilt", why=str(error), about=str(folder)
        ) from error


def _packages(environment: Environment) -> list[Distribution]:
    """What is to be installed: one of each name, that of the first interpreter where it has one."""
    first = environment.interpreters[0]
    kept = {item.package for item in environment.kept if item.reason != "patched"}
    homes = tuple({f"{first.prefix}/", f"{os.path.realpath(first.prefix)}/"})
    ordered = sorted(environment.distributions, key=lambda item: not item.site.startswith(homes))
    chosen: dict[str, Distribution] = {}
    for item in ordered:
        if item.name not in kept:
            chosen.setdefault(item.name, item)
    return sorted(chosen.values(), key=lambda item: item.name)


def _build_cached(job: _Job, cache: Path, folder: Path) -> Rebuilt:
    final = cache / _cache_key(job.wanted, job.packages)
    known = _read_cached(final)
    if known is not None:
        job.progress("using the environment that was rebuilt before")
        return known
    cache.mkdir(parents=True, exist_ok=True)
    # Under another name until it is whole: what a crash leaves is never taken for an environment.
    draft = cache / f"{final.name}.{secrets.token_hex(4)}.draft"
    try:
        built = _build(job, draft)
        if built.python is None:
            return built
        if built.missing:
            # Next time the packages may be there.
            final = folder
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
        else:
            listing = _listing(_site_of(draft))
            note = _Note(deviations=built.deviations, packages=built.packages, files=listing)
            (draft / _NOTE).write_bytes(codec.encode(note))
            if final.exists() and _read_cached(final) is None:
                shutil.rmtree(final)
        _move_paths(draft, final)
        try:
            draft.rename(final)
        except OSError:
            if _read_cached(final) is None:  # else another process was faster: its work is as good
                shutil.move(draft, final)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return built._replace(python=final / "bin" / "python", site=_site_of(final))


def _cache_key(wanted: Interpreter, packages: list[Distribution]) -> str:
    names = [
        [item.name, item.version, item.url or "", str(item.record or ""), *item.tags]
        for item in packages
    ]
    parts = [wanted.version, wanted.implementation, wanted.abi_flags, wanted.platform, names]
    return Digest.of(codec.encode(parts)).hex[:32]


def _read_cached(folder: Path) -> Rebuilt | None:
    python = folder / "bin" / "python"
    try:
        # exists() follows the link: the interpreter below may have been uninstalled meanwhile.
        if not python.exists():
            return None
        note = codec.decode((folder / _NOTE).read_bytes(), _Note)
    except (OSError, DataDamaged):
        return None
    site = _site_of(folder)
    if note.files != _listing(site):
        return None
    return Rebuilt(python, site, note.deviations, (), note.packages)


def _listing(site: Path | None) -> Digest:
    """Paths, sizes and times of all files but cached bytecode, which every run may write."""
    rows = []
    top = os.fspath(site) if site is not None else ""
    pending = [top] if top else []
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != "__pycache__":
                        pending.append(entry.path)
                    continue
                facts = entry.stat(follow_symlinks=False)
                place = os.fsencode(entry.path[len(top) :])
                rows.append(b"%b %d %d\n" % (place, facts.st_size, facts.st_mtime_ns))
    return Digest.of(b"".join(sorted(rows)))


def _move_paths(draft: Path, final: Path) -> None:
    """Let the scripts of an environment name the folder that it is about to have."""
    before, after = os.fsencode(draft), os.fsencode(final)
    for path in (draft / "bin").iterdir():
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            head = file.read(2)
        if head != b"#!" and not path.name.lower().startswith("activate"):
            continue
        data = path.read_bytes()
        if before in data:
            # A new file: the old one may be a hard link into the cache of uv.
            fresh = path.with_name(f".{path.name}.new")
            fresh.write_bytes(data.replace(before, after))
            shutil.copymode(path, fresh)
            fresh.replace(path)


def _build(job: _Job, folder: Path) -> Rebuilt:
    environment, packages, progress, timeout_s = job
    wanted = job.wanted
    folder.parent.mkdir(parents=True, exist_ok=True)
    installers = Installers(progress, Deadline(timeout_s))
    progress(f"making an environment with Python {wanted.version}")
    made = installers.make(folder, wanted)
    if made is None:
        shutil.rmtree(folder, ignore_errors=True)
        pins = tuple(item.pin for item in packages)
        return Rebuilt(None, None, (), (f"Python {wanted.version}", *pins), ())
    deviations = list(_other_interpreters(environment))
    if made.version != wanted.version:
        deviations.append(f"Python {made.version}; originally {wanted.version}")

    by_requirement = {_requirement(item): item for item in packages}
    if by_requirement:
        progress(f"installing {len(by_requirement)} packages")
    failed = installers.install(made.python, list(by_requirement))
    missing = []
    for requirement in failed:
        reason = installers.reason(requirement)
        name = by_requirement[requirement].pin
        missing.append(f"{name} ({reason})" if reason else name)

    site = _site_of(folder)
    progress("comparing the packages with the recorded ones")
    expected = [item for requirement, item in by_requirement.items() if requirement not in failed]
    found = list_installed(str(site)) if site is not None else []
    installed = {item.name: item for item in found}
    for item in expected:
        here = installed.get(item.name)
        if here is None:
            missing.append(f"{item.pin} (it is not there after it was installed)")
        elif here.version != item.version:
            deviations.append(f"{item.name} {here.version}; originally {item.version}")
        else:
            deviation = _compare(item, record_digest(here))
            deviations += [deviation] if deviation else []
    names = tuple(f"{item.name}=={item.version}" for item in found)
    return Rebuilt(made.python, site, tuple(deviations), tuple(sorted(missing)), names)


def _requirement(item: Distribution) -> str:
    return f"{item.name} @ {item.url}" if item.url else item.pin


def _compare(item: Distribution, digest: Digest | None) -> str | None:
    if item.record is not None and item.record == digest:
        return None
    if item.record is None or digest is None:
        return f"{item.name} {item.version} has no list of files to compare it by"
    if item.installer == "conda":
        return f"{item.name} {item.version} is the build of the package index; originally of conda"
    if item.source == "local":
        return f"{item.name} {item.version} is that of the package index; originally a local one"
    return f"{item.name} {item.version} has other files than originally (another build)"


def _other_interpreters(environment: Environment) -> list[str]:
    first, *others = environment.interpreters
    found = []
    for other in others:
        homes = (f"{other.prefix}/", f"{os.path.realpath(other.prefix)}/")
        if other.prefix != first.prefix and any(
            item.used and item.site.startswith(homes) for item in environment.distributions
        ):
            found.append(
                f"one environment was rebuilt, for Python {first.version}; originally there was "
                f"another, for Python {other.version} in {other.prefix}"
            )
    return found


def _site_of(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob("lib/*/site-packages"))), None)
