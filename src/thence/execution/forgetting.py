"""Forgetting what was erased elsewhere: what this machine keeps of it goes as well."""

import logging
from contextlib import suppress
from pathlib import Path

from thence.errors import DataDamaged, Denied, FormatTooNew, StorageError
from thence.index.database import Index
from thence.vault.checkout import digest_of_file
from thence.vault.erasures import erased
from thence.vault.plainfiles import PlainFiles
from thence.vault.vault import Vault

__all__ = ["forget", "is_behind"]

_log = logging.getLogger(__name__)


def is_behind(index: Index, mark: Path) -> int | None:
    """The number of the last erasure, where this machine has not followed it yet; else None."""
    ((last,),) = index.select("SELECT COALESCE(MAX(number), 0) FROM erasures")
    if not last:
        return None
    with suppress(OSError, ValueError):
        if int(mark.read_text()) == last:
            return None
    return int(last)


def forget(vault: Vault, index: Index, mark: Path, number: int) -> None:
    """Remove pages of packs that are gone, and what the file of the index has in its free space.

    A machine that cannot do it now tries again with the next command.

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
        vault.directory.refresh()
        forget_pages(vault)
        gone = erased(vault)
        PlainFiles(mark.with_name("files"), digest_of=digest_of_file).forget(gone)
        index.compact()
        # Until the packs were written anew, pages of them may be fetched again.
        if not any(digest.raw in vault.directory for digest in gone):
            mark.write_text(str(number))
    except (StorageError, DataDamaged, Denied, FormatTooNew, OSError) as error:
        _log.info("what was erased could not be forgotten here yet: %s", error)
