"""Content is read back whole and verified, or not at all."""

import os
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zstandard
from blake3 import blake3

from thence.errors import DataDamaged, Denied, NotFound, StorageError
from thence.model.ids import Digest
from thence.store.base import Store
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault import content as content_module
from thence.vault import recipe
from thence.vault.pack import (
    BlockKind,
    Codec,
    DirectoryEntry,
    PackBuilder,
    entries_of,
    read_directory,
)
from thence.vault.recipe import Item
from thence.vault.vault import Vault

NewVault = Callable[..., Vault]
KIB = 1024
# Each border where something else happens: small, one chunk, several chunks, several segments.
SIZES = [
    border + delta
    for border in (0, 32 * KIB, 64 * KIB, 256 * KIB, 4 * KIB * KIB, 8 * KIB * KIB)
    for delta in (-1, 0, 1)
    if border + delta >= 0
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["random", "zeros", "text"])
def test_content_of_every_size_comes_back(
    new_vault: NewVault, random_bytes: Callable[[int], bytes], tmp_path: Path, kind: str, size: int
) -> None:
    data = {
        "random": random_bytes(size),
        "zeros": bytes(size),
        "text": (b"some,text,that,repeats\n" * (size // 23 + 1))[:size],
    }[kind]
    path = tmp_path / "file"
    path.write_bytes(data)
    with new_vault().writer(lanes=1) as writer:
        info = writer.put_file(path)
        assert writer.put_bytes(data) == info
    assert info == (Digest.of(data), size)
    vault = new_vault()
    assert vault.content.info(info.digest) == info
    assert vault.content.read(info.digest) == data
    assert b"".join(vault.content.stream(info.digest)) == data
    vault.content.write_to(info.digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


def test_content_that_is_not_there(vault: Vault, tmp_path: Path) -> None:
    missing = Digest.of(b"never stored")
    assert vault.content.info(missing) is None
    with pytest.raises(NotFound):
        vault.content.read(missing)
    with pytest.raises(NotFound):
        vault.content.write_to(missing, tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_chunk_is_no_content(vault: Vault, random_bytes: Callable[[int], bytes]) -> None:
    with vault.writer() as writer:
        writer.put_bytes(random_bytes(600_000))
    for pack in vault.directory.packs():
        for entry in entries_of(read_directory(vault.store, pack)):
            if entry.kind is BlockKind.CHUNK:
                with pytest.raises(DataDamaged):
                    vault.content.read(Digest(entry.id))


@pytest.mark.parametrize(("remote", "most"), [(False, 24), (True, 8)])
def test_neighbouring_chunks_are_read_together(
    store: MemoryStore,
    new_vault: NewVault,
    random_bytes: Callable[[int], bytes],
    remote: bool,
    most: int,
) -> None:
    data = random_bytes(20_000_000)
    with new_vault().writer(lanes=1) as writer:
        digest = writer.put_bytes(data).digest
    traced = Trace(store)
    vault = new_vault(traced, remote=remote)
    vault.directory.refresh()
    traced.clear()
    assert vault.content.read(digest) == data
    # From a disk 1 MiB each, from a bucket 4, and the recipe.
    assert traced.counters["get_range"].calls <= most


def test_small_contents_of_one_block_are_read_together(
    store: MemoryStore, new_vault: NewVault
) -> None:
    with new_vault().writer() as writer:
        digests = [writer.put_bytes(f"content {n}".encode()).digest for n in range(500)]
    traced = Trace(store)
    vault = new_vault(traced)
    vault.directory.refresh()
    traced.clear()
    assert [vault.content.read(digest) for digest in digests][7] == b"content 7"
    assert traced.counters["get_range"].calls == 1


def test_many_threads_read(vault: Vault, random_bytes: Callable[[int], bytes]) -> None:
    contents = [random_bytes(size) for size in (10, 5_000, 200_000, 900_000) * 5]
    with vault.writer() as writer:
        digests = [writer.put_bytes(data).digest for data in contents]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(vault.content.read, digests * 5)) == contents * 5


def test_write_to_makes_a_new_file_with_its_mode(vault: Vault, tmp_path: Path) -> None:
    with vault.writer() as writer:
        digest = writer.put_bytes(b"#!/bin/sh\n").digest
    vault.content.write_to(digest, tmp_path / "plain")
    vault.content.write_to(digest, tmp_path / "program", executable=True)
    assert not os.access(tmp_path / "plain", os.X_OK)
    assert (tmp_path / "program").stat().st_mode & 0o100
    with pytest.raises(StorageError):
        vault.content.write_to(digest, tmp_path / "plain")
    assert (tmp_path / "plain").read_bytes() == b"#!/bin/sh\n"
    with pytest.raises(StorageError):
        vault.content.write_to(digest, tmp_path / "no folder" / "file")


def test_write_to_does_not_follow_links(vault: Vault, tmp_path: Path) -> None:
    with vault.writer() as writer:
        digest = writer.put_bytes(b"new").digest
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("elsewhere")
    for name in ("link", "dangling"):
        with pytest.raises(StorageError):
            vault.content.write_to(digest, tmp_path / name)
    assert (tmp_path / "target").read_bytes() == b"precious"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_write_to_a_folder_without_rights(vault: Vault, tmp_path: Path) -> None:
    with vault.writer() as writer:
        digest = writer.put_bytes(b"x").digest
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(Denied):
        vault.content.write_to(digest, tmp_path / "closed" / "file")


def test_damage_in_the_middle_leaves_no_file(
    store: MemoryStore,
    new_vault: NewVault,
    random_bytes: Callable[[int], bytes],
    tmp_path: Path,
) -> None:
    with new_vault().writer() as writer:
        digest = writer.put_bytes(random_bytes(10_000_000)).digest
    (info,) = store.list("packs/")
    data = bytearray(store.get(info.key))
    data[9_000_000] ^= 1
    store.replace(info.key, [data])
    with pytest.raises(DataDamaged):
        new_vault().content.write_to(digest, tmp_path / "file")
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.SHORT_READ])
def test_a_store_that_fails_gives_an_error_and_never_wrong_bytes(
    store: MemoryStore, new_vault: NewVault, random_bytes: Callable[[int], bytes], fault: Fault
) -> None:
    data = random_bytes(9_000_000)
    with new_vault().writer() as writer:
        digest = writer.put_bytes(data).digest
    for call in range(1, 6):
        vault = new_vault(
            FaultyStore(
                store,
                Rule(
                    fault=fault,
                    operations=frozenset({"get", "get_range"}),
                    on=frozenset({call}),
                ),
                seed=call,
            )
        )
        with pytest.raises((StorageError, DataDamaged)):
            vault.content.read(digest)
        assert vault.content.read(digest) == data


def forge(
    store: Store,
    blocks: list[tuple[bytes, bytes, int, BlockKind, Codec]],
    **changed: Any,
) -> None:
    """Publish a pack of (id, stored bytes, raw length, kind, codec)."""
    builder = PackBuilder(Path("unused"), os.urandom(16))
    for wanted, stored, raw_length, kind, codec in blocks:
        offset = builder.add_block(stored)
        entry = DirectoryEntry(wanted, offset, raw_length, len(stored), 0, kind, codec)
        builder.add_entry(entry._replace(**changed))
    builder.publish(store)


WANTED = Digest.of(b"what is wanted")


@pytest.mark.parametrize(
    ("stored", "raw_length", "codec", "changed"),
    [
        (b"other bytes", 11, Codec.RAW, {}),
        (b"what is wanted", 13, Codec.RAW, {}),
        (b"what is wanted", 15, Codec.RAW, {}),
        (b"what is wanted", 14, Codec.RAW, {"inner": 1}),
        (b"what is wanted", 14, Codec.RAW, {"inner": 2**32 - 1}),
        (b"what is wanted", 14, Codec.RAW, {"offset": 2**64 - 1}),
        (b"what is wanted", 14, Codec.RAW, {"offset": 2**63 - 1}),
        (b"what is wanted", 14, Codec.RAW, {"stored_length": 2**32 - 1}),
        (b"what is wanted", 2**64 - 1, Codec.RAW, {}),
        (b"not zstd", 14, Codec.ZSTD, {}),
        (b"", 14, Codec.ZSTD, {}),
        # A frame that says it holds 4 EiB.
        (b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 2**62) + b"\1\0\0", 14, Codec.ZSTD, {}),
        (zstandard.ZstdCompressor().compress(bytes(17 << 20)), 14, Codec.ZSTD, {}),
    ],
)
def test_forged_blocks_are_refused(
    vault: Vault, stored: bytes, raw_length: int, codec: Codec, changed: dict[str, int]
) -> None:
    forge(vault.store, [(WANTED.raw, stored, raw_length, BlockKind.WHOLE, codec)], **changed)
    with pytest.raises(DataDamaged):
        vault.content.read(WANTED)


