"""Runs are run again from nothing but what was kept, and told how well they came out."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from thence.errors import AlreadyExists, Denied, InvalidInput, NotFound
from thence.execution.supervisor import probe
from thence.index.views import RunDetail
from thence.model.ids import RunId
from thence.model.records import (
    FileRole,
    FileUse,
    Finding,
    RunSealed,
    decode_lines,
    encode_lines,
)
from thence.vault.logs import run_log
from workshop import Workshop, again, empty, seal_of

needs_kernel_sensor = pytest.mark.skipif(
    probe() is not None, reason=f"no kernel-level sensor: {probe()}"
)

COPY = "open('out.txt', 'w').write(open('in.txt').read())\n"


def forge(workshop: Workshop, run: RunDetail, changed: dict[str, bytes]) -> str:
    """Another run that claims to be this one, with other bytes in some of its files."""
    sealed = seal_of(run)
    vault = workshop.project.site.vault
    assert sealed.files is not None
    uses = decode_lines(vault.content.read(sealed.files), FileUse)
    with vault.writer() as writer:
        forged = [
            msgspec.structs.replace(use, digest=writer.put_bytes(changed[use.path]).digest)
            if use.path in changed and use.role is not FileRole.OUTPUT
            else use
            for use in uses
        ]
        files = writer.put_bytes(encode_lines(forged)).digest
    return append(workshop, msgspec.structs.replace(sealed, files=files))


def append(workshop: Workshop, sealed: RunSealed) -> str:
    run = RunId.from_bytes(os.urandom(10))
    record = msgspec.structs.replace(sealed, run=run)
    workshop.project.site.vault.append(run_log(run), record, by="mallory")
    return f"run:{run}"


# What comes again


def test_a_run_comes_again_from_nothing(workshop: Workshop) -> None:
    workshop.write("data/in.csv", "a,b\n1,2\n")
    workshop.write("lib/__init__.py", "")
    workshop.write("lib/tool.py", "FACTOR = 3\n")
    workshop.write("setup.yaml", "seed: 5\n")
    workshop.write("results/before.txt", "was here")
    run = workshop.script(
        "import json, os, random, subprocess\n"
        "from lib.tool import FACTOR\n"
        "random.seed(int(open('setup.yaml').read().split()[1]))\n"
        "rows = open('data/in.csv').read().split()\n"
        "os.makedirs('made/deep')\n"
        "open('results/one.txt', 'w').write(str(random.random() * FACTOR))\n"
        "json.dump({'rows': len(rows)}, open('made/deep/two.json', 'w'))\n"
        "subprocess.run(['sh', '-c', 'wc -l < data/in.csv > made/n.txt'], check=True)\n"
        "open('progress.log', 'w').write(str(os.getpid()))\n"
        "open('draft.tmp', 'w').write(str(os.getpid()))\n"
    )
    said: list[str] = []
    verdict = again(workshop, run, progress=said.append)
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert workshop.outcomes(verdict) == {
        "results/one.txt": "identical",
        "made/deep/two.json": "identical",
        "made/n.txt": "identical",
    }
    assert verdict.reasons == verdict.missing == verdict.opened_outside == ()
    assert verdict.deviations == ()
    assert (verdict.exit_code, verdict.original_exit_code) == (0, 0)
    assert any("comparing made/n.txt" in text for text in said)
    # The verdict is kept with the run, and a fresh index finds it.
    workshop.project.refresh(full=True)
    found = workshop.project.find_run(f"run:{run.run}")
    assert found.finding is Finding.REPRODUCED
    assert [one.verdict for one in found.verdicts] == [verdict]
    # The version that it made leads to it, and a second time works as well.
    second = workshop.reproduce("made/deep/two.json")
    assert (second.run, second.finding) == (run.run, Finding.REPRODUCED)
    assert len(workshop.project.find_run(f"run:{run.run}").verdicts) == 2
    # Nothing was written into the project.
    assert [path.name for path in workshop.root.iterdir()] == [".thence"]


def test_a_script_in_a_subfolder_that_reads_above_it(workshop: Workshop) -> None:
    workshop.write("in.txt", "text")
    workshop.write("study/deep/go.py", "open('out.txt', 'w').write(open('../../in.txt').read())\n")
    run = workshop.run(sys.executable, "go.py", cwd="study/deep")
    verdict = again(workshop, run)
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert set(workshop.outcomes(verdict)) == {"study/deep/out.txt"}


def test_plain_shell_commands_without_python(workshop: Workshop) -> None:
    workshop.write("in.txt", "b\na\n")
    workshop.write("run.sh", "#!/bin/sh\nsort in.txt > sorted.txt\n", executable=True)
    run = workshop.run("./run.sh")
    assert seal_of(run).python is None
    verdict = again(workshop, run)
    assert verdict.finding is Finding.REPRODUCED, verdict
    run = workshop.run("sh", "-c", "printf '1 2' | tr ' ' '+' > expression.txt")
    verdict = again(workshop, run)
    assert verdict.finding is Finding.REPRODUCED, verdict


def test_the_command_names_files_of_the_project_by_absolute_paths(workshop: Workshop) -> None:
    workshop.write("in.txt", "text")
    script = workshop.write("copy.py", "import sys\n" + COPY.replace("'in.txt'", "sys.argv[1]"))
    run = workshop.run(sys.executable, str(script), str(workshop.root / "in.txt"))
    verdict = again(workshop, run)
    assert verdict.finding is Finding.REPRODUCED, verdict


def test_a_linked_input_and_a_name_that_is_not_utf8(workshop: Workshop) -> None:
    workshop.write("store/v1.csv", "a\n1\n")
    (workshop.root / "data.csv").symlink_to("store/v1.csv")
    odd = os.fsdecode(b"caf\xe9.csv")
    (workshop.root / odd).write_text("b\n2\n")
    run = workshop.script(
        "import os\n"
        "text = open('data.csv').read() + open(os.fsdecode(b'caf\\xe9.csv')).read()\n"
        "open(os.fsdecode(b'out-\\xe9.csv'), 'w').write(text)\n"
    )
    uses = decode_lines(workshop.read(seal_of(run).files), FileUse)
    assert {use.path for use in uses if use.percent} == {"caf%E9.csv", "out-%E9.csv"}
    verdict = again(workshop, run)
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert set(workshop.outcomes(verdict)) == {"out-%E9.csv"}


def test_a_run_that_overwrites_its_own_input(workshop: Workshop) -> None:
    workshop.write("count.txt", "41")
    run = workshop.script(
        "n = int(open('count.txt').read())\nopen('count.txt', 'w').write(str(n + 1))\n"
    )
    assert again(workshop, run).finding is Finding.REPRODUCED


def test_a_failing_run_that_fails_again_alike(workshop: Workshop) -> None:
    run = workshop.script("open('half.txt', 'w').write('half')\nraise SystemExit(3)\n")
    verdict = again(workshop, run)
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert (verdict.exit_code, verdict.original_exit_code) == (3, 3)


def test_inputs_beside_the_project_are_restored_beside_it(
    workshop: Workshop, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "x.txt").write_text("beside")
    run = workshop.script("open('out.txt', 'w').write(open('../shared/x.txt').read())\n")
    shutil.rmtree(shared)
    verdict = again(workshop, run)
    assert verdict.finding is Finding.REPRODUCED, verdict


@pytest.mark.usefixtures("in_a_plain_folder")
def test_inputs_at_absolute_paths_are_used_where_they_are(workshop: Workshop) -> None:
    elsewhere = Path("/var/tmp") / f"thence-test-{os.getpid()}.txt"  # nothing in common but /
    elsewhere.write_text("far")
    try:
        run = workshop.script(f"open('out.txt', 'w').write(open({str(elsewhere)!r}).read())\n")
        assert str(elsewhere) in workshop.files(run, FileRole.INPUT)
        assert again(workshop, run).finding is Finding.REPRODUCED
        elsewhere.write_text("other")
        verdict = workshop.reproduce(f"run:{run.run}")
        assert verdict.finding is Finding.CANNOT_BE_CHECKED
        assert verdict.missing == (f"{elsewhere}: it has other content on this machine",)
    finally:
        elsewhere.unlink()
    verdict = workshop.reproduce(f"run:{run.run}")
    assert verdict.finding is Finding.CANNOT_BE_CHECKED
    assert verdict.missing == (f"{elsewhere}: it is not on this machine",)


@pytest.mark.parametrize("inside", [True, False], ids=["of the project", "of another folder"])
def test_packages_that_are_installed_from_where_they_are_written(
    workshop: Workshop, tmp_path: Path, inside: bool
) -> None:
    home = workshop.root if inside else tmp_path / "library"
    (home / "src" / "tool").mkdir(parents=True)
    (home / "src" / "tool" / "__init__.py").write_text("from tool.deep import FACTOR\n")
    (home / "src" / "tool" / "deep.py").write_text("FACTOR = 7\n")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (site,) = (tmp_path / "venv").glob("lib/*/site-packages")
    info = site / "tool-1.0.dist-info"
    info.mkdir()
    (site / "_tool.pth").write_text(f"{home / 'src'}\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n")
    (info / "RECORD").write_text("_tool.pth,,\ntool-1.0.dist-info/METADATA,,\n")
    (info / "direct_url.json").write_text(
        json.dumps({"url": home.as_uri(), "dir_info": {"editable": True}})
    )
    workshop.write("study/go.py", "import tool\nopen('out.txt', 'w').write(str(tool.FACTOR * 6))\n")
    run = workshop.run(str(tmp_path / "venv" / "bin" / "python"), "study/go.py")
    modules = {"tool/__init__.py", "tool/deep.py"}
    packages = workshop.files(run, FileRole.PACKAGE)
    assert {use.package for use in packages.values()} == {"tool"}
    code = set(workshop.files(run, FileRole.CODE))
    # The project's own files are its code; those of another folder are kept as a package.
    own = {f"src/{path}" for path in modules} if inside else set()
    assert code == {"study/go.py", *own}
    kept = {path.partition("/")[2] for path in packages}
    assert (modules <= kept) == (not inside)
    shutil.rmtree(tmp_path / "venv")
    shutil.rmtree(home / "src")
    verdict = again(workshop, run)
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert verdict.missing == verdict.deviations == ()


def test_a_program_that_logs(workshop: Workshop) -> None:
    run = workshop.script(
        "import thence\n"
        "with thence.run():\n"
        "    thence.log(auc=0.5)\n"
        "    open('out.txt', 'w').write('x')\n"
    )
    verdict = again(workshop, run)
    if any("network" in text or "sending request" in text for text in verdict.missing):
        pytest.skip(f"no package index can be reached: {verdict.missing[0]}")
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert [one.run for one in workshop.project.runs()] == [run.run]


# What comes otherwise


def test_unseeded_chance_differs(workshop: Workshop) -> None:
    run = workshop.script("import random\nopen('out.txt', 'w').write(str(random.random()))\n")
    verdict = again(workshop, run)
    assert verdict.finding is Finding.DIFFERS
    assert workshop.outcomes(verdict) == {"out.txt": "different"}
    assert "1 of 1 results: different" in verdict.reasons
    assert workshop.result(verdict, "out.txt").detail


def test_within_the_tolerance_that_the_project_declares(workshop: Workshop) -> None:
    workshop.write(
        "thence.toml",
        "[results]\nrelative = 0.5\n"
        '[results.tolerance."exact.json"]\nrelative = 0.0\nvolatile = ["seconds"]\n',
    )
    run = workshop.script(
        "import json, os, time\n"
        "json.dump({'v': 100 + os.getpid() % 7, 'p': time.time_ns() % 1000 / 1e4 + 1},"
        " open('loose.json', 'w'))\n"
        "json.dump({'v': 1, 'seconds': time.time()}, open('exact.json', 'w'))\n"
    )
    verdict = again(workshop, run)
    assert verdict.finding is Finding.WITHIN_TOLERANCE, verdict
    assert workshop.outcomes(verdict)["loose.json"] == "within tolerance"
    assert workshop.outcomes(verdict)["exact.json"] in {"equivalent", "within tolerance"}


def test_only_declared_results_count(workshop: Workshop) -> None:
    workshop.write("thence.toml", "[results]\npaths = ['*.csv']\nignore = ['noise.csv']\n")
    run = workshop.script(
        "import os\n"
        "open('good.csv', 'w').write('a\\n1\\n')\n"
        "open('noise.csv', 'w').write(str(os.getpid()))\n"
        "open('pid.txt', 'w').write(str(os.getpid()))\n"
    )
    # What counted when it ran counts, whatever the file says now.
    workshop.write("thence.toml", "[results]\npaths = ['*.txt']\n")
    verdict = again(workshop, run)
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert set(workshop.outcomes(verdict)) == {"good.csv"}


def test_a_forged_record_does_not_reproduce(workshop: Workshop) -> None:
    workshop.write("helper.py", "def total(values):\n    return sum(values)\n")
    run = workshop.script(
        "import helper\nopen('out.txt', 'w').write(str(helper.total([1, 2, 3])))\n"
    )
    ref = forge(workshop, run, {"helper.py": b"def total(values):\n    return sum(values) + 1\n"})
    empty(workshop)
    verdict = workshop.reproduce(ref)
    assert verdict.finding is Finding.DIFFERS, verdict
    assert workshop.outcomes(verdict) == {"out.txt": "different"}


def test_another_exit_code_is_no_reproduction(workshop: Workshop) -> None:
    run = workshop.script("open('out.txt', 'w').write('x')\n")
    ref = append(workshop, msgspec.structs.replace(seal_of(run), exit_code=5))
    verdict = workshop.reproduce(ref)
    assert verdict.finding is Finding.DIFFERS
    assert "the command ended with status 0; originally with 5" in verdict.reasons
    assert workshop.outcomes(verdict) == {"out.txt": "identical"}


def test_a_result_that_is_not_written_again(workshop: Workshop) -> None:
    run = workshop.script("import sys\nopen('a', 'w').write('1')\nopen('b', 'w').write('1')\n")
    ref = forge(workshop, run, {"script.py": b"open('a', 'w').write('1')\n"})
    verdict = workshop.reproduce(ref)
    assert verdict.finding is Finding.DIFFERS
    assert workshop.outcomes(verdict) == {"a": "identical", "b": "missing"}


# What cannot be told


def test_a_missing_input_is_named(workshop: Workshop) -> None:
    workshop.write(".env", "MODE=fast\n")
    run = workshop.script("open('out.txt', 'w').write(open('.env').read()[:4])\n")
    assert workshop.files(run)[".env"].why_not_kept == "secret"
    verdict = again(workshop, run)
    assert verdict.finding is Finding.CANNOT_BE_CHECKED
    assert verdict.missing == (".env: a secret file, which is never kept",)
    assert "missing: .env: a secret file, which is never kept" in verdict.reasons
    assert any("No such file or directory: '.env'" in text for text in verdict.reasons)


def test_a_version_that_the_program_loads_is_given_to_it(workshop: Workshop) -> None:
    workshop.project.save({"factor": 2}, "settings")
    run = workshop.script(
        "import thence\n"
        "factor = thence.load('settings')['factor']\n"
        "open('out.txt', 'w').write(str(factor))\n"
    )
    assert [str(one.artifact) for one in run.uses] == ["settings"]
    workshop.project.save({"factor": 3}, "settings")
    verdict = again(workshop, run)
    if any("network" in text or "sending request" in text for text in verdict.missing):
        pytest.skip(f"no package index can be reached: {verdict.missing[0]}")
    assert verdict.finding is Finding.REPRODUCED, verdict
    assert verdict.missing == ()
    assert workshop.project.artifact("settings").versions == 2


def test_a_missing_input_that_is_not_asked_for_does_not_matter(workshop: Workshop) -> None:
    workshop.write(".env", "MODE=fast\n")
    run = workshop.script(
        "import os\n"
        "if os.path.exists('.env'): open('.env').close()\n"
        "open('out.txt', 'w').write('x')\n"
    )
    verdict = again(workshop, run)
    assert verdict.finding is Finding.REPRODUCED, verdict


def test_a_package_that_is_nowhere_is_named(workshop: Workshop, tmp_path: Path) -> None:
    site = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    info = site / "nowhere_to_be_found_9-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "venv" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (site / "nowhere9.py").write_text("VALUE = 1\n")
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: nowhere-to-be-found-9\nVersion: 1.0\n"
    )
    (info / "RECORD").write_text("nowhere9.py,,\n")
    run = workshop.script(
        "import nowhere9\nopen('out.txt', 'w').write(str(nowhere9.VALUE))\n",
        variables={"PYTHONPATH": str(site)},
    )
    shutil.rmtree(tmp_path / "venv")
    verdict = again(workshop, run, variables={"UV_OFFLINE": "1", "PIP_NO_INDEX": "1"})
    assert verdict.finding is Finding.CANNOT_BE_CHECKED, verdict
    assert any(text.startswith("nowhere-to-be-found-9==1.0") for text in verdict.missing)
    assert any("No module named 'nowhere9'" in text for text in verdict.reasons)


@needs_kernel_sensor
@pytest.mark.usefixtures("in_a_plain_folder")
def test_a_hard_coded_path_into_the_original_folder_is_noticed(workshop: Workshop) -> None:
    source = workshop.write("in.txt", "text")
    run = workshop.script(f"open('out.txt', 'w').write(open({str(source)!r}).read())\n")
    verdict = workshop.reproduce(f"run:{run.run}")  # the file is still there
    assert verdict.finding is Finding.CANNOT_BE_CHECKED
    assert verdict.opened_outside == (str(source),)
    assert f"the command used the original folder: {source}" in verdict.reasons
    assert workshop.outcomes(verdict) == {"out.txt": "identical"}


def test_a_run_without_results_cannot_be_checked(workshop: Workshop) -> None:
    run = workshop.run("true")
    verdict = again(workshop, run)
    assert verdict.finding is Finding.CANNOT_BE_CHECKED
    assert verdict.reasons == ("the run has no results to compare",)


@pytest.mark.usefixtures("in_a_plain_folder")
def test_a_program_that_is_not_here_any_more(workshop: Workshop, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho 1 > out.txt\n")
    tool.chmod(0o755)
    run = workshop.run(str(tool))
    tool.unlink()
    verdict = again(workshop, run)
    assert verdict.finding is Finding.CANNOT_BE_CHECKED
    assert any("could not be started" in text for text in verdict.reasons), verdict


def test_damaged_content_is_named(workshop: Workshop) -> None:
    workshop.write("in.txt", os.urandom(100_000).hex())
    run = workshop.script(COPY)
    for pack in (workshop.project.site.local / "store" / "packs").rglob("*"):
        if pack.is_file() and pack.stat().st_size > 50_000:
            data = bytearray(pack.read_bytes())
            data[1000:60_000] = bytes(59_000)
            pack.chmod(0o644)
            pack.write_bytes(data)
    verdict = again(workshop, run)
    assert verdict.finding is Finding.CANNOT_BE_CHECKED
    assert any(text.startswith("in.txt: ") for text in verdict.missing), verdict


# Bad requests


def test_a_folder_to_keep_must_be_empty(workshop: Workshop, tmp_path: Path) -> None:
    run = workshop.script("open('out.txt', 'w').write('x')\n")
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("precious")
    with pytest.raises(AlreadyExists):
        workshop.reproduce(f"run:{run.run}", keep=full)
    assert (full / "mine.txt").read_text() == "precious"
    assert workshop.project.find_run(f"run:{run.run}").verdicts == ()
    kept = tmp_path / "new" / "kept"
    verdict = workshop.reproduce(f"run:{run.run}", keep=kept)
    assert verdict.finding is Finding.REPRODUCED
    assert [path.read_text() for path in kept.rglob("out.txt")].count("x") >= 1


def test_what_is_no_run_cannot_be_reproduced(workshop: Workshop) -> None:
    with pytest.raises(NotFound):
        workshop.reproduce("run:last")
    workshop.write("a.txt", "x")
    workshop.project.save(workshop.root / "a.txt")
    with pytest.raises(NotFound, match="no run made"):
        workshop.reproduce("a.txt")
    run = workshop.run("true")
    assert run.opened is not None
    opened = msgspec.structs.replace(run.opened, run=RunId("0" * 20))
    workshop.project.site.vault.append(run_log(RunId("0" * 20)), opened, by="ada")
    with pytest.raises(InvalidInput, match="not sealed"):
        workshop.reproduce("run:" + "0" * 20)


@pytest.mark.slow
def test_a_study_with_tables_a_model_and_a_figure(workshop: Workshop) -> None:
    import pandas as pd
    import polars as pl

    rows = [(n, n % 7, (n * 37) % 11) for n in range(200)]
    pd.DataFrame(rows, columns=["x", "y", "z"]).to_csv(workshop.root / "data.csv", index=False)
    pl.DataFrame({"x": list(range(200)), "w": [n * 0.5 for n in range(200)]}).write_parquet(
        workshop.root / "more.parquet"
    )
    run = workshop.script(
        """
