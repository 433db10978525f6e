"""Chance, resources, parsed parameters and metrics files of real programs under a run."""

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from thence.execution.capture.environment import Environment
from thence.execution.supervisor import probe
from thence.index.views import RunDetail
from thence.model.codec import decode
from thence.model.observed import Observed, Randomness, Sample, decode_observed
from thence.model.records import MetricPoint, Param, decode_lines
from workshop import Workshop, environment, seal_of

SENSORS = [
    pytest.param(
        "seccomp", marks=pytest.mark.skipif(probe() is not None, reason=f"no sensor: {probe()}")
    ),
    "audit-hook",
]

# Has what of PyTorch is wrapped: the real one is too large for the tests.
TORCH = {
    "torch/__init__.py": "from torch import random\nfrom torch.random import *\n",
    "torch/random.py": """
import random as _generator
_state = _generator.Random(0)

class _Tensor(list):
    def tolist(self):
        return list(self)

def manual_seed(seed):
    _state.seed(seed)

def seed():
    _state.seed()

def get_rng_state():
    return _Tensor(_state.getstate()[1])

def set_rng_state(state):
    _state.setstate((3, tuple(state), None))

def rand():
    return _state.random()
""",
}

# A fork of it may ask for the state only after it has used the generator itself.
LOCKED = """
import os
_free = {os.getpid()}
_asked, _seeded = get_rng_state, manual_seed

def get_rng_state():
    if os.getpid() not in _free:
        open("asked", "w").close()
    return _asked()

def manual_seed(seed):
    _seeded(seed)
    _free.add(os.getpid())
"""


def observed(at: Workshop, run: RunDetail) -> list[Observed]:
    digest = seal_of(run).observed
    return [] if digest is None else decode_observed(at.read(digest).splitlines())


def generators(at: Workshop, run: RunDetail) -> dict[str, Randomness]:
    return {one.library: one for one in observed(at, run) if isinstance(one, Randomness)}


def script(at: Workshop, text: str, *words: str, **options: Any) -> RunDetail:
    return at.script(textwrap.dedent(text), *words, **options)


def seedless(run: RunDetail) -> list[str]:
    return [text for text in seal_of(run).problems if "seed" in text]


def values(run: RunDetail) -> dict[str, Any]:
    return {name: (one.value, one.origin) for name, one in run.params.items()}


@pytest.mark.parametrize("sensor", SENSORS)
def test_generators_with_and_without_seeds(workshop: Workshop, sensor: str) -> None:
    run = script(
        workshop,
        """\
        import random
        import numpy as np
        random.seed(7)
        random.random()
        np.random.rand(3)
        np.random.default_rng(5).normal()
        lucky = np.random.default_rng()
        lucky.normal()
        unused = np.random.default_rng()
        np.random.RandomState(3), np.random.RandomState()
        """,
        sensor=sensor,
    )
    found = generators(workshop, run)
    assert (found["random"].seeded, found["random"].seed, found["random"].used) == (True, "7", True)
    shared = found["numpy"]
    assert (shared.seeded, shared.seed, shared.used) == (False, None, True)
    assert shared.start is not None
    assert shared.end not in {None, shared.start}
    assert seedless(run) == [
        "numpy's generator was used without a seed: results will differ (script.py:5)",
        "a numpy.Generator was made without a seed: results will differ (script.py:7)",
        "a numpy.RandomState was made without a seed: results will differ (script.py:10)",
    ]


def test_a_seeded_program_ends_in_the_same_states(workshop: Workshop) -> None:
    text = """\
        import random, numpy as np
        random.seed(1); np.random.seed(2)
        random.random(), np.random.rand()
        """
    runs = [generators(workshop, script(workshop, text)) for _ in range(2)]
    assert [one["random"].end for one in runs[:1]] == [one["random"].end for one in runs[1:]]
    assert runs[0]["numpy"].end == runs[1]["numpy"].end
    assert runs[0]["numpy"].seed == "2"


