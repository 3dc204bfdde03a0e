"""Which documents are held out: whole groups by a hash of their name, less what training has seen anyway.

A file-wise split of source code lets a model score well on text it has nearly seen. So a group goes to one side
as a whole, and a held-out document that shares too many of its 50-byte shingles with training moves there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from bytegolf.data.corpora import Document
from bytegolf.data.shingles import NEAR_DUPLICATE_SHARE, Shingles
from bytegolf.errors import DataError

HELD_OUT_ONE_IN = 12


@dataclass(frozen=True)
class Split:
    """Both sides in corpus order, and what the near-duplicate rule moved from held-out to training."""

    train: list[Document]
    held_out: list[Document]
    moved: list[Document]
    near_duplicate_share: float


def split(documents: Sequence[Document], near_duplicate_share: float = NEAR_DUPLICATE_SHARE) -> Split:
    """Hold out the groups with sha256(name) mod 12 == 0, then move near duplicates to training.

    When the hash leaves a side empty, the groups with the smallest hashes are held out: one in twelve, at least
    one. A held-out document then moves if more than `near_duplicate_share` of its 50-byte shingles (counted
    with repetition) occur anywhere in the training text, or, below 50 bytes, if it occurs there verbatim; this
    repeats until nothing moves. Afterwards a group has documents on both sides only if some of it moved.

    Cost: about 0.2 s per MB of training text, 17 bytes of memory per held-out byte.
    Raises DataError if there are fewer than two groups or if every held-out document is a near duplicate.
    """
    groups = {document.group for document in documents}
    if len(groups) < 2:
        raise DataError(
            "the text must come in at least two groups, one to train on and one to hold out",
            got=f"{len(documents)} documents in {len(groups)} groups",
            fix="give more text: a larger file, a folder of files or a .jsonl",
        )
    held_out_groups = _held_out_groups(groups)
    held_out = [document.group in held_out_groups for document in documents]
    at_first = list(held_out)
    fresh = [document for document in documents if document.group not in held_out_groups]
    candidates = [i for i, out in enumerate(held_out) if out]
    shingles = Shingles([documents[i].data for i in candidates])
    while fresh:
        shingles.mark(document.data for document in fresh)
        near = [candidates[k] for k in shingles.near_duplicates(near_duplicate_share)]
        moving = [i for i in near if held_out[i]]
        for i in moving:
            held_out[i] = False
        fresh = [documents[i] for i in moving]
    if not any(held_out):
        raise DataError(
            "some held-out text must be new to the training text",
            got=f"{sum(at_first)} held-out documents, all of them near duplicates",
            fix="give text that repeats itself less, or raise the near-duplicate share",
        )
    return Split(
        train=[d for d, out in zip(documents, held_out, strict=True) if not out],
        held_out=[d for d, out in zip(documents, held_out, strict=True) if out],
        moved=[d for d, before, out in zip(documents, at_first, held_out, strict=True) if before and not out],
        near_duplicate_share=near_duplicate_share,
    )


def _held_out_groups(groups: set[str]) -> set[str]:
    rank = {g: int.from_bytes(hashlib.sha256(g.encode("utf-8", "surrogateescape")).digest()) for g in groups}
    chosen = {g for g in groups if rank[g] % HELD_OUT_ONE_IN == 0}
    if not chosen or chosen == groups:
        count = max(1, len(groups) // HELD_OUT_ONE_IN)
        chosen = set(sorted(groups, key=lambda g: (rank[g], g))[:count])
    return chosen
