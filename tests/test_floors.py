"""The house has floors: imports go down, never up and never sideways, and the fast libraries stay upstairs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src" / "bytegolf"
FLOORS = [
    {"config", "numeric", "registry", "errors", "files", "launch", "processes", "__init__"},
    {"model", "data", "codec", "artifact"},
    {"on_torch", "on_mlx", "on_numpy", "model_file"},
    {"train", "score", "coding"},
    {"verify", "record", "report", "sweep"},
    {"cli", "presets"},
    {"__main__"},
]
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}
FILES = {path: ast.parse(path.read_bytes()) for path in sorted(ROOT.rglob("*.py"))}


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything that is imported anywhere in the file, under TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def may_import(importer: str, imported: str) -> bool:
    lower = FLOOR[imported] < FLOOR[importer]
    return (
        lower or importer == imported or FLOOR[importer] == 0 or (importer, imported) == ("artifact", "codec")
    )


def test_every_part_has_a_floor() -> None:
    assert len(FILES) > 50
    assert {part_of(path) for path in FILES} <= FLOOR.keys()


def test_imports_go_down_only() -> None:
    wrong = []
    for path, tree in FILES.items():
        for name in imports(tree):
            top, _, rest = name.partition(".")
            target = rest.split(".")[0]
            target = target if target in FLOOR else "__init__"  # `from bytegolf import __version__`
            if top == "bytegolf" and not may_import(part_of(path), target):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_torch_and_mlx_stay_with_their_backends() -> None:
    homes = {"torch": "on_torch", "mlx": "on_mlx"}
    uses = {(n.split(".")[0], part_of(p)) for p, tree in FILES.items() for n in imports(tree)}
    assert ("torch", "on_torch") in uses
    assert not [(library, part) for library, part in uses if homes.get(library, part) != part]


def test_the_environment_is_read_for_what_torchrun_says_and_for_one_folder() -> None:
    readers = ("environ", "environb", "getenv", "getenvb", "putenv")
    for path, tree in FILES.items():
        names = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        names |= {name.split(".")[-1] for name in imports(tree)}
        assert names.intersection(readers) == ({"environ"} if path.name == "launch.py" else set()), path
    words = {n.value for n in ast.walk(FILES[ROOT / "launch.py"]) if isinstance(n, ast.Constant)}
    assert {w for w in words if isinstance(w, str) and w.isupper()} == {
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "TORCHELASTIC_RESTART_COUNT",
        "TORCHELASTIC_RUN_ID",
    }
    envvars = {path.relative_to(ROOT).as_posix(): path.read_text().count("envvar=") for path in FILES}
    assert {path: n for path, n in envvars.items() if n} == {"cli/output.py": 1}
    assert 'envvar="BYTEGOLF_CACHE"' in (ROOT / "cli" / "output.py").read_text()
