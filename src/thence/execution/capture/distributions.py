"""Which installed distributions a run used, and which these require."""

import base64
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from thence.execution.capture.installed import Installed, list_installed, record_digest
from thence.execution.capture.known import KnownPackages, signature_of
from thence.execution.capture.urls import without_credentials
from thence.model.ids import Digest

__all__ = ["Distribution", "Found", "KeptFile", "find_distributions", "marker_environment"]

_SITE_NAMES = ("/site-packages/", "/dist-packages/")
_CODE_ENDINGS = (".py", ".so", ".pyd", ".pyx", ".pxd", ".dylib")
_STARTUP_FILES = ("_distutils_hack/", "_virtualenv.py", "__editable__")
"""What `.pth` files load at every start of Python says nothing about the program."""

_FINDER_MAPPING = re.compile(r"""['"][\w.]+['"]: ['"](/[^'"]+)['"]""")

DEFAULT_KEPT_LIMIT_BYTES = 64 << 20
DEFAULT_CHECK_BUDGET_S = 0.5


class KeptFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a distribution that no index could give back, so that its content must be kept.

    Attributes:
        path: Where it was, absolute.
        place: Where it belongs: relative to a folder on `PYTHONPATH` for `local` and `editable`,
            relative to the site folder of the rebuilt environment for `patched`.
        package: Name of the distribution.
        reason: `local`, `editable` or `patched`.
    """

    path: str
    place: str
    package: str
    reason: str


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """An installed distribution that the run used, or that one of these requires.

    Attributes:
        name: Normalised (PEP 503).
        site: The folder that it is installed in.
        used: The run opened a file of it; else it is required by one that was used.
        source: `index`, `local`, `editable`, `vcs`, or `url` (an archive on the web).
        url: For `vcs` and `url`: what an installer takes (`git+https://…@commit`).
        installer: `pip`, `uv`, `conda` …
        tags: Tags of the wheel.
        record: Digest of the files, see `installed.record_digest`.
    """

    name: str
    version: str
    site: str
    used: bool = True
    source: str = "index"
    url: str | None = None
    installer: str = ""
    tags: tuple[str, ...] = ()
    record: Digest | None = None

    @property
    def pin(self) -> str:
        """`numpy==2.1.0`."""
        return f"{self.name}=={self.version}"


class Found(NamedTuple):
    """What was found in the site folders.

    Attributes:
        distributions: Used and required ones, sorted by name.
        installed: Everything that is installed there: `name==version`, sorted.
        kept: Files that must be kept as content.
        import_roots: Folders that editable installs put on the path, sorted.
        problems: Sentences for people.
    """

    distributions: tuple[Distribution, ...]
    installed: tuple[str, ...]
    kept: tuple[KeptFile, ...]
    import_roots: tuple[str, ...]
    problems: tuple[str, ...]


def find_distributions(
    opened: Iterable[str],
    *,
    markers: Mapping[str, str],
    sites: Iterable[str] = (),
    kept_limit_bytes: int = DEFAULT_KEPT_LIMIT_BYTES,
    check_budget_s: float = DEFAULT_CHECK_BUDGET_S,
    clock: Callable[[], float] = time.monotonic,
    known: KnownPackages | None = None,
) -> Found:
    """Which distributions a run used.

    Opened files are mapped to distributions exactly, through RECORD (bytecode counts as its
    source); reading `.dist-info` folders does not count, since many libraries scan all of them.

    Args:
        opened: Absolute paths of the files that the run opened.
        markers: The marker environment (PEP 508) of the interpreter that ran.
        sites: Further folders that packages may be in, such as those of `PYTHONPATH`.
        kept_limit_bytes: Files of one local distribution beyond this are not kept.
        check_budget_s: Time for comparing used files with their recorded hashes.
        clock: Seconds, for the budget.
        known: What was found out before; is added to.
    """
    known = known or KnownPackages()
    by_site, elsewhere = _split_by_site(opened, sites)
    installed = [item for site in by_site for item in list_installed(site)]
    uses: dict[Installed, set[str]] = {}
    for site, relative in by_site.items():
        uses.update(_match(relative, [item for item in installed if item.site == site], known))
    described: set[Installed] = set()
    import_roots: set[str] = set()
    for item in installed:
        root = _editable_root(item)
        if root is not None:
            import_roots.update(_import_roots(item))
            below = {p for p in elsewhere if p.startswith(f"{root}/") and _is_code_in(root, p)}
            if below:
                uses.setdefault(item, set()).update(below)
            elif f"{item.folder}/METADATA" in by_site[item.site]:
                # The code may be the project itself, which the run keeps anyway; but who asks for
                # the version of a package needs the metadata beside it.
                described.add(item)

    problems: list[str] = []
    required = _close(list(uses), installed, markers, problems)
    members = sorted({*uses, *required, *described}, key=lambda item: (item.name, item.site))
    kept: list[KeptFile] = []
    for item in members:
        kept += _kept_files(item, uses.get(item, set()), elsewhere, kept_limit_bytes, problems)
    kept += _patched_files(uses, clock() + check_budget_s, clock, problems, known)
    return Found(
        tuple(_describe(item, known, used=item in uses) for item in members),
        tuple(sorted({f"{item.name}=={item.version}" for item in installed})),
        tuple(kept),
        tuple(sorted(import_roots)),
        tuple(problems),
    )


def _split_by_site(
    opened: Iterable[str], sites: Iterable[str]
) -> tuple[dict[str, set[str]], list[str]]:
    """Opened files by site folder, relative to it; and those outside, bytecode as source."""
    named: dict[str, set[str]] = {}
    outside: list[str] = []
    extra = [os.path.normpath(site) for site in sites if os.path.isabs(site)]
    for path in opened:
        for marker in _SITE_NAMES:
            cut = path.find(marker)
            if cut >= 0:
                cut += len(marker)
                named.setdefault(path[: cut - 1], set()).add(path[cut:])
                break
        else:
            home = next((site for site in extra if path.startswith(f"{site}/")), None)
            if home is None:
                outside.append(_source_of(path))
            else:
                named.setdefault(home, set()).add(path[len(home) + 1 :])
                outside.append(_source_of(path))
    # lib64 is a link to lib in virtual environments: one folder, two names.
    merged: dict[str, set[str]] = {}
    for site, relative in named.items():
        merged.setdefault(os.path.realpath(site), set()).update(map(_source_of, relative))
    return merged, outside


def _source_of(path: str) -> str:
    """`a/__pycache__/b.cpython-311.opt-1.pyc` -> `a/b.py`; other paths as they are."""
    if not path.endswith(".pyc"):
        return path
    folder, _, name = path.rpartition("/")
    parent, _, last = folder.rpartition("/")
    if last != "__pycache__":
        return path
    stem = name.split(".", 1)[0]
    return f"{parent}/{stem}.py" if parent else f"{stem}.py"


def _match(
    relative: set[str], installed: list[Installed], known: KnownPackages
) -> dict[Installed, set[str]]:
    wanted = {
        path
        for path in relative
        if ".dist-info/" not in path
        and ".egg-info" not in path
        and not path.endswith(".pth")
        and not path.startswith(_STARTUP_FILES)
    }
    if not wanted:
        return {}
    uses: dict[Installed, set[str]] = {}
    rest = set(wanted)
    firsts = {path.partition("/")[0] for path in wanted}
    for item in installed:
        # Of most that is installed no file was opened, which is known without reading RECORD.
        facts = known.distribution(item.place)
        if facts is not None and facts.tops is None:
            facts.tops = frozenset(path.partition("/")[0] for path in item.record_paths())
        if facts is not None and facts.tops is not None and firsts.isdisjoint(facts.tops):
            continue
        if item.record_text:
            own = wanted.intersection(item.record_paths())
            if own:
                uses[item] = own
                rest -= own
    if rest:
        for item in installed:
            facts = known.distribution(item.place)
            if facts is None or not facts.tops:
                own = {path for path in rest if _top(path) in item.top_levels}
                if own:
                    uses[item] = own
    return uses


def _top(path: str) -> str:
    first, slash, _ = path.partition("/")
    return first if slash else first.split(".", 1)[0]


# --- what they require ---------------------------------------------------------------------------


def _close(
    used: list[Installed],
    installed: list[Installed],
    markers: Mapping[str, str],
    problems: list[str],
) -> set[Installed]:
    """Everything that the used distributions require, with the extras that are asked for."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    by_name: dict[str, Installed] = {}
    for item in (*used, *installed):
        by_name.setdefault(item.name, item)
    seen: set[tuple[str, str]] = set()
    todo = [(item, "") for item in used]
    members: set[Installed] = set()
    while todo:
        item, extra = todo.pop()
        if (item.name, extra) in seen:
            continue
        seen.add((item.name, extra))
        members.add(item)
        for text in item.requirements():
            # Most lines of a big METADATA are for extras; parsing one costs 0.1 ms.
            if not extra and "extra" in text.partition(";")[2] and " or " not in text:
                continue
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                continue
            marker = requirement.marker
            if marker is not None and not marker.evaluate({**markers, "extra": extra}):
                continue
            other = by_name.get(canonicalize_name(requirement.name))
            if other is None:
                problems.append(f"{item.name} requires {requirement.name}, which is not installed")
                continue
            todo += [(other, asked) for asked in ("", *sorted(requirement.extras))]
    return members


