"""What a training on a CPU does between its matrix products, written in C (fused.c) and compiled on this machine.

Torch makes one pass over memory for each small operation, and autograd others for its gradient: beside fast products
they take a third of a Transformer's update. Each function here is one pass, and stands for a plain form:

    drop, add_dropped                ops/dropout.py
    finish_, column_sums             a bias after a product, and its gradient: ops/linear.py
    finish_backward_                 that of ReLU and dropout: ops/rectified.py
    attention, attention_backward    ops/dot.py
    cross_entropy_                   ops/cross_entropy.py
    r_drop_                          ops/r_drop.py
    norm, norm_backward              ops/norm.py
    gate, gate_backward              ops/gated.py
    heads, heads_backward            ops/projected.py
    gru_open, gru_close, ...         ops/gru.py
    lstm_step, lstm_step_backward    ops/lstm.py
    additive_look, ...               ops/additive.py

float32 or bfloat16 on a CPU. What comes out is the same for any number of threads. Dropout takes two keys from torch's
generator and makes every element's random bits from them and its place, so the way back needs no mask: the masks are
not those of the plain form. The C compiler of the machine makes the library, as that of ops/native.py.
"""

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from nmt.ops import fused_recurrent, native_build
from nmt.ops.foreign import F, N, P, Y, addresses, typed
from nmt.ops.fused_recurrent import Recurrent
from nmt.ops.heads import Strides, heads, in_rows, laid_out_as, strides
from nmt.ops.in_use import InUse

LEVELS = 1 << 16
"""Of an element's random bits in dropout."""
_ROWS = 256
"""Rows that are summed by themselves before their sums are."""

LONGEST, WIDEST = 256, 256
"""Queries or keys of a sentence, and numbers of a head, that `attention` is for: more of them fill a core's cache."""


def zeroed_levels(p: float) -> int:
    """Of LEVELS, those that mean zero with probability p: p below 1 leaves something, however little."""
    return min(round(p * LEVELS), LEVELS - 1)


class Drop(ctypes.Structure):
    """Two keys of 32 bits, the threshold below which an element's 16 random bits mean zero, and what others are
    multiplied with.
    """

    _fields_ = [
        ("key", ctypes.c_uint32),
        ("other", ctypes.c_uint32),
        ("threshold", ctypes.c_uint32),
        ("scale", ctypes.c_float),
    ]

    @classmethod
    def new(cls, p: float) -> "Drop":
        """Of probability p, rounded to 1/65,536, with keys from torch's generator; p = 0 draws none."""
        if not (zeroed := zeroed_levels(p)):
            return NONE
        keys = int(torch.empty((), dtype=torch.int64).random_(-(1 << 63), None)) & ((1 << 64) - 1)
        return cls(keys & 0xFFFFFFFF, keys >> 32, zeroed, LEVELS / (LEVELS - zeroed))


NONE = Drop(0, 0, 0, 1.0)
"""Nothing is dropped."""


_HEADS = [P, Strides] * 3
_ARGUMENTS = fused_recurrent.ARGUMENTS | {
    "nmt_set_parallel": [P],
    "nmt_drop": [P, P, Y, P, Y, N, Drop, N],
    "nmt_finish": [P, Y, P, Y, N, N, Drop, N],
    "nmt_finish_backward": [P, P, P, Y, F, N, N, N, P, N],
    "nmt_cross_entropy": [P, Y, P, P, N, N, F, P, P, N],
    "nmt_r_drop": [P, P, Y, P, P, N, N, F, F, P, P, P, N],
    "nmt_norm": [P, P, P, F, N, N, P, Y, P, P, N],
    "nmt_norm_backward": [P, Y, P, P, P, P, N, N, N, P, P, P, N],
    "nmt_gate": [P, Y, Y, N, N, P, N],
    "nmt_gate_backward": [P, P, Y, Y, N, N, P, N],
    "nmt_heads": [P, Strides, Y, P, F, P, Strides, *[N] * 4, P, N],
    "nmt_heads_backward": [*[P, Strides] * 2, Y, P, F, P, Strides, *[N] * 5, P, Strides, P, N],
    "nmt_attention": [*_HEADS, Y, P, Strides, *[N] * 7, F, Drop, P, P, N],
    "nmt_attention_backward": [*_HEADS, Y, P, P, Strides, *[N] * 6, F, Drop, *_HEADS, N],
}
_MAY_FAIL = {"nmt_cross_entropy", "nmt_r_drop", "nmt_attention", "nmt_attention_backward"}


