"""The git refs that keep the code of runs: they go with a run, and come back with it."""

import logging

from thence.execution.capture.git import Git, Refused, find_repository
from thence.execution.capture.snapshot import REFS
from thence.execution.site import Site
from thence.model.ids import RunId
from thence.model.records import Code

__all__ = ["bring_back_code", "drop_code"]

_log = logging.getLogger(__name__)
_TIMEOUT_S = 30.0


def drop_code(site: Site, run: RunId) -> None:
    """Delete the ref of a run, where the repository is here and has it.

    Git itself forgets the commit behind it when it collects what nothing refers to.
    """
    git = _git(site)
    ref = REFS + run
    try:
        if git is not None and git.output("for-each-ref", "--count=1", ref):
            git.output("update-ref", "--no-deref", "-d", ref)
    except Refused as error:
        _log.warning("%s stays in the git repository: %s", ref, error)


def bring_back_code(site: Site, run: RunId, code: Code) -> None:
    """Make the ref of a run again, where its commit is still in the repository."""
    if code.snapshot is None or code.snapshot == code.commit:
        return
    git = _git(site)
    if git is None:
        return
    try:
        git.output("cat-file", "-e", f"{code.snapshot}^{{commit}}")
        git.output("update-ref", "--no-deref", REFS + run, code.snapshot)
    except Refused as error:
        _log.warning("the git repository has no commit of the code of %s: %s", run.short, error)


def _git(site: Site) -> Git | None:
    repository = find_repository(site.root)
    return None if repository is None else Git(repository.top, _TIMEOUT_S)
