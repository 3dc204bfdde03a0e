"""Which codec stores which tensor: overrides against the manifest."""

from __future__ import annotations

import pytest

from bytegolf.config.load import load_config
from bytegolf.errors import ConfigError
from bytegolf.model.spec import manifest
from bytegolf.model.storage import codec_overrides, codecs_of, pruned_tensors
from tiny import tiny_config


def overridden(*tables: str) -> dict[str, str]:
    return codec_overrides(tiny_config(f"pack.overrides=[{', '.join(tables)}]"))


def test_a_slot_stands_for_its_matrices_in_every_layer() -> None:
    assert overridden("{part='attention', codec='int5'}") == {
        f"blocks.{layer}.attention.{t}": "int5" for layer in (0, 1) for t in ("q", "k", "v", "proj")
    }


def test_layers_count_from_either_end_and_a_part_may_be_one_tensor() -> None:
    for layer in (1, -1):
        found = overridden(f"{{part='attention.q_gain', layer={layer}, codec='int8'}}")
        assert found == {"blocks.1.attention.q_gain": "int8"}


def test_the_last_override_of_a_tensor_counts() -> None:
    found = overridden("{part='mlp', codec='int5'}", "{part='mlp.fc', layer=0, codec='fp16'}")
    assert found["blocks.0.mlp.fc"] == "fp16"
    assert found["blocks.1.mlp.fc"] == found["blocks.0.mlp.proj"] == "int5"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("{part='mpl', codec='int5'}", ["pack.overrides.0.part", "'mpl'", "'mlp'"]),
        ("{part='', codec='int5'}", ["pack.overrides.0.part"]),
        ("{part='mlp', layer=2, codec='int5'}", ["pack.overrides.0.layer", "0..1"]),
        ("{part='mlp', layer=-3, codec='int5'}", ["pack.overrides.0.layer", "-2..-1"]),
    ],
)
def test_an_override_of_nothing_is_refused(table: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        overridden(table)
    for word in words:
        assert word in str(caught.value)


def test_every_tensor_has_the_codec_of_its_role_or_its_override() -> None:
    config = load_config("pr180-int5")
    tensors = manifest(config.model)
    codecs = codecs_of(tensors, config)
    assert codecs.keys() == tensors.roles().keys()
    assert codecs["blocks.9.attention.k"] == "fp16"  # ten layers: the last, not number 8
    assert codecs["blocks.8.attention.k"] == "int6"
    assert {codecs[f"blocks.{i}.mlp.{t}"] for i in range(10) for t in ("fc", "proj")} == {"int5"}
    published = load_config("pr180-int5-as-published")
    assert codecs_of(tensors, published)["blocks.8.attention.k"] == "fp16"


def test_pruning_reaches_large_matrices_only() -> None:
    config = load_config("pr180-int5")
    tensors = manifest(config.model)
    pruned = pruned_tensors(tensors, config.pack)
    sizes = {t.name: t.size for t in tensors.tensors if len(t.shape) == 2}
    assert pruned == {name for name, size in sizes.items() if size > 65_536}
    assert "embed.mixers.0.proj" in sizes.keys() - pruned
    assert pruned_tensors(tensors, load_config("baseline").pack) == frozenset()
