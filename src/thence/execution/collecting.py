"""Collecting in a project: old versions go by a rule, then what nothing refers to any more."""

from datetime import timedelta
from typing import NamedTuple

from thence.execution.removing import Removal
from thence.execution.retention import Policy, expire, expired
from thence.execution.site import Site
from thence.execution.spool import spools
from thence.model.progress import Progress, silent
from thence.vault.gc import GRACE, Collected, collect

__all__ = ["Collection", "collect_site"]


class Collection(NamedTuple):
    """What a collection did, or would do.

    Attributes:
        expired: Versions that were removed by a rule.
        collected: What became of their content, and of other content.
    """

    expired: tuple[Removal, ...]
    collected: Collected


def collect_site(
    site: Site,
    *,
    grace: timedelta = GRACE,
    policy: Policy | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
) -> Collection:
    """Remove versions by a rule, if there is one, and collect.

    Args:
        site: Where.
        grace: How long a pack is condemned before it is deleted.
        policy: Which versions go.
        dry_run: Only find out.
        progress: Is told entries so far.

    Raises:
        InvalidInput: The period is too short for a bucket, or the policy has no rule.
        Conflict: There is no period of grace, and somebody writes.
        DataDamaged: Something cannot be read, so nobody knows what is needed.
        FormatTooNew: A newer thence wrote here.
        StorageError: The store failed; repeat it.
        Denied: The store may not be read, or not be written to.
    """
    gone = () if policy is None else tuple(expired(site, policy))
    if policy is not None and gone and not dry_run:
        expire(site, gone, policy)
    records = [one.version.record for one in gone if one.version is not None]
    collected = collect(
        site.vault,
        by=site.author,
        grace_s=grace.total_seconds(),
        dry_run=dry_run,
        without=records if dry_run else (),
        # In a folder they give no sign of life, and those that died wait to be sealed.
        going=[spool.run for spool in spools(site.local)],
        progress=progress,
    )
    return Collection(gone, collected)
