"""Which names a cell of a notebook reads and binds, found without running it."""

import ast
import re
import symtable
from typing import NamedTuple

__all__ = ["CellNames", "names_of"]

_MAGIC = re.compile(r"^(\s*)([%!?]|[\w.]+\?{1,2}\s*$)")
_ASSIGNED_MAGIC = re.compile(r"^(\s*[\w, ]+=)\s*[%!].*$")
_OF_PYTHON = re.compile(r"%%(time|timeit|capture|prun)\b")
# Methods that change what they are called on, of the containers that everybody uses.
_CHANGING = {
    *("append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse", "add", "update"),
    *("setdefault", "discard", "popitem", "appendleft", "popleft"),
}


class CellNames(NamedTuple):
    """The names of a cell, at the level of the notebook.

    Attributes:
        reads: Those that it needs before it has bound them itself.
        binds: Those that it binds: assigns, imports, defines.
        changes: Those that come out another way each time it is executed: it reads and binds them,
            or changes what they name.
    """

    reads: frozenset[str] = frozenset()
    binds: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()


def names_of(source: str) -> CellNames:
    """The names of a cell; none for one that is not in Python.

    >>> names_of("y = x + 1")
    CellNames(reads=frozenset({'x'}), binds=frozenset({'y'}), changes=frozenset())
    """
    text = _without_magics(source)
    try:
        module = ast.parse(text)
        table = symtable.symtable(text, "cell", "exec")
    except (SyntaxError, ValueError, RecursionError):
        return CellNames()
    visitor = _Visitor()
    for statement in module.body:
        visitor.visit(statement)
    # What functions read is read when they are called: after the cell has bound all of its own.
    inner = _globals_of(table) - visitor.binds
    return CellNames(
        frozenset(visitor.reads | inner),
        frozenset(visitor.binds),
        frozenset(visitor.changes | (visitor.reads & visitor.binds)),
    )


def _without_magics(source: str) -> str:
    lines = source.splitlines()
    if lines and lines[0].lstrip().startswith("%%"):
        if not _OF_PYTHON.match(lines[0].lstrip()):
            return ""
        lines = lines[1:]
    kept = []
    for line in lines:
        if found := _ASSIGNED_MAGIC.match(line):
            kept.append(f"{found[1]} None")
        elif found := _MAGIC.match(line):
            kept.append(f"{found[1]}pass")
        else:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _globals_of(table: symtable.SymbolTable) -> set[str]:
    """Names of the notebook that the functions and classes of a cell read."""
    found: set[str] = set()
    for child in table.get_children():
        if child.get_type() == "function" and child.get_name() not in _COMPREHENSIONS:
            found |= {
                one.get_name()
                for one in child.get_symbols()
                if one.is_global() and one.is_referenced()
            }
        found |= _globals_of(child)
    return found


_COMPREHENSIONS = {"listcomp", "setcomp", "dictcomp", "genexpr"}


class _Visitor(ast.NodeVisitor):
    """Goes through a cell in the order in which it is executed."""

    def __init__(self) -> None:
        self.reads: set[str] = set()
        self.binds: set[str] = set()
        self.changes: set[str] = set()
        self._local: list[set[str]] = []

    def visit_Name(self, node: ast.Name) -> None:
        if any(node.id in names for names in self._local):
            return
        if isinstance(node.ctx, ast.Load):
            if node.id not in self.binds:
                self.reads.add(node.id)
        elif isinstance(node.ctx, ast.Store):
            self.binds.add(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._note_change(target, node.value)
            self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
            self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        name = _base_of(node.target)
        if name is not None:
            if name not in self.binds:
                self.reads.add(name)
                self.changes.add(name)
            if isinstance(node.target, ast.Name):
                self.binds.add(name)

    def visit_Expr(self, node: ast.Expr) -> None:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            name = _base_of(call.func.value)
            in_place = any(
                word.arg == "inplace" and getattr(word.value, "value", False) is True
                for word in call.keywords
            )
            if name and name not in self.binds and (call.func.attr in _CHANGING or in_place):
                self.changes.add(name)
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.binds.add(node.target.id)

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self.visit(node.target)
        for statement in (*node.body, *node.orelse):
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        self.binds |= {(one.asname or one.name).partition(".")[0] for one in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.binds |= {one.asname or one.name for one in node.names if one.name != "*"}

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for one in (
            *node.decorator_list,
            *node.args.defaults,
            *filter(None, node.args.kw_defaults),
        ):
            self.visit(one)
        self.binds.add(node.name)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Its body is read when it is called."""

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for one in (*node.decorator_list, *node.bases):
            self.visit(one)
        own: set[str] = set()
        self._local.append(own)
        for statement in node.body:
            inner = _Visitor()
            inner.visit(statement)
            self.reads |= inner.reads - self.binds - own
            own |= inner.binds
        self._local.pop()
        self.binds.add(node.name)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.type is not None:
            self.visit(node.type)
        self._local.append({node.name} if node.name else set())
        for statement in node.body:
            self.visit(statement)
        self._local.pop()

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._comprehension(node.generators, (node.elt,))

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._comprehension(node.generators, (node.elt,))

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._comprehension(node.generators, (node.elt,))

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node.generators, (node.key, node.value))

    def _comprehension(
        self, generators: list[ast.comprehension], results: tuple[ast.expr, ...]
    ) -> None:
        self._local.append(set())
        for one in generators:
            self.visit(one.iter)
            self._local[-1] |= {
                name.id for name in ast.walk(one.target) if isinstance(name, ast.Name)
            }
            for condition in one.ifs:
                self.visit(condition)
        for result in results:
            self.visit(result)
        self._local.pop()

    def _note_change(self, target: ast.expr, value: ast.expr) -> None:
        """`df["a"] = df["a"] * 2` is another one each time, `df["b"] = df["a"]` is not."""
        if isinstance(target, (ast.Subscript, ast.Attribute)):
            name = _base_of(target)
            place = ast.dump(target).replace("Store()", "Load()")
            if name and name not in self.binds and place in ast.dump(value):
                self.changes.add(name)


def _base_of(node: ast.expr) -> str | None:
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None
