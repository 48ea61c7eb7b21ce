"""What a search on a CPU does between its matrix products, written in C (native.c) and compiled on this machine.

Torch makes one pass over memory for each small operation; between two products of a few hundred rows a search has
dozens of them, and they took more time than the products. Each function here is one pass, and stands for a plain form:

    log_normalizer, largest, survey        ops/top.py
    quantized, dequantize_, requantized    ops/ready.py
    listed, listed_bytes, few_bytes        ops/listed.py, ops/ready.py
    lstm, gru_gates, gru_state, gru        ops/lstm.py, ops/gru.py
    attend                                 ops/dot.py, also through a Lineage of layers/cache.py
    store                                  Cache.append there
    choose                                 search/beam.py

float32 on a CPU only, one thread, no gradients. The C compiler of the machine makes the library when it is first
wanted, in half a second, for this very processor; it is kept in the user's cache folder. Where there is no compiler
`library` says so, and the plain forms run.
"""

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from nmt.ops import native_build
from nmt.ops.heads import Strides, strides
from nmt.ops.in_use import InUse

_P, _N = ctypes.c_void_p, ctypes.c_int64
_ARGUMENTS = {
    "nmt_log_normalizer": [_P, _N, _N, _N, _P],
    "nmt_largest": [_P, _N, _N, _N, _N, _P, _P],
    "nmt_survey": [_P, _N, _N, _N, _P, _P, _N, _N, _P, _P, _P],
    "nmt_requantize": [_P, _N, _N, _P, _P, _P, _P],
    "nmt_quantize": [_P, _N, _N, _N, _P, _P],
    "nmt_dequantize": [_P, _N, _N, _P, _P, ctypes.c_int],
    "nmt_listed": [_P, _N, _N, _N, _P, _P, _P, _N, _P, _P],
    "nmt_listed_bytes": [_P, _P, _N, _N, _P, _P, _P, _P, _P, _N, _P, _P],
    "nmt_few_bytes": [_P, _N, _N, _N, _P, _P, _P, _N, _P],
    "nmt_store": [_P, _N, _N, _N, _P, _N, _P, _N, _N, _N, _N, _N, _N, _N],
    "nmt_lstm": [_P, _N, _P, _P, _N, _N, _P, _P],
    "nmt_gru_gates": [_P, _N, _P, _P, _N, _N, _P, _P],
    "nmt_gru_state": [_P, _N, _P, _P, _P, _N, _N, _P],
    "nmt_gru": [_P, _N, _P, _P, _P, _N, _P, _N, _N, _P],
    "nmt_choose": [*[_P] * 6, *[_N] * 7, ctypes.c_int, *[_P] * 10],
    "nmt_additive": [*[_P, Strides] * 3, _P, _P, *[_N] * 5, _P, _P],
    "nmt_attend": [
        *[_P, Strides] * 4,
        _N,
        *[_P, _N, _N, _N],
        _P,
        *[_N] * 6,
        ctypes.c_float,
        *[_P, _P],
    ],
}


