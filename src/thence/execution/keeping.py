"""Keeping things as versions: files, folders, objects."""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from thence.errors import InvalidInput
from thence.execution import live
from thence.execution.site import Site
from thence.index import versions as questions
from thence.index.views import VersionDetail
from thence.model.ids import Digest, RunId
from thence.model.names import ArtifactName, is_path
from thence.model.progress import Progress, silent
from thence.model.records import Kind
from thence.vault.artifacts import Draft
from thence.vault.content import Content
from thence.vault.held import HeldContent
from thence.vault.ignoring import IGNORE_FILE
from thence.vault.objects import gather_bytes
from thence.vault.parallel import submit
from thence.vault.saving import Gathered, gather
from thence.vault.session import Session
from thence.vault.statcache import KnownTree
from thence.vault.worktree import Tracked

__all__ = [
    "Metadata",
    "SavedVersion",
    "commit",
    "first_bytes",
    "name_of",
    "save",
    "save_object",
    "save_paths",
    "version_of",
]

_HEAD = 8192
_PATH_LENGTH = 200


class Metadata(NamedTuple):
    """What a person says of a version.

    Attributes:
        kind: None leaves it to sniffing.
        card: A Markdown file that documents it.
    """

    kind: Kind | None = None
    note: str | None = None
    tags: Mapping[str, str] = {}
    metrics: Mapping[str, float] = {}
    card: str | os.PathLike[str] | None = None


class SavedVersion(NamedTuple):
    """What saving gave.

    Attributes:
        new: False where the latest version had this content already.
        edited: Metadata was added to a version that was there.
        skipped: Sockets, pipes and devices, which have no content.
        ignored: What rules left out; a folder, ending with `/`, stands for all in it.
        empty_folders: How many folders hold nothing, and so are not kept.
    """

    version: VersionDetail
    new: bool
    edited: bool
    skipped: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    empty_folders: int = 0


def name_of(site: Site, path: str | os.PathLike[str]) -> ArtifactName:
    """The name that a path gets by itself: its place in the project.

    Raises:
        InvalidInput: It is the project's folder, or lies outside of it.
    """
    relative = site.relative(path)
    if relative == "." or relative.startswith("/"):
        what = "the project's folder" if relative == "." else "outside the project"
        raise InvalidInput(
            f"{os.fspath(path)} has no name of its own",
            why=f"It is {what}.",
            hint="Give a name: --as NAME.",
        )
    return ArtifactName.from_path(relative)


def save_paths(
    site: Site,
    paths: Sequence[str | os.PathLike[str]],
    metadata: Metadata,
    *,
    name: str | None = None,
    everything: bool = False,
    progress: Progress = silent,
) -> list[SavedVersion]:
    """Save files and folders; with a name all of them are one artifact, else each its own.

    Args:
        site: Where to.
        paths: Files and folders.
        metadata: What is said of them.
        name: Of the artifact.
        everything: Also what a `.thenceignore` leaves out.
        progress: Is told how far it is.

    Raises:
        NotFound: A path does not exist.
        AlreadyExists: A name is taken by another kind or spelling.
        Conflict: A file changed while it was read.
        Denied: A file may not be read, or the store not be written to.
        InvalidInput: There is nothing to save, or a name is none.
        StorageError: The disk is full, or the store failed.
    """
    for path in paths:
        if Path(path).resolve().is_relative_to(site.local):
            raise InvalidInput(
                f"{os.fspath(path)} is the project's own folder",
                why="It holds the store itself, and the key that hides secrets.",
                hint="Save what lies beside it.",
            )
    if not paths:
        raise InvalidInput("nothing to save", hint="Name a file or folder: thence save data/")
    members = [Path(path) for path in paths]
    if name is not None:
        groups = [(ArtifactName(name), members)]
    else:
        groups = [(name_of(site, member), [member]) for member in members]
    return [
        _save_group(site, artifact, group, metadata, progress, everything=everything)
        for artifact, group in groups
    ]


