"""Laws of what a report is made of: areas, curves, characters, and what the model says of a passage."""

from __future__ import annotations

import math
import unicodedata
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from bytegolf.config.schema import Score
from bytegolf.data.build import build_dataset
from bytegolf.data.corpora import Corpus, Document
from bytegolf.data.dataset import Dataset
from bytegolf.report.drawing import COLOR, picture
from bytegolf.report.figures import smoothed
from bytegolf.report.page import heat
from bytegolf.report.passage import GUESSES, Token, read_passage, readable, visible
from bytegolf.report.treemap import Box, squarified
from bytegolf.score.held_out import HeldOut

SIZES = st.lists(st.one_of(st.just(0), st.integers(1, 10**7)), min_size=1, max_size=30).filter(any)
VOCAB = {"bytes": 257, "bpe": 300, "case_bpe": 300}


@given(SIZES, st.floats(20, 800), st.floats(20, 800))
def test_boxes_have_their_share_of_the_area_and_tile_the_whole(
    sizes: list[int], width: float, height: float
) -> None:
    boxes = squarified(sizes, Box(3.0, 5.0, width, height))
    for size, box in zip(sizes, boxes, strict=True):
        assert box.width * box.height == pytest.approx(width * height * size / sum(sizes), rel=1e-6, abs=1e-6)
        if size:
            assert 3 - 1e-6 <= box.x <= box.x + box.width <= 3 + width + 1e-6
            assert 5 - 1e-6 <= box.y <= box.y + box.height <= 5 + height + 1e-6
    for a, b in combinations([box for size, box in zip(sizes, boxes, strict=True) if size], 2):
        across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
        down = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
        assert min(across, down) <= 1e-6, "no two overlap"


def test_boxes_of_one_size_are_squares() -> None:
    assert {(round(b.width, 9), round(b.height, 9)) for b in squarified([7] * 9, Box(0, 0, 30, 30))} == {
        (10.0, 10.0)
    }


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=200), st.integers(1, 40))
def test_a_smoothed_curve_stays_between_what_it_has_seen(values: list[float], steps: int) -> None:
    curve = smoothed(np.array(values), steps)
    assert curve[0] == pytest.approx(values[0], abs=1e-9)
    for i, value in enumerate(curve):
        assert min(values[: i + 1]) - 1e-9 <= value <= max(values[: i + 1]) + 1e-9


def test_a_smoothed_curve_forgets_with_its_time_constant() -> None:
    step = smoothed(np.array([0.0] * 4000 + [1.0] * 10), 10)
    assert step[-1] == pytest.approx(1 - math.exp(-1), abs=1e-6)


@given(st.binary(max_size=40))
def test_no_character_that_does_not_show_is_written_raw(part: bytes) -> None:
    for character in readable(part).replace("\n", "").replace("\t", "") + visible(part):
        assert unicodedata.category(character)[0] != "C"
    assert visible(part)


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=30))
def test_text_that_shows_is_written_as_it_is(text: str) -> None:
    assert readable(text.encode()) == text


@given(st.floats(0, 100), st.integers(0, 30))
def test_heat_rises_with_the_bits_of_a_byte(bits: float, nbytes: int) -> None:
    found = heat(Token("", "", bits, nbytes, ()))
    assert 0 <= found <= 9
    assert found <= heat(Token("", "", bits * 1.5, nbytes, ()))
    assert found == min(9, int(bits / max(1, nbytes) / 6 * 10))


def _drawn() -> tuple[str, str]:
    def draw(figure: Figure, narrow: bool) -> dict[str, str]:
        axes = figure.add_subplot()
        axes.plot([0, 0.25], [1 / 3, 2 / 3], "o", color=COLOR["accent"], gid="a")
        axes.set_xticks([0.125], ["0.125"])
        axes.set_title("$x$ <b>", weight="bold")
        return {"a": "<one> & 2"}

    both = picture("figure", 'what "it" shows', draw, (200, 300))
    return both.wide, both.narrow


def test_a_figure_is_named_themed_and_the_same_each_time() -> None:
    wide, narrow = _drawn()
    assert (wide, narrow) == _drawn()
    assert wide.startswith(
        '<svg class="w" viewBox="0 0 760 200" role="img" aria-label="what &quot;it&quot; shows">'
    )
    assert narrow.startswith('<svg class="n" viewBox="0 0 342 300"')
    assert "<title>&lt;one&gt; &amp; 2</title>" in wide
    assert ">0.125</text>" in wide, "coordinates are rounded, labels are not"
    assert ">$x$ &lt;b&gt;</text>" in wide
    assert "var(--accent)" in wide
    for left in ("#0c0d", "font-family", "<style", "<metadata", "<!--", "http", "DejaVu"):
        assert left not in wide


