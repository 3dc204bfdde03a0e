"""Text that is on every machine: the standard library of the Python that runs.

A corpus is a list of non-empty documents of raw bytes. A document belongs to a group, the unit that the split
into training and held-out text moves as a whole: a top-level module, a file, a line.
"""

from __future__ import annotations

import ast
import os
import platform
import re
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bytegolf import registry
from bytegolf.errors import DataError

_FOREIGN_DIRECTORIES = {"site-packages", "dist-packages", "__pycache__", "lib-dynload", "ensurepip"}
_TEST_DIRECTORY = re.compile(r"(.*_)?tests?|idle_test")
# Tables that a program wrote: a model learns them by heart, and their bytes say nothing about how it reads.
_GENERATED_DIRECTORIES = {"encodings", "pydoc_data"}
_GENERATED_FILES = re.compile(r"_sysconfigdata.*\.py|html/entities\.py|stringprep\.py|re/_casefix\.py")


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Document:
    """One text. name: unique in its corpus. group: the unit the split moves. data: its raw bytes, at least one."""

    name: str
    group: str
    data: bytes


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order under a name that is safe in a file name, and a sentence that describes them."""

    name: str
    documents: list[Document]
    description: str


def embedded(name: str) -> Corpus:
    """The corpus registered as `name`. Raises ConfigError, with the closest names, for any other."""
    make: Callable[[], Corpus] = registry.lookup("corpus", name)
    return make()


def stdlib() -> Corpus:
    """The .py sources of the standard library that runs this, without tests, foreign and generated files.

    Same bytes for the same release from the same packager; other releases give other text. The group is the
    top-level module or package. Cost: reads about 10 MB. Raises DataError if no source is found.
    """
    documents = [Document(name, _module_of(name), data) for name, data in _stdlib_sources()]
    return Corpus(
        "stdlib", documents, f"sources of the standard library of {_python()}, without tests or tables"
    )


def stdlib_docs() -> Corpus:
    """English prose: the docstrings of each `stdlib` source as one document, and the help topics of pydoc.

    Docstrings stand in source order with a blank line between them; sources without any are left out. The
    group is the top-level module, and `pydoc_data` for all topics. Cost: parses 10 MB, about 5 s.
    Raises DataError if no source is found.
    """
    documents = []
    for name, data in _stdlib_sources():
        if text := "\n\n".join(_docstrings(data, name)):
            documents.append(Document(name, _module_of(name), text.encode("utf-8", "surrogatepass")))
    from pydoc_data.topics import topics  # type: ignore[import-not-found,unused-ignore]

    documents += [
        Document(f"pydoc_data/topics/{name}", "pydoc_data", text.encode())
        for name, text in sorted(topics.items())
        if text
    ]
    return Corpus(
        "stdlib-docs", documents, f"docstrings and pydoc topics of the standard library of {_python()}"
    )


def _python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


def _module_of(name: str) -> str:
    return name.split("/")[0].removesuffix(".py")


def _stdlib_sources() -> list[tuple[str, bytes]]:
    root = Path(sysconfig.get_path("stdlib"))
    sources = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if _is_source_directory(name)]
        for file in files:
            name = (Path(folder) / file).relative_to(root).as_posix()
            if file.endswith(".py") and not _GENERATED_FILES.fullmatch(name):
                sources.append((name, (Path(folder) / file).read_bytes()))
    sources = sorted((name, data) for name, data in sources if data)
    if not sources:
        raise DataError(
            "the standard library must be there as .py files",
            where=str(root),
            fix="use a Python that ships its sources, or `--source PATH`",
        )
    return sources


def _is_source_directory(name: str) -> bool:
    excluded = name in _FOREIGN_DIRECTORIES | _GENERATED_DIRECTORIES or name.startswith("config-")
    return not excluded and not _TEST_DIRECTORY.fullmatch(name)


def _docstrings(source: bytes, name: str) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old sources hold escapes that newer parsers warn about
        try:
            tree = ast.parse(source, filename=name)
        except (SyntaxError, ValueError):
            return  # templates and sources for another release are not text of this one
    yield from _docstrings_below(tree)


def _docstrings_below(node: ast.AST) -> Iterator[str]:
    if isinstance(node, _DOCUMENTED) and (text := ast.get_docstring(node)):
        yield text
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr):  # no expression holds a definition
            yield from _docstrings_below(child)
