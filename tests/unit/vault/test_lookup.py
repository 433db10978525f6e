"""Many ids are found where each of them is found."""

from collections.abc import Callable
from hashlib import sha256

import pytest

from thence.vault import directory as directory_module
from thence.vault.vault import Vault


@pytest.fixture
def filled(new_vault: Callable[[], Vault]) -> Vault:
    """With several segments, and contents that two packs have."""
    vault = new_vault()
    for start in (0, 300, 320, 330):
        with vault.writer() as writer:
            for number in range(start, start + (300 if start == 0 else 20)):
                writer.put_bytes(b"%d" % number)
    other = vault.copier(avoid=vault.directory.packs())
    with other as writer:
        for number in range(100, 200):
            writer.put_bytes(b"%d" % number)
    return vault


def ids(numbers: range) -> bytes:
    return b"".join(sha256(b"%d" % number).digest() for number in numbers)


@pytest.mark.parametrize("avoided", [0, 1, 2, 3, 99])
@pytest.mark.parametrize("numbers", [range(0), range(400), range(1000, 1010), range(399, -1, -1)])
def test_at_once_as_one_by_one(
    filled: Vault, monkeypatch: pytest.MonkeyPatch, numbers: range, avoided: int
) -> None:
    directory = filled.directory
    avoid = set(sorted(directory.packs())[:avoided])
    one_by_one = directory.find_all_kept(ids(numbers), avoid)
    monkeypatch.setattr(directory_module, "_MANY_IDS", 0)
    at_once = directory.find_all_kept(ids(numbers), avoid)
    assert at_once.missing == one_by_one.missing
    assert not at_once.packs & avoid
    expected = [
        at
        for at, number in enumerate(numbers)
        if directory.find_kept(sha256(b"%d" % number).digest(), avoid) is None
    ]
    assert at_once.missing == expected
    assert len(expected) < 400 or avoided == 99


def test_an_empty_directory_has_nothing(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "_MANY_IDS", 0)
    assert vault.directory.find_all_kept(ids(range(3))) == (set(), [0, 1, 2])
