"""The beam search of search/beam.py without the host: a GPU is given its steps ahead, and is asked for nothing between.

The host only counts. It gives the device step after step, looks now and then at which sentences are done (it takes what
the device knew a few steps ago), and moves the others to smaller boards; at the end one transfer brings all tables.
Boards have few shapes (sentences, source positions and room for steps are rounded up), so a step that was recorded as a
CUDA graph serves many batches. Where recording fails the same step runs operation by operation, and `why_eager` says
why.

What it finds is what `search` finds, with scores that differ by rounding: other shapes of a product may be summed in
another order. What it cannot decide (`Board.again`) it leaves to `search`, sentence by sentence, and all of it where
`left_to_the_host` says so.
"""

from collections import Counter, OrderedDict
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nmt.batch import BOS, EOS, PAD
from nmt.models.contract import Seq2Seq, fixed, map_tensors, tensors_of
from nmt.ops.casts import Casts
from nmt.ops.graph import Record, Recorder, Work, why_not_recorded
from nmt.recipe import SearchConfig
from nmt.search.beam import search
from nmt.search.board import Board, Pool, advance
from nmt.search.books import Books
from nmt.search.hypothesis import Hypothesis
from nmt.search.shortlist import Shortlist
from nmt.search.stepper import at_rest, bits, count_prefix, count_source, no_attention

_EVERY, _LEAD = 4, 2
"""The host looks at who is done after every so many steps, when it has given the device some more to do meanwhile. A
step that nobody needs costs as much as any other, a look some bytes.
"""
_SENTENCES = (1, 4, 16, 32, 64, 128, 256, 512, 1024)
"""Sentences of a board; beyond, multiples of the last. From 16 down a step is all latency, so these are few."""
_FEWEST_POSITIONS = 16
"""Source positions of a board; beyond, it doubles. More of them cost little in a step, another shape a recording."""
_FEWEST_STEPS = 32
"""Steps that the first board has room for; where they are not enough it doubles."""
_WORTH = 64
"""Looks at which a smaller board would have been enough before one is recorded. By arithmetic, not measured: recording
takes about a hundred steps' time, and each look stands for `_EVERY` steps that would have been a third faster.
"""
_KEPT_SHARE = 1 / 4
"""Of the device's memory, what boards may take that are kept for later batches."""


def left_to_the_host(config: SearchConfig, shortlist: Shortlist | None) -> bool:
    """Whether this search looks at what boards do not hold: all pieces of every hypothesis, or lists of pieces."""
    return config.no_repeat_ngram > 0 or config.repetition_penalty > 1.0 or shortlist is not None


def search_on_device(
    model: Seq2Seq,
    src: Tensor,
    config: SearchConfig,
    *,
    n_best: int = 1,
    prefix: Tensor | None = None,
    want_weights: bool = False,
) -> list[list[Hypothesis]]:
    """As `search`, once, with nothing recorded: on any device."""
    return DeviceSearch(model, None).search(src, config, n_best=n_best, prefix=prefix, want_weights=want_weights)


@dataclass(frozen=True)
class _Lane:
    """A board, and what takes it a step on."""

    board: Board
    step: Work


@dataclass(frozen=True)
class _Rows:
    """What the host knows of a board's rows (B,).

    sentences  the number of each one's sentence, -1: it holds none
    done       whether that was done when the host looked last
    places     where it comes from on the board before
    """

    sentences: NDArray[np.int64]
    done: NDArray[np.bool_]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, n: int, B: int) -> "_Rows":
        """B rows for n sentences."""
        places = np.arange(B)
        return cls(np.where(places < n, places, -1), places >= n, places)

    def living(self) -> "_Rows":
        """Those that are not done, rounded up with one that is."""
        living = np.flatnonzero(~self.done)
        B = _sentences(len(living))
        places = np.concatenate([living, np.full(B - len(living), np.argmax(self.done))])
        beyond = np.arange(B) >= len(living)
        return _Rows(np.where(beyond, -1, self.sentences[places]), beyond, places)


