"""A save that is stopped stops soon, and one that goes on says how far it is."""

import threading
import time
from pathlib import Path

import pytest

from thence.store.memory import MemoryStore
from thence.vault import saving
from thence.vault.held import HeldContent
from thence.vault.saving import gather
from thence.vault.vault import Vault

_BIG = 4 << 30


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(MemoryStore(), tmp_path / "cache")


def _fill(folder: Path) -> list[Path]:
    """One batch of small files, and a file that takes seconds to read."""
    folder.mkdir()
    paths = [folder / f"{number:03}" for number in range(65)]
    for path in paths:
        path.write_text(path.name)
    with paths[-1].open("r+b") as file:
        file.truncate(_BIG)
    return paths


def test_ctrl_c_does_not_wait_for_the_end_of_a_big_file(vault: Vault, tmp_path: Path) -> None:
    paths = _fill(tmp_path / "data")
    read: list[int] = []
    pressed = threading.Event()

    def on_read(size: int) -> None:
        read.append(size)
        if size > 1_000:  # a piece of the big one: reading is slow, as from a disk
            assert pressed.wait(60)
            time.sleep(0.02)

    def save() -> None:
        with vault.writer(lanes=2) as writer:
            writer.on_read = on_read
            for _ in writer.put_files(paths):
                pressed.set()
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save()
    assert sum(read) < _BIG // 4
    assert list((tmp_path / "cache").rglob("staging/*")) == []


def test_progress_is_told_inside_of_a_big_file(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "_REPORT_EVERY_S", 0.0)
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(1 << 28)
    told: list[tuple[int, int, int | None]] = []

    def tell(files: int, size: int, total: int | None = None, /) -> None:
        told.append((files, size, total))

    with vault.writer() as writer:
        gather(
            [big],
            writer,
            vault.stats,
            held=HeldContent(vault.directory, ()),
            progress=tell,
        )
    assert told[-1] == (1, 1 << 28, 1 << 28)
    assert 0 < told[0][1] < 1 << 28
    assert told == sorted(told)
