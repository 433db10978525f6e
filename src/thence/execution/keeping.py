"""Keeping things as versions: files, folders, objects."""

import os
from collections.abc import Callable, Mapping, Sequence
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
from thence.model.records import Kind
from thence.vault.artifacts import Draft
from thence.vault.content import Content
from thence.vault.objects import gather_bytes
from thence.vault.parallel import submit
from thence.vault.saving import Gathered, gather
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
_SNIFFED_FILES = 200
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
    """

    version: VersionDetail
    new: bool
    edited: bool
    skipped: tuple[str, ...] = ()


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
    progress: Callable[[int, int], None] = lambda files, size: None,
) -> list[SavedVersion]:
    """Save files and folders; with a name all of them are one artifact, else each its own.

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
        return [_save_group(site, ArtifactName(name), members, metadata, progress)]
    return [
        _save_group(site, name_of(site, member), [member], metadata, progress) for member in members
    ]


def _save_group(
    site: Site,
    artifact: ArtifactName,
    members: list[Path],
    metadata: Metadata,
    progress: Callable[[int, int], None],
) -> SavedVersion:
    vault = site.vault
    packs: set[bytes] = set()

    def is_known(digest: Digest) -> bool:
        location = vault.directory.find(digest.raw)
        if location is not None:
            packs.add(location.pack)
        return location is not None

    with vault.writer() as writer:
        gathered = gather(
            members,
            writer,
            vault.stats,
            known=is_known,
            skip=site.skip,
            progress=progress,
        )
        if gathered.skipped and not gathered.entries:
            raise InvalidInput(
                f"there is nothing to save in {', '.join(map(str, members))}",
                why="Sockets, pipes and devices have no content.",
                hint="Save what a program reads from it, as a file.",
            )
        card = None if metadata.card is None else writer.put_file(Path(metadata.card)).digest
    vault.stats.save()
    with ThreadPoolExecutor(1, "thence-hint") as pool:  # in a bucket both take a while
        hinted = submit(
            pool, lambda known: vault.hint(gathered.tree, known), packs | {*writer.packs}
        )
        kind, facts = _sniff(gathered, vault.content)
    hinted.result()
    if len(members) == 1 and members[0].is_dir() and gathered.files == 1:
        facts = {"folder": True}  # else its tree could not be told from that of a single file
    draft = _draft(artifact, gathered, kind, metadata)
    saved = commit(site, draft._replace(metadata=facts, card=card))
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
    return saved._replace(skipped=gathered.skipped)


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
    return commit(site, draft._replace(metadata=dumped.metadata, card=card))


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


def commit(site: Site, draft: Draft) -> SavedVersion:
    """Make a version of content that is in the vault, and tell the run that is going on.

    Raises:
        AlreadyExists: The name is taken by another kind or spelling.
        Conflict: Others were faster every time.
        StorageError: The store failed.
    """
    run = os.environ.get(live.RUN_VARIABLE)
    if draft.run is None and run:
        draft = draft._replace(run=RunId(run))
    saved = site.artifacts.commit(draft, now=site.clock())
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
    from thence.formats import registry

    entries = [entry for entry in gathered.entries if not entry.link]
    if len(entries) == 1:
        sniffed = registry.sniff(entries[0].path, first_bytes(content, entries[0].digest))
        return sniffed.kind, {"media_type": sniffed.media_type}
    sizes: dict[Kind, int] = {}
    largest = sorted(entries, key=lambda entry: -entry.size)[:_SNIFFED_FILES]
    for entry in largest:
        kind = registry.sniff(entry.path, b"").kind
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
