"""Matrices made ready once for the many small products of a search on a CPU.

A search multiplies a few hundred rows by the same matrices at every step. oneDNN, which torch carries, does that from a
layout of its own, in float32 or bfloat16; and in whole numbers of 8 bits:

    x W^T + b  ~=  s_x * ((q_x . q_w) * s_w) + b,      q = round(x / s),  s = max |x| / 127

with a scale s_w for each row of W (an output) and a scale s_x for each row of x alone, so that what else is in the
batch changes nothing. Sums of products are exact there (32 bits); scales, bias and result are float32.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn

from nmt.errors import EnvironmentFault
from nmt.ops.in_use import InUse
from nmt.ops.native import library, native_for, using
from nmt.ops.top import Survey
from nmt.processor import facts

Precision = Literal["float32", "bfloat16", "int8"]

_SURVEYED = 256, 1024
"""Rows and columns of a product that are looked through before the next are computed: a megabyte, which the cache of a
core holds.
"""

_FEW = 4096
"""Sums up to which whole numbers are multiplied faster by ops/native.py than by oneDNN, which takes 30 us for any."""

_ZERO = 128
"""What stands for 0 among the unsigned numbers that the processor's instruction takes for x."""


def worth_readying(device: torch.device, precision: Precision) -> bool:
    """Whether a search here is to have its matrices made ready: on CPUs, in types that oneDNN has for them.
    EnvironmentFault for int8 where it cannot be: only where the processor sums products of 8 bits in 32, as others may
    saturate at 16.
    """
    there = device.type == "cpu" and _onednn_is_there()
    if precision == "int8" and not (there and torch.cpu._is_vnni_supported()):
        what = "int8 is for CPUs" if device.type != "cpu" else "this processor has no fast int8 (VNNI)"
        raise EnvironmentFault(what, "use --precision bfloat16 or float32")
    return there and (precision != "bfloat16" or onednn_has_bfloat16())


@cache
def packing_pays() -> bool:
    """Whether float32 products are faster from oneDNN's own layout: measured on x86-64, both Intel's (135 against 121
    GFLOP/s of torch's own for a vocabulary of 8,000, 150 against 140 for smaller ones) and AMD's.
    """
    return platform.machine() in ("x86_64", "AMD64") and _onednn_is_there()


@cache
def onednn_is_faster() -> bool:
    """Whether float32 products are faster through oneDNN: on AMD's processors, where this torch can be asked for it."""
    return _onednn_is_there() and facts().get("vendor_id") == "AuthenticAMD"


