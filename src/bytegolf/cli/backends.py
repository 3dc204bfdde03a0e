"""Which library computes: the option --backend, and what `auto` chooses."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib.util import find_spec

import typer

from bytegolf.cli.output import Output
from bytegolf.errors import ConfigError, did_you_mean
from bytegolf.launch import launched

AUTO = "auto"
BACKENDS = (AUTO, "torch", "mlx")
BACKEND = typer.Option(
    AUTO,
    "--backend",
    help="auto, torch or mlx; auto is mlx on Apple Silicon where it is installed, else torch.",
)
DEVICE = typer.Option("auto", "--device", help="auto or cpu; with torch also cuda and mps, with mlx gpu.")
# Devices that only one of the two knows.
_OWN_DEVICES = {"cuda": "torch", "mps": "torch", "gpu": "mlx"}


@dataclass(frozen=True)
class Place:
    """A resolved choice: the name of a backend in the registry, and the device as the user gave it."""

    backend: str
    device: str


def choose(output: Output, backend: str, device: str, begun_on: str | None = None) -> Place:
    """What the options mean on this machine; says in one line what `auto` chose, where there was a choice.

    begun_on: the backend of the run that goes on. Raises ConfigError for an unknown backend, and for one whose
    library is missing.
    """
    if backend not in BACKENDS:
        raise ConfigError(
            f"unknown backend {backend!r}", where="--backend", fix=did_you_mean(backend, BACKENDS)
        )
    chosen, reason = (backend, "") if backend != AUTO else _automatic(device, begun_on)
    if reason:
        output.tell(f"backend {chosen}: {reason}")
    if chosen == "mlx":
        from bytegolf import registry

        registry.lookup("backend", "mlx")  # a missing library is told before anything else is done
    if begun_on not in (None, chosen):
        output.tell(
            f"a run that was begun on {begun_on} goes on on {chosen}: from the same state, with other rounding"
        )
    return Place(chosen, device)


def _automatic(device: str, begun_on: str | None) -> tuple[str, str]:
    """A backend and why; without a reason where nobody would have expected another one."""
    apple, installed = _apple_silicon(), find_spec("mlx") is not None
    if begun_on is not None:
        return begun_on, "the run was begun with it" if begun_on != "torch" or apple else ""
    if device in _OWN_DEVICES:
        return _OWN_DEVICES[device], f"the device {device} is one of its own" if apple else ""
    if not apple:
        return "torch", "mlx is the default on Apple Silicon alone" if installed else ""
    if not installed:
        return "torch", 'mlx is not installed; pip install "bytegolf[mlx]"'
    if launched().size > 1:
        return "torch", "mlx runs in one process"
    return "mlx", "Apple Silicon, and mlx is installed"


def _apple_silicon() -> bool:
    return sys.platform == "darwin" and platform.machine() == "arm64"
