"""Forgetting what was erased elsewhere: what this machine keeps of it goes as well."""

import logging
from collections.abc import Iterable
from pathlib import Path

from thence.errors import Conflict, DataDamaged, Denied, FormatTooNew, NotFound, StorageError
from thence.index.database import Index
from thence.model.ids import Digest
from thence.vault.checkout import digest_of_file
from thence.vault.erasures import erased
from thence.vault.pack import pack_key
from thence.vault.plainfiles import PlainFiles
from thence.vault.vault import Vault

__all__ = ["forget", "is_behind"]

_log = logging.getLogger(__name__)

# What may keep a machine from it for now.
_NOT_NOW = (Conflict, DataDamaged, Denied, FormatTooNew, NotFound, OSError, StorageError)
# Behind the number: the index was written anew, and packs still hold what was erased.
_WAITS = " waits"


def is_behind(index: Index, mark: Path) -> int | None:
    """The number of the last erasure, where this machine has not followed it yet; else None."""
    ((last,),) = index.select("SELECT COALESCE(MAX(number), 0) FROM erasures")
    if not last:
        return None
    return None if _read(mark) == str(last) else int(last)


def forget(vault: Vault, index: Index, mark: Path, number: int) -> None:
    """Remove pages of packs that are gone, and what the file of the index has in its free space.

    A machine that cannot do it now tries again with the next command. As long as the packs that
    hold it are there, that is one request.

    Args:
        vault: Whose pages.
        index: Has taken in the erasures.
        mark: A file that says how far this machine has come.
        number: Of the last erasure.
    """
    from thence.vault.erase import carry_out, forget_pages  # 10 ms, for what is seldom

    try:
        if not vault.remote:
            carry_out(vault)  # a run that was going on may have put it again
        gone = erased(vault)
        PlainFiles(mark.with_name("files"), digest_of=digest_of_file).forget(gone)
        is_there = _is_in_a_pack(vault, gone)
        if not is_there:
            forget_pages(vault)
        if _read(mark) != f"{number}{_WAITS}":
            index.compact()
        # Until the packs were written anew, pages of them may be fetched again.
        mark.write_text(f"{number}{_WAITS if is_there else ''}")
    except _NOT_NOW as error:
        _log.info("what was erased could not be forgotten here yet: %s", error)


def _is_in_a_pack(vault: Vault, gone: Iterable[Digest]) -> bool:
    """Whether any pack holds some of it. All packs are listed only where none is known to."""
    packs = vault.directory.packs_with(digest.raw for digest in gone)
    if packs and vault.store.head(pack_key(min(packs))) is not None:
        return True
    vault.directory.refresh()
    return any(digest.raw in vault.directory for digest in gone)


def _read(mark: Path) -> str:
    try:
        return mark.read_text()
    except (OSError, ValueError):
        return ""
