"""The ledger of a run's files: fixes what the run uses before the run can change it.

Each first event becomes a note: it is applied to the ledger in memory and added to the notes in the
spool. Reading the notes again gives the same ledger, so a run whose supervisor was killed loses
nothing that was noted.
"""

import contextlib
import os
import stat
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

from thence.errors import StorageError
from thence.execution.capture.beside import Copying
from thence.execution.capture.classify import (
    PLANTED,
    Classifier,
    Place,
    is_bulk_data,
    is_library,
    source_of_bytecode,
)
from thence.execution.capture.disk import can_rename, files_below, status_of, status_of_link
from thence.execution.capture.fixing import Fixer, Known, Protect
from thence.execution.capture.keeper import Glance, Keeper, Redact, Signature, glance
from thence.execution.capture.notes import Notes
from thence.execution.capture.states import FileState, Ledger, WrittenFile
from thence.execution.events import CHANGED, CREATED, Action, FileEvent
from thence.execution.scanning import TreeScan

__all__ = ["FileLedger"]

_COPIES = "kept"
_ABSENT_LIMIT = 1000
# Copying this much takes about 0.1 s, which is what a program may be made to wait.
_KEEP_LIMIT = 100 << 20
_SPARE = 2 << 30
_CONTENT_PLACES = (Place.PROJECT, Place.OUTSIDE)


