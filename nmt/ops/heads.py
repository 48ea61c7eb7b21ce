"""Tensors of heads (B, H, N, C) as compiled functions take them, and room for their gradients."""

import ctypes

from torch import Tensor


class Strides(ctypes.Structure):
    """Numbers from one sentence, head or position to the next."""

    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "head", "position")]


def strides(x: Tensor) -> Strides:
    """Of heads."""
    return Strides(x.stride(0), x.stride(1), x.stride(2))


def heads(*tensors: Tensor) -> list[object]:
    """Address and strides of each; numbers of a head lie side by side."""
    assert all(x.stride(-1) == 1 for x in tensors)
    return [part for x in tensors for part in (x.data_ptr(), strides(x))]


def in_rows(x: Tensor) -> Tensor:
    """The same with the numbers of a head side by side."""
    return x if x.stride(-1) == 1 else x.contiguous()


def laid_out_as(query: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Room for numbers of these heads: slices of one tensor (B, positions, width) where they follow each other in its
    rows.
    """

    def room(*parts: Tensor) -> list[Tensor]:
        widths = [part.shape[1] * part.shape[3] for part in parts]
        whole = parts[0].new_empty((parts[0].shape[0], parts[0].shape[2], sum(widths)))
        return [
            one.unflatten(-1, (part.shape[1], -1)).transpose(1, 2)
            for one, part in zip(whole.split(widths, dim=-1), parts, strict=True)
        ]

    if not _follows(keys, values):
        return room(query)[0], room(keys)[0], room(values)[0]
    if _follows(query, keys):
        q, k, v = room(query, keys, values)
    else:
        (q,), (k, v) = room(query), room(keys, values)
    return q, k, v


def _follows(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors of heads lie side by side in the rows of one."""
    return (
        first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()
        and first.stride() == second.stride()
        and first.stride(1) == first.shape[3]
        and second.storage_offset() - first.storage_offset() == first.shape[1] * first.shape[3]
        and first.shape[2] == second.shape[2]
    )
