"""Devices and precisions: chosen for a reason that is told, and never one that is not there."""

from __future__ import annotations

import pytest
import torch

from bytegolf.errors import ConfigError, WorldError
from bytegolf.model import machine
from bytegolf.on_torch import device, trainer
from bytegolf.on_torch.backend import TorchBackend
from bytegolf.on_torch.device import DEVICES, choose_device, choose_precision
from bytegolf.on_torch.dist import local_device
from model_samples import generic_weights, system

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["tpu", "", "CPU", "cuda:7"])
def test_an_unknown_device_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown device") as caught:
        choose_device(name)
    assert all(known in str(caught.value) for known in DEVICES)


@pytest.mark.parametrize(("name", "module"), [("cuda", torch.cuda), ("mps", torch.backends.mps)])
def test_an_absent_device_is_refused(name: str, module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=f"no {name} device"):
        choose_device(name)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_fastest_that_is_there(
    cuda: bool, mps: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto").type == chosen
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize(
    ("slow", "fast", "dtype"),
    [(100.0, 300.0, torch.bfloat16), (100.0, 100.0, torch.float32), (100.0, 1.0, torch.float32)],
)
def test_the_cpu_takes_bf16_only_when_a_probe_found_it_faster(
    slow: float, fast: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = {torch.float32: slow, torch.bfloat16: fast}
    monkeypatch.setattr(device, "_products_per_second", speeds.__getitem__)
    chosen, reason = choose_precision("auto", CPU)
    assert chosen == dtype
    assert f"{fast / slow:.1f}x" in reason


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_takes_bf16_when_it_is_native_and_float32_otherwise(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native)
    assert choose_precision("auto", torch.device("cuda"))[0] == (torch.bfloat16 if native else torch.float32)
    assert choose_precision("auto", torch.device("mps"))[0] == torch.float32


@pytest.mark.parametrize(("wanted", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_a_configured_precision_is_taken_without_a_probe(
    wanted: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_products_per_second", None)
    for name in ("cpu", "cuda", "mps"):
        assert choose_precision(wanted, torch.device(name)) == (dtype, "as configured")


def test_the_probe_counts_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "PROBE_SECONDS", 0.001)
    assert device._products_per_second(torch.float32) > 0


def test_compiling_without_a_compiler_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"C\+\+ compiler") as caught:
        trainer.require_compiler("cpu")
    assert caught.value.where == "train.compile"
    trainer.require_compiler("cuda")
    monkeypatch.setattr(machine.shutil, "which", lambda name: "/usr/bin/c++" if name == "c++" else None)
    trainer.require_compiler("cpu")


def test_a_backend_gives_back_the_weights_it_was_given_and_refuses_others() -> None:
    model = system(layers=1, dim=16, hidden=8)
    made = TorchBackend(model, device="cpu")
    weights = {name: array.astype("float32") for name, array in generic_weights(model).items()}
    made.load(weights)
    assert all((made.weights()[name] == array).all() for name, array in weights.items())
    without = {name: array for name, array in weights.items() if name != "embed.weight"}
    for wrong in (
        without,
        {**weights, "extra": weights["embed.weight"]},
        {**without, "embed.weight": weights["embed.weight"].T},
    ):
        with pytest.raises(ConfigError, match=r"embed\.weight|extra"):
            made.load(wrong)
    copy = made.weights()
    copy["embed.weight"][:] = 0
    assert made.weights()["embed.weight"].any()


def test_each_process_gets_a_gpu_of_its_own_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert local_device("auto", 1) == torch.device("cuda", 1)
    assert local_device("cpu", 5) == CPU
    with pytest.raises(WorldError, match=r"local rank 2 on a machine with 2 GPUs[\s\S]*start 2 processes"):
        local_device("cuda", 2)


def test_what_a_gpu_can_do_is_what_its_maker_says_and_else_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.peak_flops(CPU, "bf16") is None
    for name, peak in (
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("Something Else", None),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda place, name=name: name)
        assert device.peak_flops(torch.device("cuda"), "bf16") == peak
    assert device.peak_bytes(CPU) > 1 << 20
