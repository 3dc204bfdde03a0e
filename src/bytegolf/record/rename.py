"""Short names for what only the bundle itself names.

A name is shortened when every place that has it is known to mean the same kind of thing: the definition at the top
of a module, by name, by import, or behind the name of a module; or, with a leading underscore, a private method or
attribute. A name that is also a parameter, a local, a field, a keyword, a public attribute, or a string stays.
"""

from __future__ import annotations

import ast
import builtins
import itertools
import keyword
import re
import string
from collections import Counter
from collections.abc import Container, Iterator, Mapping

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def renamed(trees: Mapping[str, ast.Module]) -> dict[str, ast.Module]:
    """The modules with shorter names, the most frequent ones shortest. The trees are changed in place."""
    uses: Counter[str] = Counter()
    defined: set[str] = set()
    taken: set[str] = {part for module in trees for part in module.split(".")}
    for tree in trees.values():
        uses.update(_uses(tree, _modules(tree, trees)))
        defined |= set(_defined(tree))
        taken |= _fixed(tree, _modules(tree, trees))
    every = {word for tree in trees.values() for word in re.findall(r"\w+", ast.unparse(tree))}
    words = [
        w
        for w, _ in sorted(uses.items(), key=lambda use: (-use[1], use[0]))
        if w in defined - taken and _may(w)
    ]
    short = _short(every | set(keyword.kwlist) | set(dir(builtins)))
    names = {word: ("_" if word.startswith("_") else "") + next(short) for word in words}
    return {module: _Renamed(names).visit(tree) for module, tree in trees.items()}


def _may(word: str) -> bool:
    """Long enough to gain by it, no dunder, and no error, whose name is told."""
    return len(word) > 2 and not word.startswith("__") and not word.endswith("Error")


def _short(taken: set[str]) -> Iterator[str]:
    for length in (1, 2, 3):
        for letters in itertools.product(string.ascii_letters, repeat=length):
            name = "".join(letters)
            if name not in taken and f"_{name}" not in taken:
                yield name


def _modules(tree: ast.Module, ours: Container[str]) -> set[str]:
    """The names by which a module calls other modules of the bundle."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {a.asname or a.name for a in node.names if f"{node.module}.{a.name}" in ours}
    return found


def _ours(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bytegolf"


def _uses(tree: ast.Module, modules: Container[str]) -> Iterator[str]:
    """Each use of a name that may be one of ours."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute) and (_private(node.attr) or _behind(node, modules)):
            yield node.attr
        elif isinstance(node, _Function) and _private(node.name):
            yield node.name


def _defined(tree: ast.Module) -> Iterator[str]:
    """What stands at the top of the module, and private methods and attributes."""
    yield from _at_top(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | _Function) and (node in tree.body or _private(node.name)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _private(node.attr):
            yield node.attr


def _private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _behind(node: ast.Attribute, modules: Container[str]) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in modules


def _fixed(tree: ast.Module, modules: Container[str]) -> set[str]:
    """Names that somebody else gave, or that may mean several things."""
    top = {id(statement) for statement in tree.body}
    defined = set(_at_top(tree))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) or (isinstance(node, ast.keyword) and node.arg):
            found.add(str(node.arg))
        elif isinstance(node, ast.Attribute) and not _private(node.attr) and not _behind(node, modules):
            found.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id not in defined:
            found.add(node.id)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= set(re.findall(r"\w+", node.value))
        elif isinstance(node, ast.Import):
            found |= {part for alias in node.names for part in alias.name.split(".")}
        elif isinstance(node, ast.ImportFrom) and not _ours(node):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, _Function | ast.ClassDef) and id(node) not in top and not _private(node.name):
            found.add(node.name)
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname for alias in node.names if alias.asname}
    return found | set(dir(builtins)) | {"main"}


def _at_top(tree: ast.Module) -> Iterator[str]:
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            yield from (n.id for t in statement.targets for n in ast.walk(t) if isinstance(n, ast.Name))


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        node.id = self.names.get(node.id, node.id)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.Attribute:
        self.generic_visit(node)
        node.attr = self.names.get(node.attr, node.attr)
        return node

    def visit_alias(self, node: ast.alias) -> ast.alias:
        node.name = self.names.get(node.name, node.name)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.name = self.names.get(node.name, node.name)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        node.name = self.names.get(node.name, node.name)
        return node
