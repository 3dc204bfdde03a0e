"""Overlap of two sets of documents: nothing in new text, copies by digest, edited copies by their shingles."""

from __future__ import annotations

import numpy as np
import pytest
from data_samples import REAL_TEXT, documents, prose
from hypothesis import given
from hypothesis import strategies as st

from bytegolf.data import overlap as module
from bytegolf.data import shingles, windows
from bytegolf.data.corpora import Document
from bytegolf.data.overlap import overlap
from bytegolf.data.split import split


def by_hand(first: list[bytes], second: list[bytes]) -> tuple[list[int], list[int], int, int]:
    """The definition, with sets of windows."""
    near, total, seen = [], 0, 0
    for i, document in enumerate(second):
        length = min(50, len(document))
        known = {d[k : k + length] for d in first for k in range(len(d) - length + 1)}
        windows = [document[k : k + length] for k in range(len(document) - length + 1)] if length else []
        found = sum(window in known for window in windows)
        near += [i] if found > 0.2 * len(windows) else []
        total, seen = total + len(windows), seen + found
    return [i for i, d in enumerate(second) if d in first], near, total, seen


# Slices of one text overlap in every degree; short and empty documents are among them.
SLICES = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 150)).map(lambda at: REAL_TEXT[at[0] : at[0] + at[1]]),
    max_size=6,
)


@given(SLICES, SLICES)
def test_overlap_is_what_its_definition_says(first: list[bytes], second: list[bytes]) -> None:
    found = overlap(first, second)
    assert (list(found.exact), list(found.near), found.shingles, found.seen) == by_hand(first, second)
    assert found.share == (found.seen / found.shingles if found.shingles else 0)
    assert (found.documents, found.bytes) == (len(second), sum(map(len, second)))
    assert found.near_bytes == sum(len(second[i]) for i in found.near)


@pytest.mark.parametrize("size", [60, 333])
@given(first=SLICES, second=SLICES)
def test_the_size_of_a_chunk_changes_nothing(first: list[bytes], second: list[bytes], size: int) -> None:
    whole = overlap(first, second)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shingles, "CHUNK_BYTES", size)
        patch.setattr(module, "CHUNK_BYTES", size)
        assert overlap(first, second) == whole


@pytest.mark.parametrize("dense", [0, 1, 1 << 40])
@given(first=SLICES, second=SLICES)
def test_how_the_windows_are_sifted_changes_nothing(
    first: list[bytes], second: list[bytes], dense: int
) -> None:
    whole = overlap(first, second)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "_BLOCK", 32)
        patch.setattr(windows, "_PORTION", 96)
        patch.setattr(windows, "_DENSE", dense)
        assert overlap(first, second) == whole


def test_a_hash_is_of_one_window_wherever_it_lies() -> None:
    for length in (3, 8, 9, 16, 31, 32, 49, 50):
        text = windows.Text([REAL_TEXT])
        count = len(REAL_TEXT) - length + 1
        hashes = text.hashes(0, count, length)
        assert (hashes == text.hashes_at(np.arange(count), length)).all()
        assert len(set(hashes.tolist())) == len({REAL_TEXT[i : i + length] for i in range(count)})


def test_new_documents_do_not_overlap() -> None:
    found = overlap([prose(f"a{i}") for i in range(20)], [prose(f"b{i}") for i in range(20)])
    assert (found.exact, found.near, found.share) == ((), (), 0.0)
    assert found.shingles == found.bytes - 20 * 49


def test_a_copy_is_exact_and_an_edited_copy_is_near() -> None:
    first = [prose(f"a{i}") for i in range(9)]
    edited = first[4][:700] + b" edited " + prose("new")[:700]
    found = overlap(first, [prose("b"), first[7], edited, first[2][:99] + prose("c")])
    assert (found.exact, found.near) == ((1,), (1, 2))
    assert found.near_bytes == len(first[7]) + len(edited)
    assert overlap(first, [edited], near_share=0.6).near == ()


def test_nothing_that_the_split_holds_out_is_near_its_training_side() -> None:
    plain = documents()
    held_out = split(plain).held_out
    trained = next(d for d in plain if d not in held_out)
    leaky = [d.data for d in held_out] + [trained.data]
    assert overlap([d.data for d in plain if d not in held_out], leaky).near == (len(held_out),)
    mixed = [
        Document(d.name, d.group, d.data[:900] + trained.data[: i % 2 * 600]) for i, d in enumerate(plain)
    ]
    sides = split(mixed)
    assert sides.moved, "the sample must hold near duplicates"
    found = overlap([d.data for d in sides.train], [d.data for d in sides.held_out])
    assert (found.exact, found.near) == ((), ())


def test_of_nothing_there_is_no_overlap() -> None:
    assert overlap([], []).share == 0.0
    assert overlap([b"a"], []).documents == 0
    assert overlap([], [b"a"]).near == ()
    assert overlap([b""], [b""]).exact == (0,)
