"""Text that was not seen: by its hashes, by its shingles, and by what it costs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bytegolf.verify.foreign import load_predictor
from bytegolf.verify.provenance import CHECKS, Order2, _head, _priced, _take
from verify_samples import CHEATS, HONEST, WORDS, case_of, cheat, honest, run, texts


def split_case(name: str) -> Any:
    """T8's case with the training and held-out text that cheats/NAME.py makes of an honest split."""
    train, held_out = load_predictor(f"{CHEATS / name}.py:split", [])(
        texts(60, "train"), texts(20, "held out")
    )
    return honest("Order0", held_out, train=train)


def test_an_honest_split_has_nothing_in_common() -> None:
    outcome = run(CHECKS, "T8", honest("Order0", texts(20, "held out"), train=texts(60, "train")))
    assert outcome.status == "pass"
    assert (outcome.figures["exact"], outcome.figures["near"]) == (0, 0)


def test_equal_documents_are_counted_and_one_is_enough() -> None:
    outcome = run(CHECKS, "T8", split_case("overlapping_split"))
    assert outcome.status == "fail"
    assert outcome.figures["exact"] == 16
    held_out = texts(200, "held out")
    one = run(CHECKS, "T8", honest("Order0", held_out, train=[b"other", held_out[7]]))
    assert one.figures["near_bytes_rate"] < 0.01
    assert one.status == "fail"


def test_near_duplicates_are_found_where_no_hash_is_equal() -> None:
    outcome = run(CHECKS, "T8", split_case("near_duplicates"))
    assert outcome.status == "fail"
    assert (outcome.figures["exact"], outcome.figures["near"]) == (0, 5)
    assert 0.1 < outcome.figures["near_bytes_rate"] < 0.5


def test_a_few_near_duplicates_are_what_the_web_has() -> None:
    held_out = texts(300, "held out")
    outcome = run(CHECKS, "T8", honest("Order0", held_out, train=[b"x" + held_out[0]]))
    assert outcome.status == "pass"
    assert outcome.figures["near"] == 1
    assert outcome.figures["near_bytes"] == len(held_out[0])


def test_without_training_text_nothing_is_said() -> None:
    assert run(CHECKS, "T8", honest("Order0")).status == "not run"


def test_the_reference_is_a_probability_model() -> None:
    """Its costs of all next bytes sum to one, whatever it has seen."""
    for primed in ([], texts(3)):
        for begun in (b"", b"t", b"the an"):
            before = Order2(primed).cost(begun)
            total = sum(2 ** -(Order2(primed).cost(begun + bytes([b])) - before) for b in range(256))
            assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", HONEST)
@pytest.mark.parametrize("seed", range(3))
def test_an_honest_model_has_the_same_gap_on_text_nobody_saw(name: str, seed: int) -> None:
    claimed, hidden = texts(60, f"claimed {seed}"), texts(40, f"hidden {seed}")
    case = honest(name, claimed, hidden=hidden, train=texts(50, "train"), seed=seed)
    assert run(CHECKS, "T14", case).status == "pass"
    assert run(CHECKS, "T14", honest(name, claimed, seed=seed)).status == "pass"


def test_an_honest_model_may_have_an_easier_text() -> None:
    """Frequent words only, against words mixed with random letters: the reference sees the difference too."""
    easy = [
        b" ".join(word for word in text.split() if word.decode() in WORDS) for text in texts(80, "claimed")
    ]
    case = honest("Streaming", easy, hidden=texts(60, "hidden"))
    figures = run(CHECKS, "T14", case).figures
    assert figures["the claimed text"]["bpb"] < 0.98 * figures["the hidden text"]["bpb"]
    assert run(CHECKS, "T14", case).status == "pass"


@pytest.mark.parametrize("hidden", [None, texts(40, "hidden")])
def test_a_stored_beginning_is_found(hidden: list[bytes] | None, tmp_path: Path) -> None:
    """It is followed by its place in the stream, so that documents drawn at random do not show it."""
    outcome = run(CHECKS, "T14", cheat("paid_prefix", tmp_path, texts(80), hidden=hidden))
    assert outcome.status == "fail"
    assert len(outcome.figures["alarms"]) == 1
    assert outcome.figures["alarms"][0].startswith("the beginning of")


def test_a_model_trained_on_the_validation_text_is_found(tmp_path: Path) -> None:
    outcome = run(
        CHECKS, "T14", cheat("trained_on_validation", tmp_path, texts(60), hidden=texts(40, "hidden"))
    )
    assert outcome.status == "fail"
    assert "the claimed text" in outcome.figures["alarms"]


def test_hidden_text_that_is_cheaper_accuses_nobody(tmp_path: Path) -> None:
    """The model that knows the claimed text, asked the other way round."""
    known, other = texts(60), texts(40, "hidden")
    cheat("trained_on_validation", tmp_path, known)
    spec = f"{tmp_path / 'trained_on_validation.py'}:factory"
    assert run(CHECKS, "T14", case_of(spec, other, hidden=known)).status == "pass"


def test_a_document_has_the_price_of_its_own_symbols() -> None:
    """A model that forgets between documents asks for each what it asks for it alone, and ends are nobody's."""
    documents = texts(5)
    case = honest("Order0")
    for longest in (1000, 50):
        priced = _priced(case, "here", documents, longest)
        for index, document in enumerate(documents):
            alone = case.subject.run(np.array([256, *document])).nats[:longest].sum() / math.log(2)
            assert priced.bits[index] == pytest.approx(alone)
            assert priced.bytes[index] == min(len(document), longest)
        heads = Order2()
        expected = [heads.cost(document[:longest]) for document in documents]
        assert priced.logs == pytest.approx(np.log(priced.bits / expected))


def test_slices_keep_to_the_sample_and_long_documents_give_their_heads() -> None:
    long = [" ".join(map(bytes.decode, texts(10, f"long {i}"))).encode() for i in range(20)]
    outcome = run(CHECKS, "T14", honest("Order0", long, hidden=long[::-1], sample=2000))
    for name in ("the claimed text", "the hidden text"):
        assert outcome.figures[name]["bytes"] <= 2000
        assert outcome.figures[name]["documents"] >= 8
    assert "the beginning of the claimed text" not in outcome.figures
    assert (
        "the beginning of the claimed text"
        in run(CHECKS, "T14", honest("Order0", long, hidden=long[::-1], sample=None)).figures
    )


def test_too_few_documents_are_no_evidence() -> None:
    for case in (honest("Order0", texts(40), hidden=texts(7)), honest("Order0", texts(14))):
        outcome = run(CHECKS, "T14", case)
        assert outcome.status == "not run"
        assert "8 documents are needed" in outcome.measured


def test_no_numbers_no_pass() -> None:
    case = honest("Order0", texts(60))
    case.subject.run = lambda tokens: type("R", (), {"nats": np.full(len(tokens) - 1, math.nan)})  # type: ignore
    assert run(CHECKS, "T14", case).status == "fail"


def test_heads_end_between_characters() -> None:
    assert _head("aé".encode(), 2) == b"a"
    assert _head(b"\xff\xff\xff", 2) == b"\xff\xff"
    assert _head(b"abc", 3) == b"abc"
    assert _take([b"ab", b"c", b"def"], 3) == [b"ab", b"c"]
