"""A check of a project that others collect while it goes on."""

import random
from pathlib import Path
from typing import Any

import pytest

from team import NOW, Team
from thence.model.names import ArtifactName
from thence.model.records import Kind
from thence.store.base import Store
from thence.vault import check as checking
from thence.vault import tree
from thence.vault.artifacts import Draft
from thence.vault.gc import collect
from thence.vault.inventory import Inventory, take_inventory
from thence.vault.tree import TreeEntry


@pytest.mark.parametrize("deep", [False, True])
def test_what_is_packed_anew_while_it_is_checked_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, deep: bool
) -> None:
    team = Team(tmp_path)
    home = team.at_home()
    with home.vault.writer(lanes=1) as writer:
        writer.put_bytes(random.Random(1).randbytes(90_000))  # nothing refers to it
        file = writer.put_bytes(b"kept")
        listed = tree.encode([TreeEntry("file", file.size_bytes, file.digest)])
        root = writer.put_bytes(listed).digest
    draft = Draft(ArtifactName("data"), Kind.DATASET, root, 4, 1)
    home.artifacts.commit(draft, now=NOW, session=writer.session)
    taken: list[int] = []

    def take(store: Store, **told: Any) -> Inventory:
        inventory = take_inventory(store, **told)
        if not taken:
            taken.append(collect(team.home_vault(), by="gc", grace_s=0).deleted_packs)
        return inventory

    monkeypatch.setattr(checking, "take_inventory", take)
    assert checking.check(team.home_vault(), deep=deep).findings == ()
    assert taken == [1]
