"""Series of metrics in files that other libraries write.

The event files are of tensorboardX. The tables are written here by hand, in the formats that
DVCLive 3, Lightning 2 and Keras 3 document: none of them is installed for the tests.
"""

import math
import struct
from pathlib import Path

import pytest

from thence.execution.capture.series import LIMIT_BYTES, FoundSeries, SeriesFiles
from thence.formats.event_file import Damaged, Scalar, crc32c, read_scalars
from thence.model import codec
from thence.model.records import MetricPoint

WALL = 1_700_000_000.0


def read(root: Path, *, limit: int = 1_000_000, taken: tuple[str, ...] = ()) -> FoundSeries:
    files = SeriesFiles(lambda text: text.replace("hunter22", "<secret>"), limit=limit)
    for path in sorted(one for one in root.rglob("*") if one.is_file()):
        files.read(path, path.relative_to(root).as_posix())
    return files.result(taken)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def steps(found: FoundSeries, name: str) -> list[tuple[int | None, float]]:
    return [(point.step, point.value) for point in found.points if point.name == name]


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    checks = [struct.pack("<I", crc32c(part)) for part in (length, data)]
    return length + checks[0] + data + checks[1]


def message(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2, len(data)]) + data


def event(step: int, value: bytes) -> bytes:
    wall = b"\x09" + struct.pack("<d", WALL + step)
    return record(wall + bytes([0x10, step]) + message(5, message(1, message(1, b"loss") + value)))


def write_events(folder: Path, name: str = "loss", count: int = 3) -> Path:
    tensorboardx = pytest.importorskip("tensorboardX")
    with tensorboardx.SummaryWriter(str(folder)) as writer:
        for step in range(count):
            writer.add_scalar(name, 1 / (step + 1), step, walltime=WALL + step)
        writer.add_text("note", "some words", 0)
        writer.add_histogram("weights", list(range(5000)), 0)
    (path,) = folder.glob("*tfevents*")
    return path


def test_event_files(tmp_path: Path) -> None:
    write_events(tmp_path / "logs")
    found = read(tmp_path)
    assert [point.name for point in found.points] == ["loss"] * 3
    assert [point.step for point in found.points] == [0, 1, 2]
    assert [point.value for point in found.points] == pytest.approx([1, 1 / 2, 1 / 3])
    moments = [point.at.timestamp() for point in found.points if point.at]
    assert moments == [WALL, WALL + 1, WALL + 2]
    assert found.last == {"loss": pytest.approx(1 / 3)}
    assert found.problems == []


def test_tensors_as_tensorflow_2_writes_scalars() -> None:
    kind = b"\x08\x01"  # float
    empty = message(2, b"")
    values = [
        message(8, kind + empty + message(4, struct.pack("<f", 0.5))),
        message(8, kind + message(5, struct.pack("<f", 0.25))),
        message(8, b"\x08\x02" + message(4, struct.pack("<d", 0.125))),
        message(
            8, kind + message(2, message(2, b"\x08\x03")) + message(4, bytes(4))
        ),  # has a shape
        message(8, b"\x08\x07" + message(8, b"text")),
    ]
    data = b"".join(event(step, value) for step, value in enumerate(values))
    assert list(read_scalars(data)) == [
        Scalar("loss", 0, WALL, 0.5),
        Scalar("loss", 1, WALL + 1, 0.25),
        Scalar("loss", 2, WALL + 2, 0.125),
    ]


