"""Modules without what nobody names: annotations, docstrings, and definitions that no kept code mentions.

Judged is by names, over all modules together, and so errs on the side of keeping. What stands at the top of a
module stays when kept code has its name: as a name that is not local there, in an import, behind the name of a
module, or in a string like "file:name", as registries have them. A method stays when its name follows a dot
somewhere, or is a string given to getattr. An import stays when the name it binds is used in its module.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import takewhile
from typing import TypeGuard

# Methods that libraries call by name: torch, pydantic, threading, and the import system.
CALLED_BY_LIBRARIES = frozenset({"forward", "backward", "setup_context", "run", "model_post_init"})
# With these a method is still called by its own name; with others somebody else may keep it.
_TRANSPARENT = frozenset({"property", "classmethod", "staticmethod", "cached_property", "inference_mode"})
_REGISTERED = re.compile(r"[\w.]+:(\w+)")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class _Plain(ast.NodeTransformer):
    """Without docstrings, without annotations but those of classes, without what is for type checkers."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        return node.orelse if ast.unparse(node.test).endswith("TYPE_CHECKING") else node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        methods = [part for part in node.body if isinstance(part, _Function)]
        for method in methods:
            self.visit(method)
        if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
            _untyped(node)
        node.body = _undocumented(node.body)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.returns = None
        every = [
            *node.args.posonlyargs,
            *node.args.args,
            *node.args.kwonlyargs,
            node.args.vararg,
            node.args.kwarg,
        ]
        for argument in every:
            if argument is not None:
                argument.annotation = None
        node.body = _undocumented(node.body)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Errors without what to do about them, which names commands of the package that a bundle does not have;
        and no `vars`, for whose sake the minifier would rename no local of the module.
        """
        self.generic_visit(node)
        if ast.unparse(node.func) == "vars":
            return ast.Attribute(node.args[0], "__dict__", ast.Load())
        if ast.unparse(node.func).endswith("Error"):
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "fix"]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign([node.target], node.value), node)


def _untyped(node: ast.ClassDef) -> None:
    """The fields of a dataclass with an annotation that says nothing: that there is one is what counts."""
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and "Var" not in ast.unparse(part.annotation):
            part.annotation = ast.Constant(0)


def _undocumented(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        body = body[1:]
    return body or [ast.Pass()]


def plain(text: bytes) -> ast.Module:
    """The syntax tree of a module, without what only readers and type checkers need."""
    tree = _Plain().visit(ast.parse(text))
    assert isinstance(tree, ast.Module)
    tree.body = _undocumented(tree.body)
    return ast.fix_missing_locations(tree)


def positional(trees: Mapping[str, ast.Module]) -> None:
    """Make parameters positional-only that no call names, as far as they come first: the minifier may then give
    them any name. In place.
    """
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    named = {node.arg for node in nodes if isinstance(node, ast.keyword)}
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            free = list(takewhile(lambda argument: argument.arg not in named, node.args.args))
            node.args.posonlyargs += free
            node.args.args = node.args.args[len(free) :]


def shaken(trees: dict[str, ast.Module], entries: Collection[str]) -> dict[str, ast.Module]:
    """The modules with what the names in use lead to, from `entries` and from what modules do when imported."""
    live = _Live()
    for name, tree in trees.items():
        live.take(tree, whole=name in entries)
    live.settle()
    return {name: live.kept(tree, whole=name in entries) for name, tree in trees.items()}


class _Live:
    """Names in use. outer: of what stands at the top of modules; methods: of methods."""

    def __init__(self) -> None:
        self.outer: set[str] = set()
        self.methods = set(CALLED_BY_LIBRARIES)
        self.waiting: list[tuple[set[str], bool, ast.AST, set[str]]] = []

    def take(self, tree: ast.Module, whole: bool) -> None:
        """What the module does when it is imported is in use; what it defines waits for its name."""
        modules = {a.asname or a.name.split(".")[0] for s in tree.body if _is_import(s) for a in s.names}
        for statement in tree.body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                for alias in statement.names:  # who says c after `from a import b as c` means b
                    self.waiting.append(({alias.asname or ""}, False, alias, modules))
                continue
            names = None if whole else _defines(statement)
            if names is None:
                self.use(statement, modules)
                continue
            self.waiting.append((names, False, _head(statement), modules))
            for part in statement.body if isinstance(statement, ast.ClassDef) else []:
                if isinstance(part, _Function) and _droppable(part):
                    self.waiting.append(({part.name}, True, part, modules))

    def settle(self) -> None:
        """Take in what is waiting for a name in use, until nothing is."""
        while True:
            ready = [w for w in self.waiting if w[0] & (self.methods if w[1] else self.outer)]
            if not ready:
                return
            self.waiting = [w for w in self.waiting if w not in ready]
            for _, _, part, modules in ready:
                self.use(part, modules)

    def use(self, node: ast.AST, modules: set[str]) -> None:
        local = _local(node)
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and part.id not in local:
                self.outer.add(part.id)
            elif isinstance(part, ast.Attribute):
                self.methods.add(part.attr)
                if isinstance(part.value, ast.Name) and part.value.id in modules:
                    self.outer.add(part.attr)
            elif isinstance(part, ast.alias):
                self.outer.add(part.name.rpartition(".")[2])
            elif isinstance(part, ast.Call) and ast.unparse(part.func) == "getattr":
                self.methods |= _strings(part)
            elif isinstance(part, ast.Constant) and (found := _REGISTERED.fullmatch(str(part.value))):
                self.outer.add(found[1])

    def kept(self, tree: ast.Module, whole: bool) -> ast.Module:
        """The module without what is not in use."""
        body: list[ast.stmt] = []
        for statement in tree.body:
            names = _defines(statement)
            if whole or names is None or _is_import(statement):
                body.append(statement)
            elif names & self.outer:
                body.append(self._class(statement) if isinstance(statement, ast.ClassDef) else statement)
        return ast.fix_missing_locations(ast.Module(list(_with_used_imports(body)), []))

    def _class(self, node: ast.ClassDef) -> ast.ClassDef:
        members = [part for part in node.body if not _droppable(part) or _name(part) in self.methods]
        return _class(node, members or [ast.Pass()])


def _is_import(statement: ast.stmt) -> TypeGuard[ast.Import | ast.ImportFrom]:
    return isinstance(statement, ast.Import | ast.ImportFrom)


def _defines(statement: ast.stmt) -> set[str] | None:
    """The names that a statement defines and does nothing else; None for one that does something."""
    if isinstance(statement, ast.ClassDef | _Function):
        return {statement.name}
    if isinstance(statement, ast.Assign):
        targets = [name for target in statement.targets for name in ast.walk(target)]
        if all(isinstance(name, ast.Name | ast.Tuple | ast.expr_context) for name in targets):
            return {name.id for name in targets if isinstance(name, ast.Name)}
    return set() if _is_import(statement) else None


def _head(statement: ast.stmt) -> ast.stmt:
    """A class without the methods that wait for their own names; anything else whole."""
    if not isinstance(statement, ast.ClassDef):
        return statement
    return _class(statement, [part for part in statement.body if not _droppable(part)])


def _class(node: ast.ClassDef, body: list[ast.stmt]) -> ast.ClassDef:
    return ast.ClassDef(node.name, node.bases, node.keywords, body, node.decorator_list)


def _droppable(part: ast.stmt) -> bool:
    """A method that nobody calls unless by its name."""
    if not isinstance(part, _Function) or part.name.startswith("__"):
        return False
    decorators = {re.findall(r"\w+", ast.unparse(d).partition("(")[0])[-1] for d in part.decorator_list}
    return decorators <= _TRANSPARENT


def _name(part: ast.stmt) -> str:
    return part.name if isinstance(part, _Function) else ""


def _local(node: ast.AST) -> set[str]:
    """Names that are bound inside a function, so that they mean nothing outside of it."""
    if not isinstance(node, _Function):
        return set()
    bound = {part.arg for part in ast.walk(node) if isinstance(part, ast.arg)}
    stored = {p.id for p in ast.walk(node) if isinstance(p, ast.Name) and isinstance(p.ctx, ast.Store)}
    outer = {name for p in ast.walk(node) if isinstance(p, ast.Global) for name in p.names}
    return (bound | stored) - outer


def _strings(call: ast.AST) -> set[str]:
    return {p.value for p in ast.walk(call) if isinstance(p, ast.Constant) and isinstance(p.value, str)}


def _with_used_imports(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements; of imports, at the top of the module, only what the others use."""
    used = {n.id for s in body for n in ast.walk(s) if isinstance(n, ast.Name)}
    for statement in body:
        if not _is_import(statement) or getattr(statement, "module", "") == "__future__":
            yield statement
            continue
        names = [a for a in statement.names if (a.asname or a.name).split(".")[0] in used]
        if names and isinstance(statement, ast.ImportFrom):
            yield ast.ImportFrom(statement.module, names, statement.level)
        elif names:
            yield ast.Import(names)
