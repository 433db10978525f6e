"""What is made of the notes of random number generators, and where sources draw."""

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from thence.execution.capture.chance import read_chance
from thence.execution.capture.drawing import Source


def note(library: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "chance", "pid": 1, "library": library, "seeded": False, "used": True, **fields}


def sources(*files: Path, text: str = "", prompt: bool = False) -> dict[str, Any]:
    listed = [str(path) for path in files]
    return {"kind": "chance-sources", "pid": 1, "files": listed, "text": text, "prompt": prompt}


@pytest.mark.parametrize(
    ("library", "text", "line"),
    [
        ("random", "import random\nx = random.random()", 2),
        ("random", "import random as r\n\nr.shuffle([1])", 3),
        ("random", "from random import choice as pick\npick([1])", 2),
        ("random", "import random\nrandom.seed(1)\nrng = random.Random()", None),
        ("random", "def f(random):\n    return random.random()", None),
        ("random", "import numpy as np\nnp.random.rand()", None),
        ("numpy", "import numpy as np\nnp.random.rand()", 2),
        ("numpy", "from numpy import random as npr\nf = npr.normal", 2),
        ("numpy", "from numpy.random import rand\nrand(3)", 2),
        ("numpy", "import numpy\nrng = numpy.random.default_rng(3)\nrng.normal()", None),
        ("numpy", "from scipy import stats\nstats.norm.rvs(size=3)", 2),
        ("torch", "import torch\ntorch.manual_seed(1)\ntorch.randn(2)", 3),
        ("torch", "from torch import nn\nnn.Linear(1, 2)", 2),
        ("numpy", "this is no Python", None),
    ],
)
def test_where_a_source_draws(library: str, text: str, line: int | None) -> None:
    assert Source(text).draws(library) == line


def test_a_source_tells_generators_without_a_seed() -> None:
    text = """\
        import numpy as np
        a = np.random.RandomState()
        b = np.random.RandomState(3)
        c = np.random.Generator(
            np.random.PCG64(None))
        """
    found = [Source(dedent(text)).made_without_seed(line) for line in (2, 3, 5)]
    assert found == ["RandomState", None, "PCG64"]


def test_a_shared_generator_that_only_libraries_use_is_no_problem(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import email.utils\nemail.utils.make_msgid()\n")
    found = read_chance([note("random"), sources(script)], tmp_path)
    assert (len(found.observed), found.problems) == (1, [])


def test_who_draws_without_a_seed_is_named(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import numpy as np\n\nnp.random.rand(3)\n")
    found = read_chance([note("numpy"), sources(script)], tmp_path)
    assert found.problems == [
        "numpy's generator was used without a seed: results will differ (train.py:3)"
    ]
    assert found.observed[0].site == "train.py:3"


def test_a_site_that_was_seen_needs_no_source(tmp_path: Path) -> None:
    site = [f"{tmp_path}/fit.py", 12]
    found = read_chance([note("numpy", site=site)] * 2, tmp_path)
    assert found.problems == [
        "numpy's generator was used without a seed: results will differ (fit.py:12)"
    ]


@pytest.mark.parametrize("fields", [{"seeded": True, "seed": "3"}, {"used": False}])
def test_seeded_and_unused_generators_are_no_problem(fields: dict[str, Any]) -> None:
    site = ["/p/fit.py", 12]
    notes = [note(name, site=site, **fields) for name in ("random", "numpy", "numpy.Generator")]
    assert read_chance(notes, Path("/p")).problems == []


def test_what_was_seeded_before_the_run_began_may_be(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import numpy as np\nnp.random.seed(3)\nnp.random.rand(3)\n")
    found = read_chance([note("numpy", late=True), sources(script)], tmp_path)
    assert (found.observed[0].seeded, found.problems) == (None, [])


def test_a_program_on_the_command_line_is_a_source(tmp_path: Path) -> None:
    text = "import random; print(random.random())"
    found = read_chance([note("random"), sources(text=text)], tmp_path)
    assert found.problems == [
        "Python's generator was used without a seed: results will differ (<string>:1)"
    ]


def test_a_random_state_with_a_seed_asks_for_entropy_too(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text("from numpy.random import RandomState\na = RandomState(3)\nb = RandomState()")
    notes = [note("numpy.entropy", used=None, site=[str(script), line]) for line in (2, 3)]
    found = read_chance(notes, tmp_path)
    assert [(one.library, one.site) for one in found.observed] == [("numpy.RandomState", "s.py:3")]


def test_many_generators_are_cut(tmp_path: Path) -> None:
    notes = [note("random.Random", seeded=True) for _ in range(1200)]
    found = read_chance(notes, tmp_path)
    assert len(found.observed) == 1000
    assert found.problems == ["200 more random generators were used than are listed"]
