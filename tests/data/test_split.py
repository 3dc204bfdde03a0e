"""The split: by group, by hash, and honest about near duplicates."""

from __future__ import annotations

import hashlib

import pytest
from data_samples import documents, prose
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.data.corpora import Document
from bytegolf.data.split import split
from bytegolf.data.windows import window_hashes
from bytegolf.errors import DataError


def hashed_out(group: str) -> bool:
    return int(hashlib.sha256(group.encode()).hexdigest(), 16) % 12 == 0


HELD_OUT = next(name for i in range(999) if hashed_out(name := f"module{i}"))


def with_held_out(*texts: bytes, training: bytes = b"") -> list[Document]:
    """A corpus whose held-out side is `texts`; its training side is prose and `training`."""
    held_out = [Document(f"{HELD_OUT}/{i}", HELD_OUT, text) for i, text in enumerate(texts)]
    train = [d for d in documents() if not hashed_out(d.group)]
    return train + held_out + ([Document("more", "trained", training)] if training else [])


assert not hashed_out("trained")


@given(st.lists(st.tuples(st.integers(0, 60), st.text(max_size=3)), min_size=2, max_size=80, unique=True))
def test_every_document_lands_on_one_side_and_no_group_on_both(names: list[tuple[int, str]]):
    found = [Document(f"{g}/{n}", f"group {g}", prose(f"{g}/{n}", 40)) for g, n in names]
    if len({d.group for d in found}) < 2:
        with pytest.raises(DataError):
            split(found)
        return
    sides = split(found)
    assert sides.moved == []
    assert sides.train
    assert sides.held_out
    assert sorted(sides.train + sides.held_out, key=found.index) == found
    assert {d.group for d in sides.train}.isdisjoint(d.group for d in sides.held_out)


def test_the_hash_of_the_group_decides():
    sides = split(documents(200, 1))
    assert {d.group for d in sides.held_out} == {f"g{i}" for i in range(200) if hashed_out(f"g{i}")}


def test_when_the_hash_picks_nothing_the_smallest_hashes_are_held_out():
    found = [d for d in documents(40, 2) if not hashed_out(d.group)]
    by_hash = sorted({d.group for d in found}, key=lambda g: hashlib.sha256(g.encode()).hexdigest())
    assert {d.group for d in split(found).held_out} == set(by_hash[: len(by_hash) // 12])


def test_when_the_hash_picks_everything_one_group_is_held_out():
    groups = [f"m{i}" for i in range(400) if hashed_out(f"m{i}")][:5]
    sides = split([Document(g, g, prose(g)) for g in groups])
    assert len(sides.held_out) == 1


def test_one_document_cannot_be_split():
    with pytest.raises(DataError, match="give more text"):
        split([Document("a", "a", prose("a"))])


def test_a_document_moves_when_its_share_is_above_the_threshold_and_stays_when_not():
    # 1000 bytes hold 951 windows; n shared bytes in one run hold n - 49 shared windows.
    new, other, old = prose("new", 300), prose("other", 300), prose("old", 300)
    most = int(0.2 * 951) + 49
    below, above = old[:most] + new[: 1000 - most], old[: most + 1] + other[: 999 - most]
    assert len(below) == len(above) == 1000
    sides = split(with_held_out(below, above, prose("third"), training=old))
    assert [d.data for d in sides.moved] == [above]
    assert below in [d.data for d in sides.held_out]
    assert above in [d.data for d in sides.train]


def test_the_share_is_an_argument():
    old = prose("old")
    mixed = old[:500] + prose("new")[:500]
    found = with_held_out(mixed, prose("third"), training=old)
    assert split(found, near_duplicate_share=0.6).moved == []
    assert [d.data for d in split(found, near_duplicate_share=0.4).moved] == [mixed]


def test_a_document_that_copies_a_moved_one_moves_too():
    first, second, old = prose("first"), prose("second"), prose("old")
    chain = [old[:600] + first[:600], first[:600] + second[:600], second[:600] + prose("third")[:600]]
    sides = split(with_held_out(*reversed(chain), prose("fourth"), training=old))
    assert sorted(d.data for d in sides.moved) == sorted(chain)


def test_shared_text_below_a_shingle_does_not_count():
    licence = prose("licence")[:49]
    sides = split(with_held_out(licence + prose("new"), training=prose("before") + licence))
    assert sides.moved == []


@pytest.mark.parametrize("length", [1, 7, 31, 48, 49, 50, 51])
def test_a_short_document_moves_when_training_holds_it_verbatim(length: int):
    text = prose("old")[100 : 100 + length]
    sides = split(with_held_out(text, prose("new"), training=prose("old")))
    assert [d.data for d in sides.moved] == [text]


def test_a_short_document_that_training_does_not_hold_stays():
    sides = split(with_held_out(b"\xff\xfe\xfd", prose("new")))
    assert b"\xff\xfe\xfd" in [d.data for d in sides.held_out]


def test_windows_do_not_reach_across_documents():
    a, b = prose("a")[:40], prose("b")[:40]
    sides = split([*with_held_out(a + b, training=a), Document("next", "trained", b)])
    assert sides.moved == []


def test_a_corpus_of_copies_is_an_error():
    with pytest.raises(DataError, match="new to the training text"):
        split([Document(str(i), str(i), prose("same")) for i in range(30)])


@given(st.lists(st.text("ab", min_size=1, max_size=120), min_size=1, max_size=5), st.integers(1, 60))
def test_windows_have_equal_hashes_exactly_when_they_are_equal(texts: list[str], length: int):
    found = [text.encode() for text in texts]
    windows = [(t[i : i + length], n) for n, t in enumerate(found) for i in range(len(t) - length + 1)]
    hashes, owner = window_hashes(found, length)
    assert owner.tolist() == [n for _, n in windows]
    named = dict(zip(hashes.tolist(), (w for w, _ in windows), strict=True))
    assert [named[h] for h in hashes.tolist()] == [w for w, _ in windows]
    assert len(named) == len({w for w, _ in windows})
