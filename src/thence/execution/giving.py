"""Giving things back: files, folders, objects, old states."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from thence.errors import Conflict, InvalidInput, NotFound
from thence.execution import live
from thence.execution.keeping import SavedVersion, commit
from thence.execution.opening import size_from
from thence.execution.overwriting import in_no_version
from thence.execution.parts import explained
from thence.execution.site import Site
from thence.index import runs as run_questions
from thence.index import versions as version_questions
from thence.index.erasures import erased_contents
from thence.index.views import Deletion, RunDetail, VersionDetail
from thence.model.ids import Digest
from thence.model.names import ArtifactName, RunRef, VersionRef, is_path, parse_ref
from thence.model.numbers import is_local
from thence.model.progress import Progress, silent
from thence.vault import tree
from thence.vault.artifacts import Draft
from thence.vault.checkout import CheckedOut, check_out, digest_of_file, select
from thence.vault.difference import Diff, difference
from thence.vault.plainfiles import DEFAULT_LIMIT, LinkKind, PlainFiles
from thence.vault.restorer import Links
from thence.vault.tree import TreeEntry
from thence.vault.worktree import Tracked

__all__ = [
    "Given",
    "Resolved",
    "compare",
    "files_of",
    "get",
    "load",
    "resolve",
    "resolve_run",
    "roll_back",
]

LINK_CACHE_VARIABLE = "THENCE_LINK_CACHE_SIZE"


class Resolved(NamedTuple):
    """A version, and the path inside it that was asked for."""

    version: VersionDetail
    path: str | None


class Given(NamedTuple):
    """What `get` did.

    Attributes:
        target: The file or folder that holds the version now.
        erased: Paths that are not given back, because their content was erased.
    """

    version: VersionDetail
    target: Path
    done: CheckedOut
    erased: tuple[str, ...] = ()


def resolve(site: Site, ref: str, *, removed: bool = False) -> Resolved:
    """The version that a ref names.

    A run with a path (`run:ab12:out.csv`) is the version that it made of that output.

    Args:
        site: Where to look.
        ref: Which version.
        removed: Give it also where it is removed.

    Raises:
        NotFound: There is none, or it was removed; then it says by whom, when and why.
        InvalidInput: The ref cannot be read, or names a run where a version is wanted.
    """
    parsed = parse_ref(ref)
    site.refresh()
    if isinstance(parsed, VersionRef):
        with explained(site, str(parsed)):
            version = version_questions.find_version(site.index, parsed, removed=True)
        found = Resolved(version, parsed.path)
    else:
        found = _output_of(site, parsed)
    if not removed and found.version.deletion is not None:
        raise _removed(site, found.version.ref, found.version.deletion, found.version.tree)
    return found


def _removed(site: Site, ref: str, deletion: Deletion, needed: Digest | None) -> NotFound:
    """That something was removed, and what can be done about it."""
    if needed is None or not site.vault.content.missing([needed]):
        hint = f"Its content is still there. To undo it: thence rm --undo {ref}"
    elif needed in erased_contents(site.index):
        hint = "Its content was erased, and cannot be given back."
    else:
        hint = "Its content is gone. A clone or mirror from before may still have it."
    return NotFound(f"{ref} was removed", why=str(deletion), hint=hint, about=ref)


def _without_erased(
    site: Site, ref: str, entries: Sequence[TreeEntry]
) -> tuple[Sequence[TreeEntry], tuple[str, ...]]:
    """The files that can be given back, and the paths of those that were erased.

    Raises:
        NotFound: All of them were erased.
    """
    told = erased_contents(site.index)
    if not told:
        return entries, ()
    left = [entry for entry in entries if entry.digest not in told]
    gone = tuple(entry.path for entry in entries if entry.digest in told)
    if gone and not left:
        first = next(told[entry.digest] for entry in entries if entry.digest in told)
        raise NotFound(
            f"{ref} was erased",
            why=str(first),
            hint="It is nowhere in this project any more, and cannot be given back.",
            about=ref,
        )
    return left, gone


def _output_of(site: Site, ref: RunRef) -> Resolved:
    run = run_questions.run_detail(site.index, run_questions.find_run(site.index, ref).run)
    made = {str(one.artifact): one for one in run.makes if one.artifact is not None}
    if ref.path is None:
        listed = ", ".join(one.ref or name for name, one in sorted(made.items()))
        raise InvalidInput(
            f"{ref} is a run, and a version is wanted",
            why=f"It made {listed}." if listed else "It made no versions.",
            hint="Name one of its outputs." if listed else "See it: thence show " + str(ref),
            about=str(ref),
        )
    name = ArtifactName.from_path(ref.path)
    if name not in made:
        raise NotFound(
            f"the run made nothing called {ref.path!r}",
            why=f"It made {', '.join(sorted(made)) or 'nothing'}.",
            about=str(ref),
        )
    return Resolved(version_questions.version_by_record(site.index, made[name].record), None)


def files_of(site: Site, found: Resolved) -> Sequence[TreeEntry]:
    """The files of a version, or those below the path that was asked for.

    Raises:
        NotFound: Nothing is there, or the tree is not in the store.
        DataDamaged: The tree is damaged.
    """
    with explained(site, found.version.ref):
        entries = tree.decode(site.vault.content.read(found.version.tree))
    return entries if found.path is None else select(entries, found.path)


def get(
    site: Site,
    ref: str,
    destination: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
    link: str | None = None,
    progress: Progress = silent,
) -> Given:
    """Write a version to disk: a single file by its name, a folder's content into the destination.

    Args:
        site: Where from.
        ref: Which version, or which path in it.
        destination: For a file: the file, or a folder that exists. For a folder: the folder.
            Without one: the base name of the file or artifact, here.
        force: Overwrite files that differ from every version.
        link: Tie the files to those of a cache: `reflink`, `hard`, or `best` for what is possible.
        progress: Is told files and bytes done, and all bytes.

    Raises:
        NotFound: There is no such version, path or content.
        InvalidInput: There is no such kind of link.
        Conflict: Files would be lost.
        Denied: The destination may not be written to.
        StorageError: The disk is full.
        DataDamaged: A content is damaged.
    """
    found = resolve(site, ref)
    entries, erased = _without_erased(site, ref, files_of(site, found))
    wanted = found.path or found.version.artifact
    single = (
        len(entries) == 1
        and "/" not in entries[0].path
        and not (found.path is None and found.version.metadata.get("folder"))
        and (found.path is None or not found.path.endswith("/"))
    )
    if single and (found.path is None or entries[0].path == found.path.rpartition("/")[2]):
        target = _file_target(entries[0].path, destination)
        folder = target.parent
        entries = [entries[0]._replace(path=target.name)]
    else:
        single = False
        folder = target = Path(destination or wanted.rstrip("/").rpartition("/")[2])
    if destination is None and not single and target.is_symlink():
        # A version got before may have put it there to lead this one out of the folder.
        raise Conflict(
            f"{target} is a link",
            why=f"It leads to {os.readlink(target)}, where the files would be written.",
            hint=f"Name the folder that you want: thence get {ref} FOLDER",
            about=str(target),
        )
    key = site.relative(target)
    before: Sequence[TreeEntry] = ()
    known = site.worktree.tracked().get(key)
    if known is not None and known.artifact == found.version.artifact:
        was_file = target.is_file()
        if not single or not was_file:
            before = _files_before(site, known.tree)
        # A file becomes a folder, or a folder a file: seen from the folder above.
        if single:
            before = _below(target.name, before)
        elif was_file:
            folder, entries = target.parent, _below(target.name, entries)
            before = [entry._replace(path=target.name) for entry in before[:1]]
    links = None if link is None else _links(site, folder, link)
    with explained(site, found.version.ref):
        done = check_out(
            entries,
            site.vault.content,
            folder,
            before=before,
            force=force,
            lost=lambda there: in_no_version(site, there, likely=found.version.artifact),
            progress=progress,
            links=links,
        )
    if links is not None:
        links.files.make_room()
    if folder != target and not single:
        written = tuple(path.partition("/")[2] for path in done.written)
        done = done._replace(written=written, removed=())
    if found.path is None:
        site.worktree.remember(
            [
                Tracked(
                    path=key,
                    artifact=found.version.artifact,
                    version=found.version.record,
                    tree=found.version.tree,
                )
            ]
        )
    return Given(found.version, target, done, erased)


def _files_before(site: Site, known: Digest) -> Sequence[TreeEntry]:
    """The files of the version that was here before; none where it was removed and collected.

    Files that were erased are not among them: those on the disk stay.
    """
    told = erased_contents(site.index)
    try:
        entries = tree.decode(site.vault.content.read(known))
    except NotFound:
        return ()
    return [entry for entry in entries if entry.digest not in told] if told else entries


def _links(site: Site, folder: Path, wanted: str) -> Links:
    if wanted != "best" and wanted not in set(LinkKind):
        raise InvalidInput(
            f"there is no kind of link called {wanted!r}",
            hint=f"Choose best, {' or '.join(LinkKind)}.",
        )
    files = PlainFiles(
        site.local / "cache" / "files",
        digest_of=digest_of_file,
        limit_bytes=size_from(LINK_CACHE_VARIABLE, DEFAULT_LIMIT),
    )
    kind = files.kind_for(folder.absolute(), None if wanted == "best" else LinkKind(wanted))
    return Links(files, kind)


def _below(name: str, entries: Iterable[TreeEntry]) -> list[TreeEntry]:
    return [entry._replace(path=f"{name}/{entry.path}") for entry in entries]


def _file_target(name: str, destination: str | os.PathLike[str] | None) -> Path:
    if destination is None:
        return Path(name)
    given = os.fspath(destination)
    path = Path(destination)
    return path / name if path.is_dir() or given.endswith("/") else path


def load(
    site: Site,
    ref: str | os.PathLike[str],
    *,
    allow_pickle: bool = False,
    trusted: Iterable[str] = (),
) -> Any:
    """The object that a version holds, as it was saved; a file as its format is usually read.

    Args:
        site: Where from.
        ref: A ref; or the path of a file on disk (a `Path`, or text that begins with `./`).
        allow_pickle: Load pickles too, which can run any code.
        trusted: Names of further types that may be made.

    Raises:
        NotFound: There is no such version, path or file.
        InvalidInput: It is a folder of several files.
        Denied: It is a pickle, or holds types that are not trusted.
        MissingExtra: A package is needed for it.
        DataDamaged: A content is damaged.
    """
    import tempfile

    from thence.formats import registry  # 20 ms, which listing names need not pay

    if isinstance(ref, os.PathLike) or is_path(ref):
        path = Path(ref).expanduser()
        if not path.exists():
            raise NotFound(
                f"there is no file {path}",
                hint="Text without ./ is taken as a ref; with it, as a path.",
            )
        return registry.load_file(path, allow_pickle=allow_pickle, trusted=trusted)
    found = resolve(site, ref)
    entries = files_of(site, found)
    is_object = found.path is None and "format" in found.version.metadata
    if not is_object and len(entries) != 1:
        near = f"{found.version.ref}:{entries[0].path}" if entries and not found.path else "a file"
        raise InvalidInput(
            f"{ref} is a folder of {len(entries)} files",
            why="Only single files and saved objects can be loaded.",
            hint=f"Load one of them, such as {near}, or get them all: thence get {ref}",
            about=ref,
        )
    with tempfile.TemporaryDirectory(prefix="thence-") as name:
        folder = Path(name)
        with explained(site, found.version.ref):
            check_out(entries, site.vault.content, folder)
        live.tell(live.UsedVersion(version=found.version.record))
        if is_object:
            metadata = found.version.metadata
            return registry.load(folder, metadata, allow_pickle=allow_pickle, trusted=trusted)
        path = folder / entries[0].path
        return registry.load_file(path, allow_pickle=allow_pickle, trusted=trusted)


def compare(site: Site, old: str, new: str) -> Diff:
    """What changed from one version to another.

    Raises:
        NotFound: There is no such version or path.
        DataDamaged: A content is damaged.
    """
    before, after = resolve(site, old), resolve(site, new)
    names = tuple(
        found.version.ref + (f":{found.path}" if found.path else "") for found in (before, after)
    )
    return difference(
        site.vault.content,
        files_of(site, before),
        files_of(site, after),
        names=(names[0], names[1]),
    )


def _lasting_name(version: VersionDetail) -> str:
    """Its number, or where that is another one when it is pushed, its content."""
    return version.tree.short if is_local(version.number) else version.label


def roll_back(site: Site, name: str, ref: str) -> SavedVersion:
    """Make the content of an old version the latest one; nothing in the history is lost.

    Where the latest version has that content already, it is returned as it is.

    Raises:
        NotFound: There is no such artifact or version.
        InvalidInput: The ref is of another artifact, or of a path inside a version.
    """
    artifact = ArtifactName(name)
    # `v3` and `champion` alone are versions of the artifact that is rolled back.
    found = resolve(site, ref if "@" in ref or ref == name else f"{name}@{ref}")
    version = found.version
    if version.artifact != artifact or found.path is not None:
        raise InvalidInput(
            f"{ref} is not a version of {name}",
            hint=f"See its versions: thence history {name}",
            about=ref,
        )
    latest = resolve(site, name).version
    if latest.tree == version.tree:
        return SavedVersion(latest, new=False, edited=False)
    return commit(
        site,
        Draft(
            artifact,
            version.kind,
            version.tree,
            version.size_bytes,
            version.files,
            note=f"rolled back to {_lasting_name(version)}",
            tags=version.tags,
            metrics=version.metrics,
            metadata=version.metadata,
            card=version.card,
            sources=(version.record,),
        ),
    )


def resolve_run(site: Site, ref: str, *, removed: bool = False) -> RunDetail:
    """The run that a ref names; a version means the run that made it.

    Args:
        site: Where to look.
        ref: Which run.
        removed: Give it also where it is removed, or where the version is.

    Raises:
        NotFound: There is no such run, no run made that version, or it was removed.
        InvalidInput: The ref cannot be read, or several runs begin so.
    """
    parsed = parse_ref(ref)
    site.refresh()
    if isinstance(parsed, RunRef):
        found = run_questions.find_run(site.index, parsed).run
        return _there(site, run_questions.run_detail(site.index, found), removed=removed)
    version = resolve(site, ref, removed=removed).version
    if version.run is None:
        raise NotFound(
            f"no run made {version.ref}",
            why="It was saved by hand.",
            hint="Make it under capture: thence run COMMAND",
            about=ref,
        )
    return _there(site, run_questions.run_detail(site.index, version.run), removed=removed)


def _there(site: Site, run: RunDetail, *, removed: bool) -> RunDetail:
    if run.deletion is None or removed:
        return run
    needed = None if run.sealed is None else run.sealed.files
    raise _removed(site, run.run.short, run.deletion, needed)
