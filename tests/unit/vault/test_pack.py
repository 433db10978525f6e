"""Packs, byte by byte: read here by a parser that shares no code with the vault."""

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zstandard

from thence.errors import DataDamaged, Denied, FormatTooNew, NotFound, StorageError, ThenceError
from thence.model.ids import Digest
from thence.store.local import LocalStore
from thence.store.memory import MemoryStore
from thence.store.wrap import ReadOnly
from thence.testing.faulty import Fault, FaultyStore, Rule
from thence.vault import pack
from thence.vault.pack import (
    BlockKind,
    Codec,
    DirectoryEntry,
    PackBuilder,
    entries_of,
    pack_key,
    parse_pack_key,
    read_directory,
)
from thence.vault.vault import Vault

NONCE = bytes(range(16))
NewVault = Callable[..., Vault]


class Parsed(NamedTuple):
    nonce: bytes
    entries: list[dict[str, Any]]
    regions: dict[str, range]


def parse(data: bytes) -> Parsed:
    """Read a pack as docs/format/spec-1.md describes it, checking all that it promises."""
    assert data[-8:] == b"THNCPACK"
    length = int.from_bytes(data[-64:-56], "little")
    digest = data[-56:-24]
    assert int.from_bytes(data[-24:-20], "little") == 1
    assert data[-20:-8] == bytes(12)
    start = len(data) - 64 - length
    directory = data[start:-64]
    assert hashlib.sha256(directory).digest() == digest
    count = int.from_bytes(directory[16:24], "little")
    assert length == 24 + 64 * count
    entries: list[dict[str, Any]] = []
    for at in range(24, length, 64):
        row = directory[at : at + 64]
        entries.append(
            {
                "id": row[:32],
                "offset": int.from_bytes(row[32:40], "little"),
                "raw": int.from_bytes(row[40:48], "little"),
                "stored": int.from_bytes(row[48:52], "little"),
                "inner": int.from_bytes(row[52:56], "little"),
                "kind": row[56],
                "codec": row[57],
            }
        )
        assert row[58:] == bytes(6)
    assert [entry["id"] for entry in entries] == sorted(entry["id"] for entry in entries)
    # The blocks lie side by side, without gaps, and end where the directory begins.
    blocks = sorted({(entry["offset"], entry["stored"]) for entry in entries})
    assert [offset for offset, _ in blocks] == [
        sum(stored for _, stored in blocks[:i]) for i in range(len(blocks))
    ]
    assert sum(stored for _, stored in blocks) == start
    return Parsed(
        directory[:16],
        entries,
        {
            "blocks": range(start),
            "nonce": range(start, start + 16),
            "count": range(start + 16, start + 24),
            "entries": range(start + 24, len(data) - 64),
            "length": range(len(data) - 64, len(data) - 56),
            "digest": range(len(data) - 56, len(data) - 24),
            "format": range(len(data) - 24, len(data) - 20),
            "zeros": range(len(data) - 20, len(data) - 8),
            "magic": range(len(data) - 8, len(data)),
        },
    )


@pytest.fixture
def packed(
    vault: Vault, store: MemoryStore, random_bytes: Callable[[int], bytes]
) -> dict[Digest, bytes]:
    """One pack with every kind of block, and what it holds."""
    contents = [b"", b"small", b"text " * 2000, random_bytes(2000), b"one chunk " * 5000]
    contents.append(random_bytes(400_000) + bytes(1_000_000))
    with vault.writer(lanes=1) as writer:
        for data in contents:
            writer.put_bytes(data)
    assert len(list(store.list("packs/"))) == 1
    return {Digest.of(data): data for data in contents}


def the_pack(store: MemoryStore) -> tuple[str, bytes]:
    (info,) = store.list("packs/")
    return info.key, store.get(info.key)


def test_the_layout_is_as_documented(store: MemoryStore, packed: dict[Digest, bytes]) -> None:
    key, data = the_pack(store)
    parsed = parse(data)
    directory = data[parsed.regions["nonce"].start : -64]
    digits = hashlib.sha256(directory).hexdigest()
    assert key == f"packs/{digits[:2]}/{digits}"
    by_id = {entry["id"]: entry for entry in parsed.entries}
    for digest, content in packed.items():
        entry = by_id[digest.raw]
        assert entry["raw"] == len(content)
        block = data[entry["offset"] : entry["offset"] + entry["stored"]]
        if entry["codec"] == 1:
            block = zstandard.ZstdDecompressor().decompress(block)
        if entry["kind"] == 1:
            assert block[entry["inner"] : entry["inner"] + entry["raw"]] == content
        else:
            assert (entry["kind"], entry["inner"], block[0]) == (2, 0, 0)
            items = [
                (block[at : at + 32], int.from_bytes(block[at + 32 : at + 40], "little"))
                for at in range(1, len(block), 40)
            ]
            assert sum(length for _, length in items) == len(content)
            assert all(by_id[chunk]["kind"] == 3 for chunk, _ in items)
    kinds = [entry["kind"] for entry in parsed.entries]
    assert set(kinds) == {1, 2, 3}
    assert {entry["codec"] for entry in parsed.entries} == {0, 1}