# --- where they came from ------------------------------------------------------------------------


def _describe(item: Installed, known: KnownPackages, *, used: bool) -> Distribution:
    source, url = _source(item)
    facts = known.distribution(item.place)
    digest = (
        Digest.parse(facts.digest) if facts is not None and facts.digest else record_digest(item)
    )
    if facts is not None and digest is not None:
        facts.digest = str(digest)
    return Distribution(
        name=item.name,
        version=item.version,
        site=item.site,
        used=used,
        source=source,
        url=url,
        installer=item.installer,
        tags=item.tags(),
        record=digest,
    )


def _source(item: Installed) -> tuple[str, str | None]:
    direct = item.direct_url
    # conda leaves the folder of its build farm in direct_url.json; it exists nowhere else.
    if direct is None or item.installer == "conda":
        return "index", None
    url = without_credentials(direct["url"])
    subdirectory = direct.get("subdirectory")
    fragment = f"#subdirectory={subdirectory}" if subdirectory else ""
    vcs = direct.get("vcs_info")
    if isinstance(vcs, dict):
        return "vcs", f"{vcs.get('vcs', 'git')}+{url}@{vcs.get('commit_id', 'HEAD')}{fragment}"
    if not url.startswith("file:"):
        return "url", f"{url}{fragment}"
    info = direct.get("dir_info")
    editable = isinstance(info, dict) and info.get("editable") is True
    return ("editable" if editable else "local"), None


