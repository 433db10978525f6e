"""Scripts that change what they read: the record holds what it was, and they can be reproduced."""

import sqlite3
import subprocess
import sys
from functools import partial

import pytest

from thence.execution.capture.files import FileLedger
from thence.execution.grouping import group_files
from thence.execution.supervisor import probe
from thence.index.views import RunDetail
from thence.model.records import FileRole, FileUse, Finding, decode_lines
from workshop import Workshop, seal_of

pytestmark = pytest.mark.skipif(probe() is not None, reason=f"no kernel-level sensor: {probe()}")

OLD = b"what it was\n" * 100
WAYS = {
    "overwrite": "text = open('in').read(); open('in', 'w').write(text.upper())",
    "append": "open('in', 'a').write('more')",
    "r+": "file = open('in', 'r+'); file.write('XX'); file.close()",
    "truncate": "import os; text = open('in').read(); os.truncate('in', 3)",
    "open_truncate": "open('in', 'r+').truncate(2)",
    "replace": "import os; open('new', 'w').write(open('in').read() * 2); os.replace('new', 'in')",
    "rename": "import os; text = open('in').read(); os.rename('in', 'was'); open('in', 'w')",
    "unlink": "import os; open('out', 'w').write(open('in').read()); os.unlink('in')",
    "hard_link": "import os; os.link('in', 'two'); open('two', 'a').write('more')",
    "symlink": "import os; os.symlink('in', 'link'); open('link', 'r+').write('XX')",
    "mmap": (
        "import mmap\n"
        "with open('in', 'r+b') as file, mmap.mmap(file.fileno(), 0) as view: view[:2] = b'XX'"
    ),
    "memmap_write": (
        "import numpy\na = numpy.memmap('in', dtype='uint8', mode='r+'); a[:2] = 88; a.flush()"
    ),
    "memmap_copy_on_write": (
        "import numpy\n"
        "a = numpy.memmap('in', dtype='uint8', mode='c'); a[:2] = 88\n"
        "open('out', 'wb').write(bytes(a))"
    ),
}
SQLITE = """
import sqlite3
db = sqlite3.connect("data.db")
db.execute("PRAGMA journal_mode={mode}")
db.execute("UPDATE t SET x = x + 1")
db.commit()
open("out", "w").write(str(db.execute("SELECT sum(x) FROM t").fetchone()))
db.close()
"""


def kept(workshop: Workshop, run: RunDetail, path: str) -> list[bytes]:
    """What is kept of a file as it was before the run."""
    sealed = seal_of(run)
    content = workshop.project.site.vault.content
    assert sealed.files is not None
    return [
        content.read(use.digest)
        for use in decode_lines(content.read(sealed.files), FileUse)
        if use.path == path and use.role is not FileRole.OUTPUT and use.digest is not None
    ]


@pytest.mark.parametrize("way", WAYS)
def test_what_a_script_changes_is_kept_as_it_was(workshop: Workshop, way: str) -> None:
    if "memmap" in way:
        pytest.importorskip("numpy")
    workshop.write("in", OLD.decode())
    run = workshop.script(WAYS[way] + "\n")
    found = kept(workshop, run, "in")
    assert found
    assert set(found) == {OLD}
    # As it was before the first run: the folder holds what the run left.
    verdict = workshop.reproduce(f"run:{run.run}")
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert verdict.exit_code == 0


@pytest.mark.parametrize("mode", ["WAL", "DELETE", "TRUNCATE"])
def test_a_database_that_a_script_updates_is_kept_as_it_was(workshop: Workshop, mode: str) -> None:
    path = workshop.root / "data.db"
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA journal_mode={mode}")
    database.execute("CREATE TABLE t (x INTEGER)")
    database.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(100)])
    database.commit()
    database.close()
    before = path.read_bytes()
    run = workshop.script(SQLITE.format(mode=mode))
    assert path.read_bytes() != before
    found = kept(workshop, run, "data.db")
    assert found
    assert set(found) == {before}
    verdict = workshop.reproduce(f"run:{run.run}")
    assert verdict.exit_code == 0
    assert workshop.outcomes(verdict)["out"] == "identical"


def test_a_neighbour_that_changes_an_input_is_told(workshop: Workshop) -> None:
    workshop.write("in", OLD.decode())
    with subprocess.Popen(
        [
            sys.executable, "-c",
            "import os, sys, time\n"
            "while not os.path.exists('read'): time.sleep(0.01)\n"
            "open('in', 'w').write('new'); open('changed', 'w')\n",
        ],
        cwd=workshop.root,
    ) as neighbour:  # fmt: skip
        try:
            run = workshop.script(
                "import os, time\n"
                "text = open('in').read(); open('read', 'w').close()\n"
                "while not os.path.exists('changed'): time.sleep(0.01)\n"
            )
        finally:
            neighbour.kill()
    sealed = seal_of(run)
    assert sealed.files is not None
    uses = decode_lines(workshop.project.site.vault.content.read(sealed.files), FileUse)
    (use,) = [use for use in uses if use.path == "in"]
    assert use.changed_during_run
    assert kept(workshop, run, "in") == [OLD]


def test_a_folder_of_very_many_files_is_one_input_and_comes_back(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = partial(group_files, very_many=200)
    monkeypatch.setattr("thence.execution.binding.group_files", few)
    for number in range(300):
        workshop.write(f"img/{number % 6}/{number}.bin", b"\0%d" % number * 9)
    workshop.write("img/0/not-read.bin", b"\0")
    run = workshop.script(
        "import pathlib\n"
        "files = [p for p in sorted(pathlib.Path('img').rglob('*.bin')) if 'not' not in p.name]\n"
        "open('out', 'w').write(str(sum(len(p.read_bytes()) for p in files)))\n"
    )
    (used,) = seal_of(run).uses
    uses = workshop.files(run, FileRole.INPUT).values()
    assert {use.version for use in uses} == {used}
    assert len(uses) == 300
    assert len(workshop.project.files("img")) == 300  # exactly what was read
    verdict = workshop.reproduce(f"run:{run.run}")
    assert verdict.finding is Finding.REPRODUCED, verdict


def test_a_file_above_the_limit_is_kept_as_it_was(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "thence.execution.record.FileLedger", partial(FileLedger, keep_limit_bytes=1000)
    )
    workshop.write("large", OLD)
    run = workshop.script(
        "import time\n"
        "data = open('large', 'rb').read()\n"
        "time.sleep(0.2)\n"
        "open('large', 'r+b').write(b'changed')\n"
    )
    assert set(kept(workshop, run, "large")) == {OLD}
    assert not any(use.changed_during_run for use in workshop.files(run).values())
    assert workshop.reproduce(f"run:{run.run}").finding is Finding.REPRODUCED
