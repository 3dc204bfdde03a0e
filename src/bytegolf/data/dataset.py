"""A built dataset on disk: tokenizer, token shards and manifest, opened and checked."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from bytegolf import registry
from bytegolf.data import tokenizer as tokenizers
from bytegolf.data.manifest import MANIFEST, Manifest, ShardEntry, SplitEntry, SplitName, read_manifest
from bytegolf.data.shards import map_shard, open_shard
from bytegolf.data.token_stream import TokenStream
from bytegolf.data.tokenizer import Tokenizer
from bytegolf.errors import DataError, did_you_mean

_PIECE_TOKENS = 1 << 20
_CHECKED_AT_ONCE = 1 << 26


@dataclass(frozen=True)
class Dataset:
    """Tokens of both splits with the tokenizer that made them. Made by `open_dataset`."""

    folder: Path
    manifest: Manifest
    tokenizer: Tokenizer

    def train_tokens(self) -> npt.NDArray[np.uint16]:
        """Training tokens (n,), a BOS before each document, in one array.

        Raises DataError if a shard is damaged; an id altered within the vocabulary shows in `verify` only.
        """
        return self._tokens("train")

    def train_stream(self) -> TokenStream:
        """Training tokens for a loader: all shards mapped into memory, and read only where it asks for them.

        Raises DataError if the header or the length of a shard is not that of the manifest. Ids are compared with
        the vocabulary at once in a split of up to 2^26 tokens, in a larger one when they are read.
        """
        entries = [entry for entry in self.manifest.splits.train.files if entry.tokens]
        size = self.tokenizer.vocab_size
        small = sum(entry.tokens for entry in entries) <= _CHECKED_AT_ONCE
        opened = [
            open_shard(p, size) if small else map_shard(p) for p in (self.folder / e.name for e in entries)
        ]
        shards = [self._of_length(shard, entry) for shard, entry in zip(opened, entries, strict=True)]
        names = [self.folder / entry.name for entry in entries]
        return TokenStream(shards, names, size)

    def val_tokens(self) -> npt.NDArray[np.uint16]:
        """Held-out tokens (n,), a BOS before each document. Raises DataError unless every file has its sha256."""
        self._verify_files("val")
        return self._tokens("val")

    def tokens(self, split: SplitName) -> npt.NDArray[np.uint16]:
        """`train_tokens` or `val_tokens`."""
        return self.train_tokens() if split == "train" else self.val_tokens()

    def documents(self, split: SplitName) -> list[npt.NDArray[np.uint16]]:
        """The tokens of each document, its BOS first; views of the split's tokens."""
        tokens = self.tokens(split)
        starts = np.flatnonzero(tokens == self.tokenizer.bos_id)
        if len(starts) != self._entry(split).documents or (
            len(tokens) and (not len(starts) or starts[0] != 0)
        ):
            raise self._broken(
                f"the {split} split must start with BOS and hold {self._entry(split).documents} of them",
                f"{len(starts)} from token {starts[0] if len(starts) else None} on",
            )
        return np.split(tokens, starts[1:]) if len(tokens) else []

    def text(self, split: SplitName) -> bytes:
        """The raw text of a split, documents without separators, decoded from its tokens.

        Raises DataError unless it has the bytes and the sha256 of the manifest, if that knows one.
        """
        tokens, entry = self.tokens(split), self._entry(split)
        text = b"".join([self.tokenizer.decode(piece) for piece in self._whole_documents(tokens)])
        digest = hashlib.sha256(text).hexdigest()
        if (len(text), digest) != (entry.bytes, entry.sha256 or digest):
            rule = f"the {split} text must have {entry.bytes} bytes and sha256 {entry.sha256}"
            raise self._broken(rule, f"{len(text)} bytes, sha256 {digest}")
        return text

    def beginning(self, split: SplitName, size: int) -> bytes:
        """The first `size` bytes of `text(split)`, or all when it is shorter; no more than that is decoded."""
        parts, left, decoder = [], size, self.tokenizer.decoder()
        for shard in self._entry(split).files:
            tokens = self._stream((shard,), self.tokenizer.vocab_size)
            for start in range(0, len(tokens) if left else 0, _PIECE_TOKENS):
                parts.append(decoder.decode(tokens[start : start + _PIECE_TOKENS])[:left])
                left -= len(parts[-1])
                if not left:
                    break
        return b"".join(parts)

    def byte_counts(self, split: SplitName) -> npt.NDArray[np.uint16]:
        """Bytes of the raw text that each token stands for, (n,), 0 for BOS; they sum to the bytes of the split.

        Read from the files beside the shards where the manifest names some, else told by the tokenizer.
        Raises DataError if a file is damaged or the sum is another.
        """
        tokens, entry = self.tokens(split), self._entry(split)
        counts = self._stream(entry.byte_counts, 1 << 16) if entry.byte_counts else self._counted(tokens)
        if (found := int(counts.sum(dtype=np.int64))) != entry.bytes:
            raise self._broken(f"the byte counts of the {split} split must sum to {entry.bytes}", found)
        return counts

    def verify(self) -> None:
        """Check every file, the texts that have a sha256, and the bytes of every token.

        Raises DataError at the first difference.
        """
        self._verify_files("train")
        for split in get_args(SplitName):
            if self._entry(split).sha256 is not None:
                self.text(split)
            counts = self.byte_counts(split)
            expected = self._counted(self.tokens(split))
            if len(at := np.flatnonzero(counts != expected)):
                rule = f"the byte count of {split} token {at[0]} must be {expected[at[0]]}"
                raise self._broken(rule, counts[at[0]])

    def _entry(self, split: SplitName) -> SplitEntry:
        return self.manifest.splits.train if split == "train" else self.manifest.splits.val

    def _verify_files(self, split: SplitName) -> None:
        entry = self._entry(split)
        for shard in entry.files + entry.byte_counts:
            limit = self.tokenizer.vocab_size if shard in entry.files else 1 << 16
            try:
                with (self.folder / shard.name).open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise self._broken("every shard of the manifest must be there", error) from error
            if digest != shard.sha256:
                # The shard's own checks name what is broken; the digest is the last word.
                open_shard(self.folder / shard.name, limit)
                raise self._broken(f"{shard.name} must have sha256 {shard.sha256}", digest)

    def _tokens(self, split: SplitName) -> npt.NDArray[np.uint16]:
        return self._stream(self._entry(split).files, self.tokenizer.vocab_size)

    def _stream(self, entries: tuple[ShardEntry, ...], limit: int) -> npt.NDArray[np.uint16]:
        shards = []
        for entry in entries:
            shards.append(self._of_length(open_shard(self.folder / entry.name, limit), entry))
        if len(shards) == 1:
            return shards[0]
        return np.concatenate(shards) if shards else np.empty(0, dtype=np.uint16)

    def _of_length(self, shard: npt.NDArray[np.uint16], entry: ShardEntry) -> npt.NDArray[np.uint16]:
        if len(shard) != entry.tokens:
            raise self._broken(f"{entry.name} must hold {entry.tokens} tokens", len(shard))
        return shard

    def _counted(self, tokens: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
        pieces = [self.tokenizer.byte_counts(piece) for piece in self._whole_documents(tokens)]
        return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.uint16)

    def _whole_documents(self, tokens: npt.NDArray[np.uint16]) -> Iterator[npt.NDArray[np.uint16]]:
        """The tokens in order, cut before a BOS into pieces of a million or a little more: what decodes alone."""
        starts = np.append(np.flatnonzero(tokens == self.tokenizer.bos_id), len(tokens))
        at = 0
        while at < len(tokens):
            last = min(at + _PIECE_TOKENS, len(tokens))
            end = int(starts[np.searchsorted(starts, last)])  # the first document that begins there or later
            yield tokens[at:end]
            at = end

    def _broken(self, rule: str, got: object) -> DataError:
        return _broken(self.folder, rule, got)


