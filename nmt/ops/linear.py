"""Matrix products in the type of their input: parameters are kept in float32 and cast where they are used.

On an AMD processor float32 products of a training go through oneDNN, which torch carries and which is a fifth faster
there than the library torch takes them to by itself (100 against 83 GFLOP/s a core at a Transformer's shapes, Zen 4).
bfloat16 products are oneDNN's already.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.ops.casts import as_type
from nmt.ops.dropout import dropout
from nmt.ops.fused import NONE, Drop, Fused, fused_for
from nmt.ops.gradient import once
from nmt.ops.ready import onednn_has_bfloat16, onednn_is_faster, ready_product


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., I) times weight (O, I) transposed, plus bias (O,): (..., O) in the dtype of x, whatever that of the
    parameters.
    """
    if (made := ready_product(x, weight, bias)) is not None:
        return made
    if (fused := fused_for(x)) is not None and torch.is_grad_enabled():
        return _FusedLinear.apply(x, weight, bias, fused)  # pyright: ignore[reportReturnType]
    if torch.is_grad_enabled() and _through_onednn(x) and weight.dtype == x.dtype:
        return _OneDNNLinear.apply(x, weight, bias)  # pyright: ignore[reportReturnType]
    return F.linear(x, as_type(weight, x.dtype), None if bias is None else as_type(bias, x.dtype))


def linear_relu(x: Tensor, weight: Tensor, bias: Tensor | None = None, drop: float = 0.0) -> Tensor:
    """What of `linear` is above 0, and 0 for the rest; elements of that zeroed with probability `drop`, as
    ops.dropout.dropout does.
    """
    if not drop and (made := ready_product(x, weight, bias, relu=True)) is not None:
        return made
    return dropout(torch.relu(linear(x, weight, bias)), drop)


def product(rows: Tensor, matrix: Tensor) -> Tensor:
    """rows (..., I) times matrix (O, I) transposed: (..., O), both of one dtype. For hand-written passes: autograd does
    not see through it everywhere.
    """
    if (made := ready_product(rows, matrix, None)) is not None:
        return made
    return _onednn(rows, matrix, None) if _through_onednn(rows) else rows @ matrix.T


def add_product_(total: Tensor, rows: Tensor, matrix: Tensor) -> Tensor:
    """total (B, O) += rows (B, I) times matrix (O, I) transposed, a product in the dtype of the matrix; gives total."""
    if (made := ready_product(rows, matrix, None)) is not None:
        return total.add_(made)
    if total.dtype == matrix.dtype == rows.dtype and not _through_onednn(rows):
        return total.addmm_(rows, matrix.T)
    return total.add_(product(rows.to(matrix.dtype), matrix))


def _through_onednn(x: Tensor) -> bool:
    if torch.compiler.is_compiling():  # which chooses by itself
        return False
    return x.dtype == torch.float32 and x.device.type == "cpu" and onednn_is_faster()


def _onednn(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """x (..., I), matrix (O, I), bias (O,) -> (..., O): what torch.compile calls for a linear layer on a CPU. Its ReLU
    makes 0 of what is no number, so a training does without.
    """
    return torch.ops.mkldnn._linear_pointwise(x, matrix, bias, "none", [], "")


class _OneDNNLinear(torch.autograd.Function):
    """The gradient of the weight stays with torch's own product, which is as fast there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows = grads[0].reshape(-1, weight.shape[0])
        return (
            _onednn(grads[0], weight.T, None) if wants_x else None,
            rows.T @ x.reshape(-1, weight.shape[1]) if wants_weight else None,
            rows.sum(dim=0) if wants_bias else None,
        )


def finished(
    x: Tensor, matrix: Tensor, bias: Tensor | None, fused: Fused, relu: bool = False, drop: Drop = NONE
) -> Tensor:
    """`linear` with a matrix in the type of x, what of it is above 0 with relu, and of that what dropout leaves. For
    hand-written passes.
    """
    if _through_onednn(x) or (x.dtype == torch.bfloat16 and onednn_has_bfloat16()):  # it adds a bias while it writes
        y, bias = _onednn(x, matrix, None if bias is None else as_type(bias, x.dtype)), None
    else:  # torch's own product would write it first and read it again
        y = F.linear(x, matrix)
    if bias is not None or relu or drop is not NONE:
        fused.finish_(y.view(-1, y.shape[-1]), bias, relu, drop)
    return y


class _FusedLinear(torch.autograd.Function):
    """Products as elsewhere; the bias after them in one pass, and its gradient in another."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, fused: Fused) -> Tensor:
        w = as_type(weight, x.dtype)
        ctx.save_for_backward(x, w)
        ctx.fused, ctx.dtype = fused, weight.dtype
        return finished(x, w, bias, fused)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        rows = grads[0].reshape(-1, w.shape[0])
        return (
            product(rows, w.T).view(x.shape) if wants_x else None,
            (rows.T @ x.reshape(-1, w.shape[1])).to(ctx.dtype) if wants_weight else None,
            ctx.fused.column_sums(rows) if wants_bias else None,
            None,
        )


def wide(dtype: torch.dtype) -> torch.dtype:
    """Type of states, gates, softmax and losses where products have the given one: float32, or float64 when everything
    has.
    """
    return torch.promote_types(dtype, torch.float32)
