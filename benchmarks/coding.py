"""Exact arithmetic: what it costs beside float32, and what lanes bring when a token waits for the one before."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from bytegolf.artifact.format import StoredTokenizer
from bytegolf.artifact.pack import pack
from bytegolf.coding.range_coder import Decoder, Encoder
from bytegolf.config.load import load_config
from bytegolf.model.init import initial_weights
from bytegolf.model.spec import manifest
from bytegolf.on_numpy.exact.engine import Exact
from bytegolf.on_torch.backend import TorchBackend
from common import seconds, show

LANES = (1, 2, 4, 8)
STEPS = 128
ROW = 4096
CODED = 2000


def models() -> tuple[TorchBackend, Exact]:
    """`pocket` with random weights, in float32 and in exact arithmetic."""
    config = load_config("pocket")
    tensors = manifest(config.model)
    rng = np.random.default_rng(0)
    weights = {
        name: array + (0.02 * rng.standard_normal(array.shape)).astype(np.float32)
        for name, array in initial_weights(tensors, 0).items()
    }
    backend = TorchBackend(config.model, device="cpu")
    backend.load(weights)
    none = StoredTokenizer("bytes", config.model.vocab_size, b"")
    codecs = {str(role): codec for role, codec in config.pack.codecs.items()}
    artifact = pack(weights, tensors.roles(), codecs, {}, none, {})
    return backend, Exact(config.model, artifact.tensors)


def rows(backend: TorchBackend, engine: Exact) -> None:
    """Known tokens, as `compress` reads them and as `score` does."""
    ids = np.random.default_rng(1).integers(1, engine.model.vocab_size, (1, ROW + 1))

    def exact() -> None:
        state = engine.start(1)
        for at in range(0, ROW, 128):
            x = engine.read(state, ids[:, at : at + 128])
            for tile in range(0, 128, 16):
                engine.extras(x[:, tile : tile + 16])

    floating = seconds(lambda: backend.nll(ids[:, :-1], ids[:, 1:]), 3)
    whole = seconds(exact, 3)
    table = [
        ["float32, log-likelihoods", f"{ROW / floating:,.0f}", "1.00x"],
        ["exact, all frequencies", f"{ROW / whole:,.0f}", f"{floating / whole:.2f}x"],
    ]
    show(f"pocket, one row of {ROW:,} known tokens, one thread", ["", "tokens/s", "ratio"], table)


def steps(engine: Exact) -> None:
    """One token at a time in every lane, as `decompress` must."""
    table, alone = [], 0.0
    for lanes in LANES:
        ids = np.random.default_rng(2).integers(1, engine.model.vocab_size, (lanes, STEPS))

        def go(lanes: int = lanes, ids: np.ndarray = ids) -> None:
            state = engine.start(lanes)
            for at in range(STEPS):
                engine.extras(engine.read(state, ids[:, at : at + 1]))

        spent = seconds(go, 3) / STEPS
        alone = alone or spent
        table.append(
            [f"{lanes}", f"{spent * 1000:.2f}", f"{lanes / spent:,.0f}", f"{lanes * alone / spent:.2f}x"]
        )
    show("pocket, token by token, one thread", ["lanes", "ms/step", "tokens/s", "against 1 lane"], table)


def coder(engine: Exact) -> None:
    """The range coder alone, on distributions that are there already."""
    ids = np.random.default_rng(3).integers(1, engine.model.vocab_size, (1, CODED))
    extras = engine.numpy(engine.extras(engine.read(engine.start(1), ids)))[0].astype(np.float32)
    symbols = ids[0].astype(np.int32)

    def encode() -> bytes:
        encoder = Encoder()
        encoder.encode(symbols, extras)
        return encoder.finish()

    payload = encode()

    def decode() -> None:
        decoder = Decoder(payload)
        for row in extras:
            decoder.decode(row[None])

    spent = {"encode": seconds(encode, 3), "decode": seconds(decode, 3)}
    table = [[name, f"{CODED / s:,.0f}"] for name, s in spent.items()]
    show(f"range coder, {engine.model.vocab_size:,} symbols", ["", "symbols/s"], table)


if __name__ == "__main__":
    with threadpool_limits(1):
        float_backend, exact_engine = models()
        rows(float_backend, exact_engine)
        steps(exact_engine)
        coder(exact_engine)
