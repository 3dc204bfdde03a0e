"""The same integers under every kernel, instruction set, number of threads and executor that this machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from numpy._core import _multiarray_umath as umath

import exact_hash
from bytegolf.on_torch.exact_ops import TorchOps

TESTS = Path(exact_hash.__file__).parent

# What the models of exact_hash.py say. When it changes, files that were compressed before no longer decompress:
# raise VERSION in on_numpy/exact/engine.py.
GOLDEN = "1c345465bf414ca70e246e9044bdea53c708e3f9fbe7ec06308e55e16f3ac476"

# numpy's loops for later instruction sets, the plainest first. Where there are none, nothing is switched off.
LOOPS = [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name)]


def blas(core: str, threads: int) -> dict[str, str]:
    """Kernels of OpenBLAS; a core that it does not know means the best one, and another BLAS knows none."""
    return {"OPENBLAS_CORETYPE": core, "OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}


def without(loops: list[str]) -> dict[str, str]:
    return {"NPY_DISABLE_CPU_FEATURES": " ".join(loops)}


SETTINGS: dict[str, tuple[list[str], dict[str, str]]] = {
    "BLAS for Haswell": (["numpy"], blas("Haswell", 1)),
    "BLAS for SkylakeX, 2 threads": (["numpy"], blas("SkylakeX", 2)),
    "BLAS for Sandybridge, 2 threads, older loops": (["numpy"], blas("Sandybridge", 2) | without(LOOPS[-1:])),
    "BLAS for Prescott, plainest loops": (["numpy"], blas("Prescott", 1) | without(LOOPS)),
    "torch": (["cpu", "1"], {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}),
    "torch, 2 threads": (["cpu", "2"], {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "2"}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    exact_hash.write_models(folder)
    return folder


def test_the_arithmetic_is_the_one_that_compressed_files_were_made_with(folder: Path) -> None:
    assert exact_hash.answer(folder) == GOLDEN


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_library_setting_changes_a_bit(setting: str, folder: Path) -> None:
    arguments, variables = SETTINGS[setting]
    done = subprocess.run(
        [sys.executable, str(TESTS / "exact_hash.py"), str(folder), *arguments],
        env=os.environ | variables | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == GOLDEN, done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: not proven on a GPU")
def test_a_gpu_gives_the_same(folder: Path) -> None:
    assert exact_hash.answer(folder, TorchOps("cuda")) == GOLDEN
