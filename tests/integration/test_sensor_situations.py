"""Hostile situations: each run ends well, and its record says what was seen and what was not."""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from patience import PATIENCE_S, wait_for
from thence.execution import strace, supervisor
from thence.index.views import RunDetail
from thence.model.records import FileRole, RunSealed, RunStatus
from thence.project import Project
from workshop import Workshop, seal_of

REASON = supervisor.probe()
needs_kernel_sensor = pytest.mark.skipif(
    REASON is not None, reason=f"no kernel-level sensor: {REASON}"
)
NOBODY = 65534


def inputs(at: Workshop, run: RunDetail) -> set[str]:
    return set(at.files(run, FileRole.INPUT))


def outputs(at: Workshop, run: RunDetail) -> set[str]:
    return set(at.files(run, FileRole.OUTPUT))


def complete(run: RunDetail) -> str:
    sealed = seal_of(run)
    assert sealed.status is RunStatus.FINISHED
    return sealed.sensor.completeness


@pytest.fixture
def rest_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Helpers of a pool end just after the program; on a busy machine that takes them long."""
    monkeypatch.setattr(supervisor, "_GRACE_S", PATIENCE_S)


# Processes


@needs_kernel_sensor
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.usefixtures("rest_is_awaited")
def test_processes_of_multiprocessing(workshop: Workshop, method: str) -> None:
    for n in range(4):
        workshop.write(f"data/{n}.bin", bytes([n]) * 10)
    run = workshop.script(
        "import multiprocessing\n"
        "def load(n):\n"
        "    with open(f'data/{n}.bin', 'rb') as file: data = file.read()\n"
        "    with open(f'out-{n}', 'wb') as file: file.write(data)\n"
        "    return sum(data)\n"
        "if __name__ == '__main__':\n"
        f"    with multiprocessing.get_context({method!r}).Pool(2) as pool:\n"
        "        assert pool.map(load, range(4)) == [0, 10, 20, 30]\n"
    )
    assert {f"data/{n}.bin" for n in range(4)} <= inputs(workshop, run)
    assert {f"out-{n}" for n in range(4)} <= outputs(workshop, run)
    assert complete(run) == "kernel-complete"


@needs_kernel_sensor
@pytest.mark.usefixtures("rest_is_awaited")
def test_a_pool_of_workers_that_load_data(workshop: Workshop) -> None:
    for n in range(12):
        workshop.write(f"images/{n}.bin", bytes([n]) * 10)
    run = workshop.script(
        "from concurrent.futures import ProcessPoolExecutor\n"
        "def load(n):\n"
        "    with open(f'images/{n}.bin', 'rb') as file: return len(file.read())\n"
        "if __name__ == '__main__':\n"
        "    with ProcessPoolExecutor(2) as pool:\n"
        "        print(sum(pool.map(load, range(12), chunksize=3)))\n"
    )
    assert {f"images/{n}.bin" for n in range(12)} <= inputs(workshop, run)
    assert complete(run) == "kernel-complete"


@needs_kernel_sensor
@pytest.mark.slow
@pytest.mark.usefixtures("rest_is_awaited")
def test_a_data_loader_with_workers(workshop: Workshop) -> None:
    pytest.importorskip("torch", reason="torch is not installed; a process pool stands for it")
    for n in range(12):
        workshop.write(f"images/{n}.bin", bytes([n]) * 10)
    run = workshop.script(
        "import torch\n"
        "class Images(torch.utils.data.Dataset):\n"
        "    def __len__(self): return 12\n"
        "    def __getitem__(self, n):\n"
        "        return torch.frombuffer(bytearray(open(f'images/{n}.bin', 'rb').read()),\n"
        "                                dtype=torch.uint8)\n"
        "if __name__ == '__main__':\n"
        "    loader = torch.utils.data.DataLoader(Images(), batch_size=4, num_workers=2)\n"
        "    assert sum(int(batch.sum()) for batch in loader) == 660\n"
    )
    assert {f"images/{n}.bin" for n in range(12)} <= inputs(workshop, run)
    assert complete(run) == "kernel-complete"


@needs_kernel_sensor
def test_a_daemon_that_is_left_behind(workshop: Workshop) -> None:
    workshop.write("early", "early")
    run = workshop.script(
        "import os, time\n"
        "open('early').close()\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        nothing = os.open('/dev/null', os.O_RDWR)\n"
        "        for fd in range(3): os.dup2(nothing, fd)\n"
        "        open('daemon-1', 'w').close()\n"
        "        while not os.path.exists('go'): time.sleep(0.01)\n"
        "        open('daemon-2', 'w').close()\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "while not os.path.exists('daemon-1'): time.sleep(0.01)\n"
    )
    assert complete(run) == "partial"
    (sentence,) = seal_of(run).sensor.not_seen
    assert sentence.startswith("1 process was left running when the command ended (python")
    assert "daemon-1" in outputs(workshop, run)
    (workshop.root / "go").touch()
    wait_for(workshop.root / "daemon-2")  # the watchdog answers for it


# Supervisors


@needs_kernel_sensor
def test_a_run_whose_thence_is_killed_goes_on_and_is_recovered(workshop: Workshop) -> None:
    workshop.write("early", "early")
    workshop.write(
        "slow.py",
        "import os, time\n"
        "open('early').read()\n"
        "open('begun', 'w').close()\n"
        "while not os.path.exists('go'): time.sleep(0.02)\n"
        "open('end', 'w').close()\n",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "thence", "run", sys.executable, "slow.py"],
        cwd=workshop.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(workshop.root / "begun")
    process.kill()
    assert process.wait() == -signal.SIGKILL
    (workshop.root / "go").touch()
    wait_for(workshop.root / "end")
    done = workshop.thence("runs", "recover")
    assert done.returncode == 0, done.stderr
    (found,) = workshop.project.runs()
    run = workshop.project.find_run(f"run:{found.run}")
    assert run.sealed is not None
    assert run.sealed.status is not RunStatus.FINISHED
    assert "early" in inputs(workshop, run)


@needs_kernel_sensor
def test_a_run_inside_of_a_run(workshop: Workshop) -> None:
    workshop.write("in", "data")
    inner = [sys.executable, "-m", "thence", "run", "--name", "inner", "sh", "-c", "cat in > out"]
    run = workshop.script(f"import subprocess\nsubprocess.run({inner!r}, check=True)\n")
    (found,) = [one for one in workshop.project.runs() if one.name == "inner"]
    other = workshop.project.find_run(f"run:{found.run}")
    for one in (run, other):
        assert {"in"} <= inputs(workshop, one)
        assert {"out"} <= outputs(workshop, one)
        assert complete(one) == "kernel-complete"
    assert seal_of(run).sensor.inner_runs == (other.run,)
    assert seal_of(other).sensor.inner_runs == ()


# Where the kernel does not let us


@pytest.mark.parametrize("has_strace", [True, False], ids=["strace", "no strace"])
def test_a_run_without_seccomp(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, *, has_strace: bool
) -> None:
    from thence.execution import strace

    monkeypatch.setattr(supervisor, "probe", lambda: "The kernel has none.")
    if not has_strace:
        monkeypatch.setattr(strace, "probe", lambda: "strace is not installed.")
    elif (reason := strace.probe()) is not None:
        pytest.skip(reason)
    workshop.write("in", "data")
    run = workshop.script(
        "import subprocess\n"
        "open('out', 'w').write(open('in').read())\n"
        "subprocess.run(['sh', '-c', 'sleep 0.2; cat out > copy'], check=True)\n"
    )
    sensor = seal_of(run).sensor
    assert "in" in inputs(workshop, run)
    assert "out" in outputs(workshop, run)
    assert "The kernel has none." in sensor.not_seen[0]
    if has_strace:
        assert (sensor.name, sensor.completeness) == ("strace", "trace-complete")
        assert "copy" in outputs(workshop, run)
    else:
        assert (sensor.name, sensor.completeness) == ("audit-hook", "partial")
        assert any("sh" in sentence for sentence in sensor.not_seen)


# Users, namespaces, rights


class Stranger:
    """Runs commands as a user without rights, in a project that this user owns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, command: Sequence[str], sensor: str = "auto") -> dict[str, Any]:
        """What the record says, and what the command printed."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(read)
                found = self._child(command, sensor)
                os.write(write, json.dumps(found).encode())
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(write)
        with os.fdopen(read, "rb") as file:
            data = file.read()
        assert os.waitpid(pid, 0)[1] == 0
        return dict(json.loads(data))

    def _child(self, command: Sequence[str], sensor: str) -> dict[str, Any]:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        # A process that changed its user is protected until it executes a program; undo that.
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
        os.environ.update(HOME=str(self.folder), PATH="/usr/bin:/bin:/usr/sbin", USER="nobody")
        os.chdir(self.folder)
        project = Project.init(self.folder)
        run = project.execute(command, sensor=sensor)  # type: ignore[arg-type]
        sealed: RunSealed = seal_of(run)
        names = {role: [use.path for use in project.run_files(f"run:{run.run}", role)]
                 for role in (FileRole.INPUT, FileRole.OUTPUT)}  # fmt: skip
        return {
            "sensor": sealed.sensor.name,
            "complete": sealed.sensor.completeness,
            "not_seen": list(sealed.sensor.not_seen),
            "problems": list(sealed.problems),
            "status": sealed.status.value,
            "inputs": names[FileRole.INPUT],
            "outputs": names[FileRole.OUTPUT],
        }


@pytest.fixture
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    import tempfile

    # pytest's own folder is closed to others.
    folder = Path(tempfile.mkdtemp(prefix="thence-stranger-"))
    os.chown(folder, NOBODY, NOBODY)
    yield Stranger(folder)
    shutil.rmtree(folder)


@needs_kernel_sensor
def test_an_unprivileged_user(stranger: Stranger) -> None:
    (stranger.folder / "in").write_text("data")
    found = stranger.run(["sh", "-c", "cat in > out; id -u > who"])
    assert (found["sensor"], found["complete"]) == ("seccomp", "kernel-complete")
    assert found["inputs"] == ["in"]
    assert set(found["outputs"]) == {"out", "who"}
    assert (stranger.folder / "who").read_text() == f"{NOBODY}\n"
    assert not [one for one in found["problems"] if "rights" in one]


@needs_kernel_sensor
def test_sudo_of_an_unprivileged_user_gets_no_rights_and_the_record_says_so(
    stranger: Stranger,
) -> None:
    """Any program of root's with the set-user-id bit stands for sudo."""
    sudo = stranger.folder / "sudo"
    shutil.copy(shutil.which("id") or "/usr/bin/id", sudo)
    os.chown(sudo, 0, 0)
    sudo.chmod(0o4755)
    found = stranger.run(["sh", "-c", "./sudo -u > who"])
    assert (stranger.folder / "who").read_text() == f"{NOBODY}\n"
    assert (found["status"], found["complete"]) == ("finished", "kernel-complete")
    (problem,) = (one for one in found["problems"] if "rights" in one)
    assert problem.startswith("sudo did not get the rights of its owner")
    assert "--sensor audit-hook" in problem


