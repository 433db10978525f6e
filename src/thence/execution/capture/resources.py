"""What the processes of a run take of the machine while it goes on: processor, memory, disks.

Totals come from the kernel's accounts of children that have ended, which are exact; samples come
from `/proc`, at growing intervals.
"""

import contextlib
import os
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from thence.errors import ThenceError
from thence.execution.capture.accelerators import Accelerators
from thence.execution.capture.processes import Processes
from thence.model import codec
from thence.model.observed import Sample
from thence.model.records import Usage, encode_lines

__all__ = ["LIMIT", "Resources", "Sampler", "read_resources", "sampling"]

LIMIT = 500
"""Samples of a run: when there are as many, each second one is dropped, and half as many come."""

_FIRST_S = 0.1
_SLOWEST_GROWTH_S = 1.0
# Of one core. A look at many processes takes longer, and is taken less often.
_SHARE = 0.005
_BLOCK = 512
_SAMPLES = "samples.jsonl"
_USAGE = "usage.json"


class Resources(NamedTuple):
    """What a spool says of a run.

    Attributes:
        usage: None where nothing was measured.
    """

    samples: tuple[Sample, ...] = ()
    usage: Usage | None = None


class _Ended(NamedTuple):
    """The accounts of children that have ended and were waited for."""

    cpu_s: float
    read_bytes: int
    written_bytes: int
    memory_peak_bytes: int

    @classmethod
    def now(cls, *, itself: bool) -> "_Ended":
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = cls(
            children.ru_utime + children.ru_stime,
            children.ru_inblock * _BLOCK,
            children.ru_oublock * _BLOCK,
            children.ru_maxrss * 1024,
        )
        if not itself:
            return found
        own = resource.getrusage(resource.RUSAGE_SELF)
        return cls(
            found.cpu_s + own.ru_utime + own.ru_stime,
            found.read_bytes + own.ru_inblock * _BLOCK,
            found.written_bytes + own.ru_oublock * _BLOCK,
            max(found.memory_peak_bytes, own.ru_maxrss * 1024),
        )