def _save_group(
    site: Site,
    artifact: ArtifactName,
    members: list[Path],
    metadata: Metadata,
    progress: Progress,
    *,
    everything: bool,
) -> SavedVersion:
    vault = site.vault
    with vault.writer() as writer:
        held = HeldContent(vault.directory, writer.session.condemned)
        gathered = gather(
            members,
            writer,
            vault.stats,
            held=held,
            root=None if everything else site.root,
            progress=progress,
        )
        if not gathered.files and (gathered.skipped or gathered.ignored):
            raise _nothing_to_save(members, gathered)
        card = None if metadata.card is None else writer.put_file(Path(metadata.card)).digest
    packs = held.packs | {*writer.packs}
    with ThreadPoolExecutor(1, "thence-hint") as pool:  # in a bucket both take a while
        hinted = submit(pool, lambda known: vault.hint(gathered.tree, known), packs)
        kind, facts = _sniff(gathered, vault.content)
    hinted.result()
    vault.stats.note_tree(gathered.fingerprint, _known(gathered, kind, facts, packs))
    vault.stats.save()
    if len(members) == 1 and members[0].is_dir() and gathered.files == 1:
        facts = {"folder": True}  # else its tree could not be told from that of a single file
    draft = _draft(artifact, gathered, kind, metadata)
    draft = draft._replace(metadata=facts, card=card)
    saved = commit(site, draft, session=writer.session)
    site.worktree.remember(
        Tracked(
            path=site.relative(member),
            artifact=artifact,
            version=saved.version.record,
            tree=gathered.tree,
            member="" if len(members) == 1 else member.resolve().name,
        )
        for member in members
    )
    return saved._replace(
        skipped=gathered.skipped,
        ignored=gathered.ignored,
        empty_folders=gathered.empty_folders,
    )


def _nothing_to_save(members: list[Path], gathered: Gathered) -> InvalidInput:
    what = f"there is nothing to save in {', '.join(map(str, members))}"
    if gathered.ignored:
        return InvalidInput(
            what,
            why=f"All of it is left out by {IGNORE_FILE}, first {gathered.ignored[0]!r}.",
            hint="Save all the same with --no-ignore, or change the rules.",
        )
    return InvalidInput(
        what,
        why="Sockets, pipes and devices have no content.",
        hint="Save what a program reads from it, as a file.",
    )


def _known(
    gathered: Gathered, kind: Kind, facts: Mapping[str, Any], packs: Iterable[bytes]
) -> KnownTree:
    return KnownTree(
        gathered.tree.raw,
        gathered.size,
        gathered.files,
        tuple(sorted(packs)),
        kind.value,
        facts.get("media_type"),
    )


def save(
    site: Site, obj: Any, name: str | None, metadata: Metadata, *, allow_pickle: bool = False
) -> SavedVersion:
    """Save an object under a name, or a path (a `Path`, or text that begins with `./`).

    Raises:
        InvalidInput: The object cannot be saved safely, or a name is missing.
        As `save_paths` and `save_object`.
    """
    if isinstance(obj, os.PathLike) or (isinstance(obj, str) and is_path(obj)):
        (saved,) = save_paths(site, [Path(obj).expanduser()], metadata, name=name)
        return saved
    if name is None:
        raise InvalidInput(
            "an object needs a name", hint='Give one: thence.save(table, "sales-clean")'
        )
    if (
        isinstance(obj, str)
        and "\n" not in obj
        and len(obj) < _PATH_LENGTH
        and obj
        and Path(obj).exists()
    ):
        raise InvalidInput(
            f"{obj!r} could be a path or a text",
            why="There is a file or folder of that name.",
            hint=f'Write "./{obj}" for the file, or {obj!r}.encode() for the text.',
        )
    return save_object(site, obj, name, metadata, allow_pickle=allow_pickle)