def test_a_last_record_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    data = b"".join(event(step, b"\x15" + struct.pack("<f", 1.0)) for step in range(3))
    for cut in range(1, len(data) // 3):
        assert len(list(read_scalars(data[:-cut]))) == 2
    assert list(read_scalars(b"")) == []


def test_damage_is_noticed_and_what_was_read_before_counts(tmp_path: Path) -> None:
    parts = [event(step, b"\x15" + struct.pack("<f", 1.0)) for step in range(3)]
    for place in range(len(parts[1])):
        damaged = bytearray(parts[1])
        damaged[place] ^= 0x10
        found: list[Scalar] = []
        with pytest.raises(Damaged):
            found += read_scalars(parts[0] + damaged + parts[2])
    path = tmp_path / "events.out.tfevents.1.host"
    path.write_bytes(parts[0] + bytes(damaged) + parts[2])
    whole = read(tmp_path)
    assert steps(whole, "loss") == [(0, 1.0)]
    assert whole.problems == [
        "the metrics in events.out.tfevents.1.host were not all read: "
        f"the record at byte {len(parts[0])} is damaged"
    ]


def test_the_checksum_is_the_one_of_tfrecord() -> None:
    # RFC 3720, B.4: 32 bytes of zeros have the CRC-32C 0x8a9136aa.
    crc = (crc32c(bytes(32)) - 0xA282EAD8) & 0xFFFFFFFF
    assert (crc >> 17 | crc << 15) & 0xFFFFFFFF == 0x8A9136AA


def test_one_name_in_several_folders(tmp_path: Path) -> None:
    write_events(tmp_path / "logs/train", "epoch_loss")
    write_events(tmp_path / "logs/validation", "epoch_loss")
    write_events(tmp_path / "logs/train2", "only")
    assert set(read(tmp_path).last) == {"train/epoch_loss", "validation/epoch_loss", "only"}


def test_folders_of_one_name(tmp_path: Path) -> None:
    for fold in "ab":
        write(tmp_path / fold / "version_0/metrics.csv", "epoch,step,loss\n0,1,0.5\n")
    assert set(read(tmp_path).last) == {"a/version_0/loss", "b/version_0/loss"}


def test_a_folder_that_was_written_to_twice_is_one_series(tmp_path: Path) -> None:
    for number in (1, 2):
        path = tmp_path / f"events.out.tfevents.{number}.host"
        path.write_bytes(event(number, b"\x15" + struct.pack("<f", number)))
    assert steps(read(tmp_path), "loss") == [(1, 1.0), (2, 2.0)]


def test_dvclive(tmp_path: Path) -> None:
    write(tmp_path / "dvclive/plots/metrics/train/acc.tsv", "step\tacc\n0\t0.5\n1\t0.75\n")
    write(
        tmp_path / "dvclive/plots/metrics/loss.tsv",
        "timestamp\tstep\tloss\n1700000000000\t0\t2.0\n1700000001000\t1\tnan\n",
    )
    found = read(tmp_path)
    assert steps(found, "train.acc") == [(0, 0.5), (1, 0.75)]
    (first, second) = (point for point in found.points if point.name == "loss")
    assert first.at is not None
    assert first.at.timestamp() == WALL
    assert math.isnan(second.value)


@pytest.mark.parametrize("text", ["", "\n", "step\tloss", "step\tloss\n", "\ufeff", "\t\n\t\n"])
def test_a_table_without_rows_has_no_series(tmp_path: Path, text: str) -> None:
    write(tmp_path / "plots/metrics/loss.tsv", text)
    assert read(tmp_path) == ([], {}, [])


def test_steps_that_are_none_are_left_out_and_told(tmp_path: Path) -> None:
    text = "step\tloss\n1e30\t1\n-1e30\t2\nnan\t3\ninf\t4\nlast\t5\n\t6\n2.0\tnan\n"
    write(tmp_path / "plots/metrics/loss.tsv", text)
    write(tmp_path / "training.log", f"epoch,loss\n{2**63 - 1},1\n{2**63},1\n3,NaN\n")
    found = read(tmp_path)
    assert [step for step, _ in steps(found, "loss")] == [None] * 6 + [2]
    assert [step for step, _ in steps(found, "training/loss")] == [None, None, 3]
    assert found.problems == [
        "5 steps in plots/metrics/loss.tsv were not understood, the first is '1e30'",
        f"2 steps in training.log were not understood, the first is '{2**63 - 1}'",
    ]
    lines = [codec.encode(point) for point in found.points]
    assert len([codec.decode(line, MetricPoint) for line in lines]) == 10


def test_lightning(tmp_path: Path) -> None:
    write(
        tmp_path / "lightning_logs/version_0/metrics.csv",
        "epoch,step,train_loss,val_loss\n0,49,0.9,\n0,49,,0.8\n1,99,0.7,\n1,99,,0.6\n",
    )
    found = read(tmp_path)
    assert steps(found, "train_loss") == [(49, 0.9), (99, 0.7)]
    assert steps(found, "val_loss") == [(49, 0.8), (99, 0.6)]
    assert found.last == {"train_loss": 0.7, "val_loss": 0.6}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_keras(tmp_path: Path, separator: str) -> None:
    text = "epoch,accuracy,loss,val_loss\n0,0.5,1.5,NA\n1,0.6,1.25,1.75\n"
    write(tmp_path / "training.log", text.replace(",", separator))
    found = read(tmp_path)
    assert steps(found, "accuracy") == [(0, 0.5), (1, 0.6)]
    assert steps(found, "val_loss") == [(1, 1.75)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("table.csv", "id,epoch,loss\n1,2,3\n"),
        ("eras.csv", "epoch,name\nIron Age,3\n"),
        ("metrics.csv", "a,b\n1,2\n"),
        ("empty.csv", ""),
        ("loss.tsv", "step\tloss\n1\t2\n"),
        ("binary.log", "\0\1\2"),
        ("epoch.md", "epoch,loss\n1,2\n"),
    ],
)
def test_other_tables_are_data(tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path / name, text)
    assert read(tmp_path) == ([], {}, [])


def test_what_the_program_logged_itself_is_not_doubled(tmp_path: Path) -> None:
    write(tmp_path / "training.log", "epoch,accuracy,loss\n0,0.5,1.5\n")
    assert set(read(tmp_path, taken=("loss",)).last) == {"accuracy"}


def test_names_hold_no_secrets(tmp_path: Path) -> None:
    write(tmp_path / "training.log", "epoch,loss,hunter22\n0,0.5,1.5\n")
    assert set(read(tmp_path).last) == {"loss", "<secret>"}


def test_many_points_are_thinned_but_the_last_stays(tmp_path: Path) -> None:
    rows = "".join(f"{step},{step / 2},{step}\n" for step in range(1000))
    write(tmp_path / "training.log", f"epoch,loss,acc\n{rows}")
    found = read(tmp_path, limit=300)
    assert len(found.points) <= 302
    assert steps(found, "acc")[:2] == [(0, 0.0), (8, 8.0)]
    assert steps(found, "acc")[-1] == (999, 999.0)
    assert found.last == {"loss": 499.5, "acc": 999.0}
    assert found.problems == [
        "the files of the run have over 300 points of metrics: each 8th one is kept"
    ]


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "events.out.tfevents.1").open("wb") as file:
        file.truncate(LIMIT_BYTES + 1)
    assert read(tmp_path).problems == [
        "no metrics were read from events.out.tfevents.1: it is over 100 MiB"
    ]


def test_points_are_those_of_the_series_of_a_run(tmp_path: Path) -> None:
    write(tmp_path / "training.log", "epoch,loss\n3,0.5\n")
    assert read(tmp_path).points == [MetricPoint(name="loss", value=0.5, step=3)]
