"""A score proven: the text comes back, in another process, from a file that has so many bits.

Four figures that stand for one another are measured on the same text, in bits per byte: the float score; the
same model read in the coder's blocks; the sum of the coder's whole-number frequencies; the file. A proof is a
JSON object with these and every hash that somebody else needs to repeat it.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from bytegolf import __version__
from bytegolf.coding.exact_coder import row_of
from bytegolf.coding.model_recipe import ModelRecipe
from bytegolf.coding.stream import Progress, Summary, Work, compress_documents, cut_documents
from bytegolf.config.schema import Score as Settings
from bytegolf.errors import DataError
from bytegolf.numeric.bpb import bits_per_byte
from bytegolf.score.bpb import Score, score
from bytegolf.score.held_out import HeldOut
from bytegolf.score.packed import Packed
from bytegolf.score.passes import Report, target_nats

VERSION = 1
_START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from bytegolf.cli.app import main; sys.exit(main())"
)
# What a proof must have in common with one that is repeated: these paths into it.
REPEATED = (
    ("model", "sha256"),
    ("text", "sha256"),
    ("reading",),
    ("arithmetic",),
    ("coded", "sha256"),
    ("coded", "bits"),
)


@dataclass(frozen=True)
class Claim:
    """What is to be proven. golf: the bytes of the model file; documents: the held-out text; settings: how the
    float score is computed; context, stride, block: how the coder reads it, in blocks of at most so many bytes.
    """

    packed: Packed
    golf: bytes
    documents: Sequence[bytes]
    settings: Settings
    context: int
    stride: int
    block: int

    @property
    def reading(self) -> dict[str, int]:
        return {"context": self.context, "stride": self.stride, "block": self.block}

    def held_out(self) -> HeldOut:
        """The text as `bytegolf score` takes it."""
        bos = np.array([self.packed.tokenizer.bos_id], np.uint16)
        rows = [np.concatenate((bos, self.packed.tokenizer.encode(document))) for document in self.documents]
        starts = list(accumulate(map(len, rows[:-1]), initial=0))
        return HeldOut.of_text(np.concatenate(rows), starts, b"".join(self.documents))


def float_scores(claim: Claim, show: Callable[[str], Report]) -> tuple[Score, float]:
    """The score as `bytegolf score` has it, and the bpb of the same weights in the coder's blocks."""
    text = claim.held_out()
    result = score(claim.packed.backend, text, claim.settings, show("scoring in float"))
    nats, blocks = [], list(cut_documents(claim.documents, claim.block))
    report = show("scoring the coder's blocks")
    for number, block in enumerate(blocks):
        row = row_of(claim.packed.tokenizer, block)
        nats.append(math.fsum(target_nats(claim.packed.backend, row, claim.context, claim.stride)))
        report((number + 1) / len(blocks))
    return result, bits_per_byte(math.fsum(nats), text.n_bytes)


def encode(claim: Claim, path: Path, work: Work, progress: Progress) -> tuple[Summary, float]:
    """Compress the documents into a file; what it came to, and the seconds."""
    begin = time.perf_counter()
    recipe = ModelRecipe(claim.golf, claim.context, claim.stride, claim.packed.sha256[:12])
    with open(path, "wb") as file:
        summary = compress_documents(
            claim.documents, file, recipe, block=claim.block, work=work, progress=progress
        )
    return summary, time.perf_counter() - begin


@dataclass(frozen=True)
class Decoded:
    """sha256 of what came back, None when nothing did and `error` says why; seconds from start to end."""

    sha256: str | None
    seconds: float
    error: str | None = None


def decode_elsewhere(golf: bytes, coded: Path, work: Work) -> Decoded:
    """`bytegolf decompress` in a process that gets two files, no environment and an empty folder."""
    with tempfile.TemporaryDirectory(prefix="bytegolf-proof-") as folder:
        model, text = Path(folder) / "model.golf", Path(folder) / "text"
        model.write_bytes(golf)
        options = ["--lanes", str(work.lanes), "--threads", str(work.threads)]
        words = ["decompress", str(model), str(coded.resolve()), "-o", str(text), *options]
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-c", _START, str(Path(__file__).parents[2]), *words],
            cwd=folder,
            env={"PATH": os.defpath, "TMPDIR": folder},
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        seconds = time.perf_counter() - begin
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            return Decoded(None, seconds, said or f"the process ended with code {done.returncode}")
        with text.open("rb") as file:
            return Decoded(hashlib.file_digest(file, "sha256").hexdigest(), seconds)


def assemble(
    claim: Claim,
    scores: tuple[Score, float],
    coded: tuple[Path, Summary, float, Work],
    decoded: tuple[Decoded, Work],
) -> dict[str, Any]:
    """The proof as plain JSON data. bits are rounded to thousandths: libms differ in the last digit of a log."""
    result, in_blocks = scores
    path, summary, encoding, encoder = coded
    back, decoder = decoded
    size, n = summary.file, result.bytes
    bits = summary.bits + 8 * summary.stored_bytes
    recipe = ModelRecipe(claim.golf, claim.context, claim.stride, "")
    return {
        "proof": VERSION,
        "bytegolf": __version__,
        "proven": back.sha256 == result.text_sha256,
        "model": {"sha256": claim.packed.sha256, "bytes": claim.packed.nbytes},
        "text": {"sha256": result.text_sha256, "bytes": n, "documents": result.documents},
        "score": claim.settings.model_dump(mode="json"),
        "reading": claim.reading,
        "arithmetic": recipe.build().identity.hex(),
        "coded": {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": size,
            "bits": round(bits, 3),
            "blocks": summary.blocks,
            "stored": summary.stored,
        },
        "bpb": {
            "float": result.bpb,
            "float_in_blocks": in_blocks,
            "exact": bits / n,
            "coded": 8 * size / n,
            "coded_and_model": 8 * (size + claim.packed.nbytes) / n,
        },
        "encoded": _pace(encoder, encoding, n),
        "decoded": {"sha256": back.sha256, "error": back.error, **_pace(decoder, back.seconds, n)},
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
    }


def differences(earlier: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Where a repeated proof differs from the earlier one, `key: then, now`; times and machines may."""
    found = []
    for path in REPEATED:
        a, b = _at(earlier, path), _at(now, path)
        if a != b:
            found.append(f"{'.'.join(path)}: {a} then, {b} now")
    return found


def check_form(proof: object, where: object) -> dict[str, Any]:
    """`proof`, when it is one. Raises DataError otherwise."""
    fine = isinstance(proof, dict) and proof.get("proof") == VERSION
    if not fine or any(_at(proof, path) is None for path in REPEATED):
        raise DataError(
            "a proof is what `bytegolf prove -o FILE` wrote",
            where=where,
            fix="give the file that came with it",
        )
    assert isinstance(proof, dict)
    reading = proof["reading"]
    if not isinstance(reading, dict) or any(
        type(reading.get(key)) is not int or reading[key] < 1 for key in ("context", "stride", "block")
    ):
        raise DataError("a proof names context, stride and block", got=reading, where=where)
    return proof


def _at(proof: Any, path: Sequence[str]) -> Any:
    for key in path:
        proof = proof.get(key) if isinstance(proof, dict) else None
    return proof


def _pace(work: Work, seconds: float, n: int) -> dict[str, Any]:
    return {
        "lanes": work.lanes,
        "threads": work.threads,
        "seconds": round(seconds, 2),
        "bytes_per_second": round(n / seconds),
    }
