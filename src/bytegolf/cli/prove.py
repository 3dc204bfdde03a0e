"""bytegolf prove: a score with the file that decodes to the text."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bytegolf.cli import configs, datasets, streams
from bytegolf.cli.backends import BACKEND, DEVICE, Place, choose
from bytegolf.cli.keeping import keep_beside
from bytegolf.cli.output import CACHE, JSON, Output

if TYPE_CHECKING:
    from bytegolf.verify.proof import Claim

HELP = """Prove a score: compress the held-out text with the model, and decode it in another process.

A bits-per-byte figure says how short the text becomes. Here it becomes that short: the text is compressed by
the packed model in exact arithmetic, a new process that gets the model and the compressed file alone decodes
it with other settings of threads and lanes, and the sha256 of what comes out must be that of the text.
Printed are the float score, what the same model costs in exact arithmetic, the size of the compressed file,
and that of file and model together, all in bits per byte. The proof holds every hash; with `--check` somebody
else repeats it on another machine and must get the same compressed file, byte for byte.

The exit code is 0 when the text came back (and, with --check, everything is as it was), else 1.

Example: `bytegolf prove model.golf -o proof.json --keep text.golfz`

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
    keep: Path | None = typer.Option(
        None, "--keep", help="Where the compressed file goes; else it is deleted."
    ),
    check: Path | None = typer.Option(None, "--check", help="A proof to repeat."),
    block: int | None = typer.Option(None, min=1, help="Bytes of text in a block.  [default: 131072]"),
    lanes: int = streams.LANES,
    threads: int | None = streams.THREADS,
    context: int | None = configs.CONTEXT,
    stride: int | None = configs.STRIDE,
    backend: str = BACKEND,
    device: str = DEVICE,
    cache: Path | None = CACHE,
    as_json: bool = JSON,
) -> dict[str, Any]:
    from bytegolf.files import write_atomically
    from bytegolf.train.results import keep as keep_result

    output = Output(as_json)
    earlier = _read_proof(check) if check is not None else None
    reading = earlier["reading"] if earlier else {"context": context, "stride": stride, "block": block}
    place = choose(output, backend, device)
    claim = _claim(output, model, text, data, reading, (place, cache))
    if earlier is not None:
        _check_same_subject(earlier, claim, check)
    workers = threads or streams.usable_cores()
    with tempfile.TemporaryDirectory(prefix="bytegolf-proof-") as folder:
        proof = _prove(output, claim, keep or Path(folder) / "text.golfz", lanes, workers)
    apart = _differences(earlier, proof) if earlier else []
    proof["verdict"] = "pass" if proof["proven"] and not apart else "fail"
    _show(output, proof)
    _conclude(output, proof, apart, check)
    if out is not None:
        write_atomically(out, json.dumps(proof, indent=1).encode() + b"\n")
        output.show(f"proof: {out}")
    keep_beside(model, output, lambda run: keep_result(run, "proof", proof))
    output.finish(proof)
    return proof


def _read_proof(path: Path) -> dict[str, Any]:
    from bytegolf.errors import DataError
    from bytegolf.verify.proof import check_form

    try:
        return check_form(json.loads(path.read_bytes()), path)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError("a proof is a readable JSON file", got=error, where=path) from error


def _claim(
    output: Output,
    model: Path,
    text: Path | None,
    data: str,
    reading: dict[str, Any],
    finding: tuple[Place, Path | None],
) -> Claim:
    from bytegolf.artifact.format import load_bytes
    from bytegolf.cli.score import check_same_tokenizer
    from bytegolf.coding.container import DEFAULT_BLOCK
    from bytegolf.errors import DataError
    from bytegolf.score.held_out import HeldOut, raw_documents
    from bytegolf.score.packed import load_packed
    from bytegolf.verify.proof import Claim

    place, cache = finding
    packed = load_packed(model, place.device, backend=place.backend)
    settings = configs.score_settings(packed.config, reading["context"], reading["stride"])
    if text is None:
        dataset = datasets.find_or_build(output, data, packed.config.model.vocab_size, cache)
        check_same_tokenizer(packed, dataset, model)
        documents = raw_documents(HeldOut.of(dataset))
    else:
        try:
            documents = [text.read_bytes()]
        except OSError as error:
            raise DataError("--text must be a readable file", got=error.strerror, where=text) from error
        if not documents[0]:
            raise DataError("there is nothing to prove about an empty text", where=text)
    if settings.adaptation.kind != "none":
        output.tell(
            f"{model} is scored with test-time training, which the coder goes without: its bits are more"
        )
    return Claim(
        packed,
        load_bytes(model),
        documents,
        settings,
        settings.context,
        settings.stride,
        reading["block"] or DEFAULT_BLOCK,
    )


