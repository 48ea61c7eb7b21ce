"""What a training on a CPU does between its matrix products, written in C (fused.c) and compiled on this machine.

Torch makes one pass over memory for each small operation, and autograd others for its gradient: beside fast products
they take a third of a Transformer's update. Each function here is one pass, and stands for a plain form:

    drop, add_dropped                ops/dropout.py
    finish, finish_backward          bias, ReLU and dropout after a product: ops/linear.py
    column_sums                      the gradient of a bias, there
    attention, attention_backward    ops/dot.py
    cross_entropy                    ops/cross_entropy.py
    layer_norm, ...                  ops/norm.py
    gru_open, gru_close, ...         ops/gru.py
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

from nmt.ops import native_build
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


_P, _N, _I, _F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_float
_HEADS = [_P, Strides] * 3
_ARGUMENTS = {
    "nmt_set_parallel": [_P],
    "nmt_drop": [_P, _P, _I, _P, _I, _N, Drop, _N],
    "nmt_finish": [_P, _I, _P, _I, _N, _N, Drop, _N],
    "nmt_finish_backward": [_P, _P, _P, _I, _F, _N, _N, _N, _P, _N],
    "nmt_cross_entropy": [_P, _I, _P, _P, _N, _N, _F, _P, _P, _N],
    "nmt_layer_norm": [_P, _P, _P, _F, _N, _N, _P, _I, _P, _P, _N],
    "nmt_layer_norm_backward": [_P, _I, _P, _P, _P, _P, _N, _N, _N, _P, _P, _P, _N],
    "nmt_gru_open": [_P, _N, _P, _N, _P, _N, _P, _N, _N, _P, _I, _N],
    "nmt_gru_close": [_P, _N, _P, _P, _N, _N, _N, _P, _I, _N],
    "nmt_gru_close_backward": [_P, _P, _N, _P, _P, _N, _N, _N, _P, _I, _N],
    "nmt_gru_open_backward": [_P, _P, _N, _P, _P, _P, _N, _N, _N, _P, _I, _N],
    "nmt_gru_step": [_P, _N, _P, _N, _P, _N, _P, _N, _N, _P, _I, _N],
    "nmt_gru_step_backward": [_P, _P, _N, _P, _P, _N, _N, _N, _P, _N],
    "nmt_additive_look": [_P, _P, _N, _P, _P, _N, _N, _N, _P, _I, _N],
    "nmt_additive_look_backward": [_P, _P, _N, _P, _P, _P, _N, _N, _N, _P, _P, _I, _N],
    "nmt_additive_keys_backward": [_P, _P, _N, _N, _P, _P, _N, _N, _N, _N, _P, _P, _I, _N],
    "nmt_attention": [*_HEADS, _I, _P, Strides, *[_N] * 7, _F, Drop, _P, _P, _N],
    "nmt_attention_backward": [*_HEADS, _I, _P, _P, Strides, *[_N] * 6, _F, Drop, *_HEADS, _N],
}
_MAY_FAIL = {"nmt_cross_entropy", "nmt_attention", "nmt_attention_backward"}


class Fused:
    """The compiled functions. Tensors are on the CPU, of one type, float32 or bfloat16, where nothing else is said."""

    def __init__(self, path: Path, parallel: ctypes.c_void_p) -> None:
        """parallel: GOMP_parallel of torch's own threads, so that none wait for others' cores."""
        self._library = ctypes.CDLL(str(path))
        for name, arguments in _ARGUMENTS.items():
            function = getattr(self._library, name)
            function.argtypes, function.restype = arguments, None
            if name in _MAY_FAIL:
                function.restype, function.errcheck = _I, _refuse
        self._library.nmt_set_parallel(parallel)

    def drop(self, x: Tensor, drop: Drop, dtype: torch.dtype | None = None) -> Tensor:
        """x with what is dropped as 0 and the rest scaled, in its own type or another."""
        x = x.contiguous()
        y = torch.empty_like(x, dtype=dtype)
        self._library.nmt_drop(None, *_typed(x), *_typed(y), x.numel(), drop, torch.get_num_threads())
        return y

    def add_dropped(self, base: Tensor, x: Tensor, drop: Drop) -> Tensor:
        """base float32 plus `drop` of x, both of one shape: float32."""
        base, x = base.contiguous(), x.contiguous()
        assert base.shape == x.shape
        y = torch.empty_like(base)
        self._library.nmt_drop(base.data_ptr(), *_typed(x), *_typed(y), x.numel(), drop, torch.get_num_threads())
        return y

    def finish_(self, y: Tensor, bias: Tensor | None, relu: bool, drop: Drop) -> Tensor:
        """Y (R, O) plus bias (O,); with relu what of it is above 0; then dropped: in its place."""
        assert y.is_contiguous()
        bias = None if bias is None else bias.float()
        at = None if bias is None else bias.data_ptr()
        self._library.nmt_finish(*_typed(y), at, int(relu), *y.shape, drop, torch.get_num_threads())
        return y

    def finish_backward(self, g: Tensor, y: Tensor, drop: Drop) -> tuple[Tensor, Tensor]:
        """From the gradient g (R, O) of what `finish_` with relu has made, y: that of the product, and its sum over
        rows, (O,) float32.
        """
        g, d = g.contiguous(), torch.empty_like(y)
        return d, self._returned(g, y.data_ptr(), d.data_ptr(), drop.scale)

    def column_sums(self, g: Tensor) -> Tensor:
        """Of g (R, O) over rows: (O,) float32."""
        return self._returned(g.contiguous(), None, None, 1.0)

    def _returned(self, g: Tensor, y: int | None, d: int | None, scale: float) -> Tensor:
        R, width = g.shape
        sums = torch.empty((-(-R // _ROWS), width))
        at, half = _typed(g)
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
        R, V = logits.shape
        targets = targets.to(torch.int64).contiguous()
        for target in (int(targets.min()), int(targets.max())):
            if not 0 <= target < V:
                raise IndexError(f"target {target} is none of {V} ids")
        bias = None if bias is None else bias.float()
        nll, mean = torch.empty(R), torch.empty(R)
        at = None if bias is None else bias.data_ptr()
        self._library.nmt_cross_entropy(
            *_typed(logits),
            at,
            targets.data_ptr(),
            R,
            V,
            smoothing,
            nll.data_ptr(),
            mean.data_ptr(),
            torch.get_num_threads(),
        )
        return nll, mean

    def layer_norm(
        self, x: Tensor, gain: Tensor, bias: Tensor, eps: float, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (..., D) float32, contiguous, as ops.norm.layer_norm has them; and their means and the inverses of their
        deviations, (R,).
        """
        rows = x.numel() // x.shape[-1]
        y, mean, inverse = torch.empty_like(x, dtype=dtype), torch.empty(rows), torch.empty(rows)
        at = (tensor.data_ptr() for tensor in (x, gain, bias))
        self._library.nmt_layer_norm(
            *(*at, eps, rows, x.shape[-1], *_typed(y), mean.data_ptr(), inverse.data_ptr(), torch.get_num_threads())
        )
        return y, mean, inverse

    def layer_norm_backward(
        self, g: Tensor, x: Tensor, gain: Tensor, mean: Tensor, inverse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """From the gradient of y those of x, gain and bias, float32."""
        g, D, R = g.contiguous(), x.shape[-1], len(mean)
        dx, sums = torch.empty_like(x), torch.empty((2, -(-R // _ROWS), D))
        self._library.nmt_layer_norm_backward(
            *(*_typed(g), *(tensor.data_ptr() for tensor in (x, gain, mean, inverse)), R, D, _ROWS, dx.data_ptr()),
            *(sums[0].data_ptr(), sums[1].data_ptr(), torch.get_num_threads()),
        )
        dgain, dbias = sums.sum(dim=1)
        return dx, dgain, dbias

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

    # A step's sums, parts (B, 3H) float32 with rows any distance apart, in the order z, r, n; h (B, H) float32.

    def gru_open(
        self, parts: Tensor, share: Tensor | None, h: Tensor, keep: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """z and r from their sums and the share (B, 2H), in place, z 0 where keep (B,) is False; gives r h (B, H)."""
        (B, H), reset = h.shape, h.new_empty(h.shape, dtype=dtype)
        given = (None, 0) if share is None else (share.data_ptr(), share.stride(0))
        keep = None if keep is None else keep.contiguous()
        assert share is None or (share.dtype == dtype and share.stride(1) == 1)
        self._library.nmt_gru_open(
            *(parts.data_ptr(), parts.stride(0), *given, h.data_ptr(), h.stride(0)),
            *(None if keep is None else keep.data_ptr(), B, H, *_typed(reset), torch.get_num_threads()),
        )
        return reset

    def gru_close(self, parts: Tensor, recurrent: Tensor, h: Tensor, out: Tensor) -> Tensor:
        """n from its sum and recurrent (B, H), in place, and the state after: h + z (n - h), written to out."""
        assert recurrent.is_contiguous()
        assert out.is_contiguous()
        at, half = _typed(recurrent)
        self._library.nmt_gru_close(
            *(parts.data_ptr(), parts.stride(0), at, h.data_ptr(), h.stride(0), *h.shape, out.data_ptr(), half),
            torch.get_num_threads(),
        )
        return out

    def gru_close_backward(self, parts: Tensor, dparts: Tensor, dh: Tensor, h: Tensor, dtype: torch.dtype) -> Tensor:
        """The gradients of the sums of z and n, into dparts, from dh (B, H), that of the state after; n's as dtype."""
        dh, dn = dh.contiguous(), h.new_empty(h.shape, dtype=dtype)
        assert parts.stride() == dparts.stride()
        self._library.nmt_gru_close_backward(
            *(parts.data_ptr(), dparts.data_ptr(), parts.stride(0), dh.data_ptr(), h.data_ptr(), h.stride(0), *h.shape),
            *(*_typed(dn), torch.get_num_threads()),
        )
        return dn

    def gru_open_backward(self, parts: Tensor, dparts: Tensor, dreset: Tensor, dh: Tensor, h: Tensor) -> Tensor:
        """That of the sum of r, into dparts, from dreset (B, H); gives dh (1 - z) + dreset r, (B, H) float32."""
        dh, dreset, out = (
            dh.contiguous(),
            dreset.contiguous(),
            torch.empty_like(h, memory_format=torch.contiguous_format),
        )
        at, half = _typed(dreset)
        self._library.nmt_gru_open_backward(
            *(parts.data_ptr(), dparts.data_ptr(), parts.stride(0), at, dh.data_ptr(), h.data_ptr(), h.stride(0)),
            *(*h.shape, out.data_ptr(), half, torch.get_num_threads()),
        )
        return out

    def gru_step(self, parts: Tensor, share: Tensor | None, h: Tensor, keep: Tensor | None, out: Tensor) -> Tensor:
        """With the reset after the matrix: u, z, r and n, parts (B, 4H), from their sums and the share (B, 3H) of the
        first three, in place, z 0 where keep is False; and the state after, written to out (B, H).
        """
        at, row, half = (None, 0, 0) if share is None else (share.data_ptr(), share.stride(0), _typed(share)[1])
        keep = None if keep is None else keep.contiguous()
        assert out.is_contiguous()
        self._library.nmt_gru_step(
            *(parts.data_ptr(), parts.stride(0), at, row, h.data_ptr(), h.stride(0)),
            *(None if keep is None else keep.data_ptr(), *h.shape, out.data_ptr(), half, torch.get_num_threads()),
        )
        return out

    def gru_step_backward(self, parts: Tensor, dparts: Tensor, dh: Tensor, h: Tensor) -> Tensor:
        """The gradients of the four sums, into dparts, from dh (B, H), that of the state after; gives dh (1 - z)."""
        dh, out = dh.contiguous(), torch.empty_like(h, memory_format=torch.contiguous_format)
        assert parts.stride() == dparts.stride()
        self._library.nmt_gru_step_backward(
            *(parts.data_ptr(), dparts.data_ptr(), parts.stride(0), dh.data_ptr(), h.data_ptr(), h.stride(0), *h.shape),
            *(out.data_ptr(), torch.get_num_threads()),
        )
        return out

    def additive_look(self, keys: Tensor, query: Tensor, v: Tensor, hide: Tensor, out: Tensor) -> Tensor:
        """Weights (B, N) of keys (B, N, A) for query (B, A), v (A,) float32, hide (B, N) 0 or -inf: written to out."""
        assert keys.is_contiguous()
        assert out.is_contiguous()
        assert query.dtype == keys.dtype
        at, half = _typed(keys)
        self._library.nmt_additive_look(
            *(at, query.data_ptr(), query.stride(0), v.data_ptr(), hide.data_ptr(), *keys.shape, out.data_ptr(), half),
            torch.get_num_threads(),
        )
        return out

    def additive_look_backward(
        self, keys: Tensor, query: Tensor, v: Tensor, weights: Tensor, dweights: Tensor, dscores: Tensor
    ) -> Tensor:
        """The gradient (B, A) of a look's query from that of its weights; that of its scores into dscores (B, N)."""
        dweights, dquery = dweights.contiguous(), torch.empty_like(query, memory_format=torch.contiguous_format)
        at, half = _typed(keys)
        self._library.nmt_additive_look_backward(
            *(at, query.data_ptr(), query.stride(0), v.data_ptr(), weights.data_ptr(), dweights.data_ptr()),
            *(*keys.shape, dscores.data_ptr(), dquery.data_ptr(), half, torch.get_num_threads()),
        )
        return dquery

    def additive_keys_backward(
        self, keys: Tensor, queries: Tensor, v: Tensor, dscores: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The gradients of keys and of v (A,) float32 from those of the scores of T looks (T, B, N), with queries
        (T, B, A).
        """
        dkeys, dv = torch.empty_like(keys), torch.empty((keys.shape[0], keys.shape[2]))
        assert dscores.is_contiguous()
        at, half = _typed(keys)
        self._library.nmt_additive_keys_backward(
            *(at, queries.data_ptr(), queries.stride(1), queries.stride(0), v.data_ptr(), dscores.data_ptr()),
            *(len(queries), *keys.shape, dkeys.data_ptr(), dv.data_ptr(), half, torch.get_num_threads()),
        )
        return dkeys, dv.sum(dim=0)


def _typed(x: Tensor) -> tuple[int, int]:
    """Address, and whether it is bfloat16; TypeError for a type that the functions do not know."""
    if x.dtype not in (torch.float32, torch.bfloat16):
        raise TypeError(f"float32 or bfloat16, not {x.dtype}")
    return x.data_ptr(), int(x.dtype == torch.bfloat16)


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
