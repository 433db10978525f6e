"""Content from one vault to another: all that is asked for, nothing else, verified."""

import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from blake3 import blake3

from thence.errors import DataDamaged, NotFound, StorageError
from thence.model import codec
from thence.model.ids import Digest
from thence.model.records import FileRole, FileUse, encode_lines
from thence.store.local import LocalStore
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.vault import chunk, encoding, tree
from thence.vault import transfer as transfer_module
from thence.vault.blockreader import BlockReader
from thence.vault.lane import Member
from thence.vault.layout import make_project
from thence.vault.pack import (
    BlockKind,
    Codec,
    DirectoryEntry,
    PackBuilder,
    entries_of,
    parse_pack_key,
    read_directory,
)
from thence.vault.references import Root, RootKind
from thence.vault.transfer import Transferred, transfer
from thence.vault.tree import TreeEntry
from thence.vault.vault import Vault

RandomBytes = Callable[[int], bytes]
NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def source(tmp_path: Path) -> Vault:
    return Vault(MemoryStore(), tmp_path / "source")


@pytest.fixture
def target(tmp_path: Path) -> Vault:
    return Vault(MemoryStore(), tmp_path / "target")


def put(vault: Vault, *contents: bytes) -> list[Digest]:
    with vault.writer(lanes=1) as writer:
        return [writer.put_bytes(data).digest for data in contents]


def put_tree(vault: Vault, *contents: bytes) -> Root:
    entries = [
        TreeEntry(f"f{n:05}", len(data), digest)
        for n, (data, digest) in enumerate(zip(contents, put(vault, *contents), strict=True))
    ]
    (digest,) = put(vault, tree.encode(entries))
    return Root(digest, RootKind.TREE)


def content(digest: Digest) -> Root:
    return Root(digest, RootKind.CONTENT)


def entries(vault: Vault) -> list[DirectoryEntry]:
    """All that the packs of a vault hold, read without it."""
    found: list[DirectoryEntry] = []
    for info in vault.store.list("packs/"):
        pack = parse_pack_key(info.key)
        assert pack is not None
        found += entries_of(read_directory(vault.store, pack))
    return found


def fresh(vault: Vault, tmp_path: Path) -> Vault:
    """Another process, with an empty cache."""
    return Vault(vault.store, tmp_path / f"fresh-{random.random()}")


