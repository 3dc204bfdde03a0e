"""Which codec stores which tensor, and which tensors are pruned: `config.pack` read against the manifest."""

from __future__ import annotations

from bytegolf.config.schema import CodecOverride, Config, Model, Pack
from bytegolf.errors import ConfigError, did_you_mean
from bytegolf.model.spec import Manifest, block_tensors


def codec_overrides(config: Config) -> dict[str, str]:
    """Tensor name -> codec, for the tensors that `pack.overrides` takes out of their roles.

    Raises ConfigError when an override names a layer or a part that the model does not have.
    """
    chosen: dict[str, str] = {}
    for index, override in enumerate(config.pack.overrides):
        where = f"pack.overrides.{index}"
        for name in _named(override, config.model, where):
            chosen[name] = override.codec
    return chosen


def codecs_of(tensors: Manifest, config: Config) -> dict[str, str]:
    """Tensor name -> codec, for every tensor of the manifest. Raises ConfigError like `codec_overrides`."""
    overrides = codec_overrides(config)
    return {t.name: overrides.get(t.name, config.pack.codecs[t.role]) for t in tensors.tensors}


def pruned_tensors(tensors: Manifest, pack: Pack) -> frozenset[str]:
    """The names of the matrices that `pack.prune` thins out."""
    if pack.prune is None:
        return frozenset()
    return frozenset(t.name for t in tensors.tensors if len(t.shape) == 2 and t.size > pack.prune.above)


def _named(override: CodecOverride, model: Model, where: str) -> list[str]:
    """A slot stands for its matrices; anything else is the short name of one tensor."""
    layers = range(model.layers)
    if override.layer is not None and not -model.layers <= override.layer < model.layers:
        raise ConfigError(
            f"the model has the layers 0..{model.layers - 1}, or -{model.layers}..-1 from the end",
            got=override.layer,
            where=f"{where}.layer",
        )
    if override.layer is not None:
        layers = range(override.layer % model.layers, override.layer % model.layers + 1)
    tensors = {t.name: t.role for t in block_tensors(model, layers[0])}
    if override.part in tensors:
        parts = [override.part]
    else:
        parts = [n for n, role in tensors.items() if n.startswith(f"{override.part}.") and role == "matrix"]
    if not parts:
        raise ConfigError(
            "an override names a slot of a layer or a tensor in it",
            got=repr(override.part),
            where=f"{where}.part",
            fix=did_you_mean(override.part, ["attention", "mlp", *tensors]),
        )
    return [f"blocks.{layer}.{part}" for layer in layers for part in parts]
