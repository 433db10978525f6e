"""Stores that fail in every way at every operation of what people do, with and without retries.

Under `Retry`, what fails for a moment is hidden from people; above it they are told, in our words.
Either way nothing is lost, and the command done again finishes the work.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from fault_proof import entry_ids, prove
from fault_stage import COMMANDS, Ack, Stage
from fault_wiring import Around, above_retry, under_retry, wired
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fault_tally import Faults
from seaweed import S3Server
from thence.errors import DataDamaged, ThenceError
from thence.store.base import Store
from thence.testing.faulty import READS, WRITES, Fault, FaultyStore, Rule

LONG = os.environ.get("THENCE_FAULTS") == "long"
_MOST = 1000
_SIDES = {"push": ["home", "clone"], "pull": ["home", "clone"]}


class Trial(NamedTuple):
    """A command on its stage, and what comes of it undisturbed."""

    stage: Stage
    command: str
    ids: set[str]
    whole: dict[str, object]
    caches: Iterator[Path]
    bucket_like: bool

    @classmethod
    def prepare(cls, folder: Path, command: str, store: str, *, home_url: str = "") -> "Trial":
        """Make it in a folder; the store is `local`, `memory`, `bucket-like` or `seaweedfs`."""
        caches = (folder / f"caches-{n}" for n in itertools.count())
        bucket_like = store == "bucket-like"
        stage = Stage(folder / "stage", home_url=home_url, elsewhere=bucket_like)
        trial = cls(stage, command, set(), {}, caches, bucket_like)
        with trial.over(always(), above_retry, where="nowhere"):
            stage.build(command)
            trial.ids.update(entry_ids(stage, next(caches)))
            stage.keep()
            acks = trial.act()
            trial.whole.update(prove(stage, next(caches), ids=trial.ids, acks=acks))
        return trial

    @contextmanager
    def over(
        self, rules: tuple[Rule, ...], around: Around, *, where: str = "home", seed: int = 0
    ) -> Iterator[list[FaultyStore]]:
        """Within this, the store at a side breaks by these rules."""

        def break_it(store: Store) -> FaultyStore:
            return FaultyStore(store, *rules, seed=seed, sleep=lambda seconds: None)

        with wired(break_it, around, where=where, bucket_like=self.bucket_like) as broken:
            yield broken

    def act(self) -> list[Ack]:
        """Do the command; what somebody was told."""
        told: list[Ack] = []
        try:
            COMMANDS[self.command](self.stage, told.append)
        finally:
            self.stage.close()
        return told

    def disturbed(
        self, rules: tuple[Rule, ...], around: Around, *, where: str = "home", seed: int = 0
    ) -> tuple[int, ThenceError | None]:
        """The command with faults, then again without: nothing is lost; how many faults."""
        self.stage.reset()
        told: list[Ack] = []
        failure: ThenceError | None = None
        with self.over(rules, around, where=where, seed=seed) as broken:
            try:
                COMMANDS[self.command](self.stage, told.append)
            except ThenceError as error:
                failure = error
            finally:
                self.stage.close()
        injected = sum(len(one.injected) for one in broken)
        with self.over((), above_retry, where="nowhere"):
            prove(self.stage, next(self.caches), ids=self.ids, acks=told)
            told += self.act()
            found = prove(self.stage, next(self.caches), ids=self.ids, acks=told)
        assert found == self.whole, different(self.whole, found)
        if not injected:
            assert failure is None, failure
        return injected, failure


def always() -> tuple[Rule, ...]:
    return ()


def different(wanted: dict[str, object], found: dict[str, object]) -> str:
    keys = sorted({*wanted, *found})
    return "\n".join(
        f"{key}: {wanted.get(key)} became {found.get(key)}"
        for key in keys
        if wanted.get(key) != found.get(key)
    )


def at_each_operation(trial: Trial, fault: Fault, around: Around, *, every: int, first: int) -> int:
    """One fault at operation n, for every n that is due; how many faults."""
    count = 0
    for where in _SIDES.get(trial.command, ["home"]):
        for step in range(first, _MOST, every):
            rule = Rule(fault=fault, on=frozenset({step}))
            injected, failure = trial.disturbed((rule,), around, where=where)
            if not injected:
                break
            count += injected
            if around is under_retry and fault is not Fault.SHORT_READ:
                assert failure is None, f"{fault} at {step} should be hidden: {failure}"
            if fault in {Fault.DELAY, Fault.REPEAT}:
                assert failure is None, f"{fault} at {step}: {failure}"
            if fault is Fault.SHORT_READ and failure is not None:
                # What is not as it was written is never taken for what it should be.
                assert isinstance(failure, DataDamaged), repr(failure)
        else:
            raise AssertionError("the command never came to its end")
    return count


@pytest.fixture
def new_trial(tmp_path: Path) -> Callable[[str, str], Trial]:
    numbers = itertools.count()

    def make(command: str, store: str) -> Trial:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        url = f"memory://faults-{os.urandom(6).hex()}" if store == "memory" else ""
        return Trial.prepare(folder, command, store, home_url=url)

    return make


NewTrial = Callable[[str, str], Trial]


class Case(NamedTuple):
    """A fault at some operations of a command."""

    command: str
    store: str
    fault: Fault
    around: Around
    every: int


SOME = [
    Case("save", "memory", Fault.LOSE_RESPONSE, under_retry, 5),
    Case("save", "bucket-like", Fault.FAIL_BEFORE, above_retry, 9),
    Case("save", "local", Fault.SHORT_READ, above_retry, 2),
    Case("push", "memory", Fault.LOSE_RESPONSE, above_retry, 40),
    Case("alias", "local", Fault.REPEAT, above_retry, 1),
]


@pytest.mark.parametrize("case", SOME, ids=lambda case: f"{case.command}-{case.fault}")
def test_a_fault_at_some_operations(case: Case, new_trial: NewTrial, faults: Faults) -> None:
    trial = new_trial(case.command, case.store)
    count = at_each_operation(trial, case.fault, case.around, every=case.every, first=2)
    assert count >= 2
    tell(faults, case.fault, case.around, case.store, count)


def tell(faults: Faults, fault: Fault, around: Around, store: str, count: int) -> None:
    where = "under Retry" if around is under_retry else "above Retry"
    faults(f"{fault.value.replace('_', ' ')}, {where}", store, count)


@pytest.mark.slow
@pytest.mark.timeout(7200 if LONG else 300)
@pytest.mark.parametrize("store", ["local", "memory", "bucket-like"])
@pytest.mark.parametrize("command", ["save", "alias", "rollback", "seal", "get", "push", "pull"])
def test_every_fault_at_operations(
    command: str, store: str, new_trial: NewTrial, faults: Faults
) -> None:
    """At some of them; the long run does every one."""
    trial = new_trial(command, store)
    every = 1 if LONG else {"push": 31, "pull": 23, "seal": 7}.get(command, 5)
    firsts = itertools.cycle(range(1, 1 + every))
    for around, fault in itertools.product([above_retry, under_retry], Fault):
        count = at_each_operation(trial, fault, around, every=every, first=next(firsts))
        # Some commands have few operations, and some write nothing that could arrive twice.
        assert count >= 1 or every > 1 or (command == "get" and fault is Fault.REPEAT)
        tell(faults, fault, around, store, count)


@pytest.fixture
def bucket(seaweed: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty place in a bucket."""
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    return seaweed.url("thence", f"faults-{os.urandom(6).hex()}")


