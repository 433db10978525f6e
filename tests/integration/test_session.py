"""Runs that a program opens in itself: `import thence` in scripts and notebooks."""

import subprocess
import sys
import textwrap
from typing import NamedTuple

import pytest

from thence.errors import Conflict
from thence.execution import live, session
from thence.execution.record import RunOptions
from thence.index.views import RunDetail, VersionDetail
from thence.model.records import FileRole, MetricPoint, RunStatus, decode_lines
from workshop import Workshop, environment, seal_of


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def python(workshop: Workshop, text: str, name: str = "script.py") -> Ended:
    """Run a script by itself, not under `thence run`."""
    workshop.write(name, textwrap.dedent(text))
    with environment():
        done = subprocess.run(
            [sys.executable, name], cwd=workshop.root, capture_output=True, text=True, check=False
        )
    return Ended(done.returncode, done.stdout, done.stderr)


def only_run(workshop: Workshop) -> RunDetail:
    (run,) = workshop.project.runs()
    return workshop.project.find_run(f"run:{run.run}")


def steps(workshop: Workshop, run: RunDetail, name: str) -> list[tuple[int | None, float]]:
    points = decode_lines(workshop.read(seal_of(run).series), MetricPoint)
    return [(point.step, point.value) for point in points if point.name == name]