class Native:
    """The compiled functions. Tensors are float32 on the CPU, and contiguous in their last axis."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        for name, arguments in _ARGUMENTS.items():
            function = getattr(self._library, name)
            function.argtypes, function.restype = arguments, None

    def log_normalizer(self, logits: Tensor) -> Tensor:
        """(R, V) -> (R, 1): log of the sum of exp over each row; not finite where a row has no finite sum."""
        R, V = logits.shape
        found = logits.new_empty((R, 1))
        self._library.nmt_log_normalizer(logits.data_ptr(), R, V, logits.stride(0), found.data_ptr())
        return found

    def largest(self, logits: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """The n largest of each row (R, V), largest first and of equal ones the first, and where they stand (int64)."""
        R, V = logits.shape
        assert 0 < n <= V
        values, ids = logits.new_empty((R, n)), torch.empty((R, n), dtype=torch.int64)
        self._library.nmt_largest(logits.data_ptr(), R, V, logits.stride(0), n, values.data_ptr(), ids.data_ptr())
        return values, ids

    def survey(self, logits: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """`largest` and `log_normalizer` at once: values and ids (R, n), and (R, 1)."""
        tally = self.tally(len(logits), n)
        tally.add(logits)
        return tally.found()

    def tally(self, R: int, n: int) -> "Tally":
        """For a survey of R rows whose columns come one part after the other."""
        return Tally(self._library, R, n)

    def quantized(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (R, I) as whole numbers, 128 for 0 (uint8), and what to multiply each row of them by: (R, 1)."""
        numbers, scales = torch.empty(rows.shape, dtype=torch.uint8), rows.new_empty((rows.shape[0], 1))
        self._library.nmt_quantize(rows.data_ptr(), *rows.shape, rows.stride(0), numbers.data_ptr(), scales.data_ptr())
        return numbers, scales

    def dequantize_(self, y: Tensor, scales: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
        """Y (R, O) times scales (R, 1) plus bias (O,), in place; with relu what of it is above 0."""
        assert y.is_contiguous()
        at = None if bias is None else bias.data_ptr()
        self._library.nmt_dequantize(y.data_ptr(), *y.shape, scales.data_ptr(), at, int(relu))
        return y

    def requantized(self, y: Tensor, scales: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """What `dequantize_` gives with relu as whole numbers, 0 for 0, and their scales (R, 1); y is spoilt."""
        assert y.is_contiguous()
        numbers, found = torch.empty(y.shape, dtype=torch.uint8), torch.empty_like(scales)
        self._library.nmt_requantize(
            *(y.data_ptr(), *y.shape, scales.data_ptr(), bias.data_ptr(), numbers.data_ptr(), found.data_ptr())
        )
        return numbers, found

    def listed(self, x: Tensor, matrix: Tensor, bias: Tensor | None, ids: Tensor, owners: Tensor) -> Tensor:
        """As ops.listed.listed: x (R, I), matrix (V, I), bias (V,), ids (B, W) and ascending owners (R,) -> (R, W)."""
        R, I = x.shape  # noqa: E741
        y = x.new_empty((R, ids.shape[1]))
        assert all(tensor.is_contiguous() for tensor in (matrix, ids, owners))
        self._library.nmt_listed(
            *(x.data_ptr(), R, I, x.stride(0), matrix.data_ptr(), None if bias is None else bias.data_ptr()),
            *(ids.data_ptr(), ids.shape[1], owners.data_ptr(), y.data_ptr()),
        )
        return y

    def listed_bytes(
        self,
        x: tuple[Tensor, Tensor],
        matrix: tuple[Tensor, Tensor, Tensor],
        bias: Tensor | None,
        ids: Tensor,
        owners: Tensor,
    ) -> Tensor:
        """The same of x as `quantized` gives it and of a matrix in whole numbers (V, I), their scales (V,), and the sum
        of each row of them (V,) int32.
        """
        (numbers, x_scales), (whole, scales, sums) = x, matrix
        y = x_scales.new_empty((len(numbers), ids.shape[1]))
        assert all(tensor.is_contiguous() for tensor in (numbers, whole, ids, owners))
        self._library.nmt_listed_bytes(
            *(numbers.data_ptr(), x_scales.data_ptr(), *numbers.shape),
            *(whole.data_ptr(), scales.data_ptr(), sums.data_ptr(), None if bias is None else bias.data_ptr()),
            *(ids.data_ptr(), ids.shape[1], owners.data_ptr(), y.data_ptr()),
        )
        return y

    def few_bytes(self, numbers: Tensor, zero: int, matrix: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Whole numbers (R, I), less zero, times a matrix (O, I) as in `listed_bytes`, scaled by its rows: (R, O)."""
        whole, scales, sums = matrix
        (R, I), O = numbers.shape, whole.shape[0]  # noqa: E741
        y = scales.new_empty((R, O))
        self._library.nmt_few_bytes(
            *(numbers.data_ptr(), R, I, zero, whole.data_ptr(), scales.data_ptr(), sums.data_ptr(), O, y.data_ptr())
        )
        return y

    def store(self, room: Tensor, rows: Tensor | None, position: int, new: Tensor) -> None:
        """Writes new (B, G, K, C) to a position of room (A, G, N, K, C), sentence b to the rows[b]-th, None for b."""
        B, G, K, C = new.shape
        assert room.stride(3) == C
        self._library.nmt_store(
            *(room.data_ptr(), room.stride(0), room.stride(1), room.stride(2)),
            None if rows is None else rows.data_ptr(),
            *(position, new.data_ptr(), new.stride(0), new.stride(1), new.stride(2), B, G, K, C),
        )

    def additive(self, query: Tensor, keys: Tensor, values: Tensor, v: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """As ops.additive.attend."""
        (B, Q, A), (N, C) = query.shape, values.shape[1:]
        keep = keep.contiguous()
        weights, out = query.new_empty((B, Q, N)), query.new_empty((B, Q, C))
        lying = [(x.data_ptr(), Strides(x.stride(0), 0, x.stride(1))) for x in (query, keys, values)]
        self._library.nmt_additive(
            *(part for one in lying for part in one),
            *(v.data_ptr(), keep.data_ptr(), B, Q, N, A, C, weights.data_ptr(), out.data_ptr()),
        )
        return out, weights

    def lstm(self, x: Tensor, y: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """h' and c' (R, H) of the sums x + y (R, 4H) and c (R, H): as ops.lstm.cell."""
        h_after, c_after = torch.empty_like(c), torch.empty_like(c)
        assert y.is_contiguous()
        assert c.is_contiguous()
        self._library.nmt_lstm(
            *(x.data_ptr(), x.stride(0), y.data_ptr(), c.data_ptr(), *c.shape, h_after.data_ptr(), c_after.data_ptr())
        )
        return h_after, c_after

    def gru_gates(self, x: Tensor, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Of the sums x + y, in their first 2H columns, and h (R, H): z, and r * h."""
        z, reset = torch.empty_like(h), torch.empty_like(h)
        assert y.is_contiguous()
        assert h.is_contiguous()
        self._library.nmt_gru_gates(
            *(x.data_ptr(), x.stride(0), y.data_ptr(), h.data_ptr(), *h.shape, z.data_ptr(), reset.data_ptr())
        )
        return z, reset

    def gru_state(self, x: Tensor, y: Tensor, h: Tensor, z: Tensor) -> Tensor:
        """The state after, with n = tanh(x + y): all (R, H)."""
        after = torch.empty_like(h)
        assert all(tensor.is_contiguous() for tensor in (y, h, z))
        self._library.nmt_gru_state(
            *(x.data_ptr(), x.stride(0), y.data_ptr(), h.data_ptr(), z.data_ptr(), *h.shape, after.data_ptr())
        )
        return after

    def gru(self, x: Tensor, y: Tensor, u: Tensor, bias: Tensor, h: Tensor) -> Tensor:
        """The state after with the reset after the matrix: x (R, 3H), y = U_zr h (R, 2H), u = U h and h (R, H), bias
        (H,) or (R, H).
        """
        after = torch.empty_like(h)
        assert all(tensor.is_contiguous() for tensor in (y, u, h))
        self._library.nmt_gru(
            *(x.data_ptr(), x.stride(0), y.data_ptr(), u.data_ptr(), bias.data_ptr()),
            *(bias.stride(0) if bias.dim() == 2 else 0, h.data_ptr(), *h.shape, after.data_ptr()),
        )
        return after

    def choose(
        self,
        best: tuple[Tensor, Tensor, Tensor],
        total: Tensor,
        room: Tensor,
        may_end: Tensor,
        pieces: tuple[int, int, int],
        *,
        n: int,
        wide: bool,
    ) -> tuple[Tensor, ...]:
        """As search.beam.choose of an ordered outlook: what it gives, in its order, but for `tied`.

        best: values and ids (B * K, m), of which n count, and log_z (B * K, 1); total (B, K), room and may_end (B,);
        pieces: PAD, BOS, EOS.
        """
        (values, ids, log_z), (B, K) = best, total.shape
        whole, real, byte = ids.new_empty, values.new_empty, may_end.new_empty
        parents, tokens, end_parents = (whole((B, K)) for _ in range(3))
        log_probs, totals, end_log_probs = (real((B, K)) for _ in range(3))
        left, ends, broken = whole((B,)), byte((B, K)), byte((B,))
        scratch = real((2 * K + n) * 6)  # two numbers of 4 bytes and two of 8, for each candidate that is kept
        assert all(x.is_contiguous() for x in (values, ids, log_z, total, room, may_end))
        self._library.nmt_choose(
            *(x.data_ptr() for x in (values, ids, log_z, total, room, may_end)),
            *(B, K, values.shape[1], n, *pieces, int(wide)),
            *(x.data_ptr() for x in (parents, tokens, log_probs, totals, ends, end_parents, end_log_probs)),
            *(left.data_ptr(), broken.data_ptr(), scratch.data_ptr()),
        )
        return parents, tokens, log_probs, totals, left, ends, end_parents, end_log_probs, broken

    def attend(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        keep: Tensor | None,
        writers: Tensor | None = None,
        rows: Tensor | None = None,
        scale: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As ops.dot.attend: context (B, H, Q, C), laid out as (B, Q, H, C), and weights (B, H, Q, N).

        With writers (B, Q, N) int64, keys and values are (B, G, N, K, C) and query i sees, at each position j, what the
        hypothesis writers[b, i, j] wrote there. With rows (B,) int64 those of sentence b are the rows[b]-th.
        """
        B, H, Q, C = query.shape
        G, N = keys.shape[1:3]
        assert query.stride(-1) == keys.stride(-1) == values.stride(-1) == 1
        weights, out = query.new_empty((B, H, Q, N)), query.new_empty((B, Q, H, C))
        seen, seen_key, mask = Strides(0, 0, 0), 0, None
        if keep is not None:
            wide = keep.expand(B, keep.shape[1], Q, N)
            seen = Strides(wide.stride(0), 0 if wide.shape[1] == 1 else wide.stride(1), wide.stride(2))
            seen_key, mask = wide.stride(3), wide.data_ptr()
        whose, between = (0, 0, 0), 0
        if writers is not None:
            assert writers.stride(-1) == 1
            whose, between = (writers.data_ptr(), writers.stride(0), writers.stride(1)), keys.stride(3)
            assert values.stride(3) == between
        self._library.nmt_attend(
            query.data_ptr(),
            strides(query),
            keys.data_ptr(),
            strides(keys),
            values.data_ptr(),
            strides(values),
            mask,
            seen,
            seen_key,
            *whose,
            between,
            None if rows is None else rows.data_ptr(),
            *(B, H, G, Q, N, C),
            C**-0.5 if scale is None else scale,
            weights.data_ptr(),
            out.data_ptr(),
        )
        return out.transpose(1, 2), weights


class Tally:
    """A survey of R rows whose columns come part by part."""

    def __init__(self, library: ctypes.CDLL, R: int, n: int) -> None:
        self._look, self._n, self._seen = library.nmt_survey, n, 0
        self._values, self._sums = torch.empty((R, n)), torch.empty((R, 1))
        self._ids = torch.empty((R, n), dtype=torch.int64)

    def add(self, logits: Tensor, scales: Tensor | None = None, bias: Tensor | None = None) -> None:
        """Takes in the next columns (R, C), n at least when they are the first. Where scales (R, 1) are given, of what
        `dequantize_` makes of them, in place.
        """
        R, C = logits.shape
        assert self._ids.shape[0] == R
        assert 0 < self._n <= self._seen + C
        self._look(
            *(logits.data_ptr(), R, C, logits.stride(0)),
            *(None if x is None else x.data_ptr() for x in (scales, bias)),
            *(self._seen, self._n, self._values.data_ptr(), self._ids.data_ptr(), self._sums.data_ptr()),
        )
        self._seen += C

    def found(self) -> tuple[Tensor, Tensor, Tensor]:
        """Values and ids (R, n), largest first and of equal ones the first, and the log of the sum of exp (R, 1)."""
        return self._values, self._ids, self._values[:, :1] + self._sums.log()


# --- in use -----------------------------------------------------------------------------------------------------------

_ACTIVE = InUse[Native]("native")
using = _ACTIVE.using
"""While it lasts, the plain forms hand over to these in this thread."""


def native_for(*tensors: Tensor) -> Native | None:
    """The functions in use, where they are for all of these tensors; None else, or under autograd."""
    native = _ACTIVE.now()
    if native is None or torch.is_grad_enabled():
        return None
    for x in tensors:
        if x.dtype is not torch.float32 or not x.is_cpu or x.stride(-1) != 1:
            return None
    return native


# --- making the library -----------------------------------------------------------------------------------------------


@cache
def library() -> tuple[Native | None, str]:
    """The functions, and where there are none, why: made on the first call, for this processor. `NMT_NATIVE=0` in the
    environment leaves them out.
    """
    path, why = native_build.library_file("native")
    if path is None:
        return None, why
    try:
        return Native(path), ""
    except (OSError, AttributeError) as error:
        return None, f"the library of native.c cannot be loaded: {error}"
