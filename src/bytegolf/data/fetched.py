"""Shards that came from elsewhere: what they hold, counted, since no text is at hand that could be measured."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bytegolf.data.manifest import FetchedFile, ShardEntry, SplitEntry
from bytegolf.data.sentencepiece import PAD_ID, SentencePieceTokenizer
from bytegolf.data.shards import open_shard
from bytegolf.errors import DataError

_CHUNK_TOKENS = 1 << 22


def inspect(path: Path, name: str, sha256: str, tokenizer: SentencePieceTokenizer) -> FetchedFile:
    """Count a shard. Cost: about 3 s per 100 million tokens, 0.1 GB of memory.

    Raises DataError if it is no shard, an id is beyond the vocabulary, or padding stands in it, which would change
    what the token behind it means.
    """
    tokens = open_shard(path, tokenizer.vocab_size)
    size = documents = 0
    for start in range(0, max(1, len(tokens)), _CHUNK_TOKENS):
        chunk = np.asarray(tokens[start : start + _CHUNK_TOKENS + 1])  # each begins with the last one's end
        own = chunk[:_CHUNK_TOKENS]
        documents += int(np.count_nonzero(own == tokenizer.bos_id))
        size += int(tokenizer.bytes_behind(chunk).sum(dtype=np.int64))
        if tokenizer.escapes and len(own) and not own.all():
            at = start + int(np.argmin(own != PAD_ID))
            raise DataError(
                "a published shard holds no padding", got=f"id {PAD_ID} at token {at}", where=path
            )
    return FetchedFile(
        name=name,
        size=path.stat().st_size,
        sha256=sha256,
        tokens=len(tokens),
        documents=documents,
        bytes=size,
    )


def split_entry(
    folder: Path, shards: Sequence[FetchedFile], tokenizer: SentencePieceTokenizer, sha256: str | None = None
) -> SplitEntry:
    """One split of shards in their order; the first token of a shard counts behind the last of the one before.

    Raises DataError unless the stream begins with BOS: without one there is no telling documents apart.
    """
    size, last = sum(shard.bytes for shard in shards), np.uint16(tokenizer.bos_id)
    for number, shard in enumerate(shards):
        tokens = open_ends(folder / shard.name)
        if not number and (not len(tokens) or tokens[0] != tokenizer.bos_id):
            raise DataError(
                f"the first shard must begin with BOS, id {tokenizer.bos_id}",
                got=f"id {tokens[0]}" if len(tokens) else "no token",
                where=shard.name,
                fix="this export was made without document marks; choose another",
            )
        if len(tokens):
            size += int(tokenizer.bytes_behind(np.array([last, tokens[0]], np.uint16))[0])
            last = tokens[-1]
    return SplitEntry(
        documents=sum(shard.documents for shard in shards),
        bytes=size,
        tokens=sum(shard.tokens for shard in shards),
        sha256=sha256,
        files=tuple(ShardEntry(name=s.name, tokens=s.tokens, sha256=s.sha256) for s in shards),
    )


def open_ends(path: Path) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    """The first and the last token of a shard that was inspected; nothing of an empty one."""
    tokens = np.fromfile(path, dtype="<u2", offset=1024, count=1)
    if not len(tokens):
        return tokens
    with path.open("rb") as file:
        file.seek(-2, 2)
        return np.append(tokens, np.frombuffer(file.read(2), dtype="<u2"))


def text_digest(folder: Path, shards: Sequence[FetchedFile], tokenizer: SentencePieceTokenizer) -> str:
    """sha256 of the text that the shards decode to. Cost: about 0.3 s per million tokens; 0.4 GB of memory."""
    digest, decoder = hashlib.sha256(), tokenizer.decoder()
    for shard in shards:
        tokens = open_shard(folder / shard.name, tokenizer.vocab_size)
        for start in range(0, len(tokens), _CHUNK_TOKENS):
            digest.update(decoder.decode(tokens[start : start + _CHUNK_TOKENS]))
    return digest.hexdigest()
