"""Where a source of Python draws random numbers, gives seeds, and makes generators without one."""

import ast
from functools import cached_property
from pathlib import Path
from typing import Self

__all__ = ["Source"]

_LIMIT_BYTES = 1 << 20
# Generators, and what looks after states.
_NO_DRAWS = {
    *("seed", "getstate", "setstate", "get_state", "set_state", "Random", "SystemRandom"),
    *("default_rng", "Generator", "RandomState", "BitGenerator", "SeedSequence", "MT19937"),
    *("PCG64", "PCG64DXSM", "Philox", "SFC64", "get_bit_generator", "set_bit_generator"),
}
_MAKERS = {"RandomState", "MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64", "SeedSequence"}
_MODULES = {"random": ("random",), "numpy": ("numpy.random",), "torch": ("torch",)}
_TORCH = ("rand", "normal", "bernoulli", "multinomial", "poisson", "nn.", "utils.data.")
_SEEDS = {
    "random": {"random.seed", "random.setstate"},
    "numpy": {"numpy.random.seed", "numpy.random.set_state"},
    "torch": {"torch.manual_seed", "torch.random.manual_seed", "torch.set_rng_state"},
}
_SEED_ALL = {"seed_everything", "set_seed", "set_random_seed", "fix_seed", "seed_all"}


class Source:
    r"""A text of Python; one that cannot be read has nothing in it.

    >>> source = Source("import numpy as np\nrng = np.random.RandomState()\nnp.random.rand(3)")
    >>> source.draws("numpy"), source.made_without_seed(2), source.seeds("numpy")
    (3, 'RandomState', False)
    """

    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def read(cls, path: Path) -> Self:
        """That of a file."""
        try:
            with path.open("rb") as file:
                return cls(file.read(_LIMIT_BYTES).decode("utf-8", "replace"))
        except OSError:
            return cls("")

    def draws(self, library: str) -> int | None:
        """The first line that draws from the generator that a library shares."""
        lines = (line for name, line in self._names if _is_draw(name, library))
        return min(lines, default=None)

    def seeds(self, library: str) -> bool:
        """Whether it gives that generator a seed somewhere, or calls what by its name does."""
        return any(
            name in _SEEDS[library] or name.rpartition(".")[2] in _SEED_ALL
            for name, _ in self._names
        )

    def made_without_seed(self, line: int) -> str | None:
        """Which generator of NumPy is made without a seed in a line; None where none is."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call) and node.lineno <= line <= (node.end_lineno or line):
                name = _dotted(node.func).rpartition(".")[2]
                given = [*node.args, *(word.value for word in node.keywords)]
                is_none = all(isinstance(one, ast.Constant) and one.value is None for one in given)
                if name in _MAKERS and is_none:
                    return name
        return None

    @cached_property
    def _tree(self) -> ast.Module:
        try:
            return ast.parse(self._text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ast.Module(body=[], type_ignores=[])

    @cached_property
    def _names(self) -> list[tuple[str, int]]:
        """All that is named, by its full name, and in which line."""
        if "random" not in self._text and "torch" not in self._text and "rvs" not in self._text:
            return []
        known = dict(self._imported())
        found = []
        for node in ast.walk(self._tree):
            if isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Load):
                first, dot, rest = _dotted(node).partition(".")
                found.append((f"{known.get(first, '?' + first)}{dot}{rest}", node.lineno))
        return found

    def _imported(self) -> list[tuple[str, str]]:
        found = []
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Import):
                for one in node.names:
                    first = one.name.partition(".")[0]
                    found.append((one.asname, one.name) if one.asname else (first, first))
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found += [
                    (one.asname or one.name, f"{node.module}.{one.name}") for one in node.names
                ]
        return found


def _is_draw(name: str, library: str) -> bool:
    module, _, rest = name.partition(f"{_MODULES[library][0]}.")
    if library == "numpy" and name.endswith(".rvs"):
        return True  # distributions of scipy draw from it
    if module or not rest:
        return False
    if library == "torch":
        return rest.startswith(_TORCH)
    return "." not in rest and rest not in _NO_DRAWS


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return "?"