class Fused(Recurrent):
    """The compiled functions. Tensors are on the CPU, of one type, float32 or bfloat16, where nothing else is said."""

    def __init__(self, path: Path, parallel: ctypes.c_void_p) -> None:
        """parallel: GOMP_parallel of torch's own threads, so that none wait for others' cores."""
        self._library = ctypes.CDLL(str(path))
        for name, arguments in _ARGUMENTS.items():
            function = getattr(self._library, name)
            function.argtypes, function.restype = arguments, None
            if name in _MAY_FAIL:
                function.restype, function.errcheck = Y, _refuse
        self._library.nmt_set_parallel(parallel)

    def drop(self, x: Tensor, drop: Drop, dtype: torch.dtype | None = None) -> Tensor:
        """x with what is dropped as 0 and the rest scaled, in its own type or another."""
        x = x.contiguous()
        y = torch.empty_like(x, dtype=dtype)
        self._library.nmt_drop(None, *typed(x), *typed(y), x.numel(), drop, torch.get_num_threads())
        return y

    def add_dropped(self, base: Tensor, x: Tensor, drop: Drop) -> Tensor:
        """base float32 plus `drop` of x, both of one shape: float32."""
        base, x = base.contiguous(), x.contiguous()
        assert base.shape == x.shape
        y = torch.empty_like(base)
        self._library.nmt_drop(base.data_ptr(), *typed(x), *typed(y), x.numel(), drop, torch.get_num_threads())
        return y

    def finish_(self, y: Tensor, bias: Tensor | None, relu: bool, drop: Drop) -> Tensor:
        """Y (R, O) plus bias (O,); with relu what of it is above 0; then dropped: in its place."""
        assert y.is_contiguous()
        bias = None if bias is None else bias.float()
        at = None if bias is None else bias.data_ptr()
        self._library.nmt_finish(*typed(y), at, int(relu), *y.shape, drop, torch.get_num_threads())
        return y

    def finish_backward_(self, g: Tensor, y: Tensor, drop: Drop) -> Tensor:
        """Makes the gradient g (R, O) of y, what `finish_` with relu has made, that of the product, in its place: gives
        its sum over rows, (O,) float32.
        """
        assert g.is_contiguous()
        assert y.is_contiguous()
        return self._returned(g, y.data_ptr(), g.data_ptr(), drop.scale)

    def column_sums(self, g: Tensor) -> Tensor:
        """Of g (R, O) over rows: (O,) float32."""
        return self._returned(g.contiguous(), None, None, 1.0)

    def _returned(self, g: Tensor, y: int | None, d: int | None, scale: float) -> Tensor:
        R, width = g.shape
        sums = torch.empty((-(-R // _ROWS), width))
        at, half = typed(g)
        self._library.nmt_finish_backward(
            *(at, y, d, half, scale, R, width, _ROWS, sums.data_ptr(), torch.get_num_threads())
        )
        return sums.sum(dim=0)

    def cross_entropy_(
        self, logits: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        """-log p(target) and the mean of -log p over all ids for logits (R, V) plus bias (V,), (R,) float32
        each. In the logits' place: the gradient of (1 - smoothing) times the first plus smoothing times the second.
        """
        assert logits.is_contiguous()
        (R, V), targets = logits.shape, _known(targets, logits.shape[1])
        bias = None if bias is None else bias.float()
        nll, mean = torch.empty(R), torch.empty(R)
        self._library.nmt_cross_entropy(
            *(*typed(logits), *addresses(bias, targets), R, V, smoothing, *addresses(nll, mean)),
            torch.get_num_threads(),
        )
        return nll, mean

    def r_drop_(
        self, first: Tensor, second: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float, alpha: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """-log p(target), the mean of -log p over all ids, and KL(P_1 || P_2) + KL(P_2 || P_1) for the logits of two
        passes, (R, V) each, plus bias (V,): (R,) float32 each, of both passes together. In the logits' places: the
        gradients of ops.r_drop's loss.
        """
        assert first.is_contiguous()
        assert second.is_contiguous()
        (R, V), targets = first.shape, _known(targets, first.shape[1])
        bias = None if bias is None else bias.float()
        found = torch.empty(R), torch.empty(R), torch.empty(R)
        self._library.nmt_r_drop(
            *(first.data_ptr(), *typed(second), *addresses(bias, targets), R, V, smoothing, alpha, *addresses(*found)),
            torch.get_num_threads(),
        )
        return found

    def norm(
        self, x: Tensor, gain: Tensor, bias: Tensor | None, eps: float, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Rows (..., D) float32, contiguous, as ops.norm.layer_norm has them, and their means and the inverses of their
        deviations, (R,); without a bias as rms_norm there, and there are no means.
        """
        R, D = x.numel() // x.shape[-1], x.shape[-1]
        y, inverse = torch.empty_like(x, dtype=dtype), torch.empty(R)
        mean = None if bias is None else torch.empty(R)
        self._library.nmt_norm(
            *(*addresses(x, gain, bias), eps, R, D, *typed(y), *addresses(mean, inverse), torch.get_num_threads())
        )
        return y, mean, inverse

    def norm_backward(
        self, g: Tensor, x: Tensor, gain: Tensor, mean: Tensor | None, inverse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """From the gradient of y those of x, gain and, where there are means, bias: float32."""
        g, D, R = g.contiguous(), x.shape[-1], len(inverse)
        dx, sums = torch.empty_like(x), torch.empty((1 if mean is None else 2, -(-R // _ROWS), D))
        self._library.nmt_norm_backward(
            *(*typed(g), *addresses(x, gain, mean, inverse), R, D, _ROWS, dx.data_ptr()),
            *(*addresses(sums[0], None if mean is None else sums[1]), torch.get_num_threads()),
        )
        dgain, *dbias = sums.sum(dim=1)
        return dx, dgain, dbias[0] if dbias else None

    def gate(self, x: Tensor, swish: bool) -> Tensor:
        """Of contiguous x (..., 2M) what ops.gated.swiglu makes, or glu there: (..., M)."""
        y = x.new_empty((*x.shape[:-1], x.shape[-1] // 2), dtype=x.dtype if swish else torch.float32)
        R, M = x.numel() // x.shape[-1], y.shape[-1]
        self._library.nmt_gate(*typed(x), int(swish), R, M, y.data_ptr(), torch.get_num_threads())
        return y

    def gate_backward(self, g: Tensor, x: Tensor, swish: bool) -> Tensor:
        """The gradient of x from that of what `gate` has made of it."""
        g, dx = g.contiguous(), torch.empty_like(x)
        R, M = x.numel() // x.shape[-1], g.shape[-1]
        self._library.nmt_gate_backward(
            g.data_ptr(), *typed(x), int(swish), R, M, dx.data_ptr(), torch.get_num_threads()
        )
        return dx

    def heads(self, x: Tensor, gain: Tensor | None, eps: float, turn: Tensor | None) -> Tensor:
        """Heads (B, H, N, C), normalised with gain (C,) and turned by (N, C / 2, 2) or (B, 1, N, C / 2, 2), each where
        there is such, as ops.projected.heads does: laid out as (B, N, H, C).
        """
        (B, H, N, C), at = x.shape, strides(x)
        y = x.new_empty((B, N, H, C))
        self._library.nmt_heads(
            *(x.data_ptr(), at, typed(x)[1], *addresses(gain), eps, *_turning(turn), B, H, N, C, y.data_ptr()),
            torch.get_num_threads(),
        )
        return y.transpose(1, 2)

    def heads_backward(
        self, g: Tensor, x: Tensor, gain: Tensor | None, eps: float, turn: Tensor | None, out: Tensor
    ) -> Tensor | None:
        """From the gradient of what `heads` has made that of x, written to out, which is laid out in any way; gives
        that of the gain.
        """
        B, H, N, C = x.shape
        assert g.dtype == x.dtype == out.dtype
        assert C <= WIDEST
        sums = None if gain is None else torch.empty((-(-B * N // _ROWS), C))
        self._library.nmt_heads_backward(
            *(*heads(g, x), typed(x)[1], *addresses(gain), eps, *_turning(turn), B, H, N, C, _ROWS),
            *(*heads(out), *addresses(sums), torch.get_num_threads()),
        )
        return None if sums is None else sums.sum(dim=0)

    def attention(
        self, query: Tensor, keys: Tensor, values: Tensor, keep: Tensor | None, drop: Drop
    ) -> tuple[Tensor, Tensor]:
        """As ops.dot.attend with queries (B, H, Q, C), keys and values (B, G, N, C), keep (B or 1, 1, Q or 1, N): the
        context (B, H, Q, C), laid out as (B, Q, H, C), and the weights before dropout, (B, H, Q, N) float32.
        """
        (B, H, Q, C), (G, N) = query.shape, keys.shape[1:3]
        assert query.dtype == keys.dtype == values.dtype
        assert values.shape == keys.shape == (B, G, N, C)
        weights, context = torch.empty((B, H, Q, N)), query.new_empty((B, Q, H, C))
        seen, seen_key, mask = Strides(0, 0, 0), 0, None
        if keep is not None:
            wide = keep.expand(B, 1, Q, N)
            seen, seen_key, mask = Strides(wide.stride(0), 0, wide.stride(2)), wide.stride(3), keep.data_ptr()
        self._library.nmt_attention(
            *heads(query, keys, values),
            *(int(query.dtype == torch.bfloat16), mask, seen, seen_key, B, H, G, Q, N, C, C**-0.5, drop),
            *(weights.data_ptr(), context.data_ptr(), torch.get_num_threads()),
        )
        return context.transpose(1, 2), weights

    def attention_backward(
        self, query: Tensor, keys: Tensor, values: Tensor, weights: Tensor, d_context: Tensor, drop: Drop
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of queries, keys and values from that of the context, laid out in memory as they are: those
        that stood side by side in one tensor's rows do again.
        """
        (B, H, Q, C), (G, N) = query.shape, keys.shape[1:3]
        d_context = in_rows(d_context.to(query.dtype))
        found = laid_out_as(query, keys, values)
        self._library.nmt_attention_backward(
            *heads(query, keys, values),
            *(int(query.dtype == torch.bfloat16), weights.data_ptr(), d_context.data_ptr(), strides(d_context)),
            *(B, H, G, Q, N, C, C**-0.5, drop, *heads(*found), torch.get_num_threads()),
        )
        return found


def _turning(turn: Tensor | None) -> tuple[int | None, Strides]:
    """Address and strides of what turns heads."""
    if turn is None:
        return None, Strides(0, 0, 0)
    assert turn.stride()[-2:] == (2, 1)
    assert turn.dtype == torch.float32
    return turn.data_ptr(), Strides(turn.stride(0) if turn.dim() == 5 and len(turn) > 1 else 0, 0, turn.stride(-3))


def _known(targets: Tensor, n_ids: int) -> Tensor:
    """The targets as int64 side by side; IndexError where one is no id."""
    targets = targets.to(torch.int64).contiguous()
    for target in (int(targets.min()), int(targets.max())):
        if not 0 <= target < n_ids:
            raise IndexError(f"target {target} is none of {n_ids} ids")
    return targets


def _refuse(failed: int, *_: object) -> None:
    if failed:
        raise MemoryError("no memory for a row of logits, or for the heads of a sentence")


# --- in use -----------------------------------------------------------------------------------------------------------

_ACTIVE = InUse[Fused]("fused")
using = _ACTIVE.using
"""While it lasts, the plain forms hand over to these in this thread."""


def fused_for(*tensors: Tensor) -> Fused | None:
    """The functions in use, where they are for all of these tensors; else None."""
    fused = _ACTIVE.now()
    if fused is None:
        return None
    for x in tensors:
        if not x.is_cpu or x.dtype not in (torch.float32, torch.bfloat16):
            return None
    return fused


@cache
def library() -> tuple[Fused | None, str]:
    """The functions, and where there are none, why; made on the first call, as ops.native.library."""
    path, why = native_build.library_file("fused")
    if path is None:
        return None, why
    try:
        parallel = ctypes.cast(ctypes.CDLL(None).GOMP_parallel, ctypes.c_void_p)
    except AttributeError:  # such as on a Mac
        return None, "the threads of this torch cannot be shared"
    try:
        return Fused(path, parallel), ""
    except (OSError, AttributeError) as error:
        return None, f"the library of fused.c cannot be loaded: {error}"
