"""bytegolf score: bits per byte of held-out text, from the packed file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bytegolf.cli import configs, datasets
from bytegolf.cli.backends import BACKEND, DEVICE, choose
from bytegolf.cli.keeping import keep_beside
from bytegolf.cli.output import CACHE, JSON, Output
from bytegolf.cli.world import JOIN_SECONDS, first_on_rank_0, join

if TYPE_CHECKING:
    from bytegolf.config.schema import Score as Settings
    from bytegolf.data.dataset import Dataset
    from bytegolf.model.backend import Backend
    from bytegolf.score.bpb import Score
    from bytegolf.score.held_out import HeldOut
    from bytegolf.score.packed import Packed

_DICTIONARIES = 8  # bytes of training text that a dictionary is chosen from, for each of its own
_MOST_DECODED = 1 << 28  # beyond that dictionaries choose from the beginning of the training text

HELP = """Score a packed model on held-out text.

The score is bits per byte of the raw text, lower is better.

The model is the one read back from the file. Each token is predicted once, with a sliding window of `--context`
tokens that moves by `--stride`; a smaller stride gives every token more context and costs more time. With
`--adapt` the model learns from text that has its score, never before; docs/scoring.md says what each way is worth.
When the file lies in its run directory, the unpacked weights are scored too, so that the cost of packing shows,
and the score is kept there, under results/. Beside it stand general compressors on the same bytes; those that
learn from a dictionary get as many bytes of training text as the model has. Several processes share the work when
torchrun starts them (docs/scale.md).

Example: `bytegolf score runs/pocket/model.golf`

Example: `bytegolf score model.golf --data data/book --stride 64 --json`

Example: `bytegolf score model.golf --adapt lora --context 8192`
"""


def command(
    artifact: Path = typer.Argument(help="A .golf file."),
    data: str = typer.Option(datasets.DEFAULT_CORPUS, help="A dataset folder or an embedded corpus."),
    context: int | None = configs.CONTEXT,
    stride: int | None = configs.STRIDE,
    documents: str | None = configs.DOCUMENTS,
    adapt: str | None = configs.ADAPT,
    override: list[str] = configs.SCORE_OVERRIDE,
    baselines: bool = typer.Option(True, help="Score general compressors on the same bytes."),
    unpacked: bool = typer.Option(True, help="Score the weights of the run too, where they are at hand."),
    backend: str = BACKEND,
    device: str = DEVICE,
    join_seconds: float = JOIN_SECONDS,
    cache: Path | None = CACHE,
    as_json: bool = JSON,
) -> dict[str, Any]:
    from bytegolf.score.held_out import HeldOut
    from bytegolf.score.packed import load_packed

    output = Output(as_json)
    place = choose(output, backend, device)
    with join(place, join_seconds) as world:
        packed = load_packed(artifact, place.device, world, backend=place.backend)
        settings = configs.score_settings(packed.config, context, stride, documents, adapt, override)
        vocab = packed.config.model.vocab_size
        dataset = first_on_rank_0(world, lambda: datasets.find_or_build(output, data, vocab, cache))
        check_same_tokenizer(packed, dataset, artifact)
        text = HeldOut.of(dataset)
        if text.note:
            output.tell(text.note)
        result = _score(output, "scoring the packed model", packed.backend, text, settings)
        before = _score_unpacked(output, artifact, packed, text, settings) if unpacked else None
        compressed = {}
        if baselines and world.rank == 0:
            compressed = _run_baselines(output, text, dataset, packed.nbytes)
        world.wait()
    _show(output, packed, result, before, compressed)
    summary = {
        "artifact": str(artifact),
        "artifact_bytes": packed.nbytes,
        "artifact_sha256": packed.sha256,
        **result.to_json(),
        "unpacked_bpb": before.bpb if before else None,
        "baselines": compressed,
    }
    if world.rank == 0:
        _keep(output, artifact, summary, result)
    output.finish(summary)
    return summary


def _keep(output: Output, artifact: Path, summary: dict[str, Any], result: Score) -> None:
    from bytegolf.train.results import keep_scoring, run_of
    from bytegolf.train.run_ledger import noted

    arrays = {} if result.breakdown is None else vars(result.breakdown)
    keep_beside(artifact, output, lambda run: keep_scoring(run, summary, arrays))
    if (run := run_of(artifact)) is not None:
        facts = {key: summary[key] for key in ("bpb", "bytes", "text_sha256", "artifact_sha256", "score")}
        noted(run, output.tell, "scored", **facts)


def check_same_tokenizer(packed: Packed, dataset: Dataset, artifact: Path) -> None:
    """Raises DataError when the tokens of a dataset are not those of a packed model."""
    from bytegolf.errors import DataError

    if packed.tokenizer.sha256 != dataset.tokenizer.sha256:
        raise DataError(
            "the dataset must be tokenized with the tokenizer inside the artifact",
            got=f"{dataset.tokenizer.sha256[:12]} in the dataset, {packed.tokenizer.sha256[:12]} in {artifact}",
            where=dataset.folder,
            fix="pass the --data that the model was trained on",
        )


def _score(output: Output, title: str, backend: Backend, text: HeldOut, settings: Settings) -> Score:
    from bytegolf.score.bpb import score

    with output.progress(title) as report:
        return score(backend, text, settings, report)


def _score_unpacked(
    output: Output, artifact: Path, packed: Packed, text: HeldOut, settings: Settings
) -> Score | None:
    """The score of the run's own weights, when the artifact lies in the directory of the run it came from."""
    from bytegolf.errors import RunError
    from bytegolf.train.run_dir import SUMMARY, open_run

    if not (artifact.parent / SUMMARY).is_file():
        return None
    run = open_run(artifact.parent)
    if run.config.model != packed.config.model:
        output.tell("the run beside the artifact holds another model; its weights are not scored")
        return None
    try:
        weights = run.weights()
    except RunError as error:
        output.tell(f"the weights before packing are not scored: {error.rule} (in {error.where})")
        return None
    packed.backend.load(weights)
    before = _score(output, "scoring the weights before packing", packed.backend, text, settings)
    packed.backend.load(packed.artifact.weights())
    return before


