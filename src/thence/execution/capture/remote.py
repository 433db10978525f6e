"""What was fetched over the network: from what programs told to lines of a record."""

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from thence.errors import InvalidInput
from thence.execution.capture.fields import Program, program_of, text, whole
from thence.model.ids import Digest
from thence.model.observed import RemoteRead
from thence.store.failures import failures_of

__all__ = ["KINDS", "FoundRemote", "file_names", "prepare_bodies", "read_remote", "remote_plan"]

KINDS = frozenset({"remote", "remote-body"})
_BODIES = "bodies"
_MOST = 10_000

_Number = tuple[Program, int]


class FoundRemote(NamedTuple):
    """What the notes say.

    Attributes:
        reads: In the order in which they were answered.
        bodies: Kept ones, by the name of the file of the run.
        peers: `host:port` of those who answered.
        replayed: Addresses that were answered from what was kept.
        problems: Sentences.
    """

    reads: Sequence[RemoteRead]
    bodies: Mapping[str, Path]
    peers: Sequence[str]
    replayed: Sequence[str]
    problems: Sequence[str]


class _Answer:
    def __init__(self, note: Mapping[str, Any]) -> None:
        self.note = note
        self.body: Mapping[str, Any] | None = None


def prepare_bodies(spool: Path) -> None:
    """Have bodies kept; to be called when the spool is made.

    Raises:
        StorageError: It cannot be written.
    """
    with failures_of(f"write to {spool}"):
        (spool / _BODIES).mkdir(mode=0o700)


def remote_plan(spool: Path) -> dict[str, Any]:
    """What programs are to do with what they fetch: the part of a plan for `thence_inside`."""
    folder = spool / _BODIES
    return {"remote": {"keep": str(folder)}} if folder.is_dir() else {}


def read_remote(notes: Iterable[Mapping[str, Any]], spool: Path) -> FoundRemote:
    """Put answers and their bodies together; equal ones that follow each other become one."""
    answers: dict[_Number, _Answer] = {}
    order: list[_Answer] = []
    for note in notes:
        number = (program_of(note), whole(note.get("id")) or 0)
        if note["kind"] == "remote":
            if isinstance(note.get("url"), str):
                answers[number] = _Answer(note)
                order.append(answers[number])
        elif number in answers:
            answers[number].body = note
    return _Fold(spool / _BODIES).fold(order)


def file_names(reads: Iterable[RemoteRead]) -> list[str | None]:
    """Under which name the body of each is a file of the run; None where it is not.

    The first body of an address has its name (with the bytes of a part behind `#`), others that
    came from there later have ` (2)`, ` (3)` … behind it. Equal bodies are one file.
    """
    seen: dict[str, dict[Digest, str]] = {}
    names: list[str | None] = []
    for read in reads:
        if not read.kept or read.digest is None:
            names.append(None)
            continue
        part = read.part.partition("/")[0].replace(" ", "=") if read.part else ""
        name = f"{read.url}#{part}" if part else read.url
        known = seen.setdefault(name, {})
        if read.digest not in known:
            known[read.digest] = f"{name} ({len(known) + 1})" if known else name
        names.append(known[read.digest])
    return names


class _Fold:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reads: list[RemoteRead] = []
        self._files: list[Path | None] = []
        self._last: dict[tuple[str, str, str | None], int] = {}
        self._cut = 0

    def fold(self, answers: Iterable[_Answer]) -> FoundRemote:
        peers: dict[str, None] = {}
        replayed: list[str] = []
        for answer in answers:
            note = answer.note
            if note.get("peer"):
                peers[str(note["peer"])] = None
            if note.get("replayed"):
                replayed.append(str(note.get("address") or note["url"]))
            self._add(*self._read(answer))
        bodies = {
            name: path
            for name, path in zip(file_names(self._reads), self._files, strict=True)
            if name is not None and path is not None
        }
        problems = []
        if self._cut:
            problems.append(
                f"{self._cut} more answers over the network are not listed: only the first"
                f" {_MOST:,} different ones are"
            )
        return FoundRemote(self._reads, bodies, tuple(peers), replayed, problems)

    def _read(self, answer: _Answer) -> tuple[RemoteRead, Path | None]:
        note, body = answer.note, answer.body or {}
        given = note.get("headers")
        kept = isinstance(given, dict)
        headers = given if isinstance(given, dict) else {}
        digest, size = _digest(body.get("digest")), whole(body.get("size"))
        path = self._body(body.get("file")) if kept and digest is not None else None
        method = str(note.get("method") or "GET")
        status = whole(note.get("status"))
        # Of what is not there, few programs read what the server says about it.
        has_no_body = method == "HEAD" or (status is not None and status >= 400)
        read = RemoteRead(
            url=str(note["url"]),
            via=str(note.get("via") or ""),
            method=method,
            status=status,
            etag=text(note.get("etag")),
            version=text(note.get("version")),
            size=size if size is not None else whole(note.get("size")),
            digest=digest,
            kept=path is not None or (kept and has_no_body),
            address=text(note.get("address")),
            part=text(note.get("part")),
            headers={str(name): str(value) for name, value in headers.items()},
        )
        return read, path

    def _body(self, name: Any) -> Path | None:
        if not isinstance(name, str) or not name or "/" in name:
            return None
        path = self._folder / name
        try:
            return path if stat.S_ISREG(os.lstat(path).st_mode) else None
        except OSError:
            return None

    def _add(self, read: RemoteRead, path: Path | None) -> None:
        if not read.kept:
            read = _changed(read, headers={})
        key = (read.method, read.url, read.part)
        at = self._last.get(key)
        if at is not None and _same(self._reads[at], read):
            before = self._reads[at]
            self._reads[at] = _changed(before, count=before.count + 1)
        elif len(self._reads) < _MOST:
            self._last[key] = len(self._reads)
            self._reads.append(read)
            self._files.append(path)
        else:
            self._cut += 1


def _changed(read: RemoteRead, **fields: Any) -> RemoteRead:
    return msgspec.structs.replace(read, **fields)


def _same(a: RemoteRead, b: RemoteRead) -> bool:
    return _changed(a, count=1, headers={}) == _changed(b, count=1, headers={})


def _digest(value: Any) -> Digest | None:
    try:
        return Digest.parse(f"sha256:{value}") if isinstance(value, str) else None
    except InvalidInput:
        return None
