"""`bytegolf verify`: what it prints, what it exits with, and what it refuses to begin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bytegolf.verify.battery import CHECKS
from cli_samples import Lab, call

HONEST = Path(__file__).parents[1] / "cheats" / "honest.py"
QUICK = ("--sample", "200")


def test_a_packed_model_passes_and_every_check_has_its_line(lab: Lab) -> None:
    answer = call("verify", lab.artifact, "--data", lab.data, *QUICK, "--json")
    told = json.loads(answer.out)
    assert (answer.code, told["verdict"]) == (0, "pass"), [c for c in told["checks"] if c["status"] == "fail"]
    assert [check["id"] for check in told["checks"]] == [check.id for check in CHECKS]
    assert all(check["proves"] and check["measured"] for check in told["checks"])
    assert told["targets"] > 100
    lines = answer.err.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("T")] == [check.id for check in CHECKS]
    assert "nothing found" in answer.err


@pytest.mark.parametrize(
    ("options", "crosses"),
    [
        (("--adapt", "sgd"), True),
        (("--documents", "isolated"), False),
        (("--documents", "stream"), True),
        (("--stride", "32"), False),
    ],
)
def test_it_examines_the_way_to_score_that_it_is_given(
    lab: Lab, options: tuple[str, ...], crosses: bool
) -> None:
    """crosses: what is learnt or seen in one document reaches into the next, and that is declared."""
    answer = call(
        "verify", lab.artifact, "--data", lab.data, *QUICK, "--check", "T2", "--check", "T4", *options
    )
    assert answer.code == 0, answer.out
    assert options[1] in answer.err or options[1] == "stream"
    assert ("declared" in answer.out) == crosses


def test_what_is_found_is_named_and_exits_with_one(lab: Lab) -> None:
    answer = call("verify", lab.artifact, "--data", lab.data, *QUICK, "--check", "T11", "--budget", "1000")
    assert answer.code == 1
    assert "over the budget of 1,000" in answer.out
    assert "NOT VALID: T11 failed" in answer.out


def test_anybody_s_predictor_can_be_examined(lab: Lab, here: Path) -> None:
    (here / "mine.py").write_text(
        "import numpy as np\n"
        "class Uniform:\n"
        "    def begin(self, document): pass\n"
        "    def probabilities(self): return np.full(257, 1 / 257)\n"
        "    def observe(self, symbol): pass\n"
        "class Doubled(Uniform):\n"
        "    def probabilities(self): return np.full(257, 2 / 257)\n"
    )
    checks = ("--check", "T1", "--check", "T9", "--check", "T11", *QUICK)
    answer = call("verify", "--predictor", "mine.py:Uniform", "--data", lab.data, *checks)
    assert answer.code == 0, answer.out
    assert "streaming form, 257 symbols" in answer.err
    found = call("verify", "--predictor", "mine:Doubled", "--data", lab.data, *checks)
    assert found.code == 1
    assert "T1   normalised" in found.out
    assert "NOT VALID: T1 failed" in found.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("verify",), "one of them"),
        (("verify", "ARTIFACT", "--predictor", "a:b"), "one of them"),
        (("verify", "ARTIFACT", "--check", "T99"), "unknown check 'T99'"),
        (("verify", "--predictor", "nothing"), "MODULE:FACTORY"),
        (("verify", "--predictor", "no_such_module:factory"), "no_such_module"),
        (("verify", "ARTIFACT", "-o", "model.dim=8"), "override keys of score"),
        (("verify", "ARTIFACT", "--adapt", "magic"), "magic"),
        (("score", "ARTIFACT", "--adapt", "lora", "--documents", "stream"), "isolated"),
        (("score", "ARTIFACT", "-o", "train.steps=3"), "override keys of score"),
    ],
)
def test_what_cannot_be_examined_is_one_message(
    lab: Lab, here: Path, words: tuple[str, ...], told: str
) -> None:
    answer = call(*(lab.artifact if word == "ARTIFACT" else word for word in words), "--data", lab.data)
    assert answer.code == 2
    assert told in answer.err
    assert "Traceback" not in answer.err


def test_scores_tell_how_they_were_made(lab: Lab) -> None:
    def score(*options: str) -> tuple[float, dict[str, object], str]:
        answer = call(
            "score", lab.artifact, "--data", lab.data, "--no-baselines", "--no-unpacked", "--json", *options
        )
        assert answer.code == 0, answer.err
        told = json.loads(answer.out)
        return told["bpb"], told["score"], answer.err

    isolated, settings, text = score("--context", "64")
    assert (settings["documents"], settings["context"]) == ("isolated", 64)
    assert "isolated documents" in text
    plain, settings, text = score("--documents", "stream", "--context", "64")
    assert settings["documents"] == "stream"
    assert "isolated documents" not in text
    adapted, settings, text = score("--adapt", "adamw", "-o", "score.adaptation.chunk=4096")
    assert settings["adaptation"]["chunk"] == 4096  # type: ignore[index]
    assert "adapted by adamw" in text
    lora, settings, _ = score(
        "--adapt", "lora", "-o", "score.adaptation.chunk=32", "-o", 'score.adaptation.parts=["head"]'
    )
    assert settings["documents"] == "isolated"
    assert len({plain, isolated, adapted, lora}) == 4
