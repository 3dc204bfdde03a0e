"""Which backend computes: what `auto` chooses and says, and what happens where mlx is missing. Needs no mlx."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from bytegolf.cli import backends
from bytegolf.cli.backends import Place, choose
from bytegolf.cli.output import Output
from bytegolf.errors import ConfigError
from bytegolf.launch import Launch

MISSING = 'mlx is not installed: pip install "bytegolf[mlx]"'

# platform, machine, mlx installed, processes, --device -> backend, a word of the line that says why
CHOICES = [
    ("linux", "x86_64", True, 1, "auto", "torch", "Apple Silicon alone"),
    ("linux", "x86_64", False, 1, "auto", "torch", ""),
    ("linux", "aarch64", False, 1, "cuda", "torch", ""),
    ("darwin", "arm64", True, 1, "auto", "mlx", "mlx is installed"),
    ("darwin", "arm64", True, 1, "cpu", "mlx", "mlx is installed"),
    ("darwin", "arm64", True, 1, "mps", "torch", "one of its own"),
    ("darwin", "arm64", True, 1, "gpu", "mlx", "one of its own"),
    ("darwin", "arm64", False, 1, "auto", "torch", "not installed"),
    ("darwin", "arm64", True, 4, "auto", "torch", "one process"),
    ("darwin", "x86_64", True, 1, "auto", "torch", "Apple Silicon alone"),
]


@pytest.mark.parametrize(("system", "machine", "installed", "size", "wanted", "chosen", "said"), CHOICES)
def test_auto_is_mlx_on_apple_silicon_and_says_why(
    system: str,
    machine: str,
    installed: bool,
    size: int,
    wanted: str,
    chosen: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(backends, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(backends, "launched", lambda: Launch(size=size))
    if chosen == "mlx":
        pytest.importorskip("mlx.core", reason=MISSING)
    assert choose(Output(False), "auto", wanted) == Place(chosen, wanted)
    told = capsys.readouterr().err
    assert said in told if said else not told
    assert told.count("\n") == bool(said)


def test_what_the_user_says_is_taken_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert choose(Output(False), "torch", "auto") == Place("torch", "auto")
    assert not capsys.readouterr().err
    with pytest.raises(ConfigError, match="unknown backend 'mxl'") as caught:
        choose(Output(False), "mxl", "auto")
    assert "mlx" in str(caught.value)


def test_a_run_goes_on_where_it_began_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    assert choose(Output(False), "auto", "auto", "torch").backend == "torch"
    assert choose(Output(False), "torch", "auto", "mlx").backend == "torch"
    assert "begun on mlx goes on on torch" in capsys.readouterr().err
    pytest.importorskip("mlx.core", reason=MISSING)
    assert choose(Output(False), "auto", "auto", "mlx").backend == "mlx"
    assert "the run was begun with it" in capsys.readouterr().err


WITHOUT = """
import sys
sys.modules["mlx"] = None
from bytegolf.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


def test_without_mlx_the_backend_is_an_error_that_says_how_to_get_it() -> None:
    words = ("generate", "model.golf", "--backend", "mlx")
    done = subprocess.run([sys.executable, "-c", WITHOUT, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "the backend mlx needs the library mlx" in done.stderr
    assert 'pip install "bytegolf[mlx]"' in done.stderr
    assert "Traceback" not in done.stderr
