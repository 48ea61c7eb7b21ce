"""A decoder that feeds h~_{t-1} to its next step (Luong et al. 2015, section 3.3), over all target positions."""

from typing import cast

import torch
from torch import Tensor, nn

from nmt.layers.alignment import LuongAlignment
from nmt.layers.recurrent import LSTM, Carry, Stack
from nmt.ops.dropout import dropout
from nmt.ops.linear import linear
from nmt.ops.luong_decoder import Look, decode


def decode_fed(
    stack: Stack,
    alignment: LuongAlignment,
    W_c: nn.Linear,
    y: Tensor,
    start: tuple[Carry, ...],
    keys: Tensor,
    annotations: Tensor,
    keep: Tensor,
) -> Tensor:
    """h~_t = tanh(W_c [c_t; h_t]) at every position: (T, B, F) float32; what stepping gives, in the loop of
    `ops/luong_decoder.py`.

    stack of LSTMs whose lowest layer takes [y_t; h~_{t-1}], y (T, B, E), h~ (T, B, F); keys and annotations (B, S, .)
    and keep (B, S) as for `alignment.attend`. Dropout is the stack's, and falls on h~_{t-1} too; y has had its own.
    """
    dtype, (T, B, E), L = y.dtype, y.shape, len(stack.layers)
    D = annotations.shape[-1]
    W_q, W_p = _query_matrix(alignment, keep.shape[1]), alignment.W_p
    lowest, *others = (cast(LSTM, layer) for layer in stack.layers)
    drop = None
    if stack.training and stack.dropout > 0:
        drop = dropout(start[0][0].new_ones((T, L, B, max(W_c.out_features, stack.d_hidden))), stack.dropout)
    return decode(
        x=linear(y, lowest.W.weight[:, :E], lowest.W.bias),
        h0=torch.stack([carry[0] for carry in start]),
        c0=torch.stack([carry[1] for carry in start]),
        W_feed=lowest.W.weight[:, E:].to(dtype),
        layers=[(lowest.U.to(dtype),), *((r.U.to(dtype), r.W.weight.to(dtype), r.W.bias.to(dtype)) for r in others)],
        from_top=torch.cat([m for m in (W_c.weight[:, D:], W_q, W_p) if m is not None]).to(dtype),
        keys=keys,
        values=linear(annotations, W_c.weight[:, :D]),
        look=Look(
            form="additive"
            if alignment.score == "concat"
            else "location"
            if alignment.score == "location"
            else "product",
            keep=alignment.visible(keep),
            position=None if alignment.reach == "global" else "t" if alignment.reach == "local_m" else "predicted",
            D=alignment.window,
            n_query=0 if W_q is None else len(W_q),
            n_predict=0 if W_p is None else len(W_p),
            steps=alignment.kernels.additive_steps,
        ),
        v=None if alignment.v_a is None else alignment.v_a.to(dtype),
        v_p=alignment.v_p,
        drop=drop,
    )


def _query_matrix(alignment: LuongAlignment, n_keys: int) -> Tensor | None:
    """What the query is multiplied with before it meets the keys, if anything."""
    if alignment.W_a is None or alignment.score == "general":
        return None
    if alignment.score == "concat":
        return alignment.W_a[:, : alignment.d_query]
    return alignment.W_a if alignment.reach == "global" else alignment.W_a[:n_keys]
