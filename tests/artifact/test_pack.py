"""Laws of packing: every weight has one role, every role a codec, and errors name the tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bytegolf.artifact.pack import pack
from bytegolf.codec import base
from bytegolf.errors import ArtifactError, ConfigError


def test_tensors_are_stored_in_order_with_the_codec_of_their_role(made_of: dict[str, Any]) -> None:
    artifact = pack(**made_of)
    assert [t.name for t in artifact.tensors] == list(made_of["weights"])
    for tensor in artifact.tensors:
        assert tensor.role == made_of["roles"][tensor.name]
        assert tensor.codec == made_of["codecs"][tensor.role]
        array = made_of["weights"][tensor.name]
        assert (tensor.shape, tensor.blob) == (array.shape, base.get(tensor.codec).encode(array))


def test_a_weight_without_a_role_and_a_role_without_a_weight_are_named(made_of: dict[str, Any]) -> None:
    roles = dict(made_of["roles"])
    del roles["scale"]
    with pytest.raises(ArtifactError, match=r"without a role: \['scale'\]"):
        pack(**made_of | {"roles": roles})
    with pytest.raises(ArtifactError, match=r"without weights: \['ghost'\]"):
        pack(**made_of | {"roles": made_of["roles"] | {"ghost": "matrix"}})


def test_a_role_without_a_codec_and_an_unknown_codec_are_named(made_of: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="none for embed, scalar"):
        pack(**made_of | {"codecs": {"matrix": "int6"}})
    with pytest.raises(ConfigError, match=r"pack\.codecs\.matrix") as error:
        pack(**made_of | {"codecs": made_of["codecs"] | {"matrix": "int7"}})
    assert "int6" in str(error.value)


def test_a_weight_that_its_codec_cannot_hold_is_named(made_of: dict[str, Any]) -> None:
    made_of["weights"]["block.0.gain"][2] = np.nan
    with pytest.raises(ArtifactError, match=r"tensor block\.0\.gain: only finite"):
        pack(**made_of)
    made_of["weights"]["block.0.gain"][2] = 1e6
    with pytest.raises(ArtifactError, match=r"tensor block\.0\.gain: fp16"):
        pack(**made_of)
