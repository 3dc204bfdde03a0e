"""A dataset from text that does not fit in memory: MB/s of the whole and of each stage, peak memory, same files.

`python benchmarks/build.py --megabytes 1000` measures a gigabyte: minutes, and five times as much disk.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from bytegolf.data.build import build_dataset
from bytegolf.data.corpora import stdlib
from bytegolf.data.pool import cores
from bytegolf.data.source import open_source

ENDINGS = {"jsonl": ".jsonl", "file": ".txt", "folder": ""}
SAMPLE_SECONDS = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=100, help="size of the text that is made")
    parser.add_argument("--form", choices=list(ENDINGS), default="jsonl")
    parser.add_argument("--workers", type=int, nargs="+", default=[cores(), 1], help="one build for each")
    parser.add_argument("--folder", type=Path, help="where to work; the text that is made there stays")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        folder = arguments.folder or Path(scratch)
        source = made_text(folder, arguments.megabytes * 1_000_000, arguments.form)
        manifests = []
        for workers in arguments.workers:
            out = Path(scratch) / f"built-{workers}"
            manifests.append(measure(source, out, workers))
        if len(set(manifests)) > 1:
            raise SystemExit("the dataset depends on the number of workers")


def measure(source: Path, out: Path, workers: int) -> str:
    """Build, show how long each stage took, and give the manifest."""
    size = open_source(source).survey()[0] / 1e6
    began: dict[str, float] = {}

    def note(stage: str, done: int, total: int) -> None:
        began.setdefault(stage, time.perf_counter())

    processor = sum(os.times()[:4])
    with Memory() as memory:
        start = time.perf_counter()
        build_dataset(
            open_source(source),
            out,
            workers=workers,
            progress=note,
        )
        end = time.perf_counter()
    from common import show  # not above: worker processes import this file, and torch behind that one is slow

    marks = [*began.items(), ("", end)]
    rows = [["plan", f"{began['split'] - start:.1f}", ""]]
    for (stage, at), (_, until) in pairwise(marks):
        rows.append([stage, f"{until - at:.1f}", f"{size / (until - at):.1f}"])
    rows.append(["all", f"{end - start:.1f}", f"{size / (end - start):.1f}"])
    processor = sum(os.times()[:4]) - processor
    rows.append(["all, processor time", f"{processor:.1f}", f"{size / processor:.1f}"])
    title = f"{source.name}, {size:.0f} MB on disk, {workers} workers, peak memory {memory.peak / 1e6:.0f} MB"
    show(title, ["stage", "s", "MB/s"], rows)
    return (out / "manifest.json").read_text()


class Memory:
    """Peak of the memory of this process and its children, what they share counted once. Linux; 0 elsewhere."""

    def __init__(self) -> None:
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, sum(proportional_set(process) for process in family()))


def family() -> Iterator[Path]:
    """/proc folders of this process and its children."""
    own = Path("/proc/self")
    yield own
    for children in own.glob("task/*/children"):
        try:
            yield from (Path("/proc") / pid for pid in children.read_text().split())
        except OSError:  # a thread that ended
            continue


def proportional_set(process: Path) -> int:
    try:
        found = re.search(r"^Pss:\s+(\d+) kB", (process / "smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def made_text(folder: Path, size: int, form: str) -> Path:
    """Words of the standard library as often as they are there, in any order: no 50 bytes come twice."""
    path = folder / f"made-{size // 1_000_000}{ENDINGS[form]}"
    if path.exists():
        return path
    if form == "folder":
        for number, text in enumerate(made_documents(size, 20_000)):
            file = path / f"{number // 1000:03d}" / f"{number:06d}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return path
    with path.open("w") as out:
        for text in made_documents(size, 3_000):
            out.write(json.dumps({"text": text}) + "\n" if form == "jsonl" else text + "\n\n")
    return path


def made_documents(size: int, mean: int) -> Iterator[str]:
    sources = b"".join(document.data for document in stdlib().documents).decode(errors="ignore")
    words = re.findall(r"\s*\S+", sources)
    dice = random.Random(0)
    average = len(sources) / len(words)
    while size > 0:
        text = "".join(dice.choices(words, k=1 + int(dice.expovariate(average / mean))))
        size -= len(text)
        yield text


if __name__ == "__main__":
    main()