@dataclass(frozen=True)
class _Left:
    """The tables of sentences that left: numbers (N,) of the sentences, the rest on the device as in `Board`."""

    sentences: NDArray[np.int64]
    history: Tensor  # (t, 3, N, K)
    pool: Pool
    again: Tensor
    weights: Tensor | None  # (t, N, K, S)


class DeviceSearch:
    """Searches with one model, batch after batch."""

    def __init__(self, model: Seq2Seq, record: Record | None) -> None:
        """record: how steps are recorded, None for not at all. If they are, the parameters of the model must neither
        change nor go from now on: it stays settled.
        """
        self.model, self.record, self.why_eager = model, record, ""
        self._kept: OrderedDict[tuple[object, ...], _Lane] = OrderedDict()
        self._wanted = Counter[tuple[object, ...]]()
        self._casts: Casts | None = None
        self._settled: ExitStack | None = None

    @classmethod
    def on(cls, model: Seq2Seq, device: torch.device) -> "DeviceSearch":
        """With CUDA graphs where the device has them."""
        return cls(model, Recorder(device) if device.type == "cuda" else None)

    def search(
        self,
        src: Tensor,
        config: SearchConfig,
        *,
        n_best: int = 1,
        prefix: Tensor | None = None,
        shortlist: Shortlist | None = None,
        want_weights: bool = False,
    ) -> list[list[Hypothesis]]:
        """As `search`, which also does what cannot be done here."""
        if left_to_the_host(config, shortlist) or len(src) == 0 or not 1 <= n_best <= config.beam:
            return search(
                *(self.model, src, config), n_best=n_best, prefix=prefix, shortlist=shortlist, want_weights=want_weights
            )
        if self.record is not None and self._settled is None:
            self._settled = ExitStack()
            self._settled.enter_context(self.model.settled())
            self._casts = Casts(self.model)
        try:
            with at_rest(self.model), self._casts.using() if self._casts else nullcontext():
                books = Books(config, n_best, *count_source(src), count_prefix(prefix, len(src)))
                again = self._fill(books, src, config, prefix, want_weights)
                found = books.close()
        except torch.OutOfMemoryError:
            self._kept.clear()
            raise
        if len(again):
            rows = torch.from_numpy(again).to(src.device)
            prefix = None if prefix is None else prefix[rows]
            anew = search(self.model, src[rows], config, prefix=prefix, n_best=n_best, want_weights=want_weights)
            for i, best in zip(again.tolist(), anew, strict=True):
                found[i] = best
        return found

    def _fill(
        self, books: Books, src: Tensor, config: SearchConfig, prefix: Tensor | None, want_weights: bool
    ) -> NDArray[np.int64]:
        """Fills the books; gives the numbers of the sentences that must be searched again."""
        enough, penalty = config.beam if books.wide else books.n_best, config.coverage_penalty
        advancing = partial(advance, self.model, wide=books.wide, enough=enough, coverage_penalty=penalty)
        source = _opening(self.model, src, books, prefix, want_weights, penalty > 0.0)
        T = _FEWEST_STEPS
        while source.prefix is not None and len(source.prefix) > T:
            T *= 2
        lane = self._lane(source, T, advancing, books)
        rows, left = _Rows.of(len(src), lane.board.shape[0]), list[_Left]()
        watch, t, capacity = _Watch(src.device), 0, int(books.max_len.max())
        while t < capacity:
            lane.step()
            t += 1
            looked = watch.after(t, lane.board.done)
            if looked is not None:
                rows = replace(rows, done=looked)
                if looked.all():
                    break
            B, _, _, T = lane.board.shape
            full = t == T and t < capacity
            if looked is None and not full:
                continue
            T, fewer = 2 * T if full else T, rows.living()
            if 2 * len(fewer.done) <= B and self._worth_it(len(fewer.done), T, lane.board, advancing):
                left.append(_leave(lane.board, t, rows.sentences, rows.done))
                places = torch.from_numpy(fewer.places).to(src.device, non_blocking=True)
                lane, rows = self._lane(lane.board.of(places), T, advancing, books), fewer
                watch = _Watch(src.device)  # what is still to be looked at is of other rows
            elif full:
                lane = self._lane(lane.board, T, advancing, books)
        left.append(_leave(lane.board, t, rows.sentences, np.ones(len(rows.done), dtype=bool)))
        return _close(books, left)

    def _lane(self, source: Board, T: int, advancing: partial[None], books: Books) -> _Lane:
        """A board with room for T steps that is what the source is, and a step recorded for it where that can be."""
        divisors = np.pad(books.divisors, (0, max(0, T + 1 - len(books.divisors))), mode="edge")[: T + 1]
        there = torch.from_numpy(divisors).to(source.t.device, non_blocking=True)
        key = _key(len(source.total), T, source, advancing)
        lane = self._kept.get(key)
        if lane is None:
            board = source.like_it(T)
            lane = _Lane(board, partial(advancing, board))
            if self.record is not None:
                board.take(source, there)
                board.t.zero_()  # the steps of a rehearsal are within the board's room
                lane = self._recorded(lane)
                self._keep(key, lane)
        else:
            self._kept.move_to_end(key)
        lane.board.take(source, there)
        return lane

    def _worth_it(self, B: int, T: int, board: Board, advancing: partial[None]) -> bool:
        """Whether to go on on a board for B sentences and not on one for as many as here, each with room for T steps:
        where nothing is recorded for it, or for neither, or it was wanted often.
        """
        smaller, as_large = (_key(n, T, board, advancing) for n in (B, board.shape[0]))
        self._wanted[smaller] += 1
        if self.record is None or self.why_eager or smaller in self._kept or as_large not in self._kept:
            return True
        return self._wanted[smaller] >= _WORTH

    def _recorded(self, lane: _Lane) -> _Lane:
        """With its step recorded; as it is where that fails, now and from now on."""
        if self.record is None or self.why_eager:
            return lane
        try:
            return _Lane(lane.board, self.record(lane.step))
        except RuntimeError as error:
            self.why_eager = why_not_recorded(error)
            return lane

    def _keep(self, key: tuple[object, ...], lane: _Lane) -> None:
        """For later batches; those that were not used for longest go where there are too many."""
        self._kept[key] = lane
        room = _memory_for_boards(lane.board.t.device)
        while len(self._kept) > 1 and sum(kept.board.size for kept in self._kept.values()) > room:
            self._kept.popitem(last=False)


