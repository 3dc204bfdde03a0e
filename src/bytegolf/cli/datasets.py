"""Finding a dataset by name or folder, and building it where it is missing. Shared by the commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bytegolf.cli.output import Output
from bytegolf.errors import DataError

if TYPE_CHECKING:
    from bytegolf.data.dataset import Dataset


DEFAULT_CORPUS = "stdlib"
DEFAULT_VOCAB = 1024


def default_vocab(tokenizer: str) -> int:
    """Entries of a tokenizer when the user names no number. Raises ConfigError for an unknown kind."""
    from bytegolf import registry

    registry.lookup("tokenizer", tokenizer, where="--tokenizer")
    return 257 if tokenizer == "bytes" else DEFAULT_VOCAB


def cache_folder(cache: Path | None) -> Path:
    if cache is not None:
        return cache
    try:
        return Path.home() / ".cache" / "bytegolf"
    except RuntimeError:
        raise DataError(
            "this user has no home directory to keep datasets in", fix="pass --cache DIR"
        ) from None


def named(corpus: str, vocab: int, cache: Path | None, tokenizer: str = "bpe") -> Path:
    """The folder of an embedded corpus. Raises DataError for a name that is none."""
    from bytegolf.data.dataset import locate_dataset

    folder = locate_dataset(corpus, vocab, cache_folder(cache))
    return folder.with_name(folder.name.replace(f"-bpe{vocab}", f"-{tokenizer}{vocab}"))


def build(
    output: Output,
    *,
    corpus: str | None,
    source: Path | None,
    folder: Path,
    vocab: int,
    tokenizer: str = "bpe",
    shard_tokens: int | None = None,
    workers: int | None = None,
    force: bool = False,
) -> Dataset:
    """Build, or open what an earlier call built of an embedded corpus."""
    from bytegolf import registry
    from bytegolf.data.build import SHARD_TOKENS, build_dataset
    from bytegolf.data.dataset import open_dataset
    from bytegolf.data.manifest import MANIFEST
    from bytegolf.data.source import open_source

    if source is None and (folder / MANIFEST).is_file() and not force:
        output.tell(f"already built: {folder} (--force builds it again)")
        return open_dataset(folder)
    text = open_source(source) if source is not None else registry.lookup("corpus", corpus or "")()
    with output.progress("building") as show:
        return build_dataset(
            text,
            folder,
            vocab,
            tokenizer_kind=tokenizer,
            shard_tokens=shard_tokens or SHARD_TOKENS,
            workers=workers,
            force=force,
            tell=output.tell,
            progress=lambda stage, done, total: show(done / total if total else 1.0, stage),
        )


def find_or_build(output: Output, data: str, vocab: int, cache: Path | None) -> Dataset:
    """`--data`: a folder, or the name of an embedded corpus, which is built on first use with a word of notice."""
    from bytegolf.data.dataset import locate_dataset, open_dataset
    from bytegolf.data.manifest import MANIFEST

    folder = locate_dataset(data, vocab, cache_folder(cache))
    if (folder / MANIFEST).is_file():
        return open_dataset(folder)
    output.tell(f"{data} with {vocab} tokens is not built yet; building it once in {folder}")
    return build(output, corpus=data, source=None, folder=folder, vocab=vocab)
