"""Which device and which precision, each with one line that says why."""

from __future__ import annotations

import mlx.core as mx

from bytegolf.errors import ConfigError
from bytegolf.model.machine import PROBE_SECONDS, bf16_pays, has_compiler, per_second, processor

DEVICES = ("auto", "cpu", "gpu")


def choose_device(wanted: str) -> mx.Device:
    """`auto` takes the GPU where MLX has one. Raises ConfigError when the wanted device is not there."""
    if wanted not in DEVICES:
        raise ConfigError(
            f"the backend mlx knows no device {wanted!r}",
            where="--device",
            fix="known: " + ", ".join(DEVICES) + "; --backend torch knows cuda and mps",
        )
    has_gpu = mx.is_available(mx.Device(mx.gpu))
    if wanted == "gpu" and not has_gpu:
        raise ConfigError(
            "this machine (or this build of mlx) has no gpu", where="--device", fix="use --device auto"
        )
    return mx.Device(mx.gpu if has_gpu and wanted != "cpu" else mx.cpu)


def choose_precision(wanted: str, device: mx.Device) -> tuple[mx.Dtype, str]:
    """The dtype of activations and matrix products in training, and the reason. Weights stay float32.

    `auto` times bf16 against fp32 products on the device for about a second.
    """
    if wanted != "auto":
        return {"bf16": mx.bfloat16, "fp32": mx.float32}[wanted], "as configured"
    pays, reason = bf16_pays(
        _products_per_second(mx.float32, device), _products_per_second(mx.bfloat16, device)
    )
    return (mx.bfloat16 if pays else mx.float32), reason


def compiles(wanted: bool | str, device: mx.Device) -> bool:
    """Is the step compiled? On a GPU unless forbidden; on a CPU, where MLX builds C++ for it, only when asked.

    Raises ConfigError when it is asked for on a CPU and there is no compiler.
    """
    on_cpu = device.type == mx.cpu
    if wanted is True and on_cpu and not has_compiler():
        raise ConfigError(
            "mx.compile on a CPU needs a C++ compiler on the PATH",
            where="train.compile",
            fix="install g++ or clang++, or leave train.compile=false",
        )
    return not on_cpu if wanted == "auto" else bool(wanted)


def hardware(device: mx.Device) -> str:
    """`Apple M3 Max, 64 GB, gpu`, or the processor: what a figure was measured on, as far as it says so."""
    if device.type == mx.cpu:
        return processor()
    facts = mx.device_info(device)
    memory = facts.get("memory_size")
    size = f", {int(memory) >> 30} GB" if memory else ""
    return f"{facts.get('device_name', 'unknown')}{size}, gpu"


def _products_per_second(dtype: mx.Dtype, device: mx.Device) -> float:
    with mx.stream(device):
        a, b = mx.ones((2048, 256), dtype=dtype), mx.ones((256, 512), dtype=dtype)
        return per_second(lambda: mx.eval(a @ b), PROBE_SECONDS)