def test_what_libraries_draw_for_themselves_is_no_problem(workshop: Workshop) -> None:
    run = script(
        workshop,
        """\
        import email.utils, tempfile, uuid
        email.utils.make_msgid()  # draws from Python's generator
        uuid.uuid4()
        tempfile.TemporaryFile().close()
        import numpy as np
        np.random.default_rng(3).normal()
        """,
    )
    assert seedless(run) == []
    assert generators(workshop, run)["random"].used is True


def test_estimators_without_a_seed(workshop: Workshop) -> None:
    pytest.importorskip("sklearn")
    run = script(
        workshop,
        """\
        from sklearn.model_selection import train_test_split
        from sklearn.utils import shuffle
        train_test_split(list(range(9)), random_state=3)
        shuffle(list(range(9)))
        """,
    )
    assert seedless(run) == [
        "numpy's generator was used without a seed: results will differ (script.py:4)"
    ]


def test_workers_draw_too(workshop: Workshop) -> None:
    run = script(
        workshop,
        """\
        import multiprocessing, numpy as np
        def work():
            np.random.rand()
        if __name__ == "__main__":
            workers = [
                multiprocessing.get_context(how).Process(target=work) for how in ("fork", "spawn")
            ]
            for worker in workers:
                worker.start()
                worker.join()
        """,
    )
    used = [
        one.pid
        for one in observed(workshop, run)
        if isinstance(one, Randomness) and one.library == "numpy"
    ]
    assert len(set(used)) == 2
    assert seedless(run) == [
        "numpy's generator was used without a seed: results will differ (script.py:3)"
    ]


def test_python_gives_the_generator_of_its_library_entropy_in_forks(workshop: Workshop) -> None:
    run = script(
        workshop,
        """\
        import os, random, sys
        random.seed(3)
        for draws in (False, True):
            if os.fork() == 0:
                if draws:
                    random.random()
                sys.exit()
            os.wait()
        """,
    )
    found = [one for one in observed(workshop, run) if isinstance(one, Randomness)]
    assert [(one.seeded, one.used) for one in found] == [(False, True), (True, False)]
    assert seedless(run) == [
        "Python's generator was used without a seed: results will differ (script.py:6)"
    ]


def test_all_generators_that_one_line_makes_are_told(workshop: Workshop) -> None:
    run = script(
        workshop,
        """\
        import random
        import numpy as np
        a, b = np.random.default_rng(1), np.random.default_rng()
        several = [random.Random(seed) for seed in (1, 2, None)]
        a.normal(), several[1].random()
        many = [random.Random(seed) for seed in range(1000)]
        """,
    )
    made = [one for one in observed(workshop, run) if isinstance(one, Randomness)]
    of_numpy = [(one.seed, one.used) for one in made if one.library == "numpy.Generator"]
    assert of_numpy == [("1", True), (None, False)]
    of_line = [(one.seed, one.used) for one in made if one.site == "script.py:4"]
    assert of_line == [("1", False), ("2", True), (None, False)]
    of_loop = [one.seed for one in made if one.site == "script.py:6"]
    assert of_loop == [str(seed) for seed in range(8)]


def test_torch(workshop: Workshop) -> None:
    for path, text in TORCH.items():
        workshop.write(path, text)
    seeded = script(workshop, "import torch\ntorch.manual_seed(3)\ntorch.rand()\n")
    assert generators(workshop, seeded)["torch"].seed == "3"
    assert seedless(seeded) == []
    unseeded = script(workshop, "import torch\nx = torch.rand()\n")
    assert seedless(unseeded) == [
        "torch's generator was used without a seed: results will differ (script.py:2)"
    ]


