"""Sharing a project: cloning it, sending what waits, fetching what is new."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from thence.errors import InvalidInput, NotFound
from thence.execution.home import Home, mark_clone, write_home
from thence.execution.opening import make_clone, open_home, vault_at
from thence.execution.places import store_at
from thence.execution.site import Site
from thence.execution.waiting import WaitingItem, waiting
from thence.model.names import VersionRef, parse_ref
from thence.model.numbers import label
from thence.model.records import Version, decode_entry
from thence.store.open import probe
from thence.vault import importing, pushing, replica, sync
from thence.vault.importing import Imported
from thence.vault.layout import mirror_of, read_project
from thence.vault.mirroring import Mirrored
from thence.vault.pushing import Pushed
from thence.vault.replica import found_home
from thence.vault.sync import Pulled

__all__ = [
    "Cloned",
    "NewNumber",
    "Sent",
    "clone",
    "follow_home",
    "import_versions",
    "mirror",
    "move_home",
    "pull",
    "push",
]

Progress = Callable[[int, int], None]


class Cloned(NamedTuple):
    """A clone, and what came with it."""

    site: Site
    pulled: Pulled


class NewNumber(NamedTuple):
    """A version that got its number.

    Attributes:
        was: What it was called in the outbox: `data@local.1`.
        ref: What it is called everywhere now: `data@v3`.
    """

    was: str
    ref: str


class Sent(NamedTuple):
    """What a push did.

    Attributes:
        entries: How many entries the home took: versions, edits, alias moves, and those of runs.
        versions: The versions among them.
        sent_bytes: Of the packs that were written.
        conflicts: What cannot be pushed, from this push and earlier ones.
        damaged: Entries at home that cannot be read; what waits for their logs goes on waiting.
    """

    entries: int
    versions: tuple[NewNumber, ...]
    sent_bytes: int
    conflicts: tuple[WaitingItem, ...]
    damaged: tuple[str, ...]


def clone(
    url: str,
    root: Path,
    *,
    only: Sequence[str] = (),
    progress: Progress = lambda contents, size: None,
) -> Cloned:
    """Make a folder a clone of the project in a store; done again, it goes on where it was.

    Args:
        url: Of the store.
        root: The folder.
        only: Refs of versions, where not everything is wanted: of each the artifact's history, the
            content of that version, and the run that made it.
        progress: Is told contents and bytes that came so far.

    Raises:
        AlreadyExists: There is another project in the folder.
        NotFound: There is no project in the store, or no such version.
        Denied: The folder may not be written to, or the store not be read.
        StorageError: The store cannot be reached, or the disk is full.
        InvalidInput: Not a URL of a store, or not a ref of a version.
    """
    site = make_clone(root, url, only=tuple(str(_version_ref(ref)) for ref in only))
    return Cloned(site, pull(site, progress=progress))


def pull(
    site: Site, *, only: Sequence[str] = (), progress: Progress = lambda contents, size: None
) -> Pulled:
    """Fetch what is new at home, and settle what waited here.

    Args:
        site: A clone.
        only: Refs of versions to fetch in addition; a clone that was made with some keeps to them.
        progress: Is told contents and bytes that came so far.

    Raises:
        InvalidInput: The project is not a clone, or not a ref of a version.
        NotFound: There is no such version, or the home lacks a content.
        DataDamaged: The clone is no mirror of its home (any more), or something is damaged.
        Conflict: The home holds another project by now.
        Denied: The home may not be read.
        StorageError: The home cannot be reached, or the disk is full.
    """
    home = _home_of(site)
    source = open_home(site.local, home)
    asked = [str(_version_ref(ref)) for ref in only]
    if home.only and (added := [ref for ref in asked if ref not in home.only]):
        home = msgspec.structs.replace(home, only=(*home.only, *added))
        _follow(site, home)
    wanted: list[VersionRef | None] = [_version_ref(ref) for ref in home.only or asked] or [None]
    # The journal says nothing of what is copied.
    site.index.mark_stale()
    done = [sync.pull(site.vault, source, only=one, progress=progress) for one in wanted]
    site.refresh()
    return _together(done)


def _together(done: Sequence[Pulled]) -> Pulled:
    first, *others = done
    for one in others:
        first = one._replace(
            entries=first.entries + one.entries,
            contents=first.contents + one.contents,
            size_bytes=first.size_bytes + one.size_bytes,
            numbered=first.numbered + one.numbered,
            moot=first.moot + one.moot,
            damaged=first.damaged + one.damaged,
            unknown=first.unknown + one.unknown,
        )
    return first


def push(site: Site, *, progress: Progress = lambda contents, size: None) -> Sent:
    """Send home what waits; the home gives it its numbers.

    Raises:
        InvalidInput: The project is not a clone.
        NotFound: A content is neither here nor there.
        DataDamaged: The clone is no mirror of its home (any more), or something is damaged.
        Conflict: The home holds another project by now, or others were faster a hundred times.
        Denied: The home may not be written to.
        StorageError: The home cannot be reached; what waits goes on waiting.
    """
    home = _home_of(site)
    target = open_home(site.local, home)
    target.guard()
    site.index.mark_stale()
    done = pushing.push(site.vault, target, with_content=not home.only, progress=progress)
    conflicts = tuple(item for item in waiting(site) if item.conflict is not None)
    versions = tuple(sorted(_new_numbers(site, done)))
    return Sent(len(done.numbered), versions, done.sent_bytes, conflicts, done.fetched.damaged)


def follow_home(site: Site, url: str) -> bool:
    """Let a clone follow the store at a URL, if that is a home of the same project.

    The bucket was moved, or the clone was made of a mirror and has something to push.

    Returns:
        Whether the clone follows it now.

    Raises:
        InvalidInput: Not a URL of a store.
        Denied: The store may not be read.
        StorageError: It cannot be reached.
        DataDamaged: Its project.json cannot be read.
    """
    if site.home is None or site.vault.outbox is None:
        return False
    try:
        store = store_at(url)
        project = read_project(store)
    except NotFound:
        return False
    if project.id != site.home.project or mirror_of(store) is not None:
        return False
    _follow(site, msgspec.structs.replace(site.home, url=store.url))
    return True


def _follow(site: Site, home: Home) -> None:
    """Make this folder a clone of a home, and its store say so."""
    write_home(site.local, home)
    mark_clone(site.vault.store, home)


def move_home(
    site: Site, url: str, *, progress: Progress = lambda contents, size: None
) -> Mirrored:
    """Make an empty store the home of a project that has its home in this folder.

    The folder becomes a clone of it. Cut anywhere, it goes on when it is called again.

    Raises:
        InvalidInput: Not a URL of a store, the store holds something else, or the project has its
            home elsewhere already.
        AlreadyExists: The store is a home already.
        Conflict: It is being made the home of another project.
        NotFound: A content is missing here.
        DataDamaged: Something here is damaged.
        Denied: The store may not be written to.
        StorageError: It does not keep a promise that a project needs, or cannot be reached.
    """
    store = store_at(url, create=True)
    home = Home(url=store.url, project=read_project(site.vault.store).id)
    if site.home not in {None, home}:
        raise InvalidInput(
            f"the home of this project is {site.home.url}",
            why="A project has one home, and it moves only from a folder that is the home itself.",
            hint=f"Copy it as it is: thence mirror {shlex.quote(url)}",
            about=url,
        )
    if site.home is None:
        probe(store)
    target = vault_at(store, site.local / "cache" / "home")
    return found_home(site.vault, target, switch=lambda: _follow(site, home), progress=progress)


def mirror(site: Site, url: str, *, progress: Progress = lambda contents, size: None) -> Mirrored:
    """Make a store a copy of this project to read from, or bring such a copy up to date.

    Of a clone everything is copied that is here and numbered; what waits in the outbox is not.

    Raises:
        InvalidInput: Not a URL of a store, or the store holds something else.
        AlreadyExists: The store is a home.
        NotFound: A content is missing here.
        DataDamaged: The copy has other entries, or something here is damaged.
        Denied: The store may not be written to.
        StorageError: It does not keep a promise that a project needs, or cannot be reached.
    """
    if site.home is not None and site.home.only:
        raise InvalidInput(
            "this clone holds only a part of its project",
            why=f"It has {', '.join(site.home.only)}, and a mirror has everything.",
            hint="Mirror the home: "
            f"thence --project {shlex.quote(site.home.url)} mirror {shlex.quote(url)}",
        )
    store = store_at(url, create=True)
    if mirror_of(store) is None:
        probe(store)
    place = sha256(store.url.encode()).hexdigest()[:16]
    target = vault_at(store, site.local / "cache" / "mirrors" / place)
    home = site.home.url if site.home is not None else site.vault.store.url
    return replica.mirror(site.vault, target, of=home, progress=progress)


def import_versions(
    site: Site,
    url: str,
    refs: Sequence[str],
    *,
    progress: Progress = lambda contents, size: None,
) -> Imported:
    """Bring versions of another project into this one, with the runs that made them.

    They get new numbers here and keep their records; doing it again changes nothing.

    Raises:
        InvalidInput: Not a URL of a store, not a ref of a version, or the same project.
        NotFound: There is no project, no such version, or a content is missing there.
        AlreadyExists: A name is taken here by another kind or spelling.
        DataDamaged: Something there is damaged.
        Denied: A store may not be read, or not be written to.
        StorageError: A store cannot be reached.
    """
    store = store_at(url)
    project = read_project(store)
    if project.id == read_project(site.vault.store).id:
        raise InvalidInput(
            f"{url} holds this very project",
            why="Versions are imported from another project.",
            hint="Fetch what is new at home: thence pull",
            about=url,
        )
    place = sha256(store.url.encode()).hexdigest()[:16]
    source = vault_at(store, site.local / "cache" / "others" / place)
    done = importing.import_versions(
        source,
        site.vault,
        [_version_ref(ref) for ref in refs],
        by=site.author,
        clock=site.clock,
        progress=progress,
    )
    site.refresh()
    return done


def _new_numbers(site: Site, done: Pushed) -> Iterator[NewNumber]:
    for one in done.numbered:
        if not one.log.endswith("/@"):
            continue
        data = site.vault.numbered.read(one.log, one.number)
        record = None if data is None else decode_entry(data).record
        if isinstance(record, Version):
            name = record.artifact
            yield NewNumber(f"{name}@{label(one.local)}", f"{name}@{label(one.number)}")


def _home_of(site: Site) -> Home:
    """The home of a clone; refuses a project that is none."""
    if site.home is None:
        raise InvalidInput(
            "this project has no home elsewhere",
            why="Its home is the store in this folder.",
            hint="Bring it to an empty store, which becomes its home: thence push URL",
        )
    if site.vault.outbox is None:
        raise InvalidInput(
            "this folder works in the project's home itself",
            why=f"What is saved here is at {site.home.url} at once, and what others save is seen.",
            hint="There is nothing to push or to pull.",
        )
    return site.home


def _version_ref(text: str) -> VersionRef:
    ref = parse_ref(text)
    if not isinstance(ref, VersionRef):
        raise InvalidInput(
            f"{text} is a run, and a version is wanted",
            hint="Name what it made; the run comes with it.",
            text=text,
            position=0,
        )
    return ref
