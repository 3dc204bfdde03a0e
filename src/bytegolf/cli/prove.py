"""bytegolf prove: a score with the file that decodes to the text."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bytegolf.cli import configs, datasets
from bytegolf.cli.output import CACHE, DEVICE, JSON, Output

if TYPE_CHECKING:
    from bytegolf.coding.stream import Work
    from bytegolf.verify.proof import Claim

HELP = """Prove a score: compress the held-out text with the model, and decode it in another process.

A bits-per-byte figure says how short the text becomes. Here it becomes that short: the text is compressed by the
packed model in exact arithmetic, a new process that gets the model and the compressed file alone decodes it with
other settings of threads and lanes, and the sha256 of what comes out must be that of the text. Printed are the float
score, what the same model costs in exact arithmetic, the size of the compressed file, and that of file and model
together, all in bits per byte. The proof holds every hash; with `--check` somebody else repeats it on another machine
and must get the same compressed file, byte for byte.

The exit code is 0 when the text came back (and, with --check, everything is as it was), else 1.

Example: `bytegolf prove runs/pocket/model.golf -o proof.json --keep text.golfz`

Example: `bytegolf prove model.golf --text book.txt`

Example: `bytegolf prove model.golf --check proof.json`
"""


def command(
    model: Path = typer.Argument(help="A .golf file."),
    text: Path | None = typer.Option(None, "--text", help="A file: its bytes are the text, one document."),
    data: str = typer.Option(
        datasets.DEFAULT_CORPUS, help="A dataset folder or an embedded corpus: its held-out text."
    ),
    out: Path | None = typer.Option(None, "-o", "--out", help="Where the proof goes, as JSON."),
    keep: Path | None = typer.Option(None, "--keep", help="Where the compressed file goes; else it is deleted."),
    check: Path | None = typer.Option(None, "--check", help="A proof to repeat."),
    block: int | None = typer.Option(None, min=1, help="Bytes of text in a block.  [default: 131072]"),
    lanes: int | None = typer.Option(None, min=1, help="Blocks side by side in one process, encoding.  [default: 8]"),
    threads: int | None = typer.Option(None, min=1, help="Processes, decoding.  [default: the cores here]"),
    context: int | None = configs.CONTEXT,
    stride: int | None = configs.STRIDE,
    device: str = DEVICE,
    cache: Path | None = CACHE,
    as_json: bool = JSON,
) -> dict[str, Any]:
    from bytegolf.coding.stream import Work
    from bytegolf.files import write_atomically

    output = Output(as_json)
    earlier = _read_proof(check) if check is not None else None
    reading = dict(earlier["reading"]) if earlier else {"context": context, "stride": stride, "block": block}
    claim = _claim(output, model, text, data, reading, device, cache)
    if earlier is not None:
        _check_same_subject(earlier, claim, check)
    encoder = Work(lanes=lanes or 8, threads=1)
    cores = threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Encoder and decoder must differ in both.
    decoder = Work(lanes=max(1, encoder.lanes - 3) if encoder.lanes > 1 else 2, threads=max(2, cores))
    with tempfile.TemporaryDirectory(prefix="bytegolf-proof-") as folder:
        coded = keep or Path(folder) / "text.golfz"
        proof = _prove(output, claim, coded, encoder, decoder)
    apart = [] if earlier is None else _differences(earlier, proof)
    proof["verdict"] = "pass" if proof["proven"] and not apart else "fail"
    _show(output, proof, apart, repeated=earlier is not None)
    if out is not None:
        write_atomically(out, json.dumps(proof, indent=1).encode() + b"\n")
        output.show(f"proof: {out}")
    output.finish(proof)
    return proof