def test_a_block_is_a_run(workshop: Workshop) -> None:
    workshop.write("in.csv", "a\n1\n2\n")
    workshop.write("helper.py", "FACTOR = 2\n")
    ended = python(
        workshop,
        """
        import thence
        import helper
        with thence.run(name="inside", note="by hand", tags={"a": "b"}, params={"lr": 0.5}):
            text = open("in.csv").read()
            open("out.csv", "w").write(text * helper.FACTOR)
            for step in range(3):
                thence.log(loss=1 / (step + 1), step=step)
            thence.log({"optimizer": "adam"})
        open("later.txt", "w").write("not of the run")
        """,
    )
    assert ended.code == 0, ended.err
    run = only_run(workshop)
    assert (run.status, run.exit_code, run.name, run.note) == (
        RunStatus.FINISHED,
        0,
        "inside",
        "by hand",
    )
    assert run.tags == {"a": "b"}
    assert run.command == (sys.executable, "script.py")
    assert {k: v.value for k, v in run.params.items()} == {"lr": 0.5, "optimizer": "adam"}
    assert steps(workshop, run, "loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert set(workshop.files(run, FileRole.INPUT)) == {"in.csv"}
    assert set(workshop.files(run, FileRole.OUTPUT)) == {"out.csv"}
    code = {p for p in workshop.files(run, FileRole.CODE) if not p.startswith("/")}
    assert code == {"script.py", "helper.py"}
    assert seal_of(run).sensor.name == "audit-hook"
    assert seal_of(run).sensor.completeness != "kernel-complete"
    assert workshop.spools() == []


def test_versions_saved_and_loaded_in_it_are_its_own(workshop: Workshop) -> None:
    workshop.write("raw.csv", "a\n1\n")
    with environment():
        raw = workshop.project.save(workshop.root / "raw.csv", "raw")
    ended = python(
        workshop,
        """
        import thence
        with thence.run() as run:
            text = thence.load("raw")
            thence.save({"rows": 2}, "summary", metrics={"rows": 2})
        print(run.run)
        """,
    )
    assert ended.code == 0, ended.err
    run = only_run(workshop)
    assert ended.out.split() == [run.run]
    assert [one.record for one in run.uses] == [raw.record]
    assert [str(one.artifact) for one in run.makes] == ["summary"]
    made = workshop.project.show("summary")
    assert isinstance(made, VersionDetail)
    assert made.run == run.run
    assert workshop.project.find_run("summary").run == run.run


def test_an_exception_in_the_block_goes_on_and_is_recorded(workshop: Workshop) -> None:
    ended = python(
        workshop,
        """
        import thence
        with thence.run():
            open("half.txt", "w").write("half")
            raise ValueError("no more data")
        """,
    )
    assert ended.code == 1
    assert "ValueError: no more data" in ended.err
    run = only_run(workshop)
    assert (run.status, run.exit_code) == (RunStatus.FAILED, 1)
    assert (seal_of(run).traceback or "").endswith("ValueError: no more data")
    assert run.makes == ()


def test_ctrl_c_in_the_block_is_an_interruption(workshop: Workshop) -> None:
    python(workshop, "import thence\nwith thence.run():\n    raise KeyboardInterrupt\n")
    assert only_run(workshop).status is RunStatus.INTERRUPTED


def test_the_first_log_opens_a_run_that_the_end_of_the_process_seals(workshop: Workshop) -> None:
    ended = python(
        workshop,
        """
        import thence
        thence.log(auc=0.5)
        thence.log(auc=0.75)
        open("out.txt", "w").write("x")
        """,
    )
    assert ended.code == 0, ended.err
    run = only_run(workshop)
    assert (run.status, run.metrics) == (RunStatus.FINISHED, {"auc": 0.75})
    assert set(workshop.files(run, FileRole.OUTPUT)) == {"out.txt"}


@pytest.mark.parametrize(
    ("ending", "status", "code"),
    [
        ("raise ValueError('late')", RunStatus.FAILED, 1),
        ("sys.exit()", RunStatus.FINISHED, 0),
        ("sys.exit(0)", RunStatus.FINISHED, 0),
        ("sys.exit(3)", RunStatus.FAILED, 3),
        ("sys.exit('bad')", RunStatus.FAILED, 1),
        ("def main(): sys.exit(3)\nwith open('x', 'w'): main()", RunStatus.FAILED, 3),
        ("def main(): sys.exit(3)\nif True:\n    main()", RunStatus.FAILED, 3),
        (
            "def main(): sys.exit(3)\ntry:\n    main()\nexcept SystemExit: pass",
            RunStatus.FINISHED,
            0,
        ),
        (
            "from threading import Thread\nThread(target=lambda: sys.exit(3)).start()",
            RunStatus.FINISHED,
            0,
        ),
    ],
)
def test_how_the_process_ended_is_how_the_run_ended(
    workshop: Workshop, ending: str, status: RunStatus, code: int
) -> None:
    ended = python(workshop, f"import sys, thence\nthence.log(auc=0.5)\n{ending}\n")
    assert ended.code == code
    run = only_run(workshop)
    assert (run.status, run.exit_code) == (status, code)


@pytest.mark.parametrize(
    "ending",
    [
        "raise SystemExit(main())",
        "try:\n    sys.exit(5)\nexcept SystemExit:\n    pass\nraise SystemExit(3)",
        "exit(3)",
    ],
)
def test_a_status_that_cannot_be_seen_is_not_made_up(workshop: Workshop, ending: str) -> None:
    text = f"import sys, thence\ndef main(): return 3\nthence.log(auc=0.5)\n{ending}\n"
    assert python(workshop, text).code == 3
    run = only_run(workshop)
    assert (run.status, run.exit_code) == (RunStatus.FINISHED, None)
    assert session.UNKNOWN_CODE in seal_of(run).problems


def test_the_command_is_the_one_that_python_was_given(workshop: Workshop) -> None:
    workshop.write("package/module.py", "import thence\nthence.log(auc=0.5)\n")
    arguments = ("-X", "utf8", "-m", "package.module", "--lr", "0.1")
    with environment():
        subprocess.run([sys.executable, *arguments], cwd=workshop.root, check=True)
    run = only_run(workshop)
    assert run.command == (sys.executable, *arguments)
    assert run.params["lr"].value == 0.1
    assert (run.status, run.exit_code) == (RunStatus.FINISHED, 0)
    assert seal_of(run).rerunnable


@pytest.mark.parametrize("arguments", [["-i"], ["-"]], ids=["prompt", "pipe"])
def test_what_is_typed_cannot_be_run_again(workshop: Workshop, arguments: list[str]) -> None:
    with environment():
        subprocess.run(
            [sys.executable, *arguments],
            cwd=workshop.root,
            input="import thence\nthence.log(auc=0.5)\n",
            text=True,
            check=True,
            capture_output=True,
        )
    run = only_run(workshop)
    assert run.status is RunStatus.FINISHED
    assert not seal_of(run).rerunnable
    assert session.FROM_A_PROMPT in seal_of(run).problems
    assert run.command == (sys.executable, *arguments)


def test_several_runs_of_one_process_are_counted(workshop: Workshop) -> None:
    python(workshop, "import thence\nfor _ in range(3):\n    with thence.run():\n        pass\n")
    runs = [workshop.project.find_run(f"run:{one.run}") for one in workshop.project.runs()]
    assert sorted(seal_of(run).ordinal for run in runs) == [1, 2, 3]


def test_finish_seals_and_the_next_log_opens_another(workshop: Workshop) -> None:
    ended = python(
        workshop,
        """
        import thence
        assert thence.finish() is None
        thence.log(fold=1)
        first = thence.finish()
        thence.log(fold=2)
        print(first.run, first.metrics["fold"])
        """,
    )
    assert ended.code == 0, ended.err
    second, first = workshop.project.runs()
    assert ended.out.split() == [first.run, "1.0"]
    assert (first.metrics, second.metrics) == ({"fold": 1.0}, {"fold": 2.0})
    assert {first.status, second.status} == {RunStatus.FINISHED}


def test_a_killed_program_is_recovered(workshop: Workshop) -> None:
    ended = python(
        workshop,
        """
        import os, signal, thence
        thence.log(auc=0.5)
        open("out.txt", "w").write("x")
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    assert ended.code == -9
    (run,) = workshop.project.recover()
    assert (run.status, run.metrics) == (RunStatus.DIED, {"auc": 0.5})
    assert set(workshop.files(run, FileRole.OUTPUT)) == {"out.txt"}
    assert workshop.project.recover() == []


def test_forked_workers_log_into_the_run_of_their_parent(workshop: Workshop) -> None:
    ended = python(
        workshop,
        """
        import multiprocessing, os, sys, thence
        def work(n):
            thence.log(score=n, step=n)
            with open(f"part-{n}.txt", "w") as file:
                file.write(str(n))
            return n
        with thence.run():
            with multiprocessing.get_context("fork").Pool(2) as pool:
                print(sum(pool.map(work, range(4))), flush=True)  # before the fork copies it
            child = os.fork()
            if child == 0:
                thence.log(by_hand=1)
                sys.exit(0)
            os.waitpid(child, 0)
            thence.log(last=True)
        """,
    )
    assert ended.code == 0, ended.err
    assert ended.out.split() == ["6"]
    run = only_run(workshop)
    assert run.status is RunStatus.FINISHED
    assert sorted(steps(workshop, run, "score")) == [(n, float(n)) for n in range(4)]
    assert run.metrics["by_hand"] == 1.0
    assert {f"part-{n}.txt" for n in range(4)} <= set(workshop.files(run, FileRole.OUTPUT))


def test_programs_that_it_starts_join_the_run(workshop: Workshop) -> None:
    workshop.write("child.py", "import thence\nthence.log(of_child=1)\n")
    ended = python(
        workshop,
        """
        import subprocess, sys, thence
        with thence.run():
            subprocess.run([sys.executable, "child.py"], check=True)
        subprocess.run([sys.executable, "child.py"], check=True)
        """,
    )
    assert ended.code == 0, ended.err
    alone, run = workshop.project.runs()
    assert run.metrics == {"of_child": 1.0}
    assert alone.metrics == {"of_child": 1.0}
    assert alone.run != run.run


@pytest.mark.parametrize(
    "body",
    [
        """
        thence.log(auc=0.5, note="x")
        thence.save({"rows": 2}, "summary")
        assert thence.finish() is None
        """,
        """
        with thence.run(name="inner", params={"note": "x", "lr": 0.1, "n": 3}) as run:
            run.log({"auc": 0.5})
            thence.save({"rows": 2}, "summary")
        """,
    ],
    ids=["verbs", "block"],
)
def test_under_thence_run_the_same_calls_join_the_outer_run(workshop: Workshop, body: str) -> None:
    run = workshop.script("import thence\n" + textwrap.dedent(body) + "print('end')\n")
    assert run.status is RunStatus.FINISHED
    assert workshop.read(seal_of(run).stdout) == b"end\n"
    assert [one.run for one in workshop.project.runs()] == [run.run]
    assert run.metrics == {"auc": 0.5}
    assert run.params["note"].value == "x"
    if "params=" in body:
        assert (run.params["lr"].value, run.params["n"].value) == (0.1, 3)
    assert [str(one.artifact) for one in run.makes] == ["summary"]
    version = workshop.project.show("summary")
    assert isinstance(version, VersionDetail)
    assert version.run == run.run


def test_a_second_run_in_one_process_is_refused(workshop: Workshop) -> None:
    with environment(), workshop.project.run() as outer:
        with pytest.raises(Conflict, match="is open in this process"):
            session.start(workshop.project.site, RunOptions())
        assert repr(outer) == f"Session({outer.run.__class__(outer.run).short})"
    assert live.current() is None
    assert session.finish() is None
    assert only_run(workshop).status is RunStatus.FINISHED


def test_logging_never_breaks_a_training(
    workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    import numpy as np

    with environment(), workshop.project.run() as run:
        run.log({"a": np.float32(0.5), "b": np.int64(2), "c": np.array(1.5), "flag": True})
        run.log({"odd": object(), "many": [1, "two", None], "nan": float("nan")})
        run.log({"huge": 10**400, "bad\ud800name": 1.0, "bad": "\ud800"})
        run.log({"fine": 1})
    found = only_run(workshop)
    assert found.metrics["a"] == 0.5
    assert (found.metrics["b"], found.metrics["c"], found.metrics["fine"]) == (2.0, 1.5, 1.0)
    assert found.params["flag"].value is True
    assert found.params["many"].value == [1, "two", None]
    assert found.metrics["nan"] != found.metrics["nan"]


def test_threads_that_log_first_share_one_run(workshop: Workshop) -> None:
    workshop.write(
        "threads.py",
        "import threading, thence\n"
        "go = threading.Barrier(8)\n"
        "def work(n):\n"
        "    go.wait()\n"
        "    thence.log(**{f'value_{n}': n})\n"
        "threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n",
    )
    done = subprocess.run(
        [sys.executable, "threads.py"],
        cwd=workshop.root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""

    (run,) = workshop.project.runs()
    assert run.metrics == {f"value_{n}": float(n) for n in range(8)}