def _run_baselines(output: Output, text: HeldOut, dataset: Dataset, budget: int) -> dict[str, dict[str, Any]]:
    from bytegolf.score.baselines import run_baselines

    output.tell("compressing the same bytes with general compressors")
    split = dataset.manifest.splits.train
    if split.sha256 is None or split.bytes > _MOST_DECODED:
        training = dataset.beginning("train", _DICTIONARIES * budget)
        output.tell(f"dictionaries choose from the first {len(training):,} bytes of the training text")
    else:
        training = dataset.text("train")
    results = run_baselines(text.raw or b"", training, budget)
    return {name: result.to_json() for name, result in results.items()}


def _show(
    output: Output,
    packed: Packed,
    result: Score,
    before: Score | None,
    compressed: dict[str, dict[str, Any]],
) -> None:
    rows = [["packed model", f"{result.bpb:.4f}", f"{packed.nbytes:,}"]]
    if before is not None:
        rows.append(["before packing (float32)", f"{before.bpb:.4f}", ""])
        rows.append(["cost of packing", f"{result.bpb - before.bpb:+.4f}", ""])
    output.table(["", "bits per byte", "model bytes"], rows)
    output.show()
    for name, row in compressed.items():
        if "skipped" in row:
            output.tell(f"{name}: {row['skipped']}")
    figures = sorted((row["bpb"], name) for name, row in compressed.items() if "bpb" in row)
    if figures:
        output.table(
            ["the same bytes by", "bits per byte", "packed model"],
            [[name, f"{bpb:.4f}", f"{100 * (result.bpb / bpb - 1):+.1f} %"] for bpb, name in figures],
        )
        output.show()
    output.show(
        f"{result.targets:,} targets, {result.bytes:,} bytes, {result.documents:,} documents; "
        f"{configs.described(result.settings)}; {result.seconds:.1f} s on {packed.backend.device}"
    )
    output.show(f"text sha256 {result.text_sha256[:16]}  artifact sha256 {packed.sha256[:16]}")
