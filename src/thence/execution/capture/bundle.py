"""A git bundle of the commits that no remote has, for those who have only the store of a project.

A bundle holds history, and what was once committed cannot be replaced by a placeholder: where a
secret is in one of these commits, there is no bundle.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from thence.execution.capture.git import Git, Refused, Repository
from thence.execution.capture.secret_files import is_secret_file
from thence.execution.capture.snapshot import FindSecret

__all__ = ["Bundle", "make_bundle"]

DEFAULT_LIMIT_BYTES = 20 << 20
DEFAULT_LIMIT_OBJECTS = 20_000

_WHY = "the commits that no remote has are not kept as a bundle"


class Bundle(NamedTuple):
    """What a bundle came to.

    Attributes:
        data: For `git clone` or `git fetch`; None where nothing is lacking, or nothing may be kept.
        problems: Sentences for people.
    """

    data: bytes | None = None
    problems: tuple[str, ...] = ()


class _Object(NamedTuple):
    id: str
    path: str
    kind: str
    size_bytes: int


def make_bundle(
    repository: Repository,
    git: Git,
    commit: str,
    ref: str,
    *,
    find_secret: FindSecret = lambda path, data: None,
    limit_bytes: int = DEFAULT_LIMIT_BYTES,
    limit_objects: int = DEFAULT_LIMIT_OBJECTS,
) -> Bundle:
    """What is needed to have a commit beside what the remotes have, as git last saw them.

    Without any remote this is the whole history, if that is small.

    Args:
        repository: Where.
        git: To ask.
        commit: The newest one.
        ref: What names it: `HEAD`, or one below `refs/thence/`.
        find_secret: Tells content that may not be in it.
        limit_bytes: Of the objects, each unpacked.
        limit_objects: So many commits, folders and files.
    """
    try:
        listed = git.output(
            *("rev-list", "--objects", commit, "--not", "--remotes"),
            limit_bytes=limit_objects * 120,
        )
        lines = listed.decode("utf-8", "surrogateescape").splitlines()
        if not lines:
            return Bundle()
        if len(lines) > limit_objects or len(listed) > limit_objects * 120:
            return Bundle(None, (f"{_WHY}: they are more than {limit_objects} objects",))
        if _is_cut_off(repository, git):
            return Bundle(None, (f"{_WHY}: the clone is shallow, and has no remote",))
        objects = list(_describe(git, lines))
        if sum(one.size_bytes for one in objects) > limit_bytes:
            return Bundle(None, (f"{_WHY}: they have more than {limit_bytes >> 20} MiB",))
        found = _find_secret(git, objects, find_secret)
        if found is not None:
            return Bundle(None, (f"{_WHY}: {found}",))
        data = git.output("bundle", "create", "--quiet", "-", ref, "--not", "--remotes")
    except Refused as refusal:
        return Bundle(None, (f"{_WHY}: {refusal}",))
    return Bundle(data)


def _is_cut_off(repository: Repository, git: Git) -> bool:
    if not (repository.common / "shallow").is_file():
        return False
    return not git.output("for-each-ref", "--count=1", "refs/remotes")


def _describe(git: Git, lines: list[str]) -> Iterator[_Object]:
    names = [line.partition(" ") for line in lines]
    told = git.output(
        *("cat-file", "--batch-check=%(objecttype) %(objectsize)"),
        standard_input="".join(f"{name}\n" for name, _, _ in names).encode(),
    )
    for (name, _, path), line in zip(names, told.decode().splitlines(), strict=True):
        kind, _, size = line.partition(" ")
        if not size.isdigit():  # of a partial clone
            raise Refused(f"{path or name} is not here")
        yield _Object(name, path, kind, int(size))


def _find_secret(git: Git, objects: list[_Object], find_secret: FindSecret) -> str | None:
    """A sentence on the first secret that is in them."""
    for one in objects:
        # Whether it is one by what it holds cannot be asked: the file may be gone.
        if one.kind == "blob" and is_secret_file(str(Path("/gone", one.path))):
            return f"{one.path} in them holds secrets"
    looked_at = [one for one in objects if one.kind in {"blob", "commit"}]
    given = "".join(f"{one.id}\n" for one in looked_at).encode()
    data = git.output("cat-file", "--batch", standard_input=given)
    place = 0
    for one in looked_at:
        start = data.index(b"\n", place) + 1
        content = data[start : start + one.size_bytes]
        place = start + one.size_bytes + 1
        name = one.path if one.kind == "blob" else "message.txt"
        secret = find_secret(name, content)
        if secret is not None:
            where = one.path if one.kind == "blob" else f"the commit {one.id[:12]}"
            return f"{where} in them holds the secret {secret}"
    return None
