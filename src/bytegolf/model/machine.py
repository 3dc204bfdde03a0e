"""What is known about the machine without any tensor library: its processor, its memory, whether bf16 pays."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

PROBE_SECONDS = 0.5
# bf16 halves memory traffic, but casts cost time too: below this gain of raw products it is not worth it.
WORTHWHILE = 1.3


def processor() -> str:
    """`AMD EPYC, 2 cores`: as much as the system says about it."""
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.M) if cpuinfo.is_file() else None
    name = named[1].strip() if named else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def peak_resident_bytes() -> int:
    """The most memory this process had in RAM."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def has_compiler() -> bool:
    """Is there a C++ compiler on the PATH, for a library that builds its kernels when it runs?"""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))


def per_second(work: Callable[[], object], seconds: float) -> float:
    """How often `work` is done in a second, after a first time that is not counted."""
    work()
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        work()
        count += 1
    return count / elapsed


def bf16_pays(slow: float, fast: float) -> tuple[bool, str]:
    """Products per second in fp32 and in bf16 -> is bf16 worth its casts, and the line that says why."""
    return fast > WORTHWHILE * slow, f"a probe ran bf16 products at {fast / slow:.1f}x the speed of fp32"