import json, pickle, subprocess
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
import polars as pl
from sklearn.linear_model import LinearRegression

table = pd.read_csv("data.csv")
more = pl.read_parquet("more.parquet")
table["w"] = more["w"].to_numpy()
model = LinearRegression().fit(table[["x", "y", "w"]], table["z"])
with open("model.pkl", "wb") as file:
    pickle.dump(model, file)
figure, axes = plt.subplots()
axes.plot(table["x"], table["z"])
figure.savefig("plot.png")
with open("metrics.json", "w") as file:
    json.dump({"r2": model.score(table[["x", "y", "w"]], table["z"])}, file)
subprocess.run(["sh", "-c", "wc -l data.csv > n.txt"], check=True)
"""
    )
    assert set(workshop.files(run, FileRole.INPUT)) == {"data.csv", "more.parquet"}
    assert set(workshop.files(run, FileRole.OUTPUT)) == {
        *("model.pkl", "plot.png", "metrics.json", "n.txt")
    }
    assert set(run.metrics) == {"r2"}
    verdict = again(workshop, run)
    if any("network" in text or "sending request" in text for text in verdict.missing):
        pytest.skip(f"no package index can be reached: {verdict.missing[0]}")
    assert verdict.finding in {Finding.REPRODUCED, Finding.WITHIN_TOLERANCE}, verdict
    assert set(workshop.outcomes(verdict)) == {"model.pkl", "plot.png", "metrics.json", "n.txt"}
    assert set(workshop.outcomes(verdict).values()) <= {
        "identical",
        "equivalent",
        "within tolerance",
    }
    assert verdict.missing == ()


def test_who_may_only_read_still_gets_the_verdict(
    workshop: Workshop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workshop.root / "in.txt").write_text("hello")
    run = workshop.script(COPY)
    site = workshop.project.site

    def refuse(*args: Any, **named: Any) -> None:
        raise Denied("cannot create 'journal/x'", why="The key may only read.")

    monkeypatch.setattr(site.vault, "append", refuse)
    verdict = again(workshop, run)
    assert verdict.finding is Finding.REPRODUCED
    assert "the verdict is not kept" in caplog.text
