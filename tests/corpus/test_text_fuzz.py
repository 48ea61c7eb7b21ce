"""Any bytes at all through the line rule: five hundred in every run, ten thousand in the slow one."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.corpus.text import LineReport, scan_lines

# Bytes alone seldom meet the separators, the marks and the broken characters that the rule is about.
PARTS = st.sampled_from(
    [
        b"\n",
        b"\r",
        b"\r\n",
        b"\t",
        b"\x00",
        b"\x0b",
        b"\x1c",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\xef\xbb\xbf",
        b"\xe9",
        b"a",
    ]
)
# A letter first: what begins like a packed file is unpacked or refused by name, which test_text.py is about.
BYTES = st.lists(PARTS | st.binary(max_size=4), max_size=30).map(lambda parts: b"a" + b"".join(parts))


def holds(data: bytes) -> None:
    """One line for each newline and one for an unterminated rest; no separator is left in any."""
    lines = [line for line, _ in scan_lines(io.BytesIO(data), LineReport("f"))]
    assert len(lines) == data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    assert all(len(line.splitlines()) <= 1 and "\x00" not in line for line in lines)


@settings(max_examples=500, deadline=None)
@given(BYTES)
def test_any_bytes_give_a_line_for_a_line(data: bytes) -> None:
    holds(data)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None)
@given(BYTES)
def test_ten_thousand_of_them_do(data: bytes) -> None:
    holds(data)