class FileLedger:
    """Notes what a run does to files. `on_event` may be called from any thread.

    Args:
        root: The project's folder.
        cwd: Working directory of the run.
        spool: Folder for copies and notes; made if it is not there.
        known: Spares copying what the store has.
        protect: Spares secrets.
        redact: Applied to small files of code and configuration before anything is written.
        ignore: Further folders whose files are noise, by the name of the rule.
        home: The user's folder; default: of this user.
        keep_limit_bytes: Larger inputs are copied beside the run, while the program goes on. What
            the run is about to destroy is copied before it is, whatever its size.
        spare_bytes: Copies beside the run leave at least this much of the disk free; what is not
            copied is looked at again at the end.
        quietly: What the copying thread works in, for sensors in this process.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        cwd: str | os.PathLike[str],
        spool: Path,
        known: Known | None = None,
        protect: Protect | None = None,
        redact: Redact | None = None,
        ignore: Mapping[str, str] | None = None,
        home: str | os.PathLike[str] | None = None,
        keep_limit_bytes: int = _KEEP_LIMIT,
        spare_bytes: int = _SPARE,
        quietly: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self.root = os.path.realpath(root)
        self.cwd = os.fspath(cwd)
        self._copies = spool / _COPIES
        self._limit = keep_limit_bytes
        self._home = os.fspath(home) if home is not None else os.path.expanduser("~")
        self._ignore = {"spool": os.fspath(spool), **(ignore or {})}
        self._classifier = Classifier(self.root, home=self._home, ignore=self._ignore)
        self._keeper = Keeper(self._copies, redact or (lambda _path, _data: None))
        self._copying = Copying(self._keeper, self._copies, spare_bytes, quietly)
        self._fixer = Fixer(
            self._keeper,
            self._copying,
            known or (lambda _path, _status: None),
            protect or (lambda _path: False),
        )
        self._lock = threading.RLock()
        self._notes = Notes(spool)

        self._looked_at: set[str] = set()
        self._waiting: dict[str, Glance | None] = {}
        self._reads: dict[str, FileState] = {}
        self._before: dict[str, FileState] = {}
        self._written: dict[str, bool] = {}
        self._environment: set[str] = set()
        self._libraries: set[str] = set()
        self._made_folders: set[str] = set()
        self._executed: dict[str, None] = {}
        self._absent: dict[str, None] = {}
        self._connections: dict[str, None] = {}
        self._ignored: Counter[str] = Counter()
        self._handlers: dict[Action, Callable[[FileEvent], None]] = {
            Action.READ: lambda event: self._on_read(event.path, detail=event.detail),
            Action.WRITE: lambda event: self._on_write(event.path, keeps_bytes=True),
            Action.UPDATE: lambda event: self._on_write(event.path, keeps_bytes=True),
            Action.TRUNCATE: self._on_truncate,
            Action.RENAME: self._on_rename,
            Action.LINK: self._on_link,
            Action.REMOVE: lambda event: self._on_remove(event.path),
            Action.MAKE_FOLDER: lambda event: self._on_make_folder(event.path),
            Action.EXECUTE: lambda event: self._on_execute(event.path),
            Action.CONNECT: self._on_connect,
        }

    def open(self) -> Self:
        """Make the spool and begin to note.

        Raises:
            StorageError: The spool cannot be written.
        """
        try:
            self._copies.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot write to the spool {self._copies.parent}", why=str(error.strerror)
            ) from error
        self._notes.open()
        begin = {"root": self.root, "cwd": self.cwd, "home": self._home, "ignore": self._ignore}
        self._notes.add("begin", begin)
        return self

    def scan(self) -> TreeScan:
        """Look at the project's folder, as far as files in it are recorded."""
        return TreeScan(self.root, ignore=self._ignore, home=self._home)

    def on_event(self, event: FileEvent) -> None:
        """Note what a program is about to do; returns when what must be kept is kept."""
        # Without the lock: most events are of files that are settled, and sets only grow.
        if event.action is Action.READ and event.path in self._looked_at:
            return
        with self._lock:
            try:
                self.catch_up()
            finally:
                self._handlers[event.action](event)
            self._settle_finished()

    def take(self, event: FileEvent) -> bool:
        """See `Soon`: of small files that hold neither text nor secrets, and of installed ones."""
        path = event.path
        if path in self._looked_at or path in self._waiting:
            return True
        real, (place, _) = self._classifier.resolve(path)
        if place is Place.ENVIRONMENT or place is Place.SYSTEM:
            self._waiting[path] = None
            return True
        if place is Place.IGNORED or real in self._written or not is_bulk_data(real):
            return False
        read = glance(real)
        if read is None:
            return False
        self._waiting[path] = read
        return True

    def catch_up(self) -> None:
        """See `Soon`."""
        if not self._waiting:
            return
        failures = []
        with self._lock, self._notes.together():
            waiting, self._waiting = self._waiting, {}
            for path, read in waiting.items():
                try:
                    self._on_read(path, read=read)
                except Exception as error:  # the others are to be recorded nevertheless
                    failures.append(error)
        if failures:
            raise failures[0]

    # -- what each kind of event means ------------------------------------------------------------

    def _on_read(self, path: str, *, detail: str = "", read: Glance | None = None) -> None:
        if path in self._looked_at:
            return
        real, (place, rule) = self._classifier.resolve(path)
        if place is Place.IGNORED:
            self._looked_at.add(path)
            self._note_ignored(rule)
            source = source_of_bytecode(real)
            if source is not None and os.path.exists(source):
                self._on_read(source)
            return
        if real in self._written:
            return  # what the run wrote itself is not an input
        try:
            status = os.stat(real) if read is None else read.status
        except OSError as error:
            if isinstance(error, FileNotFoundError) and place is Place.PROJECT:
                self._on_absent(real, creates="create" in detail.split())
            return
        self._looked_at.add(path)
        if not stat.S_ISREG(status.st_mode):
            return
        if is_library(real):
            self._note_path("library", real, self._libraries)
        if place is Place.ENVIRONMENT:
            self._note_path("environment", real, self._environment)
        elif real not in self._reads and (
            place is Place.PROJECT or (place is Place.OUTSIDE and not is_library(real))
        ):
            self._note_read(self._fix(real, status, limit=self._limit, read=read))

    def _on_absent(self, real: str, *, creates: bool) -> None:
        if creates:
            self._note_written(real, existed=False)
        elif real not in self._absent and len(self._absent) < _ABSENT_LIMIT:
            self._note("absent", {"path": real})

    def _on_truncate(self, event: FileEvent) -> None:
        if event.detail in {CREATED, CHANGED}:  # heard of afterwards: too late for its old content
            real, (place, _) = self._classifier.resolve(event.path)
            if place in _CONTENT_PLACES and real not in self._written:
                existed = event.detail == CHANGED
                before = self._reads.get(real) if existed else None
                if before is not None and before.is_deferred:
                    before = before._replace(why_not_kept="changed")
                self._note_written(real, existed=existed, before=before)
            return
        # truncate(2) to a length leaves bytes that the result is made from; O_TRUNC leaves none.
        self._on_write(event.path, keeps_bytes=event.detail.startswith("length"))

    def _on_write(self, path: str, *, keeps_bytes: bool) -> None:
        if os.path.islink(path):  # it is the file behind it that changes, too
            self._on_write(os.path.realpath(path), keeps_bytes=keeps_bytes)
        real, (place, rule) = self._classifier.resolve(path)
        if place is Place.IGNORED:
            self._note_ignored(rule)
        if place not in _CONTENT_PLACES or real in self._written:
            return
        try:
            status = os.stat(real)
        except OSError:
            self._note_written(real, existed=False)
            return
        if stat.S_ISREG(status.st_mode):
            self._fix_before(real, status, is_input=keeps_bytes and status.st_size > 0)

    def _fix_before(self, real: str, status: os.stat_result, *, is_input: bool) -> None:
        """Keep what a file of before the run holds: it is about to change, move or go."""
        self._settle(real)
        read = self._reads.get(real)
        same = read is not None and read.signature == Signature.of(status)
        if read is not None and same and not read.is_deferred:
            before = read
        else:
            before = self._fix(real, status, limit=None)
            if is_input or (same and read is not None):
                self._note_read(before)
        self._note_written(real, existed=True, before=before)

    def _on_remove(self, path: str) -> None:
        real, (place, _) = self._classifier.resolve(path)
        if place not in _CONTENT_PLACES or real in self._written:
            return
        status = status_of_link(real)
        if status is not None and stat.S_ISREG(status.st_mode):
            self._fix_before(real, status, is_input=False)

    def _on_rename(self, event: FileEvent) -> None:
        old, (old_place, _) = self._classifier.resolve(event.path)
        new, (new_place, _) = self._classifier.resolve(event.target)
        old_status, new_status = status_of_link(old), status_of_link(new)
        if old == new or not can_rename(old_status, new_status, os.path.dirname(new)):
            return
        if old_status is not None and stat.S_ISDIR(old_status.st_mode):
            self._on_folder_rename(old, new)
            return
        swaps = event.detail == "exchange"
        sides = ((old, old_place, old_status, True), (new, new_place, new_status, swaps))
        for path, place, status, moves in sides:
            if place not in _CONTENT_PLACES or path in self._written:
                continue
            if status is not None and stat.S_ISREG(status.st_mode):
                # The bytes of what moves become those of a result.
                self._fix_before(path, status, is_input=moves)
            elif path == new:
                self._note_written(path, existed=False)

    def _on_folder_rename(self, old: str, new: str) -> None:
        for path in files_below(old):
            moved = new + path[len(old) :]
            _, (place, _) = self._classifier.resolve(path)
            _, (moved_place, _) = self._classifier.resolve(moved)
            if place in _CONTENT_PLACES and path not in self._written:
                # Its bytes are safe under the new name; copying a whole folder would be dear.
                status = status_of_link(path)
                if status is not None:
                    before = self._reads.get(path) or FileState.seen(path, status)
                    if before.is_deferred:
                        before = before._replace(why_not_kept="moved")
                    self._note_written(path, existed=True, before=before)
            if moved_place in _CONTENT_PLACES and moved not in self._written:
                self._note_written(moved, existed=False)
        self._classifier.forget(old)
        self._classifier.forget(new)

    def _on_link(self, event: FileEvent) -> None:
        self._classifier.forget(event.target)
        new, (place, _) = self._classifier.resolve(event.target)
        if place not in _CONTENT_PLACES or os.path.lexists(new):
            return
        if event.path and event.detail != "symbolic":
            self._on_read(event.path)
        if new not in self._written:
            self._note_written(new, existed=False)

    def _on_make_folder(self, path: str) -> None:
        real, (place, _) = self._classifier.resolve(path)
        if place is Place.PROJECT and not os.path.lexists(real):
            self._note_path("folder", real, self._made_folders)

    def _on_execute(self, path: str) -> None:
        real, (place, _) = self._classifier.resolve(path)
        if path in self._executed or not os.path.isfile(real):
            return
        self._note("execute", {"path": path})
        # Programs elsewhere belong to the system; scripts are read by their interpreters.
        if place is Place.PROJECT:
            self._on_read(path)

    def _on_connect(self, event: FileEvent) -> None:
        if event.detail == "udp":
            self._note_ignored("udp connection")
        elif event.path not in self._connections:
            self._note("connect", {"path": event.path})

    # -- fixing content ---------------------------------------------------------------------------

    def _fix(
        self, real: str, status: os.stat_result, *, limit: int | None, read: Glance | None = None
    ) -> FileState:
        return self._fixer.fix(real, status, limit=limit, then=self._settle_if_idle, read=read)

    def _settle_if_idle(self) -> None:
        # In the copying thread, which must not wait for who may be waiting for its next copy.
        if self._lock.acquire(blocking=False):
            try:
                self._settle_finished()
            finally:
                self._lock.release()

    def _settle_finished(self) -> None:
        for real in self._copying.finished():
            if real in self._reads:  # else its first event is still in work
                self._settle(real)

    def _settle(self, real: str) -> None:
        """Note what became of a copy that was begun; waits for it."""
        if not self._copying.is_of(real):
            return
        first = self._reads.get(real)
        if first is None:
            self._copying.take(real)
        elif (state := self._fixer.settled(first)) is not None:
            self._note_read(state)

    # -- notes ------------------------------------------------------------------------------------

    def _note_read(self, state: FileState) -> None:
        self._add_read(state)
        self._notes.add("read", {"file": state.to_plain()})

    def _note_written(self, path: str, *, existed: bool, before: FileState | None = None) -> None:
        self._add_written(path, existed=existed, before=before)
        body: dict[str, Any] = {"path": path, "existed": existed}
        if before is not None:
            body["before"] = before.to_plain()
        self._notes.add("written", body)

    def _note_path(self, kind: str, path: str, noted: set[str]) -> None:
        if path not in noted:
            self._note(kind, {"path": path})

    def _note_ignored(self, rule: str) -> None:
        if rule == PLANTED:
            return  # of ours
        if rule in self._ignored:
            self._ignored[rule] += 1
        else:
            self._note("ignored", {"rule": rule})

    def _note(self, kind: str, body: dict[str, Any]) -> None:
        self._apply(kind, body)
        self._notes.add(kind, body)

    def _add_read(self, state: FileState) -> None:
        self._reads[state.name] = state

    def _add_written(self, path: str, *, existed: bool, before: FileState | None) -> None:
        self._written[path] = existed
        if before is not None:
            self._before[path] = before

    def _apply(self, kind: str, body: dict[str, Any]) -> None:
        match kind:
            case "read":
                self._add_read(FileState.from_plain(body["file"], self._copies))
            case "written":
                plain = body.get("before")
                before = FileState.from_plain(plain, self._copies) if plain else None
                self._add_written(body["path"], existed=body["existed"], before=before)
            case "environment":
                self._environment.add(body["path"])
            case "library":
                self._libraries.add(body["path"])
            case "folder":
                self._made_folders.add(body["path"])
            case "execute":
                self._executed[body["path"]] = None
            case "absent":
                self._absent[body["path"]] = None
            case "connect":
                self._connections[body["path"]] = None
            case "ignored":
                self._ignored[body["rule"]] += 1

    @classmethod
    def replay(
        cls, spool: Path, *, known: Known | None = None, protect: Protect | None = None
    ) -> "FileLedger":
        """The ledger as it was when its process died; `finish` it, it takes no more events.

        Raises:
            NotFound: There are no notes.
        """
        begin, *notes = Notes(spool).read()
        ledger = cls(
            begin["root"],
            cwd=begin["cwd"],
            spool=spool,
            known=known,
            protect=protect,
            ignore=begin["ignore"],
            home=begin["home"],
        )
        for note in notes:
            ledger._apply(note["note"], note)
        return ledger

    # -- the end ----------------------------------------------------------------------------------

    def finish(self) -> Ledger:
        """Look at everything once more; the run has ended."""
        self._copying.close()
        with self._lock:
            self.catch_up()
            self._settle_finished()
            self._keeper.close()
            self._notes.close()
            outputs, overwritten, removed = [], [], []
            untouched = set()
            for path, existed in self._written.items():
                before = self._before.get(path)
                status = status_of(path)
                if status is None or not stat.S_ISREG(status.st_mode):
                    if before is not None:
                        removed.append(before)
                elif before is not None and before.signature == Signature.of(status):
                    untouched.add(path)  # opened for writing, and then not written to
                else:
                    secret = self._fixer.is_protected(path)
                    outputs.append(WrittenFile(Path(path), existed, secret))
                    if before is not None:
                        overwritten.append(before)
            reads = [
                state if path in self._written and path not in untouched else state.checked()
                for path, state in self._reads.items()
            ]
            return Ledger(
                reads=tuple(reads),
                overwritten=tuple(overwritten),
                outputs=tuple(outputs),
                removed=tuple(removed),
                environment=frozenset(self._environment),
                libraries=frozenset(self._libraries),
                made_folders=frozenset(self._made_folders),
                executed=tuple(self._executed),
                absent=tuple(path for path in self._absent if path not in self._written),
                connections=tuple(self._connections),
                ignored=dict(self._ignored),
                problems=tuple(self._fixer.problems),
            )
