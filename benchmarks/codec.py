"""The codecs on gaussian weights: speed, and size against the entropy of the codes and against zstd -22."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bytegolf import registry
from bytegolf.codec.base import Codec, get
from bytegolf.codec.ecsq import Ecsq
from bytegolf.codec.int_rows import IntRows
from bytegolf.score.baselines import zstd
from common import seconds, show

SHAPE = (512, 512)


def main() -> None:
    weights = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    rows = [[name, *figures(get(name), weights)] for name in registry.names("codec") if not get(name).flawed]
    headers = ["codec", "encode MB/s", "decode MB/s", "bits/weight", "entropy of codes", "size / zstd -22"]
    show(f"{SHAPE[0]} x {SHAPE[1]} float32 gaussian weights", headers, rows)


def figures(codec: Codec, weights: NDArray[np.float32]) -> list[str]:
    blob = codec.encode(weights)
    # zstd gets the same codes: whole numbers one a byte, halves as two bytes.
    if isinstance(codec, IntRows):
        codes = codec.quantize(weights).codes
        plain, entropy = codes.tobytes(), f"{entropy_bits(codes):.3f}"
    elif isinstance(codec, Ecsq):
        codes = codec.decode_lattice(blob, weights.shape).multiples.astype(np.int8)
        plain, entropy = codes.tobytes(), f"{entropy_bits(codes):.3f}"
    else:
        plain, entropy = weights.astype(np.float16).tobytes(), ""
    megabytes = weights.nbytes / 1e6
    return [
        f"{megabytes / seconds(lambda: codec.encode(weights)):.0f}",
        f"{megabytes / seconds(lambda: codec.decode(blob, weights.shape)):.0f}",
        f"{8 * len(blob) / weights.size:.3f}",
        entropy,
        f"{len(blob) / zstd(plain, b'', 0):.3f}",
    ]


def entropy_bits(codes: NDArray[np.int8]) -> float:
    """Bits a symbol of the codes' own histogram."""
    share = np.unique(codes, return_counts=True)[1] / codes.size
    return float(-(share * np.log2(share)).sum())


if __name__ == "__main__":
    main()
