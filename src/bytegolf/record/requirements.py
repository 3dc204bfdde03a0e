"""Which packages a bundle needs: what its modules import, in the versions that are installed here."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions, version


def requirements(sources: Mapping[str, bytes]) -> str:
    """requirements.txt, sorted: one `name==version` for each distribution that the sources import.

    The import of a library that is not installed here is left out: it was not used either.
    """
    homes = packages_distributions()
    imported = {name for path, text in sources.items() if path.endswith(".py") for name in _imports(text)}
    outside = imported - set(sys.stdlib_module_names) - {"bytegolf"}
    found = {homes[name][0] for name in outside if name in homes}
    return "".join(f"{name}=={version(name).split('+')[0]}\n" for name in sorted(found, key=str.lower))


def _imports(text: bytes) -> Iterator[str]:
    """Top-level names of all modules that a file imports anywhere."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]