class Seeing:
    """A reader with a distribution for every token that depends on the two before it."""

    def __init__(self, vocab: int) -> None:
        self.table = np.random.Generator(np.random.Philox(0)).normal(size=(64, vocab)) * 3

    def log_probabilities(self, ids: np.ndarray, last: int | None = None) -> np.ndarray:
        before = np.concatenate([np.zeros((len(ids), 1), np.int64), ids[:, :-1]], axis=1)
        logits = self.table[(ids + 3 * before) % 64]
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return log_p[:, -(last or ids.shape[1]) :].astype(np.float32)

    def nll(self, ids: np.ndarray, targets: np.ndarray, last: int | None = None) -> np.ndarray:
        kept = targets[:, -(last or ids.shape[1]) :]
        return -np.take_along_axis(self.log_probabilities(ids, last), kept[..., None], -1)[..., 0]


def _dataset(folder: Path, kind: str) -> Dataset:
    words = [
        "Über",
        "The",
        "HTTP",
        "server",
        "answers,",
        "e.g.",
        "200",
        "OK;",
        "naïve",
        "café\nand",
        "so",
        "on",
    ]
    stream = np.random.Generator(np.random.Philox(1))
    texts = [" ".join(stream.choice(words, 60 + 5 * i)) for i in range(40)]
    documents = [Document(f"d{i}", f"g{i}", text.encode()) for i, text in enumerate(texts)]
    return build_dataset(
        Corpus("words", documents, "made for a test"), folder, VOCAB[kind], tokenizer_kind=kind
    )


@pytest.mark.parametrize("kind", list(VOCAB))
def test_a_passage_is_a_part_of_its_document_with_the_costs_that_scoring_finds(
    tmp_path: Path, kind: str
) -> None:
    dataset = _dataset(tmp_path / "data", kind)
    text, tokenizer, reader = HeldOut.of(dataset), dataset.tokenizer, Seeing(VOCAB[kind])
    settings = Score(context=32, stride=16)
    bpb = np.arange(len(text.starts), dtype=np.float64)[::-1].copy()
    passage = read_passage(reader, tokenizer, text, settings, bpb)  # type: ignore[arg-type]
    assert passage is not None
    assert bpb[passage.document] == np.sort(bpb)[(len(bpb) - 1) // 2], "the median document"
    document = tokenizer.decode(dataset.documents("val")[passage.document])
    part = document[passage.begins : passage.begins + passage.nbytes]
    assert passage.nbytes >= min(200, len(document) // 2)
    if kind != "bytes":  # single bytes of a letter are shown as escapes
        assert "".join(token.text for token in passage.tokens) == part.decode()
    assert sum(token.bits for token in passage.tokens) == pytest.approx(passage.bpb * passage.nbytes)
    for token in passage.tokens:
        chances = [guess.p for guess in token.guesses]
        assert len(chances) == GUESSES
        assert chances == sorted(chances, reverse=True)
        assert 0 < sum(chances) <= 1 + 1e-6
        right = [guess for guess in token.guesses if guess.right]
        if right:
            assert -math.log2(right[0].p) == pytest.approx(token.bits, abs=1e-6)
            assert right[0].text == token.name
        else:
            assert 2**-token.bits <= min(chances) + 1e-9
    assert any(guess.right for token in passage.tokens for guess in token.guesses)


def test_the_costs_of_a_passage_are_those_of_the_score_of_its_document(tmp_path: Path) -> None:
    from bytegolf.score.bpb import stream_nats

    dataset = _dataset(tmp_path / "data", "bpe")
    text, reader = HeldOut.of(dataset), Seeing(300)
    settings = Score(context=16, stride=5)
    passage = read_passage(reader, dataset.tokenizer, text, settings, np.empty(0))  # type: ignore[arg-type]
    assert passage is not None
    document = dataset.documents("val")[passage.document]
    nats = stream_nats(reader, document, [0], settings)  # type: ignore[arg-type]
    ends = np.cumsum(dataset.tokenizer.byte_counts(document))
    first = int(np.searchsorted(ends, passage.begins, side="right"))
    expected = nats[first - 1 : first - 1 + len(passage.tokens)] / math.log(2)
    assert [token.bits for token in passage.tokens] == pytest.approx(expected.tolist(), abs=1e-5)