@pytest.mark.parametrize("sensor", SENSORS)
def test_torch_is_not_asked_in_a_fork_that_does_not_use_it(workshop: Workshop, sensor: Any) -> None:
    # Another thread of the parent may have held its lock, which nobody gives back there.
    for path, text in TORCH.items():
        workshop.write(path, text)
    workshop.write("torch/random.py", TORCH["torch/random.py"] + LOCKED)
    run = script(
        workshop,
        """\
        import os, sys, torch
        torch.manual_seed(3)
        for seed in (None, 4):
            child = os.fork()
            if child == 0:
                if seed is not None:
                    torch.manual_seed(seed)
                torch.rand()
                sys.exit()
            assert os.waitpid(child, 0)[1] == 0
        """,
        sensor=sensor,
    )
    assert not (workshop.root / "asked").exists()
    every = [one for one in observed(workshop, run) if isinstance(one, Randomness)]
    found = [one for one in every if one.library == "torch"]
    assert [(one.seed, one.used) for one in found] == [("3", None), ("4", True), ("3", False)]


def python_with_torch() -> str:
    """An interpreter that has PyTorch: this one, or that of `python -m bench coverage`."""
    others = Path(__file__).parents[2] / ".venv/coverage/bin/python"
    for python in (sys.executable, str(others)):
        has = [python, "-c", "import importlib.util as u, sys; sys.exit(not u.find_spec('torch'))"]
        if Path(python).exists() and subprocess.run(has, check=False).returncode == 0:
            return python
    pytest.skip("PyTorch is not installed; `python -m bench coverage` installs it")


@pytest.mark.slow
@pytest.mark.parametrize("sensor", SENSORS)
def test_real_torch(workshop: Workshop, sensor: Any) -> None:
    workshop.write(
        "train.py",
        textwrap.dedent(
            """\
            import os, sys, torch
            if sys.argv[1] == "seeded":
                torch.manual_seed(7)
            print(torch.rand(2), torch.nn.Linear(3, 3).bias)
            child = os.fork()
            if child == 0:
                if sys.argv[1] == "seeded":
                    torch.manual_seed(8)
                torch.rand(2)
                sys.exit()
            assert os.waitpid(child, 0)[1] == 0
            state = torch.get_rng_state()
            torch.rand(1)
            torch.set_rng_state(state)
            """
        ),
    )
    python = python_with_torch()
    seeded = workshop.run(python, "train.py", "seeded", sensor=sensor)
    every = [one for one in observed(workshop, seeded) if isinstance(one, Randomness)]
    of_torch = [one for one in every if one.library == "torch"]
    assert [(one.seed, one.seeded, one.used) for one in of_torch] == [
        ("8", True, True),
        ("a state", True, True),
    ]
    assert seedless(seeded) == []
    again = workshop.run(python, "train.py", "seeded", sensor=sensor)
    ends = [
        [one.end for one in observed(workshop, run) if isinstance(one, Randomness)]
        for run in (seeded, again)
    ]
    assert ends[0] == ends[1]
    unseeded = workshop.run(python, "train.py", "unseeded", sensor=sensor)
    assert seedless(unseeded) == [
        "torch's generator was used before it had a seed: results may differ"
    ]


@pytest.mark.parametrize("sensor", SENSORS)
def test_linear_algebra_is_named_with_version_and_threads(workshop: Workshop, sensor: Any) -> None:
    run = script(
        workshop,
        """\
        import multiprocessing, numpy as np
        def work():
            np.ones((2, 2)) @ np.ones((2, 2))
        if __name__ == "__main__":
            worker = multiprocessing.get_context("fork").Process(target=work)
            worker.start()
            worker.join()
            work()
        """,
        sensor=sensor,
        variables={"OPENBLAS_NUM_THREADS": "1"},
    )
    digest = seal_of(run).environment
    assert digest is not None
    (one,) = decode(workshop.read(digest), Environment).system.blas
    assert re.fullmatch(r"lib\S*openblas\S*\.so\S* \(OpenBLAS \d+\.\d+.*, 1 thread\)", one), one
    assert [path for path in workshop.files(run) if path.startswith("/proc")] == []


