"""The secret key of a project: whole, private, and one for all who ask at the same time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from patience import PATIENCE_S
from thence.execution.site import Site
from workshop import Workshop


@pytest.fixture
def site(workshop: Workshop) -> Site:
    return workshop.project.site


def leftovers(site: Site) -> list[Path]:
    return [path for path in site.local.glob("secret*") if path.name != "secret.key"]


def test_the_key_is_made_once(site: Site) -> None:
    key = site.secret_key()
    assert (len(key), site.secret_key()) == (32, key)
    assert os.stat(site.local / "secret.key").st_mode & 0o77 == 0
    assert leftovers(site) == []


def test_an_empty_key_of_a_crash_is_replaced(site: Site) -> None:
    (site.local / "secret.key").touch(0o600)
    key = site.secret_key()
    assert len(key) == 32
    assert (site.local / "secret.key").read_bytes() == key


def test_who_is_second_gets_the_key_of_the_first(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = site.local / "secret.key"
    link = os.link

    def late(source: str, target: Path) -> None:
        path.write_bytes(b"of another process")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert site.secret_key() == b"of another process"
    assert path.read_bytes() == b"of another process"
    assert leftovers(site) == []


def test_many_processes_get_one_key(site: Site) -> None:
    code = "from thence.project import Project; print(Project.open().site.secret_key().hex())"
    asking = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=site.root, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    keys = {process.communicate(timeout=PATIENCE_S)[0] for process in asking}
    assert keys == {f"{site.secret_key().hex()}\n"}
