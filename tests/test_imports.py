"""Starting is cheap: neither the package nor its help loads a tensor library."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "mlx",
    "tokenizers",
    "tiktoken",
    "constriction",
    "safetensors",
    "huggingface_hub",
    "sentencepiece",
)
REPORT = f"import sys; print([name for name in {HEAVY!r} if name in sys.modules])"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "program",
    [
        "import bytegolf",
        "from bytegolf.config.load import load_config; load_config('pocket')",
        "from bytegolf.cli.app import main; assert main(['--help']) == 0; print()",
        "from bytegolf.cli.app import main; assert main(['train', '--help']) == 0; print()",
    ],
)
def test_the_package_a_config_and_the_help_load_no_heavy_library(program: str) -> None:
    done = run("-c", f"{program}\n{REPORT}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_check_above_sees_a_heavy_library() -> None:
    assert run("-c", f"import bytegolf.cli.app, constriction\n{REPORT}").stdout == "['constriction']\n"


def test_the_package_runs_as_a_module() -> None:
    done = run("-m", "bytegolf", "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage: bytegolf" in done.stdout
    for command in ("train", "pack", "score", "generate", "data", "demo"):
        assert command in done.stdout
