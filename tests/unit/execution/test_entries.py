"""An entry of a run that is appended again, by whoever, is there once."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from thence.execution.entries import append_once
from thence.model.ids import RunId
from thence.model.records import RunEdit
from thence.store.memory import MemoryStore
from thence.vault.logs import run_log
from thence.vault.vault import Vault

RUN = RunId("0123456789abcdef0123")
AT = datetime(2026, 1, 2, tzinfo=UTC)
ID = "ab" * 16


@pytest.mark.parametrize("clone", [False, True])
def test_appended_again_it_is_there_once(tmp_path: Path, *, clone: bool) -> None:
    vault = Vault(MemoryStore("m"), tmp_path, clone=clone)
    log = run_log(RUN)
    vault.append(log, RunEdit(run=RUN, note="before"), by="ann")
    first, again = (
        append_once(vault, log, RunEdit(run=RUN, note="it"), entry_id=ID, at=AT, by="ann")
        for _ in range(2)
    )
    assert again == first
    assert (first.entry.id, first.entry.at) == (ID, AT)
    assert [entry.id for entry in vault.logs.records(log)].count(ID) == 1
    assert len(list(vault.logs.after(log, 0))) == 2
