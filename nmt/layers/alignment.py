"""Attention as layers: Bahdanau's, and Luong's with its scores and reaches; ops/additive.py and ops/luong.py have the
laws.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from nmt.ops import luong
from nmt.ops.choose import PLAIN, Kernels
from nmt.ops.linear import linear
from nmt.ops.native import native_for

Score = Literal["dot", "general", "concat", "location"]
Reach = Literal["global", "local_m", "local_p"]


class LuongAlignment(nn.Module):
    """a_t of Luong et al. 2015 for a query h_t, and c_t = sum_s a_t(s) h_s (sections 3.1 and 3.2).

    score: dot h_t . h_s; general h_t . W_a h_s; concat v_a . tanh(W_a [h_t; h_s]) (equation 8); location W_a h_t, which
    looks at no h_s and has a fixed width, `max_source` (equation 9; ops/luong.py says what of it a sentence uses).
    reach: global sees every word; local_m the words of [p_t - D, p_t + D] with p_t = t; local_p the same around a
    predicted p_t, the softmax inside the window times a Gaussian about p_t, not normalised again (equation 10). p_t has
    its gradient through the Gaussian alone: a window's edges have none.

    Positions are those of the rows as `attend` gets them: a model that reads the source backwards puts its annotations
    back in order first. No bias anywhere, as printed. Sizes where the paper names none: d_align rows in concat's W_a,
    d_query in W_p. Location with a local reach, which the paper does not combine: the softmax is inside
    the window, and S counts the first `max_source` words alone.
    """

    kernels: Kernels = PLAIN

    def __init__(
        self,
        score: Score,
        reach: Reach,
        d_query: int,
        d_memory: int,
        window: int = 10,
        d_align: int = 1000,
        max_source: int = 50,
    ) -> None:
        """d_query: width of h_t; d_memory: that of h_s, which `dot` needs to be the same; window: D."""
        super().__init__()
        assert score != "dot" or d_query == d_memory, "dot has no matrix between h_t and h_s"
        self.score, self.reach, self.window, self.d_query = score, reach, window, d_query
        rows, columns = {
            "dot": (0, 0),
            "general": (d_query, d_memory),
            "concat": (d_align, d_query + d_memory),
            "location": (max_source, d_query),
        }[score]
        self.W_a = nn.Parameter(torch.empty(rows, columns)) if score != "dot" else None
        self.v_a = nn.Parameter(torch.empty(d_align)) if score == "concat" else None
        self.W_p = nn.Parameter(torch.empty(d_query, d_query)) if reach == "local_p" else None
        self.v_p = nn.Parameter(torch.empty(d_query)) if reach == "local_p" else None

    def keys(self, annotations: Tensor) -> Tensor:
        """What a score needs of h_s (B, S, D), once a sentence: (B, S, A); nothing, A = 0, for location."""
        if self.score == "dot":
            return annotations
        if self.score == "general":
            return linear(annotations, self._matrix())
        if self.score == "concat":
            return linear(annotations, self._matrix()[:, self.d_query :])
        return annotations[:, :, :0]

    def visible(self, keep: Tensor) -> Tensor:
        """keep (B, S) without the words that are too late for `location`."""
        return luong.within(keep, self._matrix().shape[0]) if self.score == "location" else keep

    def weights(self, query: Tensor, position: Tensor, keys: Tensor, keep: Tensor) -> Tensor:
        """a_t: query h_t (B, Q, H) at target position t (B, Q) int64 from 1, keys, keep (B, S) -> (B, Q, S) float32."""
        keep = self.visible(keep)
        if self.score == "location" and self.reach == "global":
            return luong.location_weights(query, self._matrix(), keep)
        if self.reach == "global":
            return self._align(query, keys, keep[:, None])
        if self.W_p is None or self.v_p is None:
            p = luong.monotonic_position(position, keep, self.window)
            return self._align(query, keys, luong.window(p, keep, self.window))
        p = luong.predicted_position(query, self.W_p, self.v_p, keep)
        inside = self._align(query, keys, luong.window(p, keep, self.window))
        return inside * luong.gaussian(p, keep.shape[1], self.window)

    def attend(
        self, query: Tensor, position: Tensor, keys: Tensor, annotations: Tensor, keep: Tensor
    ) -> tuple[Tensor, Tensor]:
        """c_t (B, Q, D) in the dtype of annotations (B, S, D), and a_t; arguments as for `weights`."""
        native = native_for(query, keys, annotations) if keys.shape == annotations.shape else None
        if native is not None and self.reach == "global" and self.score in ("dot", "general"):
            looked = native.attend(query[:, None], keys[:, None], annotations[:, None], keep[:, None, None], scale=1.0)
            return looked[0][:, 0], looked[1][:, 0]
        a = self.weights(query, position, keys, keep)
        return a.to(annotations.dtype) @ annotations, a

    def _align(self, query: Tensor, keys: Tensor, may: Tensor) -> Tensor:
        """align(h_t, h_s), equation 7, over the positions of `may` (B, Q or 1, S)."""
        if self.score == "concat":
            assert self.v_a is not None
            return self.kernels.additive_align(linear(query, self._matrix()[:, : self.d_query]), keys, self.v_a, may)
        if self.score == "location":
            return luong.weigh(luong.location_score(query, self._matrix(), may.shape[-1]), may)
        return luong.weigh(luong.dot_score(query, keys), may)

    @property
    def operations(self) -> tuple[str, ...]:
        """What of it has forms to choose from."""
        return ("additive",) if self.score == "concat" else ()

    def _matrix(self) -> Tensor:
        assert self.W_a is not None
        return self.W_a


class AdditiveAlignment(nn.Module):
    """alpha and c of Bahdanau et al. 2015 (A.1.2): e_j = v_a . tanh(W_a s + U_a h_j + b_a), over the whole source."""

    kernels: Kernels = PLAIN
    operations = ("additive",)

    def __init__(self, d_query: int, d_memory: int, d_align: int) -> None:
        super().__init__()
        self.W_a = nn.Linear(d_query, d_align, bias=False)
        self.U_a = nn.Linear(d_memory, d_align)
        self.v_a = nn.Parameter(torch.empty(d_align))

    def keys(self, annotations: Tensor) -> Tensor:
        """U_a h + b_a, once a sentence: annotations (B, S, D) -> (B, S, A)."""
        return linear(annotations, self.U_a.weight, self.U_a.bias)

    def attend(
        self, query: Tensor, position: Tensor, keys: Tensor, annotations: Tensor, keep: Tensor
    ) -> tuple[Tensor, Tensor]:
        """c (B, Q, D) in the dtype of annotations (B, S, D) and alpha (B, Q, S) float32, for queries s (B, Q, H); the
        target position (B, Q), which Luong's attention may ask for, says nothing here.
        """
        return self.kernels.additive_attend(linear(query, self.W_a.weight), keys, annotations, self.v_a, keep)
