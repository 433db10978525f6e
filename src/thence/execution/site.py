"""The site of a project: its folder, its vault and its index, in one hand."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from thence.errors import (
    DataDamaged,
    StorageError,
)
from thence.execution.forgetting import forget, is_behind
from thence.execution.home import Home
from thence.execution.settings import Settings, read_settings
from thence.index import status as index_status
from thence.index.database import Index
from thence.index.ingest import LogItem
from thence.index.refresh import Refreshed, refresh
from thence.index.views import Problem
from thence.model.ids import Digest
from thence.store.failures import failures_of
from thence.vault.artifacts import Artifacts
from thence.vault.logs import Appended
from thence.vault.vault import Vault
from thence.vault.worktree import Worktree

__all__ = ["LOCAL", "Site"]

LOCAL = ".thence"
_PROBLEMS = 20
_log = logging.getLogger(__name__)


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
        import tempfile  # with its random numbers, for the first run on this machine alone

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
            self.vault.numbered,
            self.vault.journal,
            self.vault.content.read,
            clock=self.clock,
            outbox=self.vault.outbox,
            checkpoints=self.vault.checkpoints,
            full=full,
        )
        mark = self.local / "cache" / "erased"
        if (number := is_behind(self.index, mark)) is not None:
            forget(self.vault, self.index, mark, number)
        found = index_status.problems(self.index, limit=_PROBLEMS)
        if damaged := [one for one in found if one.kind == "damaged" or self._is_gap(one)]:
            _log.warning(
                "some of the project cannot be read, first %s, so answers may lack it; "
                "see: thence index status",
                damaged[0].log,
            )
        return done

    def _is_gap(self, problem: Problem) -> bool:
        """Whether an entry is lost, and not one that another process is just taking in."""
        return (
            problem.kind == "gap" and self.vault.numbered.read(problem.log, problem.number) is None
        )
