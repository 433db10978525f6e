"""Writes the golden project: `python tests/golden/write_project.py FOLDER`.

With a fixed clock and fixed entropy, so that the same code writes the same bytes. Run once per
format; what it wrote for 1-draft is in tests/golden/project-1-draft, and the digests of all its
contents and records are in project-1-draft.json.
"""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import zstandard

from thence.model import codec
from thence.model.ids import Digest, RunId
from thence.model.names import Alias, ArtifactName
from thence.model.records import (
    AliasMove,
    ArtifactEdit,
    FileRole,
    FileUse,
    Host,
    Kind,
    Param,
    Record,
    RunEdit,
    RunOpened,
    RunSealed,
    RunStatus,
    SensorReport,
    Tombstone,
    Version,
    VersionEdit,
    encode_lines,
    seal,
)
from thence.store.base import Store
from thence.store.local import LocalStore
from thence.vault import tree
from thence.vault.hints import write_hint
from thence.vault.layout import make_project
from thence.vault.live_segments import Piece, Pulse, Segments
from thence.vault.logs import alias_log, edits_log, entry_key, run_log, versions_log
from thence.vault.pack import parse_pack_key, read_directory
from thence.vault.segment import Segment, combine, of_packs
from thence.vault.tree import TreeEntry
from thence.vault.vault import Vault

BEGIN = datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC)
RUN = RunId("0123456789abcdef0123")
GOING_ON = RunId("fedcba9876543210fedc")
AUTHOR = "Ada Lovelace <ada@example.org>"
HOST = Host(name="engine", system="Linux", release="6.12", machine="x86_64", cpus=2)
SCRIPT = b"#!/bin/sh\nexec python train.py\n"


def counted(seed: str) -> Callable[[int], bytes]:
    """Bytes that look random: SHA-256 of the seed and a counter."""
    count = 0

    def entropy(size: int) -> bytes:
        nonlocal count
        out = b""
        while len(out) < size:
            out += hashlib.sha256(f"{seed} {count}".encode()).digest()
            count += 1
        return out[:size]

    return entropy


class Steps:
    """A clock and entropy that depend on nothing but the step that is being written.

    Not on how often anybody looks at the clock: that would be another project after each change of
    the code that writes it.
    """

    def __init__(self) -> None:
        self._step = 0
        self._entropy = counted("step 0")

    def next(self) -> datetime:
        self._step += 1
        self._entropy = counted(f"step {self._step}")
        return self.clock()

    def clock(self) -> datetime:
        return BEGIN + timedelta(seconds=self._step)

    def entropy(self, size: int) -> bytes:
        return self._entropy(size)


def table(rows: int) -> list[str]:
    """Rows of a CSV file that compresses somewhat, as data does."""
    random = counted("table")
    return [
        f"{n},{int.from_bytes(random(3))},{['red', 'green', 'blue'][n % 3]}\n" for n in range(rows)
    ]


def files(edition: int) -> list[tuple[TreeEntry, bytes]]:
    """The files of a version of `Data`."""
    rows = table(9000)
    if edition > 1:
        rows.insert(4500, "inserted,0,black\n")
    contents: list[tuple[str, bytes, dict[str, bool]]] = [
        ("empty", b"", {}),
        ("notes/größe.txt", "naïve café\n".encode(), {}),
        ("notes/random.bin", counted("random")(5000), {}),
        ("table.csv", "".join(rows).encode(), {}),
        ("link", b"table.csv", {"link": True}),
        ("run.sh", SCRIPT, {"executable": True}),
        (os.fsdecode(b"100%/caf\xe9.txt"), b"latin\n", {}),
    ]
    if edition == 1:
        # 257 chunks, all but one alike: a recipe with lists that takes no space.
        contents.append(("zeros.bin", bytes((64 << 20) + 1), {}))
    return [
        (TreeEntry(path, len(data), Digest.of(data), **flags), data)
        for path, data, flags in contents
    ]


class _Writing:
    """The golden project, while it is written."""

    def __init__(self, store: Store, cache: Path) -> None:
        self.steps = Steps()
        self.store = store
        self.vault = Vault(store, cache, clock=self.steps.clock, entropy=self.steps.entropy)
        make_project(store, project_id=self.vault.new_id(), now=self.steps.clock())

    def put(self, *contents: bytes) -> Digest:
        """Put contents in one session; the digest of the last."""
        self.steps.next()
        with self.vault.writer(lanes=1) as writer:
            return [writer.put_bytes(data).digest for data in contents][-1]

    def version(
        self, name: str, kind: Kind, held: list[tuple[TreeEntry, bytes]], **more: Any
    ) -> Digest:
        entries = [entry for entry, _ in held]
        record = Version(
            artifact=ArtifactName(name),
            kind=kind,
            tree=self.put(*[data for _, data in held], tree.encode(entries)),
            size=sum(entry.size for entry in entries),
            files=len(entries),
            created=self.steps.clock(),
            author=AUTHOR,
            **more,
        )
        return self.append(versions_log(record.artifact), record)

    def append(self, log: str, record: Record) -> Digest:
        self.steps.next()
        return self.vault.append(log, record, by=AUTHOR).entry.digest


