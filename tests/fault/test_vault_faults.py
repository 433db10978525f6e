"""Saving processes that die: by kill -9 at any moment, and at every operation of the store."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from thence.model.ids import Digest
from thence.model.records import Tombstone, decode_entry
from thence.store.local import LocalStore
from thence.vault import directory as directory_module
from thence.vault import lane as lane_module
from thence.vault import merged as merged_module
from thence.vault import writer as writer_module
from thence.vault.pack import BlockKind, entries_of, parse_pack_key, read_directory
from thence.vault.vault import Vault

LOG = "refs/artifacts/a/@edits"

# The program that dies. It writes a line to its acknowledgements when an append has returned.
SAVE = '''
import itertools, os, random, sys
from pathlib import Path
from thence.model.ids import Digest
from thence.model.records import Tombstone
from thence.store.local import LocalStore
from thence.vault import directory, lane, merged, writer as writer_module
from thence.vault.vault import Vault

# Many small packs by two lanes that take turns: many moments to die at.
lane.PACK, lane.SOLID, writer_module._BATCH = 150_000, 500, 1
lane.REMOTE_PACK, merged.PACKS, directory._FEW = 150_000, 6, 2
LOG = "refs/artifacts/a/@edits"


class Dying:
    """A store whose process dies at operation k: before it is done, or after."""

    def __init__(self, store, die_at, after):
        self.store, self.after = store, after
        self.left = itertools.count(die_at, -1)

    def __getattr__(self, name):
        attribute = getattr(self.store, name)
        if not callable(attribute):
            return attribute

        def call(*arguments, **options):
            left = next(self.left)
            if left == 1 and not self.after:
                os._exit(9)
            result = attribute(*arguments, **options)
            if name == "list":
                result = iter(list(result))
            if left == 1:
                os._exit(9)
            return result

        return call


def contents(generation):
    dice = random.Random(1)
    base = dice.randbytes(900_000)
    yield base + b"%d" % generation
    yield b"%d" % generation + base
    yield b"".join(b"%d,%d\\n" % (n, n * generation) for n in range(40_000))
    for n in range(30):
        yield b"small %d %d" % (n, generation)


def save(store, cache, acknowledged, generation, who="", remote=False):
    vault = Vault(store, cache, remote=remote)
    files = []
    for n, data in enumerate(contents(generation)):
        path = cache / f"file-{who}-{generation}-{n}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        files.append(path)
    with vault.writer(lanes=2) as writer:
        digests = [str(info.digest) for info in writer.put_files(files)]
        tree = writer.put_bytes("\\n".join(digests).encode())
    done = vault.append(LOG, Tombstone(version=tree.digest, reason=f"{who}{generation}"), by="x")
    with open(acknowledged, "a") as file:
        file.write(f"{done.number} {who}{generation}\\n")
        file.flush()
        os.fsync(file.fileno())
    return writer.new_bytes
'''

# One process that imports once and forks for every k: a hundred deaths in seconds.
AT_EVERY_OPERATION = (
    SAVE
    + """
base, after, remote = Path(sys.argv[1]), sys.argv[2] == "after", sys.argv[3] == "remote"
for die_at in range(1, 1000):
    root = base / str(die_at)
    root.mkdir()
    LocalStore(root / "store", create=True)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store = Dying(LocalStore(root / "store"), die_at, after)
            for generation in (1, 2, 3):
                save(store, root / "cache", root / "acknowledged", generation, remote=remote)
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 9:
        sys.exit(status)
"""
)

FOR_EVER = (
    SAVE
    + """
store = LocalStore(sys.argv[1])
for generation in range(int(sys.argv[4]), int(sys.argv[5])):
    save(
        store, Path(sys.argv[2]), sys.argv[3], generation, who=sys.argv[6],
        remote=sys.argv[7] == "remote",
    )
