"""Retention: which old versions go by a rule, and their tombstones."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import NamedTuple

from thence.errors import InvalidInput
from thence.execution.removing import Removal, remove
from thence.execution.site import Site
from thence.index import artifacts as artifact_questions
from thence.index import runs as run_questions
from thence.index import versions as version_questions
from thence.index.views import VersionSummary
from thence.model.ids import Digest
from thence.model.numbers import is_local

__all__ = ["EVERY_ALIAS", "Policy", "expire", "expired"]

EVERY_ALIAS = ("*",)


class Policy(NamedTuple):
    """Which versions go: those that every rule that is given lets go.

    The latest version of an artifact stays always, and so does what waits in an outbox.

    Attributes:
        keep_last: The latest so many of each artifact stay; None for the latest one alone.
        older_than: Younger ones stay; None where the age does not matter.
        keep_alias: What an alias of one of these patterns (`*` and `?`) points at stays.
        artifacts: Only artifacts with a name of one of these patterns; all where there is none.
        also_used: Also what a run that is kept has read; such a run cannot be reproduced any more.
    """

    keep_last: int | None = None
    older_than: timedelta | None = None
    keep_alias: tuple[str, ...] = EVERY_ALIAS
    artifacts: tuple[str, ...] = ()
    also_used: bool = False

    @property
    def reason(self) -> str:
        """Why a version goes, for its tombstone."""
        said = []
        if self.keep_last is not None:
            said.append(f"keep the last {self.keep_last}")
        if self.older_than is not None:
            said.append(f"older than {_text(self.older_than)}")
        return f"retention: {', '.join(said)}"


def expired(site: Site, policy: Policy) -> list[Removal]:
    """The versions that a policy lets go, by artifact, the oldest first; nothing is removed.

    Raises:
        InvalidInput: The policy has no rule, or one that makes no sense.
        StorageError: The store cannot be read.
    """
    if policy.keep_last is None and policy.older_than is None:
        raise InvalidInput(
            "no rule says which versions go",
            why="Without one, everything but the latest versions would.",
            hint="Say how many stay, or how old they must be: --keep-last 5, --older-than 30d",
        )
    if policy.keep_last is not None and policy.keep_last < 1:
        raise InvalidInput(
            "the latest version of an artifact stays always",
            why=f"{policy.keep_last} is less than one.",
            hint="To remove all versions: thence rm NAME --all",
        )
    site.refresh()
    used = frozenset() if policy.also_used else run_questions.versions_read(site.index)
    before = None if policy.older_than is None else site.clock() - policy.older_than
    found: list[Removal] = []
    for artifact in artifact_questions.artifacts(site.index):
        if policy.artifacts and not _fits(artifact.name, policy.artifacts):
            continue
        left = version_questions.versions(site.index, artifact.name, deleted=False)
        gone = [one for one in left[policy.keep_last or 1 :] if _goes(one, policy, before, used)]
        found += [Removal(one.ref, version=one) for one in reversed(gone)]
    return found


def expire(site: Site, removals: Iterable[Removal], policy: Policy) -> list[Removal]:
    """Write the tombstones of what `expired` gave.

    Raises:
        StorageError: The store failed; repeat it.
        Denied: The store may not be written to.
    """
    return remove(site, removals, reason=policy.reason, force=True)


def _goes(
    version: VersionSummary, policy: Policy, before: datetime | None, used: Collection[Digest]
) -> bool:
    if is_local(version.number) or version.record in used:
        return False
    if before is not None and version.created >= before:
        return False
    return not any(_fits(alias, policy.keep_alias) for alias in version.aliases)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    folded = name.casefold()
    return any(fnmatchcase(folded, pattern.casefold()) for pattern in patterns)


def _text(age: timedelta) -> str:
    days, seconds = age.days, age.seconds
    return f"{days}d" if days and not seconds else f"{int(age.total_seconds() // 3600)}h"
