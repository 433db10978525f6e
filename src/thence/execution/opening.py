"""Opening projects: the one in a folder, its home elsewhere, or one that is only a URL."""

import os
import re
import shlex
import shutil
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path

from thence.errors import AlreadyExists, Conflict, Denied, InvalidInput, NotFound, StorageError
from thence.execution.home import (
    HOME_FILE,
    Home,
    clone_mark,
    mark_clone,
    read_home,
    write_home,
)
from thence.execution.patience import PATIENCE_S, is_passing, within
from thence.execution.places import store_at
from thence.execution.site import LOCAL, Site
from thence.index.database import Index
from thence.store.base import Store
from thence.store.cache import DEFAULT_LIMIT, Cache
from thence.store.failures import failures_of
from thence.store.open import connect, is_remote, open_store, probe
from thence.vault.artifacts import Artifacts
from thence.vault.layout import (
    PROJECT,
    ProjectFile,
    copy_project,
    make_project,
    mirror_of,
    read_project,
)
from thence.vault.vault import Vault

__all__ = [
    "PROJECT_VARIABLE",
    "find_root",
    "find_site",
    "is_url",
    "join_site",
    "make_clone",
    "make_site",
    "open_home",
    "open_site",
    "open_url",
    "size_from",
    "vault_at",
]

PROJECT_VARIABLE = "THENCE_PROJECT"
AUTHOR_VARIABLE = "THENCE_AUTHOR"
CACHE_VARIABLE = "THENCE_CACHE_SIZE"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)I?B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def is_url(location: str | os.PathLike[str]) -> bool:
    """Whether it is the URL of a store, and not a path."""
    return isinstance(location, str) and _URL.match(location) is not None


def find_root(location: str | os.PathLike[str] | None = None) -> Path:
    """The project at a folder; without one given, `THENCE_PROJECT`, or upward from here.

    Raises:
        NotFound: There is none; the hint tells how to make one.
    """
    given = location or os.environ.get(PROJECT_VARIABLE)
    start = Path(given or ".").expanduser().resolve()
    for folder in (start,) if given else (start, *start.parents):
        if _has_store(folder / LOCAL) or (folder / LOCAL / HOME_FILE).is_file():
            return folder
    raise NotFound(
        f"there is no project in {start}" + ("" if given else " or above it"),
        why="No folder named .thence was found.",
        hint="Make one here: thence init",
        about=str(start),
    )


def find_site(location: str | os.PathLike[str] | None = None) -> Site:
    """Open the project in a folder or at a URL; without either, as `find_root` finds it.

    Raises:
        As `find_root`, `open_site` and `open_url`.
    """
    given = location or os.environ.get(PROJECT_VARIABLE)
    if given is not None and is_url(given):
        return open_url(str(given))
    return open_site(find_root(given))


def _has_store(local: Path) -> bool:
    return (local / "store" / PROJECT).is_file()


def make_site(root: Path) -> Site:
    """Make a project in a folder, with its store in `.thence/store`.

    Raises:
        AlreadyExists: There is a project.
        Denied: The folder may not be written to.
        StorageError: The file system does not keep a promise that a store needs.
    """
    _refuse_project_in(root, hint="Use it as it is, or choose an empty place.")
    store = open_store(root / LOCAL / "store", create=True)
    probe(store)
    make_project(store, project_id=os.urandom(16).hex(), now=datetime.now(UTC))
    _ignore_in_git(root)
    return open_site(root)


def join_site(root: Path, url: str, *, create: bool) -> Site:
    """Let a folder work in a project that is in a store elsewhere.

    Args:
        root: The folder.
        url: Of the store.
        create: Make a project there if there is none, after proving that the store can hold one.

    Raises:
        AlreadyExists: There is a project in the folder.
        NotFound: There is no project in the store, and none is to be made.
        Denied: The folder or the store may not be written to.
        StorageError: The store does not keep a promise that a project needs, or cannot be reached.
        InvalidInput: Not a URL of a store.
    """
    _refuse_project_in(root, hint="To bring it to a store elsewhere: thence push URL")
    store = store_at(url, create=create)
    project = _found_or_made(store) if create else read_project(store)
    write_home(root / LOCAL, Home(url=store.url, project=project.id))
    _ignore_in_git(root)
    return open_site(root, connection=store)


