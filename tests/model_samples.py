"""Small models that the tests share: a strategy for every registered variant, weights, and published systems."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from bytegolf import registry
from bytegolf.config.schema import Model
from bytegolf.model.spec import block_tensors, manifest

SLOTS = ("mixer", "attention", "mlp", "plan", "head")

HEADS = st.builds(
    lambda heads, window, rope_dims: {
        "heads": heads[0],
        "kv_heads": heads[1],
        "window": window,
        "rope_dims": rope_dims,
    },
    st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 1), (4, 2)]),
    st.integers(0, 7),
    st.sampled_from([0, 2]),
)

# slot -> variant -> its options beside `kind`. test_components.py asserts that no registered variant is missing.
OPTIONS: dict[str, dict[str, st.SearchStrategy[dict[str, Any]]]] = {
    "mixer": {
        "smear_lerp": st.fixed_dictionaries({"stop_at_bos": st.booleans()}),
        "smear_keep": st.fixed_dictionaries({"stop_at_bos": st.booleans()}),
        "bigram_hash": st.fixed_dictionaries(
            {"buckets": st.integers(2, 30), "table_dim": st.integers(1, 5), "stop_at_bos": st.booleans()}
        ),
        "bigram_hash_prime": st.fixed_dictionaries(
            {
                "buckets": st.integers(1, 30),
                "table_dim": st.integers(1, 5),
                "multiplier": st.sampled_from([92_821, 1_000_003]),
                "stop_at_bos": st.booleans(),
            }
        ),
        "ngram_recall": st.fixed_dictionaries(
            {"orders": st.sampled_from([[1], [2], [1, 2, 3], [1, 3], [4]]), "stop_at_bos": st.booleans()}
        ),
    },
    "attention": {
        "gqa": HEADS,
        "mla": st.builds(lambda heads, rank: heads | {"kv_rank": rank}, HEADS, st.integers(1, 6)),
    },
    "mlp": {
        "relu2": st.fixed_dictionaries({"hidden": st.integers(4, 12)}),
        "relu2_glu": st.fixed_dictionaries({"hidden": st.integers(4, 12)}),
    },
    "plan": {
        "unet": st.fixed_dictionaries({"depth_damping": st.booleans()}),
        "plain": st.fixed_dictionaries({"depth_damping": st.booleans()}),
    },
    "head": {
        "tied": st.fixed_dictionaries({"softcap": st.sampled_from([1.0, 15.0, 30.0])}),
        "untied": st.fixed_dictionaries({"softcap": st.sampled_from([1.0, 15.0, 30.0])}),
    },
}

REGISTERED = [(slot, kind) for slot in SLOTS for kind in registry.names(slot)]


@st.composite
def models(draw: st.DrawFn, slot: str = "", kind: str = "") -> Model:
    """A small model of any registered variants; with `slot` and `kind` one that has this variant in it."""

    def part(name: str, chosen: str = "") -> dict[str, Any]:
        chosen = chosen or draw(st.sampled_from(registry.names(name)))
        return {"kind": chosen, **draw(OPTIONS[name][chosen])}

    mixers = [part("mixer") for _ in range(draw(st.integers(0, 2)))]
    if slot == "mixer":
        mixers.insert(draw(st.integers(0, len(mixers))), part("mixer", kind))
    vocab_size = draw(st.integers(3, 20))
    slots = {name: part(name, kind if name == slot else "") for name in SLOTS[1:]}
    return Model.model_validate(
        {
            "vocab_size": vocab_size,
            "bos_id": draw(st.integers(0, vocab_size - 1)),
            "dim": draw(st.sampled_from([8, 16])),
            "layers": draw(st.integers(1, 4)),
            "context": draw(st.integers(2, 6)),
            "embed": {"mixers": mixers},
            "matrix_init": draw(
                st.sampled_from([{"kind": "uniform_fan_in"}, {"kind": "orthogonal", "gain": "1/sqrt(dim)"}])
            ),
            **slots,
        }
    )


def generic_weights(model: Model, seed: int = 0) -> dict[str, np.ndarray]:
    """float64 weights with nothing at zero or one, so that no term of the forward pass can hide."""
    rng = np.random.default_rng(seed)
    return {t.name: 0.5 * rng.standard_normal(t.shape) for t in manifest(model).tensors}


def random_ids(model: Model, rows: int, length: int, seed: int = 0) -> np.ndarray:
    """(rows, length) ids in which about every fifth is a BOS; every second row says its first half twice."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, model.vocab_size, (rows, length))
    ids = np.where(rng.random((rows, length)) < 0.2, model.bos_id, ids)
    half = length // 2
    ids[1::2, half : 2 * half] = ids[1::2, :half]
    return ids


