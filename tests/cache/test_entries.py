"""The bytes of an entry in the shared cache: damaged ones are never decoded."""

import struct
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cache.entries import VALUE_OVERHEAD_BYTES, VERSION, decode, encode
from app.domain import Entry


@given(
    st.binary(min_size=1, max_size=24),
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.binary(max_size=255),
)
def test_decode_reverses_encode(key, tokens, width, space):
    kept = Entry(bytes(range(4 * width)), tokens)
    value = encode(key, kept, 1234.567, space)
    assert decode(key, value, width, space) == (kept, 1234.567)
    assert decode(key, value, None, space) == (kept, 1234.567)
    assert len(value) == VALUE_OVERHEAD_BYTES + len(space) + 4 * width


@given(st.text(max_size=100), st.text(max_size=100), st.none() | st.just(2))
def test_value_of_another_space_is_no_value(one, other, width):
    value = encode(b"k", Entry(b"12345678", 1), 1.0, one.encode()[:255])
    assert (decode(b"k", value, width, other.encode()[:255]) is None) == (one != other)


def test_token_count_is_limited_to_the_largest_of_the_layout():
    decoded = decode(b"k", encode(b"k", Entry(b"1234", 2**40), 1, b"s"), 1, b"s")
    assert decoded[0].tokens == 2**32 - 1


GOOD = encode(b"key", Entry(b"\x01\x02\x03\x04" * 4, 7), 1000.0, b"s")


@pytest.mark.parametrize(
    ("value", "width"),
    [
        (b"", 4),
        (b"", None),
        (b"garbage", None),
        (b"x" * len(GOOD), 4),
        (GOOD, 5),
        (GOOD[:-4], 4),
        (GOOD[:-4], None),
        (GOOD[:-1], None),
        (GOOD + b"\0\0\0\0", None),
        (GOOD[:17], None),
        (bytes([VERSION + 1]) + GOOD[1:], 4),
        (GOOD[:20] + bytes([GOOD[20] ^ 1]) + GOOD[21:], 4),
        (encode(b"other key", Entry(b"\x01\x02\x03\x04" * 4, 7), 1000.0, b"s"), 4),
        (encode(b"key", Entry(b"\x01\x02\x03\x04" * 4, 7), 1000.0, b"t"), 4),
        (encode(b"key", Entry(b"\x01\x02\x03\x04" * 4, 7), 1000.0, b""), None),
    ],
)
def test_damaged_value_is_not_decoded(value, width):
    assert decode(b"key", value, width, b"s") is None


@given(st.binary(max_size=60), st.none() | st.integers(1, 10))
def test_random_bytes_are_not_decoded(value, width):
    assert decode(b"key", value, width, b"s") is None


def test_value_layout_is_unchanged():
    """A server outlives releases, so a new layout needs a new version."""
    rest = struct.pack("<IQB", 7, 1_000_000, 1) + b"s" + b"\x01\x02\x03\x04" * 4
    assert struct.pack("<BI", 2, crc32(rest, crc32(b"key"))) + rest == GOOD
