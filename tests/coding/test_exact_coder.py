"""Any bytes through an exact model and back, in any company."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pytest
from exact_models import KINDS, PROSE, model_file
from hypothesis import given, settings
from hypothesis import strategies as st

from bytegolf.coding import exact_coder
from bytegolf.coding.block import Coded, Text
from bytegolf.coding.exact_coder import ExactCoder
from bytegolf.coding.range_coder import Decoder
from bytegolf.on_numpy.exact.engine import Exact
from bytegolf.on_torch.exact_ops import TorchOps

SHAPES = [(16, 4), (16, 16), (7, 1), (40, 33), (300, 300), (3, 2), (1, 1)]  # context, stride


@functools.cache
def coder_of(kind: str, context: int = 16, stride: int = 4) -> ExactCoder:
    return ExactCoder(model_file(kind), context, stride)


@st.composite
def texts(draw: st.DrawFn, most: int = 40) -> Text:
    """Bytes, prose or characters; with documents that begin inside."""
    prose = st.integers(0, 200).flatmap(lambda i: st.integers(i, i + most).map(lambda j: PROSE[i:j]))
    data = draw(st.one_of(st.binary(max_size=most), prose, st.text(max_size=most // 4).map(str.encode)))
    inside = st.integers(1, len(data) - 1) if len(data) > 1 else st.nothing()
    return Text(data, tuple(sorted(draw(st.sets(inside, max_size=3) if len(data) > 1 else st.just(set())))))


def coded(coder: ExactCoder, several: Sequence[Text]) -> list[Coded]:
    found = coder.encode(several)
    assert None not in found
    return [block for block in found if block is not None]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)
@given(st.lists(texts(), max_size=5), st.sampled_from(SHAPES))
def test_texts_come_back(kind: str, several: list[Text], shape: tuple[int, int]) -> None:
    coder = coder_of(kind, *shape)
    blocks = coded(coder, several)
    assert coder.decode(blocks) == [text.data for text in several]
    for text, block in zip(several, blocks, strict=True):
        assert (block.tokens == 0) == (not text.data)
        assert not block.payload.endswith(b"\0")
        assert abs(8 * len(block.payload) - block.bits) <= 16


@settings(max_examples=15)
@given(st.lists(texts(), min_size=1, max_size=6), st.data())
def test_a_payload_does_not_know_of_the_other_lanes(several: list[Text], data: st.DataObject) -> None:
    """Alone, in any order, in groups of any size; written and read."""
    coder = coder_of("bytes", *data.draw(st.sampled_from(SHAPES)))
    alone = [coded(coder, [text])[0] for text in several]
    assert coded(coder, several) == alone
    order = data.draw(st.permutations(range(len(several))))
    assert coded(coder, [several[i] for i in order]) == [alone[i] for i in order]
    cut = data.draw(st.integers(0, len(several)))
    parts = coder.decode([alone[i] for i in order[:cut]]) + coder.decode([alone[i] for i in order[cut:]])
    assert parts == [several[i].data for i in order]


@pytest.mark.parametrize(("context", "stride"), [(512, 512), (150, 40), (129, 128)])
def test_blocks_longer_than_a_chunk_and_a_window(context: int, stride: int) -> None:
    coder = coder_of("bytes", context, stride)
    several = [Text(PROSE[:401], (100, 128, 257)), Text(PROSE[7:150]), Text(b""), Text(PROSE[:129])]
    seen: list[int] = []
    found = coder.encode(several, seen.append)
    blocks = [block for block in found if block is not None]
    assert sum(seen) == sum(block.tokens for block in blocks)
    assert [block.tokens for block in blocks] == [401 + 3, 143, 0, 129]
    assert blocks[3] == coded(coder, [several[3]])[0]
    seen.clear()
    assert coder.decode(blocks, seen.append) == [text.data for text in several]
    assert sum(seen) == sum(block.tokens for block in blocks)


def test_torch_writes_and_reads_the_same() -> None:
    """Written by one executor, read by the other."""
    several = [Text(PROSE[:90], (33,)), Text(PROSE[50:60]), Text(bytes(range(256))[::7])]
    ours = coder_of("bytes")
    theirs = ExactCoder(model_file("bytes"), 16, 4, TorchOps())
    assert theirs.identity == ours.identity
    blocks = coded(theirs, several)
    assert blocks == coded(ours, several)
    assert theirs.decode(blocks) == [text.data for text in several]


def test_another_model_has_another_identity() -> None:
    first, second = model_file("bytes"), model_file("bytes", "model.head={kind='tied', softcap=29.0}")
    assert ExactCoder(first, 16, 4).identity == coder_of("bytes").identity
    assert ExactCoder(second, 16, 4).identity != coder_of("bytes").identity


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(st.data())
def test_damage_gives_other_bytes_or_none(kind: str, data: st.DataObject) -> None:
    coder, several = coder_of(kind), [Text(PROSE[:60]), Text(PROSE[100:140], (20,))]
    blocks = coded(coder, several)
    payload = bytearray(blocks[0].payload)
    how = data.draw(st.sampled_from(["flip", "cut", "extend", "other", "tokens"]))
    tokens = blocks[0].tokens
    if how == "flip":
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif how == "cut":
        del payload[data.draw(st.integers(0, len(payload) - 1)) :]
    elif how == "extend":
        payload += data.draw(st.binary(min_size=1, max_size=20))
    elif how == "other":
        payload[:] = data.draw(st.binary(max_size=100))
    else:
        tokens = data.draw(st.integers(0, 2 * tokens))
    found = coder.decode([Coded(tokens, bytes(payload)), blocks[1]])
    assert found[1] == several[1].data  # the other lane does not notice
    if (
        how in ("flip", "cut") and kind == "bytes"
    ):  # pieces of several bytes spell a text in more than one way
        assert found[0] != several[0].data


def test_a_payload_that_ends_is_found_out_on_the_way() -> None:
    """Long before the tokens that somebody claims it has."""
    steps: list[int] = []
    assert coder_of("bytes").decode([Coded(100_000, b"short")], steps.append) == [None]
    assert sum(steps) < 100


def test_text_whose_number_is_round_comes_back() -> None:
    """There are texts whose payload is far shorter than their bits, by construction: whatever a short payload
    decodes to when it is read on and on. They must come back like all others."""
    file = model_file("bytes")
    engine, ids = Exact(file.config.model, file.artifact.tensors), [0, 0]
    for number in range(256):
        if 0 not in ids[1:]:
            break
        ids, state, decoder = [0], engine.start(1), Decoder(bytes([number, 1]))
        while len(ids) < 50 and 0 not in ids[1:]:  # with BOS inside it is not the text of one document
            extras = engine.extras(engine.read(state, np.array([ids[-1:]])))[0].astype(np.float32)
            ids.append(decoder.decode(extras))
    assert len(ids) == 50
    text = Text(file.tokenizer.decode(ids))
    coder = coder_of("bytes", 100, 100)
    block = coded(coder, [text])[0]
    assert block.bits > 200
    assert coder.decode([block]) == [text.data]


def test_noise_is_given_up_and_text_is_not() -> None:
    """After TRIAL tokens; what is shorter is coded whatever it costs. Neighbours go on."""
    coder = coder_of("bpe", 512, 512)
    noise = np.random.default_rng(0).bytes(exact_coder.TRIAL + 200)
    prose = Text(PROSE * 20)
    several = [Text(noise), prose, Text(noise[: exact_coder.TRIAL - 300]), Text(b"and then?")]
    found = coder.encode(several)
    assert [block is None for block in found] == [True, False, False, False]
    assert found[1] == coder.encode([prose])[0]
    assert found[1] is not None
    assert found[1].tokens > exact_coder.TRIAL
    assert len(found[1].payload) < len(prose.data)
    assert found[2] is not None
    assert 8 * len(found[2].payload) > 8 * len(several[2].data)
