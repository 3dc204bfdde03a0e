"""Where the bits went sums to the score, and says of every target what it could see."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.config.schema import Score
from bytegolf.score.breakdown import broken_down


@st.composite
def streams(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Costs, bytes of the tokens, starts of the documents."""
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    starts = np.cumsum([0, *lengths[:-1]]).tolist()
    targets = sum(lengths)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    counts = rng.integers(1, 9, targets + 1)
    counts[starts] = 0
    return rng.random(targets), counts, starts


def settings(draw: st.DrawFn) -> Score:
    context = draw(st.integers(1, 20))
    kind = draw(st.sampled_from(["none", "lora"]))
    adaptation = {"kind": kind} | ({"chunk": draw(st.integers(1, context))} if kind == "lora" else {})
    return Score.model_validate(
        {
            "context": context,
            "stride": draw(st.integers(1, context)),
            "documents": "isolated" if kind == "lora" else draw(st.sampled_from(["stream", "isolated"])),
            "adaptation": adaptation,
        }
    )


SETTINGS = st.composite(settings)()


@given(stream=streams(), how=SETTINGS)
def test_both_ways_sum_to_the_score(stream: tuple, how: Score) -> None:
    nats, counts, starts = stream
    found = broken_down(nats, counts, starts, how)
    for part in (found.document_nats, found.seen_nats):
        np.testing.assert_allclose(part.sum(), nats.sum(), rtol=1e-12)
    for part in (found.document_bytes, found.seen_bytes):
        assert part.sum() == counts.sum()
    assert found.seen_targets.sum() == len(nats)


@given(stream=streams(), how=SETTINGS)
def test_nobody_sees_more_than_the_context_and_a_document_alone_no_more_than_itself(
    stream: tuple, how: Score
) -> None:
    nats, counts, starts = stream
    buckets = len(broken_down(nats, counts, starts, how).seen_nats)
    longest = max(np.diff([*starts, len(nats)]))
    most = how.context if how.documents == "stream" else min(how.context, longest)
    assert 2 ** (buckets - 1) <= most


def test_by_hand() -> None:
    nats, counts = np.arange(1.0, 7.0), np.array([0, 1, 2, 0, 3, 4, 5])
    how = Score(context=2, stride=2, documents="isolated")
    found = broken_down(nats, counts, [0, 3], how)
    assert found.document_nats.tolist() == [6.0, 15.0]
    assert found.document_bytes.tolist() == [3, 12]
    # Each document has three targets; the third begins a window of its own, three tokens being too long for one.
    assert found.seen_targets.tolist() == [4, 2]
    assert found.seen_nats.tolist() == [14.0, 7.0]
