"""The native calls that a step cannot do without, and nothing else: the least it can cost.

`python -m bench floor [--rounds 3] [--scale 1] [--folder DIR]`, on the workloads of `storage`. Each
is one thread, straight from files that are in the page cache, without names, logs or locks.
"""

import argparse
import hashlib
import os
import resource
import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.report import FOLDER, Report, circumstances
from bench.workloads import WORKLOADS, made

_PIECE = 4 << 20
_SOLID = 256 << 10
_DROP = 32 << 20


def run(arguments: Sequence[str] = ()) -> Report:
    """CPU seconds of each, the median of some rounds."""
    parser = argparse.ArgumentParser(prog="python -m bench floor", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args(arguments)
    work: Path = given.folder.resolve() / "floor"
    entries = {
        name: made(given.folder.resolve() / "workloads", name, given.scale) / "1"
        / WORKLOADS[name].entry
        for name in ("big", "csv", "files")
    }  # fmt: skip
    found: dict[str, list[float]] = {}
    for _ in range(given.rounds):
        for what, seconds in _round(entries, work):
            found.setdefault(what, []).append(round(seconds, 3))
            print(f"  {what}: {seconds:.2f} s CPU", flush=True)
    rows = [
        {"what": what, "measured": statistics.median(each), "unit": "s", "goal": None}
        for what, each in found.items()
    ]
    return Report(rows, {**circumstances(), "scale": given.scale, "cpu_s": found})


def _round(entries: dict[str, Path], work: Path) -> Iterator[tuple[str, float]]:
    for name, what in (("big", "save the incompressible file"), ("csv", "save the CSV")):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        lengths: list[tuple[int, int]] = []
        for _ in _pieces(entries[name]):  # into the page cache
            pass
        seconds = _timed(lambda: _keep(entries[name], work / "pack", lengths))  # noqa: B023
        yield f"{what}: read, cut, two digests, compress, write", seconds
        seconds = _timed(lambda: _give_back(work / "pack", work / "out", lengths))  # noqa: B023
        yield f"{what.replace('save', 'restore')}: read, decompress, one digest, write", seconds
    shutil.rmtree(work)
    work.mkdir()
    yield "small files: list and look at each", _timed(lambda: _look(entries["files"]))
    contents: dict[str, bytes] = {}
    yield (
        "small files: read and two digests of each",
        _timed(lambda: _read(entries["files"], contents)),
    )
    yield "small files: compress in blocks", _timed(lambda: _compress(contents))
    yield "small files: create and write each", _timed(lambda: _create(work / "out", contents))
    shutil.rmtree(work)


def _timed(action: Callable[[], Any]) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF)
    action()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _pieces(path: Path) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_PIECE))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            yield buffer[:count]


def _keep(source: Path, target: Path, lengths: list[tuple[int, int]]) -> None:
    """A file into one pack; pieces are cut on their own, which costs the same."""
    import zstandard
    from blake3 import blake3
    from pyfastcdc import FastCDC

    cutter = FastCDC(64 << 10, min_size=16 << 10, max_size=256 << 10)
    compressor = zstandard.ZstdCompressor(level=1)
    whole = hashlib.sha256()
    written = dropped = 0
    with target.open("wb", buffering=0) as out:
        for piece in _pieces(source):
            whole.update(piece)
            for cut in cutter.cut_buf(piece):
                data = piece[cut.offset : cut.offset + cut.length]
                blake3(data).digest()
                middle = data[len(data) // 2 :][:4096]
                stored: Any = data
                if len(compressor.compress(middle)) < 0.94 * len(middle):
                    stored = compressor.compress(data)
                written += out.write(stored)
                lengths.append((len(stored), len(data)))
            if written - dropped >= _DROP:  # as thence does: fewer new pages
                os.fdatasync(out.fileno())
                os.posix_fadvise(out.fileno(), 0, written, os.POSIX_FADV_DONTNEED)
                dropped = written
        os.fdatasync(out.fileno())


def _give_back(pack: Path, target: Path, lengths: Sequence[tuple[int, int]]) -> None:
    import zstandard
    from blake3 import blake3

    decompressor = zstandard.ZstdDecompressor()
    with pack.open("rb", buffering=1 << 20) as source, target.open("wb", buffering=0) as out:
        for stored, length in lengths:
            data = source.read(stored)
            if stored != length:
                data = decompressor.decompress(data, max_output_size=length)
            blake3(data).digest()
            out.write(data)


def _look(folder: Path) -> None:
    for each in os.scandir(folder):
        if each.is_dir(follow_symlinks=False):
            _look(Path(each.path))
        else:
            each.stat(follow_symlinks=False)


def _read(folder: Path, contents: dict[str, bytes]) -> None:
    from blake3 import blake3

    for root, _, names in os.walk(folder):
        for name in names:
            path = f"{root}/{name}"
            opened = os.open(path, os.O_RDONLY)
            data = os.read(opened, 1 << 20)
            os.close(opened)
            hashlib.sha256(data).digest()
            blake3(data).digest()
            contents[path] = data


def _compress(contents: dict[str, bytes]) -> None:
    import zstandard

    compressor = zstandard.ZstdCompressor(level=1)
    block: list[bytes] = []
    size = 0
    for data in contents.values():
        block.append(data)
        size += len(data)
        if size >= _SOLID:
            compressor.compress(b"".join(block))
            block, size = [], 0
    compressor.compress(b"".join(block))


def _create(folder: Path, contents: dict[str, bytes]) -> None:
    made_folders = set()
    for number, (path, data) in enumerate(contents.items()):
        parent = folder / Path(path).parent.name
        if parent not in made_folders:
            parent.mkdir(parents=True)
            made_folders.add(parent)
        opened = os.open(f"{parent}/{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(opened, data)
        os.close(opened)
