"""The case split is a bijection between all bytes and the bytes it writes, and the fast form is the plain one."""

from __future__ import annotations

import string

import pytest
from data_samples import REAL_TEXT
from hypothesis import example, given
from hypothesis import strategies as st

from bytegolf.data.case_split import (
    CAP,
    ESCAPE,
    UPPER,
    join_case,
    join_leniently,
    operators_in_force,
    pending,
    split_case,
)
from bytegolf.errors import DataError

C, U, E = bytes([CAP]), bytes([UPPER]), bytes([ESCAPE])
SMALL, LARGE = string.ascii_lowercase.encode(), string.ascii_uppercase.encode()

# Few enough symbols that operators, letters and their neighbours meet in every way.
CROWDED = st.lists(st.sampled_from([b"a", b"b", b"A", b"Z", b" ", b"\xc3", C, U, E]), max_size=14).map(
    b"".join
)
ANY = st.one_of(CROWDED, st.binary(max_size=40), st.text(max_size=20).map(str.encode))


def split_by_hand(data: bytes) -> bytes:
    out = bytearray()
    i = 0
    while i < len(data):
        if data[i] in (CAP, UPPER, ESCAPE):
            out += bytes([ESCAPE, data[i]])
            i += 1
        elif data[i] in LARGE:
            end = i
            while end < len(data) and data[end] in LARGE:
                end += 1
            if end < len(data) and data[end] in SMALL and end - i > 1:
                end -= 1  # the last capital belongs to the small letters behind it
            out += (U if end - i > 1 else C) + data[i:end].lower()
            i = end
        else:
            out.append(data[i])
            i += 1
    return bytes(out)


def join_by_hand(data: bytes) -> bytes:
    out, state = bytearray(), None
    for byte in data:
        if state == ESCAPE:
            out.append(byte)
            state = None
        elif byte in (CAP, UPPER, ESCAPE):
            state = byte
        elif byte in SMALL:
            out += bytes([byte]).upper() if state else bytes([byte])
            state = state if state == UPPER else None
        else:
            out.append(byte)
            state = None
    return bytes(out)


@given(ANY)
@example(REAL_TEXT)
def test_every_text_comes_back(data: bytes) -> None:
    written = split_case(data)
    assert written == split_by_hand(data)
    assert join_case(written) == join_leniently(written) == data
    assert (~operators_in_force(written)).sum() == len(data)


@given(ANY)
@example(split_case(REAL_TEXT))
def test_only_what_the_split_writes_is_joined(data: bytes) -> None:
    try:
        text = join_case(data)
    except DataError:
        assert split_by_hand(join_by_hand(data)) != data
    else:
        assert split_case(text) == data


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (b"", b""),
        (b"Hello", C + b"hello"),
        (b"HTTP", U + b"http"),
        (b"HTTPServer", U + b"http" + C + b"server"),
        (b"A", C + b"a"),
        (b"camelCase", b"camel" + C + b"case"),
        (b"ABc", C + b"a" + C + b"bc"),
        (b"X.YZ", C + b"x." + U + b"yz"),
        ("É".encode(), "É".encode()),
        (C + b"a" + E, E + C + b"a" + E + E),
    ],
)
def test_examples(text: bytes, written: bytes) -> None:
    assert split_case(text) == written
    assert join_case(written) == text


@pytest.mark.parametrize(
    "data",
    [
        C,
        U,
        E,
        C + b" a",
        C + b"A",
        C + C + b"a",
        U + b"a",
        U + b"a b",
        U + b" ab",
        U + b"ab" + C + b"c",
        U + b"ab" + U + b"cd",
        C + b"a" + C + b"b",
        C + b"a" + U + b"bc",
        b"A",
        b"aB",
        E + b"a",
        E + b" ",
        E + b"\xff",
        E + E + E,
        U + b"ab" + E,
    ],
)
def test_what_the_split_never_writes_is_an_error(data: bytes) -> None:
    with pytest.raises(DataError, match="what the case split writes"):
        join_case(data)


def test_the_error_shows_the_place() -> None:
    with pytest.raises(DataError) as error:
        join_case(b"two " + C + b"words" + E + b"x")
    assert "at byte 10" in str(error.value)


@given(CROWDED, CROWDED)
def test_a_text_decodes_in_pieces_with_what_is_pending(first: bytes, second: bytes) -> None:
    assert join_leniently(first + second) == join_leniently(first) + join_leniently(pending(first) + second)
    assert len(pending(first)) <= 1


@given(CROWDED)
def test_the_lenient_form_is_the_plain_one(data: bytes) -> None:
    assert join_leniently(data) == join_by_hand(data)
