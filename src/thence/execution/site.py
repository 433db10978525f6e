"""The site of a project: its folder, its vault and its index, in one hand."""

import getpass
import logging
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from thence.errors import (
    AlreadyExists,
    Conflict,
    DataDamaged,
    InvalidInput,
    NotFound,
    StorageError,
)
from thence.execution.home import HOME_FILE, Home, read_home, write_home
from thence.execution.settings import Settings, read_settings
from thence.index import status as index_status
from thence.index.database import Index
from thence.index.ingest import LogItem
from thence.index.refresh import Refreshed, refresh
from thence.model.ids import Digest
from thence.store.base import Store
from thence.store.cache import DEFAULT_LIMIT, Cache
from thence.store.failures import failures_of
from thence.store.open import connect, is_remote, open_store, probe
from thence.store.wrap import ReadOnly
from thence.vault.artifacts import Artifacts
from thence.vault.layout import (
    OpenedProject,
    ProjectFile,
    make_project,
    open_project,
    read_project,
)
from thence.vault.logs import Appended
from thence.vault.vault import Vault
from thence.vault.worktree import Worktree

__all__ = ["LOCAL", "Site", "find_root", "make_site", "open_site", "refuse_other_project"]

LOCAL = ".thence"
_PROBLEMS = 20
_log = logging.getLogger(__name__)
PROJECT_VARIABLE = "THENCE_PROJECT"
AUTHOR_VARIABLE = "THENCE_AUTHOR"
CACHE_VARIABLE = "THENCE_CACHE_SIZE"
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)I?B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Site:
    """Where things are saved and runs happen.

    Attributes:
        root: The project's folder.
        local: Its `.thence`: spool, caches, keys.
        author: Who works here.
        home: Where the home is; None where it is in this folder.
        clock: Tells the time.
        entropy: Gives random bytes.
    """

    root: Path
    local: Path
    vault: Vault
    artifacts: Artifacts
    index: Index
    author: str
    home: Home | None = None
    clock: Callable[[], datetime] = _now
    entropy: Callable[[int], bytes] = os.urandom

    @property
    def worktree(self) -> Worktree:
        """Which version the paths of this folder are."""
        return Worktree(self.local / "worktree.jsonl")

    def settings(self) -> Settings:
        """What `thence.toml` says.

        Raises:
            InvalidInput: It cannot be used.
        """
        return read_settings(self.root)

    def secret_key(self) -> bytes:
        """The key of the hashes that stand for secrets; it never leaves this machine.

        Raises:
            StorageError: It cannot be read or made.
        """
        path = self.local / "secret.key"
        with failures_of("keep the project's secret key", about=str(path)):
            if path.is_file() and (key := path.read_bytes()):
                return key
            key = self.entropy(32)
            # Whole before it has its name; who makes one at the same time gets the first.
            descriptor, temporary = tempfile.mkstemp(dir=self.local, prefix="secret-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(key)
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    if winner := path.read_bytes():
                        return winner
                    os.replace(temporary, path)  # its maker died before writing it
            finally:
                Path(temporary).unlink(missing_ok=True)
            return key

    def relative(self, path: str | os.PathLike[str]) -> str:
        """A path as the project names it: relative to the root, or absolute outside of it."""
        # Links in the last part stay: a link in the project is a file of the project.
        given = Path(path)
        absolute = given.parent.resolve() / given.name if given.name not in {"", ".."} else given
        absolute = absolute if absolute.is_absolute() else absolute.resolve()
        try:
            return absolute.relative_to(self.root).as_posix()
        except ValueError:
            return absolute.as_posix()

    def skip(self, path: Path) -> bool:
        """What is never saved: the project's own folder, and Git's."""
        return path.name in {LOCAL, ".git"}

    def ingest(
        self, *appended: Appended | None, attachments: Mapping[Digest, bytes] | None = None
    ) -> None:
        """Tell the index of entries that were just appended."""
        items = [LogItem(one.log, one.number, one.data) for one in appended if one is not None]
        if not items:
            return
        try:
            self.index.ingest(items, attachments or {})
        except (StorageError, DataDamaged) as error:
            # It is in the store, which is what counts; the next refresh takes it in.
            _log.warning("the index could not be brought up to date: %s", error.what)

    def refresh(self, *, full: bool = False) -> Refreshed:
        """Bring the index up to date with the store; `full` rebuilds it from nothing.

        Raises:
            StorageError: The store cannot be read.
        """
        done = refresh(
            self.index,
            self.vault.logs,
            self.vault.journal,
            self.vault.content.read,
            clock=self.clock,
            full=full,
        )
        found = index_status.problems(self.index, limit=_PROBLEMS)
        if damaged := [one for one in found if one.kind in {"damaged", "gap"}]:
            _log.warning(
                "some of the project cannot be read, first %s, so answers may lack it; "
                "see: thence index status",
                damaged[0].log,
            )
        return done


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


def _has_store(local: Path) -> bool:
    return (local / "store" / "project.json").is_file()


def make_site(root: Path, *, url: str | None = None) -> Site:
    """Make a project in a folder, or join one that is in a store elsewhere.

    Args:
        root: The folder.
        url: Of the store that is to be the home; a project that is there is joined. Without one,
            the home is `.thence/store`.

    Raises:
        AlreadyExists: There is a project in the folder.
        Denied: The folder or the store may not be written to.
        StorageError: The store does not keep a promise that a project needs, or cannot be reached.
        InvalidInput: Not a URL of a store.
    """
    local = root / LOCAL
    if _has_store(local) or (local / HOME_FILE).is_file():
        raise AlreadyExists(
            f"there is a project in {root}",
            why=f"It has a folder {LOCAL}.",
            hint="Use it as it is; to move it to another store: thence push URL"
            if url
            else "Use it as it is, or choose an empty place.",
            about=str(root),
        )
    if url is None:
        store = open_store(local / "store", create=True)
        probe(store)
        make_project(store, project_id=os.urandom(16).hex(), now=_now())
    else:
        store = connect(url, create=True)
        write_home(local, Home(url=store.url, project=_found_or_join(store).id))
    _ignore_in_git(root)
    return open_site(root)


def _found_or_join(store: Store) -> ProjectFile:
    """The project in a store; made there if there is none."""
    try:
        return read_project(store)
    except NotFound:
        probe(store)
    try:
        return make_project(store, project_id=os.urandom(16).hex(), now=_now())
    except AlreadyExists:
        return read_project(store)  # somebody else was faster


def open_site(root: Path) -> Site:
    """Open the project in a folder.

    Raises:
        NotFound: There is none.
        FormatTooNew: It was made by a newer thence.
        DataDamaged: Its project.json cannot be read.
        Conflict: Its home holds another project by now.
        StorageError: Its home cannot be reached.
    """
    local = root / LOCAL
    home = read_home(local)
    is_clone = home is not None and _has_store(local)
    if home is None or is_clone:
        store = open_store(local / "store")
        vault = Vault(store, local / "cache", clone=is_clone)
        read_project(store)
    else:
        store = connect(home.url)
        if refuse_other_project(store, home).is_mirror:
            store = ReadOnly(store)
        if remote := is_remote(store.url):
            store = Cache(store, local / "cache" / "pages", limit_bytes=_cache_limit())
        vault = Vault(store, local / "cache", remote=remote)
    author = os.environ.get(AUTHOR_VARIABLE) or _user()
    index = Index(local / "cache" / "index.sqlite")
    if vault.remote:
        # Spares most of the requests that finding the end of a log takes.
        vault.numbered.known_tail = lambda log: index.progress(log).through
    return Site(root, local, vault, Artifacts(vault, author=author), index, author, home)


def _cache_limit() -> int:
    text = os.environ.get(CACHE_VARIABLE)
    if text is None:
        return DEFAULT_LIMIT
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise InvalidInput(
            f"not a size: {CACHE_VARIABLE}={text!r}",
            hint=f"Write for example {CACHE_VARIABLE}=20GB, or leave it out for 10 GB.",
        )
    return int(float(found.group(1)) * _UNITS[found.group(2).upper()])


def refuse_other_project(store: Store, home: Home) -> OpenedProject:
    """The project in a store, if it is the one that a folder belongs to.

    Raises:
        NotFound: There is no project (any more).
        FormatTooNew: It was made by a newer thence.
        DataDamaged: Its project.json cannot be read.
        Conflict: It is another one.
    """
    project = open_project(store)
    if project.file.id != home.project:
        raise Conflict(
            f"{store.url} holds another project than this folder belongs to",
            why=f"Its id is {project.file.id[:12]}, not {home.project[:12]}.",
            hint="Join it in an empty folder: thence init --store URL",
            about=store.url,
        )
    return project


def _user() -> str:
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
