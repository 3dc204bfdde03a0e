"""The same system, small: every variant and every layer of a config at a size that a CPU trains in seconds."""

from __future__ import annotations

from bytegolf.config.load import resolve, to_tree
from bytegolf.config.schema import Config, WarmdownSteps

HEAD_DIM = 8
CONTEXT = 128
ROWS = 8
STEPS = 50
STRIDE = 64


def shrunk(config: Config) -> Config:
    """`config` with heads of 8 dimensions, rows of 128 tokens, 8 rows a step, 50 steps, and no byte limit.

    Kept: vocabulary, layers, heads, every kind and flag, learning rates, codecs. Narrowed with the width: what the
    components name in `narrowed` (hidden units, ranks, tables). Scaled with the steps: warm-up and warm-down, the
    spacing of weight averages. Pruning reaches every matrix, and the rows are shuffled.
    """
    model, train = config.model, config.train
    dim = HEAD_DIM * model.attention.heads
    ratio = dim / model.dim
    tree = to_tree(config)
    tree["model"] |= {
        "dim": dim,
        "context": min(model.context, CONTEXT),
        "attention": model.attention.narrowed(ratio).model_dump(mode="json"),
        "mlp": model.mlp.narrowed(ratio).model_dump(mode="json"),
    }
    tree["model"]["embed"]["mixers"] = [
        mixer.narrowed(ratio).model_dump(mode="json") for mixer in model.embed.mixers
    ]
    shorter = {key: value for key, value in tree["train"].items() if key not in ("seconds", "tokens")}
    whole_steps = {"steps": STEPS, "rows": min(train.rows, ROWS), "micro_rows": 0, "microbatch_tokens": 0}
    tree["train"] = shorter | whole_steps | {"order": "shuffled"}
    for optimizer in tree["train"]["optimizers"].values():
        if "momentum_warmup_steps" in optimizer:
            optimizer["momentum_warmup_steps"] = min(optimizer["momentum_warmup_steps"], STEPS // 5)
    if isinstance(train.schedule, WarmdownSteps):
        tree["train"]["schedule"]["steps"] = min(train.schedule.steps, 2 * STEPS // 5)
    if "every" in tree["train"]["averaging"]:
        tree["train"]["averaging"]["every"] = min(tree["train"]["averaging"]["every"], 2)
    tree["pack"]["budget"] = 0
    if config.pack.prune is not None:
        tree["pack"]["prune"]["above"] = 0
    tree["score"] = {"context": 0, "stride": min(config.score.stride, STRIDE)}
    return resolve(tree, where=f"{config.name} --shrink")
