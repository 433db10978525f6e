"""What a run fetched over the network, given to its reproduction again; and what became of it."""

import marshal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from thence.errors import DataDamaged, NotFound
from thence.execution.capture.placeholders import restore as fill_in
from thence.execution.capture.remote import KINDS, FoundRemote, file_names, read_remote
from thence.execution.inside.addresses import key_of
from thence.execution.inside.replay import INDEX
from thence.execution.restore import put_back
from thence.model.observed import RemoteRead, decode_observed
from thence.model.records import FileRole, FileUse, RunSealed
from thence.store.failures import failures_of
from thence.vault.content import Content

__all__ = ["Replaying"]

_NAMED_AT_MOST = 20
_READS = {"GET", "HEAD"}


class Replaying:
    """Gives kept answers to the programs of a reproduction, and hears what else they fetch.

    Args:
        sealed: The run.
        uses: Its files.
        content: Where their bytes are.
        folder: For the kept answers; is made.
        secrets: Values by placeholder.

    Raises:
        StorageError: The disk is full.
    """

    def __init__(
        self,
        sealed: RunSealed,
        uses: Iterable[FileUse],
        content: Content,
        folder: Path,
        *,
        secrets: Mapping[str, str],
    ) -> None:
        self._content = content
        self._folder = folder
        self._secrets = secrets
        self._uses = {use.path: use for use in uses if use.role is FileRole.REMOTE}
        self._lost: list[str] = []
        self._notes: list[Mapping[str, Any]] = []
        self._found: FoundRemote | None = None
        self._reads = self._read(sealed)
        self._index: dict[str, list[dict[str, Any]]] = {}
        if any(read.kept for read in self._reads):
            self._prepare()

    @property
    def plan(self) -> dict[str, Any]:
        """The part of a plan for `thence_inside`."""
        return {"remote": {"replay": str(self._folder)}} if self._index else {}

    def on_note(self, note: Mapping[str, Any]) -> None:
        """Hear what a program says."""
        if note.get("kind") in KINDS:
            self._notes.append(note)

    @property
    def peers(self) -> frozenset[str]:
        """`host:port` of those whose answers were heard."""
        return frozenset(self._heard().peers)

    def missing(self) -> Iterator[str]:
        """What the original was given, and the reproduction was not, sentences."""
        yield from self._lost
        now: dict[str, set[Any]] = {}
        answered: set[str] = set()
        for read in self._heard().reads:
            key = self._key(read)
            if read.digest is not None:
                now.setdefault(key, set()).add(read.digest)
            if read.status is None or read.status < 400:
                answered.add(key)
        then: dict[str, set[Any]] = {}
        gone: dict[str, None] = {}
        for read in self._reads:
            key = self._key(read)
            if read.digest is not None and read.method in _READS:
                then.setdefault(key, set()).add(read.digest)
            was_there = read.status is None or read.status < 400
            if was_there and key not in answered and read.method in _READS:
                gone[read.url] = None
        changed = {
            read.url: None
            for read in self._reads
            if (key := self._key(read)) in now
            and key not in self._index
            and key in then
            and not now[key] <= then[key]
        }
        yield from _few(changed, "it has other content now than when the run fetched it")
        yield from _few(gone, "it was not fetched again")

    def deviations(self) -> Iterator[str]:
        """Where the reproduction asked the network, sentences."""
        replayed = {key_of(url) for url in self._heard().replayed}
        known = {self._key(read) for read in self._reads}
        some_kept = bool(self._index)
        unkept: dict[str, None] = {}
        strange: dict[str, None] = {}
        for read in self._heard().reads:
            key = self._key(read)
            if key in replayed:
                continue
            if key not in known:
                strange[read.url] = None
            elif some_kept:
                unkept[read.url] = None
        yield from _few(unkept, "it is not kept, so the network was asked for it")
        yield from _few(strange, "it was fetched from the network, which the original did not do")

    # --- how -------------------------------------------------------------------------------------

    def _heard(self) -> FoundRemote:
        if self._found is None or self._notes:
            self._found = read_remote(list(self._notes), self._folder)
        return self._found

    def _read(self, sealed: RunSealed) -> Sequence[RemoteRead]:
        if sealed.observed is None:
            return ()
        try:
            lines = self._content.read(sealed.observed).splitlines()
            return [one for one in decode_observed(lines) if isinstance(one, RemoteRead)]
        except (NotFound, DataDamaged) as error:
            self._lost.append(f"the list of what was fetched over the network: {error.what}")
            return ()

    def _key(self, read: RemoteRead) -> str:
        return key_of(fill_in(read.address or read.url, self._secrets))

    def _prepare(self) -> None:
        with failures_of(f"write to {self._folder}"):
            self._folder.mkdir(parents=True)
        files: dict[str, str] = {}
        for read, name in zip(self._reads, file_names(self._reads), strict=True):
            if not read.kept:
                continue
            file, size = "", read.size if read.method == "HEAD" else 0
            if name is not None:
                if name not in files:
                    files[name] = self._restore(name, str(len(files)))
                file = files[name]
                if not file:
                    continue
                size = (self._folder / file).stat().st_size
            self._index.setdefault(self._key(read), []).append(
                {
                    "method": read.method,
                    "status": read.status or 200,
                    "headers": dict(read.headers),
                    "part": read.part or "",
                    "file": file,
                    "size": size or 0,
                    "count": read.count,
                }
            )
        with failures_of(f"write to {self._folder}"):
            (self._folder / INDEX).write_bytes(marshal.dumps(self._index, 2))

    def _restore(self, name: str, file: str) -> str:
        """The name of its file; empty where it cannot be given back."""
        use = self._uses.get(name)
        if use is None or use.digest is None:
            why = (use.why_not_kept if use is not None else None) or "it is not among the files"
            self._lost.append(f"what came from {name}: {why}")
            return ""
        try:
            self._content.write_to(use.digest, self._folder / file, executable=False)
        except (NotFound, DataDamaged) as error:
            self._lost.append(f"what came from {name}: {error.what}")
            return ""
        if use.redacted:
            put_back(self._folder / file, self._secrets)
        return file


def _few(names: Mapping[str, None], why: str) -> Iterator[str]:
    listed = list(names)
    for name in listed[:_NAMED_AT_MOST]:
        yield f"{name}: {why}"
    if listed[_NAMED_AT_MOST:]:
        yield f"{len(listed) - _NAMED_AT_MOST} more addresses: {why}"
