"""What the page of a run says: every figure from its source, every gap with the command that fills it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pages import HOSTILE, SECTIONS, Page, figures

from bytegolf.artifact.ledger import ledger
from bytegolf.model_file import open_model
from bytegolf.train.results import Standing, scorings
from cli_samples import call


def report(*words: object) -> Page:
    answer = call("report", *words, "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    source = Path(told["report"]).read_text(encoding="utf-8")
    assert len(source.encode()) == told["bytes"]
    return Page(source)


def edit(path: Path, change: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


@pytest.fixture(scope="module")
def page(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return report(whole, "-o", tmp_path_factory.mktemp("page") / "a.html")


def test_the_same_run_gives_the_same_bytes(whole: Path, page: Page, tmp_path: Path) -> None:
    assert report(whole, "-o", tmp_path / "b.html").source == page.source


def test_it_is_one_file_that_asks_nobody_for_anything(page: Page) -> None:
    for _, key, value in page.attributes:
        if key in ("src", "href", "xlink:href", "action", "poster", "data", "srcset"):
            assert value.startswith(("#", "data:,")), value
    assert not re.search(r"url\((?!#)|@import|https?:", page.source)
    assert len(page.source) < 1_500_000
    policy = next(value for _, _, value in page.attributes if value.startswith("default-src 'none'"))
    script = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_every_part_is_there_and_has_a_name_of_its_own(page: Page) -> None:
    assert page.sections.keys() >= {"headline", "tried", *SECTIONS}
    assert len(page.ids) == len(set(page.ids))
    assert "missing" not in {value for _, key, value in page.attributes if key == "class"}
    for _, key, value in page.attributes:
        if key in ("href", "xlink:href") and value.startswith("#"):
            assert value[1:] in page.ids
    assert len(page.images) == 8, "four figures, each for a desk and for a phone"
    for image in page.images:
        assert image["role"] == "img"
        assert len(image["aria-label"]) > 20


def test_the_headline_is_the_score_and_its_conditions(whole: Path, page: Page) -> None:
    scored = json.loads(
        call("score", whole / "model.golf", "--data", whole.parents[1] / "data", "--json").out
    )
    summary = json.loads((whole / "run.json").read_text())
    said = page.text("headline")
    for part in (
        f"{scored['bpb']:.4f} bits per byte",
        "Proven by decoding.",
        f"{scored['artifact_bytes']:,} bytes of 100,000, {100_000 - scored['artifact_bytes']:,} left",
        f"{scored['bytes']:,} bytes, {scored['documents']} documents, sha256 {scored['text_sha256'][:12]}",
        f"{scored['targets']:,} targets, context 32, stride 16, each document on its own",
        f"30 steps, {summary['tokens']:,} tokens in {summary['seconds']:.1f} s",
        summary["hardware"],
        f"{summary['parameters']:,} weights",
        "Seed 1337",
    ):
        assert part in said, part


def test_the_bytes_are_those_of_the_file_each_once(whole: Path, page: Page) -> None:
    spent = ledger(open_model(whole / "model.golf").artifact)
    svg = figures(page.source, "Treemap")
    cells = {name: int(n.replace(",", "")) for name, n in re.findall(r"<title>(\S+): ([\d,]+) bytes", svg)}
    assert sum(cells.values()) == spent.total == (whole / "model.golf").stat().st_size
    assert {row.name: row.bytes for row in spent.tensors}.items() <= cells.items()
    stacks = re.findall(r'<div class="stack".*?</div>', page.source, re.DOTALL)
    for stack in stacks:
        widths = [float(width) for width in re.findall(r"width:([\d.]+)%", stack)]
        assert sum(widths) == pytest.approx(100 * spent.total / 100_000, abs=0.01)
    rows = page.text("bytes")
    for row in spent.roles:
        assert f"{row.name} {row.codec} {row.tensors} {row.elements:,} {row.bytes:,}" in rows


def test_the_cost_of_packing_is_shown_tensor_by_tensor(whole: Path, page: Page) -> None:
    scored = next(s.facts for s in scorings(whole) if s.facts["score"]["stride"] == 16)
    assert f"{scored['unpacked_bpb']:.5f} with the weights of the run, {scored['bpb']:.5f}" in page.text(
        "packing"
    )
    shown = re.findall(
        r"<title>(\S+): ([\d.]+) %, (\w+)</title>", figures(page.source, "Relative quantization")
    )
    tensors = open_model(whole / "model.golf").artifact.tensors
    assert sorted((name, codec) for name, _, codec in shown) == sorted((t.name, t.codec) for t in tensors)
    assert all(float(error) < 0.1 for _, error, codec in shown if codec == "fp16")
    assert all(0.1 < float(error) < 20 for _, error, codec in shown if codec == "int6")


def test_documents_have_the_bits_that_the_score_found(whole: Path, page: Page) -> None:
    svg = figures(page.source, "Bits per byte of")
    shown = re.findall(r"<title>document (\d+): ([\d.]+) bits per byte, ([\d,]+) bytes</title>", svg)
    bits = sum(float(bpb) * int(n.replace(",", "")) for _, bpb, n in shown)
    scored = next(s.facts for s in scorings(whole) if s.facts["score"]["stride"] == 16)
    assert bits == pytest.approx(scored["bpb"] * scored["bytes"], rel=1e-4)
    assert len(shown) == scored["documents"]
    assert "context 32, stride 32" in page.text("bits"), "the other way in which it was scored"


def test_text_that_would_like_to_be_a_program_stays_text(page: Page) -> None:
    assert page.tags["img"] == 0
    assert page.tags["script"] == 2, "the program, and the data of the passage"
    assert "49" not in page.text("bits").split()
    assert "</script><img src=x onerror=alert(1)>" in page.text("bits"), "how documents begin"
    strip = "".join(page.sections["strip"].split())
    tag = HOSTILE.split(" ", 1)[0]  # </script><img
    assert tag in strip
    assert "\u202e" not in page.source
    tokens = page.data["strip-facts"]
    assert len(tokens) > 50
    for name, bits, nbytes, guesses in tokens:
        assert name
        assert bits >= 0
        assert nbytes >= 0
        assert len(guesses) == 5


def test_a_title_is_text_too(whole: Path, tmp_path: Path) -> None:
    page = report(whole, "--title", f"a{HOSTILE}", "--no-passage", "-o", tmp_path / "a.html")
    assert page.tags["img"] == 0
    assert "<title>a&lt;/script&gt;" in page.source


def test_compressors_and_the_model_stand_in_one_order(whole: Path, page: Page) -> None:
    scored = next(s.facts for s in scorings(whole) if s.facts["baselines"])
    said = page.text("compressors")
    expected = {name: row["bpb"] for name, row in scored["baselines"].items()}
    expected["model alone"] = scored["bpb"]
    expected["model and bytes"] = scored["bpb"] + 8 * (whole / "model.golf").stat().st_size / scored["bytes"]
    listed = [float(bpb) for bpb in re.findall(r"(?<![\d,.])(\d+\.\d{4})(?!\d)", said)]
    assert listed == [round(bpb, 4) for bpb in sorted(expected.values())]


def test_proof_and_checks_are_listed(whole: Path, page: Page) -> None:
    verdict = json.loads((whole / "results" / "verify.json").read_text())
    proof = json.loads((whole / "results" / "proof.json").read_text())
    said = page.text("referee")
    for check in verdict["checks"]:
        assert check["proves"] in said
        assert " ".join(check["measured"].split()) in said
    assert f"the compressed file {proof['bpb']['coded']:.5f} {proof['coded']['bytes']:,}" in said
    assert proof["coded"]["sha256"] in page.text("again")


def test_the_commands_make_the_same_run_again(whole: Path, tmp_path: Path, page: Page) -> None:
    again = re.search(r"<pre><code>(.*?)</code>", page.source, re.DOTALL)
    assert again
    lines = again[1].splitlines()
    assert [line.split()[1] for line in lines] == ["train", "pack", "score", "verify", "prove"]
    assert all(f"{whole}-again" in line for line in lines)
    for line in lines[:3]:
        words = line.replace(f"{whole}-again", str(tmp_path / "again")).split()[1:]
        assert call(*words).code == 0, line
    before, after = (open_model(run / "model.golf").artifact for run in (whole, tmp_path / "again"))
    assert [t.blob for t in before.tensors] == [t.blob for t in after.tensors]


@pytest.mark.parametrize(
    ("gone", "section", "said"),
    [
        ("model.golf", "headline", "Trained, not packed"),
        ("model.golf", "bytes", "bytegolf pack"),
        ("results", "headline", "bytegolf score"),
        ("results", "compressors", "bytegolf score"),
        ("results", "bits", "bytegolf score"),
        ("results/proof.json", "headline", "bytegolf prove"),
        ("results/proof.json", "referee", "Not proven yet"),
        ("results/verify.json", "referee", "Not examined yet"),
        ("weights.safetensors", "packing", "cannot read the weights"),
        ("metrics.jsonl", "training", "no record of its steps"),
        ("../../data", "passage", "no held-out text"),
        ("../ledger.jsonl", "tried", "lines are missing"),
        ("../*/ledger.json", "tried", "2 runs were started"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_and_the_rest_is_shown(
    run: Path, gone: str, section: str, said: str
) -> None:
    if gone == "../../data":
        summary = json.loads((run / "run.json").read_text())
        edit(run / "run.json", {"data": summary["data"] | {"folder": str(run / "nowhere")}})
    else:
        for path in run.glob(gone) if "*" not in gone else run.parent.glob("*/ledger.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = report(run)
    assert (run / "report.html").is_file(), "by default it lies in the run"
    assert page.sections.keys() >= {"headline", "tried", *SECTIONS}
    assert said in page.text(section)


def test_a_score_is_called_proven_only_by_a_proof_of_that_score(run: Path) -> None:
    way, other = ({"stride": stride, "adaptation": {"kind": "none"}} for stride in (1, 2))
    learning = {"stride": 1, "adaptation": {"kind": "sgd"}}
    scored = {"text_sha256": "t", "score": way, "bpb": 1.2}
    proof = {"proven": True, "text": {"sha256": "t"}, "score": way, "bpb": {"float": 1.2001}}
    verdict = {"verdict": "pass", "score": way}
    assert Standing(proof, None).state(scored) == "proven"
    assert Standing(proof | {"proven": False}, verdict).state(scored) == "examined"
    assert Standing(proof | {"text": {"sha256": "u"}}, verdict).state(scored) == "examined"
    assert Standing(proof | {"bpb": {"float": 1.21}}, verdict).state(scored) == "examined"
    assert Standing(proof | {"score": other}, verdict | {"verdict": "fail"}).state(scored) == "scored"
    assert Standing(proof | {"score": learning}, None).state(scored | {"score": learning}) == "scored"
    assert Standing(None, verdict | {"score": other}).state(scored) == "scored"
    edit(run / "results" / "proof.json", {"text": {"sha256": "0" * 64, "bytes": 1, "documents": 1}})
    page = report(run, "--no-passage")
    assert "Examined by the referee" in page.text("headline")
    assert "Proven" not in page.text("headline")
    assert "another text" in page.text("referee")


def test_nobody_is_asked_to_prove_a_score_that_has_no_exact_form(run: Path) -> None:
    """Test-time training: there is a proof of the same file and text, but it is of other bits."""
    way = json.loads((run / "results" / "verify.json").read_text())["score"]
    for path in (run / "results").glob("*.json"):
        if json.loads(path.read_text())["score"] == way:
            edit(path, {"score": way | {"adaptation": {"kind": "sgd", "lr": 0.01}}})
        else:
            path.unlink()
    page = report(run, "--no-passage")
    assert "since test-time training has no exact form" in page.text("headline")
    assert "bytegolf prove" not in page.text("headline")
    assert "which the coder goes without" in page.text("referee")


def test_faults_come_before_everything_else(run: Path) -> None:
    verdict = json.loads((run / "results" / "verify.json").read_text())
    verdict["checks"][3]["status"] = "fail"
    edit(run / "results" / "verify.json", {"verdict": "fail", "checks": verdict["checks"]})
    said = report(run, "--no-passage").text("headline")
    assert "The referee found fault: T3" in said
    assert "Proven" not in said


def test_several_runs_are_compared(run: Path, tmp_path: Path) -> None:
    page = report(run, run.parent / "plain", run, "-o", tmp_path / "both.html")
    for key in ("r0-", "r1-"):
        assert page.sections.keys() >= {f"{key}{section}" for section in ("headline", "run", *SECTIONS)}
    assert "2 runs" in page.text("runs"), "one that is named twice counts once"
    assert len(page.ids) == len(set(page.ids))
    differing = page.text("configs")
    for row in ("model.mlp.hidden 32 24", 'pack.codecs.matrix "int6" "int5"', "train.seed 1337 7"):
        assert row in differing
    assert "model.dim" not in differing
    assert "2 runs were started in this folder" in page.text("tried")
    assert "Not comparable" not in page.text("runs")
    assert "pack.codecs.matrix=" in page.text("r1-again")
    for name, score in (("whole", scorings(run)), ("plain", scorings(run.parent / "plain"))):
        bpb = next(s.facts["bpb"] for s in score if s.facts["score"]["stride"] == 16)
        assert re.search(rf"{name} tiny \d+ {bpb:.4f}", page.text("runs"))


def test_scores_of_different_texts_are_not_compared(run: Path) -> None:
    for path in (run.parent / "plain" / "results").glob("score-*.json"):
        edit(path, {"text_sha256": "0" * 64})
    edit(
        run / "run.json",
        {"data": json.loads((run / "run.json").read_text())["data"] | {"tokenizer_sha256": "0"}},
    )
    page = report(run, run.parent / "plain", "--no-passage", "-o", run / "both.html")
    assert "the losses are per token of different tokenizers" in page.text("runs")
    assert "Not comparable: the runs are scored on different texts" in page.text("runs")
    assert "another text" in page.text("r1-bits")


def test_runs_of_one_name_are_told_apart(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "others" / run.name)
    page = report(run, other, "--no-passage", "-o", tmp_path / "both.html")
    assert f"<title>{run} and {other} · bytegolf</title>" in page.source
    assert page.text("r1-run").startswith(str(other))
    tried = page.text("tried")
    assert str(other.parent) in tried, "each folder has a ledger of its own"
    assert "lines are missing" in tried, "a copied run notes a line of the ledger that it came from"


@pytest.mark.parametrize(
    ("name", "content", "code_words"),
    [
        ("run.json", "{", "damaged"),
        ("metrics.jsonl", '{"step": 1}\n', "line 1 is damaged"),
        ("model.golf", "golf", "magic"),
        ("results/verify.json", "{", "damaged"),
    ],
)
def test_what_is_damaged_is_said_and_nothing_is_written(
    run: Path, name: str, content: str, code_words: str
) -> None:
    (run / name).write_text(content)
    answer = call("report", run)
    assert answer.code == 2
    assert code_words in answer.err
    assert "Traceback" not in answer.err
    assert not (run / "report.html").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    answer = call("report", tmp_path)
    assert answer.code == 2
    assert "not the directory of a finished run" in answer.err
