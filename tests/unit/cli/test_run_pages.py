"""Parts of the page of a run: folders of many files, runs inside of it, what was withheld."""

import sys
from pathlib import Path

import pytest

from thence.execution.supervisor import probe
from workshop import Workshop

REASON = probe()

_TRAIN = """\
import glob, os, subprocess, sys
rows = [open(name).read() for name in sorted(glob.glob("data/*/*"))]
for name, project in (("clean", None), ("elsewhere", os.environ["ELSEWHERE"])):
    variables = {**os.environ, **({"THENCE_PROJECT": project} if project else {})}
    words = [sys.executable, "-m", "thence", "run", "--name", name, "sh", "-c", "true"]
    subprocess.run(words, env=variables, check=True)
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workshop, str]:
    """A project, and the page of its last run."""
    folder = tmp_path_factory.mktemp("pages")
    elsewhere, here = Workshop(folder / "elsewhere"), Workshop(folder / "here")
    for number in range(200):
        here.write(f"data/{number % 25:02}/{number}.txt", f"{number:03}\n")
    here.thence("save", "data")
    here.write("conf.toml", 'api_key = "Zx83hTqPw0aLm5RvYc2dNe71"\n')
    here.write("train.py", f"open('conf.toml').read()\n{_TRAIN}")
    variables = {
        "ELSEWHERE": str(elsewhere.root),
        "DB_PASSWORD": "correct-horse-battery",
        "THENCE_AUTHOR": "ada",
    }
    run = here.run(
        *(sys.executable, "train.py", "--api-token", "vQ9s-40fXk2mWz7Lp1Tg"),
        name="outer",
        variables=variables,
    )
    assert run.exit_code == 0
    done = here.thence("show", f"run:{run.run}")
    assert done.returncode == 0, done.stderr
    return here, done.stdout


def part(text: str, title: str) -> list[str]:
    """The lines of a section."""
    _, _, rest = text.partition(f"\n{title}")
    assert rest, f"{title!r} is not in {text}"
    return rest.split("\n\n")[0].splitlines()[1:]


def test_a_folder_that_is_one_version_is_one_line(page: tuple[Workshop, str]) -> None:
    _, text = page
    (line,) = [one for one in part(text, "inputs (200, ") if "data/" in one]
    assert line.split() == ["data/", "(200", "files)", "800", "B", "data@v1"]
    assert " more file" not in text


@pytest.mark.skipif(REASON is not None, reason=f"no kernel-level sensor: {REASON}")
def test_runs_inside_of_it_lead_to_their_pages(page: tuple[Workshop, str]) -> None:
    here, text = page
    (known,) = [one for one in here.project.runs() if one.name == "clean"]
    head, first, second = part(text, "runs inside of it (2)")
    assert head.split() == ["RUN", "NAME", "STATUS", "TOOK", "COMMAND"]
    assert first.split()[:3] == [f"run:{known.run[:8]}", "clean", "finished"]
    assert first.endswith("sh -c true")
    assert second.endswith("not in this project")
    assert here.thence("show", second.split()[0]).returncode != 0


def test_what_was_withheld_is_named_once_with_its_places(page: tuple[Workshop, str]) -> None:
    here, text = page
    lines = part(text, "withheld, because it is secret (")
    places = {one.split()[0]: one.split()[1:] for one in lines if one.startswith("  ")}
    assert places["DB_PASSWORD"] == ["environment"]
    assert places["api-token"] == ["argv"]
    assert places["api_key"] == ["conf.toml"]
    assert str(here.root) not in "\n".join(lines)
    assert lines[-1] == "to reproduce it, give back: DB_PASSWORD, api-token, api_key"


def test_where_nothing_runs_inside_the_page_says_nothing_of_it(tmp_path: Path) -> None:
    here = Workshop(tmp_path / "project")
    here.run("true")
    assert "inside of it" not in here.thence("show", "run:last").stdout
