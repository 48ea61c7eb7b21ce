import gzip
import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.corpus.pairs import Counts, PairFiles, PairReader, find_files, first_shifted_line, repeated, spooled
from nmt.errors import DataError
from nmt.recipe import CorpusConfig, Download

RECIPE = Path("recipes/small.yaml")


def corpus(**more: Any) -> CorpusConfig:
    return CorpusConfig.model_validate({"src": "en", "tgt": "fr", "train": "train", "valid": "valid", **more})


def write(folder: Path, **texts: bytes | str) -> None:
    """Files of these texts; in a name, `_` stands for the dot."""
    for name, text in texts.items():
        (folder / name.replace("_", ".")).write_bytes(text if isinstance(text, bytes) else text.encode())


def read(
    folder: Path, src: bytes | str, tgt: bytes | str, **more: Any
) -> tuple[list[tuple[str, str]], Counts, PairReader]:
    """What of a training corpus passes, its counts, and the reader with its problems."""
    write(folder, t_en=src, t_fr=tgt)
    reader, counts = PairReader(corpus(**more), RECIPE), Counts()
    reader.spool_train(PairFiles("t", folder / "t.en", folder / "t.fr"), counts, folder / "spool")
    return list(spooled(folder / "spool")), counts, reader


class TestFindingFiles:
    def test_prefixes_pairs_and_lists(self, tmp_path: Path) -> None:
        write(tmp_path, a_en="", a_fr="", b_en="", b_fr="", valid_en="", valid_fr="")
        recipe = tmp_path / "r.yaml"
        found = find_files(corpus(train="a"), recipe)
        assert [(pair.name, pair.src.name, pair.tgt.name, pair.weight) for pair in found.all()] == [
            ("a", "a.en", "a.fr", 1.0),
            ("valid", "valid.en", "valid.fr", 1.0),
        ]
        assert found.test is None
        listed = find_files(corpus(train=["a", {"src": "b.en", "tgt": "b.fr", "weight": 0.5}], test="b"), recipe)
        assert [(pair.name, pair.weight) for pair in listed.train] == [("a", 1.0), ("b.en", 0.5)]
        assert listed.test is not None

    def test_packed_files_are_found_and_plain_ones_preferred(self, tmp_path: Path) -> None:
        write(tmp_path, train_en_gz="", train_fr="", train_fr_gz="", valid_en_gz="", valid_fr_gz="")
        found = find_files(corpus(), tmp_path / "r.yaml")
        assert [path.name for path in (found.train[0].src, found.train[0].tgt)] == ["train.en.gz", "train.fr"]

    def test_the_folder_starts_at_the_recipe(self, tmp_path: Path) -> None:
        (tmp_path / "recipes").mkdir()
        (tmp_path / "text").mkdir()
        write(tmp_path / "text", train_en="", train_fr="", valid_en="", valid_fr="")
        found = find_files(corpus(folder="../text"), tmp_path / "recipes" / "r.yaml")
        assert found.valid.src == tmp_path / "text" / "valid.en"

    def test_a_missing_folder_is_looked_for_in_the_shared_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "shared" / "small").mkdir(parents=True)
        write(tmp_path / "shared" / "small", train_en="", train_fr="", valid_en="", valid_fr="")
        monkeypatch.setenv("NMT_SHARED_DATA", str(tmp_path / "shared"))
        found = find_files(corpus(folder="../data/small"), tmp_path / "recipes" / "r.yaml")
        assert found.valid.src == tmp_path / "shared" / "small" / "valid.en"
        monkeypatch.delenv("NMT_SHARED_DATA")
        with pytest.raises(DataError, match="\n  or let NMT_SHARED_DATA name a folder that holds them in small/"):
            find_files(corpus(folder="../data/small"), tmp_path / "recipes" / "r.yaml")

    def test_all_missing_files_are_told_at_once_with_how_to_get_them(self, tmp_path: Path) -> None:
        write(tmp_path, train_en="")
        recipe = tmp_path / "r.yaml"
        config = corpus(test={"src": "x.en", "tgt": "x.fr"})
        with pytest.raises(DataError) as caught:
            find_files(config, recipe)
        assert caught.value.what.splitlines() == [
            "text that the recipe names is missing:",
            f"{tmp_path}/train.fr (or train.fr.gz)",
            f"{tmp_path}/valid.en (or valid.en.gz)",
            f"{tmp_path}/valid.fr (or valid.fr.gz)",
            f"{tmp_path}/x.en (or x.en.gz)",
            f"{tmp_path}/x.fr (or x.fr.gz)",
        ]
        assert caught.value.hint == "put the files there, or set corpus.folder"
        download = Download(url="https://example.org/a", sha256="0" * 64, file="train.fr")
        config = config.model_copy(update={"obtain": "ask the library", "downloads": [download]})
        with pytest.raises(DataError) as caught:
            find_files(config, recipe)
        assert caught.value.hint == f"ask the library\nto download it: nmt prepare --fetch {recipe}"

    def test_a_pair_of_files_may_be_packed_too(self, tmp_path: Path) -> None:
        write(tmp_path, train_en="", train_fr="", valid_en="", valid_fr="")
        for side in ("en", "fr"):
            (tmp_path / f"train.{side}").rename(tmp_path / f"train.{side}.gz")
        found = find_files(corpus(train={"src": "train.fr", "tgt": "train.en.gz"}), tmp_path / "r.yaml")
        assert (found.train[0].src, found.train[0].tgt) == (tmp_path / "train.fr.gz", tmp_path / "train.en.gz")

    def test_no_training_text_at_all(self, tmp_path: Path) -> None:
        write(tmp_path, valid_en="", valid_fr="")
        with pytest.raises(DataError, match=r"corpus.train names no text\n  give at least one prefix or pair of files"):
            find_files(corpus(train=[]), tmp_path / "r.yaml")

    @pytest.mark.parametrize("how", ["itself", "hard link", "symlink"])
    def test_one_file_cannot_be_both_sides(self, tmp_path: Path, how: str) -> None:
        write(tmp_path, train_en="a", valid_en="a", valid_fr="b")
        match how:
            case "itself":
                train: Any = {"src": "train.en", "tgt": "./train.en"}
            case "hard link":
                train = "train"
                os.link(tmp_path / "train.en", tmp_path / "train.fr")
            case _:
                train = "train"
                (tmp_path / "train.fr").symlink_to("train.en")
        with pytest.raises(DataError, match="are one and the same file\n  source and target must be two files"):
            find_files(corpus(train=train), tmp_path / "r.yaml")

    def test_what_is_no_plain_file_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path, train_en="", valid_en="", valid_fr="")
        os.mkfifo(tmp_path / "train.fr")
        with pytest.raises(
            DataError, match=r"train.fr is not a plain file\n  the text of a recipe is read more than once"
        ):
            find_files(corpus(), tmp_path / "r.yaml")
        (tmp_path / "train.fr").unlink()
        (tmp_path / "train.fr").mkdir()
        with pytest.raises(DataError, match=r"train.fr is not a plain file"):
            find_files(corpus(), tmp_path / "r.yaml")


