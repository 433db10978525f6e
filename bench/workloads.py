"""What the benchmark of storage keeps: the same bytes each time, made from fixed seeds.

A workload is a file or a folder in several states, one folder for each: `big/1/big.bin` is the
first state of `big`, `big/2/big.bin` the second. `scale` makes all of them smaller.
"""

import json
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

MIB = 1 << 20
VERSION = 1  # goes into the name of the folder: raise it when the bytes become others


class Workload(NamedTuple):
    """What is kept: its name in each state, and how many bytes of the next state are new."""

    entry: str
    what: str
    states: tuple[str, ...]
    make: Callable[[Path, float], None]


def made(cache: Path, name: str, scale: float) -> Path:
    """The folder of a workload, made the first time: `1/`, `2/` … with the entry in each."""
    folder = cache / f"{name}-{scale:g}-v{VERSION}"
    if not folder.exists():
        making = cache / "making"
        shutil.rmtree(making, ignore_errors=True)
        for number in range(len(WORKLOADS[name].states)):
            (making / str(number + 1)).mkdir(parents=True)
        WORKLOADS[name].make(making, scale)
        making.rename(folder)
    return folder


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def make_big(folder: Path, scale: float) -> None:
    """1 GiB of noise; then 1 % of it other noise, overwritten or inserted in 20 places."""
    size = max(MIB, int(1024 * scale) * MIB)
    first = folder / "1" / "big.bin"
    with first.open("wb") as file:
        for number, begin in enumerate(range(0, size, 16 * MIB)):
            file.write(np.random.default_rng(1000 + number).bytes(min(16 * MIB, size - begin)))
    edit = size // 100 // 20
    places = sorted(np.random.default_rng(5).integers(0, size - edit, 20).tolist())
    with first.open("rb") as source, (folder / "2" / "big.bin").open("wb") as out:
        position = 0
        for number, place in enumerate(places):
            while position < place:
                part = source.read(min(place - position, 16 * MIB))
                out.write(part)
                position += len(part)
            out.write(np.random.default_rng(9000 + number).bytes(edit))
            if number % 2:  # overwritten; the others are inserted
                position = source.seek(position + edit)
        shutil.copyfileobj(source, out, 16 * MIB)


