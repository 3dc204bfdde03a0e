"""The text that a score is about: its tokens, and the bytes that its bits are divided by. Counted, not assumed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bytegolf.data.dataset import Dataset
from bytegolf.data.piece_bytes import CURRENT_EXPORT, OLDER_EXPORT, PieceBytes, check_challenge_export
from bytegolf.data.shards import open_shard
from bytegolf.errors import DataError

CHALLENGE_BOS, CHALLENGE_ROW = 1, 1024


@dataclass(frozen=True)
class HeldOut:
    """A token stream and its denominator.

    tokens (n,), a BOS before each document; starts: where documents begin. n_bytes and sha256 are those of the raw
    text. Where they are known: `raw` is that text, counts (n,) the bytes of every token. note: one line on what a
    reader of the score must know of it.
    """

    tokens: NDArray[np.uint16]
    starts: Sequence[int]
    n_bytes: int
    sha256: str
    raw: bytes | None = None
    note: str | None = None
    counts: NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        if len(self.tokens) < 2 or self.n_bytes < 1:
            raise DataError(
                "a score needs at least one target and one byte",
                got=f"{len(self.tokens)} tokens, {self.n_bytes} bytes",
            )

    @classmethod
    def of_text(cls, tokens: NDArray[np.uint16], starts: Sequence[int], raw: bytes) -> HeldOut:
        """Tokens of a text that is at hand."""
        return cls(tokens, starts, len(raw), hashlib.sha256(raw).hexdigest(), raw)

    @classmethod
    def of(cls, dataset: Dataset) -> HeldOut:
        """The held-out split of a dataset; of FineWeb that was fetched, without what is behind the last whole row.

        Raises DataError unless its files have their sha256, the text that the tokens decode to has the bytes and
        the sha256 of the manifest, the documents are as many as it says, and the bytes of the single tokens add up
        to those of the text; and, for a published export of FineWeb, the bytes are those that are known of it.
        """
        raw, documents = dataset.text("val"), dataset.documents("val")
        tokens = np.concatenate(documents) if documents else np.empty(0, np.uint16)
        counts = dataset.byte_counts("val")  # raises when they do not add up
        starts = list(accumulate(map(len, documents[:-1]), initial=0))
        if dataset.manifest.origin is None:
            return replace(cls.of_text(tokens, starts, raw), counts=counts)
        return cls._published(tokens, starts, raw, counts)

    @classmethod
    def _published(
        cls, tokens: NDArray[np.uint16], starts: Sequence[int], raw: bytes, counts: NDArray[np.uint16]
    ) -> HeldOut:
        """As the challenge scores: whole rows of 1,024 targets, over the bytes that its rule counts for them."""
        kept = max(0, len(tokens) - 1) // CHALLENGE_ROW * CHALLENGE_ROW + 1
        n_bytes = int(counts[:kept].sum(dtype=np.int64))
        note = None
        if kept - 1 in (CURRENT_EXPORT.targets, OLDER_EXPORT.targets):
            check_challenge_export(kept - 1, n_bytes)
        else:
            note = f"{kept - 1:,} targets are no published export with known bytes: scored over those counted"
        text = cls.of_text(tokens[:kept], [start for start in starts if start < kept - 1], raw[:n_bytes])
        return replace(text, note=note, counts=counts[:kept])

    @classmethod
    def of_challenge(
        cls, shards: Sequence[Path], pieces: PieceBytes, *, row: int = 1024, expected_bytes: int | None = None
    ) -> HeldOut:
        """Validation shards of Parameter Golf, in the order of their names, over the bytes its byte rule gives.

        As published, targets beyond the last whole row of `row` are left out. The sha256 is that of the tokens,
        since the raw documents are not in the shards. Raises DataError unless a published export has exactly
        the bytes that are known of it (62,021,632 targets: 151,080,363), or another stream `expected_bytes`.
        """
        parts = [open_shard(path, pieces.vocab_size) for path in sorted(shards, key=lambda path: path.name)]
        stream = np.concatenate(parts) if parts else np.empty(0, np.uint16)
        tokens = stream[: (len(stream) - 1) // row * row + 1]
        counted = pieces.stream_bytes(tokens)
        check_challenge_export(len(tokens) - 1, counted, expected_bytes)
        starts = np.flatnonzero(tokens[:-1] == CHALLENGE_BOS).tolist()
        if starts[:1] != [0]:
            raise DataError(
                "a validation stream begins with a document", got=f"token {tokens[:1]}", where=shards[:1]
            )
        return cls(tokens, starts, counted, hashlib.sha256(tokens.tobytes()).hexdigest())


def raw_documents(text: HeldOut) -> list[bytes]:
    """The raw text of each document; the last is the beginning of one where the text ends with a whole row.

    Raises DataError when the bytes of single tokens are not known.
    """
    if text.raw is None or text.counts is None:
        raise DataError("the text of single documents is not known", got="a stream of tokens")
    ends = np.concatenate(([0], np.cumsum(text.counts, dtype=np.int64)))
    bounds = ends[[*text.starts, len(text.tokens)]].tolist()
    return [text.raw[begin:end] for begin, end in pairwise(bounds)]