def _memory_for_boards(device: torch.device) -> float:
    """Bytes that boards may keep there."""
    if device.type != "cuda":
        return float("inf")
    return _KEPT_SHARE * torch.cuda.get_device_properties(device).total_memory


def _key(B: int, T: int, board: Board, advancing: partial[None]) -> tuple[object, ...]:
    """What boards for B sentences and T steps have in common with this one, if they can take its place."""
    tables = board.weights, board.attended, board.prefix
    return B, *board.shape[1:3], T, *advancing.keywords.items(), *(table is None for table in tables)


def _opening(
    model: Seq2Seq, src: Tensor, books: Books, prefix: Tensor | None, want_weights: bool, covering: bool
) -> Board:
    """Before the first step, with room for none: sentences rounded up with empty ones that are done, padding too."""
    (n, width), K, device = src.shape, books.K, src.device
    B, S = _sentences(n), _positions(width)
    whole = src.new_full((B, S), PAD)
    whole[:, 0] = EOS
    whole[:n, :width] = src
    memory = model.encode(whole, whole != PAD)
    t = torch.zeros(1, dtype=torch.int64, device=device)
    first, prev = model.start(memory, K, 0), torch.full((B * K,), BOS, dtype=torch.int64, device=device)
    state = fixed(first, 0, t)
    if want_weights or covering:
        there = model.step(prev, memory, first, True).weights is not None
        if covering and not there:
            raise no_attention()
        want_weights = want_weights and there
    total = torch.full((B, K), -torch.inf, device=device)
    total[:, 0] = 0.0  # the K rows of a sentence are the same one at first

    def of_each(values: NDArray) -> Tensor:
        padded = np.concatenate([values, np.ones(B - n, dtype=values.dtype)])
        return torch.from_numpy(padded).to(device, non_blocking=True)

    return Board(
        memory=memory,
        state=state,
        prev=prev,
        t=t,
        total=total,
        room=torch.full((B,), K, dtype=torch.int64, device=device),
        done=torch.arange(B, device=device) >= n,
        again=torch.zeros(B, dtype=torch.bool, device=device),
        min_len=of_each(books.min_len),
        max_len=of_each(books.max_len),
        limit=of_each(books.divisors[books.max_len]),
        divisors=total.new_ones(1),
        history=torch.zeros((0, 3, B, K), dtype=torch.int32, device=device),
        pool=Pool(torch.full_like(total, -torch.inf), torch.zeros((B, K, 4), dtype=torch.int32, device=device)),
        weights=total.new_zeros((0, B, K, S)) if want_weights else None,
        attended=total.new_zeros((B, K, S)) if covering else None,
        prefix=None if prefix is None else F.pad(prefix, (0, 0, 0, B - n), value=PAD).T,
    )


