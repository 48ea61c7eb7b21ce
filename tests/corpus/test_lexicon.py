from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from nmt.batch import EOS
from nmt.corpus import lexicon as module
from nmt.corpus.ibm1 import Table, align
from nmt.corpus.lexicon import Lexicon, lexicon_of, read_lexicon
from nmt.corpus.sides import store_of
from nmt.corpus.tokenizer import Words
from nmt.errors import ModelError, UsageError

SRC = Words(["cat", "dog", "Tom", "s", "old"], None)
TGT = Words(["chat", "chien", "Tom", "o", "l", "d", "le", "vieux", "a"], None)
LE, A = TGT.encode(["le a"])[0]


@pytest.fixture
def lexicon(monkeypatch: pytest.MonkeyPatch) -> Lexicon:
    monkeypatch.setattr(module, "COMMON", 2)
    text = [("cat", "le chat a"), ("dog", "le chien a"), ("old cat", "le vieux chat a"), ("old dog", "le vieux chien")]
    src, tgt = (store_of(t.encode(lines)) for t, lines in zip((SRC, TGT), zip(*text, strict=True), strict=True))
    return lexicon_of(
        align([(src, tgt)], SRC.n_ids, TGT.n_ids), np.bincount(tgt[0], minlength=TGT.n_ids).astype(np.int64), SRC, TGT
    )


def words(lexicon: Lexicon, line: str, *more: int) -> str:
    ids = lexicon.shortlist(SRC.encode([line])[0], more)
    assert np.array_equal(ids, np.unique(ids))
    return " ".join(TGT.pieces(ids.tolist()))


SPECIAL = "<pad> <unk> <s> </s>"


def test_a_sentence_has_what_is_common_and_the_candidates_of_its_pieces(lexicon: Lexicon) -> None:
    assert words(lexicon, "") == f"{SPECIAL} le a"
    assert words(lexicon, "dog") == f"{SPECIAL} chien o d le vieux a", "two of its letters are pieces"
    assert words(lexicon, "cat cat nobody") == f"{SPECIAL} chat le vieux a"
    assert words(lexicon, "", TGT.encode(["Tom"])[0][0], EOS) == f"{SPECIAL} Tom le a"


def test_what_was_never_aligned_can_be_copied_or_spelled(lexicon: Lexicon) -> None:
    assert words(lexicon, "Tom") == f"{SPECIAL} Tom le a"
    assert words(lexicon, "s") == f"{SPECIAL} le a", "there is no such piece, and no such letter"
    assert words(lexicon, "old") == f"{SPECIAL} chat chien o l d le vieux a"


def test_no_more_than_the_likeliest_are_kept(lexicon: Lexicon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CANDIDATES", 1)
    e, f = np.array([4, 4, 4, 5]), np.array([4, 5, LE, 5])
    table = Table(TGT.n_ids, e * TGT.n_ids + f, np.array([0.2, 0.3, 0.5, 1.0]))
    few = lexicon_of(table, np.bincount([LE, A], minlength=TGT.n_ids).astype(np.int64), SRC, TGT)
    assert words(few, "cat") == f"{SPECIAL} chien le a", "common pieces take no place"
    assert words(few, "dog") == f"{SPECIAL} chien o d le a"


def test_what_is_read_is_what_was_written(lexicon: Lexicon, tmp_path: Path) -> None:
    path = tmp_path / "lexicon.safetensors"
    lexicon.write(path)
    first = path.read_bytes()
    found = read_lexicon(path)
    found.check(path, SRC, TGT)
    assert words(found, "old cat Tom") == words(lexicon, "old cat Tom")
    found.write(path)
    assert path.read_bytes() == first


def test_another_vocabulary_is_refused(lexicon: Lexicon, tmp_path: Path) -> None:
    path = tmp_path / "lexicon.safetensors"
    for src, tgt, which in ((TGT, TGT, "source"), (SRC, SRC, "target"), (TGT, SRC, "source and target")):
        with pytest.raises(UsageError, match=f"lexicon.safetensors: its {which} vocabulary is not that of the model"):
            lexicon.check(path, src, tgt)
    short = Lexicon(lexicon.pieces, lexicon.offsets[:-1], lexicon.common, lexicon.n_tgt, lexicon.tokenizers)
    with pytest.raises(ModelError, match="damaged"):
        short.check(path, SRC, TGT)


@pytest.mark.parametrize(
    "change",
    [
        {"pieces": np.array([99], np.int32), "offsets": np.array([0, 1])},
        {"pieces": np.array([-1], np.int32), "offsets": np.array([0, 1])},
        {"pieces": np.array([4.0], np.float32), "offsets": np.array([0, 1])},
        {"offsets": np.array([0, 5, 3, 0])},
        {"offsets": np.zeros(0, np.int64)},
        {"common": np.array([0, 1, 2], np.int32)},
    ],
)
def test_damage_is_noticed(lexicon: Lexicon, tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "lexicon.safetensors"
    Lexicon(**{**vars(lexicon), **change}).write(path)
    with pytest.raises(ModelError, match="no lexicon, or a damaged one"):
        read_lexicon(path)


def test_other_files_are_refused(lexicon: Lexicon, tmp_path: Path) -> None:
    path = tmp_path / "lexicon.safetensors"
    with pytest.raises(ModelError, match="is not there") as missing:
        read_lexicon(path)
    assert missing.value.hint == "make one with the recipe of the model: nmt prepare RECIPE --lexicon FILE"
    lexicon.write(path)
    whole = path.read_bytes()
    model = safetensors.numpy.save({"w": np.zeros(2)}, metadata={"nmt": "{}"})
    for data in (b"", b"text", whole[:-1], whole[:40], whole.replace(b"nmt_lexicon", b"nmt_l"), model):
        path.write_bytes(data)
        with pytest.raises(ModelError, match="no lexicon, or a damaged one"):
            read_lexicon(path)
    path.write_bytes(whole.replace(b'\\"format\\": 1', b'\\"format\\": 2'))
    assert path.read_bytes() != whole
    with pytest.raises(ModelError):
        read_lexicon(path)
