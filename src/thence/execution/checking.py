"""Checking a project, and healing it, as it is found in a folder: with what its index remembers."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from thence.errors import InvalidInput, NotFound, ThenceError
from thence.execution.opening import vault_at
from thence.execution.site import LOCAL, Site
from thence.index.remembered import remembered
from thence.model.progress import Progress, silent
from thence.store.base import Store
from thence.store.cache import Cache
from thence.store.open import connect, is_remote, open_store
from thence.store.wrap import Around
from thence.vault.check import Checked, check
from thence.vault.layout import PROJECT, mirror_of
from thence.vault.logscan import BadEntry, LogScan, note_bad, scan_logs
from thence.vault.vault import Vault

__all__ = ["Diagnosis", "check_site", "repair_site", "restore_project"]


if TYPE_CHECKING:
    from thence.vault.healing import Plan, Source
    from thence.vault.repair import Repaired


class Diagnosis(NamedTuple):
    """What a check found, and what would heal it.

    Attributes:
        checked: What was found here.
        plan: What the stores that were looked at would heal; None where none was looked at, or
            nothing is damaged.
        sources: Their URLs.
        unreachable: Stores that could not be looked at, and why.
    """

    checked: Checked
    plan: "Plan | None"
    sources: tuple[str, ...]
    unreachable: tuple[str, ...]


def check_site(
    site: Site, *, deep: bool = False, others: Sequence[str] = (), progress: Progress = silent
) -> Diagnosis:
    """Check the store of a project.

    Args:
        site: The project.
        deep: Read every byte.
        others: URLs of stores, or folders, with the same project, to compare with and to heal from.
            A clone and a mirror look at their home where something is damaged.
        progress: Is told of bytes so far and in all.

    Raises:
        InvalidInput: Not a URL of a store, or one of another project.
        NotFound: There is no project at one of them.
        StorageError: The project's own store failed.
        Denied: It may not be read.
    """
    vault = _bare(site)
    sources = [source_at(site, url) for url in others]
    found = check(vault, deep=deep, compare=lambda scan: _remember(site, scan), progress=progress)
    if not sources and found.is_sound:
        return Diagnosis(found, None, (), ())
    unreachable: list[str] = []
    if not sources:
        sources, unreachable = _known_sources(site, vault)
    if not sources:
        return Diagnosis(found, None, (), tuple(unreachable))
    from thence.vault.healing import plan_healing

    plan = plan_healing(vault, found, sources)
    found = plan.judged(found)
    return Diagnosis(found, plan, tuple(source.url for source in sources), tuple(unreachable))


def repair_site(
    site: Site, *, others: Sequence[str] = (), dry_run: bool = False, progress: Progress = silent
) -> "Repaired":
    """Heal the store of a project from other stores that hold it.

    Args:
        site: The project.
        others: URLs of stores, or folders; in a clone and a mirror the home if none is given.
        dry_run: Only find out what would be healed.
        progress: Is told of bytes so far and in all.

    Raises:
        InvalidInput: Not a URL of a store, or one of another project.
        NotFound: There is no project at one of them.
        StorageError: A store failed; repeat it to go on.
        Denied: A store may not be read, or this one not be written to.
    """
    from thence.vault.repair import repair

    vault = _bare(site)
    sources = [source_at(site, url) for url in others]
    if not sources:
        sources, _ = _known_sources(site, vault)
    done = repair(
        vault,
        sources,
        compare=lambda scan: _remember(site, scan),
        dry_run=dry_run,
        progress=progress,
    )
    if not dry_run and done.changed:
        site.vault.directory.forget()
        site.refresh(full=True)
    return done


def restore_project(folder: Path, others: Sequence[str]) -> bool:
    """Restore the project.json of a folder's store, without which there is no project to repair.

    Args:
        folder: The folder of the project, or one inside of it.
        others: URLs of stores, or folders, with the same project.

    Returns:
        Whether it was restored; the log entries of both stores must agree.

    Raises:
        InvalidInput: Not a URL of a store, or one of another project.
        NotFound: There is no project at one of them.
        StorageError: A store failed.
        Denied: A store may not be read, or this one not be written to.
    """
    from thence.vault.healing import right_project

    for root in (folder, *folder.parents):
        local = root / LOCAL
        if not (local / "store").is_dir():
            continue
        store = open_store(local / "store")
        vault = Vault(store, local / "cache")
        sources = [_source(local, store, url) for url in others]
        scan = scan_logs(vault)
        data, _ = right_project(vault, scan, sources, gives_numbers=True)
        if data is not None:
            store.replace(PROJECT, [data])
        return data is not None
    return False


def source_at(site: Site, url: str) -> "Source":
    """A store to compare with; a clone will do as well as a home or a mirror.

    Raises:
        InvalidInput: Not a URL of a store, or the store of this project itself.
        NotFound: There is no such folder, or no project there.
        StorageError: It cannot be reached.
        Denied: It may not be read.
    """
    return _source(site.local, site.vault.store, url)


def _source(local: Path, here: Store, url: str) -> "Source":
    from thence.vault.healing import Source

    own = Path(url).expanduser() / LOCAL / "store"
    store = connect(str(own) if (own / PROJECT).exists() else url)
    if store.url == here.url:
        raise InvalidInput(
            f"{url} is the store that is to be looked at",
            why="It cannot heal itself.",
            hint="Name a clone, a mirror or the home of this project.",
            about=url,
        )
    place = sha256(store.url.encode()).hexdigest()[:16]
    return Source(store.url, vault_at(store, local / "cache" / "others" / place))


def _known_sources(site: Site, vault: Vault) -> "tuple[list[Source], list[str]]":
    """The home of a clone or of a mirror, where it can be reached."""
    urls = []
    if site.home is not None and vault.outbox is not None:
        urls.append(site.home.url)
    try:
        if (mirror := mirror_of(vault.store)) is not None:
            urls.append(mirror.of)
    except ThenceError:
        urls += []  # damaged, which is found
    sources, unreachable = [], []
    for url in urls:
        try:
            source = source_at(site, url)
            if source.vault.store.head(PROJECT) is None:
                raise NotFound(f"there is no project in {url}")
            sources.append(source)
        except ThenceError as error:
            unreachable.append(f"{url}: {error.what}")
    return sources, unreachable


def _bare(site: Site) -> Vault:
    """The vault without what is believed: pages of the store on this machine, learnt directories.

    Nothing keeps it from healing a mirror, or a home that has become a clone meanwhile.
    """
    store: Store = site.vault.store
    if isinstance(store, Cache):
        store = _inside(store)
    return Vault(
        store,
        site.local / "cache",
        remote=is_remote(store),
        clone=site.vault.outbox is not None,
        clock=site.clock,
        entropy=site.entropy,
    )


def _inside(store: Around) -> Store:
    return store.inner


def _remember(site: Site, scan: LogScan) -> None:
    """Note entries that are not what they were when the index read them first."""
    known = {bad.key for bad in scan.bad}
    try:
        for log, number, prefix in remembered(site.index):
            sums = scan.sums.get(log)
            here = sums[number - 1] if sums is not None and number <= len(sums) else 0
            if here == prefix or (here and not prefix):
                continue
            is_missing = not here
            why = (
                "It was there when this folder's index read it."
                if is_missing
                else "It is a whole entry, but another one than this folder's index has read."
            )
            bad = BadEntry(log, number, is_missing, why)
            if bad.key not in known:
                note_bad(scan, bad)
    except ThenceError:
        return  # a damaged index remembers nothing; it is made again by whoever asks it
