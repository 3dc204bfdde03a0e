"""One file that is a whole submission: train_gpt.py, made of the modules that a config needs.

The modules are parsed, cut down to what is used (record.shake), minified by python-minifier, compressed by bzip2
(3 % smaller than by LZMA) and written as base85, behind a preamble that says what it is and a loader that imports
them from memory. It is made of `sources`: the readable modules, the config, and bundle.json. The same sources make
the same file, byte for byte, so that whoever has both can tell whether one is the other.
"""

from __future__ import annotations

import ast
import base64
import bz2
import hashlib
import json
import platform
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import python_minifier

import bytegolf
from bytegolf import __version__
from bytegolf.config.load import dump_toml, resolve
from bytegolf.config.schema import Config
from bytegolf.errors import RunError
from bytegolf.record.reach import ENTRIES, REGISTRY, homes, packages, reached, registered_only, variants
from bytegolf.record.rename import renamed
from bytegolf.record.shake import plain, positional, shaken

CONFIG, ABOUT, LOADER = "config.toml", "bundle.json", "bytegolf/record/loader.py"


@dataclass(frozen=True)
class Bundle:
    """code: train_gpt.py. sources: path -> content of everything that it is made of, readable."""

    code: bytes
    sources: dict[str, bytes]


def bundle(config: Config, tokenizer: str) -> Bundle:
    """The bundle of a config whose text is tokenized by a kind of tokenizer.

    Raises ConfigError for unknown variants. Cost: some seconds.
    """
    root = Path(bytegolf.__file__).parents[1]
    files = {path.relative_to(root): path.read_bytes() for path in sorted((root / "bytegolf").rglob("*.py"))}
    paths = {_module(path): path.as_posix() for path in files}
    named = variants(config, tokenizer)
    needed = _cut({_module(path): text for path, text in files.items()}, named)
    about = {"bytegolf": __version__, **_tools(), "variants": named}
    sources = {paths[name]: files[Path(paths[name])] for name in sorted(needed)}
    sources = {
        path: text for path, text in sources.items() if text.strip()
    }  # empty packages go without saying
    sources |= {
        LOADER: files[Path(LOADER)],
        CONFIG: dump_toml(config).encode(),
        ABOUT: (json.dumps(about, indent=1) + "\n").encode(),
    }
    return Bundle(bundle_of(sources), sources)


def bundle_of(sources: Mapping[str, bytes]) -> bytes:
    """train_gpt.py, from the content of a folder of sources.

    Raises RunError when the folder is not whole, or was made by another Python or minifier: what they make of the
    same modules may differ.
    """
    try:
        about: dict[str, Any] = json.loads(sources[ABOUT])
        config = resolve(tomllib.loads(sources[CONFIG].decode()), where=CONFIG)
        named = [[str(slot), str(kind)] for slot, kind in about["variants"]]
        loader = _loader(sources[LOADER].decode())
        own = {_module(Path(path)): text for path, text in sources.items() if path.endswith(".py")}
        modules = {name: b"" for module in own for name in packages(module)} | own
        made_by = {key: about.get(key) for key in _tools()}
        if made_by != _tools():
            raise RunError(
                "the same tools make the same bundle",
                got=_tools(),
                where=ABOUT,
                fix=f"use those that made it: {made_by}",
            )
        needed = _cut(modules, named)
    except (KeyError, ValueError, TypeError, AttributeError, SyntaxError) as error:
        raise RunError(
            "the sources of a bundle are a config and the modules it needs", got=repr(error)
        ) from None
    if idle := sorted(set(own) - set(needed) - {_module(Path(LOADER))}):
        raise RunError("a bundle has no modules that it does not need", got=", ".join(idle))
    positional(needed)
    return _written(_packed(renamed(needed), sources[CONFIG]), config, loader, sources)


def _loader(text: str) -> str:
    """loader.py without its docstring."""
    first = ast.get_source_segment(text, ast.parse(text).body[0]) or ""
    return text.partition(first)[2].strip()


def _tools() -> dict[str, str]:
    """What the bytes depend on beside the sources."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "python_minifier": version("python-minifier"),
    }


def _module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _cut(texts: Mapping[str, bytes], named: Sequence[Sequence[str]]) -> dict[str, ast.Module]:
    """The modules that are needed, each with what is used of it. What is cut off may have been all that needed
    another module, so this goes on until nothing changes.
    """
    trees: dict[str, ast.Module] = {}
    roots = [*ENTRIES, *homes(named)]
    names = reached(lambda name: _parsed(texts, trees, name), roots)
    trees[REGISTRY] = registered_only(trees[REGISTRY], named)
    while True:
        cut = shaken({name: trees[name] for name in sorted(names)}, ENTRIES)
        fewer = reached(cut.get, roots)
        if fewer == names:
            return cut
        names = fewer


def _parsed(texts: Mapping[str, bytes], trees: dict[str, ast.Module], name: str) -> ast.Module | None:
    if name in texts and name not in trees:
        trees[name] = plain(texts[name])
    return trees.get(name)


def _packed(trees: Mapping[str, ast.Module], config: bytes) -> str:
    """Base85 of the compressed modules: for each its name, a newline, its text; between them a zero byte."""
    parts = [f"config.toml\n{config.decode()}"]
    parts += [
        f"{name}\n{_minified(ast.unparse(tree))}" for name, tree in sorted(trees.items()) if not _idle(tree)
    ]
    return base64.b85encode(bz2.compress("\0".join(parts).encode(), 9)).decode()


def _idle(tree: ast.Module) -> bool:
    return all(isinstance(statement, ast.Pass) for statement in tree.body)


@lru_cache(maxsize=1024)
def _minified(text: str) -> str:
    small: str = python_minifier.minify(
        text,
        remove_annotations=False,  # record.shake took those that may go
        hoist_literals=False,  # the compressor does better without
        rename_locals=True,
        remove_asserts=True,
    )
    return small


def _written(payload: str, config: Config, loader: str, sources: Mapping[str, bytes]) -> bytes:
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(f"{path} {hashlib.sha256(sources[path]).hexdigest()}\n".encode())
    return _HEAD.format(
        name=config.name,
        version=__version__,
        count=len(sources),
        sources=digest.hexdigest(),
        loader=loader,
        package=ENTRIES[0].rpartition(".")[0],
        payload=payload,
        digest=hashlib.sha256(payload.encode()).hexdigest(),
    ).encode()


_HEAD = '''"""{name}: a submission to Parameter Golf in one file, made by bytegolf {version}.

    python train_gpt.py --data DIR                  train, pack, read the file back, score; --help says more
    torchrun --standalone --nproc_per_node=8 train_gpt.py --data DIR
    python train_gpt.py score run/model.golf --data DIR
    python train_gpt.py unpack DIR                  write the modules that are packed below

Packed are {count} files, minified; as people read them they have the sha256
{sources}
(of a line `path sha256` for each, sorted), and `bytegolf record --check` makes this file from them again.
"""

{loader}


INSIDE = Inside(
    "{payload}",
    "{digest}",
)
sys.meta_path.insert(0, INSIDE)

if __name__ == "__main__":
    command = "unpack" if sys.argv[1:2] == ["unpack"] else "standalone"
    main = importlib.import_module(f"{package}.{{command}}").main
    sys.exit(main(INSIDE.files, __file__, sys.argv[1:]))
'''
