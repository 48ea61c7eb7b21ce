"""Additive attention written out: the definition that faster forms are compared with, and its backward by hand."""

import torch
from torch import Tensor

from nmt.ops.fused import Fused
from nmt.ops.linear import wide
from nmt.ops.native import native_for


def score(query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
    """score_ij = v . tanh(query_i + keys_j): Bahdanau et al., ICLR 2015, appendix A.1.2, with W_a s and U_a h taken
    before.

    query (B, Q, A), keys (B, N, A), v (A,) -> (B, Q, N) in float32. Holds B*Q*N*A numbers at once.
    """
    return torch.tanh(query[:, :, None] + keys[:, None]).matmul(v.to(keys.dtype)).to(wide(keys.dtype))


def weigh(scores: Tensor, keep: Tensor) -> Tensor:
    """Softmax over the keys that may be seen, in float32: scores (B, Q, N), keep (B, N) bool -> weights (B, Q, N).

    At least one key of every row must be kept.
    """
    return scores.masked_fill(~keep[:, None], float("-inf")).softmax(dim=-1)


def align(query: Tensor, keys: Tensor, v: Tensor, may: Tensor) -> Tensor:
    """Weights (B, Q, N) float32 of the keys of `may` (B, Q or 1, N) bool, where each query has one at least: `score`,
    and the softmax of it.
    """
    return score(query, keys, v).masked_fill(~may, float("-inf")).softmax(dim=-1)


def attend(query: Tensor, keys: Tensor, values: Tensor, v: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Context and weights: c_i = sum_j weights_ij values_j (Bahdanau et al. 2015, equations 5 and 6).

    query (B, Q, A), keys (B, N, A), values (B, N, D), v (A,), keep (B, N) bool
    -> context (B, Q, D) in the dtype of values, weights (B, Q, N) float32.
    """
    if (native := native_for(query, keys, values, v)) is not None:
        return native.additive(query, keys, values, v, keep)
    weights = align(query, keys, v, keep[:, None])
    return weights.to(values.dtype) @ values, weights


def score_gradients(dscores: Tensor, query: Tensor, keys: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, keys and v from those of `score`, with tanh taken anew: what the fused backward computes.

    With t_ij = tanh(query_i + keys_j) and g_ij = dscores_ij (1 - t_ij^2), all but dscores_ij being A wide:
    dquery_i = v * sum_j g_ij, dkeys_j = v * sum_i g_ij, dv = sum_ij dscores_ij t_ij.

    dscores (B, Q, N) float32, the rest as for `score`; results are as wide as dscores. Holds B*Q*N*A numbers at once.
    """
    state = dscores.dtype
    t = torch.tanh(query[:, :, None].to(state) + keys[:, None].to(state))  # (B, Q, N, A)
    g = dscores[..., None] * (1 - t * t)
    return g.sum(2) * v.to(state), g.sum(1) * v.to(state), (dscores[..., None] * t).sum((0, 1, 2))


def softmax_gradient(weights: Tensor, dweights: Tensor) -> Tensor:
    """Gradient of the scores from that of their softmax: w_j (dw_j - sum_k w_k dw_k), along the last axis."""
    return weights * (dweights - (weights * dweights).sum(dim=-1, keepdim=True))


class Steps:
    """The looks of a decoder's loop: each step one query of every sentence, then the same steps backwards.

    Keeps T*B*N*A numbers of keys' type for the way back; `additive_triton.Steps` is the same without them.
    """

    def __init__(self, keys: Tensor, v: Tensor, T: int, kept: Tensor | None = None) -> None:
        """keys (B, N, A) and v (A,) of one type; T: the number of steps; for the way back, what the way there kept."""
        (B, N, A), state = keys.shape, wide(keys.dtype)
        self.keys, self.v = keys, v
        if kept is None:
            self.kept = keys.new_empty((T, B, N, A))  # tanh(query + keys)
        else:
            self.kept = kept
            self.dscores = keys.new_empty((T, B, N), dtype=state)
            self.dkeys = torch.zeros_like(keys, dtype=state)  # still to be multiplied by v

    def look(self, t: int, query: Tensor, hide: Tensor, out: Tensor) -> Tensor:
        """Weights of step t, written to out (B, N): query (B, A), hide (B, N) 0 where a key may be seen, else -inf."""
        tanh = torch.add(self.keys, query[:, None], out=self.kept[t]).tanh_()  # (B, N, A)
        return torch.softmax((tanh @ self.v).to(hide.dtype) + hide, dim=-1, out=out)

    def look_backward(self, t: int, weights: Tensor, dweights: Tensor) -> Tensor:
        """Gradient (B, A) of step t's queries, from its weights (B, N) and their gradient."""
        tanh, dscores = self.kept[t], self.dscores[t]
        torch.mul(weights, dweights - (dweights * weights).sum(dim=-1, keepdim=True), out=dscores)
        # d(v . tanh(u)) / du = v (1 - tanh^2); v comes in after the sums over positions.
        g = torch.addcmul(self.keys.new_ones(()), tanh, tanh, value=-1.0).mul_(dscores.to(tanh.dtype)[:, :, None])
        self.dkeys += g
        return g.sum(dim=1) * self.v

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Of keys (B, N, A) and v (A,), over all steps."""
        dv = self.dscores.flatten().to(self.v.dtype) @ self.kept.flatten(0, 2)
        return (self.dkeys * self.v).to(self.keys.dtype), dv


class FusedSteps:
    """The same on a CPU, compiled: keeps the queries alone, and takes tanh anew on the way back."""

    def __init__(self, fused: Fused, keys: Tensor, v: Tensor, T: int, kept: Tensor | None = None) -> None:
        self._fused, self._keys, self._v, self._dtype = fused, keys.contiguous(), v.float(), v.dtype
        B, N, A = keys.shape
        self.kept = keys.new_empty((T, B, A)) if kept is None else kept
        self._dscores = None if kept is None else torch.empty((T, B, N))

    def look(self, t: int, query: Tensor, hide: Tensor, out: Tensor) -> Tensor:
        """Weights of step t, written to out (B, N)."""
        self.kept[t] = query
        return self._fused.additive_look(self._keys, self.kept[t], self._v, hide, out)

    def look_backward(self, t: int, weights: Tensor, dweights: Tensor) -> Tensor:
        """Gradient (B, A) of step t's queries."""
        assert self._dscores is not None
        return self._fused.additive_look_backward(
            self._keys, self.kept[t], self._v, weights, dweights, self._dscores[t]
        )

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Of keys and v, over all steps."""
        assert self._dscores is not None
        dkeys, dv = self._fused.additive_keys_backward(self._keys, self.kept, self._v, self._dscores)
        return dkeys, dv.to(self._dtype)


def looks(
    steps: type[Steps], fused: Fused | None, keys: Tensor, v: Tensor, T: int, kept: Tensor | None = None
) -> Steps | FusedSteps:
    """`FusedSteps` where the compiled functions are in use, else the given form."""
    return steps(keys, v, T, kept) if fused is None else FusedSteps(fused, keys, v, T, kept)