class Sampler:
    """Looks at the processes that this one has started, and at itself if it is the program.

    Nothing that fails here is raised. Not for several threads at once.

    Args:
        folder: The spool of the run: samples are in there as they are taken.
        itself: Whether this process is the program: else only what it has started is.
    """

    def __init__(self, folder: Path, *, itself: bool = False) -> None:
        self._folder = folder
        self._itself = itself
        self._began = time.monotonic()
        self._before = _Ended.now(itself=itself)
        self._processes = Processes(itself=itself)
        self._accelerators = Accelerators.find()
        self._samples: list[Sample] = []
        self._interval_s = _FIRST_S
        self._next = self._began + _FIRST_S
        self._usage = Usage(cpu_s=0)
        self._gpu_time = self._gpu_work = 0.0
        self._pid = os.getpid()

    @property
    def wait_s(self) -> float:
        """How long until a sample is due."""
        return max(0.0, self._next - time.monotonic())

    @property
    def is_due(self) -> bool:
        """Whether a sample is due."""
        return time.monotonic() >= self._next

    def tick(self) -> None:
        """Take a sample if it is due; forks of the program take none."""
        if self.is_due and self._pid == os.getpid():
            with contextlib.suppress(OSError, ValueError, ThenceError):
                self._look()

    def finish(self) -> None:
        """Take the totals, and note them in the spool."""
        with contextlib.suppress(OSError, ValueError, ThenceError):
            if self._itself:
                self._look()
            ended = _Ended.now(itself=self._itself)
            peak = self._usage.memory_peak_bytes
            # The account of a child begins with our own memory, of which it was a fork.
            least = self._before if self._itself else _Ended.now(itself=True)
            if ended.memory_peak_bytes > least.memory_peak_bytes:
                peak = max(peak, ended.memory_peak_bytes)
            self._usage = msgspec.structs.replace(
                self._usage,
                cpu_s=round(max(ended.cpu_s - self._before.cpu_s, 0), 4),
                memory_peak_bytes=peak,
                read_bytes=_most(
                    self._usage.read_bytes, ended.read_bytes - self._before.read_bytes
                ),
                written_bytes=_most(
                    self._usage.written_bytes, ended.written_bytes - self._before.written_bytes
                ),
            )
            (self._folder / _USAGE).write_bytes(codec.encode(self._usage))
        self._accelerators.close()

    def _look(self) -> None:
        began, worked = time.monotonic(), time.thread_time()
        living = self._processes.look()
        gpu = self._accelerators.look(began)
        ended = _Ended.now(itself=self._itself)
        at_s = began - self._began
        before = self._samples[-1] if self._samples else None
        cpu_s = living.cpu_s + ended.cpu_s - self._before.cpu_s
        sample = Sample(
            at_s=round(at_s, 3),
            cpu_s=round(max(cpu_s, before.cpu_s if before else 0), 3),
            memory_bytes=living.memory_bytes,
            processes=living.processes,
            read_bytes=living.read_bytes + ended.read_bytes - self._before.read_bytes,
            written_bytes=living.written_bytes + ended.written_bytes - self._before.written_bytes,
            gpu_memory_bytes=gpu and gpu.memory_bytes,
            gpu_utilization=gpu and gpu.utilization,
        )
        if gpu is not None:
            passed = at_s - (before.at_s if before else 0)
            self._gpu_time += passed
            self._gpu_work += passed * gpu.utilization
        self._samples.append(sample)
        self._usage = _grown(self._usage, sample)
        if gpu is not None and self._gpu_time:
            mean = round(self._gpu_work / self._gpu_time, 4)
            self._usage = msgspec.structs.replace(self._usage, gpu_utilization=mean)
        self._write(sample)
        self._plan(began, time.thread_time() - worked)

    def _plan(self, now: float, worked_s: float) -> None:
        if len(self._samples) >= LIMIT:
            self._samples = self._samples[1::2]
            self._interval_s *= 2
            (self._folder / _SAMPLES).write_bytes(encode_lines(self._samples))
        elif self._interval_s < _SLOWEST_GROWTH_S:
            self._interval_s = min(2 * self._interval_s, _SLOWEST_GROWTH_S)
        self._next = now + max(self._interval_s, worked_s / _SHARE)

    def _write(self, sample: Sample) -> None:
        with (self._folder / _SAMPLES).open("ab", buffering=0) as file:
            file.write(encode_lines([sample]))


def _grown(usage: Usage, sample: Sample) -> Usage:
    return msgspec.structs.replace(
        usage,
        cpu_s=max(usage.cpu_s, sample.cpu_s),
        memory_peak_bytes=max(usage.memory_peak_bytes, sample.memory_bytes),
        processes=max(usage.processes, sample.processes),
        read_bytes=_most(usage.read_bytes, sample.read_bytes),
        written_bytes=_most(usage.written_bytes, sample.written_bytes),
        gpu_memory_peak_bytes=_most(usage.gpu_memory_peak_bytes, sample.gpu_memory_bytes),
    )


def _most(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)


@contextlib.contextmanager
def sampling(folder: Path) -> Iterator[None]:
    """Sample what this process starts meanwhile, in a thread.

    Args:
        folder: The spool of the run.
    """
    sampler = Sampler(folder)
    over = threading.Event()

    def sample() -> None:
        while not over.wait(sampler.wait_s):
            sampler.tick()

    thread = threading.Thread(target=sample, name="thence-samples", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        sampler.finish()


def read_resources(folder: Path) -> Resources:
    """What a spool says, also one whose recorder died."""
    try:
        lines = (folder / _SAMPLES).read_bytes().splitlines()
    except FileNotFoundError:
        lines = []
    samples = []
    for line in lines:
        with contextlib.suppress(ThenceError):  # the last one may be torn
            samples.append(codec.decode(line, Sample))
    try:
        usage = codec.decode((folder / _USAGE).read_bytes(), Usage)
    except (FileNotFoundError, ThenceError):
        if not samples:
            return Resources()
        usage = Usage(cpu_s=0)
        for sample in samples:
            usage = _grown(usage, sample)
    return Resources(tuple(samples), usage)
