"""Settings that every test shares."""

from __future__ import annotations

import signal

import torch
from hypothesis import HealthCheck, settings
from threadpoolctl import threadpool_limits

# The same examples on every run and no deadlines: a test says true or false, never fast or slow.
settings.register_profile(
    "laws", derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("laws")

# Started in the background of a script, Python finds Ctrl-C ignored, and so would every test of it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The tensors here are tiny, and pytest-xdist has a process on every core already: with threads of their own the
# matrix libraries would take several times as long.
torch.set_num_threads(1)
threadpool_limits(1)