def test_sudo_works_under_the_audit_hook(stranger: Stranger) -> None:
    sudo = stranger.folder / "sudo"
    shutil.copy(shutil.which("id") or "/usr/bin/id", sudo)
    os.chown(sudo, 0, 0)
    sudo.chmod(0o4755)
    found = stranger.run(["sh", "-c", "./sudo -u > who"], sensor="audit-hook")
    if (stranger.folder / "who").read_text() != "0\n":
        pytest.skip("set-user-id programs have no effect here")
    assert (found["sensor"], found["complete"]) == ("audit-hook", "partial")


@needs_kernel_sensor
def test_root_changes_the_user_and_all_is_seen(workshop: Workshop) -> None:
    setpriv = shutil.which("setpriv")
    if os.getuid() != 0 or setpriv is None:
        pytest.skip("needs root and setpriv")
    words = [setpriv, f"--reuid={NOBODY}", "--clear-groups", "cat", "/etc/hostname"]
    workshop.write("in", "x")
    run = workshop.run("sh", "-c", f"cat in; {' '.join(words)}")
    assert complete(run) == "kernel-complete"
    assert "in" in inputs(workshop, run)
    assert "/etc/hostname" in inputs(workshop, run) or seal_of(run).problems == ()


@needs_kernel_sensor
def test_a_command_in_namespaces_of_its_own(workshop: Workshop) -> None:
    words = ["unshare", "--user", "--mount", "--map-root-user"]
    allowed = contextlib.suppress(FileNotFoundError)
    done = None
    with allowed:
        done = subprocess.run([*words, "true"], check=False, capture_output=True)
    if done is None or done.returncode:
        pytest.skip("the system does not permit namespaces")
    workshop.write("in", "data")
    run = workshop.run(*words, "sh", "-c", "cat in > out; id -u > who")
    assert complete(run) == "kernel-complete"
    assert "in" in inputs(workshop, run)
    assert {"out", "who"} <= outputs(workshop, run)
    assert (workshop.root / "who").read_text() == "0\n"


