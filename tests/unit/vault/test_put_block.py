"""Stored blocks that are copied from one store to another as they are."""

from collections.abc import Callable

from thence.model.ids import Digest
from thence.store.memory import MemoryStore
from thence.vault.pack import BlockKind, DirectoryEntry, entries_of, pack_key, read_directory
from thence.vault.vault import Vault
from thence.vault.writer import Member, Writer

NewVault = Callable[..., Vault]
RandomBytes = Callable[[int], bytes]


def copy(source: Vault, writer: Writer, *, first: BlockKind) -> None:
    """Copy every block, those with one kind of entry before all others."""
    blocks: dict[tuple[bytes, int], list[DirectoryEntry]] = {}
    for pack in source.directory.packs():
        for entry in entries_of(read_directory(source.store, pack)):
            blocks.setdefault((pack, entry.offset), []).append(entry)
    order = sorted(blocks.items(), key=lambda item: item[1][0].kind is not first)
    for (pack, offset), entries in order:
        stored = source.store.get_range(pack_key(pack), offset, entries[0].stored_length)
        members = [Member(e.id, e.kind, e.raw_length, e.inner) for e in entries]
        writer.put_block(stored, entries[0].codec, members)


def filled(vault: Vault, random_bytes: RandomBytes) -> dict[Digest, bytes]:
    contents = [b"small %d" % n for n in range(100)] + [random_bytes(3_000_000), b"1,2\n" * 90_000]
    with vault.writer() as writer:
        return {writer.put_bytes(data).digest: data for data in contents}


def test_copied_blocks_hold_the_same_contents(
    new_vault: NewVault, random_bytes: RandomBytes
) -> None:
    source, target = new_vault(MemoryStore()), new_vault()
    contents = filled(source, random_bytes)
    with target.writer() as writer:
        copy(source, writer, first=BlockKind.RECIPE)
    assert {d: new_vault().content.read(d) for d in contents} == contents
    assert set(writer.packs) == target.directory.packs()


def test_copied_recipes_come_after_their_chunks(
    new_vault: NewVault, random_bytes: RandomBytes, visible: Callable[[], set[bytes]]
) -> None:
    source, target = new_vault(MemoryStore()), new_vault()
    contents = filled(source, random_bytes)
    writer = target.writer()
    copy(source, writer, first=BlockKind.RECIPE)
    for lane in writer._lanes:
        lane.publish()
    seen = visible()
    assert {d.raw for d, data in contents.items() if len(data) < 100} <= seen
    for digest in seen:
        assert new_vault().content.read(Digest(digest))  # none whose parts are not there
    with writer:
        pass
    assert visible() == {digest.raw for digest in contents}


def test_blocks_that_are_known_are_passed_over(
    store: MemoryStore, new_vault: NewVault, random_bytes: RandomBytes
) -> None:
    source, target = new_vault(MemoryStore()), new_vault()
    filled(source, random_bytes)
    with target.writer() as writer:
        copy(source, writer, first=BlockKind.CHUNK)
        copy(source, writer, first=BlockKind.CHUNK)
    size = sum(info.size_bytes for info in store.list("packs/"))
    with new_vault().writer() as again:
        copy(source, again, first=BlockKind.CHUNK)
    assert again.new_bytes == 0
    assert sum(info.size_bytes for info in store.list("packs/")) == size
    assert again.packs == writer.packs  # what it relied on


def test_the_packs_of_a_session_are_those_that_hold_it(new_vault: NewVault) -> None:
    vault = new_vault()
    with vault.writer() as first:
        first.put_bytes(b"one")
    with vault.writer() as second:
        second.put_bytes(b"one")
        second.put_bytes(b"two")
        assert second.packs == first.packs  # the other pack is not there yet
    assert len(second.packs) == 2
    assert set(second.packs) == vault.directory.packs()
    with vault.writer() as third:
        pass
    assert third.packs == ()
