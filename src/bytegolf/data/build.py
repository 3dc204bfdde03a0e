"""From a corpus to a dataset folder: split, tokenizer, shards, manifest. All of it or nothing."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import bytegolf
from bytegolf import registry
from bytegolf.data.corpora import Corpus, Document
from bytegolf.data.dataset import Dataset, open_dataset
from bytegolf.data.manifest import (
    FORMAT,
    MANIFEST,
    Manifest,
    MovedEntry,
    ShardEntry,
    SplitEntry,
    Splits,
    TokenizerEntry,
)
from bytegolf.data.shards import write_shard
from bytegolf.data.shingles import SHINGLE_BYTES
from bytegolf.data.split import Split, split
from bytegolf.data.tokenizer import Ids, Tokenizer
from bytegolf.errors import DataError

TOKENIZER_FILE = "tokenizer.bin"
SHARD_TOKENS = 100_000_000

Progress = Callable[[str, int, int], None]  # stage, documents done, documents in all


def build_dataset(
    corpus: Corpus,
    folder: str | os.PathLike[str],
    vocab_size: int = 1024,
    *,
    tokenizer_kind: str = "bpe",
    shard_tokens: int = SHARD_TOKENS,
    force: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Split `corpus`, train a tokenizer on the training side, and write both sides as token shards.

    Training documents are ordered by a hash of their name, so that neighbours are not of one package; held-out
    documents keep the order of the corpus. The same corpus gives the same files. Everything is written beside
    `folder` and renamed at the end; `force` replaces a dataset that is there, and nothing but a dataset.
    Cost: about 1 s per MB of text; the text is held in memory.
    Raises DataError if the folder exists, the text cannot be split or tokenized, or the disk refuses.
    """
    folder = Path(os.path.abspath(folder))  # `.` has no name to put a temporary one beside
    _check_target(folder, force)
    if shard_tokens < 1:
        raise DataError("a shard must hold at least one token", got=shard_tokens, where="shard_tokens")
    report = progress or (lambda stage, done, total: None)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        _build(corpus, temporary, vocab_size, tokenizer_kind, shard_tokens, report)
        _put_in_place(temporary, folder)
    except OSError as error:
        raise DataError("the dataset must be writable", got=str(error), where=str(folder)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return open_dataset(folder)


def _build(
    corpus: Corpus, folder: Path, vocab_size: int, tokenizer_kind: str, shard_tokens: int, report: Progress
) -> None:
    report("split", 0, len(corpus.documents))
    sides = split(corpus.documents)
    train = sorted(sides.train, key=lambda document: hashlib.sha256(_name(document)).digest())
    report("tokenizer", 0, len(train))
    kind: type[Any] = registry.lookup("tokenizer", tokenizer_kind)
    tokenizer: Tokenizer = kind.train((document.data for document in train), vocab_size)
    (folder / TOKENIZER_FILE).write_bytes(tokenizer.to_bytes())
    entries = []
    for name, documents in (("train", train), ("val", sides.held_out)):
        stem = f"{corpus.name}_{name}"
        tokens, counts = _encode(documents, tokenizer, name, report)
        files = _write_shards(folder, stem, tokens, shard_tokens)
        sidecar = () if counts is None else _write_shards(folder, f"{stem}_bytes", counts, shard_tokens)
        entries.append(_split_entry(documents, tokens, files, sidecar))
    manifest = _manifest(corpus, sides, tokenizer, Splits(train=entries[0], val=entries[1]))
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _check_target(folder: Path, force: bool) -> None:
    if not folder.exists():
        return
    if not force:
        raise DataError(
            "a build does not overwrite", got=f"{folder} exists", fix="choose another folder or pass --force"
        )
    if not (folder / MANIFEST).is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(
            "--force replaces a dataset and nothing else",
            got=f"{folder}, which holds no {MANIFEST}",
            fix="choose another folder",
        )


def _name(document: Document) -> bytes:
    return document.name.encode("utf-8", "surrogateescape")


def _encode(
    documents: Sequence[Document], tokenizer: Tokenizer, side: str, report: Progress
) -> tuple[Ids, Ids | None]:
    """The tokens of all documents, a BOS before each, and their bytes where no table can tell them."""
    bos = np.array([tokenizer.bos_id], dtype=np.uint16)
    parts, counts = [], []
    for done, document in enumerate(documents):
        report(f"encode {side}", done, len(documents))
        ids = np.concatenate([bos, tokenizer.encode(document.data)])
        parts.append(ids)
        if tokenizer.transforms:
            counts.append(tokenizer.byte_counts(ids))
    return np.concatenate(parts), np.concatenate(counts) if counts else None


def _write_shards(folder: Path, stem: str, tokens: Ids, shard_tokens: int) -> tuple[ShardEntry, ...]:
    """Ids, or byte counts in the same form: shard k of either holds the same tokens."""
    entries = []
    for number, start in enumerate(range(0, len(tokens), shard_tokens)):
        path = folder / f"{stem}_{number:06d}.bin"
        shard = tokens[start : start + shard_tokens]
        write_shard(path, shard)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        entries.append(ShardEntry(name=path.name, tokens=len(shard), sha256=digest))
    return tuple(entries)


def _split_entry(
    documents: Sequence[Document],
    tokens: Ids,
    files: tuple[ShardEntry, ...],
    byte_counts: tuple[ShardEntry, ...],
) -> SplitEntry:
    digest = hashlib.sha256()
    for document in documents:
        digest.update(document.data)
    size = sum(len(document.data) for document in documents)
    return SplitEntry(
        documents=len(documents),
        bytes=size,
        tokens=len(tokens),
        sha256=digest.hexdigest(),
        files=files,
        byte_counts=byte_counts,
    )


def _manifest(corpus: Corpus, sides: Split, tokenizer: Tokenizer, splits: Splits) -> Manifest:
    return Manifest(
        format=FORMAT,
        name=corpus.name,
        source=corpus.description,
        tool=f"bytegolf {bytegolf.__version__}",
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        tokenizer=TokenizerEntry(
            kind=tokenizer.kind,
            vocab_size=tokenizer.vocab_size,
            bos_id=tokenizer.bos_id,
            sha256=tokenizer.sha256,
            file=TOKENIZER_FILE,
        ),
        splits=splits,
        moved_near_duplicates=MovedEntry(
            documents=len(sides.moved),
            bytes=sum(len(document.data) for document in sides.moved),
            share=sides.near_duplicate_share,
            shingle=SHINGLE_BYTES,
        ),
    )


def _put_in_place(temporary: Path, folder: Path) -> None:
    """Rename, with the old dataset set aside until the new one is in its place."""
    if not folder.exists():
        temporary.rename(folder)
        return
    aside = temporary.with_suffix(".old")
    folder.rename(aside)
    try:
        temporary.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)
