"""Appending an entry of a run so that repeating it, by another process and days later, is safe."""

from collections.abc import Callable
from datetime import datetime

from thence.model.records import Record, decode_entry, encode_entry
from thence.vault.erasures import erased
from thence.vault.journal import Announced
from thence.vault.logs import Appended
from thence.vault.parallel import ahead
from thence.vault.references import references
from thence.vault.session import Session
from thence.vault.vault import Vault

__all__ = ["append_once"]


def append_once(
    vault: Vault,
    log: str,
    record: Record,
    *,
    entry_id: str,
    at: datetime,
    by: str,
    session: Session | None = None,
) -> Appended:
    """Append a record, unless an entry with this id is in the log already.

    The id was written down before the first try: whoever repeats it, because an answer was lost
    or a process died, finds what the first try did.

    Args:
        vault: Where.
        log: Of a run: such logs are short.
        record: What to append.
        entry_id: Of the entry.
        at: The time of the entry.
        by: Who appends it.
        session: In which all content that it names was put or found.

    Raises:
        Conflict: Others were faster every time.
        DataDamaged: The log cannot be read.
        StorageError: The store failed; whether the entry is there is not known.
        Denied: The store may not be written to.
    """
    vault.guard()
    data = encode_entry(entry_id, at, by, record)
    entry = decode_entry(data)
    naming = vault.naming(session)
    if vault.outbox is not None:
        # The outbox is on this machine: nothing is on its way that could arrive later.
        if (found := _find_entry(vault, log, entry_id)) is not None:
            return found
        naming.before(references(record), spare=lambda: erased(vault))
        appended = vault.logs.append_bytes(log, entry, data, since=vault.logs.tail(log))
        naming.after()
        return appended
    steps: list[Callable[[], None]] = [lambda: vault.journal.note([Announced(entry_id, log)])]
    if session is not None:
        steps.append(naming.look)
    for _ in ahead(lambda step: step(), steps, at_once=2 if vault.remote else 1):
        pass
    naming.before(references(record), spare=lambda: erased(vault))
    appended = vault.numbered.append_bytes(log, entry, data, since=0)
    naming.after()
    if (there := vault.numbered.read(log, appended.number)) is None or there == data:
        return appended
    return Appended(log, appended.number, decode_entry(there), there)


def _find_entry(vault: Vault, log: str, entry_id: str) -> Appended | None:
    """The entry of a log with an id; None where there is none."""
    for number, data in vault.logs.after(log, 0):
        entry = decode_entry(data)
        if entry.id == entry_id:
            return Appended(log, number, entry, data)
    return None
