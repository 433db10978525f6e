"""Secrets that a reproduction has to be given: what was withheld of a run, and is needed again."""

import os
import posixpath
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from thence.execution.capture.placeholders import match
from thence.execution.giving import resolve_run
from thence.execution.site import Site
from thence.execution.surroundings import Secrets
from thence.index.runs import run_files
from thence.model.records import FileRole, FileUse, RunSealed

__all__ = ["Wanted", "known_secrets", "missing_secrets", "wanted_secrets"]

# They open the project's store for thence itself.
_OF_STORES = {
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
}
_GIVEN_BACK = {FileRole.INPUT, FileRole.CODE, FileRole.CONFIG}


class Wanted(NamedTuple):
    """A secret that a reproduction needs.

    Attributes:
        name: Of the variable, option or key.
        where: `an environment variable`, `on the command line`, `in conf.toml`.
        placeholder: What stands in its place in the record.
    """

    name: str
    where: str
    placeholder: str | None

    def __str__(self) -> str:
        return f"the secret {self.name} ({self.where})"


def wanted_secrets(sealed: RunSealed, uses: Iterable[FileUse]) -> list[Wanted]:
    """The secrets that a run cannot be repeated without, each value once.

    Of its environment, its command line and the files that it read; what it only printed or wrote
    it will have again by itself.
    """
    files = {use.path for use in uses if use.redacted and use.role in _GIVEN_BACK}
    found: dict[str, Wanted] = {}
    for one in sealed.withheld:
        path = one.where.removeprefix(f"{sealed.root}/")
        if one.where == "environment":
            if one.name in _OF_STORES and not sealed.connections:
                continue  # the program went nowhere with it
            where = "an environment variable"
        elif one.placeholder is None:
            continue
        elif one.where == "argv":
            where = "on the command line"
        elif posixpath.normpath(path) in files:
            where = f"in {path}"
        else:
            continue
        found.setdefault(one.placeholder or one.name, Wanted(one.name, where, one.placeholder))
    return list(found.values())


def known_secrets(
    site: Site, sealed: RunSealed, given: Mapping[str, str]
) -> tuple[Secrets, list[str]]:
    """What is known here of the secrets of a run.

    Args:
        site: Has the key of the placeholders.
        sealed: The run.
        given: Values by name, as a person gave them.

    Returns:
        The values, and the names of those that were given and are not what the run had.
    """
    known = match(site.secret_key(), {**os.environ, **given})
    others = {
        one.placeholder: one.name
        for one in sealed.withheld
        if one.placeholder and one.name in given and one.placeholder not in known
    }
    by_placeholder = {**known, **{key: given[name] for key, name in others.items()}}
    return Secrets(by_placeholder, given), list(dict.fromkeys(others.values()))


def missing_secrets(site: Site, ref: str, given: Mapping[str, str] | None = None) -> list[Wanted]:
    """Secrets that a reproduction of a run would miss; nothing for one that is not sealed.

    Args:
        site: Where the run is recorded.
        ref: A run, or a version that a run made.
        given: Values by name; the environment variables of this machine are looked at, too.

    Raises:
        NotFound: There is no such run.
    """
    sealed = resolve_run(site, ref).sealed
    if sealed is None or not sealed.withheld:
        return []
    secrets, _ = known_secrets(site, sealed, given or {})
    wanted = wanted_secrets(sealed, run_files(site.index, sealed.run, None))
    return [one for one in wanted if secrets.find(one.name, one.placeholder) is None]
