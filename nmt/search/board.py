"""Where a search that stays on the device keeps everything: tensors of one place and shape, and the step that rewrites
them.

A step is the same operations on the same memory whatever it finds, and asks the device for no number, so that it can be
recorded and replayed (ops/graph.py). What `Books` keeps in lists is here in tables; its rules are the same, number
for number.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from nmt.batch import EOS
from nmt.models.contract import Going, Memory, Seq2Seq, State, fixed, follow, map_tensors, tensors_of
from nmt.ops.top import largest, log_normalizer
from nmt.search.beam import Chosen, choose
from nmt.search.limits import force
from nmt.search.penalty import coverage
from nmt.search.stepper import Outlook, bits


@dataclass(frozen=True)
class Pool:
    """Hypotheses that are finished, best first and of equal ones the first first.

    score  (B, K) float32, -inf where there is none
    leaf   (B, K, 4) int32: the step, from 1, that extended the row by the token, whose log-probability is, bit by bit;
           the token is EOS, or another where the hypothesis was cut
    """

    score: Tensor
    leaf: Tensor

    @classmethod
    def of(cls, score: Tensor, step: Tensor, row: Tensor, token: Tensor, log_prob: Tensor) -> "Pool":
        """Of their parts, which broadcast to (B, K)."""
        parts = (step.expand(score.shape), row, token, log_prob)
        return cls(score, torch.stack([bits(part) for part in parts], 2))

    def with_more(self, other: "Pool") -> "Pool":
        """The K best of both, those of this one first where they are equal."""
        K = self.score.shape[1]
        score, order = torch.cat([self.score, other.score], 1).sort(dim=1, descending=True, stable=True)
        kept = order[:, :K, None].expand(-1, -1, self.leaf.shape[2])
        return Pool(score[:, :K], torch.cat([self.leaf, other.leaf], 1).gather(1, kept))

    def where(self, mark: Tensor, other: "Pool") -> "Pool":
        """Sentences that are marked (B,) as in the other one."""
        leaf = torch.where(mark[:, None, None], other.leaf, self.leaf)
        return Pool(torch.where(mark[:, None], other.score, self.score), leaf)


@dataclass(frozen=True)
class Board:
    """A search of B sentences with K hypotheses each, after t steps, with room for T.

    memory, state  of the model, as `fixed` leaves them; prev (R,) int64: the pieces that the next step takes
    t              (1,) int64, which the state's caches count by too
    total, room    as in search/beam.py, (B, K) float32 and (B,)
    done           (B,) bool: the sentence's rows still go through every step, but nothing of it counts
    again          (B,) bool: what the ordinary search must decide: an equal logit was left out by chance, or logits are
                   not finite
    min_len        (B,) int64: pieces before an EOS, at least; max_len (B,) int64: the greatest |y|
    limit          (B,) float32: the length divisor at max_len; divisors (T + 1,) float32: those of all lengths
    history        (T, 3, B, K) int32: each step's parents, tokens, and log-probabilities bit by bit
    weights        (T, B, K, S) float32: attention by the row that each step extended; None where nobody asked
    attended       (B, K, S) float32: attention summed over steps, for coverage; None where it counts nothing
    prefix         (T, B) int64: the pieces that translations begin with, PAD where there is none; None for no prefixes
    """

    memory: Memory
    state: State
    prev: Tensor
    t: Tensor
    total: Tensor
    room: Tensor
    done: Tensor
    again: Tensor
    min_len: Tensor
    max_len: Tensor
    limit: Tensor
    divisors: Tensor
    history: Tensor
    pool: Pool
    weights: Tensor | None
    attended: Tensor | None
    prefix: Tensor | None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """B, K, S, T."""
        return len(self.total), self.total.shape[1], self.memory.keep.shape[1], len(self.history)

    def of(self, rows: Tensor) -> "Board":
        """A copy with the sentences (B',) alone, in that order."""

        def chosen(tensor: Tensor) -> Tensor:
            return tensor.index_select(0, rows)

        by_sentence = ("total", "room", "done", "again", "min_len", "max_len", "limit", "attended", "pool")
        by_step = ("prefix", "weights")
        return replace(
            self,
            memory=map_tensors(self.memory, chosen),
            state=follow(self.state, Going(rows), self.total.shape[1]),
            prev=chosen(self.prev.view(self.total.shape)).view(-1),
            history=self.history.index_select(2, rows),
            **{name: map_tensors(getattr(self, name), chosen) for name in by_sentence},
            **{name: map_tensors(getattr(self, name), lambda x: x.index_select(1, rows)) for name in by_step},
        )

    def like_it(self, T: int) -> "Board":
        """Another for as many sentences, with room for T steps and tensors of its own; what is in them is not said."""
        t, longer = self.t.clone(), {"divisors": T + 1, "history": T, "weights": T, "prefix": T}

        def another(name: str) -> object:
            if name in ("memory", "state"):
                return fixed(getattr(self, name), T, t)
            n = longer.get(name)
            return map_tensors(getattr(self, name), lambda x: x.new_empty(x.shape if n is None else (n, *x.shape[1:])))

        return replace(self, **{field.name: another(field.name) for field in fields(self) if field.name != "t"}, t=t)

    def take(self, other: "Board", divisors: Tensor) -> None:
        """Becomes what the other one is, which has room for fewer steps or as many; divisors (T + 1,)."""
        for own, theirs in zip(tensors_of(self), tensors_of(other), strict=True):
            if own.shape != theirs.shape:
                own.zero_()
            own[tuple(slice(n) for n in theirs.shape)].copy_(theirs)
        self.divisors.copy_(divisors)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(tensor.nbytes for tensor in tensors_of(self))


def advance(model: Seq2Seq, board: Board, *, wide: bool, enough: int, coverage_penalty: float = 0.0) -> None:
    """Takes the search one position on, in place. wide and enough as in `Books`: whether hypotheses that end leave room
    for others, and how many must have ended before a sentence may be done.
    """
    K, done = board.total.shape[1], board.done
    looking = board.weights is not None or board.attended is not None
    step = model.step(board.prev, board.memory, board.state, looking)
    logits = model.project(step.features).float()  # (R, V)
    log_z = log_normalizer(logits)
    if board.prefix is not None:
        logits = force(logits, logits, board.prefix.index_select(0, board.t)[0])
    values, ids = largest(logits, min(K + 4, logits.shape[1]))
    outlook = Outlook(logits, log_z, values, ids, None, None)
    t = board.t + 1
    chosen = choose(outlook, board.total, board.room, board.min_len < t, wide=wide, exact=False)
    again = board.again | (~done & (chosen.tied | chosen.broken))

    weights, attended, cover = None, None, torch.zeros_like(board.total)
    if looking and step.weights is not None:
        weights = step.weights.float().mean((1, 2)).view(*board.total.shape, -1)  # (B, K, S)
    if board.attended is not None and weights is not None:
        attended = board.attended + weights
        cover = coverage(attended, board.memory.keep, coverage_penalty)
        attended = attended.gather(1, chosen.parent[:, :, None].expand_as(attended))
    if board.weights is not None and weights is not None:
        board.weights.index_copy_(0, board.t, weights[None])

    divisor = board.divisors.index_select(0, t)
    pool = board.pool.with_more(_ended(chosen, board.total, divisor, t, cover, chosen.ends & ~done[:, None]))
    filled = (pool.score > -torch.inf).sum(1)
    best = chosen.total[:, 0]
    over = (t >= board.max_len) | (best == -torch.inf)
    pool = pool.where(over & (filled == 0) & ~done, _cut(chosen, divisor, t, cover))
    reachable = best / (divisor if wide else board.limit)
    decided = (filled >= enough) & ~(pool.score[:, enough - 1] < reachable)

    told = torch.stack([bits(part) for part in (chosen.parent, chosen.token, chosen.log_prob)])
    board.history.index_copy_(0, board.t, told[None])
    state = follow(step.state, Going(None, chosen.parent if K > 1 else None), K)
    after = replace(
        board,
        state=state,
        prev=chosen.token.reshape(-1),
        total=chosen.total,
        room=chosen.room,
        done=done | over | decided | again,
        again=again,
        pool=pool,
        attended=attended,
    )
    _rewrite(tensors_of(board), tensors_of(after))
    board.t.add_(1)


def _ended(chosen: Chosen, total: Tensor, divisor: Tensor, t: Tensor, cover: Tensor, ends: Tensor) -> Pool:
    """The hypotheses that end at step t, where ends (B, K); cover (B, K) is the coverage term of the rows before it."""
    row, log_prob = chosen.end_parent, chosen.end_log_prob
    score = (total.gather(1, row) + log_prob) / divisor + cover.gather(1, row)
    return Pool.of(score.masked_fill(~ends, -torch.inf), t, row, torch.full_like(row, EOS), log_prob)


def _cut(chosen: Chosen, divisor: Tensor, t: Tensor, cover: Tensor) -> Pool:
    """The live hypotheses, as if step t were their end."""
    score = chosen.total / divisor + cover.gather(1, chosen.parent)
    return Pool.of(score, t, chosen.parent, chosen.token, chosen.log_prob)


def _rewrite(own: list[Tensor], new: list[Tensor]) -> None:
    """Writes the new values into the tensors that held the old ones.

    A new one may be a view of an old one, of another name even, that is rewritten before it is read: it is copied
    before all others.
    """
    places = {tensor.untyped_storage().data_ptr() for tensor in own}
    pairs = [(here, there) for here, there in zip(own, new, strict=True) if there is not here]
    apart = [there.clone() if there.untyped_storage().data_ptr() in places else there for _, there in pairs]
    for (here, _), there in zip(pairs, apart, strict=True):
        assert (here.shape, here.dtype) == (there.shape, there.dtype), "a state that changes its form has no fixed one"
        here.copy_(there)