@cache
def onednn_has_bfloat16() -> bool:
    """Whether oneDNN, where this torch can be asked for it, multiplies bfloat16 here: on x86 from AVX-512 on."""
    return _onednn_is_there() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _onednn_is_there() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Ready:
    """The matrices of one model, each made ready when it is first used; `using` puts them to use."""

    def __init__(self, model: nn.Module, precision: Precision, plain: bool = False) -> None:
        """The parameters of the model must neither change nor go from now on. plain: without ops/native.py."""
        self.precision: Precision = precision
        self.native, self.why_plain = (None, "") if plain else library()
        self._owned = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        self._matrices: dict[tuple[int, ...], _Floats | _Bytes] = {}
        self._surveyed: dict[tuple[int, ...], list[tuple[_Floats | _Bytes, int]]] = {}
        self._rows: dict[tuple[int, ...], _Rows] = {}

    @contextmanager
    def using(self) -> Iterator[None]:
        """While it lasts, `ops.linear` takes these in this thread, outside autograd."""
        with _ACTIVE.using(self), using(self.native):
            yield

    def product(self, x: Tensor, matrix: Tensor, bias: Tensor | None, relu: bool = False) -> Tensor | None:
        """x (..., I) times matrix (O, I) transposed, plus bias (O,), or what of it is above 0; None where the matrix is
        none of the model's, or x of another type than this is for.
        """
        found = self._found(x, matrix)
        return None if found is None else found.product(x, None if bias is None else bias.to(x.dtype), relu)

    def rectified(self, x: Tensor, inner: nn.Linear, outer: nn.Linear) -> Tensor | None:
        """max(0, x W_1 + b_1) W_2 + b_2 in whole numbers, the hidden rows never in float32 but while one is at hand;
        None where this is not for that.
        """
        if self.precision != "int8":
            return None
        first, second = self._found(x, inner.weight), self._found(x, outer.weight)
        if not (isinstance(first, _Bytes) and isinstance(second, _Bytes)):
            return None
        rows = x.reshape(-1, x.shape[-1])
        if (native := native_for(rows)) is None:
            return None
        numbers, scales = native.quantized(rows)
        numbers, scales = native.requantized(first.sums(numbers), scales, inner.bias)
        y = native.dequantize_(second.sums(numbers, zero=0), scales, outer.bias, relu=False)
        return y.view(*x.shape[:-1], y.shape[-1])

    def listed(self, x: Tensor, matrix: Tensor, bias: Tensor | None, ids: Tensor, owners: Tensor) -> Tensor | None:
        """As ops.listed.listed, where there is a compiled form for x; None else. In whole numbers the sums are those of
        `product`, to the bit.
        """
        native = native_for(x, matrix)
        if native is None or not matrix.is_contiguous():
            return None
        if self.precision != "int8" or matrix.untyped_storage().data_ptr() not in self._owned:
            return native.listed(x, matrix, bias, ids, owners)
        key = (matrix.data_ptr(), *matrix.shape)
        rows = self._rows.get(key)
        if rows is None:
            rows = self._rows[key] = _whole_rows(matrix.detach())
        return native.listed_bytes(native.quantized(x), rows, bias, ids, owners)

    def survey(self, x: Tensor, matrix: Tensor, bias: Tensor | None, n: int) -> Survey | None:
        """Of `product` with x (R, I), looked through as it is made and kept nowhere; None where this is not for it."""
        native = native_for(x)
        parts = None if native is None else self._parts(x, matrix, n)
        if native is None or parts is None:
            return None
        found: list[Survey] = []
        for rows in x.split(_SURVEYED[0]):
            tally, given = native.tally(rows.shape[0], n), None
            for part, first in parts:
                own = None if bias is None else bias[first : first + part.width]
                if isinstance(part, _Bytes):
                    given = given or native.quantized(rows)
                    tally.add(part.sums(given[0]), given[1], own)
                else:
                    tally.add(part.product(rows, own, relu=False))
            found.append(tally.found())
        if len(found) == 1:
            return found[0]
        values, ids, log_z = (torch.cat(column) for column in zip(*found, strict=True))
        return values, ids, log_z

    def _parts(self, x: Tensor, matrix: Tensor, n: int) -> "list[tuple[_Floats | _Bytes, int]] | None":
        """The matrix (V, I) in parts of some columns of the product, with the first of each; None as in `_found`."""
        V, wide = matrix.shape[0], max(n, _SURVEYED[1])
        key = (matrix.data_ptr(), *matrix.shape, *matrix.stride(), wide)
        if (parts := self._surveyed.get(key)) is None:
            found = [(self._found(x, matrix[first : first + wide]), first) for first in range(0, V, wide)]
            parts = [(part, first) for part, first in found if part is not None]
            if not parts:
                return None
            self._surveyed[key] = parts
        return parts

    def _found(self, x: Tensor, matrix: Tensor) -> "_Floats | _Bytes | None":
        if self.precision == "float32" and not packing_pays():
            return None
        if x.dtype is not (torch.bfloat16 if self.precision == "bfloat16" else torch.float32):
            return None
        key = (matrix.data_ptr(), *matrix.shape, *matrix.stride())
        found = self._matrices.get(key)
        if found is None:
            if matrix.dim() != 2 or matrix.untyped_storage().data_ptr() not in self._owned:
                return None
            kind = _Bytes if self.precision == "int8" else _Floats
            found = self._matrices[key] = kind(matrix.detach().to(x.dtype))
        return found


_ACTIVE = InUse[Ready]("ready")