def make_csv(folder: Path, scale: float) -> None:
    """Half a gigabyte of rows; then 5 % more."""
    size = max(MIB, int(5e8 * scale))
    written, blocks = 0, 0
    first, second = folder / "1" / "table.csv", folder / "2" / "table.csv"
    with first.open("wb") as file:
        while written < size:
            written += file.write(_rows(blocks, size - written))
            blocks += 1
    _copy(first, second)
    added = 0
    with second.open("ab") as file:
        while added < size // 20:
            added += file.write(_rows(blocks, size // 20 - added))
            blocks += 1


def _rows(block: int, at_most: int) -> bytes:
    """Up to 50,000 rows, and not many more bytes than asked for."""
    count = min(50_000, at_most // 45 + 1)
    rng = np.random.default_rng(block)
    first = block * 50_000
    noise, normal = rng.random(count) * 1000, rng.standard_normal(count)
    small, word = rng.integers(0, 100, count), rng.integers(0, 6, count)
    names = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
    return "".join(
        f"{first + i},{1_700_000_000 + (first + i) * 7},{names[word[i]]},{noise[i]:.4f},"
        f"{normal[i]:.6f},{small[i]},{'Y' if small[i] % 3 else 'N'}\n"
        for i in range(count)
    ).encode()


def make_files(folder: Path, scale: float) -> None:
    """100,000 files of 1 to 8 KiB in 100 folders: records of text, half of it hard to compress."""
    chance = random.Random(3)
    root = folder / "1" / "files"
    for number in range(100):
        (root / f"{number:02d}").mkdir(parents=True)
    for number in range(max(100, int(100_000 * scale))):
        size = chance.randrange(1024, 8192)
        box = ", ".join(f"{chance.random():.3f}" for _ in range(8))
        label = chance.choice(("cat", "dog", "car"))
        head = f'{{"id": {number}, "label": "{label}", "box": [{box}], "data": "'.encode()
        data = chance.randbytes(size // 2 + 1).hex().encode()[: size - len(head) - 3]
        (root / f"{number % 100:02d}" / f"{number:06d}.json").write_bytes(head + data + b'"}\n')


def make_model(folder: Path, scale: float) -> None:
    """A checkpoint of ten tensors of 16 MiB, float32; then one of them trained further."""
    count = max(1024, int(4 * MIB * scale))
    for state in (1, 2):
        header, begin = {}, 0
        for number in range(10):
            offsets = [begin, begin + 4 * count]
            header[f"layer.{number}.weight"] = {
                "dtype": "F32", "shape": [count], "data_offsets": offsets,
            }  # fmt: skip
            begin += 4 * count
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with (folder / str(state) / "model.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for number in range(10):
                weights = np.random.default_rng(70 + number).standard_normal(count, np.float32)
                if state == 2 and number == 4:
                    step = np.random.default_rng(90).standard_normal(count, np.float32)
                    weights += np.float32(0.01) * step
                file.write((weights * np.float32(0.02)).astype("<f4").tobytes())


def make_parquet(folder: Path, scale: float) -> None:
    """3,000,000 rows as pyarrow writes them; then one row more at the end; then one in between."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = max(1000, int(3_000_000 * scale))
    rng = np.random.default_rng(31)
    words = np.array(["alpha", "beta", "gamma", "delta", "epsilon", "zeta"])
    table = pa.table(
        {
            "id": np.arange(count),
            "time": 1_700_000_000 + np.cumsum(rng.integers(1, 20, count)),
            "name": words[rng.integers(0, 6, count)],
            "price": np.round(rng.random(count) * 1000, 2),
            "weight": rng.standard_normal(count),
            "class": rng.integers(0, 100, count),
        }
    )
    row = table.slice(0, 1)
    place = count // 3
    between = pa.concat_tables([table.slice(0, place), row, table.slice(place)])
    for state, rows in enumerate((table, pa.concat_tables([table, row]), between), start=1):
        pq.write_table(rows.combine_chunks(), folder / str(state) / "rows.parquet")


def make_million(folder: Path, scale: float) -> None:
    """1,000,000 files of 100 to 2,000 bytes in 1,000 folders."""
    root = folder / "1" / "million"
    for name, data in million(scale):
        path = root / name
        if name.endswith("/0000.txt"):
            path.parent.mkdir(parents=True)
        path.write_bytes(data)


def million(scale: float) -> Iterator[tuple[str, bytes]]:
    """The files of the last workload, by name: `000/0000.txt` and so on."""
    chance = random.Random(17)
    per_folder = max(1, int(1000 * scale**0.5))
    for number in range(per_folder * per_folder):
        size = chance.randrange(100, 2001)
        head = f"{number} {chance.random()}\n"
        data = chance.randbytes(size // 2 + 1).hex()[: size - len(head)]
        yield f"{number // per_folder:03d}/{number % per_folder:04d}.txt", (head + data).encode()


WORKLOADS = {
    "big": Workload(
        "big.bin", "1 GiB, incompressible", ("", "1 % changed in 20 places"), make_big
    ),
    "csv": Workload("table.csv", "CSV, 0.5 GB", ("", "5 % more rows"), make_csv),
    "files": Workload("files", "100,000 files of 1 to 8 KiB", ("",), make_files),
    "model": Workload(
        "model.safetensors", "safetensors, 10 tensors of 16 MiB",
        ("", "one tensor of ten changed"), make_model,
    ),
    "parquet": Workload(
        "rows.parquet", "Parquet, 3,000,000 rows",
        ("", "written again with a row more at the end", "written again with a row in between"),
        make_parquet,
    ),
    "million": Workload("million", "1,000,000 files of 100 to 2,000 bytes", ("",), make_million),
}  # fmt: skip