MKL = """
#include <stdio.h>
void MKL_Get_Version_String(char *buffer, int length) {
    snprintf(buffer, length, "Intel(R) oneAPI Math Kernel Library Version 2025.1   ");
}
int MKL_Get_Max_Threads(void) { return 3; }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_mkl_is_asked_as_it_answers(workshop: Workshop) -> None:
    source = workshop.write("mkl.c", MKL)
    library = workshop.root / "libmkl_rt.so.2"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    text = "import ctypes, numpy\nctypes.CDLL('./libmkl_rt.so.2')\n"
    digest = seal_of(script(workshop, text)).environment
    assert digest is not None
    assert (
        "libmkl_rt.so.2 (Intel(R) oneAPI Math Kernel Library Version 2025.1, 3 threads)"
        in decode(workshop.read(digest), Environment).system.blas
    )


def test_a_run_within_a_program(workshop: Workshop) -> None:
    workshop.write(
        "inside.py",
        textwrap.dedent(
            """\
            import numpy as np, thence
            np.random.seed(1)
            with thence.run():
                np.random.rand()
            with thence.run():
                np.random.default_rng().normal()
                thence.log(loss=1.0)
            """
        ),
    )
    with environment():
        subprocess.run([sys.executable, "inside.py"], cwd=workshop.root, check=True)
    later, earlier = (
        workshop.project.find_run(f"run:{one.run}") for one in workshop.project.runs()
    )
    assert seedless(earlier) == []
    assert generators(workshop, earlier)["numpy"].seeded is None
    assert seedless(later) == [
        "a numpy.Generator was made without a seed: results will differ (inside.py:6)"
    ]
    usage = seal_of(later).usage
    assert usage is not None
    assert usage.memory_peak_bytes > 10_000_000


def test_the_summary_tells_of_missing_seeds(workshop: Workshop) -> None:
    workshop.write("lucky.py", "import random\nprint(random.random())\n")
    done = workshop.thence("run", sys.executable, "lucky.py")
    assert (
        "  Python's generator was used without a seed: results will differ (lucky.py:2)\n"
        in done.stderr
    )


@pytest.mark.parametrize("sensor", SENSORS)
def test_resources(workshop: Workshop, sensor: str) -> None:
    run = script(
        workshop,
        """\
        import subprocess, sys, time
        busy = (
            "import time; data = bytearray(60_000_000); end = time.process_time() + 0.4\\n"
            "while time.process_time() < end: pass"
        )
        children = [subprocess.Popen([sys.executable, "-c", busy]) for _ in range(2)]
        [child.wait() for child in children]
        """,
        sensor=sensor,
    )
    usage = seal_of(run).usage
    assert usage is not None
    assert 0.8 <= usage.cpu_s < 5
    assert usage.memory_peak_bytes > 120_000_000
    assert usage.processes == 3
    samples = [one for one in observed(workshop, run) if isinstance(one, Sample)]
    assert len(samples) >= 2
    assert max(one.memory_bytes for one in samples) == usage.memory_peak_bytes


ARGPARSE = """\
import argparse, pathlib
first = argparse.ArgumentParser(add_help=False)
first.add_argument("--config")
known, rest = first.parse_known_args()
parser = argparse.ArgumentParser(parents=[first])
parser.add_argument("-l", "--lr", type=float, default=0.1)
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--api-key")
parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("in.csv"))
commands = parser.add_subparsers(dest="command")
train = commands.add_parser("train")
train.add_argument("--epochs", type=int, default=3)
train.add_argument("names", nargs="*")
train.set_defaults(run=print)
parser.parse_args()
"""


@pytest.mark.parametrize("sensor", SENSORS)
def test_argparse(workshop: Workshop, sensor: str) -> None:
    words = ["-l", "0.5", "--api-key", "hunter22hunter22", "train", "--epochs=3", "a", "b"]
    run = script(workshop, ARGPARSE, *words, sensor=sensor, params={"lr": 7})
    found = values(run)
    secret = found.pop("api_key")
    assert found == {
        "lr": (7, "option"),
        "batch_size": (32, "argparse default"),
        "command": ("train", "argparse"),
        "config": (None, "argparse default"),
        "data": ("in.csv", "argparse default"),
        "epochs": (3, "argparse"),
        "names": (["a", "b"], "argparse"),
    }
    assert secret[0].startswith("<secret:")
    assert "hunter22hunter22" not in str(run)


def test_what_the_parser_left_is_read_as_before(workshop: Workshop) -> None:
    text = (
        "import argparse\nparser = argparse.ArgumentParser()\n"
        'parser.add_argument("--lr", type=float)\nparser.parse_known_args()\n'
    )
    run = script(workshop, text, "--lr", "0.5", "--depth", "3")
    assert values(run) == {"lr": (0.5, "argparse"), "depth": (3, "argv")}


def test_a_config_file_knows_better_than_a_default(workshop: Workshop) -> None:
    workshop.write("conf.yaml", "lr: 0.25\ndepth: 4\n")
    text = """\
        import argparse, yaml
        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", type=float, default=0.1)
        parser.add_argument("--depth", type=int, default=1)
        parser.parse_args()
        yaml.safe_load(open("conf.yaml"))
        """
    run = script(workshop, text, "--depth", "9")
    assert values(run) == {"lr": (0.25, "conf.yaml"), "depth": (9, "argparse")}


def test_programs_of_a_pipeline_have_their_own(workshop: Workshop) -> None:
    text = (
        "import argparse\nparser = argparse.ArgumentParser()\n"
        'parser.add_argument("--seed", type=int)\nparser.add_argument("--same", default=1)\n'
        "parser.parse_args()\n"
    )
    workshop.write("fit.py", text)
    workshop.write("score.py", text)
    workshop.write(
        "all.sh", f"{sys.executable} fit.py --seed 1\n{sys.executable} score.py --seed 2"
    )
    run = workshop.run("sh", "all.sh")
    assert values(run) == {
        "seed": (1, "argparse"),
        "score.seed": (2, "argparse"),
        "same": (1, "argparse default"),
    }


def test_click(workshop: Workshop) -> None:
    run = script(
        workshop,
        """\
        import click
        @click.group()
        @click.option("--seed", default=1)
        def cli(seed): ...
        @cli.command()
        @click.option("--lr", default=0.1)
        @click.option("--token")
        @click.argument("name")
        def train(lr, token, name): ...
        cli()
        """,
        *("--seed", "4", "train", "--token", "hunter22hunter22", "bob"),
    )
    found = values(run)
    assert found.pop("token")[0].startswith("<secret:")
    assert found == {
        "seed": (4, "click"),
        "lr": (0.1, "click default"),
        "name": ("bob", "click"),
    }


def test_typer(workshop: Workshop) -> None:
    pytest.importorskip("typer")
    text = "import typer\ndef main(name: str, lr: float = 0.5): ...\ntyper.run(main)\n"
    run = script(workshop, text, "bob")
    assert values(run) == {"name": ("bob", "click"), "lr": (0.5, "click default")}


def test_fire(workshop: Workshop) -> None:
    pytest.importorskip("fire")
    text = "import fire\ndef main(lr, depth=3): ...\nfire.Fire(main)\n"
    run = script(workshop, text, "--lr=0.5")
    assert values(run) == {"lr": (0.5, "fire"), "depth": (3, "fire default")}


HYDRA = """\
import hydra
@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg): ...
main()
"""


def test_hydra(workshop: Workshop) -> None:
    pytest.importorskip("hydra")
    workshop.write("conf/config.yaml", "defaults: [{db: mysql}]\nlr: 0.1\nname: run_${lr}\n")
    workshop.write("conf/db/mysql.yaml", "host: here\npassword: hunter22hunter22\n")
    found = values(script(workshop, HYDRA, "lr=0.5"))
    assert found["lr"] == (0.5, "hydra")
    assert found["name"] == ("run_0.5", "hydra")
    assert found["db.host"] == ("here", "hydra")
    assert found["db.password"][0].startswith("<secret:")
    swept = values(script(workshop, HYDRA, "--multirun", "lr=0.5,0.25"))
    assert swept["lr"] == ([0.5, 0.25], "hydra")


def test_omegaconf(workshop: Workshop) -> None:
    pytest.importorskip("omegaconf")
    workshop.write("conf.yaml", "lr: 0.1\nmodel:\n  depth: 3\n  width: ???\n")
    text = """\
        from omegaconf import OmegaConf
        OmegaConf.merge(OmegaConf.load("conf.yaml"), OmegaConf.from_cli())
        """
    run = script(workshop, text, "model.depth=5")
    assert values(run)["model.depth"] == (5, "omegaconf")
    assert values(run)["lr"] == (0.1, "omegaconf")
    assert "model.width" not in {name for name, one in values(run).items() if one[1] == "omegaconf"}


def test_metrics_that_libraries_leave(workshop: Workshop) -> None:
    pytest.importorskip("tensorboardX")
    run = script(
        workshop,
        """\
        import os, json, thence
        from tensorboardX import SummaryWriter
        with SummaryWriter("runs/one") as writer:
            for step in range(3):
                writer.add_scalar("Loss/train", 1 / (step + 1), step)
                thence.log(mine=step, step=step)
        os.makedirs("lightning_logs/version_0")
        with open("lightning_logs/version_0/metrics.csv", "w") as file:
            file.write("epoch,step,val_loss\\n0,9,0.5\\n1,19,0.25\\n")
        with open("lightning_logs/version_0/hparams.yaml", "w") as file:
            file.write("hidden: 64\\n")
        with open("training.log", "w") as file:
            file.write("epoch,accuracy,loss,mine\\n0,0.5,2.0,9\\n1,0.75,1.0,9\\n")
        """,
    )
    assert seal_of(run).problems == ()
    assert run.metrics == pytest.approx(
        {"Loss/train": 1 / 3, "val_loss": 0.25, "accuracy": 0.75, "loss": 1.0, "mine": 2.0}
    )
    points = decode_lines(workshop.read(seal_of(run).series), MetricPoint)
    series = [(one.step, one.value) for one in points if one.name == "val_loss"]
    assert series == [(9, 0.5), (19, 0.25)]
    assert [one.step for one in points if one.name == "Loss/train"] == [0, 1, 2]
    assert run.params["hidden"] == Param(value=64, origin="lightning_logs/version_0/hparams.yaml")


def test_nothing_of_it_shows_in_the_program(workshop: Workshop) -> None:
    text = """\
        import inspect, pickle, random, argparse, sys
        import numpy as np
        for one in (random.seed, np.random.seed, np.random.default_rng):
            assert pickle.loads(pickle.dumps(one)) is one
        assert str(inspect.signature(random.seed)) == "(a=None, version=2)"
        assert np.random.default_rng.__name__ == "default_rng"
        assert type(pickle.loads(pickle.dumps(random.Random(3)))) is random.Random
        class Mine(random.Random): ...
        assert Mine(3).random() == random.Random(3).random()
        assert "parse_known_args" in argparse.ArgumentParser.parse_known_args.__qualname__
        random.seed(3); first = random.random()
        random.seed(a=3); assert random.random() == first
        try:
            np.random.seed(-1)
        except ValueError:
            pass
        else:
            sys.exit("no error")
        """
    run = script(workshop, text)
    assert seal_of(run).traceback is None
    assert run.exit_code == 0


def test_paths_of_this_test_are_of_programs() -> None:
    from thence.execution.inside.frames import is_own

    assert is_own(str(Path(__file__)))
    assert not is_own(pytest.__file__)