def _editable_root(item: Installed) -> str | None:
    direct = item.direct_url
    if direct is None or _source(item)[0] != "editable":
        return None
    return os.path.realpath(unquote(urlsplit(direct["url"]).path))


def _is_code_in(root: str, path: str) -> bool:
    """Whether an opened file below the root of an editable install is part of a package there."""
    if any(marker in path for marker in _SITE_NAMES):
        return False
    return path.endswith(_CODE_ENDINGS) or (
        os.path.dirname(path) != root and os.path.isfile(f"{os.path.dirname(path)}/__init__.py")
    )


def _kept_files(
    item: Installed,
    used: set[str],
    elsewhere: list[str],
    limit_bytes: int,
    problems: list[str],
) -> list[KeptFile]:
    source, _ = _source(item)
    if source == "local":
        places = {
            place: os.path.join(item.site, place)
            for place in item.record_paths()
            if not place.startswith(("../", "/")) and not place.endswith(".pyc")
        }
    elif source == "editable":
        roots = _import_roots(item)
        files = {path for path in used if os.path.isabs(path)}
        places = {_place(path, roots): path for path in files}
        places |= {
            f"{item.folder}/{name}": os.path.join(item.site, item.folder, name)
            for name in ("METADATA", "entry_points.txt", "top_level.txt")
        }
    else:
        return []
    places = {place: path for place, path in places.items() if os.path.isfile(path)}
    size = sum(os.path.getsize(path) for path in places.values())
    if size > limit_bytes:
        problems.append(
            f"{item.name} {item.version} was installed from a local path and is not kept: "
            f"its files have {size >> 20} MiB, the limit is {limit_bytes >> 20} MiB"
        )
        return []
    return [
        KeptFile(path=path, place=place, package=item.name, reason=source)
        for place, path in sorted(places.items())
    ]


