"""What every benchmark shares: a clock, the line that names the machine, a table."""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table


def seconds(work: Callable[[], object], repeats: int = 7) -> float:
    """Median seconds of one call, after a call that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def machine() -> str:
    """CPU model, threads, Python and torch: the conditions without which a figure says nothing."""
    cores = f"{torch.get_num_threads()} threads"
    return f"{_cpu()}, {cores}, Python {platform.python_version()}, torch {torch.__version__}"


def show(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{title}[/bold]\n{machine()}")
    table = Table(box=None, pad_edge=False)
    for i, header in enumerate(headers):
        table.add_column(header, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print()


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()
