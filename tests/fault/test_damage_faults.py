"""Bits that flip and files that end early, in every kind of object that a project has.

Whoever reads is either told, in our words, or given what was written: never other bytes, and never
the exception of somebody else's library. What was not damaged can still be read, and new things can
still be saved.
"""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from fault_museum import Museum, Seen, clear_caches, listening, look, overwrite

from fault_tally import Faults
from thence.errors import InternalError, ThenceError
from thence.project import Project
from thence.vault.pack import ENTRY_SIZE, HEADER, TRAILER

LONG = os.environ.get("THENCE_FAULTS") == "long"
Damage = Callable[[bytes, random.Random], bytes]


def flip(at: Callable[[bytes, random.Random], int]) -> Damage:
    def damaged(data: bytes, dice: random.Random) -> bytes:
        place = at(data, dice)
        return data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]

    return damaged


def _in_directory(data: bytes, dice: random.Random) -> int:
    length: int = TRAILER.unpack(data[-TRAILER.size :])[0]
    entries = len(data) - TRAILER.size - length + HEADER.size
    return entries + dice.randrange((length - HEADER.size) // ENTRY_SIZE * ENTRY_SIZE)


def _nonce(data: bytes, dice: random.Random) -> int:
    length: int = TRAILER.unpack(data[-TRAILER.size :])[0]
    return len(data) - TRAILER.size - length + dice.randrange(16)


def _in_blocks(data: bytes, dice: random.Random) -> int:
    length: int = TRAILER.unpack(data[-TRAILER.size :])[0]
    blocks = len(data) - TRAILER.size - length
    return dice.randrange(blocks) if blocks else 0


ANY: dict[str, Damage] = {
    "bit flip": flip(lambda data, dice: dice.randrange(len(data))),
    "bit flip at the beginning": flip(lambda data, dice: 0),
    "bit flip at the end": flip(lambda data, dice: len(data) - 1),
    "truncation": lambda data, dice: data[: dice.randrange(len(data))],
    "truncation by a byte": lambda data, dice: data[:-1],
    "emptiness": lambda data, dice: b"",
    "zeros": lambda data, dice: bytes(len(data)),
    "more at the end": lambda data, dice: data + b"\0" * 9,
}
PACKS: dict[str, Damage] = {
    "bit flip in a block": flip(_in_blocks),
    "bit flip in the directory": flip(_in_directory),
    "bit flip in the nonce": flip(_nonce),
    "bit flip in the trailer": flip(
        lambda data, dice: len(data) - 1 - dice.randrange(TRAILER.size)
    ),
}
HARMLESS = {"journal", "hints", "directories", "index", "runs"}
"""What may be deleted at any time; the segments of a run that goes on are nobody's answer here."""


class Case(NamedTuple):
    """Something that is damaged."""

    kind: str
    path: Path
    damage: str
    do: Damage


@pytest.fixture(
    scope="module",
    params=[False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["local", "bucket-like"],
)
def museum(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Museum]:
    folder = tmp_path_factory.mktemp("museum")
    yield Museum(folder, elsewhere=request.param)
    shutil.rmtree(folder)


def cases(museum: Museum, dice: random.Random, *, each: int, damages: int) -> Iterator[Case]:
    """Some damages of some objects of each kind."""
    museum.stage.reset()
    for kind, paths in museum.objects().items():
        known = {**ANY, **PACKS} if kind == "packs" else ANY
        for path in dice.sample(paths, min(each, len(paths))):
            for name in dice.sample(sorted(known), min(damages, len(known))):
                yield Case(kind, path, name, known[name])


def refuse_internal(error: ThenceError) -> None:
    assert not isinstance(error, InternalError), error


def check_answers(good: dict[str, Seen], seen: dict[str, Seen], *, said: bool, case: Case) -> int:
    """Each answer is right, or an error, or lacks something that was said to be missing."""
    told = 0
    for question, answer in seen.items():
        wanted = good[question].value
        if answer.error is not None:
            told += 1
            refuse_internal(answer.error)
            assert answer.error.what, (case, question)
        elif answer.value != wanted:
            told += 1
            assert not question.startswith(("content ", "files ", "load ")), (case, question)
            assert said, (case, question, wanted, answer.value)
            if question.startswith(("history", "aliases", "runs")):
                # An edit or an end that is missing takes its part of the answer away.
                of = 2 if question.startswith("history") else 1
                known = {one[:of] for one in wanted}
                assert {one[:of] for one in answer.value} <= known, (case, question)
    return told


def attempt(museum: Museum, case: Case, *, fresh: bool, seed: int) -> int:
    """Damage it, look at everything, save, and pull; how many answers told of it."""
    museum.stage.reset()
    dice = random.Random(seed)
    before = case.path.read_bytes()
    after = case.do(before, dice)
    overwrite(case.path, after)
    if fresh and not case.kind.startswith("local"):
        clear_caches(museum.stage.folder)
    told = 0
    with museum.opened(), listening() as said:
        in_clone = "/clone/" in str(case.path)
        root = museum.stage.clone if in_clone else museum.stage.work
        try:
            project = museum.stage.open(root)
        except ThenceError as error:
            refuse_internal(error)
            return 1
        asked = museum.in_clone if in_clone else museum.questions
        good = museum.good_in_clone if in_clone else museum.good
        seen = look(project, asked)
        flipped = case.kind == "journal" and case.damage.startswith("bit flip")
        if flipped and any(seen[one].value != good[one].value for one in asked):
            # It may name another log now: whoever lists the logs finds what it told of.
            project.refresh(full=True)
            seen = look(project, asked)
        told = check_answers(good, seen, said=bool(said) or said_later(project), case=case)
        told += len(said)
        save_something(project, root)
        if not case.kind.startswith("local"):
            pull(museum, case)
        if case.kind in HARMLESS or after == before:
            assert not _errors(seen), case
    if case.kind.startswith("refs") and fresh and after != before and not museum.stage.elsewhere:
        assert told, case  # elsewhere, a checkpoint may have the entry too
    return told


def _errors(seen: dict[str, Seen]) -> list[ThenceError]:
    return [one.error for one in seen.values() if one.error is not None]


def said_later(project: Project) -> bool:
    try:
        return bool(project.index_status().problems)
    except ThenceError:
        return True


def save_something(project: Project, root: Path) -> None:
    """What is saved now is kept, or it is said that it cannot be."""
    data = random.Random(99).randbytes(30_000)
    (root / "new.bin").write_bytes(data)
    try:
        (saved,) = project.save_paths([root / "new.bin"])
    except ThenceError as error:
        refuse_internal(error)
        return
    (entry,) = project.files(saved.version.ref)
    assert entry.digest is not None
    assert project.site.vault.content.read(entry.digest) == data


def pull(museum: Museum, case: Case) -> None:
    """What comes to a clone is right; what cannot come is said."""
    if not (museum.stage.clone / ".thence").is_dir():
        return
    try:
        clone = museum.stage.open(museum.stage.clone)
        clone.pull()
        again = look(clone, museum.in_clone)
    except ThenceError as error:
        refuse_internal(error)
        return
    for question, answer in again.items():
        if question.startswith("content ") and answer.error is None:
            assert answer.value == museum.good_in_clone[question].value, (case, question)


def test_some_damage_is_told_or_harmless(museum: Museum, faults: Faults) -> None:
    dice = random.Random(1)
    chosen = list(cases(museum, dice, each=1, damages=1))
    for number, case in enumerate(chosen):
        attempt(museum, case, fresh=number % 2 == 0, seed=number)
    assert {case.kind for case in chosen} >= {"packs", "refs of versions", "outbox", "conflicts"}
    faults("damage", "bucket-like" if museum.stage.elsewhere else "local", len(chosen))


@pytest.mark.slow
@pytest.mark.timeout(7200 if LONG else 600)
def test_damage_of_every_kind_is_told_or_harmless(museum: Museum, faults: Faults) -> None:
    dice = random.Random(2)
    chosen = list(cases(museum, dice, each=20 if LONG else 2, damages=12 if LONG else 3))
    told = 0
    for number, case in enumerate(chosen):
        told += bool(attempt(museum, case, fresh=number % 2 == 0, seed=number))
    assert told > len(chosen) // 8
    faults("damage", "bucket-like" if museum.stage.elsewhere else "local", len(chosen))
