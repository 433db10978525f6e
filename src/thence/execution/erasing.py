"""Erasing versions, paths in them, runs and contents: what it means, and doing it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from thence.errors import Conflict, InvalidInput, NotFound
from thence.execution.code_refs import drop_code
from thence.execution.giving import resolve, resolve_run
from thence.execution.site import Site
from thence.index import runs as run_questions
from thence.index import versions as version_questions
from thence.model.ids import Digest, RunId
from thence.model.names import RunRef, parse_ref
from thence.model.records import (
    Erasure,
    ErasureLifted,
    Record,
    RunTombstone,
    Tombstone,
    VersionEdit,
    decode_entry,
)
from thence.vault import tree
from thence.vault.checkout import select
from thence.vault.erase import CarriedOut, carry_out
from thence.vault.erasures import ErasedBy, erasures
from thence.vault.holders import Held, Holder, contents_of, holders
from thence.vault.logs import ERASURES, edits_log, run_log, versions_log
from thence.vault.references import Root, RootKind, references, roots_of

__all__ = ["Erased", "ErasurePlan", "erase", "lift", "plan"]

# What one entry says has some 350 kB then.
_CONTENTS_IN_AN_ENTRY = 5_000
# It derives from nothing, and every project has it.
_EMPTY = Digest.of(b"")


class _Target(NamedTuple):
    """What was asked for.

    Attributes:
        own: Contents that it has.
        lists: Those of them that name others: trees and lists of files.
        record: Of a version that goes as a whole.
        artifact_log: The log of the edits of that version.
        run: A run that goes as a whole.
        alone: Only what nobody else has goes, without asking.
    """

    ref: str
    own: frozenset[Digest]
    lists: frozenset[Digest] = frozenset()
    record: Digest | None = None
    artifact_log: str = ""
    run: RunId | None = None
    alone: bool = False


class ErasurePlan(NamedTuple):
    """What an erasure means.

    Attributes:
        refs: What was asked for.
        contents: What goes.
        size_bytes: Of what of it is here.
        shared: Who else has some of it, and loses it too; it goes only with `everywhere`.
        spared: How many contents stay, because others than a run that goes have them.
        done: Everything was erased before.
        tombstones: Versions and runs that are removed with it: logs and records.
        versions: Digests of the version records that it is about.
        runs: The runs that it is about.
        readers: All runs that have read one of the versions.
        read: How far the logs were read to find who else has it.
    """

    refs: tuple[str, ...]
    contents: tuple[Digest, ...]
    size_bytes: int
    shared: tuple[str, ...]
    spared: int
    done: bool
    tombstones: tuple[tuple[str, Digest | RunId], ...]
    versions: tuple[Digest, ...]
    runs: tuple[RunId, ...]
    readers: frozenset[RunId] = frozenset()
    read: Mapping[tuple[str, bool], int] = MappingProxyType({})


class Erased(NamedTuple):
    """What an erasure did.

    Attributes:
        contents: How many contents are erased now that were not before.
        carried_out: What was taken out of the packs of this store.
        waits: It waits in the outbox of this clone for a push.
    """

    contents: int
    carried_out: CarriedOut
    waits: bool


def plan(
    site: Site,
    refs: Sequence[str] = (),
    *,
    contents: Sequence[str] = (),
    everywhere: bool = False,
    progress: Callable[[int], None] = lambda entries: None,
) -> ErasurePlan:
    """What erasing would mean; nothing is changed.

    Args:
        site: Where.
        refs: Versions, paths in versions, runs; removed ones too.
        contents: Digests of contents.
        everywhere: Of runs, too, take what others have.
        progress: Is told entries read so far.

    Raises:
        NotFound: There is no such version, path, run or content.
        InvalidInput: A ref or digest cannot be read, or is a name alone.
        DataDamaged: Something cannot be read, so it is not known who else has it.
        StorageError: The store failed.
    """
    site.refresh()
    known = erasures(site.vault)
    targets = [_target(site, ref) for ref in refs]
    targets += [_of_content(site, text, known) for text in contents]
    wanted = frozenset[Digest]().union(*(one.own for one in targets)) - {_EMPTY}
    new = {digest for digest in wanted if digest not in known}
    held = holders(site.vault, new, progress=progress) if new else Held({}, {})
    others = _others(held.holders, targets)
    if not everywhere:
        asked = frozenset[Digest]().union(*(one.own for one in targets if not one.alone))
        spared = {digest for digest in new if digest in others and digest not in asked}
    else:
        spared = set()
    lists = frozenset[Digest]().union(*(one.lists for one in targets))
    # What names others comes last: should only some entries get there, it can still be read.
    gone = sorted(new - spared, key=lambda digest: (digest in lists, digest))
    whole = _gone_as_a_whole(targets)
    for digest in lists.intersection(gone):
        for twin in version_questions.versions_with_tree(site.index, digest):
            if twin.deletion is None:
                whole.append((edits_log(twin.artifact), twin.record))
    sizes = (site.vault.content.info(digest) for digest in gone)
    names = [one.name for digest in gone for one in others.get(digest, ())]
    return ErasurePlan(
        tuple(dict.fromkeys(one.ref for one in targets)),
        tuple(gone),
        sum(info.size_bytes for info in sizes if info is not None),
        tuple(dict.fromkeys([*names, *_readers(site, targets, gone)])),
        len(spared),
        not new,
        tuple(dict.fromkeys(whole)),
        tuple(dict.fromkeys(one.record for one in targets if one.record is not None)),
        tuple(dict.fromkeys(one.run for one in targets if one.run is not None)),
        frozenset(
            run
            for one in targets
            if one.record is not None
            for run in run_questions.runs_that_read(site.index, one.record)
        ),
        held.read,
    )


def _readers(site: Site, targets: Iterable[_Target], gone: Iterable[Digest]) -> Iterator[str]:
    """Runs that read a version of which something goes, by its record."""
    lost = set(gone)
    runs = {one.run for one in targets}
    for one in targets:
        if one.record is not None and not lost.isdisjoint(one.own):
            for run in run_questions.runs_that_read(site.index, one.record):
                if run not in runs:
                    yield run.short


def _gone_as_a_whole(targets: Iterable[_Target]) -> list[tuple[str, Digest | RunId]]:
    found: list[tuple[str, Digest | RunId]] = []
    for one in targets:
        if one.run is not None:
            found.append((run_log(one.run), one.run))
        elif one.record is not None and one.artifact_log:
            found.append((one.artifact_log, one.record))
    return found


def _others(
    found: dict[Digest, list[Holder]], targets: Sequence[_Target]
) -> dict[Digest, list[Holder]]:
    """Who has it, but for what goes itself."""
    records = {one.record for one in targets if one.record is not None and one.artifact_log}
    runs = {one.run for one in targets if one.run is not None}
    parts = {one.record for one in targets if one.record is not None and not one.artifact_log}
    left = {
        digest: [one for one in some if one.record not in records | parts and one.run not in runs]
        for digest, some in found.items()
    }
    return {digest: some for digest, some in left.items() if some}


def _target(site: Site, ref: str) -> _Target:
    parsed = parse_ref(ref)
    if isinstance(parsed, RunRef) and parsed.path is None:
        run = resolve_run(site, ref, removed=True)
        said = [one for one in (run.opened, run.sealed) if one is not None]
        roots = [root for record in said for root in references(record)]
        return _target_of(site, run.run.short, roots)._replace(run=run.run, alone=True)
    if not isinstance(parsed, RunRef) and parsed.path is None and "@" not in ref:
        raise InvalidInput(
            f"{ref} is a name, not a version",
            why="To erase the latest version is not the same as to erase all of them.",
            hint=f"Say which: thence erase {ref}@latest",
            about=ref,
        )
    found = resolve(site, ref, removed=True)
    version = found.version
    if found.path is not None:
        try:
            entries = tree.decode(site.vault.content.read(version.tree))
        except NotFound:
            return _Target(f"{version.ref}:{found.path}", frozenset(), record=version.record)
        below = select(entries, found.path)
        digests = frozenset(entry.digest for entry in below if entry.digest is not None)
        return _Target(f"{version.ref}:{found.path}", digests, record=version.record)
    log = versions_log(version.artifact)
    data = site.vault.logs.read(log, version.number)
    assert data is not None, "the index has read it"
    entries_of_it = [decode_entry(data)]
    edits = edits_log(version.artifact)
    for _, edit in site.vault.logs.after(edits, 0):
        entry = decode_entry(edit)
        if isinstance(entry.record, VersionEdit) and entry.record.version == version.record:
            entries_of_it.append(entry)
    roots = list(roots_of(entries_of_it).roots)
    return _target_of(site, version.ref, roots)._replace(record=version.record, artifact_log=edits)


def _target_of(site: Site, ref: str, roots: Iterable[Root]) -> _Target:
    own: set[Digest] = set()
    lists: set[Digest] = set()
    for root in roots:
        own |= contents_of(site.vault, root)
        if root.kind is not RootKind.CONTENT:
            lists.add(root.digest)
    return _Target(ref, frozenset(own), frozenset(lists))


def _of_content(site: Site, text: str, known: Mapping[Digest, ErasedBy]) -> _Target:
    digest = Digest.parse(text)
    if digest not in known and site.vault.content.missing([digest]):
        raise NotFound(
            f"no content {digest.short}",
            why="No pack of this project holds it.",
            hint="Digests of files are listed by: thence show REF --json",
            about=text,
        )
    return _Target(digest.short, frozenset({digest}))


def erase(
    site: Site,
    wanted: ErasurePlan,
    *,
    reason: str,
    everywhere: bool = False,
    progress: Callable[[int], None] = lambda size: None,
) -> Erased:
    """Erase: say so in the log, then take the bytes out of every pack here.

    Done again, or after it was cut, it goes on. In a clone the home does the same when it is
    pushed; other clones and mirrors do when they are brought up to date.

    Args:
        site: Where.
        wanted: What `plan` gave.
        reason: Why; whoever asks for what is gone is told.
        everywhere: Also where others have some of it.
        progress: Is told bytes read so far.

    Raises:
        InvalidInput: There is no reason.
        Conflict: Others have some of it; nothing was erased.
        DataDamaged: Something cannot be read, so it is not known where erased bytes are.
        StorageError: The store failed; repeat it to go on.
        Denied: The store may not be written to.
    """
    said = " ".join(reason.split())
    if not said and not wanted.done:
        raise InvalidInput(
            "a reason is needed",
            why="Whoever asks for what is gone is told who erased it, when and why.",
            hint='Say it: --reason "names of patients"',
        )
    if not everywhere:
        _refuse_shared(wanted.shared)
        if not wanted.done:
            _refuse_shared(_newcomers(site, wanted))
    if not wanted.done:
        # The tombstones first: whoever hears of one hears why.
        for log, name in wanted.tombstones:
            stone: Record
            if isinstance(name, Digest):
                stone = Tombstone(version=name, reason=f"erased: {said}")
            else:
                stone = RunTombstone(run=name, reason=f"erased: {said}")
            site.ingest(site.vault.append(log, stone, by=site.author))
        for start in range(0, len(wanted.contents), _CONTENTS_IN_AN_ENTRY):
            record = Erasure(
                contents=wanted.contents[start : start + _CONTENTS_IN_AN_ENTRY],
                reason=said,
                versions=wanted.versions,
                runs=wanted.runs,
            )
            site.ingest(site.vault.append(ERASURES, record, by=site.author))
    for run in wanted.runs:
        drop_code(site, run)
    done = carry_out(site.vault, by=site.author, progress=progress)
    site.refresh()
    return Erased(len(wanted.contents), done, site.vault.outbox is not None)


def _refuse_shared(shared: Sequence[str]) -> None:
    if shared:
        names = ", ".join(shared[:5])
        more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
        raise Conflict(
            "others have some of what is to be erased",
            why=f"It is also in {names}{more}, and would be gone there too.",
            hint="Look at it: --dry-run. To erase it there as well: --everywhere",
        )


def _newcomers(site: Site, wanted: ErasurePlan) -> list[str]:
    """Who came to have some of it after the plan was made: a person may have read it for long."""
    site.refresh()
    found = holders(site.vault, wanted.contents, since=wanted.read).holders
    new = dict.fromkeys(
        one
        for some in found.values()
        for one in some
        if one.record not in wanted.versions and one.run not in wanted.runs
    )
    versions = version_questions.versions_by_record(
        site.index, [one.record for one in new if one.record is not None]
    )
    names = [versions[one.record].ref if one.record in versions else one.name for one in new]
    for record in wanted.versions:
        runs = run_questions.runs_that_read(site.index, record)
        names += [run.short for run in runs if run not in {*wanted.readers, *wanted.runs}]
    return list(dict.fromkeys(names))


def lift(site: Site, digests: Sequence[str], *, reason: str) -> list[Digest]:
    """Let contents that were erased be kept again, if somebody saves them.

    So may the lists of files that were erased together with them: they name nothing that is still
    erased, once they can be saved again.

    Raises:
        InvalidInput: A digest cannot be read, it is not erased, or there is no reason.
        StorageError: The store failed.
        Denied: The store may not be written to.
    """
    wanted = [Digest.parse(text) for text in digests]
    known = erasures(site.vault)
    for digest in wanted:
        if digest not in known:
            raise InvalidInput(f"{digest.short} is not erased", hint="There is nothing to lift.")
    said = " ".join(reason.split())
    if not said:
        raise InvalidInput("a reason is needed", hint='Say it: --reason "it was a mistake"')
    lists = [tree for tree in _trees_erased_with(site, set(wanted)) if tree in known]
    record = ErasureLifted(contents=tuple(dict.fromkeys((*wanted, *lists))), reason=said)
    site.ingest(site.vault.append(ERASURES, record, by=site.author))
    return wanted


def _trees_erased_with(site: Site, contents: set[Digest]) -> Iterator[Digest]:
    for entry in site.vault.logs.records(ERASURES):
        erasure = entry.record
        if isinstance(erasure, Erasure) and not contents.isdisjoint(erasure.contents):
            known = version_questions.versions_by_record(site.index, list(erasure.versions))
            for version in known.values():
                yield version.tree
