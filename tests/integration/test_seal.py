"""Sealing loses nothing for what it cannot read, and does not pretend to know."""

import msgspec

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
