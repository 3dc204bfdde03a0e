"""Which device and which precision, each with one line that says why."""

from __future__ import annotations

import torch

from bytegolf.errors import ConfigError
from bytegolf.model.machine import PROBE_SECONDS, bf16_pays, peak_resident_bytes, per_second, processor

DEVICES = ("auto", "cpu", "cuda", "mps")

# The makers' data sheets, without sparsity; fp32 with TF32 off, as it is here.
PEAK_FLOPS = {
    "B200": {"bf16": 2250e12, "fp32": 75e12},
    "H200": {"bf16": 989e12, "fp32": 67e12},
    "H100 PCIe": {"bf16": 756e12, "fp32": 51e12},
    "H100": {"bf16": 989e12, "fp32": 67e12},
    "A100": {"bf16": 312e12, "fp32": 19.5e12},
    "L40S": {"bf16": 362e12, "fp32": 91.6e12},
    "L4": {"bf16": 121e12, "fp32": 30.3e12},
    "RTX 4090": {"bf16": 165e12, "fp32": 82.6e12},
    "RTX 3090": {"bf16": 71e12, "fp32": 35.6e12},
}


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
    pays, reason = bf16_pays(slow, fast)
    return (torch.bfloat16 if pays else torch.float32), reason


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Dense matrix operations per second that the maker states for this device, None where we know of none."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peaks[precision] for key, peaks in PEAK_FLOPS.items() if key in name), None)


def hardware(device: torch.device, processes: int = 1) -> str:
    """`8x NVIDIA H100 80GB HBM3`, or `AMD EPYC, 2 cores`: what a figure was measured on, as far as it says so."""
    if device.type == "cuda":
        return f"{processes}x {torch.cuda.get_device_name(device)}"
    return processor() + (f", {device.type}" if device.type != "cpu" else "")


def peak_bytes(device: torch.device) -> int:
    """The most memory so far: what torch allocated on CUDA, elsewhere the resident memory of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_resident_bytes()


def _products_per_second(dtype: torch.dtype) -> float:
    a, b = torch.ones(2048, 256, dtype=dtype), torch.ones(256, 512, dtype=dtype)
    return per_second(lambda: a @ b, PROBE_SECONDS)