def make_clone(root: Path, url: str, *, only: tuple[str, ...] = ()) -> Site:
    """Make an empty clone; what is in the home comes by pulling.

    Where the folder is a clone of this home already, it is opened: cloning goes on.

    Raises:
        AlreadyExists: There is another project in the folder.
        NotFound: There is no project in the store.
        Denied: The folder may not be written to, or the store not be read.
        StorageError: The store cannot be reached.
        InvalidInput: Not a URL of a store.
    """
    store = store_at(url)
    project = read_project(store)
    local = root / LOCAL
    if f"{root.as_uri()}/".startswith(f"{store.url}/"):
        raise InvalidInput(
            f"cannot clone {url} into {root}",
            why="That is the store itself, or a folder inside of it.",
            hint="Name another folder: thence clone URL FOLDER",
            about=str(root),
        )
    home = Home(url=store.url, project=project.id, only=only)
    if _has_store(local) and read_home(local) == home:
        return open_site(root)
    _refuse_project_in(root, hint="Clone into an empty folder: thence clone URL FOLDER")
    # It gets its name when it is whole: half of it would look like a project of another mode.
    unfinished = local.with_name(f"{LOCAL}.{os.getpid()}.new")
    with failures_of(f"cannot make {local}", about=str(local)):
        try:
            write_home(unfinished, home)
            own = open_store(unfinished / "store", create=True)
            mark_clone(own, home)
            copy_project(store, own)
            unfinished.rename(local)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    _ignore_in_git(root)
    return open_site(root)


def _refuse_project_in(root: Path, *, hint: str) -> None:
    local = root / LOCAL
    if _has_store(local) or (local / HOME_FILE).is_file():
        raise AlreadyExists(
            f"there is a project in {root}",
            why=f"It has a folder {LOCAL}.",
            hint=hint,
            about=str(root),
        )


def _refuse_remains(store: Store) -> None:
    """Where another project begins below, or lost its project.json, none is made over it."""
    for prefix in ("refs/", "packs/"):
        for info in store.list(prefix):
            raise InvalidInput(
                f"{store.url} holds things of a project, but no project.json",
                why=f"There is {info.key}.",
                hint="Choose another place, or restore project.json.",
                about=store.url,
            )


def _found_or_made(store: Store) -> ProjectFile:
    try:
        return read_project(store)
    except NotFound:
        _refuse_remains(store)
        probe(store)
    try:
        return make_project(store, project_id=os.urandom(16).hex(), now=datetime.now(UTC))
    except AlreadyExists:
        return read_project(store)  # somebody else was faster


