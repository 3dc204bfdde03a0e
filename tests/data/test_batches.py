"""Documents that share a call of the encoder get the ids that they get alone."""

from __future__ import annotations

import numpy as np
import pytest
from data_samples import REAL_TEXT
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.data import batches
from bytegolf.data.batches import MARK
from bytegolf.data.case_bpe import CaseBpeTokenizer
from bytegolf.data.tokenizer import BpeTokenizer, ByteTokenizer, Learner

LEARNERS: dict[str, Learner] = {
    "bpe": BpeTokenizer.learn([REAL_TEXT], 400),
    "case_bpe": CaseBpeTokenizer.learn([REAL_TEXT], 400),
    "bytes": ByteTokenizer(),
}
MARKED = st.sampled_from(
    [MARK, MARK[:-1], MARK[1:], MARK[:1], "The", "HTTP", "\x0e", "\x0f", "\x10", "\n", " "]
)
TEXTS = st.lists(st.text(max_size=8) | MARKED, max_size=4).map("".join)
DOCUMENTS = st.lists(TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=6))


@pytest.mark.parametrize("kind", LEARNERS)
@given(documents=DOCUMENTS, size=st.integers(1, 40))
def test_a_batch_is_its_documents_each_behind_a_bos(kind: str, documents: list[bytes], size: int):
    learner = LEARNERS[kind]
    expected = [i for document in documents for i in [0, *learner.encode(document).tolist()]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "BATCH_BYTES", size)
        found = learner.encode_documents(documents)
    assert found.dtype == np.uint16
    assert found.tolist() == expected


@pytest.mark.parametrize("kind", LEARNERS)
def test_documents_of_real_text_decode_from_one_batch(kind: str):
    learner = LEARNERS[kind]
    documents = REAL_TEXT.splitlines(keepends=True)
    ids = learner.encode_documents(documents)
    assert np.count_nonzero(ids == 0) == len(documents)
    assert learner.decode(ids) == REAL_TEXT
    assert learner.byte_counts(ids).sum() == len(REAL_TEXT)


def test_the_mark_is_no_id_of_a_text():
    text = f"before{MARK}after".encode()
    ids = LEARNERS["bpe"].encode(text)
    assert 0 not in ids
    assert LEARNERS["bpe"].decode(ids) == text
