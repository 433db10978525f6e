"""Sealing loses nothing for what it cannot read, and does not pretend to know."""

import msgspec
import pytest

from thence.execution import gathering
from thence.model.records import FileRole, RunStatus
from workshop import Workshop, environment, seal_of


def test_a_damaged_version_of_an_input_does_not_cost_the_run(workshop: Workshop) -> None:
    workshop.write("in.csv", "a\n1\n")
    with environment():
        workshop.project.save(workshop.root / "in.csv", "raw")
    site = workshop.project.site
    with site.vault.writer() as writer:
        bad = writer.put_bytes(b"not a tree").digest
    (tracked,) = site.worktree.tracked().values()
    site.worktree.remember([msgspec.structs.replace(tracked, tree=bad)])
    run = workshop.script("open('out.txt', 'w').write(open('in.csv').read())\n")
    assert run.status is RunStatus.FINISHED
    assert any("tracked version cannot be read" in text for text in seal_of(run).problems)
    assert workshop.files(run, FileRole.INPUT)["in.csv"].version is not None


def test_long_output_is_kept_without_the_secrets_in_it(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than is held in memory, and a secret that is learnt only after it was printed."""
    monkeypatch.setattr(gathering, "TEXT", 100_000)
    monkeypatch.setattr(gathering, "_TAIL", 50_000)
    workshop.write("conf.yaml", "db_password: gurke-4711-salat\n")
    run = workshop.script(
        "import sys\n"
        "for number in range(20_000):\n"
        "    print(f'{number} gurke-4711-salat' if number == 9 else number)\n"
        "    print(number, file=sys.stderr)\n"
        "open('conf.yaml').read()\n"
        "raise ValueError('late')\n",
    )
    expected = b"".join(b"%d\n" % number for number in range(20_000))
    found = workshop.read(seal_of(run).stdout)
    assert b"gurke" not in found
    assert found.startswith(b"0\n1\n")
    assert len(found) > len(expected)
    assert found.endswith(b"\n19998\n19999\n")
    assert (seal_of(run).traceback or "").endswith("ValueError: late")
    assert not any("could not be kept" in text for text in seal_of(run).problems)
