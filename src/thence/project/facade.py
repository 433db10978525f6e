"""The facade: one project with the verbs that people use. It joins the parts and holds no logic."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thence.execution import annotating, giving, keeping, opening
from thence.execution.giving import Given
from thence.execution.keeping import Metadata, SavedVersion
from thence.index import artifacts as artifact_questions
from thence.index import runs as run_questions
from thence.index import versions as version_questions
from thence.index import views
from thence.model.names import Alias, ArtifactName, RunRef, parse_ref
from thence.model.progress import Progress, silent
from thence.model.records import FileRole, FileUse, Kind, RunStatus, Verdict
from thence.project.recording import Recording
from thence.project.sharing import Sharing
from thence.project.upkeep import Upkeep
from thence.vault.difference import Diff
from thence.vault.status import PathStatus, status
from thence.vault.tree import TreeEntry

if TYPE_CHECKING:
    from thence.execution.record import Sensor
    from thence.execution.session import Session

__all__ = ["Project"]

PathLike = str | os.PathLike[str]


class Project(Sharing, Upkeep, Recording):
    """A project: a folder with `.thence/`, its store and its index.

    Attributes:
        site: Its parts, for who needs more than the verbs.
    """

    def __repr__(self) -> str:
        return f"Project({str(self.root)!r})"

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self.site.root

    # Opening

    @classmethod
    def init(cls, folder: PathLike = ".", *, store: str | None = None) -> "Project":
        """Make a project in a folder, or join the one in a store elsewhere.

        Adds `.thence/` to `.gitignore` where the folder is in a Git repository.

        Args:
            folder: Of the project.
            store: URL of its home, `.thence/store` without; a project that is there is joined.

        Raises:
            AlreadyExists: There is a project in the folder.
            Denied: The folder or the store may not be written to.
            StorageError: The store does not keep a promise that a project needs, or failed.
        """
        root = Path(folder).expanduser().resolve()
        if store is None:
            return cls(opening.make_site(root))
        return cls(opening.join_site(root, store, create=True))

    @classmethod
    def open(cls, location: PathLike | None = None) -> "Project":
        """Open the project in a folder or at a URL; `THENCE_PROJECT`, or upward from here.

        Raises:
            NotFound: There is none; the hint tells how to make one.
            FormatTooNew: It was made by a newer thence.
        """
        return cls(opening.find_site(location))

    # Saving

    def save_paths(
        self,
        paths: Sequence[PathLike],
        *,
        name: str | None = None,
        kind: Kind | None = None,
        note: str | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        doc: PathLike | None = None,
        everything: bool = False,
        progress: Progress = silent,
    ) -> list[SavedVersion]:
        """Save files and folders; with a name all of them are one artifact, else each its own.

        What a `.thenceignore` in them, or above them in the project, leaves out is not saved,
        except with `everything`. A path that is named itself is saved whatever the rules above say.

        Raises:
            NotFound: A path does not exist.
            AlreadyExists: A name is taken by another kind or spelling.
            Conflict: A file changed while it was read.
            Denied: A file may not be read, or the store not be written to.
            InvalidInput: There is nothing to save, or a name is none.
            StorageError: The disk is full, or the store failed.
        """
        metadata = Metadata(kind, note, tags or {}, metrics or {}, doc)
        return keeping.save_paths(
            self.site, paths, metadata, name=name, everything=everything, progress=progress
        )

    def save(
        self,
        obj: Any,
        name: str | None = None,
        *,
        kind: Kind | None = None,
        note: str | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        doc: PathLike | None = None,
        allow_pickle: bool = False,
    ) -> views.VersionDetail:
        """Save an object under a name, or a path (a `Path`, or text that begins with `./`).

        Takes DataFrames, arrays, dictionaries and lists, text, bytes, matplotlib figures and fitted
        scikit-learn models; anything else only with `allow_pickle=True`.

        Raises:
            InvalidInput: The object cannot be saved safely, or a name is missing.
            MissingExtra: A package is needed for it.
            AlreadyExists: The name is taken by another kind or spelling.
            StorageError: The store failed.
        """
        metadata = Metadata(kind, note, tags or {}, metrics or {}, doc)
        return keeping.save(self.site, obj, name, metadata, allow_pickle=allow_pickle).version

    def alias(self, ref: str, alias: str, *, note: str | None = None) -> views.VersionDetail:
        """Point an alias at a version.

        Raises:
            NotFound: There is no such version.
            InvalidInput: The alias is none, or a reserved word.
        """
        return annotating.set_alias(self.site, ref, alias, note=note)

    def tag(self, ref: str, tags: Mapping[str, str | None]) -> None:
        """Set tags of a version or a run; a tag of None is removed.

        Raises:
            NotFound: There is no such version or run.
        """
        annotating.set_tags(self.site, ref, tags)

    def describe(
        self, name: str, description: str | None = None, *, doc: PathLike | None = None
    ) -> views.ArtifactSummary:
        """Say what an artifact is: a sentence, a card (a Markdown file), or both.

        Raises:
            NotFound: There is no such artifact or file.
            InvalidInput: There is nothing to say.
        """
        return annotating.describe(self.site, name, description, card=doc)

    def rollback(self, name: str, ref: str) -> SavedVersion:
        """Make an old version's content the latest version; nothing in the history is lost.

        Raises:
            NotFound: There is no such artifact or version.
            InvalidInput: The ref is of another artifact.
        """
        return giving.roll_back(self.site, name, ref)

    # Giving back

    def get(
        self,
        ref: str,
        destination: PathLike | None = None,
        *,
        force: bool = False,
        link: str | None = None,
        progress: Progress = silent,
    ) -> Given:
        """Write a version to disk; nothing unsaved is overwritten without `force`.

        Args:
            ref: Which version, or which path in it.
            destination: The file or folder; without one, its own name, here.
            force: Overwrite files that differ from every version.
            link: Tie the files to those of a cache, which takes no room again: `reflink`, `hard`,
                or `best` for what the file system has.
            progress: Is told files and bytes so far, and all bytes.

        Raises:
            NotFound: There is no such version, path or content.
            InvalidInput: There is no such kind of link.
            Conflict: Files would be lost.
            Denied: The destination may not be written to.
            StorageError: The disk is full, or links are impossible there.
            DataDamaged: A content is damaged.
        """
        return giving.get(self.site, ref, destination, force=force, link=link, progress=progress)

    def load(
        self, ref: PathLike, *, allow_pickle: bool = False, trusted: Iterable[str] = ()
    ) -> Any:
        """The object that a version holds, or that a file on disk does.

        Raises:
            NotFound: There is no such version, path or file.
            InvalidInput: It is a folder of several files.
            Denied: It is a pickle, or holds types that are not trusted.
            MissingExtra: A package is needed for it.
            DataDamaged: A content is damaged.
        """
        return giving.load(self.site, ref, allow_pickle=allow_pickle, trusted=trusted)

    # Asking

    def ls(
        self, *, kind: Kind | None = None, prefix: str | None = None
    ) -> list[views.ArtifactSummary]:
        """All artifacts, sorted by name."""
        self.refresh()
        return artifact_questions.artifacts(self.site.index, kind=kind, prefix=prefix)

    def show(self, ref: str) -> views.VersionDetail | views.RunDetail:
        """Everything about a version or a run; also of one that was removed.

        Raises:
            NotFound: There is none.
            InvalidInput: The ref cannot be read.
        """
        parsed = parse_ref(ref)
        if isinstance(parsed, RunRef) and parsed.path is None:
            return self.find_run(ref)
        return giving.resolve(self.site, ref, removed=True).version

    def artifact(self, name: str) -> views.ArtifactSummary:
        """An artifact as a whole.

        Raises:
            NotFound: There is none; the hint names those that are spelled alike.
        """
        self.refresh()
        return artifact_questions.artifact(self.site.index, ArtifactName(name))

    def files(self, ref: str) -> Sequence[TreeEntry]:
        """The files of a version, or those below a path in it.

        Raises:
            NotFound: There is no such version or path.
        """
        return giving.files_of(self.site, giving.resolve(self.site, ref))

    def history(self, name: str) -> list[views.VersionSummary]:
        """The versions of an artifact, the newest first.

        Raises:
            NotFound: There is no such artifact.
        """
        self.refresh()
        return version_questions.versions(self.site.index, ArtifactName(name))

    def alias_history(self, name: str, alias: str | None = None) -> list[views.AliasChange]:
        """The moves of an artifact's aliases, the last one first."""
        self.refresh()
        only = None if alias is None else Alias(alias)
        return artifact_questions.alias_history(self.site.index, ArtifactName(name), only)

    def diff(self, old: str, new: str) -> Diff:
        """What changed from one version to another.

        Raises:
            NotFound: There is no such version or path.
        """
        return giving.compare(self.site, old, new)

    def status(self) -> list[PathStatus]:
        """What became of the paths that were saved or got.

        Raises:
            Denied: A file may not be read.
        """
        tracked = self.site.worktree.tracked()
        return status(self.site.vault, tracked, self.root)

    # Runs

    def execute(
        self,
        command: Sequence[str],
        *,
        name: str | None = None,
        experiment: str | None = None,
        note: str | None = None,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        sensor: "Sensor" = "auto",
        keep_remote: bool = False,
    ) -> views.RunDetail:
        """Run a command under capture, with this process's terminal, and seal the run.

        Args:
            command: Program and arguments.
            name: What to call the run.
            experiment: The group of runs that it belongs to.
            note: Why it is done.
            tags: Of the run.
            params: Besides those that are found.
            sensor: How to watch.
            keep_remote: Keep what the command's Python programs fetch over HTTP, for reproducing
                it where that has changed or is gone.

        Raises:
            NotFound: There is no such command.
            Denied: It cannot be executed, or the store not be written to.
            InvalidInput: There is no command, or `thence.toml` cannot be used.
            StorageError: The store failed; what was recorded waits for `recover`. Of a home that
                is far away this is only said in the log.
        """
        from thence.execution import following, record

        options = record.RunOptions(
            name, experiment, note, tags or {}, params or {}, keep_remote=keep_remote
        )
        return following.detail(
            self.site, record.execute(self.site, command, options, sensor=sensor)
        )

    def run(
        self,
        *,
        name: str | None = None,
        experiment: str | None = None,
        note: str | None = None,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> "AbstractContextManager[Session]":
        """A run around a block of this very program.

        Raises:
            Conflict: A run is open in this process.
            StorageError: The spool or the store cannot be written.
        """
        from thence.execution import record, session

        options = record.RunOptions(name, experiment, note, tags or {}, params or {})
        return session.run(self.site, options)

    def recover(self) -> list[views.RunDetail]:
        """Seal the runs whose recorder died.

        Raises:
            StorageError: The store cannot be written.
        """
        from thence.execution import recovery

        found = recovery.recover(self.site)
        return [run_questions.run_detail(self.site.index, run) for run in found]

    def reproduce(
        self,
        ref: str,
        *,
        keep: PathLike | None = None,
        secrets: Mapping[str, str] | None = None,
        strict: bool = False,
        progress: Callable[[str], None] = lambda text: None,
    ) -> Verdict:
        """Run a run again in an empty folder and say how well its results came out.

        Args:
            ref: A run, or a version that a run made.
            keep: An empty folder to work in and leave.
            secrets: Values for what was withheld, by name.
            strict: Let it see nothing of this machine but its system.
            progress: Is told what is being done.

        Raises:
            NotFound: There is no such run.
            InvalidInput: The run is not sealed yet.
            AlreadyExists: `keep` is not empty.
            StorageError: The disk is full.
        """
        from thence.execution.reproduce import reproduce

        folder = None if keep is None else Path(keep)
        return reproduce(
            self.site, ref, keep=folder, secrets=secrets, strict=strict, progress=progress
        )

    def runs(
        self,
        *,
        experiment: str | None = None,
        status: RunStatus | None = None,
        limit: int | None = None,
    ) -> list[views.RunSummary]:
        """The runs, the newest first."""
        self.refresh()
        return run_questions.runs(
            self.site.index, experiment=experiment, status=status, limit=limit
        )

    def find_run(self, ref: str) -> views.RunDetail:
        """Everything about a run; a version means the run that made it.

        Raises:
            NotFound: There is no such run, or no run made that version.
        """
        return giving.resolve_run(self.site, ref, removed=True)

    def run_files(self, ref: str, role: FileRole | None = None) -> list[FileUse]:
        """The files that a run read and wrote.

        Raises:
            NotFound: There is no such run.
        """
        return run_questions.run_files(self.site.index, self.find_run(ref).run, role)
