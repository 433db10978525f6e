"""The vault: everything that a store keeps, put together for one process."""

import os
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from thence.model.ids import Digest
from thence.model.records import Record, RunRestored, RunSealed
from thence.store.base import Store
from thence.vault.checkpoints import Checkpoints
from thence.vault.condemned import CondemnedPacks
from thence.vault.content import Content
from thence.vault.directory import Directory
from thence.vault.erasures import erased, refusal_of, why_absent
from thence.vault.hints import write_hint
from thence.vault.journal import Announced, Journal
from thence.vault.logs import Appended, Logs
from thence.vault.naming import Naming
from thence.vault.outbox import CloneLogs, Outbox
from thence.vault.pack import sweep
from thence.vault.parallel import ahead
from thence.vault.proofs import Proofs
from thence.vault.references import Root, references
from thence.vault.session import Moment, Session, now, share
from thence.vault.statcache import StatCache
from thence.vault.writer import Writer

__all__ = ["Vault"]


def _now() -> datetime:
    return datetime.now(UTC)


_AT_ONCE = 16
# A hint is found again for 48 hours; who slept for long between hint and entry repeats it.
_LONG = timedelta(minutes=15)


class Vault:
    """Content, logs and journal of one store.

    Args:
        store: Where it is.
        cache: A local folder for what may be lost: directories, stat cache, packs being filled.
        remote: Each call of the store takes a while, as that of a bucket does: fewer are made, and
            several at once.
        clone: The store mirrors another one, the home, which alone gives numbers: what is appended
            here waits in the outbox.
        clock: Tells the time.
        entropy: Gives random bytes.

    Attributes:
        numbered: The logs as they lie in the store, with the numbers that the home gave.
        logs: The logs as whoever works here sees them: in a clone, `numbered` and the outbox.
        outbox: What waits for the home; None where the store is the home.
        condemned: Which packs are about to be deleted.
        checkpoints: Many entries in few objects, where each object is a request; else None.
        cache: The local folder for what may be lost.
        guard: Is called before content is written and before an entry is appended, and may raise.
    """

    def __init__(
        self,
        store: Store,
        cache: Path,
        *,
        remote: bool = False,
        clone: bool = False,
        clock: Callable[[], datetime] = _now,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.store = store
        self.remote = remote
        self.cache = cache
        self._clock = clock
        self._entropy = entropy
        self.directory = Directory(store, cache, new_name=self.new_id, remote=remote)
        self.proofs = Proofs(cache / "proofs")
        self.content = Content(store, self.directory, remote=remote, proofs=self.proofs)
        self.numbered = Logs(
            store, clock=clock, new_id=self.new_id, at_once=_AT_ONCE if remote else 1
        )
        self.outbox = Outbox(store) if clone else None
        self.logs: Logs = (
            self.numbered
            if self.outbox is None
            else CloneLogs(store, self.outbox, clock=clock, new_id=self.new_id)
        )
        self.journal = Journal(
            store, clock=clock, new_id=self.new_id, at_once=_AT_ONCE if remote else 1
        )
        self.condemned = CondemnedPacks(store, clock=clock, remote=remote)
        self.checkpoints = Checkpoints(store) if remote else None
        self.stats = StatCache(cache / "stat")
        self.guard: Callable[[], None] = lambda: None
        self.content.why_absent = lambda digest: why_absent(self, digest)

    def new_id(self) -> str:
        """128 random bits, as text."""
        return self._entropy(16).hex()

    def writer(self, *, lanes: int | None = None) -> Writer:
        """A session of writing content; see `Writer`."""
        at_once = 2 if self.remote else 1
        begun: list[Session] = []
        steps: tuple[Callable[[], None], ...]
        steps = (self.guard, lambda: begun.append(self.session()))
        for _ in ahead(lambda ask: ask(), steps, at_once=at_once):
            pass
        # After what is condemned was read: a pack that is not listed now is not relied on.
        self.directory.refresh()
        writer = self.copier(session=begun[0], lanes=lanes)
        # Whoever erases has condemned packs; on a folder it costs nothing to look.
        if begun[0].number or not self.remote:
            writer.refuse = self.refusal()
        return writer

    def refusal(self) -> Callable[[bytes], None] | None:
        """What refuses contents that were erased, as of now; None where none were.

        Raises:
            DataDamaged: An entry cannot be read: nobody knows what must not be there.
            StorageError: The store failed.
        """
        return refusal_of(self) if erased(self) else None

    def session(self) -> Session:
        """Begin to rely on what is here; before anything is looked up that is to get a name.

        Raises:
            DataDamaged: A record of condemned packs cannot be read.
            StorageError: The store failed.
        """
        lock = share(self.store)
        try:
            return Session(self.condemned.read(), lock=lock)
        except BaseException:
            if lock is not None:
                os.close(lock)
            raise

    def copier(
        self,
        *,
        session: Session | None = None,
        avoid: Collection[bytes] = (),
        lanes: int | None = None,
    ) -> Writer:
        """A writer for what is here already, which is to lie elsewhere than in some packs.

        Args:
            session: In which it writes.
            avoid: Packs that it must not rely on.
            lanes: How many threads may write at the same time.
        """
        staging = self.cache / "staging"
        sweep(staging, clock=self._clock)
        writer = Writer(
            self.store,
            self.directory,
            staging,
            entropy=self._entropy,
            lanes=lanes or min(4, os.cpu_count() or 1),
            remote=self.remote,
            session=session,
            avoid=avoid,
        )
        # It has just computed the SHA-256 of what the recipe makes.
        writer.on_recipe = self.proofs.note
        return writer

    def naming(self, session: Session | None = None) -> Naming:
        """Look after what is about to get a name; `append` does so by itself.

        Args:
            session: In which all of it was put or found; without one it is verified as a whole
                where anything was ever deleted here.
        """
        return Naming(self, session, now=self.now)

    def now(self) -> Moment:
        """This moment by two clocks of this machine."""
        return now(self._clock)

    def hint(self, root: Digest, packs: Iterable[bytes]) -> None:
        """Tell clients that know nothing in which packs a root lies, where looking takes long.

        Raises:
            StorageError: The store failed.
            Denied: The store may not be written to.
        """
        if self.remote:
            write_hint(self.store, root, packs)

    def append(
        self,
        log: str,
        decide: Callable[[int], Record | None] | Record,
        *,
        by: str,
        tail: int | None = None,
        session: Session | None = None,
        also: Iterable[Root] = (),
    ) -> Appended:
        """Announce a change in the journal, then append it to its log; in a clone, to the outbox.

        The content that the record names must have been flushed before: bytes first, name last.

        Args:
            log: Which log.
            decide: A record, or what gives one when it is told the number of the last entry; see
                `Logs.append_if`.
            by: The author.
            tail: The number of the last entry, where it was looked at a moment ago.
            session: In which all content that the record names was put or found. Without one it is
                verified to be there, where anything was ever deleted.
            also: What else will be referred to again, as by a record that restores a version.

        Raises:
            Conflict: Others were faster, or `decide` gave None, or something that the record names
                was collected meanwhile.
            DataDamaged: Something that the record names is missing.
            StorageError: The store failed.
        """
        self.guard()
        naming = self.naming(session)

        def choose(tail: int) -> Record | None:
            record = decide if isinstance(decide, Record) else decide(tail)
            if record is not None:
                # A run that has read what was erased since must end, and come back, all the same.
                is_run = isinstance(record, RunSealed | RunRestored)
                spare = (lambda: erased(self)) if is_run else tuple
                naming.before((*references(record), *also), spare=spare)
            return record

        entry_id = self.new_id()
        if self.outbox is not None:
            appended = self.logs.append_if(log, choose, by=by, entry_id=entry_id)
            naming.after()
            return appended
        announced = [Announced(entry_id, log)]
        steps = [lambda: self.journal.note(announced)]
        if session is not None:
            steps.append(naming.look)
        for _ in ahead(lambda step: step(), steps, at_once=2 if self.remote else 1):
            pass
        begun = self._clock()
        appended = self.logs.append_if(log, choose, by=by, entry_id=entry_id, tail=tail)
        if self._clock() - begun > _LONG:
            self.journal.note(announced)
        naming.after()
        return appended
