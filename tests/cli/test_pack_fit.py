"""bytegolf pack --fit: the budget filled from the command line, on training text alone."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from bytegolf.artifact.format import from_bytes
from cli_samples import VOCAB, Lab, call, listing

FIT = 11_000


def test_fit_writes_a_file_that_just_fits_and_says_what_it_cost(lab: Lab, here: Path) -> None:
    answer = call("pack", lab.run, "--fit", FIT, "--calibration-tokens", 320, "--out", "x.golf", "--json")
    assert answer.code == 0, answer.err
    packed, data = json.loads(answer.out), (here / "x.golf").read_bytes()
    assert packed["total"] == len(data) <= FIT == packed["budget"]
    assert len(data) >= 0.99 * FIT, "8,500 weights are too few for finer"
    told = from_bytes(data).provenance["fit"]
    assert told.items() <= packed["fit"].items()
    assert (told["budget"], told["calibration_tokens"]) == (FIT, 320)
    cost = packed["fit"]["nats_after"] - packed["fit"]["nats_before"]
    assert f"cost of packing on 320 training tokens: {cost:+.5f} nats per token" in answer.err
    codecs = {row["name"]: row["codec"] for row in packed["roles"]}
    assert (codecs["embed"], codecs["scalar"]) == ("ecsq", "fp16")
    assert codecs["matrix"] == "int6 ecsq", "the smallest matrices are not worth a histogram of their own"
    assert call("score", "x.golf", "--data", lab.data, "--no-baselines").code == 0


def test_fit_reads_no_held_out_text(lab: Lab, here: Path) -> None:
    shutil.copytree(lab.data, here / "data")
    held_out = [here / "data" / e["name"] for e in manifest_of(here / "data")["splits"]["val"]["files"]]
    assert held_out
    for path in held_out:
        path.unlink()
    words = ("pack", lab.run, "--fit", FIT, "--calibration-tokens", 320, "--out")
    assert call(*words, "blind.golf", "--data", "data").code == 0
    assert call(*words, "seeing.golf").code == 0
    assert (here / "blind.golf").read_bytes() == (here / "seeing.golf").read_bytes()


def test_more_than_the_finest_steps_can_use_is_said_in_one_line(lab: Lab, here: Path) -> None:
    answer = call("pack", lab.run, "--fit", 10**6, "--calibration-tokens", 32, "--out", "x.golf")
    assert answer.code == 0
    assert len(re.findall(r"^every matrix has its finest step", answer.out, re.MULTILINE)) == 1
    assert (here / "x.golf").stat().st_size < 30_000


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--fit", "11000", "--budget", "11000"], "--fit and --budget exclude each other"),
        (["--data", "DATA"], "serve --fit alone"),
        (["--calibration-tokens", "32"], "serve --fit alone"),
        (["--fit", "0"], "Invalid value for '--fit'"),
        (["--fit", "11000", "--calibration-tokens", "0"], "Invalid value for '--calibration-tokens'"),
        (["--fit", "11000", "--device", "tpu"], "unknown device 'tpu'"),
        (["--fit", "11000", "--data", "stdlb"], "did you mean 'stdlib'"),
        (["--fit", "1000", "--calibration-tokens", "32"], "fit into 1,000 bytes.*\n.*smallest reachable is"),
        (["--fit", "11000", "--data", "other"], "the training text that the run was trained with"),
        (["--fit", "11000", "--data", "retokenized"], "the tokenizer that the run was trained with"),
    ],
)
def test_fit_refuses(lab: Lab, here: Path, words: list[str], says: str) -> None:
    if "other" in words:
        shutil.copytree(lab.source, "text")
        (here / "text" / "document00.txt").unlink()
        assert call("data", "build", "--source", "text", "--out", "other", "--vocab", VOCAB).code == 0
    if "retokenized" in words:
        built = call("data", "build", "--source", lab.source, "--out", "retokenized", "--vocab", VOCAB + 1)
        assert built.code == 0
    before = listing(lab.root, here)
    answer = call("pack", lab.run, *(str(lab.data) if w == "DATA" else w for w in words), "--out", "x.golf")
    assert (answer.code, answer.out) == (2, "")
    assert re.search(says, answer.err), answer.err
    assert listing(lab.root, here) == before


def manifest_of(folder: Path) -> dict[str, dict[str, dict[str, list[dict[str, str]]]]]:
    parsed: dict[str, dict[str, dict[str, list[dict[str, str]]]]]
    parsed = json.loads((folder / "manifest.json").read_text())
    return parsed