def write(store: Store, cache: Path) -> None:
    """Write the golden project into an empty store."""
    to = _Writing(store, cache)
    data, model = ArtifactName("Data"), ArtifactName("models/Größe")
    first = to.version("Data", Kind.DATASET, files(1), note="as it came", tags={"owner": "ada"})
    second = to.version(
        "Data", Kind.DATASET, files(2), sources=(first,), metadata={"rows": 9001, "$odd": [1.5]}
    )
    to.append(
        edits_log(data),
        VersionEdit(
            version=second, tags={"pii": "none", "owner": None}, metrics={"nan": float("nan")}
        ),
    )
    to.append(edits_log(data), ArtifactEdit(artifact=data, description="Für alle."))
    # As a newer thence may write it: a record of a type that this one does not know.
    newer = {
        "at": to.steps.next(),
        "by": AUTHOR,
        "entry": to.vault.new_id(),
        "later": {"x": 1e16},
        "record": {"type": "vote", "for": str(first), "weight": -0.0},
    }
    fields = {key: codec.encode(value, depth=1) for key, value in newer.items()}
    store.create(entry_key(edits_log(data), 3), [seal(fields)])
    to.append(edits_log(data), Tombstone(version=first, reason="holds a person's name"))

    to.append(
        run_log(RUN),
        RunOpened(
            run=RUN,
            command=("sh", "run.sh"),
            root="/home/ada/engine",
            cwd=".",
            started=to.steps.next(),
            author=AUTHOR,
            host=HOST,
        ),
    )
    made = b"weights " * 100
    weights = to.version(
        "models/Größe",
        Kind.MODEL,
        [(TreeEntry("weights.bin", len(made), Digest.of(made)), made)],
        run=RUN,
        sources=(second,),
        metrics={"auc": 0.9125, "loss": 5e-324},
    )
    uses = [
        FileUse(
            path="run.sh",
            role=FileRole.CODE,
            size=len(SCRIPT),
            digest=Digest.of(SCRIPT),
            executable=True,
        ),
        FileUse(path="data/table.csv", role=FileRole.INPUT, version=second),
    ]
    to.append(
        run_log(RUN),
        RunSealed(
            run=RUN,
            command=("sh", "run.sh"),
            root="/home/ada/engine",
            cwd=".",
            started=BEGIN,
            ended=to.steps.next(),
            status=RunStatus.FINISHED,
            author=AUTHOR,
            host=HOST,
            sensor=SensorReport(name="seccomp", completeness="kernel-complete", events=12),
            exit_code=0,
            params={
                "lr": Param(value=0.0003, origin="argv"),
                "seed": Param(value=2**60, origin="log"),
            },
            files=to.put(encode_lines(uses)),
            uses=(second,),
            makes=(weights,),
            inputs_count=1,
            outputs_count=1,
        ),
    )
    to.append(run_log(RUN), RunEdit(run=RUN, tags={"paper": "table 2"}))
    champion = Alias("Champion")
    previous: Digest | None = None
    for moved in (weights, None, weights):
        to.append(
            alias_log(model, champion),
            AliasMove(artifact=model, alias=champion, version=moved, previous=previous),
        )
        previous = moved
    locate(to)
    going_on(to)


def locate(to: _Writing) -> None:
    """What only buckets have: a hint, and a merged directory of all packs."""
    packs = [pack for info in to.store.list("packs/") if (pack := parse_pack_key(info.key))]
    trees = {
        entry.record.tree
        for entry in to.vault.logs.records(versions_log(ArtifactName("Data")))
        if isinstance(entry.record, Version)
    }
    for digest in sorted(trees):
        write_hint(to.store, digest, packs)
    directories = [(pack, read_directory(to.store, pack)) for pack in packs]
    parts = combine([Segment(b"".join(of_packs(directories)))])
    seal_of_it = Segment(b"".join(parts)).seal.hex()
    to.store.create(f"directories/1/{seal_of_it}", parts)


def going_on(to: _Writing) -> None:
    """A run that has not ended: two pieces of what it said, and its pulse."""
    segments = Segments(to.store)
    lines = [
        {"type": "param", "name": "lr", "value": 0.1},
        {"type": "metric", "name": "loss", "value": float("nan"), "step": 1},
    ]
    for number, line in enumerate(lines, 1):
        segments.publish(GOING_ON, Piece("1", number, codec.encode(line) + b"\n"))
    segments.beat(GOING_ON, Pulse(at=to.steps.next(), points=1, params={"lr": 0.1}))


def describe(store: Store) -> dict[str, Any]:
    """Size and SHA-256 of every object."""
    return {
        "zstd": ".".join(map(str, zstandard.ZSTD_VERSION)),
        "objects": {
            info.key: [info.size_bytes, Digest.of(store.get(info.key)).hex] for info in store.list()
        },
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as caches:
        golden = LocalStore(folder, create=True)
        write(golden, Path(caches))
    text = json.dumps(describe(golden), indent=1, ensure_ascii=False)
    folder.with_name(f"{folder.name}.json").write_text(f"{text}\n", encoding="utf-8")
