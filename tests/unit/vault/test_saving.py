"""What a save reads, and what it need not read."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from thence.model.ids import Digest
from thence.store.memory import MemoryStore
from thence.vault import saving, tree
from thence.vault.held import HeldContent
from thence.vault.saving import Gathered, gather
from thence.vault.statcache import _RACY_NS, KnownTree
from thence.vault.vault import Vault

Save = Callable[..., Gathered]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in ("a", "sub/b", "sub/c", "sub/deep/d"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name * 100)
    (folder / "link").symlink_to("a")
    return folder


@pytest.fixture
def save(vault: Vault, data: Path) -> Save:
    def call(*paths: Path, on: Vault = vault) -> Gathered:
        with on.writer() as writer:
            held = HeldContent(on.directory, writer.session.condemned)
            found = gather(paths or [data], writer, on.stats, held=held, root=data)
        packs = tuple(sorted(held.packs | {*writer.packs}))
        known = KnownTree(found.tree.raw, found.size, found.files, packs, "file")
        on.stats.note_tree(found.fingerprint, known)
        on.stats.save()
        return found

    return call


def wait_until_past(folder: Path) -> None:
    """Until a change would be seen by the times: before that, nothing is remembered."""
    latest = max(path.lstat().st_ctime_ns for path in folder.rglob("*"))
    while time.time_ns() < latest + 2 * _RACY_NS:
        time.sleep(0.001)


def entries(vault: Vault, found: Gathered) -> dict[str, Digest]:
    return {one.path: one.digest for one in tree.decode(vault.content.read(found.tree))}


def test_nothing_changed_and_nothing_is_read(vault: Vault, data: Path, save: Save) -> None:
    wait_until_past(data)
    first = save()
    assert (first.read_files, first.files, first.known) == (4, 5, None)
    assert [one.path for one in first.largest] == ["sub/deep/d", "sub/b", "sub/c", "a"]
    again = save()
    assert again.known is not None
    assert again[:3] == first[:3]
    assert again.read_files == 0
    other = Vault(vault.store, vault.cache)  # the next process
    assert save(on=other).known == again.known


def test_the_tree_has_what_is_there_after_any_change(
    vault: Vault, data: Path, save: Save, new_vault: Callable[[], Vault]
) -> None:
    changes: list[Callable[[], object]] = [
        lambda: (data / "a").write_text("other"),
        lambda: (data / "sub" / "b").chmod(0o755),
        (data / "sub" / "c").unlink,
        lambda: (data / "sub" / "deep" / "d").rename(data / "sub" / "deep" / "e"),
        lambda: (data / "new").write_text("new"),
        lambda: (data / "sub" / "other").symlink_to("a"),
        lambda: (data / "sub" / "other").replace(data / "link"),
        lambda: (data / "sub" / "deep").rename(data / "moved"),
        lambda: os.utime(data / "a", ns=(5, 5)),
    ]
    save()
    for change in changes:
        wait_until_past(data)
        change()
        found = save()
        assert found.tree == save(on=new_vault()).tree  # which remembers nothing
        assert found.fingerprint == save().fingerprint


def test_only_what_changed_is_read(data: Path, save: Save) -> None:
    wait_until_past(data)
    save()
    (data / "sub" / "b").write_text("other")
    wait_until_past(data)
    assert save().read_files == 1
    os.utime(data / "sub" / "c")
    wait_until_past(data)
    touched = save()
    assert touched.read_files == 1
    assert save().known is not None
    (data / "sub" / "b").unlink()
    assert save().read_files == 0


def test_a_file_changed_within_the_tick_of_its_reading_is_read_again(
    data: Path, save: Save, vault: Vault
) -> None:
    """Git's racy rule: the same size, and times that may not tell."""
    for count in range(20):
        (data / "a").write_text(f"{count:04}")
        save()
        (data / "a").write_text(f"{count + 1000:04}")
        assert entries(vault, save())["a"] == Digest.of(f"{count + 1000:04}".encode())


def test_content_that_the_store_lost_is_read_again(
    vault: Vault, store: MemoryStore, data: Path, save: Save
) -> None:
    wait_until_past(data)
    save()
    for info in list(store.list("packs/")):
        store.delete(info.key)
    found = save()
    assert found.known is None
    assert found.read_files == 4
    assert {vault.content.read(digest) for digest in entries(vault, found).values()}


def test_packs_that_are_condemned_do_not_count(vault: Vault, data: Path, save: Save) -> None:
    wait_until_past(data)
    save()
    held = HeldContent(vault.directory, vault.directory.packs())
    with vault.copier(avoid=vault.directory.packs()) as writer:
        found = gather([data], writer, vault.stats, held=held)
    assert (found.known, found.read_files) == (None, 4)


def test_what_is_ignored_or_empty_is_told(data: Path, save: Save, vault: Vault) -> None:
    (data / ".thenceignore").write_text("sub/deep/\n*.tmp\n")
    (data / "x.tmp").write_text("x")
    (data / "empty").mkdir()
    found = save()
    assert found.ignored == ("sub/deep/", "x.tmp")
    assert found.empty_folders == 1
    assert entries(vault, found).keys() == {".thenceignore", "a", "link", "sub/b", "sub/c"}


def test_what_was_read_before_an_interrupt_is_not_read_again(
    data: Path, save: Save, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until_past(data)
    with vault.writer() as writer:  # as if packs had been published before the interrupt
        for name in ("a", "sub/b", "sub/c", "sub/deep/d"):
            writer.put_file(data / name)
    monkeypatch.setattr(saving, "_WINDOW", 2)
    with vault.writer() as writer:
        put_files, windows = writer.put_files, []

        def put(paths: list[Path]) -> object:
            windows.append(paths)
            if len(windows) == 2:
                raise KeyboardInterrupt
            return put_files(paths)

        monkeypatch.setattr(writer, "put_files", put)
        held = HeldContent(vault.directory, ())
        with pytest.raises(KeyboardInterrupt):
            gather([data], writer, vault.stats, held=held)
    other = Vault(vault.store, vault.cache)
    found = save(on=other)
    assert found.read_files == 2
    assert entries(vault, found)["sub/deep/d"] == Digest.of(b"sub/deep/d" * 100)


def test_progress_knows_the_total(vault: Vault, data: Path) -> None:
    told: list[tuple[int, int, int | None]] = []
    with vault.writer() as writer:
        gather(
            [data],
            writer,
            vault.stats,
            held=HeldContent(vault.directory, ()),
            progress=lambda files, size, total=None, /: told.append((files, size, total)),
        )
    total = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
    total -= (data / "link").stat().st_size
    assert told[-1] == (4, total, total)
