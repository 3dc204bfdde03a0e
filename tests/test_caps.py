"""A file is one idea: at most 400 lines. A function is one step: at most 60."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = {
    path.relative_to(ROOT): path.read_text(encoding="utf-8")
    for folder in ("src", "tests", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def test_no_file_is_longer_than_400_lines() -> None:
    assert len(SOURCES) > 80
    lengths = {path: len(text.splitlines()) for path, text in SOURCES.items()}
    assert not {path: n for path, n in lengths.items() if n > 400}


def test_no_function_is_longer_than_60_lines() -> None:
    lengths = {
        (path, node.name): (node.end_lineno or 0) - node.lineno + 1
        for path, text in SOURCES.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(lengths) > 300
    assert not {where: n for where, n in lengths.items() if n > 60}
