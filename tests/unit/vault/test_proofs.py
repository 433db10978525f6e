"""A recipe that was proven once needs no second digest, and any other one does."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from thence.errors import DataDamaged
from thence.store.memory import MemoryStore
from thence.vault import content
from thence.vault.proofs import Proofs
from thence.vault.vault import Vault

A, B = sha256(b"a").digest(), sha256(b"b").digest()


def test_what_was_noted_is_known_to_other_processes(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "proofs"
    Proofs(path).note(A, b"recipe")
    again = Proofs(path)
    assert again.knows(A, b"recipe")
    assert not again.knows(A, b"another")
    assert not again.knows(B, b"recipe")


def test_contents_at_one_place_take_turns(tmp_path: Path) -> None:
    near = A[:4] + B[4:]
    proofs = Proofs(tmp_path / "proofs")
    proofs.note(A, b"recipe")
    proofs.note(near, b"recipe")
    assert proofs.knows(near, b"recipe")
    assert not proofs.knows(A, b"recipe")


def test_a_damaged_proof_proves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "proofs"
    Proofs(path).note(A, b"recipe")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert not Proofs(path).knows(A, b"recipe")


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (None, tmp_path / "file" / "proofs"):
        proofs = Proofs(path)
        proofs.note(A, b"recipe")
        assert not proofs.knows(A, b"recipe")


def test_a_content_is_digested_once(
    store: MemoryStore,
    tmp_path: Path,
    random_bytes: Callable[[int], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Vault(store, tmp_path / "writer").writer() as writer:
        digest = writer.put_bytes(random_bytes(500_000)).digest
    reader = Vault(store, tmp_path / "reader")
    first = reader.content.read(digest)
    # From here on the SHA-256 of anything is wrong, and nobody asks for that of this content.
    monkeypatch.setattr(content, "sha256", lambda data=b"": sha256(b"wrong"))
    assert reader.content.read(digest) == first
    with pytest.raises(DataDamaged):
        Vault(store, tmp_path / "another").content.read(digest)
