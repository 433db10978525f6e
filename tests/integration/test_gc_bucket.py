"""Collecting in a bucket of a real server, while others save."""

import random
import threading
import time
from pathlib import Path

import pytest

from seaweed import S3Server
from team import NOW, Member
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.model.records import Tombstone
from thence.store.open import connect, requests_of
from thence.vault import gc as gc_module
from thence.vault.gc import collect
from thence.vault.layout import make_project
from thence.vault.logs import edits_log
from thence.vault.reach import live_roots, reach
from thence.vault.vault import Vault

pytestmark = pytest.mark.slow

GRACE_S = 2.0


def wait_for_grace() -> None:
    """The clock of the server has whole seconds; nothing but time makes packs old."""
    until = time.monotonic() + GRACE_S + 2
    while time.monotonic() < until:
        time.sleep(0.1)


def test_only_what_is_dead_goes_while_others_save(
    seaweed: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(gc_module, "LEAST_GRACE_S", 0.0)
    dice = random.Random(7)
    url = seaweed.url("thence", "collecting")
    make_project(connect(url), project_id="p" * 32, now=NOW)

    def member(name: str) -> Member:
        vault = Vault(connect(url), tmp_path / name, remote=True)
        return Member(name, vault, vault)

    ann, bob = member("ann"), member("bob")
    dead = [dice.randbytes(20_000) for _ in range(8)]
    for data in dead:
        ann.save("gone", data)
        ann.save("stays", dice.randbytes(20_000))
    for number in range(1, 9):
        version = ann.find(f"gone@v{number}").entry.digest
        log = edits_log(ArtifactName("gone"))
        ann.vault.append(log, Tombstone(version=version, reason="x"), by="ann")
    wait_for_grace()

    stop = threading.Event()
    said: dict[str, bytes] = {}

    def save() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            # Half of it was removed, and is about to be deleted.
            data = dead[count % 4] if count % 2 else b"new %d" % count
            said[f"bob@v{bob.save('bob', data)}"] = data

    thread = threading.Thread(target=save)
    thread.start()
    try:
        collector = member("collector").vault
        first = collect(collector, by="c", grace_s=GRACE_S)
        wait_for_grace()
        second = collect(collector, by="c", grace_s=GRACE_S)
    finally:
        stop.set()
        thread.join()
    assert first.condemned_packs >= 1
    assert second.deleted_packs >= 1
    assert sum(one.calls for one in requests_of(collector.store).values()) > 0
    fresh = member("fresh")
    assert len(said) > 2
    for ref, data in said.items():
        assert fresh.read(ref) == data
    live = live_roots(fresh.vault, now_s=time.time())
    assert reach(fresh.vault, live.roots).missing == ()
    needed = set(said.values())
    gone = [data for data in dead if data not in needed]
    assert gone
    wait_for_grace()
    for _ in range(2):
        collect(collector, by="c", grace_s=GRACE_S)
        wait_for_grace()
    there = member("last").vault
    assert not [data for data in gone if there.content.info(Digest.of(data))]


def test_a_save_asks_twice_more(
    seaweed: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is condemned is listed at the beginning, and beside the hint in the journal."""
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    url = seaweed.url("thence", "counting")
    make_project(connect(url), project_id="p" * 32, now=NOW)
    vault = Vault(connect(url), tmp_path / "cache", remote=True)
    member = Member("ann", vault, vault)
    member.save("data", b"first")
    before = requests_of(vault.store)["list"].calls
    member.save("data", b"second")
    # Two of condemned packs, one of packs.
    assert requests_of(vault.store)["list"].calls - before <= 3