def test_forged_recipes_are_refused(store: MemoryStore, new_vault: NewVault) -> None:
    chunk = b"what is "
    chunk_id = blake3(chunk).digest()
    chunk_block = (chunk_id, chunk, len(chunk), BlockKind.CHUNK, Codec.RAW)
    empty_id = blake3(b"").digest()

    def node(level: int, *items: Item) -> bytes:
        return bytes([level]) + b"".join(struct.pack("<32sQ", *item) for item in items)

    below = node(0, *[Item(chunk_id, 8)] * 100)
    list_id = blake3(below).digest()
    list_block = (list_id, below, len(below), BlockKind.LIST, Codec.RAW)
    wrong_list = (blake3(b"y").digest(), below, len(below), BlockKind.LIST, Codec.RAW)
    recipes = [
        b"",
        b"\0\1",
        node(0, Item(chunk_id, 8)),
        node(0, Item(chunk_id, 7)),
        node(0, Item(bytes(32), 8)),
        node(0, Item(list_id, 8)),
        node(0, Item(WANTED.raw, 8)),
        node(0, Item(empty_id, 0)),
        node(0, *[Item(chunk_id, 8)] * 1000),
        node(1, *[Item(list_id, 800)] * 100),
        node(1, Item(chunk_id, 8)),
        node(1, Item(wrong_list[0], 8)),
        node(2, Item(list_id, 800)),
        node(9),
        b"\xff",
    ]
    for forged in recipes:
        one = MemoryStore()
        empty = (empty_id, b"", 0, BlockKind.CHUNK, Codec.RAW)
        forge(
            one,
            [
                chunk_block,
                list_block,
                wrong_list,
                empty,
                (WANTED.raw, forged, 14, BlockKind.RECIPE, Codec.RAW),
            ],
        )
        got: list[int] = []
        vault = new_vault(one)
        pieces = vault.content.stream(WANTED)
        with pytest.raises(DataDamaged):
            got.extend(len(piece) for piece in pieces)
        assert sum(got) <= 14, forged  # a recipe that repeats for ever does not fill the disk


