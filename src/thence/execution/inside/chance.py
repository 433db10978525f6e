"""Random number generators: which had a seed, and from which numbers were drawn.

Nothing is wrapped that draws: that a state has changed says that numbers were drawn. Who drew is
looked up where it was not seen, by the observer, in the sources that are told at the end.
"""

from __future__ import annotations

import os
import sys

from . import frames
from .wrapping import quietly, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .observation import Observation

__all__ = ["KIND", "SOURCES", "Chance", "start"]

_PART = "chance"
KIND = "chance"
SOURCES = "chance-sources"
# Programs seed for each sample: after so many seeds no more is looked at.
_COMPARED = 50
_MADE = 64
_OF_A_LINE = 8
_FILES = 200
_TEXT = 1 << 16


def start(observation: Observation) -> None:
    """Look after the generators of this process."""
    chance = Chance(observation)
    when = observation.imports.when
    when("random", chance.has_random)
    when("numpy.random", chance.has_numpy)
    when("torch.random", chance.has_torch_functions)
    when("torch", chance.has_torch)
    when("sklearn.utils.validation", lambda one: chance.asks_for_shared(one, "check_random_state"))
    when("scipy._lib._util", lambda one: chance.asks_for_shared(one, "check_random_state"))
    when("pandas.core.common", lambda one: chance.asks_for_shared(one, "random_state"))
    observation.on_begin(chance.begin)
    observation.on_end(chance.end)
    observation.on_fork(chance.begin_fork)


class _Shared:
    """The one generator of a library that its functions draw from.

    Args:
        library: Which.
        state: Tells its state.
        is_locked: Whether it can be asked in a fork only after the fork has used it: before, a
            thread of the parent that the fork does not have may hold its lock.
    """

    def __init__(self, library: str, state: Callable[[], Any], *, is_locked: bool) -> None:
        self.library = library
        self._state = state
        self._is_locked = is_locked
        self.is_late = False
        self.begin()

    def begin(self) -> None:
        self.start: str | None = self.digest()
        # None: as a fork found it, which is not known.
        self.base: str | None = self.start
        self.drawn = False
        self.drawn_before = False
        self.seeded = False
        self.seed: str | None = None
        self.seeds = 0
        self.site: tuple[str, int] | None = None

    def begin_fork(self) -> None:
        """Seeds hold in forks too, but for those of the standard library."""
        self.start = self.base = None if self._is_locked else self.digest()
        self.drawn = False

    def digest(self) -> str:
        return _digest(self._state())

    def look(self) -> None:
        """Before a state is replaced: whether it was drawn from until now."""
        self.seeds += 1
        if self.base is not None and self.digest() != self.base:
            self.drawn = True
            self.drawn_before = self.drawn_before or not self.seeded

    def has_seed(self, seed: Any, *, is_seed: bool) -> None:
        """It was given a seed or a state, or entropy in their place."""
        self.base = self.digest()
        self.seeded = is_seed
        self.seed = _text(seed) if is_seed else None
        if not is_seed:
            self.site = frames.own() or self.site

    def fields(self) -> dict[str, Any]:
        end = None if self.base is None else self.digest()
        used = None if end is None else self.drawn or end != self.base
        return {
            "library": self.library,
            "seeded": self.seeded,
            "late": self.is_late,
            "seed": self.seed,
            "start": self.start,
            "end": end,
            "used": used,
            "before": self.drawn_before,
            "site": self.site,
        }


class _Made:
    """A generator that the program made for itself."""

    def __init__(self, library: str, seed: Any, site: tuple[str, int], state: Any) -> None:
        self.library = library
        self._seed = seed
        self._site = site
        self._state = state
        self.start = None if state is None else _digest(state())

    def begin_fork(self) -> None:
        if self._state is not None:
            self.start = _digest(self._state())

    def fields(self) -> dict[str, Any]:
        end = None if self._state is None else _digest(self._state())
        return {
            "library": self.library,
            "seeded": self._seed is not None,
            "seed": None if self._seed is None else _text(self._seed),
            "start": self.start,
            "end": end,
            "used": None if end is None else end != self.start,
            "site": self._site,
        }


