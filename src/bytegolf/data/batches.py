"""Many documents in one call of the encoder: what a call costs is paid once for a megabyte of short documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.uint16]

# What stands between the documents of a batch: noncharacters of Unicode, which are not for interchange. No end of
# it is a beginning of it, so where it is found it is whole.
MARK = "\ufdd0document\ufdd1"
BATCH_BYTES = 1 << 20

_MARK = MARK.encode()


def encode_in_batches(
    documents: Sequence[bytes], bos_id: int, alone: Callable[[bytes], Ids], together: Callable[[bytes], Ids]
) -> Ids:
    """The ids of all documents, BOS before each.

    alone: encodes a document, without BOS; for those of a batch in which some are not UTF-8 or hold the mark.
    together: encodes UTF-8 documents with a mark between them, and gives BOS for a mark.
    """
    bos = np.array([bos_id], dtype=np.uint16)
    parts = [np.empty(0, dtype=np.uint16)]
    for batch in _batches(documents):
        joined = _MARK.join(batch)
        if _is_text(joined) and joined.count(_MARK) == len(batch) - 1:
            parts += [bos, together(joined)]
        else:
            for document in batch:
                parts += [bos, alone(document)]
    return np.concatenate(parts)


def _batches(documents: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    start = size = 0
    for at, document in enumerate(documents, start=1):
        size += len(document)
        if size >= BATCH_BYTES or at == len(documents):
            yield documents[start:at]
            start, size = at, 0


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
