"""Alignments of every kind of model: which source piece each target piece looked at."""

import numpy as np
import pytest
import torch

from nmt.batch import SPECIALS, pad_rows
from nmt.corpus.tokenizer import Words
from nmt.recipe import SearchConfig
from nmt.search.beam import search
from nmt.translator import Translator
from tests.properties.kinds import VARIANTS, build

CONFIG = SearchConfig(beam=3, min_len_ratio=1.0, max_len_ratio=1.0, max_len_extra=4)
LINES = ["a b c d e", "b", "", "c a c a", "e d"]


def has_attention(name: str) -> bool:
    """What the papers have: Cho and Sutskever wrote before attention, and `rnn` may do without."""
    config = VARIANTS[name]
    return config.kind not in ("cho", "sutskever") and getattr(config, "attention", "") != "none"


def translator(name: str, seed: int = 3) -> Translator:
    model = build(VARIANTS[name], torch.float32, n_tgt=11, seed=seed)
    words = Words(list("abcdefg"), None)
    assert words.n_ids == 11 == len(SPECIALS) + 7
    return Translator(model, words, words, CONFIG)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_target_word_is_aligned_where_there_is_attention(name: str) -> None:
    lines = [one for seed in (3, 8) for one in translator(name, seed).translate(LINES, alignments=True)]
    assert sum(one.parts for one in lines) == 8
    for one in lines:
        if not has_attention(name):
            assert one.alignment is None or one.parts == 0
            continue
        assert one.alignment is not None
        assert [t for _, t in one.alignment] == list(range(len(one.hypotheses[0].pieces)))
        assert all(0 <= s < len(one.pieces) for s, _ in one.alignment)
    if has_attention(name):
        assert len({s for one in lines for s, _ in one.alignment or ()}) > 1, "they do not all look at one place"


@pytest.mark.parametrize("name", [name for name in VARIANTS if has_attention(name)])
def test_a_pair_is_aligned_to_the_word_that_got_most_attention(name: str) -> None:
    """Also without a search: a given pair of just these pieces has the alignment of the search that wrote them."""
    one = translator(name)
    src = pad_rows([one.src_tokenizer.encode([LINES[0]])[0]], eos=True)
    ((best,),) = search(one.model, src, CONFIG, want_weights=True)
    assert best.alignment is not None
    weights = best.alignment.numpy()[: len(best.ids), :-1]  # without the end of sentence
    (found,) = one.translate(LINES[:1], alignments=True)
    assert found.alignment == tuple((int(s), t) for t, s in enumerate(np.argmax(weights, 1)))
    (again,) = one.score([(LINES[0], " ".join(one.tgt_tokenizer.pieces(best.ids)))], alignments=True)
    if "<unk>" not in again.hypotheses[0].translation:
        assert again.alignment == found.alignment
