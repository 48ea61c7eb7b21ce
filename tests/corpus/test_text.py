import bz2
import gzip
import io
import lzma
import os
import resource
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.corpus import text
from nmt.corpus.text import BadLine, LineReport, open_text, read_lines, read_text, scan_lines
from nmt.errors import DataError, EnvironmentFault

OTHER_SEPARATORS = ["\t", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


def lines_of(data: bytes, bad_text: text.BadText = "replace") -> list[str]:
    return list(read_lines(io.BytesIO(data), "f", bad_text))


def report_of(data: bytes) -> LineReport:
    report = LineReport("f")
    for _ in scan_lines(io.BytesIO(data), report):
        pass
    return report


def n_lines(data: bytes) -> int:
    return data.count(b"\n") + (data[-1:] not in (b"", b"\n"))


# Bytes in which everything that the rule speaks of is frequent.
awkward = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"\n",
                b"\r",
                b"\r\n",
                b"\0",
                b"\xef\xbb\xbf",
                b"\xff",
                b"\xed\xa0\x80",
                b"\xc0\xaf",
                b"\xf4\x90\x80\x80",
                b"a",
            ]
        ),
        st.sampled_from([separator.encode() for separator in OTHER_SEPARATORS]),
        st.text(max_size=5).map(str.encode),
        st.binary(max_size=5),
    ),
    max_size=40,
).map(b"".join)


def packed(data: bytes) -> bool:
    """Whether it begins like something packed: unpacked, or refused, before the line rule sees it."""
    return data.startswith((b"\x1f\x8b", *text._REFUSED))


def test_reading_text_needs_no_torch() -> None:
    check = "import sys, nmt.corpus.text; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=Path(__file__).parents[2], check=False).returncode == 0