def _import_roots(item: Installed) -> list[str]:
    """Folders that an editable install puts on the path, longest first."""
    roots = set()
    for place in item.record_paths():
        if "/" in place or not place.endswith((".pth", "_finder.py")):
            continue
        try:
            text = Path(item.site, place).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if place.endswith(".pth"):
            roots |= {line.strip() for line in text.splitlines() if line[:1] == "/"}
        else:
            # setuptools maps packages to folders: MAPPING = {'mine': '/home/me/lib/src/mine'}
            roots |= {os.path.dirname(folder) for folder in _FINDER_MAPPING.findall(text)}
    return sorted(map(os.path.realpath, roots), key=len, reverse=True)


def _place(path: str, roots: list[str]) -> str:
    for root in roots:
        if path.startswith(f"{root}/"):
            return path[len(root) + 1 :]
    # Installs with an import hook name no folder: the packages begin below the outermost folder
    # that has an __init__.py.
    folder = os.path.dirname(path)
    while os.path.isfile(f"{folder}/__init__.py"):
        folder = os.path.dirname(folder)
    return path[len(folder.rstrip("/")) + 1 :]


def _patched_files(
    uses: Mapping[Installed, set[str]],
    deadline: float,
    clock: Callable[[], float],
    problems: list[str],
    known: KnownPackages,
) -> list[KeptFile]:
    """Used source files whose bytes are not those of their wheel any more: edited by hand."""
    patched: list[KeptFile] = []
    unchecked = 0
    for item, files in uses.items():
        if _source(item)[0] in {"local", "editable"}:
            continue
        facts = known.distribution(item.place)
        genuine = {} if facts is None else facts.genuine
        for place in sorted(place for place in files if place.endswith(".py")):
            path = f"{item.site}/{place}"
            before = signature_of(path)
            if before is not None and genuine.get(place) == before:
                continue
            algorithm, _, wanted = item.record.get(place, "").partition("=")
            if algorithm != "sha256":
                continue
            if clock() > deadline:
                unchecked += 1
                continue
            try:
                data = Path(path).read_bytes()
            except OSError:
                continue
            found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            if found != wanted.rstrip("="):
                patched.append(
                    KeptFile(path=path, place=place, package=item.name, reason="patched")
                )
            elif before is not None and known.is_settled(before):
                genuine[place] = before
    if unchecked:
        problems.append(f"{unchecked} used package files were not compared with their hashes")
    return patched


def marker_environment(
    *, version: str, implementation: str, base: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """The PEP 508 marker environment of an interpreter on this machine."""
    from packaging.markers import default_environment

    values = {key: str(value) for key, value in (base or default_environment()).items()}
    values["python_full_version"] = version
    values["python_version"] = ".".join(version.split(".")[:2])
    values["implementation_name"] = implementation
    values["implementation_version"] = version
    values["platform_python_implementation"] = {"cpython": "CPython", "pypy": "PyPy"}.get(
        implementation, implementation
    )
    return values