def test_small_contents_share_a_block(store: MemoryStore, packed: dict[Digest, bytes]) -> None:
    parsed = parse(the_pack(store)[1])
    small = [e for e in parsed.entries if e["kind"] == 1 and e["raw"] <= 32 * 1024]
    assert len(small) == 4
    assert len({entry["offset"] for entry in small}) == 1


def test_the_vault_reads_the_same_entries(store: MemoryStore, packed: object) -> None:
    key, data = the_pack(store)
    pack_id = parse_pack_key(key)
    assert pack_id is not None
    ours = [entry._asdict() for entry in entries_of(read_directory(store, pack_id))]
    assert [entry["id"] for entry in ours] == [entry["id"] for entry in parse(data).entries]
    assert [entry["offset"] for entry in ours] == [e["offset"] for e in parse(data).entries]


@pytest.mark.parametrize(
    "key",
    [
        "packs/README",
        "packs/ab/" + "cd" * 32,
        "packs/ab/" + "AB" * 32,
        "packs/ab/" + "ab" * 31,
        "packs/ab/" + "ab" * 33,
        "packs/ab/ab/" + "ab" * 32,
        "refs/ab/" + "ab" * 32,
    ],
)
def test_what_is_no_pack_key(key: str) -> None:
    assert parse_pack_key(key) is None


def test_a_pack_key_comes_back() -> None:
    assert parse_pack_key(pack_key(bytes(range(32)))) == bytes(range(32))


def read_all(vault: Vault, packed: dict[Digest, bytes]) -> int:
    """Read everything; returns how much was called damaged. Wrong bytes are never given."""
    damaged = 0
    for digest, content in packed.items():
        got = b""
        try:
            for piece in vault.content.stream(digest):
                got += piece
                assert content.startswith(got)  # verified before it is handed out
        except (DataDamaged, FormatTooNew):
            damaged += 1
        else:
            assert got == content
    return damaged