def test_content_that_moved_to_another_pack_is_followed(
    store: MemoryStore, new_vault: NewVault, random_bytes: Callable[[int], bytes]
) -> None:
    """As a collection moves it: stored again elsewhere, then the old pack goes."""
    data = random_bytes(3_000_000)
    with new_vault().writer() as writer:
        small, large = writer.put_bytes(b"small"), writer.put_bytes(data)
    vault = new_vault()
    vault.directory.refresh()
    old = [info.key for info in store.list("packs/")]
    elsewhere = MemoryStore()
    with new_vault(elsewhere).writer() as writer:
        writer.put_bytes(b"something else first")
        writer.put_bytes(data)
        writer.put_bytes(b"small")
    for info in elsewhere.list("packs/"):
        store.create(info.key, [elsewhere.get(info.key)])
    for key in old:
        store.delete(key)
    assert vault.content.read(small.digest) == b"small"
    assert vault.content.read(large.digest) == data


def test_a_pack_that_goes_while_its_content_is_read(
    store: MemoryStore, new_vault: NewVault, random_bytes: Callable[[int], bytes]
) -> None:
    data = random_bytes(9_000_000)
    with new_vault().writer() as writer:
        digest = writer.put_bytes(data).digest
    vault = new_vault()
    pieces = vault.content.stream(digest)
    first = next(pieces)
    (old,) = store.list("packs/")
    elsewhere = MemoryStore()
    with new_vault(elsewhere).writer() as writer:
        writer.put_bytes(data)
    (new,) = elsewhere.list("packs/")
    store.create(new.key, [elsewhere.get(new.key)])
    store.delete(old.key)
    assert bytes(first) + b"".join(pieces) == data


def test_content_whose_pack_is_lost_is_reported(
    store: MemoryStore, new_vault: NewVault, random_bytes: Callable[[int], bytes]
) -> None:
    with new_vault().writer() as writer:
        small, large = writer.put_bytes(b"small"), writer.put_bytes(random_bytes(600_000))
    vault = new_vault()
    vault.directory.refresh()
    for info in list(store.list("packs/")):
        store.delete(info.key)
    for digest in (small.digest, large.digest):
        with pytest.raises((DataDamaged, NotFound)):
            vault.content.read(digest)
        with pytest.raises(NotFound):
            vault.content.read(digest)


def test_the_block_cache_stays_small(
    vault: Vault, random_bytes: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_module, "_CACHED_BYTES", 150_000)
    with vault.writer() as writer:
        digests = [writer.put_bytes(random_bytes(40_000)).digest for _ in range(10)]
    for digest in digests * 2:
        assert Digest.of(vault.content.read(digest)) == digest
    assert 0 < len(vault.content._blocks) < 10
    assert sum(map(len, vault.content._blocks.values())) == vault.content._cached_bytes <= 150_000


def test_reading_while_others_write(
    vault: Vault, new_vault: NewVault, random_bytes: Callable[[int], bytes]
) -> None:
    with vault.writer() as writer:
        digests = [writer.put_bytes(random_bytes(100_000)).digest for _ in range(5)]
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            with vault.writer() as writer:
                writer.put_bytes(os.urandom(1000))

    with ThreadPoolExecutor(2) as threads:
        writing = threads.submit(write)
        try:
            for digest in digests * 20:
                assert Digest.of(vault.content.read(digest)) == digest
        finally:
            done.set()
        writing.result()


def test_recipe_nodes_are_as_the_forged_ones() -> None:
    """The forgeries above fail for their content, not for their form."""
    assert recipe.parse(bytes([0]) + struct.pack("<32sQ", bytes(32), 5)) == (
        0,
        [Item(bytes(32), 5)],
    )
