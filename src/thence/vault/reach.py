"""What is alive: what entries refer to, and everything that this is made of."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from thence.errors import ThenceError
from thence.model.ids import Digest, RunId
from thence.vault.references import Root
from thence.vault.vault import Vault

__all__ = ["Live", "Missing", "Reached", "Removed", "live_roots", "reach"]


class Removed(NamedTuple):
    """A version or run that was removed and that no open run holds on to.

    Attributes:
        key: Of its entry.
        name: `sales@v3`, or the id of a run.
        roots: What it refers to.
    """

    key: str
    name: str
    roots: tuple[Root, ...]


class Live(NamedTuple):
    """What is alive, and what says so.

    Attributes:
        roots: What entries refer to, each with the key of the first entry that does.
        removed: Versions and runs that were removed.
        open_runs: Runs that go on: what was removed since they began is alive.
        refusals: Entries that cannot be read, or that a newer thence wrote: nobody knows what they
            refer to, so nothing may be deleted.
        entries: How many entries there are.
    """

    roots: Mapping[Root, str]
    removed: tuple[Removed, ...]
    open_runs: tuple[RunId, ...]
    refusals: tuple[ThenceError, ...]
    entries: int


class Missing(NamedTuple):
    """Something that is referred to, and is in no pack or cannot be read.

    Attributes:
        id: What is missing.
        leaf: Nothing else can be behind it: a chunk, or a content that lists nothing.
        error: What is wrong.
    """

    id: bytes
    leaf: bool
    error: ThenceError


class Reached(Protocol):
    """Ids that were reached: contents, chunks and lists.

    Attributes:
        missing: What could not be reached.
    """

    missing: tuple[Missing, ...]

    def __contains__(self, wanted: bytes) -> bool:
        """Whether an id was reached."""
        ...

    def __len__(self) -> int:
        """How many were."""
        ...


def live_roots(
    vault: Vault,
    *,
    now_s: float,
    progress: Callable[[int], None] = lambda entries: None,
) -> Live:
    """What the entries of all logs, and of the outbox of a clone, refer to.

    Args:
        vault: Of which project.
        now_s: The time, by the clock of the store; a run that gave no sign for 7 days is not open.
        progress: Is told entries read so far.

    Raises:
        StorageError: The store failed.
        Denied: It may not be read.
    """
    raise NotImplementedError


def reach(
    vault: Vault,
    roots: Iterable[Root],
    *,
    erased: Callable[[Digest], bool] = lambda digest: False,
    progress: Callable[[int], None] = lambda ids: None,
) -> Reached:
    """Everything that roots are made of: contents, their chunks, and lists of these.

    Args:
        vault: Where.
        roots: Where to begin.
        erased: Whether a content was erased: it is not missing then.
        progress: Is told ids reached so far.

    Raises:
        StorageError: The store failed.
        Denied: It may not be read.
    """
    raise NotImplementedError
