"""Figures that the published systems print: bytes of their payloads, parameters of a layer, damping, clipping.

Published figures without a test, because bytegolf does not rebuild what gives them: the first step of Adam without
bias correction and the norm with eps 1e-6 (MLX), the multiplier after the last step of a run, windows that score a
target twice or never, rows and chunks dealt out to eight ranks, the loader that drops a token between slices, the
byte rule of SentencePiece pieces, chunks of the LoRA record, thresholds of the challenge's t-test.
"""

from __future__ import annotations

import math

import pytest
import torch

from bytegolf.config.load import load_config
from bytegolf.model.spec import Tensor, block_tensors, manifest

PASSED_THROUGH = 65_536  # tensors up to this size are not quantized upstream


def tensors(preset: str) -> list[Tensor]:
    return list(manifest(load_config(preset).model).tensors)


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [
        ("baseline", 1_837_064),
        ("pr102-int6-smear", 2_361_352),
        ("pr342-mlx", 1_559_176),
        ("pr354-mla", 3_016_712),
    ],
)
def test_a_layer_has_its_published_number_of_parameters(preset: str, parameters: int) -> None:
    assert sum(t.size for t in block_tensors(load_config(preset).model, 0)) == parameters


def int8_payload(tensor: Tensor, controls_in_fp32: tuple[str, ...], embed_in_fp16: bool) -> int:
    """One byte a weight and two a row; small tensors in fp16, or fp32 where upstream's names say "control"."""
    if tensor.size > PASSED_THROUGH and not (embed_in_fp16 and tensor.role == "embed"):
        return tensor.size + 2 * tensor.shape[0]
    return tensor.size * (4 if tensor.name.split(".")[-1] in controls_in_fp32 else 2)


SCALES = ("mix_x", "mix_x0", "attention_scale", "mlp_scale", "q_gain", "skips")


@pytest.mark.parametrize(
    ("preset", "controls", "embed_in_fp16", "payload"),
    [
        ("baseline", SCALES, False, 17_178_912),
        ("pr489-partial-rope-ttt", (*SCALES, "gate", "scale"), False, 17_554_660),
        ("pr102-int6-smear", (*SCALES, "gate"), True, 22_431_008),
    ],
)
def test_the_published_int8_payload_follows_from_the_manifest(
    preset: str, controls: tuple[str, ...], embed_in_fp16: bool, payload: int
) -> None:
    """The third is what PR 102 would have taken in int8: its log compares with it."""
    assert sum(int8_payload(t, controls, embed_in_fp16) for t in tensors(preset)) == payload


def test_the_raw_tensors_of_pr_162_follow_from_the_manifest() -> None:
    """A byte a code and two a row; small tensors, the embedding and the last key in fp16."""
    total = 0
    for t in tensors("pr162-bigram-swa"):
        whole = t.size <= PASSED_THROUGH or t.role == "embed" or t.name == "blocks.8.attention.k"
        total += 2 * t.size if whole else t.size + 2 * t.shape[0]
    assert total == 23_182_994


def test_the_raw_buffer_of_pr_354_follows_from_the_manifest() -> None:
    """Latent factors and the projection of the table lie below its size rule, and stay in fp32."""
    total = 0
    for t in tensors("pr354-mla"):
        if t.role == "embed":
            total += 2 * t.size
        else:
            total += 4 * t.size if t.size <= PASSED_THROUGH else t.size + 2 * t.shape[0]
    assert total == 47_183_264


def test_depth_damping_starts_the_scales_at_the_published_values() -> None:
    model = load_config("pr489-partial-rope-ttt").model
    starts = [next(t for t in block_tensors(model, i) if t.name == "mlp_scale").init.value for i in range(7)]
    published = [1, 0.70710678, 0.57735027, 0.5, 0.44721360, 0.40824829, 0.37796447]
    assert starts == pytest.approx(published, abs=5e-9)


def test_the_orthogonal_starts_have_the_published_gains() -> None:
    """The advertised 1/sqrt(2 L) of PR 162 reaches one matrix: the others that it names start at zero."""
    by_name = {t.name: t.init for t in tensors("pr162-bigram-swa")}
    assert by_name["embed.mixers.0.proj"].value == pytest.approx(0.2357023, abs=5e-8)
    assert by_name["blocks.4.attention.q"] == by_name["blocks.4.mlp.fc"]
    assert (by_name["blocks.4.mlp.fc"].kind, by_name["blocks.4.mlp.fc"].value) == ("orthogonal", 1.0)
    assert {by_name[f"blocks.4.{part}.proj"].kind for part in ("attention", "mlp")} == {"zeros"}
    latent = {t.name: t.init for t in tensors("pr354-mla")}
    for part in (
        "attention.q",
        "attention.kv_down",
        "attention.k_up",
        "attention.v_up",
        "mlp.gate",
        "mlp.up",
    ):
        assert latent[f"blocks.0.{part}"].value == pytest.approx(0.0441942, abs=5e-8)


def test_clipping_multiplies_by_the_published_factor() -> None:
    """c / (|g| + 1e-6)."""
    weight = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    weight.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
    torch.nn.utils.clip_grad_norm_([weight], 0.3)
    assert weight.grad[0].item() / 3 == pytest.approx(0.0599999880, abs=1e-10)


def test_the_logarithms_between_nats_and_bits_per_byte() -> None:
    """62,021,632 targets and 151,080,363 bytes: the validation split of the challenge."""
    from bytegolf.numeric.bpb import bits_per_byte

    for nats, bpb in ((1.99082671, 1.17907971), (2.01799411, 1.19516978), (math.log(1024), 4.10521)):
        assert bits_per_byte(nats * 62_021_632, 151_080_363) == pytest.approx(bpb, abs=5e-6)