def oracle(src: bytes, tgt: bytes) -> list[tuple[str, str]]:
    """The pairs of two texts under bad_text: skip, by other means than the program's."""

    def lines(data: bytes) -> list[str | None]:
        cut = data.split(b"\n")
        if cut[-1] == b"":
            cut.pop()
        texts: list[str | None] = []
        for raw in cut:
            try:
                text = raw.removesuffix(b"\r").decode()
            except UnicodeDecodeError:
                text = "\0"
            for separator in "\t\v\f\r\x1c\x1d\x1e\x85\u2028\u2029\ufeff":
                text = text.replace(separator, " ")
            texts.append(None if "\0" in text else text)
        return texts

    pairs = zip(lines(src), lines(tgt), strict=True)
    return [(one, other) for one, other in pairs if one and other and one.strip() and other.strip()]


line = st.one_of(
    st.sampled_from([b"", b" ", b"\t", b"\xff", b"a\0", b"\xc2\xa0", b"x\xe2\x80\xa8y", b"end\r"]),
    st.text(max_size=4).map(str.encode),
    st.integers(0, 99).map(lambda i: b"%d" % i),
)
line_pairs = st.lists(st.tuples(line, line), max_size=12).map(
    lambda rows: [(a.replace(b"\n", b""), b.replace(b"\n", b"")) for a, b in rows]
)


