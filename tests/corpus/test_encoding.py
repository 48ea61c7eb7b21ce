import multiprocessing
import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.corpus import encoding
from nmt.corpus.encoding import encoder, in_chunks
from nmt.corpus.tokenizer import Words
from nmt.errors import EnvironmentFault

TOKENIZERS = (Words(["a", "b"], None), Words(["x", "y", "z"], None))
PAIRS = [("a b", "x"), ("b", "z y x"), ("", "x"), ("c a", "")] * 25


def test_ids_lengths_and_lines() -> None:
    with encoder(TOKENIZERS, 1) as encode:
        [(src, tgt)] = encode(PAIRS[:4])
    assert (src.lines, src.ids.tolist(), src.lengths.tolist()) == (
        ["a b", "b", "", "c a"],
        [4, 5, 5, 1, 4],
        [2, 1, 0, 2],
    )
    assert (tgt.ids.tolist(), tgt.lengths.tolist()) == ([4, 6, 5, 4, 4], [1, 3, 1, 0])


@given(st.lists(st.tuples(st.text(), st.text()), max_size=20), st.integers(1, 6))
def test_chunks_hold_every_pair_in_order(pairs: list[tuple[str, str]], size: int) -> None:
    chunks = list(in_chunks(pairs, size))
    assert [pair for src, tgt in chunks for pair in zip(src, tgt, strict=True)] == pairs
    assert all(len(src) == size for src, _ in chunks[:-1])


def test_workers_change_nothing_and_a_killed_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "in_chunks", lambda pairs: in_chunks(pairs, 7))
    with encoder(TOKENIZERS, 1) as encode:
        alone = list(encode(PAIRS))
    with encoder(TOKENIZERS, 2) as encode:
        together = list(encode(PAIRS))
        chunks = encode(PAIRS)
        next(chunks)
        for child in multiprocessing.active_children():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(EnvironmentFault) as caught:
            list(chunks)
    assert caught.value.what == "a worker process was killed, perhaps because memory ran out"
    assert caught.value.hint == "try again with fewer workers"
    assert len(alone) == len(together) == 15
    for one, other in zip(alone, together, strict=True):
        for side, same in zip(one, other, strict=True):
            assert side.lines == same.lines
            assert side.ids.tolist() == same.ids.tolist()
            assert side.lengths.tolist() == same.lengths.tolist()
