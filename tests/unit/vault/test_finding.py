"""How many requests a client needs that knows nothing of a project on a bucket."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from thence.model.ids import Digest
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.vault import lane as lane_module
from thence.vault import merged as merged_module
from thence.vault.checkout import check_out
from thence.vault.hints import write_hint
from thence.vault.tree import TreeEntry, decode, encode
from thence.vault.vault import Vault

NewVault = Callable[..., Vault]
RandomBytes = Callable[[int], bytes]
Put = dict[Digest, bytes]


def requests(traced: Trace) -> int:
    return sum(counter.calls for counter in traced.counters.values())


class Saved(NamedTuple):
    tree: Digest
    data: bytes


def save(vault: Vault, data: bytes, *, hint: bool = True) -> Saved:
    """One small artifact, in a pack of its own."""
    with vault.writer() as writer:
        info = writer.put_bytes(data)
        tree = writer.put_bytes(encode([TreeEntry("file", info.size_bytes, info.digest)]))
    if hint:
        write_hint(vault.store, tree.digest, writer.packs)
    return Saved(tree.digest, data)


def fetch(vault: Vault, tree: Digest) -> bytes:
    (entry,) = decode(vault.content.read(tree))
    return vault.content.read(entry.digest)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[MemoryStore, Saved]:
    """A project of 1,000 packs, which one client filled, and one of its artifacts."""
    store = MemoryStore()
    vault = Vault(store, tmp_path_factory.mktemp("project"), remote=True)
    saved = [save(vault, b"artifact %d" % number) for number in range(1000)]
    return store, saved[333]


@pytest.fixture
def copy(project: tuple[MemoryStore, Saved]) -> MemoryStore:
    """The same project, to be changed by a test."""
    copied = MemoryStore()
    for info in project[0].list():
        copied.create(info.key, [project[0].get(info.key)])
    return copied


def delete(store: MemoryStore, prefix: str) -> None:
    for info in list(store.list(prefix)):
        store.delete(info.key)


def count(store: MemoryStore, prefix: str) -> int:
    return len(list(store.list(prefix)))


def test_with_a_hint(project: tuple[MemoryStore, Saved], new_vault: NewVault) -> None:
    store, saved = project
    assert count(store, "packs/") == 1000
    traced = Trace(store)
    assert fetch(new_vault(traced, remote=True), saved.tree) == saved.data
    # The hints of the tree, one of them, the directory of the pack, the block of tree and file.
    assert requests(traced) <= 4
    assert traced.counters["list"].calls == 1


def test_without_a_hint(
    copy: MemoryStore, project: tuple[MemoryStore, Saved], new_vault: NewVault
) -> None:
    delete(copy, "hints/")
    traced = Trace(copy)
    assert fetch(new_vault(traced, remote=True), project[1].tree) == project[1].data
    assert count(copy, "directories/") <= 15
    assert requests(traced) <= 2 + 15 + 1


def test_without_merged_directories(
    copy: MemoryStore, project: tuple[MemoryStore, Saved], new_vault: NewVault
) -> None:
    delete(copy, "hints/")
    delete(copy, "directories/")
    traced = Trace(copy)
    assert fetch(new_vault(traced, remote=True), project[1].tree) == project[1].data
    assert 1000 < requests(traced) <= 1000 + 6


def test_everything_is_known_after_few_requests(
    copy: MemoryStore, new_vault: NewVault, tmp_path: Path
) -> None:
    """What each save begins with: 1,000 packs, of which less than 65 are in no merged directory."""
    traced = Trace(copy)
    vault = new_vault(traced, remote=True)
    vault.directory.refresh()
    assert len(vault.directory.packs()) == 1000
    assert requests(traced) <= 2 + 15 + 64
    traced.clear()
    vault.directory.refresh()
    assert requests(traced) == 1


def test_the_cache_knows_what_the_process_before_learned(
    project: tuple[MemoryStore, Saved], tmp_path: Path
) -> None:
    store, saved = project
    Vault(store, tmp_path / "cache", remote=True).directory.refresh()
    traced = Trace(store)
    assert fetch(Vault(traced, tmp_path / "cache", remote=True), saved.tree) == saved.data
    assert requests(traced) == 1  # the block
    traced.clear()
    Vault(traced, tmp_path / "cache", remote=True).directory.refresh()
    assert requests(traced) == 1


def test_what_another_saved_a_moment_ago_is_found(
    project: tuple[MemoryStore, Saved], copy: MemoryStore, new_vault: NewVault
) -> None:
    vault, other = new_vault(copy, remote=True), new_vault(copy, remote=True)
    fetch(vault, project[1].tree)
    for hint in (True, False):
        saved = save(other, b"new, hinted at: %d" % hint, hint=hint)
        assert fetch(vault, saved.tree) == saved.data
        assert vault.content.missing([saved.tree]) == set()


def test_what_is_nowhere_costs_few_requests(
    project: tuple[MemoryStore, Saved], new_vault: NewVault
) -> None:
    traced = Trace(project[0])
    vault = new_vault(traced, remote=True)
    absent = [Digest.of(b"absent %d" % number) for number in range(1000)]
    vault.directory.refresh()
    traced.clear()
    assert vault.content.missing(absent) == set(absent)
    assert requests(traced) == 1
    traced.clear()
    assert vault.content.info(absent[0]) is None
    assert requests(traced) <= 2


def test_a_session_that_only_writes_asks_twice(copy: MemoryStore, new_vault: NewVault) -> None:
    traced = Trace(copy)
    vault = new_vault(traced, remote=True)
    vault.directory.refresh()
    traced.clear()
    with vault.writer() as writer:
        for number in range(500):
            writer.put_bytes(b"another %d" % number)
    assert requests(traced) == 3  # what is condemned, the packs, and the new pack


def small_files(random_bytes: RandomBytes, number: int) -> list[bytes]:
    return [random_bytes(400 + at * 37 % 900) + b"%d" % at for at in range(number)]


def put_tree(vault: Vault, contents: list[bytes], folder: Path, *, lanes: int) -> list[TreeEntry]:
    folder.mkdir()
    paths = []
    for number, data in enumerate(contents):
        paths.append(folder / f"{number:05d}")
        paths[-1].write_bytes(data)
    with vault.writer(lanes=lanes) as writer:
        infos = list(writer.put_files(paths))
        tree = [
            TreeEntry(path.name, info.size_bytes, info.digest)
            for path, info in zip(paths, infos, strict=True)
        ]
        root = writer.put_bytes(encode(tree))
    write_hint(vault.store, root.digest, writer.packs)
    return tree


@pytest.mark.slow
def test_twenty_thousand_small_files(
    store: MemoryStore, new_vault: NewVault, random_bytes: RandomBytes, tmp_path: Path
) -> None:
    contents = small_files(random_bytes, 20_000)
    tree = put_tree(new_vault(remote=True), contents, tmp_path / "data", lanes=2)
    traced = Trace(store)
    vault = new_vault(traced, remote=True)
    done = check_out(tree, vault.content, tmp_path / "restored")
    assert len(done.written) == 20_000
    size = sum(map(len, contents))
    assert size > 16_000_000
    # A listing, four directories of 10,000 entries in two reads each, and 4 MiB with each request.
    assert requests(traced) <= 10 + size // (4 << 20) + 4, traced.counters
    assert traced.counters["get_range"].size_bytes < 1.2 * size
    for entry, data in list(zip(tree, contents, strict=True))[::501]:
        assert (tmp_path / "restored" / entry.path).read_bytes() == data


def test_files_of_several_packs_and_sizes(
    store: MemoryStore,
    new_vault: NewVault,
    random_bytes: RandomBytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane_module, "REMOTE_PACK", 9_000_000)
    contents = [random_bytes(size) for size in (0, 900, 40_000, 700_000, 50, 300_000) * 12]
    contents += [random_bytes(15_000_000), contents[3], contents[5][:200_000]]
    tree = put_tree(new_vault(remote=True), contents, tmp_path / "data", lanes=3)
    traced = Trace(store)
    vault = new_vault(traced, remote=True)
    vault.directory.refresh()
    traced.clear()
    done = check_out(tree, vault.content, tmp_path / "restored")
    assert done.written == tuple(entry.path for entry in tree)
    for entry, data in zip(tree, contents, strict=True):
        assert (tmp_path / "restored" / entry.path).read_bytes() == data
    size = sum(map(len, contents))
    assert requests(traced) <= 3 * size // (4 << 20), (size, traced.counters)
    assert traced.counters["get_range"].size_bytes < 1.3 * size


def test_a_large_content_is_read_ahead_and_in_order(
    store: MemoryStore, new_vault: NewVault, random_bytes: RandomBytes
) -> None:
    data = random_bytes(40_000_000)
    with new_vault(remote=True).writer() as writer:
        digest = writer.put_bytes(data).digest
    traced = Trace(store)
    vault = new_vault(traced, remote=True)
    vault.directory.refresh()
    traced.clear()
    pieces = vault.content.stream(digest)
    first = bytes(next(pieces))
    assert traced.counters["get_range"].size_bytes <= 6 * (4 << 20)  # bounded
    assert first + b"".join(pieces) == data
    assert traced.counters["get_range"].calls <= 12


def test_merged_directories_are_made_as_packs_come(project: tuple[MemoryStore, Saved]) -> None:
    assert merged_module.PACKS == 64
    levels = [info.key.split("/")[1] for info in project[0].list("directories/")]
    assert levels == ["1"] * (1000 // 65)


@pytest.mark.parametrize("remote", [False, True])
def test_a_content_that_repeats_itself_is_read_once(
    store: MemoryStore, new_vault: NewVault, random_bytes: RandomBytes, *, remote: bool
) -> None:
    zeros = bytes(600_000)
    data = b"".join(random_bytes(400_000) + zeros for _ in range(60))
    with new_vault(remote=remote).writer() as writer:
        digest = writer.put_bytes(data).digest
    traced = Trace(store)
    vault = new_vault(traced, remote=remote)
    vault.directory.refresh()
    traced.clear()
    assert vault.content.read(digest) == data
    # On a disk, a read of a megabyte is as good as a larger one; on a bucket each is a request.
    assert traced.counters["get_range"].calls <= (16 if remote else 64), traced.counters
    assert traced.counters["get_range"].size_bytes < 1.1 * 24_000_000


def test_a_content_that_was_edited_often_is_read_with_few_requests(
    store: MemoryStore, new_vault: NewVault, random_bytes: RandomBytes
) -> None:
    """Each edit leaves two chunks in another pack."""
    data = bytearray(random_bytes(30_000_000))
    for place in range(2_000_000, 30_000_000, 2_000_000):
        data[place : place + 10] = b"0123456789"
        with new_vault(remote=True).writer(lanes=1) as writer:
            digest = writer.put_bytes(bytes(data)).digest
    traced = Trace(store)
    vault = new_vault(traced, remote=True)
    vault.directory.refresh()
    traced.clear()
    assert vault.content.read(digest) == data
    assert traced.counters["get_range"].calls <= 30, traced.counters