def text(seed: int, size: int) -> bytes:
    """Bytes that can be compressed."""
    dice = random.Random(seed)
    return b" ".join(b"%d" % dice.randrange(1000) for _ in range(size // 4))[:size]


def test_a_tree_comes_with_its_files(source: Vault, target: Vault, tmp_path: Path) -> None:
    contents = [text(n, 500 * n) for n in range(60)]
    root = put_tree(source, *contents)
    done = transfer(source, target, [root])
    there = fresh(target, tmp_path)
    files = tree.decode(there.content.read(root.digest))
    assert [there.content.read(file.digest) for file in files] == contents
    assert done.contents == 61
    assert done.size_bytes == sum(map(len, contents)) + len(there.content.read(root.digest))
    assert done.sent_bytes == sum(info.size_bytes for info in target.store.list("packs/"))
    assert set(done.packs) == there.directory.packs()
    assert all(file.digest.raw in target.directory for file in files)


def test_the_files_of_a_run_come_with_the_list_of_them(source: Vault, target: Vault) -> None:
    one, two, unasked = put(source, b"one", text(2, 20_000), b"not asked for")
    uses = [
        FileUse(path="one", role=FileRole.INPUT, digest=one, version=unasked),
        FileUse(path="two", role=FileRole.OUTPUT, digest=two),
        FileUse(path="secret", role=FileRole.INPUT, why_not_kept="secret"),
    ]
    (files,) = put(source, encode_lines(uses))
    transfer(source, target, [Root(files, RootKind.FILES)])
    assert {entry.id for entry in entries(target)} == {one.raw, two.raw, files.raw}


def test_large_contents_come_in_chunks_and_lists(
    source: Vault, target: Vault, tmp_path: Path, random_bytes: RandomBytes
) -> None:
    base = random_bytes(30_000_000)  # more than 256 chunks, so that there are lists
    edited = base[:10_000_000] + b"inserted" + base[10_000_000:]
    first, second = put(source, base, edited)
    assert any(entry.kind is BlockKind.LIST for entry in entries(source))
    done = transfer(source, target, [content(first)])
    assert fresh(target, tmp_path).content.read(first) == base
    assert done.size_bytes == len(base)
    again = transfer(source, target, [content(first), content(second)])
    assert fresh(target, tmp_path).content.read(second) == edited
    assert again.contents == 1
    assert again.sent_bytes < 800_000
    assert len(again.packs) > 1


def test_blocks_are_not_compressed_again(
    source: Vault, target: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [text(n, 3_000) for n in range(500)] + [text(501, 3_000_000)]
    root = put_tree(source, *contents)

    def refuse(*_: object) -> None:
        raise AssertionError("compressed again")

    monkeypatch.setattr(encoding, "_compressed", refuse)
    transfer(source, target, [root])
    assert stored(target) == stored(source)


def test_a_store_that_is_no_project_yet_gets_blocks_as_they_are(
    source: Vault,
    target: Vault,
    random_bytes: RandomBytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_project(source.store, project_id="p", now=NOW)  # the target gets it last
    (large,) = put(source, random_bytes(2 << 20))

    def refuse(*_: object) -> None:
        raise AssertionError("compressed again")

    monkeypatch.setattr(encoding, "_compressed", refuse)
    transfer(source, target, [content(large)])
    assert stored(target) == stored(source)


def stored(vault: Vault) -> set[tuple[bytes, bytes]]:
    """Every id with the block that it is stored in."""
    found = set()
    for info in vault.store.list("packs/"):
        pack = parse_pack_key(info.key)
        assert pack is not None
        data = vault.store.get(info.key)
        for entry in entries_of(read_directory(vault.store, pack)):
            block = data[entry.offset : entry.offset + entry.stored_length]
            found.add((entry.id, Digest.of(block).raw))
    return found


def test_what_shares_a_block_but_was_not_asked_for_does_not_travel(
    source: Vault, target: Vault, tmp_path: Path
) -> None:
    secret, wanted = b"top secret" * 30, [text(n, 700) for n in range(8)]
    digests = put(source, *wanted[:4], secret, *wanted[4:])
    del digests[4]
    assert len({entry.offset for entry in entries(source)}) == 1
    transfer(source, target, map(content, digests))
    assert {entry.id for entry in entries(target)} == {digest.raw for digest in digests}
    assert [fresh(target, tmp_path).content.read(digest) for digest in digests] == wanted
    packs = [target.store.get(info.key) for info in target.store.list("packs/")]
    blocks = [
        target.content.decode(where, packs[0][where.entry.offset :][: where.entry.stored_length])
        for where in [target.directory.find(digests[0].raw)]
        if where is not None
    ]
    assert len(packs) == len(blocks) == 1
    assert secret not in bytes(blocks[0])


def test_a_second_transfer_sends_nothing(source: Vault, target: Vault) -> None:
    root = put_tree(source, *(text(n, 2_000) for n in range(100)), text(1, 500_000))
    first = transfer(source, target, [root])
    assert transfer(source, target, [root, root]) == Transferred(0, 0, 0, first.packs)
    assert len(list(target.store.list("packs/"))) == len(first.packs)


def test_a_tree_without_its_files_is_completed(source: Vault, target: Vault) -> None:
    """A transfer that broke off may leave that: to have a tree does not prove its files."""
    contents = [text(n, 1_000) for n in range(20)]
    root = put_tree(source, *contents)
    put(target, source.content.read(root.digest), contents[3])
    assert transfer(source, target, [root]).contents == 19
    assert target.content.missing(map(Digest.of, contents)) == set()


def test_what_only_the_target_has_is_not_missed(source: Vault, target: Vault) -> None:
    contents = [text(n, 1_000) for n in range(20)]
    root = put_tree(target, *contents)
    assert transfer(source, target, [root]).contents == 0
    put(source, target.content.read(root.digest))
    assert transfer(source, target, [root]).contents == 0


def test_an_empty_content_alone_in_its_block(source: Vault, target: Vault, tmp_path: Path) -> None:
    """Its block has no bytes, and begins where the next one does."""
    contents = [b"", text(1, 3_000), text(2, 3_000)]
    for data in contents:
        put(source, data)
    transfer(source, target, map(content, map(Digest.of, contents)), workers=1)
    there = fresh(target, tmp_path)
    assert [there.content.read(Digest.of(data)) for data in contents] == contents
    blocks = {(one.offset, one.stored_length) for one in entries(target)}
    assert len({offset for offset, _ in blocks}) == len(blocks)


def test_missing_content_is_named(source: Vault, target: Vault) -> None:
    lost = Digest.of(b"lost")
    (digest,) = put(source, tree.encode([TreeEntry("f", 4, lost)]))
    with pytest.raises(NotFound, match=lost.short) as caught:
        transfer(source, target, [Root(digest, RootKind.TREE)])
    assert caught.value.about == str(lost)
    with pytest.raises(NotFound, match=f"{lost.short} and 1 others"):
        transfer(source, target, [content(lost), content(Digest.of(b"lost too"))])
    with pytest.raises(NotFound, match=lost.short):
        transfer(source, target, [Root(lost, RootKind.TREE)])
    assert list(target.store.list()) == []


def test_a_missing_chunk_is_damage(
    source: Vault, target: Vault, tmp_path: Path, random_bytes: RandomBytes
) -> None:
    data = random_bytes(1_000_000)
    (digest,) = put(source, data)
    crippled = Vault(MemoryStore(), tmp_path / "crippled")
    (found,) = [entry for entry in entries(source) if entry.kind is BlockKind.RECIPE]
    (info,) = source.store.list("packs/")
    node = source.store.get_range(info.key, found.offset, found.stored_length)
    with crippled.writer() as writer:
        writer.put_block(node, found.codec, [Member(digest.raw, BlockKind.RECIPE, len(data))])
    with pytest.raises(DataDamaged, match="part of a content is missing"):
        transfer(crippled, target, [content(digest)])
    assert entries(target) == []


@pytest.mark.parametrize("kind", [BlockKind.WHOLE, BlockKind.CHUNK, BlockKind.LIST])
def test_damaged_blocks_are_not_taken(
    kind: BlockKind, source: Vault, target: Vault, random_bytes: RandomBytes
) -> None:
    root = put_tree(source, b"first", random_bytes(25_000_000), *(text(n, 9_000) for n in range(9)))
    bad = next(entry for entry in entries(source) if entry.kind is kind)
    for info in source.store.list("packs/"):
        pack = parse_pack_key(info.key)
        assert pack is not None
        if bad in entries_of(read_directory(source.store, pack)):
            data = bytearray(source.store.get(info.key))
            data[bad.offset + bad.stored_length // 2] ^= 1
            source.store.replace(info.key, [data])
            break
    with pytest.raises(DataDamaged) as caught:
        transfer(source, target, [root])
    if caught.value.about is not None and kind is not BlockKind.WHOLE:
        assert caught.value.about == info.key
    assert bad.id not in {entry.id for entry in entries(target)}
    assert root.digest.raw not in {entry.id for entry in entries(target)}


def forged(vault: Vault, block: bytes, codec_: Codec, *members: DirectoryEntry) -> None:
    """Publish a pack that says what it likes."""
    builder = PackBuilder(Path("/nonexistent"), b"n" * 16)
    builder.add_block(block)
    for member in members:
        builder.add_entry(member._replace(codec=codec_))
    builder.publish(vault.store)


def entry(wanted: bytes, kind: BlockKind, raw: int, stored_: int, inner: int = 0) -> DirectoryEntry:
    return DirectoryEntry(wanted, 0, raw, stored_, inner, kind, Codec.RAW)


def test_hostile_packs_are_refused(source: Vault, target: Vault) -> None:
    import zstandard

    bomb = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    smuggled = zstandard.ZstdCompressor().compress(b"right") + b"what nobody asked for"
    right, names = Digest.of(b"right").raw, [Digest.of(b"%d" % n) for n in range(8)]
    whole, recipe = BlockKind.WHOLE, BlockKind.RECIPE
    node = b"\0" + names[1].raw + (7).to_bytes(8, "little")
    forged(source, b"wrong", Codec.RAW, entry(names[0].raw, whole, 5, 5))
    forged(source, b"short", Codec.RAW, entry(names[1].raw, whole, 900, 5))
    forged(source, b"large", Codec.RAW, entry(names[2].raw, whole, 5, 4_000_000_000))
    forged(source, bomb, Codec.ZSTD, entry(names[3].raw, whole, 64 << 20, len(bomb)))
    forged(source, node, Codec.RAW, entry(names[4].raw, recipe, 8, len(node)))
    forged(source, b"\xff", Codec.RAW, entry(names[5].raw, recipe, 8, 1))
    forged(source, b"chunk", Codec.RAW, entry(names[6].raw, BlockKind.CHUNK, 5, 5))
    forged(source, smuggled, Codec.ZSTD, entry(right, whole, 5, len(smuggled)))
    for name in [*names[:7], Digest(right)]:
        with pytest.raises(DataDamaged):
            transfer(source, target, [content(name)])
    assert list(target.store.list()) == []


@pytest.mark.parametrize("length", [0, 4, 6])
def test_recipes_that_lie_about_lengths_are_refused(
    length: int, source: Vault, target: Vault
) -> None:
    piece, lie = blake3(b"chunk").digest(), Digest.of(b"anything")
    node = b"\0" + piece + length.to_bytes(8, "little")
    forged(source, b"chunk", Codec.RAW, entry(piece, BlockKind.CHUNK, 5, 5))
    forged(source, node, Codec.RAW, entry(lie.raw, BlockKind.RECIPE, 5, len(node)))
    with pytest.raises(DataDamaged, match="damaged data in packs/"):
        transfer(source, target, [content(lie)])
    assert list(target.store.list()) == []


def test_bytes_around_what_is_asked_for_stay_behind(source: Vault, target: Vault) -> None:
    """Bytes of a block that no id covers may be anything."""
    block = b"before" + b"wanted" + b"after"
    wanted = Digest.of(b"wanted")
    forged(source, block, Codec.RAW, entry(wanted.raw, BlockKind.WHOLE, 6, len(block), inner=6))
    transfer(source, target, [content(wanted)])
    assert target.content.read(wanted) == b"wanted"
    (info,) = target.store.list("packs/")
    assert b"before" not in target.store.get(info.key)


def test_another_project_is_not_believed(source: Vault, target: Vault, tmp_path: Path) -> None:
    """A forged recipe would be taken for the content by all that is saved later."""
    honest = random.Random(1).randbytes(900_000)
    other = random.Random(2).randbytes(900_000)
    put(source, other)
    (found,) = [one for one in entries(source) if one.kind is BlockKind.RECIPE]
    (info,) = source.store.list("packs/")
    node = source.store.get_range(info.key, found.offset, found.stored_length)
    liar = Vault(source.store, tmp_path / "liar")
    with liar.writer() as writer:
        forged_as = Member(Digest.of(honest).raw, BlockKind.RECIPE, len(honest))
        writer.put_block(node, found.codec, [forged_as])
    with pytest.raises(DataDamaged):
        transfer(liar, target, [content(Digest.of(honest))], foreign=True)
    assert target.content.missing([Digest.of(honest)])
    transfer(liar, target, [content(Digest.of(other))], foreign=True)
    assert target.content.read(Digest.of(other)) == other


@pytest.mark.parametrize("size", [3_000_000, 9_000_000])
def test_projects_that_cut_otherwise_cut_again(
    size: int, source: Vault, target: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(1)
    data, middle, small = dice.randbytes(size), dice.randbytes(60_000), b"small"
    for vault in (source, target):
        make_project(vault.store, project_id="p", now=NOW)
    plain = codec.decode(target.store.get("project.json"), dict)
    plain["chunking"]["average"] = 1 << 20
    target.store.replace("project.json", [codec.encode(plain)])
    digests = put(source, data, middle, small)
    chunks = {one.id for one in entries(source) if one.kind is BlockKind.CHUNK}
    monkeypatch.setattr(
        chunk,
        "cut",
        lambda piece: [len(piece) // 2, len(piece)],
    )
    transfer(source, target, map(content, digests))
    there = fresh(target, tmp_path)
    assert [there.content.read(digest) for digest in digests] == [data, middle, small]
    kinds = {one.id: one.kind for one in entries(target)}
    assert kinds[digests[2].raw] is BlockKind.WHOLE
    assert chunks - kinds.keys()


def test_batches_do_not_change_what_arrives(
    source: Vault, target: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer_module, "BATCH", 7)
    monkeypatch.setattr(transfer_module, "_RECIPES_AT_ONCE", 2)
    monkeypatch.setattr(transfer_module, "_RECIPES_WAITING", 1_000)
    monkeypatch.setattr(transfer_module, "_REMEMBERED", 30)
    monkeypatch.setattr(transfer_module, "_LISTS_AT_ONCE", 1)
    base = random.Random(1).randbytes(25_000_000)
    contents = [text(n, 1_000 + n) for n in range(100)] + [base, base[:9_000_000], base[5_000:]]
    root = put_tree(source, *contents)
    done = transfer(source, target, [root])
    there = fresh(target, tmp_path)
    assert [there.content.read(Digest.of(data)) for data in contents] == contents
    assert done.contents == len(contents) + 1
    assert {one.id for one in entries(target)} == {one.id for one in entries(source)}


def test_reads_are_few(tmp_path: Path) -> None:
    """What lies side by side is fetched at once, and a known tree costs no more than a look."""
    traced = Trace(MemoryStore())
    source = Vault(traced, tmp_path / "source", remote=True)
    root = put_tree(source, *(text(n, 1_500) for n in range(1_000)), text(1_001, 2_000_000))
    target = Vault(MemoryStore(), tmp_path / "target")
    traced.clear()
    assert transfer(source, target, [root]).contents == 1_002
    assert traced.counters["get_range"].calls <= 8
    traced.clear()
    transfer(source, target, [root])
    assert len(traced.operations) <= 3


def test_packs_that_went_meanwhile_are_found_again(
    source: Vault, target: Vault, tmp_path: Path, random_bytes: RandomBytes
) -> None:
    contents = [text(n, 1_000) for n in range(50)] + [random_bytes(900_000)]
    root = put_tree(source, *contents)
    collector = fresh(source, tmp_path)
    old = [info.key for info in source.store.list("packs/")]
    copy = Vault(MemoryStore(), tmp_path / "copy")
    transfer(collector, copy, [root])
    for info in list(copy.store.list("packs/")):
        source.store.create(info.key, [copy.store.get(info.key)])
    for key in old:
        source.store.delete(key)
    transfer(source, target, [root])
    assert [target.content.read(Digest.of(data)) for data in contents] == contents


def test_progress_ends_at_what_was_done(
    source: Vault, target: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thence.vault.tally._REPORT_EVERY_S", 0.0)
    base = random.Random(1).randbytes(3_000_000)
    root = put_tree(source, *(text(n, 2_000) for n in range(400)), base, base[:2_000_000])
    told: list[tuple[int, int]] = []
    at_once = threading.Lock()

    def progress(contents: int, size: int) -> None:
        assert at_once.acquire(blocking=False)
        told.append((contents, size))
        at_once.release()

    done = transfer(source, target, [root], progress=progress)
    assert len(told) > 3
    assert told == sorted(told)
    assert told[-1] == (done.contents, done.size_bytes)


def test_the_packs_of_contents_that_a_bucket_had_are_named(
    source: Vault, tmp_path: Path, random_bytes: RandomBytes
) -> None:
    """A hint must lead to the chunks of a content too, which lie in another pack."""
    target = Vault(MemoryStore(), tmp_path / "target", remote=True)
    base = random_bytes(2_000_000)
    old, new = put(source, base, base + b"1")
    transfer(source, target, [content(old)])
    needed = target.directory.packs()
    assert len(needed) == 2
    assert set(transfer(source, target, [content(old)]).packs) == needed
    assert set(transfer(source, target, [content(new)]).packs) == target.directory.packs() - {
        where.pack for where in [target.directory.find(old.raw)] if where
    }


def test_between_local_stores(tmp_path: Path, random_bytes: RandomBytes) -> None:
    vaults = []
    for name in ("a", "b"):
        store = LocalStore(tmp_path / name / "store", create=True)
        vaults.append(Vault(store, tmp_path / name / "cache"))
    contents = [text(n, 100 * n) for n in range(100)] + [random_bytes(5_000_000)]
    root = put_tree(vaults[0], *contents)
    transfer(vaults[0], vaults[1], [root])
    assert [vaults[1].content.read(Digest.of(data)) for data in contents] == contents
    assert list((tmp_path / "b" / "cache" / "staging").glob("*")) == []


def test_the_first_failure_is_the_one_that_is_told(
    source: Vault, target: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that of another thread, which failed because the first one had."""
    contents = [random.Random(n).randbytes(300_000) for n in range(60)]
    root = put_tree(source, *contents)
    monkeypatch.setattr("thence.vault.blockreader._LOCAL_READ", 300_000)
    fetch, begun = BlockReader._fetch, threading.Barrier(4, timeout=120)

    def failing(reader: BlockReader, read: object, work: object, **options: object) -> object:
        if not source_of_recipes(read):
            number = begun.wait()
            if number == 0:
                raise StorageError("the line was cut")
            assert reader._stopped.wait(120)
        return fetch(reader, read, work, **options)  # type: ignore[arg-type]

    def source_of_recipes(read: object) -> bool:
        return any(
            member.kind is not BlockKind.CHUNK
            for block in getattr(read, "blocks")  # noqa: B009
            for member in block.members
        )

    monkeypatch.setattr(BlockReader, "_fetch", failing)
    with pytest.raises(StorageError, match="line was cut"):
        transfer(source, target, [root], workers=4)
    assert not any(thread.name.startswith("thence-transfer") for thread in threading.enumerate())