def open_dataset(folder: str | os.PathLike[str]) -> Dataset:
    """Open a dataset: read and check its manifest and its tokenizer; tokens are read when asked for.

    Raises DataError if the manifest or the tokenizer is missing, damaged, or one does not belong to the other.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    entry = manifest.tokenizer
    try:
        blob = (folder / entry.file).read_bytes()
    except OSError as error:
        raise _broken(folder, "the tokenizer of the manifest must be there", error) from error
    digest = hashlib.sha256(blob).hexdigest()
    if digest != entry.sha256:
        raise _broken(folder, f"{entry.file} must have sha256 {entry.sha256}", digest)
    tokenizer = tokenizers.from_bytes(blob)
    found = (tokenizer.kind, tokenizer.vocab_size, tokenizer.bos_id)
    if found != (entry.kind, entry.vocab_size, entry.bos_id):
        raise _broken(folder, f"{entry.file} must be a {entry.kind} tokenizer of {entry.vocab_size}", found)
    return Dataset(folder, manifest, tokenizer)


def locate_dataset(name_or_folder: str, vocab_size: int, cache_dir: Path) -> Path:
    """The folder of a dataset, which need not be there yet when the name is that of an embedded corpus.

    A folder that holds a manifest.json is taken as it is; the name of an embedded corpus means its place in the
    cache, one per vocabulary and Python release. Raises DataError, with the closest names, for anything else.
    """
    if (Path(name_or_folder) / MANIFEST).is_file():
        return Path(name_or_folder)
    if name_or_folder in registry.names("corpus"):
        release = platform.python_version()
        return cache_dir / "data" / f"{name_or_folder}-bpe{vocab_size}-py{release}"
    if Path(name_or_folder).exists():
        raise DataError(
            f"a dataset is a folder with a {MANIFEST}",
            got=name_or_folder,
            fix=f"build one from it: bytegolf data build --source {name_or_folder} --out NEW_FOLDER",
        )
    raise DataError(
        "a dataset is a folder or the name of an embedded corpus",
        got=repr(name_or_folder),
        fix=did_you_mean(name_or_folder, registry.names("corpus")),
    )


def _broken(folder: Path, rule: str, got: object) -> DataError:
    return DataError(rule, got=got, where=str(folder), fix="build the dataset again with --force")
