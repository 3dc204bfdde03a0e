"""Sampling: the most likely token, the smallest set that holds top_p, the same text for the same seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.data.case_bpe import CaseBpeTokenizer
from bytegolf.data.tokenizer import BpeTokenizer, ByteTokenizer, Tokenizer
from bytegolf.score.sample import draw, sample_text

LOGITS = st.lists(st.floats(-20, 20), min_size=1, max_size=12).map(np.array)


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


@given(LOGITS, st.floats(0, 1), st.integers(0, 99))
def test_temperature_zero_takes_the_most_likely(logits: np.ndarray, top_p: float, seed: int) -> None:
    assert draw(logits, 0.0, top_p, stream(seed)) == int(np.argmax(logits))


@given(LOGITS, st.floats(0, 1), st.floats(0.05, 5))
def test_only_the_smallest_set_that_holds_top_p_is_drawn(
    logits: np.ndarray, top_p: float, temperature: float
) -> None:
    scaled = logits / temperature
    p = np.exp(scaled - scaled.max()) / np.exp(scaled - scaled.max()).sum()
    generator = stream()
    for _ in range(10):
        token = draw(logits, temperature, top_p, generator)
        assert p[p > p[token]].sum() < top_p + 1e-9 or p[token] == p.max()


def test_the_set_grows_with_top_p() -> None:
    logits = np.log([0.5, 0.3, 0.15, 0.05])
    generator = stream()
    for top_p, kept in ((0.0, 1), (0.49, 1), (0.51, 2), (0.81, 3), (0.96, 4), (1.0, 4)):
        assert {draw(logits, 1.0, top_p, generator) for _ in range(300)} == set(range(kept))


def test_draws_follow_the_probabilities_at_their_temperature() -> None:
    logits = np.log([0.5, 0.3, 0.2])
    generator = stream()
    for temperature in (0.5, 1.0, 2.0):
        expected = np.array([0.5, 0.3, 0.2]) ** (1 / temperature)
        counts = np.bincount([draw(logits, temperature, 1.0, generator) for _ in range(3000)], minlength=3)
        assert np.abs(counts / 3000 - expected / expected.sum()).max() < 4 * 0.5 / 3000**0.5


class Scripted:
    """A backend whose next token is a function of the ids it is given."""

    def __init__(self, following: Callable[[list[int]], int]) -> None:
        self.following = following
        self.seen: list[list[int]] = []

    def next_logits(self, ids: np.ndarray) -> np.ndarray:
        self.seen.append(ids.tolist())
        logits = np.zeros(257, np.float32)
        logits[self.following(ids.tolist())] = 9.0
        return logits


def text(backend: Scripted, prompt: str = "", tokenizer: Tokenizer | None = None, **options: object) -> str:
    settings = {"context": 8, "tokens": 20, "temperature": 0.0, "top_p": 1.0, "seed": 0, **options}
    return "".join(sample_text(backend, tokenizer or ByteTokenizer(), prompt, **settings))  # type: ignore[arg-type]


def test_the_prompt_follows_bos_and_the_window_slides() -> None:
    backend = Scripted(lambda ids: ids[-1] + 1)
    assert text(backend, "ab", tokens=4, context=3) == "cdef"
    a = ord("a") + 1
    assert backend.seen == [[0, a, a + 1], [a, a + 1, a + 2], [a + 1, a + 2, a + 3], [a + 2, a + 3, a + 4]]
    empty = Scripted(lambda ids: 98)
    assert text(empty, tokens=2) == "aa"
    assert empty.seen == [[0], [0, 98]]


def test_bos_ends_the_text() -> None:
    assert text(Scripted(lambda ids: 98 if len(ids) < 4 else 0)) == "aaa"


def test_characters_come_whole_and_broken_ones_are_marked() -> None:
    euro = [byte + 1 for byte in "€".encode()]
    backend = Scripted(lambda ids: euro[len(ids) - 1] if len(ids) <= 3 else 0)
    assert text(backend) == "€"
    pieces = list(
        sample_text(
            Scripted(backend.following),
            ByteTokenizer(),
            "",
            context=8,
            tokens=9,
            temperature=0,
            top_p=1,
            seed=0,
        )
    )
    assert pieces == ["", "", "€", ""]
    assert text(Scripted(lambda ids: euro[0] if len(ids) == 1 else 0)) == "\ufffd"


def test_the_same_seed_draws_the_same_text_and_another_seed_another() -> None:
    backend = Scripted(lambda ids: ids[-1])
    first, again, other = (text(backend, "x", temperature=5.0, seed=s) for s in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("prompt", ["\udc80", "a\udcffb"])
def test_a_prompt_of_bytes_that_are_no_utf8_is_taken_as_it_came(prompt: str) -> None:
    """A shell hands such bytes over as lone surrogates."""
    backend = Scripted(lambda ids: 0)
    text(backend, prompt)
    assert backend.seen == [[0, *(byte + 1 for byte in prompt.encode("utf-8", "surrogateescape"))]]


CASES = CaseBpeTokenizer(BpeTokenizer([bytes([value]) for value in range(256)]))


def written(tail: bytes) -> Scripted:
    """Draws the bytes of `tail` one by one, then BOS."""
    drawn = iter([byte + 1 for byte in tail] + [0])
    return Scripted(lambda ids: next(drawn))


def test_case_operators_work_on_letters_that_are_drawn_later() -> None:
    assert text(written(b"\x0ehello \x0fhttp\x0eserver"), "", CASES, tokens=99) == "Hello HTTPServer"
    assert text(written(b"p ok"), "HTT", CASES) == "P ok"
    assert text(written(b"ello"), "H", CASES) == "ello"


@given(
    st.lists(st.sampled_from([b"\x0e", b"\x0f", b"\x10", b"a", b"B", b" ", b"\xc3", b"\xa9"]), max_size=19)
)
def test_anything_may_be_drawn(drawn: list[bytes]) -> None:
    tail = b"".join(drawn)
    sampled = text(written(tail), "x", CASES)
    assert sampled == CASES.decoder().decode([byte + 1 for byte in tail]).decode("utf-8", "replace")