class Chance:
    """The generators of this process.

    Args:
        observation: Is told at the end.
    """

    def __init__(self, observation: Observation) -> None:
        self._observation = observation
        self._shared: dict[str, _Shared] = {}
        self._made: list[_Made] = []
        # By kind, line, and whether they have a seed.
        self._counts: dict[tuple[str, tuple[str, int], bool], int] = {}
        self._pid = -1

    def begin(self) -> None:
        """A run begins."""
        self._pid = os.getpid()
        self._made.clear()
        self._counts.clear()
        for shared in self._shared.values():
            shared.begin()
            # What was seeded before the run was not seen.
            shared.is_late = True

    def begin_fork(self) -> None:
        """In a fork: what the parent drew is not of it."""
        self._pid = os.getpid()
        for one in self._all():
            one.begin_fork()

    def end(self) -> None:
        """Tell all; once in each process."""
        if self._pid != os.getpid():
            return
        self._pid = -1
        if "torch" in self._shared:
            self._tell_of_cuda()
        unknown = False
        for one in self._all():
            try:
                fields = one.fields()
            except Exception:  # noqa: S112 - of another version of its library
                continue
            is_shared = isinstance(one, _Shared)
            if not is_shared or fields["used"] or fields["seeded"]:
                self._observation.tell(KIND, **fields)
            if is_shared and fields["used"] and not (fields["seeded"] or fields["site"]):
                unknown = True
        if unknown:
            self._observation.tell(SOURCES, **_sources())

    def _tell_of_cuda(self) -> None:
        cuda = getattr(sys.modules["torch"], "cuda", None)
        if cuda is None or not cuda.is_initialized():
            return
        torch = self._shared["torch"]
        self._observation.tell(
            KIND,
            library="torch.cuda",
            seeded=torch.seeded,
            late=torch.is_late,
            seed=torch.seed,
            end=_digest([_tensor(state) for state in cuda.get_rng_state_all()]),
        )

    # The standard library

    def has_random(self, module: Any) -> None:
        """The module `random` is there."""
        shared = self._share("random", module._inst.getstate)  # noqa: SLF001
        # Python gives it entropy in each fork; now that this is registered, we come after it.
        self._observation.on_fork(self._shared["random"].begin)
        wrap(module, "seed", lambda inner: _seeding(inner, shared), _PART)
        wrap(module, "setstate", lambda inner: _restoring(inner, shared), _PART)
        made = self._make

        def wrapper(inner: Any) -> Any:
            def __init__(self: Any, x: Any = None) -> None:  # noqa: N807
                inner(self, x)
                if self.__class__ is module.Random:
                    made("random.Random", x, self.getstate)

            return __init__

        wrap(module.Random, "__init__", wrapper, _PART)

    # NumPy

    def has_numpy(self, module: Any) -> None:
        """The package `numpy.random` is there."""
        mtrand = module.mtrand
        shared = self._share("numpy", lambda: mtrand._rand.get_state(legacy=False))  # noqa: SLF001
        for holder in (module, mtrand):
            wrap(holder, "seed", lambda inner: _seeding(inner, shared), _PART)
            wrap(holder, "set_state", lambda inner: _restoring(inner, shared), _PART)
        made, generator = self._make, module.Generator

        def making(inner: Any) -> Any:
            def default_rng(seed: Any = None) -> Any:
                made_one = inner(seed)
                if seed is None or isinstance(seed, (int, str, list, tuple)):
                    state = made_one.bit_generator
                    made("numpy.Generator", seed, lambda: state.state, is_deep=True)
                return made_one

            return default_rng

        if isinstance(generator, type):
            wrap(module, "default_rng", making, _PART)
        # All generators that are made without a seed ask here for entropy. So do those of
        # `RandomState(7)`, which is told apart by the source of the call.
        wrap(module.bit_generator, "randbits", self._asking, _PART)

    def _asking(self, inner: Any) -> Any:
        made = self._make

        def randbits(k: int) -> int:
            made("numpy.entropy", None, None)
            return int(inner(k))

        return randbits

    def asks_for_shared(self, module: Any, name: str) -> None:
        """Libraries draw from NumPy's shared generator where they are given none."""
        chance = self

        def wrapper(inner: Any) -> Any:
            def asking(*args: Any, **kwargs: Any) -> Any:
                shared = chance._shared.get("numpy")
                if shared is not None and shared.site is None and not shared.seeded:
                    given = args[0] if args else next(iter(kwargs.values()), None)
                    if given is None or given is sys.modules.get("numpy.random"):
                        shared.site = frames.own()
                return inner(*args, **kwargs)

            return asking

        wrap(module, name, wrapper, _PART)

    # PyTorch

    def has_torch_functions(self, module: Any) -> None:
        """The module `torch.random` is there, and not yet what it is imported by."""
        shared = self._torch
        wrap(module, "manual_seed", lambda inner: _seeding(inner, shared), _PART)
        wrap(module, "seed", lambda inner: _seeding(inner, shared), _PART)
        wrap(module, "set_rng_state", lambda inner: _restoring(inner, shared), _PART)

    def has_torch(self, module: Any) -> None:
        """The package `torch` is there, whole."""
        self._share("torch", lambda: _tensor(module.random.get_rng_state()), is_locked=True)

    def _torch(self) -> _Shared | None:
        return self._shared.get("torch")

    # How

    def _all(self) -> list[_Shared | _Made]:
        return [*self._shared.values(), *self._made]

    def _share(
        self, library: str, state: Any, *, is_locked: bool = False
    ) -> Callable[[], _Shared | None]:
        shared = self._shared[library] = _Shared(library, state, is_locked=is_locked)
        shared.is_late = self._pid == -1
        return lambda: shared

    def _make(self, library: str, seed: Any, state: Any, *, is_deep: bool = False) -> None:
        """Note a generator that was made by our caller's caller, if that is the program.

        Args:
            library: Which kind.
            seed: What it was made with.
            state: Tells its state.
            is_deep: Whether it also counts where a library makes it for the program.
        """
        try:
            site = frames.caller(3, is_deep=is_deep)
            if site is None or len(self._made) >= _MADE:
                return
            key = (library, site, seed is None)
            count = self._counts[key] = self._counts.get(key, 0) + 1
            # Of entropy that is asked for, the source of the line says who needs it.
            if count <= (1 if state is None else _OF_A_LINE):
                self._made.append(_Made(library, seed, site, state))
        except Exception:  # noqa: S110
            pass  # it must not break the program


