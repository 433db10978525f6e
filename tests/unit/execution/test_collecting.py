"""Collecting in a project: what only its folder knows of its runs."""

import os
import time
from datetime import timedelta
from pathlib import Path

from thence.execution.collecting import collect_site
from thence.model.ids import Digest
from thence.project import Project

_WEEK_S = 7 * 24 * 3600


def test_a_run_in_a_folder_holds_on_to_what_it_read_however_long_it_takes(tmp_path: Path) -> None:
    project = Project.init(tmp_path)
    data = os.urandom(50_000)
    project.save(data, "sales")
    content = Digest.of(data)
    with project.run():
        assert project.load("sales@v1") == data
        past_s = time.time() - _WEEK_S - 3600
        (log,) = (tmp_path / ".thence" / "store" / "refs" / "runs").iterdir()
        for entry in log.iterdir():
            os.utime(entry, (past_s, past_s))
        project.remove(project.plan_removal(["sales@v1"]), reason="old", force=True)
        done = collect_site(project.site, grace=timedelta(0)).collected
        assert (done.open_runs, done.deleted_packs) == (1, 0)
        assert project.site.vault.content.read(content) == data