def ready_rectified(x: Tensor, inner: nn.Linear, outer: nn.Linear) -> Tensor | None:
    """By the matrices in use; None where none are, or as `Ready.rectified` says."""
    ready = _ACTIVE.now()
    return None if ready is None or torch.is_grad_enabled() else ready.rectified(x, inner, outer)


def ready_product(x: Tensor, matrix: Tensor, bias: Tensor | None, relu: bool = False) -> Tensor | None:
    """By the matrices in use; None where none are, or as `Ready.product` says."""
    ready = _ACTIVE.now()
    return None if ready is None or torch.is_grad_enabled() else ready.product(x, matrix, bias, relu)


def ready_listed(x: Tensor, matrix: Tensor, bias: Tensor | None, ids: Tensor, owners: Tensor) -> Tensor | None:
    """By what is in use; None where nothing is, or as `Ready.listed` says."""
    ready = _ACTIVE.now()
    return None if ready is None or torch.is_grad_enabled() else ready.listed(x, matrix, bias, ids, owners)


def ready_survey(x: Tensor, matrix: Tensor, bias: Tensor | None, n: int) -> Survey | None:
    """By the matrices in use; None where none are, or as `Ready.survey` says."""
    ready = _ACTIVE.now()
    return None if ready is None or torch.is_grad_enabled() else ready.survey(x, matrix, bias, n)


class _Floats:
    """A matrix (O, I) in oneDNN's layout, in its own type."""

    def __init__(self, matrix: Tensor) -> None:
        self.width = len(matrix)
        self.packed = torch.ops.mkldnn._reorder_linear_weight(matrix.contiguous())

    def product(self, x: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, bias, "relu" if relu else "none", [], "")


class _Bytes:
    """A matrix (O, I) as whole numbers from -127 to 127, with a scale for each output."""

    def __init__(self, matrix: Tensor) -> None:
        self.width = len(matrix)
        self.rows = whole, self.scales, _ = _whole_rows(matrix)
        self.packed = torch.ops.onednn.qlinear_prepack(whole, None)
        self.zeros = torch.zeros(len(matrix), dtype=torch.int32)
        self.raised = torch.full((1, matrix.shape[1]), _ZERO + 0.5)  # by a half, as conversion cuts off

    def product(self, x: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if (native := native_for(rows)) is not None:
            numbers, scales = native.quantized(rows)
            y = native.dequantize_(self.sums(numbers), scales, bias, relu)
            return y.view(*x.shape[:-1], y.shape[-1])
        scales = _scales(rows)
        # By way of int16: torch converts to that, and that to uint8, many numbers at a time.
        numbers = torch.addcmul(self.raised, rows, scales.reciprocal()).to(torch.int16).to(torch.uint8)
        y = self.sums(numbers)
        y = y.mul_(scales) if bias is None else torch.addcmul(bias, y, scales)
        return (y.relu_() if relu else y).view(*x.shape[:-1], y.shape[-1])

    def sums(self, numbers: Tensor, zero: int = _ZERO) -> Tensor:
        """Whole numbers (R, I) uint8, less zero, times the matrix, scaled for each output: (R, O) float32."""
        if numbers.shape[0] * self.width <= _FEW and (native := native_for()) is not None:
            return native.few_bytes(numbers, zero, self.rows)
        return torch.ops.onednn.qlinear_pointwise(
            numbers, 1.0, zero, self.packed, self.scales, self.zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )


_Rows = tuple[Tensor, Tensor, Tensor]
"""A matrix (O, I) as whole numbers, their scales (O,), and the sum of each row of them (O,)."""


def _whole_rows(matrix: Tensor) -> _Rows:
    scales = _scales(matrix)
    whole = (matrix / scales).round_().to(torch.int8)
    return whole, scales[:, 0].contiguous(), whole.sum(1, dtype=torch.int32)


def _scales(rows: Tensor) -> Tensor:
    """What each row (N, I) is divided by so that its numbers lie between -127 and 127: (N, 1)."""
    return rows.abs().amax(1, keepdim=True).clamp_(min=1e-30).div_(127.0)
