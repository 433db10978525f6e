"""Runs whose home may be out of reach: a program runs all the same, and nothing of it is lost.

Problem: the entries that open and seal a run, and its content, belong into the home. The network
goes away for an hour, or credentials expire over night, and a training of a week must neither stop
nor lose its results, which the next one will overwrite.

So: who begins a run waits a few seconds for the home and then goes without it. At the end all that
would be sealed is gathered into a store in the spool, down to the bytes of the outputs, and waits
for `thence runs recover`. The ids of both entries were chosen before the first try, so it does not
matter which tries got through without our knowing.
"""

import contextlib
import logging
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager

from thence.errors import ThenceError
from thence.execution.capture.states import Ledger
from thence.execution.entries import append_once
from thence.execution.gathering import Gathering, gather
from thence.execution.patience import PATIENCE_S, patience_for, within
from thence.execution.publishing import Publisher
from thence.execution.sealing import conclude, seal
from thence.execution.site import Site
from thence.execution.spool import Beginning, End, Opened, Spool
from thence.store.local import LocalStore
from thence.vault.layout import PROJECT
from thence.vault.live_segments import Segments
from thence.vault.logs import Appended, run_log
from thence.vault.references import Root, RootKind
from thence.vault.transfer import transfer
from thence.vault.vault import Vault
from thence.vault.worktree import Worktree

__all__ = ["announce", "append_opened", "deliver", "finish", "release"]

_log = logging.getLogger(__name__)


def announce(
    site: Site,
    opened: Opened,
    *,
    quietly: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> Publisher | None:
    """Append the entry that opens a run; where the home is far away, begin to publish the run.

    Raises:
        StorageError: The home failed for good, or is on this machine and failed.
        Denied: It may not be written to.
    """
    if not site.vault.remote:
        site.ingest(append_opened(site, opened.beginning))
        return None
    run = opened.spool.run
    publisher = Publisher(
        Segments(site.vault.store),
        run,
        opened.spool.folder,
        lambda: append_opened(site, opened.beginning),
        redactor=opened.redactor,
        clock=site.clock,
        quietly=quietly,
    )
    publisher.start()
    appended = publisher.wait_opened(patience_for(site.vault.store.url))
    if appended is None:
        _log.warning(
            "%s cannot be reached; %s is recorded here and will be published later",
            site.vault.store.url,
            run.short,
        )
    site.ingest(appended)
    return publisher


def append_opened(site: Site, beginning: Beginning) -> Appended:
    """Append the entry that opens a run, if it is not there.

    Raises:
        StorageError: The home failed; whether the entry is there is not known.
        Denied: It may not be written to.
    """
    opened = beginning.opened
    return append_once(
        site.vault,
        run_log(opened.run),
        opened,
        entry_id=beginning.opened_entry or site.vault.new_id(),
        at=opened.started,
        by=opened.author,
    )


def finish(site: Site, opened: Opened, end: End, ledger: Ledger) -> bool:
    """Seal a run that has ended; False where it waits in its spool, since the home is far away.

    Raises:
        StorageError: The home is on this machine and failed; the spool stays for `recover`.
        Denied: It may not be written to.
    """
    publisher, spool = opened.publisher, opened.spool
    if publisher is None:
        seal(site, opened, end, ledger)
        spool.discard()
        return True
    publisher.stop()
    try:
        _reach(
            site,
            opened,
            publisher,
            ran_s=(end.ended - opened.beginning.opened.started).total_seconds(),
        )
        seal(site, opened, end, ledger)
    except ThenceError as error:
        _hold(site, opened, end, ledger)
        spool.release()
        _log.warning(
            "%s could not be published: %s. All of it is kept here; publish it later with: "
            "thence runs recover",
            spool.run.short,
            error.what,
        )
        return False
    spool.discard()
    return True


def _reach(site: Site, opened: Opened, publisher: Publisher, *, ran_s: float) -> None:
    """See that the home answers before much is asked of it, each with a minute of retries.

    Raises:
        StorageError: It cannot be reached.
        Denied: It may not be written to.
    """
    vault = site.vault
    if publisher.opened is not None:
        within(PATIENCE_S, lambda: vault.store.head(PROJECT), url=vault.store.url)
        return
    # It was tried all the time: nobody waits longer for the home than for the program.
    patience_s = min(PATIENCE_S, max(ran_s, 0.5))
    begun = within(patience_s, lambda: append_opened(site, opened.beginning), url=vault.store.url)
    site.ingest(begun)


def release(opened: Opened) -> None:
    """Let go of a run that could not be ended; its spool stays for `recover`."""
    if opened.publisher is not None:
        opened.publisher.stop()
    opened.spool.release()


def _hold(site: Site, opened: Opened, end: End, ledger: Ledger) -> None:
    """Gather what will be sealed into the spool."""
    spool = opened.spool
    try:
        with _vault_in(spool, create=True).writer() as writer:
            gathered, _ = gather(
                opened,
                end,
                ledger,
                writer,
                stats=site.vault.stats,
                content=None,
                cache=site.local / "cache",
            )
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(site.local / "worktree.jsonl", spool.folder / "worktree.jsonl")
        spool.write_gathered(gathered)  # says that all the rest is there
    except (ThenceError, OSError) as error:
        # What was seen is in the spool all the same, and mostly in its place when it is recovered.
        _log.warning("the outputs of %s could not be copied: %s", spool.run.short, error)


def deliver(site: Site, spool: Spool, beginning: Beginning) -> bool:
    """Seal a run that waits in its spool; False where it was not gathered there.

    Raises:
        NotFound: Content of it is lost.
        DataDamaged: It is damaged.
        StorageError: The home failed.
        Denied: It may not be written to.
    """
    gathered = spool.gathered()
    if gathered is None:
        return False
    source = _vault_in(spool)
    series = gathered.draft.series
    gathering = Gathering(gathered, b"" if series is None else source.content.read(series))
    wanted = sorted(gathered.contents(), key=lambda digest: digest.raw)
    tracked = spool.folder / "worktree.jsonl"
    # The session comes first: it is the one in which all of this is named.
    with site.vault.writer() as writer:
        transfer(source, site.vault, [Root(digest, RootKind.CONTENT) for digest in wanted])
        conclude(site, beginning, gathering, writer, worktree=Worktree(tracked))
    return True


def _vault_in(spool: Spool, *, create: bool = False) -> Vault:
    store = LocalStore(spool.folder / "store", create=create)
    return Vault(store, spool.folder / "cache")
