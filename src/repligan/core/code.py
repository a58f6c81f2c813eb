"""Code by what it does: a digest of all that a computation can reach in this package.

From the roots the names are followed, from one function, class or constant to the next, through all modules. Of each
the compiled code counts, without comments, docstrings, annotations, line numbers, the names of locals, and without
where it stands. So an edit that can change a result changes the digest, and most that cannot do not: a comment, a
better word in a docstring, a function moved to another file, a network or a loss that the roots do not use.

What is reached by a string or through `getattr` is not seen; nothing that computes here does that.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

PACKAGE = "repligan"
# They tell people how far the work is, or why it ended; no number comes from them.
TELLING = {f"{PACKAGE}.core.{name}" for name in ("errors", "progress", "signals")}
Definition = tuple[str, str]
"""A module and a name in it; an empty name is the whole module, and what it does when it is imported."""
WHOLE = ""


class _Bare(ast.NodeTransformer):
    """A tree without docstrings, annotations, imports of this package and what only a type checker reads."""

    def _body(self, node: Any) -> Any:
        self.generic_visit(node)
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:]
        node.body = node.body or [ast.Pass()]
        return node

    def visit_Module(self, node: ast.Module) -> Any:
        return self._body(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        # The names and the order of annotated fields make a dataclass; their types do not.
        for one in node.body:
            if isinstance(one, ast.AnnAssign):
                one.annotation = ast.Constant(0)
        return self._body(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        node.returns = None
        return self._body(node)

    def visit_arg(self, node: ast.arg) -> Any:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        self.generic_visit(node)
        if isinstance(node.annotation, ast.Constant):  # of a class
            return node
        return ast.Assign([node.target], node.value) if node.value else ast.Pass()

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        return ast.Pass() if (node.module or "").startswith(PACKAGE) else node

    def visit_If(self, node: ast.If) -> Any:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return ast.Pass()
        self.generic_visit(node)
        return node


class _Module:
    """A module's definitions by name, and what its names mean elsewhere in the package."""

    def __init__(self, name: str):
        path = _file(name)
        assert path
        tree = ast.parse(path.read_text(encoding="utf-8"))
        self.imported = dict(_imported(tree.body))
        self.outside = dict(_outside(tree.body))
        self.definitions: dict[str, list[ast.stmt]] = {}
        for statement in tree.body:
            for defined in _defined(statement):
                self.definitions.setdefault(defined, []).append(statement)
            if isinstance(statement, ast.Expr) and not isinstance(statement.value, ast.Constant):
                self.definitions.setdefault(WHOLE, []).append(statement)


def _imported(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, Definition]]:
    """name -> what it stands for in this package, of the import statements among `nodes`."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found = (inner, WHOLE) if _file(inner) else (str(node.module), alias.name)
                yield alias.asname or alias.name, found


def _outside(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """name -> what it stands for in another package."""
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom) and not str(getattr(node, "module", "")).startswith(PACKAGE):
            for alias in node.names:
                home = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                yield alias.asname or alias.name.partition(".")[0], home + alias.name


def _defined(statement: ast.stmt) -> Iterator[str]:
    """The names that a top-level statement gives a meaning."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif not isinstance(statement, ast.Import | ast.ImportFrom):
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


@cache
def _module(name: str) -> _Module:
    return _Module(name)


@cache
def _file(module: str) -> Path | None:
    """The file of a module, which need not be imported for that."""
    place = Path(__file__).parents[1].joinpath(*module.split(".")[1:])
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


@cache
def _bare(module: str, name: str) -> tuple[str, tuple[Definition, ...]]:
    """The digest of one definition, and the definitions that it uses."""
    found = _module(module)
    used: set[Definition] = set()
    outside: set[tuple[str, str]] = set()
    statements = []
    for statement in found.definitions[name]:
        imported = found.imported | dict(_imported(ast.walk(statement)))
        bare = ast.fix_missing_locations(_Bare().visit(ast.parse(ast.unparse(statement))))
        statements += bare.body
        for node in ast.walk(bare):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                home, whole = imported.get(node.value.id, ("", "no module"))
                if home and not whole:
                    used.add((home, node.attr))
            if isinstance(node, ast.Name) and node.id != name:
                if node.id in found.outside:
                    outside.add((node.id, found.outside[node.id]))
                if node.id in found.definitions:
                    used.add((module, node.id))
                elif imported.get(node.id, ("", ""))[1]:
                    used.add(imported[node.id])
    code = compile(ast.Module(statements, []), "", "exec", dont_inherit=True, optimize=0)
    return hashlib.sha256(repr((_told(code), sorted(outside))).encode()).hexdigest(), tuple(sorted(used))


def _told(code: CodeType) -> tuple[Any, ...]:
    """All of a code object that decides what it does. Arguments keep their names: a caller may say them."""
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    constants = tuple(
        _told(one) if isinstance(one, CodeType) else (type(one).__name__, _plain(one)) for one in code.co_consts
    )
    numbers = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return code.co_code, constants, code.co_names, arguments, numbers, getattr(code, "co_exceptiontable", b"")


def _plain(constant: Any) -> Any:
    return sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant


def root(one: type) -> Definition:
    """A class as a root."""
    return one.__module__, one.__qualname__


def reached(roots: Iterable[Definition]) -> dict[Definition, str]:
    """Every definition of the package that the roots reach -> its digest."""
    todo = list(roots)
    found: dict[Definition, str] = {}
    while todo:
        module, name = todo.pop()
        if (module, name) in found or module in TELLING:
            continue
        if name not in _module(module).definitions:  # handed on by a module that imports it
            elsewhere = _module(module).imported.get(name)
            todo += [elsewhere] if elsewhere else []
            continue
        found[module, name], used = _bare(module, name)
        todo += used
        if WHOLE in _module(module).definitions:
            todo.append((module, WHOLE))
    return found


def digest(roots: Iterable[Definition]) -> str:
    """32 hex digits that change with what the code reached from the roots does, on this version of Python."""
    listing = sorted((name, one) for (_, name), one in reached(roots).items())
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return hashlib.sha256(repr((version, listing)).encode()).hexdigest()[:32]


def rooms(folder: Path) -> dict[tuple[str, str], int]:
    """(importing room, imported room) -> how many modules of the one import the other, of all modules in `folder`."""
    arrows: dict[tuple[str, str], set[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        here = _room(path.relative_to(folder).parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
                parts = str(node.module).split(".")[1:]
                there = [parts[0]] if parts else [alias.name for alias in node.names]
                for room in there:
                    if room != here:
                        arrows.setdefault((here, room), set()).add(path.name)
    return {arrow: len(modules) for arrow, modules in sorted(arrows.items())}


def _room(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py")