@pytest.mark.slow
@pytest.mark.timeout(7200 if LONG else 300)
@pytest.mark.parametrize(
    ("command", "around"),
    list(itertools.product(["save", "alias", "push"], [above_retry, under_retry]))
    if LONG
    else [("save", above_retry), ("alias", under_retry), ("push", under_retry)],
)
def test_faults_on_the_way_to_seaweedfs(
    command: str, around: Around, tmp_path: Path, bucket: str, faults: Faults
) -> None:
    trial = Trial.prepare(tmp_path, command, "seaweedfs", home_url=bucket)
    every = 1 if LONG else 61 if command == "push" else 11
    for number, fault in enumerate(Fault):
        count = at_each_operation(trial, fault, around, every=every, first=1 + number % every)
        tell(faults, fault, around, "seaweedfs", count)


# Any number of faults, anywhere

RULES = st.lists(
    st.builds(
        Rule,
        fault=st.sampled_from(list(Fault)),
        operations=st.sampled_from([READS, WRITES, READS | WRITES]),
        chance=st.sampled_from([0.05, 0.2, 0.5]),
        transient=st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


def try_schedules(trial: Trial, examples: int) -> dict[Fault, int]:
    """Random schedules of faults, several tries each; how many of which fault."""
    seen: dict[Fault, int] = dict.fromkeys(Fault, 0)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=not LONG,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.lists(st.tuples(RULES, st.booleans()), min_size=1, max_size=3),
        st.integers(0, 2**32),
        st.sampled_from(_SIDES.get(trial.command, ["home"])),
    )
    def attempt(tries: list[tuple[list[Rule], bool]], seed: int, where: str) -> None:
        trial.stage.reset()
        told: list[Ack] = []
        for number, (rules, retrying) in enumerate(tries):
            around = under_retry if retrying else above_retry
            with trial.over(tuple(rules), around, where=where, seed=seed + number) as broken:
                try:
                    COMMANDS[trial.command](trial.stage, told.append)
                except ThenceError:
                    pass
                finally:
                    trial.stage.close()
            for one in broken:
                for injected in one.injected:
                    seen[injected.fault] += 1
        with trial.over((), above_retry, where="nowhere"):
            prove(trial.stage, next(trial.caches), ids=trial.ids, acks=told)
            told += trial.act()
            found = prove(trial.stage, next(trial.caches), ids=trial.ids, acks=told)
        assert found == trial.whole, different(trial.whole, found)

    attempt()
    return seen


@pytest.mark.slow
@pytest.mark.timeout(7200 if LONG else 300)
@pytest.mark.parametrize("store", ["local", "memory", "bucket-like"])
@pytest.mark.parametrize("command", ["save", "alias", "seal", "get", "push", "pull"])
def test_random_schedules(command: str, store: str, new_trial: NewTrial, faults: Faults) -> None:
    seen = try_schedules(new_trial(command, store), 1000 if LONG else 5)
    faults("random schedules", store, sum(seen.values()))
