"""Loading somebody else's predictor: "module:factory" or "path/to/file.py:factory"."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from bytegolf.errors import ConfigError


def load_predictor(spec: str, path: Sequence[str | Path] | None = None) -> Callable[[], Any]:
    """The factory that `spec` names. Runs the module, found through `path` (default: the current directory).

    The folders of `path`, and that of a file, stay at the front of sys.path: a predictor may import later on.
    Raises ConfigError when there is no such module or attribute, when it is nothing to call, and when the module
    itself fails: then with the line of the module that did.
    """
    name, attribute = _parts(spec)
    folders = _folders(spec, path)
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]
    module = _import(name, spec, module_file(spec, folders))
    try:
        factory = getattr(module, attribute)
    except AttributeError:
        raise ConfigError(
            f"the module must define {attribute}",
            got="no such name",
            where=spec,
            fix="name a function or class of the module that makes one predictor",
        ) from None
    if not callable(factory):
        raise ConfigError(
            "a factory is called to make a predictor", got=f"{attribute} = {factory!r:.80}", where=spec
        )
    result: Callable[[], Any] = factory
    return result


def module_file(spec: str, path: Sequence[str | Path] | None = None) -> Path:
    """The source file of the module, found without running any of it. Raises ConfigError when there is none."""
    return module_files(spec, path)[-1]


def module_files(spec: str, path: Sequence[str | Path] | None = None) -> list[Path]:
    """`module_file`, and before it the __init__.py of each package around it, which an import runs as well."""
    name, _ = _parts(spec)
    if _is_file(name):
        file = Path(name).absolute()
        if not file.is_file():
            raise ConfigError("a predictor's file must exist", got=f"no file {file}", where=spec)
        return [file]
    folders = _folders(spec, path)
    places: Sequence[str] = [*folders, *sys.path]
    files: list[Path] = []
    names = name.split(".")
    for depth in range(1, len(names) + 1):
        # By its last name alone: with the whole one Python wants the packages around it imported.
        found = PathFinder.find_spec(names[depth - 1], places)
        if found is None:
            raise ConfigError(
                "a predictor's module must be found",
                got=f"no module {'.'.join(names[:depth])} in {', '.join(folders)} or among the installed ones",
                where=spec,
                fix="run this in the folder of the module, or give the path of its file: FILE.py:FACTORY",
            )
        places = list(found.submodule_search_locations or [])
        if found.origin is not None:  # a package without an __init__.py has none
            files.append(Path(found.origin))
    if not files:
        raise ConfigError("a predictor's module must have a file", got="a folder", where=spec)
    return files


def rebuild(spec: str, path: Sequence[str | Path] | None = None) -> dict[str, Any]:
    """What another process, started in another folder, needs to load the same predictor: Case.in_clean_room."""
    name, attribute = _parts(spec)
    name = str(Path(name).absolute()) if _is_file(name) else name
    return {"kind": "predictor", "spec": f"{name}:{attribute}", "path": _folders(spec, path)}


def _parts(spec: str) -> tuple[str, str]:
    name, colon, attribute = spec.rpartition(":")
    if not (colon and name and attribute):
        raise ConfigError(
            "a predictor is given as MODULE:FACTORY or FILE.py:FACTORY",
            got=repr(spec),
            fix="put a colon between the module and the function in it that makes a predictor",
        )
    return name, attribute


def _is_file(name: str) -> bool:
    return name.endswith(".py")


def _folders(spec: str, path: Sequence[str | Path] | None) -> list[str]:
    """Absolute folders to import from; with a file its own, as Python does for a script."""
    name, _ = _parts(spec)
    given = [Path.cwd()] if path is None else [Path(folder).absolute() for folder in path]
    if _is_file(name):
        given = [Path(name).absolute().parent, *given]
    return list(dict.fromkeys(map(str, given)))


def _import(name: str, spec: str, file: Path) -> ModuleType:
    """Runs the module. Whatever it raises is the user's to mend, and told with the line that raised it."""
    try:
        if not _is_file(name):
            return importlib.import_module(name)
        own_name = f"predictor {file}"  # a name that no other module has
        found = importlib.util.spec_from_file_location(own_name, file)
        assert found is not None
        assert found.loader is not None, "a .py file has a loader"
        module = importlib.util.module_from_spec(found)
        sys.modules[own_name] = module  # as after an import: dataclasses look their module up
        found.loader.exec_module(module)
        return module
    except Exception as error:
        line = error_line(error, [file])
        raise ConfigError(
            "a predictor's module must import without an error",
            got=f"{type(error).__name__}: {error}",
            where=f"{spec}, {line}" if line else spec,
        ) from error


def error_line(error: BaseException, files: Sequence[Path]) -> str | None:
    """'name.py, line 3: code' of the last line of one of `files` that led to the error; None without one."""
    names = set(map(str, files))
    if isinstance(error, SyntaxError) and error.filename and error.filename in names:
        return f"{Path(error.filename).name}, line {error.lineno}: {(error.text or '').strip()}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in names]
    if not frames:
        return None
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line}"
