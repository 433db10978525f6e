"""What the processes of a run take of the machine."""

import os
import resource
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from patience import until
from thence.execution.capture.accelerators import Accelerators, Load
from thence.execution.capture.resources import LIMIT, Sampler, read_resources, sampling
from thence.model.observed import Sample
from thence.model.records import encode_lines

BUSY = """
import os, sys, time
data = bytearray(80_000_000)
end = time.process_time() + float(sys.argv[1])
while time.process_time() < end:
    pass
while not os.path.exists("go"):
    time.sleep(0.01)
open(sys.argv[2], "wb").write(bytes(1_000_000))
"""
PARENT = """
import subprocess, sys
children = [subprocess.Popen([sys.executable, "-c", sys.argv[1], "0.3", name]) for name in "ab"]
for child in children:
    child.wait()
"""


def all_are_seen(folder: Path) -> bool:
    """Whether a sample has a parent and both its children, which are as large as they get."""
    usage = read_resources(folder).usage
    return usage is not None and usage.processes == 3 and usage.memory_peak_bytes >= 160_000_000


def test_time_and_memory_of_children_and_their_children(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with sampling(tmp_path):
        with subprocess.Popen([sys.executable, "-c", PARENT, BUSY], cwd=tmp_path) as parent:
            until(lambda: all_are_seen(tmp_path), "a look at all of them")
            (tmp_path / "go").touch()
        assert parent.returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = read_resources(tmp_path)
    assert found.usage is not None
    assert found.usage.cpu_s == pytest.approx(took, abs=0.002)
    assert found.usage.memory_peak_bytes >= 2 * 80_000_000
    assert found.usage.processes == 3
    assert found.samples
    times = [one.at_s for one in found.samples]
    assert times == sorted(times)
    assert [one.cpu_s for one in found.samples] == sorted(one.cpu_s for one in found.samples)
    assert found.usage.gpu_utilization is None


def test_children_of_before_do_not_count(tmp_path: Path) -> None:
    words = [sys.executable, "-c", BUSY, "60", "never"]
    with subprocess.Popen(words, cwd=tmp_path) as other:
        time.sleep(0.3)
        sampler = Sampler(tmp_path, itself=True)
        time.sleep(0.11)
        sampler.tick()
        other.kill()
    (sample,) = read_resources(tmp_path).samples
    assert sample.cpu_s < 0.3


LOOKING = """\
import sys, time
from pathlib import Path
from thence.execution.capture.resources import Sampler
sampler = Sampler(Path(sys.argv[1]), itself=True)
end = time.process_time() + 0.1
while time.process_time() < end:
    pass
sampler.finish()
"""


def test_a_process_looks_at_itself(tmp_path: Path) -> None:
    # One of its own: servers that other tests have started are children of this one.
    subprocess.run([sys.executable, "-c", LOOKING, str(tmp_path)], check=True)
    found = read_resources(tmp_path)
    assert found.usage is not None
    assert 0.1 <= found.usage.cpu_s < 5
    assert found.usage.memory_peak_bytes > 1_000_000
    assert found.usage.processes == 1


def test_a_fork_takes_no_samples(tmp_path: Path) -> None:
    sampler = Sampler(tmp_path, itself=True)
    sampler._pid = os.getpid() + 1
    sampler._next = 0
    sampler.tick()
    assert read_resources(tmp_path).samples == ()


def test_samples_are_thinned_and_become_rare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = Sampler(tmp_path, itself=True)
    clock = SimpleNamespace(now=sampler._began)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    for _ in range(3000):
        clock.now += 1
        sampler.tick()
    sampler.finish()
    samples = read_resources(tmp_path).samples
    assert LIMIT / 2 <= len(samples) <= LIMIT
    steps = {round(b.at_s - a.at_s) for a, b in pairwise(samples[:-1])}
    assert min(steps) >= 4
    assert samples[-1].at_s == pytest.approx(3000, abs=1)


def test_what_a_dead_recorder_left_is_read(tmp_path: Path) -> None:
    lines = encode_lines(
        [
            Sample(at_s=0.1, cpu_s=0.1, memory_bytes=50, processes=1, read_bytes=7),
            Sample(at_s=0.3, cpu_s=0.2, memory_bytes=40, processes=3, read_bytes=9),
        ]
    )
    (tmp_path / "samples.jsonl").write_bytes(lines + b'{"type": "sam')
    found = read_resources(tmp_path)
    assert len(found.samples) == 2
    assert found.usage is not None
    assert (found.usage.cpu_s, found.usage.memory_peak_bytes) == (0.2, 50)
    assert (found.usage.processes, found.usage.read_bytes) == (3, 9)


def test_a_spool_without_samples(tmp_path: Path) -> None:
    assert read_resources(tmp_path) == ((), None)


def test_a_library_tells_of_accelerators() -> None:
    library = SimpleNamespace(
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda index: SimpleNamespace(used=1000 + index),
        nvmlDeviceGetUtilizationRates=lambda index: SimpleNamespace(gpu=50 + 50 * index),
        nvmlShutdown=lambda: None,
    )
    accelerators = Accelerators(library=library)
    assert accelerators.look(0) == Load(2001, 0.75)
    accelerators.close()


def test_a_command_tells_of_accelerators_now_and_then(tmp_path: Path) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho x >> \"$0.asked\"\necho '100, 20'\necho '50, 40'\n")
    command.chmod(0o755)
    accelerators = Accelerators(command=str(command))
    looks = {accelerators.look(now) for now in (0.0, 1.0, 5.0, 30.0)}
    assert looks == {Load(150 << 20, 0.3)}
    assert (tmp_path / "nvidia-smi.asked").read_text() == "x\nx\n"


def test_a_command_that_fails_tells_nothing(tmp_path: Path) -> None:
    assert Accelerators(command=str(tmp_path / "absent")).look(0) is None
