"""Gathering what a run was made from: from its spool and the disk to content and a draft.

What is gathered says everything that the sealed record will say, but for the versions that its
files are: these have numbers, which only the home gives.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from thence.errors import ThenceError
from thence.execution import live
from thence.execution.binding import Stored, change
from thence.execution.capture.code import find_documents
from thence.execution.capture.environment import Environment, capture_environment, with_blas
from thence.execution.capture.keeper import Copy, Signature
from thence.execution.capture.metrics import FoundMetrics, is_metrics_file, read_metrics
from thence.execution.capture.params import is_config_file, is_record_of_params, read_config
from thence.execution.capture.probe import attempt
from thence.execution.capture.resources import Resources, read_resources
from thence.execution.capture.secrets import Stream
from thence.execution.capture.series import SeriesFiles
from thence.execution.capture.states import FileState, Ledger, WrittenFile
from thence.execution.code_record import record_code
from thence.execution.gathered import Gathered
from thence.execution.heads import HEAD, TEXT, beginning_of, head_of
from thence.execution.keeping import first_bytes
from thence.execution.observing import Observations, observe
from thence.execution.relearning import scrub_logged
from thence.execution.settings import FILE_NAME
from thence.execution.spool import End, Opened
from thence.formats import registry
from thence.formats.base import Sniffed
from thence.model import codec
from thence.model.ids import Digest
from thence.model.paths import path_to_text
from thence.model.points import encode_points
from thence.model.records import (
    Code,
    FileRole,
    FileUse,
    Kind,
    MetricPoint,
    Param,
    RunSealed,
    RunStatus,
    encode_lines,
)
from thence.vault.content import Content
from thence.vault.statcache import StatCache
from thence.vault.writer import Writer

__all__ = ["Gathering", "gather"]

T = TypeVar("T")

# Searching for five secrets runs at 130 MB a second.
_SEARCHED = 1 << 30
_PIECE = 16 << 20
_TRACEBACK = 8192
_TAIL = 1 << 20


class Gathering(NamedTuple):
    """What was gathered, and the bytes that `draft.series` names."""

    gathered: Gathered
    series: bytes


def gather(
    opened: Opened,
    end: End,
    ledger: Ledger,
    writer: Writer,
    *,
    stats: StatCache,
    content: Content | None,
    cache: Path,
) -> Gathering:
    """Put everything that a run was made from into a vault.

    Never raises for what cannot be read: it is said in the record. May be repeated.

    Args:
        opened: The run.
        end: How it ended.
        ledger: Its files.
        writer: Where content goes; what it wrote is durable when that is flushed.
        stats: Is told of files that were read.
        content: Of the home, to look into what is there already; None where it cannot be reached.
        cache: A folder for what is found out once of what stays the same.

    Raises:
        StorageError: The writer failed.
        Denied: The store may not be written to.
    """
    return _Gatherer(
        opened, end, ledger, writer, stats=stats, content=content, cache=cache
    ).gather()


class _Gatherer:
    def __init__(
        self,
        opened: Opened,
        end: End,
        ledger: Ledger,
        writer: Writer,
        *,
        stats: StatCache,
        content: Content | None,
        cache: Path,
    ) -> None:
        self._cache = cache
        self._writer = writer
        self._stats = stats
        self._content = content
        self._spool = opened.spool
        self._beginning = opened.beginning
        self._opened = opened.beginning.opened
        self._end = end
        self._ledger = ledger
        self._redactor = opened.redactor
        self._root = Path(self._opened.root)
        self._problems: list[str] = [*end.problems, *ledger.problems]
        self._params: dict[str, Param] = {}
        self._series = SeriesFiles(opened.redactor.scrub_text)
        self._metrics: dict[str, float] = {}
        self._points: list[MetricPoint] = []
        self._logged_params: dict[str, Param] = {}
        self._made: list[Digest] = []
        self._used: list[Digest] = []

    def gather(self) -> Gathering:
        self._read_live_lines()
        loaded, saved = len(set(self._used)), len(set(self._made))
        inputs = [self._store_read(state) for state in self._ledger.reads]
        overwritten = [
            self._store_state(state, FileRole.OVERWRITTEN)
            for state in (*self._ledger.overwritten, *self._ledger.removed)
        ]
        outputs = [self._store_output(out) for out in self._ledger.outputs]
        self._add_series()
        outputs += self._store_notebook()
        others = [*self._store_documents()]
        heard = self._observations()
        others += self._store_bodies(heard)
        resources = self._probe(
            "what it took of the machine", lambda: read_resources(self._spool.folder), Resources()
        )
        observed = [*heard.observed, *resources.samples]
        environment = self._environment(heard)
        others += self._store_packages(environment)
        environment_digest = self._writer.put_bytes(codec.encode(environment)).digest
        inputs = self._without_packages(inputs, environment)
        code = self._code(inputs)
        stdout = self._store_stream("stdout")
        stderr = self._store_stream("stderr")
        series = encode_points(self._points)
        opened, end = self._opened, self._end
        draft = RunSealed(
            run=opened.run,
            command=opened.command,
            root=opened.root,
            cwd=opened.cwd,
            started=opened.started,
            ended=end.ended,
            status=end.status,
            author=opened.author,
            host=opened.host,
            sensor=end.sensor,
            exit_code=end.exit_code,
            stdin=self._beginning.stdin,
            name=opened.name,
            experiment=opened.experiment,
            note=opened.note,
            tags=opened.tags,
            params=self._all_params(heard),
            metrics=self._metrics,
            series=self._writer.put_bytes(series).digest if self._points else None,
            inputs_count=loaded + sum(item.use.role is FileRole.INPUT for item in inputs),
            outputs_count=saved + len(outputs),
            folders=self._folders(outputs),
            code=code,
            environment=environment_digest,
            python=environment.python,
            environment_variables=self._beginning.environment_variables,
            omitted_variables=self._beginning.omitted_variables,
            stdout=stdout,
            stderr=stderr,
            traceback=end.traceback or self._traceback(),
            withheld=tuple(dict.fromkeys((*self._beginning.withheld, *self._redactor.withheld))),
            connections=tuple(one for one in self._ledger.connections if one not in heard.heard_of),
            observed=self._writer.put_bytes(encode_lines(observed)).digest if observed else None,
            usage=resources.usage,
            problems=tuple(dict.fromkeys((*self._problems, *environment.problems))),
            rerunnable=self._beginning.rerunnable,
            notebook=self._beginning.notebook,
            ordinal=self._beginning.ordinal,
        )
        gathered = Gathered(
            draft=draft,
            inputs=tuple(inputs),
            overwritten=tuple(overwritten),
            outputs=tuple(outputs),
            others=tuple(others),
            used=tuple(self._used),
            made=tuple(self._made),
        )
        return Gathering(gathered, series)

    # What the program said

    def _read_live_lines(self) -> None:
        nothing: list[live.Line] = []
        folder = self._spool.folder
        for line in self._probe("what was logged", lambda: list(live.read_lines(folder)), nothing):
            match line:
                case live.LoggedMetric():
                    self._points.append(line.to_point())
                    self._metrics[line.name] = line.value
                case live.LoggedParam():
                    value = scrub_logged(self._redactor, line.name, line.value)
                    self._logged_params[line.name] = Param(value=value, origin="log")
                case live.MadeVersion():
                    self._made.append(line.version)
                case live.UsedVersion():
                    self._used.append(line.version)

    def _all_params(self, heard: Observations) -> dict[str, Param]:
        """By name; who knows better comes later."""
        begun = self._beginning.params
        read = {name: one for name, one in begun.items() if one.origin == "argv"}
        return {
            **heard.defaults,
            **self._params,
            **self._logged_params,
            **(read if heard.left is None else heard.left),
            **heard.params,
            **{name: one for name, one in begun.items() if one.origin != "argv"},
        }

    def _observations(self) -> Observations:
        nothing = Observations((), {}, (), {}, frozenset())
        heard = self._probe(
            "what programs were heard to do", lambda: observe(self._spool.folder), nothing
        )
        self._problems += heard.problems
        return heard

    def _store_bodies(self, heard: Observations) -> Iterator[FileUse]:
        """What was fetched from elsewhere, where it is to be kept."""
        for url, path in sorted(heard.bodies.items()):
            use = FileUse(path=url, role=FileRole.REMOTE)
            try:
                yield self._put(path, use, is_searched=path.stat().st_size <= TEXT)
            except (OSError, ThenceError) as error:
                self._problems.append(f"what came from {url} could not be kept: {error}")
                yield change(use, why_not_kept="unreadable")

    # Files

    def _use(self, path: Path, role: FileRole) -> FileUse:
        try:
            name = path.relative_to(self._root).as_posix()
        except ValueError:
            name = path.as_posix()
        text, percent = path_to_text(name)
        return FileUse(path=text, percent=percent, role=role)

    def _is_below(self, path: Path) -> bool:
        return path.is_relative_to(self._root)

    def _store_read(self, state: FileState) -> Stored:
        stored = self._store_state(state, FileRole.INPUT)
        role = {Kind.CODE: FileRole.CODE, Kind.CONFIG: FileRole.CONFIG}.get(
            stored.kind, FileRole.INPUT
        )
        source = state.kept or (state.path if state.digest is None else None)
        is_config = is_config_file(stored.use.path)
        if is_config and source is not None and stored.use.digest is not None:
            found = self._probe(
                f"the params in {stored.use.path}",
                lambda: self._read_config(source, stored.use.path),
                dict[str, Param](),
            )
            self._params |= found
            if found:
                role = FileRole.CONFIG
        return stored._replace(use=change(stored.use, role=role))

    def _read_config(self, source: Path | Copy, path: str) -> dict[str, Param]:
        try:
            params, problem = read_config(path, source.read_bytes(), self._redactor)
        except OSError as error:
            params, problem = {}, f"no params were read from {path}: {error.strerror}"
        self._problems += [problem] if problem else []
        return params

    def _store_state(self, state: FileState, role: FileRole) -> Stored:
        use = change(
            self._use(state.path, role),
            size=state.size_bytes,
            executable=state.executable,
            redacted=state.redacted,
            changed_during_run=state.changed_during_run,
        )
        if state.why_not_kept is not None and not _is_still_there(state):
            return self._sniffed(change(use, why_not_kept=state.why_not_kept), b"")
        known = state.digest
        if known is not None and self._has(known):
            return self._sniffed(change(use, digest=known), self._head_of_known(state, known))
        if known is not None and not _is_same(state):
            self._problems.append(
                f"{use.path} is not kept: it changed, and what it was has been collected meanwhile"
            )
            return self._sniffed(change(use, why_not_kept="vanished"), b"")
        # Data of any size is not searched: it would cost more than the run. Code and configuration
        # were scrubbed when they were used.
        is_searched = not state.redacted and state.size_bytes <= TEXT
        copy = state.kept
        try:
            if copy is not None and copy.size_bytes is not None:  # small, and one of many in a file
                data = copy.read_bytes()
                use = self._put_data(data, use, is_searched=is_searched)
                head = data[:HEAD]
            else:
                source = state.path if copy is None else copy.path
                use = self._put(source, use, is_searched=is_searched)
                head = head_of(source)
        except (OSError, ThenceError) as error:
            self._problems.append(f"{use.path} could not be kept: {error}")
            return self._sniffed(change(use, why_not_kept="unreadable"), b"")
        if not use.redacted and use.digest is not None:
            self._remember(state, use.digest)
        return self._sniffed(use, head)

    def _has(self, known: Digest) -> bool:
        """Whether what was there when the file was used still is; if the home cannot be asked, yes.

        A run may take days, and what nothing else refers to may be collected meanwhile.
        """
        return self._content is None or self._writer.knows(known)

    def _head_of_known(self, state: FileState, known: Digest) -> bytes:
        """From the disk if it is still there: a bucket may be far away."""
        try:
            if state.signature is not None and Signature.of(state.path.stat()) == state.signature:
                return head_of(state.path)
        except OSError:
            pass
        if (content := self._content) is None:
            return b""
        return self._probe(f"the kind of {state.path}", lambda: first_bytes(content, known), b"")

    def _put(self, source: Path, use: FileUse, *, is_searched: bool) -> FileUse:
        """Keep a file: without the secrets in it where it is text, else not at all."""
        found = self._secret_in(source) if is_searched else None
        if found is None:
            info = self._writer.put_file(source)
            return change(use, digest=info.digest, size=info.size_bytes)
        return self._put_scrubbed(beginning_of(source), use, found)

    def _put_data(self, data: bytes, use: FileUse, *, is_searched: bool) -> FileUse:
        """The same of a small file that was read."""
        found = self._redactor.contains(data) if is_searched else None
        if found is None:
            info = self._writer.put_bytes(data)
            return change(use, digest=info.digest, size=info.size_bytes)
        return self._put_scrubbed(data, use, found)

    def _put_scrubbed(self, data: bytes, use: FileUse, found: str) -> FileUse:
        if len(data) <= TEXT and b"\0" not in data:
            info = self._writer.put_bytes(self._redactor.scrub_bytes(data, use.path))
            return change(use, digest=info.digest, size=info.size_bytes, redacted=True)
        self._redactor.note_file(use.path)
        self._problems.append(
            f"{use.path} holds the secret {found} and is not a short text, so it was not kept"
        )
        return change(use, why_not_kept="secret")

    def _secret_in(self, path: Path) -> str | None:
        """Name of a learnt secret in a file, or in the first GiB of it."""
        if not self._redactor.longest:
            return None
        overlap = 4 * self._redactor.longest  # bytes of its characters
        before = b""
        with path.open("rb") as file:
            for _ in range(_SEARCHED // _PIECE):
                piece = file.read(_PIECE)
                found = self._redactor.contains(before + piece)
                if found is not None or not piece:
                    return found
                before = piece[-overlap:]
        return None

    def _sniffed(self, use: FileUse, head: bytes) -> Stored:
        name = use.path.rpartition("/")[2]
        kind, media_type = self._probe(
            f"the kind of {use.path}",
            lambda: registry.sniff(name, head),
            Sniffed(Kind.FILE, "application/octet-stream"),
        )
        return Stored(use, kind, media_type)

    def _probe(self, name: str, function: Callable[[], T], otherwise: T) -> T:
        value, problem = attempt(name, function)
        self._problems += [problem] if problem else []
        return otherwise if value is None else value

    def _remember(self, state: FileState, digest: Digest) -> None:
        """Teach the stat cache, so that the next run need not copy the file."""
        if state.signature is None or state.changed_during_run:
            return
        try:
            now = state.path.stat()
        except OSError:
            return
        seen = (state.signature.size_bytes, state.signature.modified_ns, state.signature.changed_ns)
        if seen == (now.st_size, now.st_mtime_ns, now.st_ctime_ns):
            read_at = int(self._opened.started.timestamp() * 1e9)
            self._stats.remember(state.path, now, digest, read_at_ns=read_at)

    def _store_output(self, output: WrittenFile) -> Stored:
        use = change(self._use(output.path, FileRole.OUTPUT), changed_during_run=output.changed)
        if output.secret:
            self._redactor.note_file(use.path)
            return self._sniffed(change(use, why_not_kept="secret"), b"")
        try:
            facts = output.path.stat()
            use = change(use, size=facts.st_size, executable=bool(facts.st_mode & 0o100))
            use = self._put(output.path, use, is_searched=True)
            data = beginning_of(output.path) if is_metrics_file(use.path) else b""
        except (OSError, ThenceError) as error:
            self._problems.append(f"the output {use.path} could not be kept: {error}")
            return self._sniffed(change(use, why_not_kept="unreadable"), b"")
        if is_metrics_file(use.path):
            metrics, problem = self._probe(
                f"the metrics in {use.path}",
                lambda: read_metrics(use.path, data),
                FoundMetrics({}),
            )
            self._metrics = {**metrics, **self._metrics}
            self._problems += [problem] if problem else []
        self._probe(
            f"the metrics in {use.path}", lambda: self._series.read(output.path, use.path), None
        )
        if is_record_of_params(use.path):
            self._params |= self._probe(
                f"the params in {use.path}",
                lambda: self._read_config(output.path, use.path),
                dict[str, Param](),
            )
        return self._sniffed(use, head_of(output.path))

    def _add_series(self) -> None:
        """What other libraries left in files; the program's own word is better."""
        logged = {point.name for point in self._points}
        found = self._series.result(logged)
        self._points += found.points
        self._metrics = {**found.last, **self._metrics}
        self._problems += found.problems

    def _store_notebook(self) -> Iterator[Stored]:
        """The notebook as it was executed, which need not be on the disk."""
        path = self._spool.folder / "notebook.ipynb"
        name = self._beginning.executed
        if name is None or not path.is_file():
            return
        use = FileUse(path=name, role=FileRole.OUTPUT, size=path.stat().st_size)
        try:
            use = self._put(path, use, is_searched=True)
        except (OSError, ThenceError) as error:
            self._problems.append(f"the executed notebook could not be kept: {error}")
            use = change(use, why_not_kept="unreadable")
        yield Stored(use, Kind.DOCUMENT, "application/x-ipynb+json")

    def _store_documents(self) -> Iterator[FileUse]:
        read = {state.path for state in self._ledger.reads}
        found, problem = attempt("the documents", lambda: find_documents(self._root))
        self._problems += [problem] if problem else []
        declared = self._root / FILE_NAME
        for path in (*(found or ()), *([declared] if declared.is_file() else [])):
            if path not in read:
                state = FileState.seen(str(path), path.stat())
                yield self._store_state(state, FileRole.DOCUMENT).use

    def _store_packages(self, environment: Environment) -> Iterator[FileUse]:
        own = {str(state.path) for state in self._ledger.reads if self._is_below(state.path)}
        for kept in environment.kept:
            if kept.path in own:
                continue  # it comes back with the project, at its place among its data
            path = Path(kept.path)
            try:
                state = FileState.seen(kept.path, path.stat())
            except OSError as error:
                self._problems.append(f"{kept.path} could not be kept: {error.strerror}")
                continue
            use = self._store_state(state, FileRole.PACKAGE).use
            place = path_to_text(f"{kept.reason}/{kept.place}")
            yield change(use, path=place.text, percent=place.percent, package=kept.package)

    def _without_packages(self, inputs: list[Stored], environment: Environment) -> list[Stored]:
        """Without files outside of the project that are kept as files of a package."""
        packages = {kept.path for kept in environment.kept}
        return [item for item in inputs if item.use.path not in packages]

    def _store_stream(self, name: str) -> Digest | None:
        """What the program printed, of any length."""
        path = self._spool.folder / name
        try:
            size = path.stat().st_size
        except OSError:
            return None
        if not size:
            return None
        scrubbed = path.with_name(f"{name}.scrubbed")
        try:
            # Once more: a secret may have been learnt after it was printed.
            if size <= TEXT:
                data = self._redactor.scrub_bytes(path.read_bytes())
                return self._writer.put_bytes(data).digest
            self._scrub_file(path, scrubbed)
            return self._writer.put_file(scrubbed).digest
        except OSError as error:
            self._problems.append(f"{name} could not be kept: {error.strerror}")
            return None
        finally:
            scrubbed.unlink(missing_ok=True)

    def _scrub_file(self, path: Path, target: Path) -> None:
        stream = Stream(self._redactor)
        with path.open("rb") as source, target.open("wb") as file:
            while piece := source.read(TEXT):
                file.write(stream.feed(piece))
            file.write(stream.flush())

    def _folders(self, outputs: Iterable[Stored]) -> tuple[str, ...]:
        """Folders of outputs that the run found: it may fail where it has to make them, or not."""
        parents = {
            item.use.path.rpartition("/")[0]
            for item in outputs
            if not item.use.path.startswith("/") and not item.use.percent
        }
        made = self._ledger.made_folders
        return tuple(sorted(p for p in parents if p and str(self._root / p) not in made))

    # Code and environment

    def _code(self, inputs: Iterable[Stored]) -> Code:
        files = [
            item.use.path
            for item in inputs
            if not item.use.path.startswith("/") and item.use.role is not FileRole.INPUT
        ]
        found = record_code(
            self._root,
            str(self._opened.run),
            files,
            self._ledger.reads,
            redactor=self._redactor,
            writer=self._writer,
        )
        self._problems += found.problems
        return found.code

    def _environment(self, heard: Observations) -> Environment:
        ledger = self._ledger
        found, problem = attempt(
            "the environment",
            lambda: capture_environment(
                # The modules of editable installs lie anywhere.
                {*ledger.environment, *ledger.libraries, *(str(s.path) for s in ledger.reads)},
                ledger.executed,
                variables=self._beginning.environment_variables,
                cache=self._cache / "packages",
            ),
        )
        self._problems += [problem] if problem else []
        return with_blas(found or Environment(), heard.blas)

    def _traceback(self) -> str | None:
        if self._end.status is not RunStatus.FAILED:
            return None
        try:
            with (self._spool.folder / "stderr").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return None
        found = list(re.finditer(r"^Traceback \(most recent call last\):", text, re.MULTILINE))
        if not found:
            return None
        return self._redactor.scrub_text(text[found[-1].start() :][-_TRACEBACK:]).strip()


def _is_still_there(state: FileState) -> bool:
    """Whether what there was no room to copy can be read where it is."""
    return state.why_not_kept == "no-space" and _is_same(state)


def _is_same(state: FileState) -> bool:
    """Whether a file is still what it was at its first use."""
    if state.changed_during_run:
        return False
    try:
        return Signature.of(state.path.stat()) == state.signature
    except OSError:
        return False