def open_url(url: str) -> Site:
    """Open the project in a store, with a folder of its own among the user's caches.

    Raises:
        NotFound: There is no project.
        Denied: The store may not be read.
        StorageError: It cannot be reached.
        InvalidInput: Not a URL of a store.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = base / "thence" / "projects" / sha256(url.encode()).hexdigest()[:16]
    if (root / LOCAL / HOME_FILE).is_file():
        return open_site(root)
    return join_site(root, url, create=False)


def open_site(root: Path, *, connection: Store | None = None) -> Site:
    """Open the project in a folder.

    Args:
        root: The folder.
        connection: To its home, where there is one already.

    Raises:
        NotFound: There is none.
        FormatTooNew: It was made by a newer thence.
        DataDamaged: Its project.json cannot be read.
        Conflict: Its home holds another project by now.
        StorageError: Its home cannot be reached.
    """
    local = root / LOCAL
    home = read_home(local)
    if home is None or _has_store(local):
        store = open_store(local / "store")
        read_project(store)
        if home is None and (home := clone_mark(store)) is not None:
            write_home(local, home)  # it was lost, or the store was copied without it
        vault = Vault(store, local / "cache", clone=home is not None)
        if home is None:
            vault.guard = lambda: _refuse_moved(local)
    else:
        store = _open_home_store(home, patience_s=PATIENCE_S, connection=connection)
        if remote := is_remote(store):
            store = Cache(
                store,
                local / "cache" / "pages",
                limit_bytes=size_from(CACHE_VARIABLE, DEFAULT_LIMIT),
            )
        vault = Vault(store, local / "cache", remote=remote)
        vault.guard = cache(lambda: _refuse_mirror(vault.store))
    author = os.environ.get(AUTHOR_VARIABLE) or _user()
    index = Index(local / "cache" / "index.sqlite")
    if vault.remote:
        # Spares most of the requests that finding the end of a log takes.
        vault.numbered.known_tail = lambda log: index.progress(log).through
    return Site(root, local, vault, Artifacts(vault, author=author), index, author, home)


def _refuse_moved(local: Path) -> None:
    """Nothing may be added to a store that was the home when it was opened, and is not any more."""
    home = read_home(local)
    if home is not None:
        raise Conflict(
            "this project has moved meanwhile",
            why=f"Its home is {home.url} now, and only the home gives numbers.",
            hint="Open the project again: what is saved then waits for `thence push`.",
        )


def _refuse_mirror(store: Store) -> None:
    """Nothing may be added to a copy: its project goes on elsewhere."""
    if (found := mirror_of(store)) is not None:
        raise Denied(
            f"{store.url} is a mirror, to be read only",
            why=f"It is a copy of {found.of}, and only that gives numbers.",
            hint=f"Send it there: thence push {shlex.quote(found.of)}",
            about=store.url,
        )


def size_from(variable: str, default: int) -> int:
    """A size that a variable of the environment gives, in bytes.

    Raises:
        InvalidInput: It is none.
    """
    text = os.environ.get(variable)
    if text is None:
        return default
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise InvalidInput(
            f"not a size: {variable}={text!r}",
            hint=f"Write for example {variable}=20GB, or leave it out for 10 GB.",
        )
    return int(float(found.group(1)) * _UNITS[found.group(2).upper()])


def open_home(local: Path, home: Home) -> Vault:
    """The vault of a clone's home.

    Args:
        local: The clone's `.thence`, which has room for what is learnt of the home.
        home: Which one.

    Raises:
        NotFound: There is no project there (any more).
        FormatTooNew: It was made by a newer thence.
        Conflict: It is another project by now.
        Denied: The store may not be read.
        StorageError: It cannot be reached.
    """
    store = _open_home_store(home)
    vault = vault_at(store, local / "cache" / "home")
    vault.guard = cache(lambda: _refuse_mirror(store))
    return vault


def vault_at(store: Store, cache_folder: Path) -> Vault:
    """The vault of any store, without a folder to work in."""
    return Vault(store, cache_folder, remote=is_remote(store))


def _open_home_store(
    home: Home, *, patience_s: float | None = None, connection: Store | None = None
) -> Store:
    """The store of a home; with patience, also where it cannot be reached: runs go on without."""
    store = connection or connect(home.url)
    try:
        if patience_s is None:
            project = read_project(store)
        else:
            project = within(patience_s, lambda: read_project(store), url=store.url)
    except (StorageError, Denied) as error:
        if patience_s is None or not is_passing(error):
            raise
        return store
    if project.id != home.project:
        raise Conflict(
            f"{store.url} holds another project than this folder belongs to",
            why=f"Its id is {project.id[:12]}, not {home.project[:12]}.",
            hint="Join it in an empty folder: thence init --store URL",
            about=store.url,
        )
    return store


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"  # a container may run under a number without a name


def _ignore_in_git(root: Path) -> None:
    """Add `.thence/` to the folder's `.gitignore`, if Git looks after the folder."""
    if not any((folder / ".git").exists() for folder in (root, *root.parents)):
        return
    path = root / ".gitignore"
    text = path.read_text("utf-8", "surrogateescape") if path.exists() else ""
    if any(line.strip().rstrip("/") in {LOCAL, f"/{LOCAL}"} for line in text.splitlines()):
        return
    if text and not text.endswith("\n"):
        text += "\n"
    path.write_text(f"{text}{LOCAL}/\n", "utf-8", "surrogateescape")
