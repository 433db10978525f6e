"""What a run was heard to do besides touching files: one struct for each kind of thing.

A run's list of these is content, one JSON object a line with its kind as `type`; readers pass over
kinds that they do not know.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

from thence.model import codec
from thence.model.ids import Digest

__all__ = [
    "Cell",
    "Observed",
    "PythonProcess",
    "Query",
    "Randomness",
    "RemoteRead",
    "Sample",
    "decode_observed",
]


class PythonProcess(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="python"):
    """A Python program that could be observed from inside."""

    pid: int
    python: str
    executable: str


class RemoteRead(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="remote"):
    """Something was fetched over the network.

    Attributes:
        url: Without credentials; `s3://bucket/key` where that is what was asked for.
        via: The library: `http.client`, `httpx`, `aiohttp`, `fsspec`, `pyarrow`, `polars` …
        status: Of the answer; None where it could not be seen.
        etag: Of the answer.
        version: The object's version, or when it was last modified, as the answer says.
        size: Bytes of the body.
        digest: Of the body as it was sent; None where it could not be seen, or was not read whole.
        kept: Whether the answer is kept: a body of a GET is then a file of the run in the role
            `remote`, named by its address (see `file_names`).
        count: How often the same was fetched.
        address: The address over HTTP, where `url` is that of an object in S3.
        part: Which bytes of how many, where only a part was asked for: `bytes 0-99/1000`.
        headers: Of a kept answer, those by which its body is understood.
    """

    url: str
    via: str
    method: str = "GET"
    status: int | None = None
    etag: str | None = None
    version: str | None = None
    size: int | None = None
    digest: Digest | None = None
    kept: bool = False
    count: int = 1
    address: str | None = None
    part: str | None = None
    headers: Mapping[str, str] = {}


class Query(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="query"):
    """A database was asked.

    Attributes:
        database: Its address without credentials, or the path of its file.
        via: The library: `sqlite3`, `duckdb`, `sqlalchemy`, `psycopg`, `adbc` …
        statement: As it was sent.
        parameters: As text; secrets replaced.
        rows: Of the result, as far as they were fetched; or that it changed.
        digest: Of the rows that were fetched (see the explanation of capture); None where they
            were not seen, or hold objects of the program's own.
        digest_rows: How many rows, from the first, the digest is of, where it is not of all.
        count: How often the same was asked with the same result.
    """

    database: str
    via: str
    statement: str
    parameters: str | None = None
    rows: int | None = None
    digest: Digest | None = None
    digest_rows: int | None = None
    count: int = 1


class Randomness(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="randomness"):
    """A random number generator of a process.

    Attributes:
        library: `random`, `numpy`, `torch`, `torch.cuda` for the ones that the functions of a
            library draw from; `random.Random`, `numpy.Generator`, `numpy.RandomState` … for one
            that the program made.
        seeded: Whether the program gave it a seed; None where that could not be seen.
        seed: The seed, where it is a number or short text.
        start: Digest of its state before the program began, shortened.
        end: Digest of its state when the process ended, shortened; None where it ended otherwise.
        used: Whether numbers were drawn from it; None where that could not be seen.
        site: Where in the program it was made, or was used without a seed, as `path:line`.
    """

    pid: int
    library: str
    seeded: bool | None = None
    seed: str | None = None
    start: str | None = None
    end: str | None = None
    used: bool | None = None
    site: str | None = None


class Sample(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="sample"):
    """What the processes of a run had of the machine at one moment.

    Attributes:
        at_s: Seconds since the run began.
        cpu_s: Processor time until then.
    """

    at_s: float
    cpu_s: float
    memory_bytes: int
    processes: int
    read_bytes: int | None = None
    written_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    gpu_utilization: float | None = None


class Cell(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="cell"):
    """A cell of a notebook was executed; in the order of execution.

    Attributes:
        order: From 1.
        source: As it was executed, secrets replaced.
        position: Of the cell in the notebook, from 0; None where that is not known.
        ok: Whether it ended without an error.
        makes: Digests of the version records that it saved.
        uses: Digests of the version records that it loaded.
    """

    order: int
    source: str
    position: int | None = None
    seconds: float | None = None
    ok: bool = True
    makes: tuple[Digest, ...] = ()
    uses: tuple[Digest, ...] = ()


Observed: TypeAlias = PythonProcess | RemoteRead | Query | Randomness | Sample | Cell

_KINDS: dict[str, type[Observed]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (PythonProcess, RemoteRead, Query, Randomness, Sample, Cell)
}


class _Kind(msgspec.Struct):
    type: str


def decode_observed(lines: Iterable[bytes]) -> list[Observed]:
    """What is known of the kinds in a list; others are passed over.

    Raises:
        DataDamaged: A line is not of its kind.
    """
    found: list[Observed] = []
    for line in lines:
        if line:
            kind = _KINDS.get(codec.decode(line, _Kind).type)
            if kind is not None:
                found.append(codec.decode(line, kind))
    return found
