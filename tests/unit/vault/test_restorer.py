"""Writing many files at once: every one is verified, and whole or not there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from thence.errors import DataDamaged, NotFound
from thence.model.ids import Digest
from thence.store.memory import MemoryStore
from thence.vault.checkout import check_out
from thence.vault.pack import read_directory
from thence.vault.placing import places
from thence.vault.tree import TreeEntry
from thence.vault.vault import Vault

NewVault = Callable[..., Vault]


def _keep(vault: Vault, contents: dict[str, bytes]) -> list[TreeEntry]:
    with vault.writer() as writer:
        return [
            TreeEntry(path, len(data), writer.put_bytes(data).digest)
            for path, data in sorted(contents.items())
        ]


def _there(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("remote", [False, True])
def test_small_large_equal_and_sparse_files(
    new_vault: NewVault, tmp_path: Path, random_bytes: Callable[[int], bytes], remote: bool
) -> None:
    contents = {f"small/{number:03d}": random_bytes(number * 20) for number in range(300)}
    contents |= {f"same/{number}": b"same" for number in range(5)}
    contents["sparse"] = b"head" + bytes(3_000_000) + random_bytes(1000) + bytes(2_000_000)
    contents["large"] = random_bytes(2_000_000)
    contents["again"] = contents["large"]
    entries = _keep(new_vault(), contents)
    told: list[tuple[int, int, int | None]] = []
    done = check_out(
        entries,
        new_vault(remote=remote).content,
        tmp_path / "out",
        progress=lambda *state: told.append(state),
    )
    assert _there(tmp_path / "out") == contents
    assert done.written == tuple(sorted(contents))
    size = sum(map(len, contents.values()))
    assert told[-1] == (len(contents), size, size)
    assert told == sorted(told)
    assert (tmp_path / "out/sparse").stat().st_blocks * 512 < 2_000_000


def test_a_damaged_content_leaves_whole_files_only(
    store: MemoryStore, new_vault: NewVault, tmp_path: Path, random_bytes: Callable[[int], bytes]
) -> None:
    contents = {f"{number:02d}": random_bytes(4000) for number in range(20)}
    entries = _keep(new_vault(), contents)
    for info in list(store.list("packs/")):
        data = bytearray(store.get(info.key))
        damaged = data.index(contents["07"])
        data[damaged] ^= 1
        store.replace(info.key, [bytes(data)])
    with pytest.raises(DataDamaged, match="packs/"):
        check_out(entries, new_vault().content, tmp_path / "out")
    there = _there(tmp_path / "out")
    assert there.items() <= contents.items()
    assert "07" not in there


def test_a_content_that_is_nowhere_is_named(new_vault: NewVault, tmp_path: Path) -> None:
    vault = new_vault()
    entries = _keep(vault, {"a": b"a", "c": b"c"})
    missing = TreeEntry("b", 1, Digest.of(b"b"))
    with pytest.raises(NotFound, match="not in this project"):
        check_out([entries[0], missing, entries[1]], vault.content, tmp_path / "out")
    assert _there(tmp_path / "out").items() <= {"a": b"a", "c": b"c"}.items()


def test_who_interrupts_gets_whole_files_and_the_next_try_goes_on(
    new_vault: NewVault, tmp_path: Path, random_bytes: Callable[[int], bytes]
) -> None:
    vault = new_vault()
    contents = {f"{number}": random_bytes(2_000_000) for number in range(6)}
    entries = _keep(vault, contents)

    def interrupt(files: int, size: int, total: int | None = None) -> None:
        if size >= 5_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_out(entries, vault.content, tmp_path / "out", progress=interrupt)
    there = _there(tmp_path / "out")
    assert there.items() < contents.items()
    done = check_out(entries, vault.content, tmp_path / "out")
    assert done.unchanged == len(there)
    assert _there(tmp_path / "out") == contents


@pytest.mark.parametrize("asked", [1, 30])
def test_places_are_those_that_are_found_one_by_one(
    store: MemoryStore, new_vault: NewVault, asked: int
) -> None:
    for half in (range(60), range(60, 70)):
        _keep(new_vault(), {str(number): str(number).encode() * 9 for number in half})
    directory = new_vault().directory
    directory.refresh()
    ids = [Digest.of(str(number).encode() * 9).raw for number in range(asked)]
    unknown = Digest.of(b"unknown").raw
    found = places(directory, [*ids, unknown])
    assert found == {one: directory.find(one) for one in ids}
    assert all(read_directory(store, where.pack) for where in found.values())