class TestReadingPairs:
    @settings(max_examples=200, deadline=None)
    @given(line_pairs, st.booleans(), st.booleans())
    def test_surviving_pairs_keep_their_partner(
        self, rows: list[tuple[bytes, bytes]], packed: bool, ended: bool
    ) -> None:
        src, tgt = (b"".join(row[side] + b"\n" for row in rows) for side in (0, 1))
        if not ended and rows and rows[-1][0] and rows[-1][1]:
            src, tgt = src[:-1], tgt[:-1]
        if src.startswith((b"\xef\xbb\xbf", b"\x1f\x8b")) or tgt.startswith((b"\xef\xbb\xbf", b"\x1f\x8b")):
            return
        with TemporaryDirectory() as folder:
            pairs, counts, reader = read(
                Path(folder), gzip.compress(src) if packed else src, tgt, bad_text="skip", overlap="allow"
            )
        assert pairs == oracle(src, tgt)
        assert not reader.problems.lines
        assert counts.read == len(rows)
        assert counts.read == counts.bad + counts.empty + len(pairs)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=60), st.binary(max_size=60), st.sampled_from(["error", "skip", "replace"]))
    def test_any_two_files_are_pairs_or_an_error(self, src: bytes, tgt: bytes, bad_text: str) -> None:
        with TemporaryDirectory() as folder, suppress(DataError):
            _, _, reader = read(Path(folder), src, tgt, bad_text=bad_text)
            reader.problems.raise_any()

    def test_a_pair_with_an_empty_side_is_dropped_whole(self, tmp_path: Path) -> None:
        pairs, counts, _ = read(tmp_path, "s1\n\ns3\n \ns5\n", "t1\nt2\n\nt4\nt5\n")
        assert pairs == [("s1", "t1"), ("s5", "t5")]
        assert counts.empty == 3

    def test_repaired_lines_are_kept_with_replace(self, tmp_path: Path) -> None:
        pairs, counts, reader = read(tmp_path, b"a\xff\nb\n", b"x\ny\0\n", bad_text="replace")
        assert pairs == [("a\ufffd", "x"), ("b", "y\ufffd")]
        assert counts.bad == 2
        assert reader.warnings == [
            f"{tmp_path}/t.en:1:2: byte 0xFF is not UTF-8",
            f"{tmp_path}/t.fr:2:2: NUL byte",
        ]

    def test_all_problems_of_all_files_are_told_together(self, tmp_path: Path) -> None:
        _, _, reader = read(tmp_path, b"a\xff\nb\nc\n", b"x\ny\0\n")
        with pytest.raises(DataError) as caught:
            reader.problems.raise_any()
        assert caught.value.what.splitlines() == [
            f"{tmp_path}/t.en:1:2: byte 0xFF is not UTF-8",
            f"{tmp_path}/t.fr:2:2: NUL byte",
            f"{tmp_path}/t.en has 3 lines, {tmp_path}/t.fr 2: line n of one must translate line n of the other",
        ]
        assert caught.value.hint.splitlines() == [
            "fix the text (Latin-1: iconv -f latin1 -t utf-8), or set corpus.bad_text: skip or replace",
            "look for a lost line break, then run: nmt prepare recipes/small.yaml",
        ]

    @pytest.mark.parametrize(("gone", "side"), [(700, "src"), (700, "tgt"), (3, "tgt"), (1990, "src")])
    def test_the_first_shifted_line_is_told(self, tmp_path: Path, gone: int, side: str) -> None:
        draw = np.random.default_rng(gone)
        lengths = draw.integers(5, 120, 2000)
        src = ["a" * n for n in lengths]
        tgt = ["b" * max(1, int(n * draw.normal(1.15, 0.12))) for n in lengths]
        del (src if side == "src" else tgt)[gone]
        _, _, reader = read(tmp_path, "\n".join(src) + "\n", "\n".join(tgt) + "\n")
        with pytest.raises(DataError) as caught:
            reader.problems.raise_any()
        counts = ("1,999", "2,000") if side == "src" else ("2,000", "1,999")
        lines = caught.value.what.splitlines()
        assert lines[0] == (
            f"{tmp_path}/t.en has {counts[0]} lines, {tmp_path}/t.fr {counts[1]}: "
            "line n of one must translate line n of the other"
        )
        assert lines[1].startswith("judging by the lengths of lines, they part near line ")
        assert abs(int(lines[1].split()[-1].replace(",", "")) - (gone + 1)) <= 3

    def test_no_line_is_suspected_without_a_reason(self) -> None:
        ones = np.ones(100, np.uint32)
        assert first_shifted_line(ones, ones[:0]) is None
        assert first_shifted_line(ones[:15], ones[:14]) is None
        assert first_shifted_line(ones, ones[:90]) is None
        draw = np.random.default_rng(1)
        one, other = draw.integers(5, 120, 1000, np.uint32), draw.integers(5, 120, 999, np.uint32)
        assert first_shifted_line(one, other) is None

    def test_overlap_is_an_error_dropped_or_allowed(self, tmp_path: Path) -> None:
        write(tmp_path, v_en="a\nb\n\n", v_fr="x\ny\n\n")
        write(tmp_path, t_en="b\nc\na\nb\n", t_fr="y\nz\ny\ny\n")
        held_out = PairFiles("v", tmp_path / "v.en", tmp_path / "v.fr")
        train = PairFiles("t", tmp_path / "t.en", tmp_path / "t.fr")
        for overlap, kept in (("error", 2), ("drop", 2), ("allow", 4)):
            reader, counts = PairReader(corpus(overlap=overlap), RECIPE), Counts()
            assert reader.read_held_out(held_out, Counts()) == [("a", "x"), ("b", "y"), ("", "")]
            reader.spool_train(train, counts, tmp_path / "spool")
            assert len(list(spooled(tmp_path / "spool"))) == kept
            assert counts.overlap == 2
            if overlap == "error":
                with pytest.raises(DataError) as caught:
                    reader.problems.raise_any()
                assert caught.value.what.splitlines() == [
                    f"{tmp_path}/t.en: 2 training pairs are also in the validation or test text:",
                    f"{tmp_path}/t.en:1: b",
                    f"{tmp_path}/t.en:4: b",
                ]
                assert caught.value.hint == (
                    "set corpus.overlap: drop, to train without them (allow, to train on them all the same)"
                )
            else:
                reader.problems.raise_any()

    def test_copies_are_counted(self, tmp_path: Path) -> None:
        pairs, counts, _ = read(tmp_path, "a\nb\nc\n", "a\nx\nc\n")
        assert (len(pairs), counts.same) == (3, 2)

    def test_a_file_that_changes_meanwhile_is_noticed(self, tmp_path: Path) -> None:
        write(tmp_path, t_en="a\n", t_fr="b\n")
        reader = PairReader(corpus(), RECIPE)
        pairs = reader._pairs(PairFiles("t", tmp_path / "t.en", tmp_path / "t.fr"), Counts())
        next(pairs)
        write(tmp_path, t_fr="b\nc\n")
        assert list(pairs) == []
        with pytest.raises(
            DataError, match=r"(?s)changed while it was being read.*run again: nmt prepare recipes/small.yaml"
        ):
            reader.problems.raise_any()

    def test_a_cut_file_stops_everything(self, tmp_path: Path) -> None:
        whole = gzip.compress(b"a b c\n" * 1000)
        with pytest.raises(DataError, match=r"t.en is cut short: its gzip data stop without an end after [\d,]+ lines"):
            read(tmp_path, whole[:-9], "x\n" * 1000)

    def test_empty_held_out_text_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path, v_en="", v_fr="")
        reader = PairReader(corpus(), RECIPE)
        reader.read_held_out(PairFiles("v", tmp_path / "v.en", tmp_path / "v.fr"), Counts())
        with pytest.raises(DataError, match=r"hold no text\n  validation and test text need a line at least"):
            reader.problems.raise_any()


@given(st.lists(st.lists(st.integers(0, 5), max_size=8), min_size=1, max_size=4))
def test_repeated_pairs_are_those_seen_before(corpora: list[list[int]]) -> None:
    digests = [np.array([[7, n] for n in part], np.uint64).reshape(-1, 2) for part in corpora]
    seen: set[int] = set()
    for part, marks in zip(corpora, repeated(digests), strict=True):
        expected = []
        for n in part:
            expected.append(n in seen)
            seen.add(n)
        assert marks.tolist() == expected


def test_spooled_pairs_come_back_but_for_those_marked(tmp_path: Path) -> None:
    pairs, _, _ = read(tmp_path, "a \n b\u00a0\nc\n", "x\ny\nz\n")
    assert pairs == [("a ", "x"), (" b\u00a0", "y"), ("c", "z")]
    assert list(spooled(tmp_path / "spool", np.array([False, True, False]))) == [("a ", "x"), ("c", "z")]