def _check_same_subject(earlier: dict[str, Any], claim: Claim, where: object) -> None:
    from bytegolf.errors import DataError

    digest = hashlib.sha256(b"".join(claim.documents)).hexdigest()
    for what, mine in (("model", claim.packed.sha256), ("text", digest)):
        if earlier[what]["sha256"] != mine:
            raise DataError(
                f"the proof is about another {what}",
                got=f"sha256 {mine[:16]}, the proof's is {str(earlier[what]['sha256'])[:16]}",
                where=where,
                fix="give the same .golf file and the same --text or --data",
            )


def _prove(output: Output, claim: Claim, coded: Path, lanes: int, workers: int) -> dict[str, Any]:
    from bytegolf.coding.stream import Work
    from bytegolf.verify import proof

    # The decoder differs from the encoder in both.
    encoder, decoder = Work(lanes, workers), Work(lanes + 3, workers + 1)
    with output.progress("scoring") as show:
        scores = proof.float_scores(claim, lambda title: lambda share: show(share, title))
    size = sum(map(len, claim.documents))
    with streams.bar(output, "compressing", size) as progress:
        summary, encoding = proof.encode(claim, coded, encoder, progress)
    with output.progress("decompressing in another process"):
        decoded = proof.decode_elsewhere(claim.golf, coded, decoder)
    return proof.assemble(claim, scores, (coded, summary, encoding, encoder), (decoded, decoder))


def _differences(earlier: dict[str, Any], now: dict[str, Any]) -> list[str]:
    from bytegolf.verify.proof import differences

    return differences(earlier, now)


def _show(output: Output, proof: dict[str, Any]) -> None:
    bpb, coded, model = proof["bpb"], proof["coded"]["bytes"], proof["model"]["bytes"]

    def than(name: str, other: str) -> str:
        return f"{100 * (bpb[name] / bpb[other] - 1):+.3f} %"

    output.table(
        ["", "bits per byte", "against", "bytes"],
        [
            ["float, as `bytegolf score` has it", f"{bpb['float']:.5f}", "", ""],
            [
                "float, in the coder's blocks",
                f"{bpb['float_in_blocks']:.5f}",
                than("float_in_blocks", "float"),
                "",
            ],
            ["exact, in the same blocks", f"{bpb['exact']:.5f}", than("exact", "float_in_blocks"), ""],
            ["the compressed file", f"{bpb['coded']:.5f}", than("coded", "exact"), f"{coded:,}"],
            ["compressed file + model", f"{bpb['coded_and_model']:.5f}", "", f"{coded + model:,}"],
        ],
    )
    output.show()
    for done, how in (("encoded", ""), ("decoded", ", in another process")):
        pace = proof[done]
        output.show(
            f"{done} {proof['text']['bytes']:,} bytes in {pace['seconds']:.1f} s, {pace['bytes_per_second']:,} "
            f"a second ({pace['threads']} processes, up to {pace['lanes']} lanes each){how}"
        )
    for what, digest in (
        ("text", proof["text"]["sha256"]),
        ("decoded text", proof["decoded"]["sha256"] or "none came back"),
        ("model", proof["model"]["sha256"]),
        ("compressed file", proof["coded"]["sha256"]),
    ):
        output.show(f"sha256 of the {what:<16} {digest}")


def _conclude(output: Output, proof: dict[str, Any], apart: list[str], check: Path | None) -> None:
    output.show()
    if not proof["proven"]:
        output.show(f"NOT PROVEN: {proof['decoded']['error'] or 'the text that came back is another one'}")
    elif apart:
        output.show(f"NOT REPEATED: the text came back, but {check} has other figures")
    else:
        as_before = f", and everything is as {check} says" if check is not None else ""
        output.show(f"proven: the compressed file is the text{as_before}")
    for line in apart:
        output.show(f"  {line}")