def test_a_flipped_bit_anywhere_is_noticed(
    store: MemoryStore, packed: dict[Digest, bytes], new_vault: NewVault
) -> None:
    key, good = the_pack(store)
    parsed = parse(good)
    assert read_all(new_vault(), packed) == 0
    for region, places in parsed.regions.items():
        step = max(1, len(places) // 150)
        unnoticed = 0
        for at in places[::step]:
            bad = bytearray(good)
            bad[at] ^= 1 << at % 8
            store.replace(key, [bad])
            damaged = read_all(new_vault(), packed)
            if region == "blocks":
                unnoticed += not damaged  # zstd has bits that mean nothing
            elif region == "zeros":
                assert damaged == 0, at
            else:
                assert damaged == len(packed), (region, at)
        assert unnoticed <= 2, region


def test_a_pack_truncated_anywhere_is_noticed(
    store: MemoryStore, packed: dict[Digest, bytes], new_vault: NewVault
) -> None:
    key, good = the_pack(store)
    parsed = parse(good)
    borders = {region.start for region in parsed.regions.values()}
    borders |= {entry["offset"] for entry in parsed.entries}
    borders |= set(range(len(good) - 70, len(good)))
    for border in sorted(borders):
        for length in {max(0, border - 1), border, border + 1} - {len(good)}:
            store.replace(key, [good[:length]])
            assert read_all(new_vault(), packed) == len(packed), length
            store.replace(key, [good[len(good) - length :]])
            read_all(new_vault(), packed)


def test_a_pack_under_the_name_of_another_is_noticed(
    store: MemoryStore, packed: dict[Digest, bytes], new_vault: NewVault
) -> None:
    key, _ = the_pack(store)
    other = MemoryStore()
    with new_vault(other).writer() as writer:
        writer.put_bytes(b"something else")
    store.replace(key, [the_pack(other)[1]])
    assert read_all(new_vault(), packed) == len(packed)


@pytest.mark.parametrize(
    ("directory", "length"),
    [(b"", 0), (b"x" * 10, 10), (NONCE + bytes(8), 2**63), (NONCE + b"\1" + bytes(7), 24)],
)
def test_forged_directories_are_refused(directory: bytes, length: int) -> None:
    store = MemoryStore()
    pack_id = hashlib.sha256(directory).digest()
    trailer = struct.pack("<Q32sI12x8s", length, pack_id, 1, b"THNCPACK")
    store.create(pack_key(pack_id), [directory, trailer])
    with pytest.raises(DataDamaged):
        read_directory(store, pack_id)


def test_a_newer_format_is_not_damage(store: MemoryStore, packed: object) -> None:
    key, data = the_pack(store)
    bad = bytearray(data)
    bad[-24:-20] = (2).to_bytes(4, "little")
    store.replace(key, [bad])
    pack_id = parse_pack_key(key)
    assert pack_id is not None
    with pytest.raises(FormatTooNew):
        read_directory(store, pack_id)


@pytest.mark.parametrize("format_of_trailer", [0, 1 + (1 << 10), 1 + (1 << 31)])
def test_a_format_that_nobody_will_ever_write_is_damage(
    store: MemoryStore, packed: object, format_of_trailer: int
) -> None:
    key, data = the_pack(store)
    bad = bytearray(data)
    bad[-24:-20] = format_of_trailer.to_bytes(4, "little")
    store.replace(key, [bad])
    pack_id = parse_pack_key(key)
    assert pack_id is not None
    with pytest.raises(DataDamaged):
        read_directory(store, pack_id)


@pytest.mark.parametrize(("kind", "codec"), [(5, 0), (0, 0), (1, 16), (1, 2)])
def test_unknown_kinds_and_codecs_are_newer(kind: int, codec: int) -> None:
    row = struct.pack("<32sQQIIBB6x", bytes(32), 0, 0, 0, 0, kind, codec)
    with pytest.raises(FormatTooNew):
        list(entries_of(NONCE + (1).to_bytes(8, "little") + row))


def test_there_is_no_such_pack() -> None:
    with pytest.raises(NotFound):
        read_directory(MemoryStore(), bytes(32))


def filled(staging: Path, size: int = 100) -> PackBuilder:
    builder = PackBuilder(staging, NONCE)
    offset = builder.add_block(bytes(size))
    builder.add_entry(DirectoryEntry(bytes(32), offset, size, size, 0, BlockKind.WHOLE, Codec.RAW))
    return builder


@pytest.mark.parametrize("blocks", [1, 30])
def test_a_large_pack_is_the_same_as_a_small_one(
    blocks: int, tmp_path: Path, random_bytes: Callable[[int], bytes]
) -> None:
    """Beyond 8 MiB it goes through a file, which is gone afterwards."""
    store = LocalStore(tmp_path / "store", create=True)
    builder = PackBuilder(tmp_path / "staging", NONCE)
    data = [random_bytes(1_000_000) for _ in range(blocks)]
    for block in data:
        offset = builder.add_block(block)
        builder.add_entry(
            DirectoryEntry(
                hashlib.sha256(block).digest(),
                offset,
                len(block),
                len(block),
                0,
                BlockKind.WHOLE,
                Codec.RAW,
            )
        )
    published = builder.publish(store)
    stored = store.get(pack_key(published.id))
    assert len(stored) == published.size_bytes
    assert stored[: blocks * 1_000_000] == b"".join(data)
    assert parse(stored).nonce == NONCE
    assert read_directory(store, published.id) == published.directory
    assert list((tmp_path / "staging").glob("*")) == []


def test_a_directory_of_many_entries_is_sorted_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where entries share their first bytes, or end in zeros."""
    published = []
    for many in (10**9, 0):
        monkeypatch.setattr("thence.vault.pack._MANY_ENTRIES", many)
        builder = filled(tmp_path)
        for number in range(300):
            wanted = bytes([255 * (number % 2), *bytes(30), number % 256])
            builder.add_entry(
                DirectoryEntry(wanted, number << 20, 1, 1, 0, BlockKind.WHOLE, Codec.RAW)
            )
        published.append(builder.publish(MemoryStore()))
    assert published[0] == published[1]
    found = [entry.id for entry in entries_of(published[0].directory)]
    assert found == sorted(found)
    assert len(found) == 301


def test_a_directory_longer_than_the_first_read(store: MemoryStore, tmp_path: Path) -> None:
    builder = PackBuilder(tmp_path, NONCE)
    builder.add_block(b"x")
    for number in range(5000):
        builder.add_entry(
            DirectoryEntry(
                hashlib.sha256(str(number).encode()).digest(),
                0,
                1,
                1,
                0,
                BlockKind.WHOLE,
                Codec.RAW,
            )
        )
    published = builder.publish(store)
    assert len(published.directory) > pack._TAIL_GUESS
    assert read_directory(store, published.id) == published.directory


def test_the_lost_answer_of_a_publish_is_no_failure(store: MemoryStore, tmp_path: Path) -> None:
    repeated = FaultyStore(store, Rule(fault=Fault.REPEAT))
    published = filled(tmp_path).publish(repeated)
    assert read_directory(store, published.id) == published.directory


@pytest.mark.parametrize("size", [100, 9_000_000])
def test_failures_keep_their_kind_and_leave_no_file(
    store: MemoryStore, tmp_path: Path, size: int
) -> None:
    cases: list[tuple[Any, type[ThenceError]]] = [
        (ReadOnly(store), Denied),
        (FaultyStore(store, Rule(fault=Fault.FAIL_BEFORE)), StorageError),
    ]
    for broken, kind in cases:
        builder = filled(tmp_path / "staging", size)
        with pytest.raises(kind):
            builder.publish(broken)
        assert list((tmp_path / "staging").glob("*")) == []
    assert list(store.list()) == []


def test_a_full_staging_disk_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        filled(tmp_path / "file" / "below", 9_000_000)
