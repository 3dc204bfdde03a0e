"""`bytegolf prove`: the proof holds, can be repeated, and says so when it does not hold."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bytegolf.verify import proof as proofs
from bytegolf.verify.proof import Decoded
from cli_samples import Lab, call

QUICK = ("--threads", "1", "--lanes", "3", "--block", "400")


def prove(lab: Lab, *words: object) -> tuple[int, dict[str, Any], str]:
    answer = call("prove", lab.artifact, *words, *QUICK, "--json")
    return answer.code, json.loads(answer.out), answer.err


@dataclass(frozen=True)
class Proven:
    """A proof about a text of three blocks, and what it left."""

    proof: dict[str, Any]
    text: Path
    kept: Path
    out: Path
    told: str


@pytest.fixture(scope="module")
def proven(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Proven:
    folder = tmp_path_factory.mktemp("proof")
    text, kept, out = folder / "text", folder / "text.golfz", folder / "proof.json"
    text.write_bytes(Path(__file__).read_bytes()[:1000])
    code, proof, told = prove(lab, "--text", text, "--keep", kept, "-o", out)
    assert (code, proof["verdict"], proof["proven"]) == (0, "pass", True), told
    return Proven(proof, text, kept, out, told)


def test_the_figures_stand_for_one_another(proven: Proven, lab: Lab) -> None:
    proof, bpb, n, size = proven.proof, proven.proof["bpb"], 1000, proven.kept.stat().st_size
    assert (proof["text"]["bytes"], proof["text"]["documents"], proof["coded"]["blocks"]) == (n, 1, 3)
    digest = hashlib.sha256(proven.text.read_bytes()).hexdigest()
    assert proof["text"]["sha256"] == proof["decoded"]["sha256"] == digest
    # Not closer: a frequency is at least 2^-24, which on a text that surprises the model costs less than float.
    assert bpb["exact"] == pytest.approx(bpb["float_in_blocks"], rel=2e-2)
    assert bpb["exact"] * n == pytest.approx(proof["coded"]["bits"])
    assert proof["coded"]["bits"] / 8 < size == proof["coded"]["bytes"]
    assert hashlib.sha256(proven.kept.read_bytes()).hexdigest() == proof["coded"]["sha256"]
    assert bpb["coded_and_model"] == 8 * (size + lab.artifact.stat().st_size) / n
    assert proof["encoded"]["lanes"] != proof["decoded"]["lanes"]
    assert proof["encoded"]["threads"] != proof["decoded"]["threads"]
    assert json.loads(proven.out.read_bytes()) == proof
    for words in ("exact, in the same blocks", "decoded", "proven: the compressed file is the text"):
        assert words in proven.told


def test_the_float_figure_of_a_dataset_is_that_of_score(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--data", lab.data, "--no-baselines", "--no-unpacked", "--json")
    scored = json.loads(call("score", lab.artifact, *options).out)
    back = Decoded(scored["text_sha256"], 1.0)
    monkeypatch.setattr(proofs, "decode_elsewhere", lambda *_: back)
    code, proof, _ = prove(lab, "--data", lab.data)
    assert (code, proof["bpb"]["float"], proof["text"]["bytes"]) == (0, scored["bpb"], scored["bytes"])
    assert proof["text"]["documents"] == scored["documents"] > 1


def test_what_was_kept_is_the_text(proven: Proven, lab: Lab, here: Path) -> None:
    answer = call("decompress", lab.artifact, proven.kept, "-o", "text", "--threads", "1")
    assert answer.code == 0, answer.err
    assert hashlib.sha256((here / "text").read_bytes()).hexdigest() == proven.proof["text"]["sha256"]


def test_a_proof_can_be_repeated(proven: Proven, lab: Lab) -> None:
    # The options of the proof count, not the ones given now.
    answer = call(
        "prove", lab.artifact, "--text", proven.text, "--check", proven.out, "--block", "77", "--threads", "1"
    )
    assert answer.code == 0, answer.out
    assert f"everything is as {proven.out} says" in answer.out


def test_other_figures_are_named(proven: Proven, lab: Lab, here: Path) -> None:
    altered = json.loads(proven.out.read_bytes())
    altered["coded"]["sha256"] = "0" * 64
    (here / "altered.json").write_text(json.dumps(altered))
    answer = call("prove", lab.artifact, "--text", proven.text, "--check", "altered.json", "--threads", "1")
    assert answer.code == 1
    assert "NOT REPEATED" in answer.out
    assert f"coded.sha256: {'0' * 64} then, " in answer.out


@pytest.mark.parametrize(
    ("back", "words"),
    [
        (Decoded("0" * 64, 1.0), "the text that came back is another one"),
        (Decoded(None, 1.0, "error: block 2 is damaged"), "error: block 2 is damaged"),
    ],
)
def test_another_text_is_no_proof(
    proven: Proven, lab: Lab, monkeypatch: pytest.MonkeyPatch, back: Decoded, words: str
) -> None:
    monkeypatch.setattr(proofs, "decode_elsewhere", lambda *_: back)
    code, proof, told = prove(lab, "--text", proven.text)
    assert (code, proof["proven"], proof["verdict"]) == (1, False, "fail")
    assert f"NOT PROVEN: {words}" in told


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "a proof is a readable JSON file"),
        ("[1]", "a proof is what `bytegolf prove -o FILE` wrote"),
        ('{"proof": 1}', "a proof is what `bytegolf prove -o FILE` wrote"),
        ("{" * 100_000, "a proof is a readable JSON file"),
    ],
)
def test_what_is_no_proof_is_refused(lab: Lab, here: Path, content: str, words: str) -> None:
    (here / "proof.json").write_text(content)
    answer = call("prove", lab.artifact, "--data", lab.data, "--check", "proof.json")
    assert answer.code == 2
    assert words in answer.err


def test_a_proof_of_another_text_or_model_is_refused(proven: Proven, lab: Lab, here: Path) -> None:
    (here / "text").write_bytes(b"another text")
    answer = call("prove", lab.artifact, "--text", "text", "--check", proven.out)
    assert (answer.code, "the proof is about another text" in answer.err) == (2, True)
    altered = json.loads(proven.out.read_bytes())
    altered["model"]["sha256"] = "0" * 64
    (here / "altered.json").write_text(json.dumps(altered))
    answer = call("prove", lab.artifact, "--text", proven.text, "--check", "altered.json", "--threads", "1")
    assert (answer.code, "the proof is about another model" in answer.err) == (2, True)
    for bad in ({"context": 0, "stride": 1, "block": 5}, {"context": "x"}, 7):
        altered["reading"] = bad
        (here / "altered.json").write_text(json.dumps(altered))
        answer = call(
            "prove", lab.artifact, "--text", proven.text, "--check", "altered.json", "--threads", "1"
        )
        assert (answer.code, "a proof names context, stride and block" in answer.err) == (2, True)


def test_an_empty_or_absent_text_is_refused(lab: Lab, here: Path) -> None:
    (here / "empty").touch()
    for name, words in (("empty", "an empty text"), ("none", "--text must be a readable file")):
        answer = call("prove", lab.artifact, "--text", name)
        assert (answer.code, words in answer.err) == (2, True)
