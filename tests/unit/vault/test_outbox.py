"""What is made in a clone waits, is seen as the latest, and leaves no trace when it is pushed."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from thence.errors import Conflict
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.model.numbers import LOCAL, is_local, label, local
from thence.model.records import ArtifactEdit, Kind, Version
from thence.store.memory import MemoryStore
from thence.vault.artifacts import Artifacts, Draft
from thence.vault.logs import Logs, versions_log
from thence.vault.outbox import Outbox, Waiting
from thence.vault.vault import Vault

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NAME = ArtifactName("data")
LOG = versions_log(NAME)


def draft(text: str) -> Draft:
    return Draft(NAME, Kind.DATASET, Digest.of(text.encode()), len(text), 1)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def clone(store: MemoryStore, folder: Path) -> Vault:
    return Vault(store, folder, clone=True)


def home_logs(store: MemoryStore) -> Logs:
    ids = count()
    return Logs(store, clock=lambda: NOW, new_id=lambda: f"{next(ids):032x}")


def version(text: str) -> Version:
    return Version(
        artifact=NAME,
        kind=Kind.DATASET,
        tree=Digest.of(text.encode()),
        size=1,
        files=1,
        created=NOW,
        author="ann",
    )


def test_numbers_of_the_outbox_come_after_all_others() -> None:
    assert local(1) > 9_999_999_999
    assert [is_local(n) for n in (1, LOCAL, local(1))] == [False, False, True]
    assert [label(n) for n in (7, local(12))] == ["v7", "local.12"]


def test_a_save_in_a_clone_waits_and_touches_no_mirrored_log(
    store: MemoryStore, tmp_path: Path
) -> None:
    home_logs(store).append(LOG, version("one"), by="ann")
    before = {info.key for info in store.list("refs/")}
    vault = clone(store, tmp_path)
    saved = Artifacts(vault, author="bob").commit(draft("two"), now=NOW)
    assert saved.number == local(1)
    assert {info.key for info in store.list("refs/")} == before
    assert [w.key for w in vault.outbox.waiting()] == [f"outbox/{LOG}/0000000001"]  # type: ignore[union-attr]
    assert vault.logs.tail(LOG) == local(1)
    assert vault.numbered.tail(LOG) == 1
    assert [number for number, _ in vault.logs.after(LOG, 0)] == [1, local(1)]
    assert list(vault.logs.all()) == [(LOG, 1), (LOG, local(1))]
    assert list(store.list("journal/")) == []


def test_what_is_the_latest_here_is_not_saved_again(store: MemoryStore, tmp_path: Path) -> None:
    home_logs(store).append(LOG, version("one"), by="ann")
    artifacts = Artifacts(clone(store, tmp_path), author="bob")
    assert not artifacts.commit(draft("one"), now=NOW).new
    assert artifacts.commit(draft("two"), now=NOW).new
    assert not artifacts.commit(draft("two"), now=NOW).new
    assert artifacts.commit(draft("one"), now=NOW).number == local(2)


def test_logs_below_one_another_are_kept_apart(store: MemoryStore) -> None:
    outbox = Outbox(store)
    assert outbox.put("refs/artifacts/a/@", local(1), b"1")
    assert outbox.put("refs/artifacts/a/@edits", local(1), b"2")
    assert outbox.put("refs/artifacts/a/b/@", local(1), b"3")
    assert [w.log for w in outbox.waiting("refs/artifacts/a/@")] == ["refs/artifacts/a/@"]
    assert len(outbox.waiting()) == 3
    outbox.remove("refs/artifacts/a/@", local(1))
    assert outbox.read("refs/artifacts/a/@", local(1)) is None
    assert outbox.read("refs/artifacts/a/@edits", local(1)) == b"2"
    outbox.remove("refs/artifacts/a/@", local(1))


def test_one_position_is_given_once(store: MemoryStore) -> None:
    outbox = Outbox(store)
    assert outbox.put(LOG, local(1), b"mine")
    assert outbox.put(LOG, local(1), b"mine")  # a second try of the same
    assert not outbox.put(LOG, local(1), b"other")
    assert outbox.read(LOG, local(1)) == b"mine"


def test_many_savers_of_one_clone_get_a_position_each(store: MemoryStore, tmp_path: Path) -> None:
    vaults = [clone(store, tmp_path / str(n)) for n in range(8)]

    def save(number: int) -> int:
        vault = vaults[number % 8]
        return Artifacts(vault, author="x").commit(draft(str(number)), now=NOW).number

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(save, range(40)))
    assert sorted(numbers) == [local(n) for n in range(1, 41)]


def test_who_decides_not_to_append_gets_a_conflict(store: MemoryStore, tmp_path: Path) -> None:
    vault = clone(store, tmp_path)
    with pytest.raises(Conflict):
        vault.logs.append_if(LOG, lambda tail: None, by="x")
    assert vault.outbox is not None
    assert vault.outbox.waiting() == []


def test_what_is_no_waiting_entry_is_passed_over(store: MemoryStore) -> None:
    for key in ("outbox/refs/x", "outbox/other/0000000001", "outbox/refs/a/@/12"):
        store.create(key, [b"?"])
    assert Outbox(store).waiting() == []


def test_an_edit_is_seen_with_the_edits_of_the_home(store: MemoryStore, tmp_path: Path) -> None:
    home_logs(store).append(f"{LOG}edits", ArtifactEdit(artifact=NAME, description="a"), by="ann")
    vault = clone(store, tmp_path)
    done = vault.append(f"{LOG}edits", ArtifactEdit(artifact=NAME, description="b"), by="bob")
    assert done.number == local(1)
    assert [n for n, _ in vault.logs.after(f"{LOG}edits", 0)] == [1, local(1)]
    assert Waiting(f"{LOG}edits", local(1), 0.0).key == f"outbox/{LOG}edits/0000000001"


def test_an_entry_appended_as_it_is_counts_once(store: MemoryStore, tmp_path: Path) -> None:
    vault = clone(store, tmp_path)
    waiting = vault.append(LOG, version("mine"), by="bob")
    home = home_logs(MemoryStore())
    home.append(LOG, version("hers"), by="ann")
    first = home.append_bytes(LOG, waiting.entry, waiting.data, since=0)
    home.append(LOG, version("later"), by="ann")
    again = home.append_bytes(LOG, waiting.entry, waiting.data, since=1)
    assert first.number == again.number == 2
    assert home.tail(LOG) == 3
    assert home.read(LOG, 2) == waiting.data