def _seeding(inner: Any, shared: Callable[[], _Shared | None]) -> Any:
    def seed(*args: Any, **kwargs: Any) -> Any:
        one = _look(shared)
        result = inner(*args, **kwargs)
        if one is not None:
            given = args[0] if args else next(iter(kwargs.values()), None)
            quietly(lambda: one.has_seed(given, is_seed=given is not None))
        return result

    return seed


def _restoring(inner: Any, shared: Callable[[], _Shared | None]) -> Any:
    def setstate(*args: Any, **kwargs: Any) -> Any:
        one = _look(shared)
        result = inner(*args, **kwargs)
        if one is not None:
            quietly(lambda: one.has_seed("a state", is_seed=True))
        return result

    return setstate


def _look(shared: Callable[[], _Shared | None]) -> _Shared | None:
    """Libraries seed for their own ends and set the state back: that is no seed of the program."""
    one = shared()
    if one is None or one.seeds > _COMPARED or frames.own() is None:
        return None
    quietly(one.look)
    return one


def _text(seed: Any) -> str | None:
    if isinstance(seed, (str, bytes)):
        return str(seed)[:64]
    try:
        return str(int(seed))
    except (TypeError, ValueError):
        text = repr(seed)
        return text if len(text) <= 64 else None


def _tensor(tensor: Any) -> Any:
    try:
        return tensor.numpy()
    except Exception:
        return tensor.tolist()


def _digest(state: Any) -> str:
    try:
        from _blake2 import blake2b
    except ImportError:
        from hashlib import blake2b
    digest = blake2b(digest_size=8)
    todo = [state]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            todo += [part for pair in sorted(one.items()) for part in pair]
        elif hasattr(one, "tobytes"):
            digest.update(one.tobytes())
        else:
            digest.update(repr(one).encode())
    return str(digest.hexdigest())


def _sources() -> dict[str, Any]:
    """Where the observer may look for who drew."""
    found = []
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and path.endswith(".py") and frames.is_own(path):
            found.append(os.path.abspath(path))
    words = list(getattr(sys, "orig_argv", ()))
    text = words[words.index("-c") + 1] if "-c" in words[:-1] else ""
    # The main module has lost it when the interpreter ends.
    named = getattr(sys.modules.get("__main__"), "__file__", None) or "".join(sys.argv[:1])
    main = os.path.abspath(named)
    has_main = os.path.isfile(main)
    if has_main and frames.is_own(main):
        found.append(main)
    return {
        "files": sorted(set(found))[:_FILES],
        "text": "" if has_main else text[:_TEXT],
        "prompt": not has_main and not text,
    }
