"""Many sentence pairs to ids, in this process or in several: the same ids in the same order either way."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmt.corpus.tokenizer import Tokenizer, from_bytes
from nmt.errors import EnvironmentFault

Pairs = Iterable[tuple[str, str]]
"""Sentences with their translations."""
CHUNK = 4096
"""Sentence pairs that go through a tokenizer at a time; independent of the number of workers."""


@dataclass(frozen=True)
class Side:
    """One side of a chunk: its lines, their ids one after the other (int32), and the number of ids of each line
    (int64).
    """

    lines: list[str]
    ids: NDArray[np.int32]
    lengths: NDArray[np.int64]

    def select(self, keep: NDArray[np.bool_]) -> "Side":
        """The lines that are marked, with their ids."""
        lines = [line for line, kept in zip(self.lines, keep, strict=True) if kept]
        return Side(lines, self.ids[np.repeat(keep, self.lengths)], self.lengths[keep])


def in_chunks(pairs: Pairs, size: int = CHUNK) -> Iterator[tuple[list[str], list[str]]]:
    """Sentence pairs in lists of `size`, a list a side."""
    src: list[str] = []
    tgt: list[str] = []
    for one, other in pairs:
        src.append(one)
        tgt.append(other)
        if len(src) == size:
            yield src, tgt
            src, tgt = [], []
    if src:
        yield src, tgt


Encode = Callable[[Pairs], Iterator[tuple[Side, Side]]]


@contextmanager
def encoder(tokenizers: tuple[Tokenizer, Tokenizer], workers: int) -> Iterator[Encode]:
    """A function that gives sentence pairs in chunks with their ids, in order, holding a few chunks a worker at a time.

    With more than one worker, processes are started afresh (spawn), so a script that calls this needs its
    `if __name__ == "__main__":`. EnvironmentFault where one of them dies.
    """
    if workers <= 1:
        yield lambda pairs: _encoded_here(pairs, tokenizers)
        return
    with ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(tokenizers[0].to_bytes(), tokenizers[1].to_bytes()),
    ) as pool:
        yield lambda pairs: _encoded_there(pairs, pool, 2 * workers)


def _encoded_here(pairs: Pairs, tokenizers: tuple[Tokenizer, Tokenizer]) -> Iterator[tuple[Side, Side]]:
    for src, tgt in in_chunks(pairs):
        yield Side(src, *_encode(tokenizers[0], src)), Side(tgt, *_encode(tokenizers[1], tgt))


def _encoded_there(pairs: Pairs, pool: ProcessPoolExecutor, ahead: int) -> Iterator[tuple[Side, Side]]:
    waiting: deque[tuple[list[str], list[str], Future[_Ids]]] = deque()
    try:
        for src, tgt in in_chunks(pairs):
            waiting.append((src, tgt, pool.submit(_encode_there, src, tgt)))
            if len(waiting) > ahead:  # the pool itself would take in the whole corpus
                yield _done(*waiting.popleft())
        while waiting:
            yield _done(*waiting.popleft())
    except BrokenProcessPool:
        raise EnvironmentFault(
            "a worker process was killed, perhaps because memory ran out", "try again with fewer workers"
        ) from None


_Array = tuple[NDArray[np.int32], NDArray[np.int64]]
_Ids = tuple[_Array, _Array]


def _done(src: list[str], tgt: list[str], ids: "Future[_Ids]") -> tuple[Side, Side]:
    one, other = ids.result()
    return Side(src, *one), Side(tgt, *other)


def _encode(tokenizer: Tokenizer, lines: Sequence[str]) -> _Array:
    rows = tokenizer.encode(lines)
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    return np.fromiter((i for row in rows for i in row), np.int32, int(lengths.sum())), lengths


# --- in the workers --------------------------------------------------------------------------------------------------

_tokenizers: list[Tokenizer] = []  # of a worker process: made once, when it starts


def _begin(src: bytes, tgt: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us in good order
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _tokenizers[:] = [from_bytes(src), from_bytes(tgt)]


def _end_with_parent() -> None:
    """Ends a worker whose parent is gone: it waits on a pipe that it holds open itself, and would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _encode_there(src: list[str], tgt: list[str]) -> _Ids:
    return _encode(_tokenizers[0], src), _encode(_tokenizers[1], tgt)