@needs_kernel_sensor
def test_thence_in_namespaces_of_its_own(workshop: Workshop) -> None:
    words = ["unshare", "--user", "--mount", "--map-root-user"]
    workshop.write("in", "data")
    command = [sys.executable, "-m", "thence", "run", "sh", "-c", "cat in > out"]
    done = subprocess.run(
        [*words, *command], cwd=workshop.root, capture_output=True, text=True, check=False
    )
    if "unshare" in done.stderr:
        pytest.skip("the system does not permit namespaces")
    assert done.returncode == 0, done.stderr
    (found,) = workshop.project.runs()
    run = workshop.project.find_run(f"run:{found.run}")
    assert complete(run) == "kernel-complete"
    assert "in" in inputs(workshop, run)


# Namespaces

can_unshare = pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode != 0,
    reason="no namespaces can be made here",
)


@needs_kernel_sensor
@can_unshare
@pytest.mark.parametrize("sensor", ["seccomp", "strace"])
def test_mounts_of_its_own(workshop: Workshop, sensor: str) -> None:
    if sensor == "strace" and (reason := strace.probe()):
        pytest.skip(reason)
    workshop.write("data/a.txt", b"recorded")
    workshop.write("other/a.txt", b"read")
    command = "mount --bind other data && cat data/a.txt > out"
    run = workshop.run("unshare", "-rm", "sh", "-c", command, sensor=sensor)
    assert (workshop.root / "out").read_bytes() == b"read"
    assert complete(run) == "partial"
    assert "mounts of its own" in " ".join(seal_of(run).sensor.not_seen)


@needs_kernel_sensor
@can_unshare
def test_a_namespace_without_mounts_of_its_own(workshop: Workshop) -> None:
    workshop.write("a.txt", b"read")
    run = workshop.run("unshare", "-rm", "sh", "-c", "cat a.txt > out")
    assert inputs(workshop, run) == {"a.txt"}
    assert complete(run) == "kernel-complete"


@needs_kernel_sensor
@can_unshare
def test_the_processes_of_another_namespace_are_not_believed(workshop: Workshop) -> None:
    code = (
        "from thence.execution import strace, supervisor\n"
        "print(supervisor.probe())\nprint(strace.probe())\n"
    )
    said = {
        option: subprocess.run(
            ["unshare", "-r", "--pid", "--fork", *option, sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()
        for option in [(), ("--mount-proc",)]
    }
    foreign = "/proc shows another namespace of processes; unshare has --mount-proc."
    assert said[()] == [foreign, foreign if shutil.which("strace") else "strace is not installed."]
    assert said["--mount-proc",][0] == "None"
