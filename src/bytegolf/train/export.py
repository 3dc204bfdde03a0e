"""Run directory -> artifact: the codecs of the config applied to the weights of the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bytegolf.artifact.format import Artifact, StoredTokenizer
from bytegolf.artifact.pack import pack
from bytegolf.codec.prune import magnitude_prune
from bytegolf.config.load import to_tree, with_overrides
from bytegolf.config.schema import Config
from bytegolf.data import tokenizer as tokenizers
from bytegolf.errors import ConfigError, RunError
from bytegolf.model.backend import Floats
from bytegolf.model.spec import manifest
from bytegolf.model.storage import codec_overrides, pruned_tensors
from bytegolf.train.run_dir import Run

# What of run.json travels in the artifact. Paths and host names stay at home.
PROVENANCE = (
    "version",
    "steps",
    "tokens",
    "seconds",
    "interrupted",
    "averaged",
    "seed",
    "device",
    "precision",
)


def export(run: Run, config: Config) -> Artifact:
    """Pack a run under `config`: the run's own, or one with other codecs. Raises ArtifactError, ConfigError."""
    return pack(
        pruned_weights(run, config),
        manifest(config.model).roles(),
        {str(role): codec for role, codec in config.pack.codecs.items()},
        to_tree(config),
        stored_tokenizer(run),
        provenance(run.summary),
        codec_overrides(config),
    )


def pruned_weights(run: Run, config: Config) -> dict[str, Floats]:
    """The weights of the run after `pack.prune`."""
    weights = run.weights()
    if config.pack.prune is not None:
        for name in pruned_tensors(manifest(config.model), config.pack):
            weights[name] = magnitude_prune(weights[name], config.pack.prune.share)
    return weights


def stored_tokenizer(run: Run) -> StoredTokenizer:
    """The run's tokenizer as it goes into the artifact."""
    tokenizer = tokenizers.from_bytes(run.tokenizer)
    return StoredTokenizer(tokenizer.kind, tokenizer.vocab_size, run.tokenizer)


def with_pack_overrides(run: Run, overrides: Sequence[str]) -> Config:
    """The run's config with overrides that may touch only the table `pack`. Raises ConfigError."""
    config = with_overrides(run.config, overrides)
    if config.model_copy(update={"pack": run.config.pack}) != run.config:
        raise ConfigError(
            "packing may change keys under pack only; the rest is how the weights were trained",
            got=", ".join(overrides),
            where="-o",
        )
    return config


def provenance(summary: dict[str, Any]) -> dict[str, Any]:
    """What of run.json travels. Raises RunError when a key is missing."""
    if missing := {*PROVENANCE, "data"} - summary.keys():
        raise RunError("run.json must be the one that training wrote", got=f"none of {sorted(missing)}")
    data = {key: value for key, value in summary["data"].items() if key == "name" or key.endswith("_sha256")}
    return {**{key: summary[key] for key in PROVENANCE}, "data": data}
