"""Which modules a config needs: those that a needed one imports, and those of the variants that it names."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence

from bytegolf import registry
from bytegolf.config.schema import CODECS, Config
from bytegolf.errors import ConfigError

ENTRIES = ("bytegolf.record.standalone", "bytegolf.record.unpack")
REGISTRY = "bytegolf.registry"
_SIDES = ("spec", "torch", "score")


def variants(config: Config, tokenizer: str) -> list[list[str]]:
    """[slot, kind] of the variants that a config names, and of what trains and reads them."""
    model = config.model
    named = {("backend", "torch"), ("world", "torch"), ("tokenizer", tokenizer)}
    named.add(("order", config.train.order))
    named |= {("mixer", mixer.kind) for mixer in model.embed.mixers}
    named |= {(slot, getattr(model, slot).kind) for slot in ("attention", "mlp", "plan", "head")}
    pack = config.pack  # the defaults too: a config is checked against them before it says otherwise
    codecs = [*CODECS.values(), *pack.codecs.values(), *(override.codec for override in pack.overrides)]
    named |= {("codec", codec) for codec in codecs}
    if config.score.adaptation.kind != "none":
        named.add(("adaptation", config.score.adaptation.kind))
    return [list(pair) for pair in sorted(named)]


def homes(named: Iterable[Sequence[str]]) -> Iterator[str]:
    """The modules of variants, on the sides that train and score. Raises ConfigError for an unknown one."""
    for slot, kind in named:
        if kind not in registry.VARIANTS.get(slot, {}):
            raise ConfigError(f"unknown {slot} {kind!r}", where="the variants of a bundle")
        file = registry.VARIANTS[slot][kind].split(":")[0]
        for side in _SIDES:
            if home := registry.HOMES[slot].get(side):
                yield f"{home}.{file}"


def registered_only(tree: ast.Module, named: Iterable[Sequence[str]]) -> ast.Module:
    """registry.py with the table of variants cut down to those named."""
    wanted: dict[str, dict[str, str]] = {}
    for slot, kind in named:
        wanted.setdefault(slot, {})[kind] = registry.VARIANTS[slot][kind]
    table = ast.parse(f"VARIANTS = {wanted!r}").body[0]
    body = [table if _assigns(statement, "VARIANTS") else statement for statement in tree.body]
    return ast.Module(body, [])


def _assigns(statement: ast.stmt, name: str) -> bool:
    return isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name


def reached(tree_of: Callable[[str], ast.Module | None], roots: Iterable[str]) -> set[str]:
    """The modules that the roots lead to, with the packages around them; tree_of: None for what is no module."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        if module in found or (tree := tree_of(module)) is None:
            continue
        found.add(module)
        waiting += imported(tree)
        waiting += packages(module)
    return found


def packages(module: str) -> list[str]:
    """The packages that a module lies in, from the outermost."""
    parts = module.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names under bytegolf that may be modules; `from a import b` gives a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
