"""Pulling: what the home has comes into a clone, and settles what waited there."""

from typing import NamedTuple

from thence.model.names import VersionRef
from thence.model.records import ArtifactEdit, Entry, VersionEdit
from thence.vault.choosing import Chosen, choose
from thence.vault.conflicts import Conflicting, list_conflicts, outbox_of
from thence.vault.copying import complete, copy_content, mark_partial, mirror_entries
from thence.vault.erase import carry_out
from thence.vault.logs import ERASURES, edits_log, run_log
from thence.vault.mirroring import (
    Mirrored,
    Progress,
    adopt,
    behind,
    follow,
    tails,
)
from thence.vault.settling import Numbered, settle
from thence.vault.turn import turn
from thence.vault.vault import Vault

__all__ = ["Pulled", "pull"]

# More logs than these are found by one listing of all, and not by looking at each.
_FEW = 200


class Pulled(NamedTuple):
    """What a pull did.

    Attributes:
        entries: How many entries are new here.
        contents: How many contents are.
        size_bytes: Of these contents.
        numbered: Waiting entries that were found at home: local and new number of each.
        moot: Alias moves that led where the home's alias is already; they are forgotten.
        conflicts: What cannot be pushed, found now or before.
        damaged: Keys of the home that hold no entry that can be read; neither they nor what
            follows them in their logs was pulled.
        unknown: How many entries a newer thence wrote; content that only they name is not here.
    """

    entries: int
    contents: int
    size_bytes: int
    numbered: tuple[Numbered, ...]
    moot: int
    conflicts: tuple[Conflicting, ...]
    damaged: tuple[str, ...]
    unknown: int


def pull(
    clone: Vault,
    home: Vault,
    *,
    only: VersionRef | None = None,
    progress: Progress = lambda contents, size: None,
) -> Pulled:
    """Bring a clone up to date with its home; an empty one becomes a mirror of it.

    Args:
        clone: Where to.
        home: Where from.
        only: Mirror no more than one artifact: its logs, and the content of that version with the
            run that made it. Logs that are here already go on being mirrored, without content; a
            pull without this fetches all content that is missing.
        progress: Is told contents and bytes that came so far.

    Raises:
        InvalidInput: They are different projects.
        NotFound: There is no such version, or the home lacks a content.
        DataDamaged: The clone is no mirror of this home, or an entry or content is damaged.
        StorageError: A store failed; what came by then is used by the next pull.
        Denied: A store may not be read, or not be written to.
    """
    adopt(home, clone)
    with turn(clone):
        if only is None:
            done = mirror_entries(home, clone, behind(home, clone), progress=progress)
            done = done.plus(complete(home, clone, progress=progress))
        else:
            done = _pull_part(clone, home, only, progress)
        settled = settle(clone)
        carry_out(clone)
        return Pulled(
            done.entries,
            done.contents,
            done.size_bytes,
            settled.numbered,
            settled.moot,
            list_conflicts(clone),
            done.damaged,
            done.unknown,
        )


def _pull_part(clone: Vault, home: Vault, only: VersionRef, progress: Progress) -> Mirrored:
    key = only.artifact.key
    chosen = choose(home.numbered, only)
    about = _entries_about(home, only, chosen)
    mark_partial(clone)
    done = copy_content(home, clone, about, progress=progress)
    spans = behind(home, clone, (f"refs/artifacts/{key}/@", f"refs/aliases/{key}/@"))
    others = {ERASURES, *tails(clone)}
    others.update(one.log for one in outbox_of(clone).waiting())
    if chosen.version.run is not None:
        others.add(run_log(chosen.version.run))
    logs = others - {span.log for span in spans}
    if len(logs) > _FEW:
        spans += [span for span in behind(home, clone) if span.log in logs]
    else:
        spans += follow(home, clone, sorted(logs))
    return done.plus(mirror_entries(home, clone, spans, with_content=lambda log, entry: False))


def _entries_about(home: Vault, only: VersionRef, chosen: Chosen) -> list[Entry]:
    """The entries whose content belongs to a version: its own, its edits, those of its run."""
    found = [chosen.entry]
    for entry in home.numbered.records(edits_log(only.artifact)):
        record = entry.record
        if isinstance(record, ArtifactEdit) or (
            isinstance(record, VersionEdit) and record.version == chosen.entry.digest
        ):
            found.append(entry)
    if chosen.version.run is not None:
        found += home.numbered.records(run_log(chosen.version.run))
    return found
