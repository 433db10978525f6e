"""What the ledger of a run says about each file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from thence.execution.capture.keeper import Copy, Kept, Signature
from thence.model.ids import Digest

__all__ = ["FileState", "Ledger", "WrittenFile"]


class FileState(NamedTuple):
    """A file as it was at one moment.

    Of `kept`, `digest` and `why_not_kept` at most one is set. None of them: the file is large, is
    to be read at its path after the run, and still has its signature.

    Attributes:
        name: Its path: absolute, links in its folder are resolved. Text, since a `Path` costs more
            to make than all the rest, and is not needed while the program waits.
        kept: Copy in the spool.
        digest: Where the content is in the store already.
        signature: When it was first used; None for a file that could not be looked at.
        why_not_kept: `secret`, `unreadable`, `vanished`, `no-space`, `changed` (large, and not what
            it was), `moved` (with its folder), `failed`.
        redacted: Secrets in the copy were replaced.
        changed_during_run: Somebody else changed it after its first use, or while it was copied.
    """

    name: str
    kept: Copy | None = None
    digest: Digest | None = None
    signature: Signature | None = None
    size_bytes: int = 0
    executable: bool = False
    redacted: bool = False
    why_not_kept: str | None = None
    changed_during_run: bool = False

    @property
    def path(self) -> Path:
        """Where it was."""
        return Path(self.name)

    @property
    def is_deferred(self) -> bool:
        """Whether its content is only at its path."""
        return self.kept is None and self.digest is None and self.why_not_kept is None

    @classmethod
    def seen(cls, path: str, status: os.stat_result) -> "FileState":
        """A file that was looked at and not copied."""
        is_executable = bool(status.st_mode & 0o100)
        return cls(path, None, None, Signature.of(status), status.st_size, is_executable)

    def with_copy(self, copy: Kept) -> "FileState":
        """The same with what became of copying it."""
        signature = copy.signature or self.signature
        return FileState(
            self.name,
            copy.copy,
            self.digest,
            signature,
            signature.size_bytes if signature else 0,
            self.executable,
            copy.redacted,
            copy.why_not,
            copy.unstable,
        )

    def checked(self) -> "FileState":
        """The same with what the file at the path says now, at the end of the run."""
        try:
            now = Signature.of(os.stat(self.name))
        except OSError:
            now = None
        if self.signature is not None and now is not None:
            if now == self.signature:
                return self
            if now[:4] == self.signature[:4] and self._has_bytes_of_copy():
                return self  # only its mode or its number of names changed
        why = "changed" if self.is_deferred else self.why_not_kept
        return self._replace(changed_during_run=True, why_not_kept=why)

    def _has_bytes_of_copy(self) -> bool:
        if self.kept is None or self.redacted:
            return False
        try:
            with self.kept.open() as then, self.path.open("rb") as now:
                while chunk := then.read(1 << 20):
                    if chunk != now.read(1 << 20):
                        return False
                return not now.read(1)
        except OSError:
            return False

    def to_plain(self) -> dict[str, Any]:
        """As JSON holds it; what holds its default is left out."""
        plain: dict[str, Any] = {"path": self.name}
        if self.kept is not None:
            plain["kept"] = self.kept.to_plain()
        if self.digest is not None:
            plain["digest"] = str(self.digest)
        if self.signature is not None:
            plain["signature"] = self.signature
        if self.executable:
            plain["executable"] = True
        if self.redacted:
            plain["redacted"] = True
        if self.why_not_kept:
            plain["why_not_kept"] = self.why_not_kept
        if self.changed_during_run:
            plain["changed_during_run"] = True
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], copies: Path) -> "FileState":
        """The inverse of `to_plain`.

        Args:
            plain: As read from JSON.
            copies: The folder with the copies.
        """
        signature = Signature(*plain["signature"]) if "signature" in plain else None
        return cls(
            plain["path"],
            kept=Copy.from_plain(plain["kept"], copies) if "kept" in plain else None,
            digest=Digest.parse(plain["digest"]) if "digest" in plain else None,
            signature=signature,
            size_bytes=signature.size_bytes if signature else 0,
            executable=plain.get("executable", False),
            redacted=plain.get("redacted", False),
            why_not_kept=plain.get("why_not_kept"),
            changed_during_run=plain.get("changed_during_run", False),
        )


class WrittenFile(NamedTuple):
    """A file that the run wrote and that is there at its end.

    Attributes:
        existed_before: The run replaced or changed it; its old content is in `Ledger.overwritten`.
        secret: Its name says that its content must not be kept.
        changed: It may not be what the run wrote: somebody changed it after the run, or it cannot
            be known.
    """

    path: Path
    existed_before: bool
    secret: bool = False
    changed: bool = False


class Ledger(NamedTuple):
    """Everything that is known of the files of a run, at its end.

    Attributes:
        reads: What the run was made from, as it was at first use.
        overwritten: Files that existed and were changed, as they were before.
        outputs: Files that the run wrote and that are there.
        removed: Files that existed before and are gone, as they were.
        environment: Paths below installed packages and interpreters that were opened.
        libraries: Shared libraries that were opened.
        made_folders: Folders below the root that the run made.
        executed: Programs that were started, in order of first start.
        absent: Files of the project that were looked for and are not there (at most 1,000).
        connections: `host:port` of each connection.
        ignored: Number of files by the rule that left them out.
        problems: What could not be recorded, sentences.
    """

    reads: tuple[FileState, ...]
    overwritten: tuple[FileState, ...]
    outputs: tuple[WrittenFile, ...]
    removed: tuple[FileState, ...]
    environment: frozenset[str]
    libraries: frozenset[str]
    made_folders: frozenset[str]
    executed: tuple[str, ...]
    absent: tuple[str, ...]
    connections: tuple[str, ...]
    ignored: dict[str, int]
    problems: tuple[str, ...] = ()
