"""The loader at the size of Parameter Golf: 524,288 tokens a step from shards on disk, alone and made ahead."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from bytegolf import registry
from bytegolf.data.loader import Batches
from bytegolf.data.prefetch import Prefetched
from bytegolf.data.shards import map_shard, write_shard
from bytegolf.data.token_stream import TokenStream
from common import seconds, show

SHARDS, SHARD_TOKENS, VOCAB = 4, 25_000_000, 1024
ROWS, CONTEXT = 512, 1024
# The published baseline takes 43.5 ms a step on eight H100s, each of which wants an eighth of the rows.
DEVICE_SECONDS, RANKS, STEPS = 0.0435, 8, 100


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.bin" for number in range(SHARDS)]
        for number, path in enumerate(paths):
            stream = np.random.default_rng(number)
            write_shard(path, stream.integers(0, VOCAB, SHARD_TOKENS, dtype=np.uint16))
        tokens = TokenStream([map_shard(path) for path in paths], paths, VOCAB)
        rows = []
        for order in registry.names("order"):
            whole = Batches.of(tokens, order=order, context=CONTEXT, rows=ROWS, seed=0)
            part = Batches.of(tokens, order=order, context=CONTEXT, rows=ROWS, seed=0, size=RANKS)
            steps = iter(range(10**6))
            made = seconds(lambda b=whole, s=steps: b.batch(next(s)), 20)  # type: ignore[misc]
            alone = seconds(lambda b=part, s=steps: b.batch(next(s)), 20)  # type: ignore[misc]
            rows.append(
                [
                    order,
                    f"{1e3 * made:.1f}",
                    f"{ROWS * CONTEXT / made / 1e6:,.0f}",
                    f"{1e3 * alone:.1f}",
                    f"{1e3 * waited(part):.3f}",
                ]
            )
    headers = ["order", "ms a step", "M tokens/s", f"ms, 1 of {RANKS} ranks", "ms waited"]
    title = f"{ROWS} x {CONTEXT} tokens a step from {SHARDS} shards of {SHARD_TOKENS:,} tokens"
    show(f"{title}; made ahead of a device that takes {1e3 * DEVICE_SECONDS:.1f} ms", headers, rows)


def waited(batches: Batches) -> float:
    """Mean seconds that a device of the published speed would wait for a batch that is made ahead."""
    spent = 0.0
    with Prefetched(batches) as ahead:
        ahead.batch(0)
        for step in range(1, STEPS + 1):
            time.sleep(DEVICE_SECONDS)
            asked = time.perf_counter()
            ahead.batch(step)
            spent += time.perf_counter() - asked
    return spent / STEPS


if __name__ == "__main__":
    main()