class TestTheLineRule:
    @given(awkward)
    def test_as_many_lines_as_line_feeds(self, data: bytes) -> None:
        if packed(data):
            return
        lines = lines_of(data)
        assert len(lines) == n_lines(data)
        for line in lines:
            line.encode()  # valid whatever came in
            assert len(line.splitlines()) <= 1
            assert "\0" not in line

    @given(awkward, st.integers(1, 7))
    def test_the_size_of_reads_changes_nothing(self, data: bytes, size: int) -> None:
        if packed(data):
            return

        class Slow(io.BytesIO):
            def read1(self, n: int | None = -1, /) -> bytes:
                return super().read1(size)

        slow, whole = LineReport("f"), LineReport("f")
        assert list(scan_lines(Slow(data), slow)) == list(scan_lines(io.BytesIO(data), whole))
        assert slow == whole

    @given(awkward)
    def test_gzip_changes_nothing(self, data: bytes) -> None:
        if packed(data):
            return
        assert lines_of(gzip.compress(data, 1)) == lines_of(data)

    @given(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0\ufeff" + "".join(OTHER_SEPARATORS))))
    )
    def test_text_without_separators_comes_back(self, lines: list[str]) -> None:
        assert lines_of("".join(f"{line}\n" for line in lines).encode(), "error") == lines

    @pytest.mark.parametrize("separator", OTHER_SEPARATORS)
    def test_other_separators_become_a_space_and_are_counted(self, separator: str) -> None:
        data = f"a{separator}b{separator}\nc\n".encode()
        assert lines_of(data, "error") == ["a b ", "c"]
        assert report_of(data).separators == 2

    def test_one_carriage_return_before_a_line_feed_is_dropped(self) -> None:
        assert lines_of(b"a\r\nb\r\r\nc\rd\ne\r", "error") == ["a", "b ", "c d", "e"]
        assert report_of(b"a\r\nb\r\r\nc\rd\ne\r").separators == 2

    def test_a_byte_order_mark_is_dropped_at_byte_0_only(self) -> None:
        assert lines_of(b"\xef\xbb\xbfa\r\n\xef\xbb\xbfb\xef\xbb\xbf\n", "error") == ["a", " b "]
        report = report_of(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n")
        assert report.bom
        assert report.separators == 1

    def test_nothing_is_no_line(self) -> None:
        assert lines_of(b"") == []
        assert lines_of(b"\n") == [""]
        assert lines_of(b"\n\na") == ["", "", "a"]


class TestBadLines:
    @pytest.mark.parametrize(
        ("raw", "column", "why"),
        [
            (b"caf\xe9", 4, "byte 0xE9 is not UTF-8"),
            ("éé".encode() + b"\xff", 3, "byte 0xFF is not UTF-8"),
            (b"\xc0\xaf", 1, "byte 0xC0 is not UTF-8"),  # too long a form
            (b"a\xed\xa0\x80", 2, "byte 0xED is not UTF-8"),  # a surrogate
            (b"\xf4\x90\x80\x80", 1, "byte 0xF4 is not UTF-8"),  # above U+10FFFF
            (b"ab\xe2\x82", 3, "byte 0xE2 is not UTF-8"),  # cut short
            (b"\0a", 1, "NUL byte"),
            (b"a\0", 2, "NUL byte"),
            (b"a\0\xff", 2, "NUL byte"),
            (b"\xff\0", 1, "byte 0xFF is not UTF-8"),
        ],
    )
    def test_the_place_is_told(self, raw: bytes, column: int, why: str) -> None:
        with pytest.raises(DataError) as caught:
            lines_of(b"good\n" + raw + b"\ngood\n", "error")
        assert caught.value.what == f"f:2:{column}: {why}"
        assert caught.value.hint == (
            "fix the text (Latin-1: iconv -f latin1 -t utf-8), or set corpus.bad_text: skip or replace"
        )

    def test_five_are_shown_and_all_are_counted(self) -> None:
        with pytest.raises(DataError) as caught:
            lines_of(b"\xff\n" * 7 + b"good\n", "error")
        assert caught.value.what.splitlines() == [
            *(f"f:{n}:1: byte 0xFF is not UTF-8" for n in range(1, 6)),
            "f: 7 bad lines in all",
        ]

    def test_utf_16_is_recognised(self) -> None:
        with pytest.raises(
            DataError, match=r"f:1:1: byte 0xFF is not UTF-8; the file looks like UTF-16 \(iconv -f utf-16"
        ):
            lines_of("ab\n".encode("utf-16"), "error")

    def test_replaced_lines_stay_one_line_and_are_reported(self) -> None:
        met: list[BadLine] = []
        stream = io.BytesIO(b"a\nb\xff\0c\nd\n")
        assert list(read_lines(stream, "f", "replace", on_bad=met.append)) == ["a", "b\ufffd\ufffdc", "d"]
        assert met == [BadLine(2, 2, "byte 0xFF is not UTF-8")]

    def test_skipped_lines_are_left_out_and_counted(self) -> None:
        report = LineReport("f")
        assert list(read_lines(io.BytesIO(b"a\n\xff\nd\n"), "f", "skip", report=report)) == ["a", "d"]
        assert (report.lines, report.bad) == (3, 1)

    def test_a_line_over_a_mebibyte_is_bad_and_one_line(self) -> None:
        longest = b"a" * text.MAX_LINE
        data = longest + b"\nb\n" + longest + b"c\nd\n" + longest + longest
        report = LineReport("f")
        lines = list(scan_lines(io.BytesIO(data), report))
        assert [line for line, _ in lines] == [longest.decode(), "b", "\ufffd", "d", "\ufffd"]
        assert report.describe_bad() == [
            "f:3:1: a line of 1,048,577 bytes; the longest that is read has 1,048,576",
            "f:5:1: a line of 2,097,152 bytes; the longest that is read has 1,048,576",
        ]

    def test_an_endless_line_takes_no_memory(self) -> None:
        class Endless(io.RawIOBase):
            left = 200 << 20

            def read(self, size: int = -1, /) -> bytes:
                self.left -= size
                return b"a" * size if self.left > 0 else b""

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert [line for line, _ in scan_lines(Endless(), LineReport("f"))] == ["\ufffd"]  # type: ignore[arg-type]
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10  # KiB


class TestPacking:
    def test_the_name_does_not_matter(self, tmp_path: Path) -> None:
        for name in ("plain.txt", "packed.gz"):
            for data in (b"a\nb\n", gzip.compress(b"a\nb\n")):
                (tmp_path / name).write_bytes(data)
                assert read_text(tmp_path / name).lines == ["a", "b"]

    def test_members_follow_one_another_and_zeros_pad(self) -> None:
        one, other = gzip.compress(b"a\nb"), gzip.compress(b"c\n")
        for padding in (b"", b"\0", bytes(100_000)):
            assert lines_of(one + other + padding, "error") == ["a", "bc"]
            assert lines_of(one + padding + other, "error") == ["a", "bc"]

    def test_a_mark_inside_gzip_is_dropped(self) -> None:
        assert lines_of(gzip.compress(b"\xef\xbb\xbfa\r\nb"), "error") == ["a", "b"]

    def test_cut_anywhere_is_told_with_the_lines_read(self) -> None:
        body = b"".join(b"line %d is %d\n" % (i, zlib.crc32(b"%d" % i)) for i in range(9000))
        packed = gzip.compress(body, mtime=0)
        for cut in [*range(2, 40), *range(40, len(packed), len(packed) // 70), *range(len(packed) - 10, len(packed))]:
            report = LineReport("f.gz")
            read: list[str] = []
            with pytest.raises(DataError) as caught:
                read.extend(line for line, _ in scan_lines(io.BytesIO(packed[:cut]), report))
            n = len(read)
            assert caught.value.what == f"f.gz is cut short: its gzip data stop without an end after {n:,} lines"
            assert caught.value.hint == "get the file again"
            assert body.startswith("".join(f"{line}\n" for line in read).encode())

    def test_damage_is_told(self) -> None:
        packed = bytearray(gzip.compress(b"hello\n" * 10))
        packed[-6] ^= 1  # in the checksum
        with pytest.raises(DataError, match=r"^error: f is damaged: after \d+ lines its gzip data make no sense \("):
            lines_of(bytes(packed))
        with pytest.raises(DataError, match="f is damaged: after 1 lines its gzip data make no sense"):
            lines_of(gzip.compress(b"a\n") + b"rubbish")

    @settings(max_examples=300)
    @given(st.integers(0, 200), st.integers(0, 255))
    def test_any_damaged_byte_is_lines_or_an_error(self, place: int, value: int) -> None:
        packed = bytearray(gzip.compress("".join(f"line {i}\n" for i in range(50)).encode(), mtime=0))
        packed[place % len(packed)] = value
        with suppress(DataError):
            lines_of(bytes(packed))

    @pytest.mark.parametrize(
        ("data", "kind", "command"),
        [
            (b"\x28\xb5\x2f\xfd\x04\x00\x19\x00\x00a\n", "zstd", "unzstd"),
            (lzma.compress(b"a\n"), "xz", "unxz"),
            (bz2.compress(b"a\n"), "bzip2", "bunzip2"),
            (b"PK\x03\x04\x14\x00", "zip", "unzip"),
        ],
    )
    def test_other_packers_are_refused_by_name(self, data: bytes, kind: str, command: str) -> None:
        with pytest.raises(DataError) as caught:
            lines_of(data)
        assert caught.value.what == f"f is packed with {kind}, which is not read here"
        assert caught.value.hint == f"unpack it ({command}), or use gzip"

    def test_text_that_begins_like_a_packer_is_text(self) -> None:
        assert lines_of(b"BZh and PK\n", "error") == ["BZh and PK"]
        assert lines_of(b"BZh", "error") == ["BZh"]

    def test_a_bomb_is_refused_before_it_fills_anything(self) -> None:
        packer = zlib.compressobj(9, wbits=31)
        bomb = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(200)), packer.flush()])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(
            DataError, match=r"f unpacks to more than 67,1\d\d,\d\d\d bytes from \d\d,\d\d\d: text does not"
        ):
            lines_of(bomb)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10

    def test_unpacked_bytes_are_capped_whatever_the_ratio(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(text, "MAX_UNPACKED", 1000)
        with pytest.raises(DataError, match="if it really is text, unpack it first"):
            lines_of(gzip.compress(os.urandom(2000).hex().encode()))


class TestStreams:
    def test_a_line_is_given_before_the_next_one_comes(self) -> None:
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as out:
            lines = read_lines(stream, "standard input", "replace")
            for sent in (b"one\n", b"\x1fB\n", b"PK\n"):
                out.write(sent)
                got: list[str] = []
                thread = threading.Thread(target=lambda got=got: got.append(next(lines)), daemon=True)
                thread.start()
                thread.join(5)
                assert got == [sent[:-1].decode()]

    def test_a_stream_without_read1_will_do(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(gzip.compress(b"a\nb\n"))
        with (tmp_path / "f").open("rb", buffering=0) as raw:
            assert list(read_lines(raw, "f")) == ["a", "b"]  # type: ignore[arg-type]

    def test_a_failing_disk_is_the_environments_fault(self) -> None:
        class Failing(io.BytesIO):
            def read1(self, size: int | None = -1, /) -> bytes:
                raise OSError(5, "Input/output error")

        with pytest.raises(EnvironmentFault, match="f cannot be read: Input/output error"):
            list(read_lines(Failing(), "f"))


class TestFiles:
    def test_missing_folders_and_locked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(DataError, match=r"nothing\.en does not exist$"):
            read_text(tmp_path / "nothing.en")
        with pytest.raises(DataError, match=r"is a folder, not a file of text$"):
            read_text(tmp_path)
        (tmp_path / "f").touch()

        def refuse(*_: object) -> Iterator[BinaryIO]:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(EnvironmentFault, match="f cannot be read: Permission denied"), open_text(tmp_path / "f"):
            pass

    def test_a_whole_file_with_its_report(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(b"a\tb\nc")
        got = read_text(tmp_path / "f")
        assert got.lines == ["a b", "c"]
        assert (got.report.lines, got.report.separators) == (2, 1)


@pytest.mark.parametrize(
    "data", [b"a\n\nbb\n\xff\n", b"a\nb\nlast", b"\n" * 200_000, b"x" * 300_000 + b"\ny\n", b"", b"\n\n"]
)
@pytest.mark.parametrize("packed", [False, True])
def test_skipped_lines_are_counted_and_the_rest_is_as_it_was(data: bytes, packed: bool) -> None:
    whole = [text for text, _ in scan_lines(io.BytesIO(data), LineReport("x"))]
    for skip in {0, 1, 2, 3, 65_536, 65_537, 199_999, 200_000, 200_001}:
        report = LineReport("x")
        stream = io.BytesIO(gzip.compress(data) if packed else data)
        rest = list(scan_lines(stream, report, skip=skip))
        assert [text for text, _ in rest] == whole[skip:]
        assert report.lines == len(whole)
        assert [bad.line for _, bad in rest if bad] == [
            n for n, text in enumerate(whole, 1) if n > skip and "\ufffd" in text
        ]


def test_skipping_waits_for_nothing_on_a_pipe() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as source, open(writer, "wb", buffering=0) as sink:
        sink.write(b"one\ntwo\nthr")
        lines = scan_lines(source, LineReport("x"), skip=1)
        assert next(lines)[0] == "two"
        sink.write(b"ee\n")
        assert next(lines)[0] == "three"
