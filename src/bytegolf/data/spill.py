"""Training documents in the order of a hash of their name, when they do not fit in memory.

Each chunk is written as one spill file: its documents in that order, behind an index. The order of all is cut into
buckets of about 32 MiB by the first bits of the hash, and a bucket is what the spill files hold of it, sorted.
A spill file: for each bucket, and for the end, where its documents and its bytes begin (2 int64 each); for each
document its sha256 and its size (40 bytes); the texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from bytegolf.data.corpora import Document
from bytegolf.files import write_atomically

BUCKET_BYTES = 1 << 25

_ENTRY = np.dtype([("digest", "S32"), ("size", "<i8")])
_BOUND_BYTES = 16


def buckets_for(size: int) -> int:
    """Buckets for `size` bytes of text."""
    return max(1, -(-size // BUCKET_BYTES))


def name_digest(document: Document) -> bytes:
    """What training documents are ordered by: sha256 of the name."""
    return hashlib.sha256(document.name.encode("utf-8", "surrogateescape")).digest()


def write_spill(path: Path, documents: Sequence[Document], buckets: int) -> None:
    """All documents of a chunk, on disk under a temporary name first."""
    digests = [name_digest(document) for document in documents]
    order = sorted(range(len(documents)), key=digests.__getitem__)
    index = np.empty(len(documents), dtype=_ENTRY)
    index["digest"] = [digests[i] for i in order]
    index["size"] = [len(documents[i].data) for i in order]
    bucket = np.array([int.from_bytes(digests[i][:4]) * buckets >> 32 for i in order], dtype=np.int64)
    first = np.searchsorted(bucket, np.arange(buckets + 1))
    begins = np.concatenate([[0], np.cumsum(index["size"])])[first]
    bounds = np.stack([first, begins], axis=1).astype("<i8")
    write_atomically(path, bounds.tobytes(), index.tobytes(), *(documents[i].data for i in order))


def read_spill(path: Path, buckets: int) -> list[bytes]:
    """All documents of a chunk, in the order of their hashes."""
    return [data for _, data in _read(path, 0, buckets, buckets)]


def read_bucket(paths: Iterable[Path], bucket: int, buckets: int) -> list[bytes]:
    """The documents of a bucket in the order of their hashes; of equal ones, in the order of `paths`."""
    found = [entry for path in paths for entry in _read(path, bucket, bucket + 1, buckets)]
    found.sort(key=lambda entry: entry[0])
    return [data for _, data in found]


def _read(path: Path, first: int, last: int, buckets: int) -> list[tuple[bytes, bytes]]:
    """Digests and texts of the documents in buckets first..last-1 of a spill file."""
    with path.open("rb") as file:
        bounds = np.frombuffer(file.read(_BOUND_BYTES * (buckets + 1)), dtype="<i8").reshape(-1, 2)
        (start, begin), (stop, _), (count, _) = bounds[[first, last, buckets]].tolist()
        if start == stop:
            return []
        behind = _BOUND_BYTES * (buckets + 1)
        file.seek(behind + _ENTRY.itemsize * start)
        index = np.frombuffer(file.read(_ENTRY.itemsize * (stop - start)), dtype=_ENTRY)
        file.seek(behind + _ENTRY.itemsize * count + begin)
        return [(digest, file.read(size)) for digest, size in index.tolist()]
