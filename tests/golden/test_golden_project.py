"""The golden project: written once, readable for ever, and written alike today.

If the second half fails, the format has changed. That is allowed while it is a draft, but never
unnoticed: docs/format/spec-1.md changes too, and the project is written anew by write_project.py.
"""

import hashlib
import json
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from write_project import GOING_ON, RUN, describe, files, write

from thence.errors import FormatTooNew
from thence.model.ids import Digest
from thence.model.names import Alias, ArtifactName
from thence.model.records import AliasMove, FileUse, RunSealed, Version, decode_entry, decode_lines
from thence.store.base import Store
from thence.store.local import LocalStore
from thence.store.memory import MemoryStore
from thence.store.wrap import ReadOnly
from thence.vault import tree
from thence.vault.layout import read_project
from thence.vault.logs import alias_log, edits_log, run_log, versions_log
from thence.vault.pack import BlockKind, entries_of, parse_pack_key, read_directory
from thence.vault.vault import Vault

HERE = Path(__file__).parent
PROJECT = HERE / "project-1-draft"
EXPECTED: dict[str, Any] = json.loads((HERE / "project-1-draft.json").read_text("utf-8"))
DATA = ArtifactName("data")


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(ReadOnly(LocalStore(PROJECT)), tmp_path / "cache")


def test_every_object_is_as_recorded() -> None:
    """Without any code of ours; nothing is there that is not recorded."""
    found = {
        path.relative_to(PROJECT).as_posix(): [
            path.stat().st_size,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        ]
        for path in PROJECT.rglob("*")
        if path.is_file()
    }
    assert found == EXPECTED["objects"]
    assert sum(path.stat().st_size for path in PROJECT.rglob("*")) < 300_000


def test_the_vault_reads_all_content(vault: Vault) -> None:
    assert read_project(vault.store).format == "1-draft"
    kinds = set()
    for info in vault.store.list("packs/"):
        pack = parse_pack_key(info.key)
        assert pack is not None
        for entry in entries_of(read_directory(vault.store, pack)):
            kinds.add(entry.kind)
            if entry.kind in {BlockKind.WHOLE, BlockKind.RECIPE}:
                assert Digest.of(vault.content.read(Digest(entry.id))).raw == entry.id
    assert kinds == set(BlockKind)


def test_the_vault_reads_the_versions(vault: Vault) -> None:
    versions = [entry.record for entry in vault.logs.records(versions_log(DATA))]
    assert len(versions) == 2
    for edition, version in enumerate(versions, 1):
        assert isinstance(version, Version)
        assert version.artifact == "Data"
        held = dict(files(edition))
        entries = tree.decode(vault.content.read(version.tree))
        assert set(entries) == set(held)
        for entry in entries:
            assert vault.content.read(entry.digest) == held[entry]


def test_the_vault_reads_the_logs(vault: Vault) -> None:
    edits = list(vault.logs.records(edits_log(DATA)))
    assert [type(entry.record).__name__ for entry in edits] == [
        "VersionEdit",
        "ArtifactEdit",
        "NoneType",  # a record that this version does not know
        "Tombstone",
    ]
    model = ArtifactName("models/Größe")
    moves = [entry.record for entry in vault.logs.records(alias_log(model, Alias("champion")))]
    weights = decode_entry(vault.logs.read(versions_log(model), 1) or b"").digest
    assert [
        (move.alias, move.previous, move.version) for move in moves if isinstance(move, AliasMove)
    ] == [("Champion", None, weights), ("Champion", weights, None), ("Champion", None, weights)]
    _, sealed, _ = [entry.record for entry in vault.logs.records(run_log(RUN))]
    assert isinstance(sealed, RunSealed)
    assert sealed.makes == (weights,)
    assert sealed.files is not None
    uses = decode_lines(vault.content.read(sealed.files), FileUse)
    assert [use.path for use in uses] == ["run.sh", "data/table.csv"]


def test_each_entry_is_announced_by_a_hint_that_has_its_name(vault: Vault) -> None:
    noted = {
        info.key.split("/")[-1]: vault.store.get(info.key).decode()
        for info in vault.store.list("journal/")
    }
    entries = {
        decode_entry(vault.logs.read(log, number) or b"").id: log
        for log, number in vault.logs.all()
    }
    for name, hint in noted.items():
        assert hint == f"{name} {entries[name]}\n"
    # One entry is not of our making, and nobody announced it.
    assert len(noted) == len(entries) - 1


def test_hints_and_merged_directories_say_what_the_packs_say(vault: Vault) -> None:
    """Read as the specification says, without the code that wrote them."""
    packs = sorted(bytes.fromhex(info.key.split("/")[-1]) for info in vault.store.list("packs/"))
    hints = list(vault.store.list("hints/"))
    trees = [entry.record for entry in vault.logs.records(versions_log(DATA))]
    assert {info.key.split("/")[1] for info in hints} == {
        version.tree.hex for version in trees if isinstance(version, Version)
    }
    for info in hints:
        body = vault.store.get(info.key)
        assert body == b"".join(packs)
        assert info.key.split("/")[2] == blake3(body).hexdigest()[:32]
    (info,) = vault.store.list("directories/")
    data = vault.store.get(info.key)
    seal = blake3(data[40:]).digest()
    assert info.key == f"directories/1/{seal.hex()}"
    assert data[:40] == b"THNCSEG2" + seal
    count, entries = struct.unpack("<IQ", data[40:52])
    end = 52 + 32 * count
    assert data[52:end] == b"".join(packs)
    rows = [data[at : at + 64] for at in range(end, len(data), 64)]
    assert len(rows) == entries
    numbers = [int.from_bytes(row[58:62], "little") for row in rows]
    ordered = [(row[:32], number) for row, number in zip(rows, numbers, strict=True)]
    assert ordered == sorted(ordered)
    for number, pack in enumerate(packs):
        mine = [row[:58] + bytes(6) for row, n in zip(rows, numbers, strict=True) if n == number]
        assert b"".join(mine) == read_directory(vault.store, pack)[24:]