"""
)


class Saved(NamedTuple):
    number: int
    reason: str


def acknowledged(path: Path) -> list[Saved]:
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [Saved(int(number), reason) for number, reason in (line.split() for line in lines)]


def check(vault: Vault, promised: list[Saved]) -> int:
    """Everything that is named or visible can be read; the number of entries."""
    entries = [decode_entry(data).record for _, data in vault.logs.after(LOG, 0)]
    for number, reason in promised:
        record = entries[number - 1]
        assert isinstance(record, Tombstone)
        assert record.reason == reason
    for record in entries:
        assert isinstance(record, Tombstone)
        files = vault.content.read(record.version).decode().split("\n")
        assert len(files) == 33
        for text in files:
            digest = Digest.parse(text)
            assert Digest.of(vault.content.read(digest)) == digest
    visible = 0
    for info in vault.store.list("packs/"):
        pack = parse_pack_key(info.key)
        assert pack is not None
        for entry in entries_of(read_directory(vault.store, pack)):
            if entry.kind in {BlockKind.WHOLE, BlockKind.RECIPE}:
                visible += 1
                assert Digest.of(vault.content.read(Digest(entry.id))).raw == entry.id
    assert visible >= 34 * bool(entries)
    return len(entries)


def stored(store: LocalStore) -> int:
    return sum(info.size_bytes for info in store.list("packs/"))


def program() -> dict[str, object]:
    """The functions of the dying program, for use in this process."""
    names: dict[str, object] = {}
    before = lane_module.PACK, lane_module.SOLID, writer_module._BATCH
    remote = lane_module.REMOTE_PACK, merged_module.PACKS, directory_module._FEW
    exec(SAVE, names)
    lane_module.PACK, lane_module.SOLID, writer_module._BATCH = before
    lane_module.REMOTE_PACK, merged_module.PACKS, directory_module._FEW = remote
    return names


@pytest.mark.parametrize("where", ["local", pytest.param("remote", marks=pytest.mark.slow)])
@pytest.mark.parametrize("when", ["before", "after"])
def test_death_at_every_operation_of_the_store(tmp_path: Path, when: str, where: str) -> None:
    remote = where == "remote"
    done = subprocess.run(
        [sys.executable, "-c", AT_EVERY_OPERATION, str(tmp_path), when, where],
        timeout=250,
        check=False,
    )
    assert done.returncode == 0
    roots = sorted(tmp_path.iterdir(), key=lambda path: int(path.name))
    save = program()["save"]
    assert callable(save)
    whole = stored(LocalStore(roots[-1] / "store"))
    assert len(roots) > 25
    seen = set()
    for root in roots:
        store = LocalStore(root / "store")
        promised = acknowledged(root / "acknowledged")
        # A new process on the same machine, or on another one without the cache.
        cache = root / ("cache" if int(root.name) % 2 else "another")
        seen.add(check(Vault(store, cache, remote=remote), promised))
        before = stored(store)
        new = sum(
            save(store, cache, root / "acknowledged", generation, remote=remote)
            for generation in (1, 2, 3)
        )
        # What the dead process had published is not stored again.
        assert before + new < whole + 20_000, root.name
        again = acknowledged(root / "acknowledged")
        assert len(again) == len(promised) + 3
        check(Vault(store, root / "third", remote=remote), again)
        assert list((root / "store" / "refs").rglob("*.tmp")) == []
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize("where", ["local", "remote"])
def test_kill_at_random_moments(tmp_path: Path, where: str) -> None:
    store = LocalStore(tmp_path / "store", create=True)
    promised = tmp_path / "acknowledged"
    dice = random.Random(8)
    for attempt in range(6):
        writer = subprocess.Popen(
            [
                *(sys.executable, "-c", FOR_EVER, str(store.root), str(tmp_path / "cache")),
                *(str(promised), str(1 + 1000 * attempt), str(1000 * attempt + 999), "", where),
            ]
        )
        before = len(acknowledged(promised))
        while writer.poll() is None and len(acknowledged(promised)) == before:
            time.sleep(0.01)  # it may take any time to start
        time.sleep(dice.random() * 0.4)
        writer.send_signal(signal.SIGKILL)
        assert writer.wait(120) == -signal.SIGKILL
        vault = Vault(store, tmp_path / f"cache-{attempt % 3}", remote=where == "remote")
        count = check(vault, acknowledged(promised))
        assert count >= len(acknowledged(promised))
    assert len(acknowledged(promised)) >= 6


@pytest.mark.parametrize("where", ["local", "remote"])
def test_two_processes_save_to_one_log(tmp_path: Path, where: str) -> None:
    """With a cache in common, as two terminals in one project have."""
    store = LocalStore(tmp_path / "store", create=True)
    writers = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", FOR_EVER, str(store.root), str(tmp_path / "cache")),
                *(str(tmp_path / f"acknowledged-{who}"), "1", "13", who, where),
            ]
        )
        for who in "ab"
    ]
    assert [writer.wait(240) for writer in writers] == [0, 0]
    promised = [acknowledged(tmp_path / f"acknowledged-{who}") for who in "ab"]
    assert [len(mine) for mine in promised] == [12, 12]
    assert sorted(one.number for mine in promised for one in mine) == list(range(1, 25))
    reader = Vault(store, tmp_path / "another", remote=where == "remote")
    assert check(reader, promised[0] + promised[1]) == 24
