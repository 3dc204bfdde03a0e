"""bytegolf verify: the referee."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bytegolf.cli import configs, datasets
from bytegolf.cli.backends import BACKEND, DEVICE, Place, choose
from bytegolf.cli.keeping import keep_beside
from bytegolf.cli.output import CACHE, JSON, Output

if TYPE_CHECKING:
    from bytegolf.config.schema import Score
    from bytegolf.data.dataset import Dataset
    from bytegolf.verify.check import Case, Finding

HELP = """Examine a score: run the battery on a packed model or on anybody's predictor.

Each check proves one thing: costs come from probabilities that sum to 1; nothing depends on the future, on the
target, on where the text ends; every target counts once and over the bytes of the raw text; training and held-out
text are apart; the same comes out in an empty room without network, where only the file can be read. A sample of
the text is run; `--full` runs all of it. docs/referee.md says what every check can find and what it cannot.

The exit code is 0 when no check failed and 1 when one did.

Example: `bytegolf verify runs/pocket/model.golf`

Example: `bytegolf verify --predictor submission.py:factory`
"""

CHECK = typer.Option([], help="Run these checks only, e.g. --check T1 --check T7.")
FILE = typer.Option([], help="A file that a predictor ships with; repeat it for more.")


def command(
    artifact: Path | None = typer.Argument(None, help="A .golf file."),
    predictor: str | None = typer.Option(
        None, help="Instead of a file: module:factory or path.py:factory, see docs/referee.md."
    ),
    data: str = typer.Option(datasets.DEFAULT_CORPUS, help="A dataset folder or an embedded corpus."),
    hidden: Path | None = typer.Option(None, help="A dataset whose held-out text nobody has seen, for T14."),
    full: bool = typer.Option(False, "--full", help="All of the text instead of a sample."),
    sample: int = typer.Option(8192, min=64, help="About how many symbols a run takes."),
    check: list[str] = CHECK,
    file: list[Path] = FILE,
    budget: int | None = typer.Option(None, min=1, help="Bytes it may have.  [default: pack.budget]"),
    seconds: float | None = typer.Option(
        None, min=0.0, help="Seconds that scoring all of the text may take."
    ),
    context: int | None = configs.CONTEXT,
    stride: int | None = configs.STRIDE,
    documents: str | None = configs.DOCUMENTS,
    adapt: str | None = configs.ADAPT,
    override: list[str] = configs.SCORE_OVERRIDE,
    seed: int = typer.Option(1, min=0, help="Another seed looks at other places."),
    backend: str = BACKEND,
    device: str = DEVICE,
    cache: Path | None = CACHE,
    as_json: bool = JSON,
) -> dict[str, Any]:
    from bytegolf.verify.battery import chosen, examine

    output = Output(as_json)
    checks = chosen(check)
    if (artifact is None) == (predictor is None):
        raise typer.BadParameter("give a .golf file or --predictor, one of them")
    options = {"sample": None if full else sample, "seed": seed, "seconds": seconds}
    if artifact is not None:
        place = choose(output, backend, device)
        case = _of_artifact(
            output, artifact, place, data, cache, (context, stride, documents, adapt, override), options
        )
    else:
        case = _of_predictor(output, predictor or "", file, data, cache, options)
    case = _completed(case, budget, hidden)
    findings: list[Finding] = []
    with output.progress("examining") as show:
        run = examine(case, checks, lambda c: show(len(findings) / len(checks), f"{c.id} {c.name}"))
        for finding in run:
            findings.append(finding)
            _show(output, finding)
    return _finish(output, case, findings, artifact if not check else None)


def _of_artifact(
    output: Output,
    artifact: Path,
    place: Place,
    data: str,
    cache: Path | None,
    scoring: tuple[int | None, int | None, str | None, str | None, list[str]],
    options: dict[str, Any],
) -> Case:
    from bytegolf.cli.score import check_same_tokenizer
    from bytegolf.score.held_out import HeldOut, raw_documents
    from bytegolf.score.packed import load_packed
    from bytegolf.verify.check import Case
    from bytegolf.verify.packed import PackedSubject

    packed = load_packed(artifact, place.device, backend=place.backend)
    settings = configs.score_settings(packed.config, *scoring)
    dataset = datasets.find_or_build(output, data, packed.config.model.vocab_size, cache)
    check_same_tokenizer(packed, dataset, artifact)
    output.tell(f"{artifact}: {configs.described(settings)}, on {packed.backend.device}")
    return Case(
        PackedSubject(packed, settings, artifact),
        raw_documents(HeldOut.of(dataset)),
        train=_training(output, dataset),
        files=[artifact],
        budget=packed.config.pack.budget or None,
        in_clean_room=_artifact_spec(artifact, place, settings),
        **options,
    )


def _artifact_spec(artifact: Path, place: Place, settings: Score) -> dict[str, Any]:
    return {
        "kind": "artifact",
        "path": str(artifact.resolve()),
        "backend": place.backend,
        "device": place.device,
        "score": settings.model_dump(mode="json"),
    }


def _of_predictor(
    output: Output, spec: str, files: list[Path], data: str, cache: Path | None, options: dict[str, Any]
) -> Case:
    from bytegolf.score.held_out import HeldOut, raw_documents
    from bytegolf.verify.check import Case
    from bytegolf.verify.foreign import load_predictor, rebuild
    from bytegolf.verify.subject import ForeignSubject

    subject = ForeignSubject(load_predictor(spec), spec)
    dataset = datasets.find_or_build(output, data, datasets.DEFAULT_VOCAB, cache)
    form = "lanes" if subject.lanes else "streaming" if subject.streaming else "whole text"
    output.tell(f"{spec}: {form} form, {subject.vocab_size:,} symbols")
    return Case(
        subject,
        raw_documents(HeldOut.of(dataset)),
        train=_training(output, dataset),
        files=files,
        in_clean_room=rebuild(spec),
        **options,
    )


def _training(output: Output, dataset: Dataset) -> list[bytes] | None:
    """The training documents; None of a fetched dataset, whose training text nobody has at hand."""
    if dataset.manifest.splits.train.sha256 is None:
        output.tell("training shards were fetched as tokens: T8 is not run, and T14 knows no training text")
        return None
    return [dataset.tokenizer.decode(document) for document in dataset.documents("train")]


def _completed(case: Case, budget: int | None, hidden: Path | None) -> Case:
    from dataclasses import replace

    from bytegolf.data.dataset import open_dataset
    from bytegolf.score.held_out import HeldOut, raw_documents

    if budget is not None:
        case = replace(case, budget=budget)
    if hidden is not None:
        case = replace(case, hidden=raw_documents(HeldOut.of(open_dataset(hidden))))
    return case


def _show(output: Output, finding: Finding) -> None:
    status = finding.status.upper() if finding.status == "fail" else finding.status
    output.show(
        f"{finding.id:<4} {finding.name:<19} {status:<8} {finding.seconds:6.1f} s  {finding.measured}"
    )
    if finding.status == "fail":
        output.show(f"     what would have to hold: {finding.proves}")


def _finish(output: Output, case: Case, findings: list[Finding], artifact: Path | None) -> dict[str, Any]:
    """artifact: the file whose run keeps the result; some checks alone are no examination to keep."""
    from bytegolf.train.results import keep

    counts = {status: sum(f.status == status for f in findings) for status in ("pass", "fail", "not run")}
    failed = [f.id for f in findings if f.status == "fail"]
    text = "all of the text" if case.sample is None else f"a sample of {len(case.tokens) - 1:,} targets"
    output.show()
    if failed:
        output.show(f"NOT VALID: {', '.join(failed)} failed, on {text}")
    else:
        skipped = f", {counts['not run']} not run" if counts["not run"] else ""
        output.show(f"nothing found: {counts['pass']} checks passed{skipped}, on {text}")
    result = {
        "subject": case.subject.name,
        "verdict": "fail" if failed else "pass",
        "targets": len(case.tokens) - 1,
        "bytes": sum(map(len, case.sampled)),
        "seed": case.seed,
        "checks": [finding.to_json() for finding in findings],
    }
    if artifact is not None:
        digest = hashlib.sha256(artifact.read_bytes()).hexdigest()
        kept = result | {"artifact_sha256": digest, "score": (case.in_clean_room or {})["score"]}
        keep_beside(artifact, output, lambda run: keep(run, "verify", kept))
    output.finish(result)
    return result
