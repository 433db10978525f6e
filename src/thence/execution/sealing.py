"""Sealing a run: from its spool to one record, and the versions that it used and made."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from thence.errors import NotFound, ThenceError
from thence.execution import live
from thence.execution.capture.code import CodeState, capture_code, find_documents
from thence.execution.capture.environment import Environment, capture_environment
from thence.execution.capture.metrics import is_metrics_file, read_metrics
from thence.execution.capture.params import is_config_file, read_config
from thence.execution.capture.probe import attempt
from thence.execution.capture.states import FileState, Ledger, WrittenFile
from thence.execution.grouping import group_files
from thence.execution.settings import FILE_NAME
from thence.execution.site import Site
from thence.execution.spool import End, Opened
from thence.formats import registry
from thence.model import codec
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.model.paths import path_to_text
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
from thence.vault import tree
from thence.vault.artifacts import Draft
from thence.vault.logs import Appended, run_log
from thence.vault.tree import TreeEntry
from thence.vault.writer import Writer

__all__ = ["seal"]

_HEAD = 4096
_SEARCHED = 64 << 20
_TEXT = 8 << 20
_TRACEBACK = 8192


class _Stored(NamedTuple):
    """A file of the run, and the kind that its content was sniffed to be."""

    use: FileUse
    kind: Kind
    media_type: str


def seal(site: Site, opened: Opened, end: End, ledger: Ledger) -> RunSealed:
    """Keep everything that a run was made from and append its one sealed entry.

    May be repeated: what was kept by a try that died is reused.

    Raises:
        StorageError: The store failed; the spool stays, and `recover` tries again.
        Denied: The store may not be written to.
    """
    return _Sealer(site, opened, end, ledger).seal()


class _Sealer:
    def __init__(self, site: Site, opened: Opened, end: End, ledger: Ledger) -> None:
        self._site = site
        self._spool = opened.spool
        self._beginning = opened.beginning
        self._opened = opened.beginning.opened
        self._end = end
        self._ledger = ledger
        self._redactor = opened.redactor
        self._root = Path(self._opened.root)
        self._problems: list[str] = [*end.problems, *ledger.problems]
        self._params: dict[str, Param] = {}
        self._metrics: dict[str, float] = {}
        self._points: list[MetricPoint] = []
        self._logged_params: dict[str, Param] = {}
        self._made: list[Digest] = []
        self._used: list[Digest] = []
        self._appended: list[Appended] = []

    def seal(self) -> RunSealed:
        self._read_live_lines()
        with self._site.vault.writer() as writer:
            inputs = [self._store_read(writer, state) for state in self._ledger.reads]
            overwritten = [
                self._store_state(writer, state, FileRole.OVERWRITTEN)
                for state in (*self._ledger.overwritten, *self._ledger.removed)
            ]
            outputs = [self._store_output(writer, out) for out in self._ledger.outputs]
            others = [*self._store_documents(writer)]
            environment = self._environment()
            others += self._store_packages(writer, environment)
            environment_digest = writer.put_bytes(codec.encode(environment)).digest
            code = self._code(writer, inputs)
            stdout = self._store_stream(writer, "stdout")
            stderr = self._store_stream(writer, "stderr")
        self._site.vault.stats.save()
        inputs = self._with_versions(inputs, {FileRole.INPUT}, self._used)
        if self._end.status is RunStatus.FINISHED:
            outputs = self._with_versions(outputs, {FileRole.OUTPUT}, self._made)
        uses = [item.use for item in (*inputs, *overwritten, *outputs)] + others
        files = encode_lines(uses)
        series = encode_lines(self._points)
        with self._site.vault.writer() as writer:
            files_digest = writer.put_bytes(files).digest
            series_digest = writer.put_bytes(series).digest if self._points else None
        opened, end = self._opened, self._end
        record = RunSealed(
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
            name=opened.name,
            experiment=opened.experiment,
            note=opened.note,
            tags=opened.tags,
            params={**self._params, **self._logged_params, **self._beginning.params},
            metrics=self._metrics,
            series=series_digest,
            files=files_digest,
            inputs_count=sum(item.use.role is FileRole.INPUT for item in inputs),
            outputs_count=len(outputs),
            folders=self._folders(outputs),
            uses=tuple(dict.fromkeys(self._used)),
            makes=tuple(dict.fromkeys(self._made)),
            code=code,
            environment=environment_digest,
            python=environment.python,
            environment_variables=self._beginning.environment_variables,
            omitted_variables=self._beginning.omitted_variables,
            stdout=stdout,
            stderr=stderr,
            traceback=end.traceback or self._traceback(),
            withheld=tuple(dict.fromkeys((*self._beginning.withheld, *self._redactor.withheld))),
            connections=self._ledger.connections,
            problems=tuple(dict.fromkeys((*self._problems, *environment.problems))),
        )
        log = run_log(opened.run)
        appended = self._site.vault.append(log, record, by=opened.author)
        attachments = {files_digest: files}
        if series_digest is not None:
            attachments[series_digest] = series
        self._site.ingest(*self._appended, appended, attachments=attachments)
        return record

    # What the program said

    def _read_live_lines(self) -> None:
        for line in live.read_lines(self._spool.folder):
            match line:
                case live.LoggedMetric():
                    self._points.append(line.to_point())
                    self._metrics[line.name] = line.value
                case live.LoggedParam():
                    value = line.value
                    if isinstance(value, str):
                        value = self._redactor.scrub_text(value)
                    self._logged_params[line.name] = Param(value=value, origin="log")
                case live.MadeVersion():
                    self._made.append(line.version)
                case live.UsedVersion():
                    self._used.append(line.version)

    # Files

    def _use(self, path: Path, role: FileRole) -> FileUse:
        try:
            name = path.relative_to(self._root).as_posix()
        except ValueError:
            name = path.as_posix()
        text, percent = path_to_text(name)
        return FileUse(path=text, percent=percent, role=role)

    def _store_read(self, writer: Writer, state: FileState) -> _Stored:
        stored = self._store_state(writer, state, FileRole.INPUT)
        role = {Kind.CODE: FileRole.CODE, Kind.CONFIG: FileRole.CONFIG}.get(
            stored.kind, FileRole.INPUT
        )
        source = state.kept or (state.path if state.digest is None else None)
        if source is not None and stored.use.digest is not None:
            found = self._read_config(source, stored.use.path)
            self._params |= found
            if found:
                role = FileRole.CONFIG
        return stored._replace(use=_change(stored.use, role=role))

    def _read_config(self, source: Path, path: str) -> dict[str, Param]:
        if not is_config_file(path):
            return {}
        try:
            params, problem = read_config(path, source.read_bytes(), self._redactor)
        except OSError as error:
            params, problem = {}, f"no params were read from {path}: {error.strerror}"
        self._problems += [problem] if problem else []
        return params

    def _store_state(self, writer: Writer, state: FileState, role: FileRole) -> _Stored:
        use = _change(
            self._use(state.path, role),
            size=state.size_bytes,
            executable=state.executable,
            redacted=state.redacted,
            changed_during_run=state.changed_during_run,
        )
        name = state.path.name
        if state.why_not_kept is not None:
            use = _change(use, why_not_kept=state.why_not_kept)
            return _Stored(use, *registry.sniff(name, b""))
        if state.digest is not None:
            sniffed = registry.sniff(name, self._head_of(state.digest))
            return _Stored(_change(use, digest=state.digest), *sniffed)
        source = state.kept or state.path
        try:
            info = writer.put_file(source)
        except ThenceError as error:
            self._problems.append(f"{use.path} could not be kept: {error.what}")
            return _Stored(_change(use, why_not_kept="unreadable"), *registry.sniff(name, b""))
        if not state.redacted:
            self._remember(state, info.digest)
        sniffed = registry.sniff(name, _head(source))
        return _Stored(_change(use, digest=info.digest, size=info.size_bytes), *sniffed)

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
            self._site.vault.stats.remember(state.path, now, digest, read_at_ns=read_at)

    def _store_output(self, writer: Writer, output: WrittenFile) -> _Stored:
        use = self._use(output.path, FileRole.OUTPUT)
        name = output.path.name
        if output.secret:
            self._redactor.note_file(use.path)
            use = _change(use, why_not_kept="secret")
            return _Stored(use, *registry.sniff(name, b""))
        try:
            facts = output.path.stat()
            use = _change(use, size=facts.st_size, executable=bool(facts.st_mode & 0o100))
            sniffed = registry.sniff(name, _head(output.path))
            data = output.path.read_bytes() if facts.st_size <= _SEARCHED else b""
            found = self._redactor.contains(data)
            if found is None:
                info = writer.put_file(output.path)
                use = _change(use, digest=info.digest, size=info.size_bytes)
            elif len(data) <= _TEXT and b"\0" not in data:
                info = writer.put_bytes(self._redactor.scrub_bytes(data))
                use = _change(use, digest=info.digest, size=info.size_bytes, redacted=True)
            else:
                self._redactor.note_file(use.path)
                use = _change(use, why_not_kept="secret")
                self._problems.append(
                    f"{use.path} holds the secret {found} and is not text, so it was not kept"
                )
        except (OSError, ThenceError) as error:
            self._problems.append(f"the output {use.path} could not be kept: {error}")
            use = _change(use, why_not_kept="unreadable")
            return _Stored(use, *registry.sniff(name, b""))
        if is_metrics_file(name):
            metrics, problem = read_metrics(use.path, data)
            self._metrics = {**metrics, **self._metrics}
            self._problems += [problem] if problem else []
        return _Stored(use, *sniffed)

    def _store_documents(self, writer: Writer) -> Iterator[FileUse]:
        read = {state.path for state in self._ledger.reads}
        found, problem = attempt("the documents", lambda: find_documents(self._root))
        self._problems += [problem] if problem else []
        declared = self._root / FILE_NAME
        for path in (*(found or ()), *([declared] if declared.is_file() else [])):
            if path not in read:
                state = FileState.seen(str(path), path.stat())
                yield self._store_state(writer, state, FileRole.DOCUMENT).use

    def _store_packages(self, writer: Writer, environment: Environment) -> Iterator[FileUse]:
        for kept in environment.kept:
            path = Path(kept.path)
            try:
                state = FileState.seen(kept.path, path.stat())
            except OSError as error:
                self._problems.append(f"{kept.path} could not be kept: {error.strerror}")
                continue
            use = self._store_state(writer, state, FileRole.PACKAGE).use
            place = path_to_text(f"{kept.reason}/{kept.place}")
            yield _change(use, path=place.text, percent=place.percent, package=kept.package)

    def _store_stream(self, writer: Writer, name: str) -> Digest | None:
        path = self._spool.folder / name
        try:
            data = path.read_bytes()
        except OSError:
            return None
        # Once more: a secret may have been learnt after it was printed.
        return writer.put_bytes(self._redactor.scrub_bytes(data)).digest if data else None

    def _head_of(self, digest: Digest) -> bytes:
        for piece in self._site.vault.content.stream(digest):
            return bytes(piece[:_HEAD])
        return b""

    def _folders(self, outputs: Iterable[_Stored]) -> tuple[str, ...]:
        """Folders of outputs that the run found: it may fail where it has to make them, or not."""
        parents = {
            item.use.path.rpartition("/")[0]
            for item in outputs
            if not item.use.path.startswith("/") and not item.use.percent
        }
        made = self._ledger.made_folders
        return tuple(sorted(p for p in parents if p and str(self._root / p) not in made))

    # Code and environment

    def _code(self, writer: Writer, inputs: Iterable[_Stored]) -> Code:
        files = [
            item.use.path
            for item in inputs
            if not item.use.path.startswith("/") and item.use.role is not FileRole.INPUT
        ]
        state, problem = attempt("the git state", lambda: capture_code(self._root, files))
        self._problems += [problem] if problem else []
        state = state or CodeState()
        self._problems += state.problems
        diff = None
        if state.diff:
            diff = writer.put_bytes(self._redactor.scrub_bytes(state.diff)).digest
        return Code(
            commit=state.commit,
            branch=state.branch,
            remote=state.remote,
            dirty=state.dirty,
            diff=diff,
            untracked=state.untracked,
        )

    def _environment(self) -> Environment:
        ledger = self._ledger
        found, problem = attempt(
            "the environment",
            lambda: capture_environment(
                ledger.environment | ledger.libraries,
                ledger.executed,
                variables=self._beginning.environment_variables,
            ),
        )
        self._problems += [problem] if problem else []
        return found or Environment()

    def _traceback(self) -> str | None:
        if self._end.status is not RunStatus.FAILED:
            return None
        try:
            text = (self._spool.folder / "stderr").read_bytes().decode("utf-8", "replace")
        except OSError:
            return None
        found = list(re.finditer(r"^Traceback \(most recent call last\):", text, re.MULTILINE))
        if not found:
            return None
        return self._redactor.scrub_text(text[found[-1].start() :][-_TRACEBACK:]).strip()

    # Versions

    def _with_versions(
        self, items: list[_Stored], roles: set[FileRole], noted: list[Digest]
    ) -> list[_Stored]:
        """Give each file below the root the version that holds it, made where there is none."""
        known = _KnownVersions(self._site)
        versions: dict[str, Digest] = {}
        for item in items:
            if _is_versioned(item.use, roles) and (found := known.find(item.use)):
                versions[item.use.path] = found
        by_path = {item.use.path: item for item in items if _is_versioned(item.use, roles)}
        is_output = FileRole.OUTPUT in roles
        for group in group_files(path for path in by_path if is_output or path not in versions):
            prefix = f"{group.name}/" if group.is_folder else ""
            members = [by_path[prefix + member] for member in group.members]
            digest = self._commit(group.name, members, prefix, made=is_output)
            if digest is not None:
                versions |= {member.use.path: digest for member in members}
        noted += dict.fromkeys(versions.values())
        return [
            item._replace(use=_change(item.use, version=versions.get(item.use.path)))
            for item in items
        ]

    def _commit(
        self, name: str, members: list[_Stored], prefix: str, *, made: bool
    ) -> Digest | None:
        entries = []
        for item in members:
            assert item.use.digest is not None
            path = item.use.path[len(prefix) :] if prefix else item.use.path.rpartition("/")[2]
            entries.append(
                TreeEntry(path, item.use.size, item.use.digest, executable=item.use.executable)
            )
        with self._site.vault.writer() as writer:
            info = writer.put_bytes(tree.encode(entries))
        first = members[0]
        metadata: dict[str, Any] = {} if prefix else {"media_type": first.media_type}
        draft = Draft(
            ArtifactName.from_path(name),
            first.kind,
            info.digest,
            sum(entry.size for entry in entries),
            len(entries),
            metadata=metadata,
            run=self._opened.run if made else None,
            sources=tuple(dict.fromkeys(self._used)) if made else (),
        )
        try:
            saved = self._site.artifacts.commit(draft, now=self._end.ended)
        except ThenceError as error:
            self._problems.append(f"{name} did not become a version: {error.what}")
            return None
        self._appended += saved.appended
        return saved.digest


class _KnownVersions:
    """Versions that hold the files of this folder, by what `save` and `get` remembered."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tracked = site.worktree.tracked()
        self._trees: dict[Digest, dict[str, Digest]] = {}

    def find(self, use: FileUse) -> Digest | None:
        parts = use.path.split("/")
        for end in range(len(parts), 0, -1):
            item = self._tracked.get("/".join(parts[:end]))
            if item is None:
                continue
            inside = "/".join([*([item.member] if item.member else []), *parts[end:]])
            files = self._files(item.tree)
            name = inside or parts[-1]
            if files.get(name) == use.digest:
                return item.version
        return None

    def _files(self, digest: Digest) -> dict[str, Digest]:
        if digest not in self._trees:
            try:
                entries = tree.decode(self._site.vault.content.read(digest))
            except NotFound:
                entries = []
            self._trees[digest] = {entry.path: entry.digest for entry in entries}
        return self._trees[digest]


def _is_versioned(use: FileUse, roles: set[FileRole]) -> bool:
    return (
        use.role in roles
        and use.digest is not None
        and not use.path.startswith("/")
        and not use.percent
        and not use.redacted
    )


def _change(use: FileUse, **changes: Any) -> FileUse:
    fields = {name: getattr(use, name) for name in use.__struct_fields__}
    return FileUse(**{**fields, **changes})


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""