def save_object(
    site: Site, obj: Any, name: str, metadata: Metadata, *, allow_pickle: bool = False
) -> SavedVersion:
    """Save an object under a name.

    Raises:
        InvalidInput: The object cannot be saved safely.
        MissingExtra: A package is needed for it.
        AlreadyExists: The name is taken by another kind or spelling.
        StorageError: The store failed.
    """
    from thence.formats import registry  # 20 ms, which listing names need not pay

    artifact = ArtifactName(name)
    dumped = registry.dump(obj, name=artifact.rpartition("/")[2], allow_pickle=allow_pickle)
    with site.vault.writer() as writer:
        gathered = gather_bytes(((file.name, file.data) for file in dumped.files), writer)
        card = None if metadata.card is None else writer.put_file(Path(metadata.card)).digest
    site.vault.hint(gathered.tree, writer.packs)
    draft = _draft(artifact, gathered, dumped.kind, metadata)
    draft = draft._replace(metadata=dumped.metadata, card=card)
    return commit(site, draft, session=writer.session)


def _draft(artifact: ArtifactName, gathered: Gathered, kind: Kind, metadata: Metadata) -> Draft:
    return Draft(
        artifact,
        metadata.kind or kind,
        gathered.tree,
        gathered.size,
        gathered.files,
        strict_kind=metadata.kind is not None,
        note=metadata.note,
        tags=metadata.tags,
        metrics=metadata.metrics,
    )


def commit(site: Site, draft: Draft, *, session: Session | None = None) -> SavedVersion:
    """Make a version of content that is in the vault, and tell the run that is going on.

    Args:
        site: Where.
        draft: What is to become a version.
        session: In which all of its content was put or found; it ends here.

    Raises:
        AlreadyExists: The name is taken by another kind or spelling.
        Conflict: Others were faster every time.
        StorageError: The store failed.
    """
    run = os.environ.get(live.RUN_VARIABLE)
    if draft.run is None and run:
        draft = draft._replace(run=RunId(run))
    try:
        saved = site.artifacts.commit(draft, now=site.clock(), session=session)
    finally:
        if session is not None:
            session.release()
    site.ingest(*saved.appended)
    live.tell(live.MadeVersion(version=saved.digest))
    return SavedVersion(
        version_of(site, saved.digest), saved.new, bool(saved.appended) and not saved.new
    )


def version_of(site: Site, record: Digest) -> VersionDetail:
    """The version of a record that is certainly in the project.

    Raises:
        NotFound: It is not.
    """
    if record not in questions.versions_by_record(site.index, [record]):
        site.refresh()
    return questions.version_by_record(site.index, record)


def _sniff(gathered: Gathered, content: Content) -> tuple[Kind, dict[str, Any]]:
    """The kind of most bytes of a tree; for a single file its media type too."""
    if known := gathered.known:
        media_type = known.media_type
        return Kind(known.kind), {} if media_type is None else {"media_type": media_type}
    from thence.formats import media  # alone: all formats are 20 ms more

    entries = gathered.largest
    if len(entries) == 1:
        sniffed = media.sniff(entries[0].path, first_bytes(content, entries[0].digest))
        return sniffed.kind, {"media_type": sniffed.media_type}
    sizes: dict[Kind, int] = {}
    for entry in entries:
        kind = media.sniff(entry.path, b"").kind
        sizes[kind] = sizes.get(kind, 0) + entry.size
    sizes.pop(Kind.FILE, None)
    return max(sizes, key=lambda kind: sizes[kind], default=Kind.FILE), {}


def first_bytes(content: Content, digest: Digest) -> bytes:
    """As many as tell the kind of a content.

    Raises:
        NotFound: The store does not have it.
        DataDamaged: What is stored is not what was written.
    """
    for piece in content.stream(digest):
        return bytes(piece[:_HEAD])
    return b""
