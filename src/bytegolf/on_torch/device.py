"""Which device and which precision, each with one line that says why."""

from __future__ import annotations

import time

import torch

from bytegolf.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda", "mps")
PROBE_SECONDS = 0.5
# bf16 halves memory traffic, but casts cost time too: below this gain of raw products it is not worth it.
WORTHWHILE = 1.3


def choose_device(wanted: str) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU. Raises ConfigError when the wanted device is not there."""
    if wanted not in DEVICES:
        raise ConfigError(f"unknown device {wanted!r}", where="--device", fix="known: " + ", ".join(DEVICES))
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        wanted = next(name for name, here in present.items() if here)
    if not present[wanted]:
        raise ConfigError(
            f"this machine (or this build of torch) has no {wanted} device",
            where="--device",
            fix="use --device auto",
        )
    return torch.device(wanted)


def choose_precision(wanted: str, device: torch.device) -> tuple[torch.dtype, str]:
    """The dtype of activations and matrix products in training, and the reason. Weights stay float32.

    On the CPU `auto` times bf16 against fp32 products for about a second; fp16 is never used there.
    """
    if wanted != "auto":
        return {"bf16": torch.bfloat16, "fp32": torch.float32}[wanted], "as configured"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "the GPU computes bf16 natively"
        return torch.float32, "the GPU has no native bf16"
    if device.type == "mps":
        return torch.float32, "MPS: bf16 is not probed there"
    slow, fast = _products_per_second(torch.float32), _products_per_second(torch.bfloat16)
    ratio = f"a probe ran bf16 products at {fast / slow:.1f}x the speed of fp32"
    return (torch.bfloat16 if fast > WORTHWHILE * slow else torch.float32), ratio


def _products_per_second(dtype: torch.dtype) -> float:
    a, b = torch.ones(2048, 256, dtype=dtype), torch.ones(256, 512, dtype=dtype)
    _ = a @ b
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < PROBE_SECONDS:
        _ = a @ b
        count += 1
    return count / elapsed