def _sentences(n: int) -> int:
    """Rows of a board for n sentences."""
    return next((size for size in _SENTENCES if size >= n), -(-n // _SENTENCES[-1]) * _SENTENCES[-1])


def _positions(n: int) -> int:
    """Source positions of a board, for n."""
    size = _FEWEST_POSITIONS
    while size < n:
        size *= 2
    return size


class _Watch:
    """Who is done, as the host comes to know it."""

    def __init__(self, device: torch.device) -> None:
        self._event = torch.cuda.Event() if device.type == "cuda" else None
        self._posted: tuple[int, Tensor] | None = None

    def after(self, t: int, done: Tensor) -> NDArray[np.bool_] | None:
        """To be called after step t with done (B,): which were done a few steps ago, or None where nobody looks."""
        if t % _EVERY == 0:
            if self._event is None:
                self._posted = t, done.clone()
            else:
                here = torch.empty(done.shape, dtype=torch.bool, pin_memory=True)
                here.copy_(done, non_blocking=True)
                self._event.record()
                self._posted = t, here
        if self._posted is None or t < self._posted[0] + _LEAD:
            return None
        if self._event is not None:
            self._event.synchronize()
        (_, here), self._posted = self._posted, None
        return here.numpy()


def _leave(board: Board, t: int, sentences: NDArray[np.int64], done: NDArray[np.bool_]) -> _Left:
    """What is known after step t of the sentences in rows that are done (B,), copied."""
    places = np.flatnonzero(done & (sentences >= 0))
    rows = torch.from_numpy(places).to(board.t.device, non_blocking=True)

    return _Left(
        sentences[places],
        board.history[:t].index_select(2, rows),
        map_tensors(board.pool, lambda x: x.index_select(0, rows)),
        board.again.index_select(0, rows),
        None if board.weights is None else board.weights[:t].index_select(1, rows),
    )


def _close(books: Books, left: list[_Left]) -> NDArray[np.int64]:
    """Enters all tables, which come in one transfer; gives the numbers of the sentences that must be searched again."""
    parts = [tensors_of(one) for one in left]
    flat = [bits(tensor).reshape(-1) for part in parts for tensor in part]
    whole: NDArray[np.int32] = torch.cat(flat).cpu().numpy()
    pieces = iter(np.split(whole, np.cumsum([len(x) for x in flat])[:-1]))
    again = list[NDArray[np.int64]]()

    def next_as(tensor: Tensor) -> NDArray[Any]:
        return next(pieces).view(np.float32 if tensor.is_floating_point() else np.int32).reshape(tensor.shape)

    for one, part in zip(left, parts, strict=True):
        history, scores, leaves, marked, *weights = map(next_as, part)
        books.adopt(one.sentences, history, scores, leaves, weights[0] if weights else None)
        again.append(one.sentences[marked.astype(bool)])
    return np.sort(np.concatenate(again))