def system(
    *,
    layers: int = 9,
    dim: int = 512,
    hidden: int = 1536,
    buckets: int = 0,
    smear: bool = True,
) -> Model:
    """A published Parameter Golf system by its sizes: 1024 entries, 8 query and 4 kv heads, U-Net, tied head."""
    mixers: list[dict[str, Any]] = []
    if buckets:
        mixers.append({"kind": "bigram_hash", "buckets": buckets, "table_dim": 128, "stop_at_bos": False})
    if smear:
        mixers.append({"kind": "smear_lerp", "stop_at_bos": False})
    return Model.model_validate(
        {
            "vocab_size": 1024,
            "bos_id": 1,
            "dim": dim,
            "layers": layers,
            "context": 1024,
            "embed": {"mixers": mixers},
            "attention": {"kind": "gqa", "heads": 8, "kv_heads": 4},
            "mlp": {"kind": "relu2", "hidden": hidden},
            "plan": {"kind": "unet"},
            "head": {"kind": "tied"},
        }
    )


IDS = np.array([1, 5, 9, 2, 15])
TARGETS = np.array([5, 9, 2, 15, 3])

# The mixers of three systems, on the miniature below. BASE: published; the others: two twins agree on them.
MEAN_NATS: dict[tuple[str, ...], float] = {
    (): 3.3910513848613477,
    ("smear_lerp",): 2.7492133120935174,
    ("bigram_hash", "smear_lerp"): 2.7496587010622786,
}

# Two systems whose layers differ. PR 489: published; PR 354: two twins agree on it.
SLOTS_489: dict[str, dict[str, Any]] = {
    "attention": {"kind": "gqa", "heads": 2, "kv_heads": 1, "rope_dims": 2, "q_gain": 1.0},
    "plan": {"kind": "unet", "depth_damping": True},
    "head": {"kind": "tied", "softcap": 15.0},
}
SLOTS_354: dict[str, dict[str, Any]] = {
    "attention": {"kind": "mla", "heads": 2, "kv_heads": 1, "kv_rank": 3},
    "mlp": {"kind": "relu2_glu", "hidden": 16},
}
OTHER_NATS: dict[str, tuple[tuple[str, ...], dict[str, dict[str, Any]], float]] = {
    "PR 489": (("bigram_hash", "smear_lerp"), SLOTS_489, 3.304114136886665),
    "PR 354": ((), SLOTS_354, 3.2903331079433578),
}
BASE_NATS = [3.57813861, 4.24304594, 2.23190455, 3.78353823, 3.11862959]


def miniature(
    mixers: tuple[str, ...], slots: dict[str, dict[str, Any]] | None = None
) -> tuple[Model, dict[str, np.ndarray]]:
    """V 16, D 8, H 2, K 1, L 3 with weights F(i) = 0.3 sin(1 + 0.7 k + 1.3 i) over the flat index k."""
    options = {"bigram_hash": {"buckets": 8, "table_dim": 4}, "smear_lerp": {}}
    model = Model.model_validate(
        {
            "vocab_size": 16,
            "dim": 8,
            "layers": 3,
            "context": 5,
            "embed": {"mixers": [{"kind": m, "stop_at_bos": False, **options[m]} for m in mixers]},
            "attention": {"kind": "gqa", "heads": 2, "kv_heads": 1},
            "mlp": {"kind": "relu2", "hidden": 16},
            "plan": {"kind": "unet"},
            "head": {"kind": "tied"},
            **(slots or {}),
        }
    )

    def f(i: int, *shape: int) -> np.ndarray:
        return 0.3 * np.sin(1 + 0.7 * np.arange(math.prod(shape)) + 1.3 * i).reshape(shape)

    weights = {"embed.weight": f(0, 16, 8), "plan.skips": 1 + 0.1 * f(3, 1, 8)}
    of_mixer = {
        "bigram_hash": {"table": f(1, 8, 4), "proj": f(2, 8, 4), "scale": np.array(0.05)},
        "smear_lerp": {"gate": 0.1 * (np.arange(8) - 3)},
    }
    for i, mixer in enumerate(mixers):
        weights |= {f"embed.mixers.{i}.{name}": array for name, array in of_mixer[mixer].items()}
    for layer in range(3):
        b = 10 * (layer + 1)
        scale = np.full(8, model.plan.residual_scale(layer))
        block = {
            "mix_x": 1 + 0.1 * f(b, 8),
            "mix_x0": 0.1 * f(b + 1, 8),
            "attention_scale": scale,
            "mlp_scale": scale,
            "attention.q": f(b + 2, 8, 8),
            "attention.k": f(b + 3, 4, 8),
            "attention.v": f(b + 4, 4, 8),
            "attention.kv_down": f(b + 3, 3, 8),
            "attention.k_up": f(b + 8, 4, 3),
            "attention.v_up": f(b + 9, 4, 3),
            "attention.proj": f(b + 5, 8, 8),
            "attention.q_gain": np.full(2, model.attention.q_gain),
            "mlp.fc": f(b + 6, 16, 8),
            "mlp.gate": f(b + 6, 16, 8),
            "mlp.up": f(b + 4, 16, 8),
            "mlp.proj": f(b + 7, 8, 16),
        }
        wanted = {t.name for t in block_tensors(model, layer)}
        block = {name: array for name, array in block.items() if name in wanted}
        weights |= {f"blocks.{layer}.{name}": array for name, array in block.items()}
    return model, weights
