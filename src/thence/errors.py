"""The errors of thence, grouped by what a handler would do about them.

::

    ThenceError                       kind (append-only code), why, hint
    ├── NotFound        (KeyError)         ask for something else
    ├── AlreadyExists                      choose another name
    ├── Conflict                           read again and retry
    ├── InvalidInput    (ValueError)       fix the call; carries the position in refs
    ├── Denied          (PermissionError)  get rights
    ├── StorageError    (OSError)          the environment; `transient` says if retrying helps
    ├── DataDamaged                        digest mismatch, truncated pack
    ├── FormatTooNew                       upgrade
    ├── MissingExtra    (ImportError)      names the pip install line
    ├── RunFailed                          the user's code failed
    ├── NotReproduced                      carries the verdict
    ├── Interrupted                        Ctrl-C; what was written is reused by the next try
    └── InternalError                      a bug: please report

Every error prints three lines: what happened, why, what to do.
"""

from typing import Any, ClassVar

__all__ = [
    "ERRORS",
    "AlreadyExists",
    "Conflict",
    "DataDamaged",
    "Denied",
    "FormatTooNew",
    "InternalError",
    "Interrupted",
    "InvalidInput",
    "MissingExtra",
    "NotFound",
    "NotReproduced",
    "RunFailed",
    "StorageError",
    "ThenceError",
]


class ThenceError(Exception):
    """Base of every error that thence raises.

    Attributes:
        what: What happened, one sentence without a full stop.
        why: The cause, as far as it is known.
        hint: What to do now.
        about: The ref, key or run that the error is about.
    """

    kind: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    default_why: ClassVar[str] = ""
    default_hint: ClassVar[str] = ""

    def __init__(
        self,
        what: str,
        *,
        why: str | None = None,
        hint: str | None = None,
        about: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = self.default_why if why is None else why
        self.hint = self.default_hint if hint is None else hint
        self.about = about

    def __str__(self) -> str:
        return "\n".join(line for line in (self.what, self.why, self.hint) if line)

    @classmethod
    def anchor(cls) -> str:
        """The anchor of this kind in docs/reference/errors.md."""
        return cls.kind.replace("_", "-")

    def to_dict(self) -> dict[str, Any]:
        """The error as one JSON object, the shape that every `--json` output uses."""
        return {
            "type": "error",
            "kind": self.kind,
            "what": self.what,
            "why": self.why,
            "hint": self.hint,
            "about": self.about,
            "exit_status": self.exit_status,
        }


class NotFound(ThenceError, KeyError):
    """What was asked for is not there."""

    kind = "not_found"
    exit_status = 4
    http_status = 404


class AlreadyExists(ThenceError):
    """The name is taken."""

    kind = "already_exists"
    exit_status = 5
    http_status = 409


class Conflict(ThenceError):
    """Somebody else changed the same thing first."""

    kind = "conflict"
    exit_status = 5
    http_status = 409
    default_hint = "Read the current state again and repeat the command."


class InvalidInput(ThenceError, ValueError):
    """The call cannot be understood.

    Attributes:
        text: The text that was parsed, where there is one.
        position: Index into `text` of the first character that is wrong.
    """

    kind = "invalid_input"
    exit_status = 2
    http_status = 400

    def __init__(
        self,
        what: str,
        *,
        why: str | None = None,
        hint: str | None = None,
        about: str | None = None,
        text: str | None = None,
        position: int | None = None,
    ) -> None:
        super().__init__(what, why=why, hint=hint, about=about)
        self.text = text
        self.position = position

    def __str__(self) -> str:
        if self.text is None or self.position is None:
            return super().__str__()
        pointer = f"  {self.text}\n  {' ' * self.position}^"
        return "\n".join(line for line in (self.what, pointer, self.why, self.hint) if line)

    def to_dict(self) -> dict[str, Any]:
        """As for every error, with `text` and `position`."""
        return {**super().to_dict(), "text": self.text, "position": self.position}


class Denied(ThenceError, PermissionError):
    """Not allowed, by the file system, the store or a policy."""

    kind = "denied"
    exit_status = 1
    http_status = 403


class StorageError(ThenceError, OSError):
    """The environment failed: disk, network, server.

    Attributes:
        transient: True where the same call may succeed a moment later.
    """

    kind = "storage_error"
    exit_status = 1
    http_status = 503

    def __init__(
        self,
        what: str,
        *,
        why: str | None = None,
        hint: str | None = None,
        about: str | None = None,
        transient: bool = False,
    ) -> None:
        super().__init__(what, why=why, hint=hint, about=about)
        self.transient = transient


class DataDamaged(ThenceError):
    """Stored bytes are not what was written."""

    kind = "data_damaged"
    exit_status = 6
    http_status = 500
    default_hint = "See what is damaged, and what would heal it: thence check --deep"


class FormatTooNew(ThenceError):
    """Written by a newer thence."""

    kind = "format_too_new"
    exit_status = 1
    http_status = 501
    default_hint = "Upgrade: pip install --upgrade thence"


class MissingExtra(ThenceError, ImportError):
    """An optional package is needed for this."""

    kind = "missing_extra"
    exit_status = 1
    http_status = 501


class RunFailed(ThenceError):
    """The user's command failed."""

    kind = "run_failed"
    exit_status = 1
    http_status = 500


class NotReproduced(ThenceError):
    """A result came out different.

    Attributes:
        verdict: The verdict, as it is written to the run's log.
    """

    kind = "not_reproduced"
    exit_status = 7
    http_status = 409

    def __init__(self, what: str, *, verdict: Any = None, **texts: str | None) -> None:
        super().__init__(what, **texts)
        self.verdict = verdict


class Interrupted(ThenceError):
    """Stopped by Ctrl-C or a signal before it was done."""

    kind = "interrupted"
    exit_status = 130
    http_status = 500
    default_why = "What was written so far is kept and reused by the next try."
    default_hint = "Repeat the command to continue."


class InternalError(ThenceError):
    """A bug in thence."""

    kind = "internal_error"
    exit_status = 1
    http_status = 500
    default_hint = "This is a bug in thence. Please report it with the text above."


ERRORS: tuple[type[ThenceError], ...] = (
    NotFound,
    AlreadyExists,
    Conflict,
    InvalidInput,
    Denied,
    StorageError,
    DataDamaged,
    FormatTooNew,
    MissingExtra,
    RunFailed,
    NotReproduced,
    Interrupted,
    InternalError,
)
"""Every kind there is; a test pins names, codes and statuses."""
