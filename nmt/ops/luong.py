"""Attention of Luong, Pham, Manning, "Effective Approaches to Attention-based Neural Machine Translation", EMNLP 2015.

arXiv 1508.04025v5, sections 3.1 and 3.2, written out. Source and target positions count from 1, as in the paper; S is
the number of source positions of a sentence that attention may see, its EOS among them.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from nmt.ops.linear import linear, wide


def dot_score(query: Tensor, keys: Tensor) -> Tensor:
    """score = h_t . key_s: query (B, Q, A), keys (B, N, A) -> (B, Q, N) float32.

    Equation 8: `dot` where the keys are the encoder's states, `general` where they are W_a times these.
    """
    return (query @ keys.transpose(1, 2)).to(wide(keys.dtype))


def location_weights(query: Tensor, W_a: Tensor, keep: Tensor) -> Tensor:
    """Equation 9, a_t = softmax(W_a h_t), by position alone: query (B, Q, H), W_a (W, H) -> (B, Q, N) float32.

    To the letter: the softmax is over the fixed width W whatever the sentence; "for short sentences, we only use the
    top part of a_t", whose weights then sum to less than one, "and for long sentences, we ignore words near the end".
    (Later versions of the authors' program take the softmax over the sentence's own positions.)
    """
    a = torch.softmax(linear(query, W_a).to(wide(query.dtype)), dim=-1)
    return top_part(a, keep[:, None])


def top_part(a: Tensor, keep: Tensor) -> Tensor:
    """The first N of a (..., W), zeros after them where N is more, and where keep (..., N) is False: (..., N)."""
    return pad(a, (0, keep.shape[-1] - a.shape[-1])) * keep


def location_score(query: Tensor, W_a: Tensor, n_keys: int) -> Tensor:
    """W_a h_t of equation 9 for a softmax inside a window, which the paper does not combine: (B, Q, n_keys) float32.

    Positions after W_a's last row score 0 here and must be masked (`within`).
    """
    scores = linear(query, W_a[:n_keys])
    return pad(scores, (0, n_keys - scores.shape[-1])).to(wide(query.dtype))


def within(keep: Tensor, width: int) -> Tensor:
    """The first `width` source positions of keep (B, N)."""
    return keep & (torch.arange(keep.shape[1], device=keep.device) < width)


def monotonic_position(position: Tensor, keep: Tensor, D: int) -> Tensor:
    """local-m: p_t = t. position (B, Q) int64 from 1, keep (B, N) -> (B, Q) float32.

    The paper does not say what a window sees that lies wholly beyond the sentence: here p_t stays at S + D, where it
    holds the last word alone. (The authors' program never lets p_t pass the last word.)
    """
    return torch.minimum(position, keep.sum(1, keepdim=True) + D).to(torch.float32)


def predicted_position(query: Tensor, W_p: Tensor, v_p: Tensor, keep: Tensor) -> Tensor:
    """local-p, equation 10: p_t = S sigmoid(v_p . tanh(W_p h_t)): query (B, Q, H), keep (B, N) -> (B, Q) float32.

    (The authors' program has 1 + (S - 1) sigmoid(.) and begins the window at its floor.)
    """
    inner = torch.tanh(linear(query, W_p)).to(wide(query.dtype))
    return keep.sum(1, keepdim=True) * torch.sigmoid(inner @ v_p.to(inner.dtype))


def window(p: Tensor, keep: Tensor, D: int) -> Tensor:
    """True where p_t - D <= s <= p_t + D and there is a word: p (B, Q), keep (B, N) -> (B, Q, N)."""
    return (offsets(p, keep.shape[1]).abs() <= D) & keep[:, None]


def gaussian(p: Tensor, n_keys: int, D: int) -> Tensor:
    """The factor of equation 10's local weights, exp(-(s - p_t)^2 / (2 sigma^2)), sigma = D / 2: (B, Q, N)."""
    return torch.exp(offsets(p, n_keys).square() * (-2.0 / D**2))


def offsets(p: Tensor, n_keys: int) -> Tensor:
    """s - p_t for s = 1 .. n_keys: p (..., Q) -> (..., Q, N)."""
    return torch.arange(1, n_keys + 1, device=p.device, dtype=p.dtype) - p[..., None]


def weigh(scores: Tensor, may: Tensor) -> Tensor:
    """align(h_t, h_s), equation 7: the softmax over positions of `may` (B, Q or 1, N); each query has one at least."""
    return scores.masked_fill(~may, -torch.inf).softmax(dim=-1)


def attentional(context: Tensor, h: Tensor, W_c: Tensor) -> Tensor:
    """h~_t = tanh(W_c [c_t; h_t]), equation 5, no bias: (..., D) and (..., H), W_c (F, D + H) -> (..., F) float32."""
    return torch.tanh(linear(torch.cat([context, h.to(context.dtype)], dim=-1), W_c).to(wide(context.dtype)))