def test_pieces_of_a_run_that_is_going_on_carry_their_digest(vault: Vault) -> None:
    pieces = [
        vault.store.get(f"runs/{GOING_ON}/1/{number:010d}").partition(b"\n") for number in (1, 2)
    ]
    assert all(
        head.decode() == f"sha256:{hashlib.sha256(lines).hexdigest()}" for head, _, lines in pieces
    )
    assert [json.loads(lines)["type"] for _, _, lines in pieces] == ["param", "metric"]
    assert json.loads(vault.store.get(f"runs/{GOING_ON}/pulse"))["points"] == 1


def test_the_independent_reader_reads_it(tmp_path: Path) -> None:
    reader = HERE.parents[1] / "docs" / "format" / "read.py"
    for edition in (1, 2):
        target = tmp_path / str(edition)
        subprocess.run(
            [sys.executable, "-I", str(reader), str(PROJECT), f"Data@v{edition}", str(target)],
            check=True,
        )
        for entry, data in files(edition):
            path = target / entry.path
            assert path.is_symlink() == entry.link
            if entry.link:
                assert str(path.readlink()) == data.decode()
            else:
                assert path.read_bytes() == data
                assert bool(path.stat().st_mode & 0o100) == entry.executable


@pytest.fixture
def again(tmp_path: Path) -> MemoryStore:
    store = MemoryStore()
    write(store, tmp_path / "cache")
    return store


def test_written_again_it_is_the_same(again: MemoryStore) -> None:
    found = describe(again)
    if found["zstd"] != EXPECTED["zstd"]:
        pytest.skip(f"zstd {found['zstd']} may compress otherwise than {EXPECTED['zstd']}")
    assert found["objects"] == EXPECTED["objects"]
    for key in EXPECTED["objects"]:
        assert again.get(key) == (PROJECT / key).read_bytes(), key


def test_written_again_by_any_zstd_it_holds_the_same(again: MemoryStore) -> None:
    """Another zstd makes blocks of other lengths, and so packs of other names; nothing else."""

    def shape(store: Store) -> tuple[dict[str, bytes], set[tuple[Any, ...]]]:
        others = {
            info.key: store.get(info.key)
            for info in store.list()
            if not info.key.startswith(("packs/", "hints/", "directories/"))
        }
        entries: set[tuple[Any, ...]] = set()
        for info in store.list("packs/"):
            pack = parse_pack_key(info.key)
            assert pack is not None
            for entry in entries_of(read_directory(store, pack)):
                entries.add((entry.id, entry.kind, entry.raw_length, entry.inner))
        return others, entries

    assert shape(again) == shape(LocalStore(PROJECT))


def test_a_newer_format_is_refused(again: MemoryStore) -> None:
    data = again.get("project.json").replace(b"1-draft", b"2")
    again.replace("project.json", [data])
    with pytest.raises(FormatTooNew):
        read_project(again)


def test_the_digests_in_the_specification_are_those_of_this_project(vault: Vault) -> None:
    """Its examples are real."""
    text = (HERE.parents[1] / "docs" / "format" / "spec-1.md").read_text("utf-8")
    vault.directory.refresh()
    quoted = re.findall(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", text)
    assert len(set(quoted)) >= 4
    known = {pack.hex() for pack in vault.directory.packs()}
    known |= {info.key.split("/")[-1] for info in vault.store.list("directories/")}
    for log, number in vault.logs.all():
        data = vault.logs.read(log, number) or b""
        known |= {decode_entry(data).digest.hex, json.loads(data)["sum"]}
    for digits in quoted:
        assert digits in known or vault.content.info(Digest.from_hex(digits)) is not None
    ids = {
        entry.id.hex()[:16]: entry
        for pack in vault.directory.packs()
        for entry in entries_of(read_directory(vault.store, pack))
    }
    rows = re.findall(r"\| `([0-9a-f]{16})…` \| (\d) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", text)
    assert len(rows) == 3
    for begin, *numbers in rows:
        entry = ids[begin]
        assert [entry.kind, entry.offset, entry.raw_length, entry.stored_length, entry.inner] == [
            int(number) for number in numbers
        ]
    quotes = re.findall(r"^\{.*\}$", text, re.MULTILINE)
    objects = {
        path.read_text("utf-8")
        for path in PROJECT.rglob("*")
        if not {"packs", "hints", "directories"} & set(path.parts) and path.is_file()
    }
    assert len(quotes) == 2
    assert set(quotes) <= objects
