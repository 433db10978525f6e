"""Sharing a project: cloning it, sending what waits, fetching what is new."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from thence.errors import InvalidInput
from thence.execution.home import Home, write_home
from thence.execution.opening import make_clone, open_home
from thence.execution.site import Site
from thence.execution.waiting import WaitingItem, waiting
from thence.model.names import VersionRef, parse_ref
from thence.model.numbers import label
from thence.model.records import Version, decode_entry
from thence.vault import pushing, sync
from thence.vault.pushing import Pushed
from thence.vault.sync import Pulled

__all__ = ["Cloned", "NewNumber", "Sent", "clone", "home_of", "pull", "push"]

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
    """

    entries: int
    versions: tuple[NewNumber, ...]
    sent_bytes: int
    conflicts: tuple[WaitingItem, ...]


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
    home = home_of(site)
    source = open_home(site.local, home)
    asked = [str(_version_ref(ref)) for ref in only]
    if home.only and (added := [ref for ref in asked if ref not in home.only]):
        home = msgspec.structs.replace(home, only=(*home.only, *added))
        write_home(site.local, home)
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
    home = home_of(site)
    target = open_home(site.local, home)
    only = _version_ref(home.only[0]) if home.only else None
    site.index.mark_stale()
    done = pushing.push(site.vault, target, only=only, progress=progress)
    conflicts = tuple(item for item in waiting(site) if item.conflict is not None)
    return Sent(len(done.numbered), tuple(sorted(_new_numbers(site, done))), done.sent_bytes, conflicts)


def _new_numbers(site: Site, done: Pushed) -> Iterator[NewNumber]:
    for one in done.numbered:
        if not one.log.endswith("/@"):
            continue
        data = site.vault.numbered.read(one.log, one.number)
        record = None if data is None else decode_entry(data).record
        if isinstance(record, Version):
            name = record.artifact
            yield NewNumber(f"{name}@{label(one.local)}", f"{name}@{label(one.number)}")


def home_of(site: Site) -> Home:
    """The home of a clone.

    Raises:
        InvalidInput: The project is not a clone.
    """
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
