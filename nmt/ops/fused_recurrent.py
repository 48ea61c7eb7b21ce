"""The compiled steps of recurrent layers and of additive attention, forward and backward: a part of ops/fused.py."""

import ctypes

import torch
from torch import Tensor

from nmt.ops.foreign import N, P, Y, typed

ARGUMENTS = {
    "nmt_gru_open": [P, N, P, N, P, N, P, N, N, P, Y, N],
    "nmt_gru_close": [P, N, P, P, N, N, N, P, Y, N],
    "nmt_gru_close_backward": [P, P, N, P, P, N, N, N, P, Y, N],
    "nmt_gru_open_backward": [P, P, N, P, P, P, N, N, N, P, Y, N],
    "nmt_gru_step": [P, N, P, N, P, N, P, N, N, P, Y, N],
    "nmt_gru_step_backward": [P, P, N, P, P, N, N, N, P, N],
    "nmt_additive_look": [P, P, N, P, P, N, N, N, P, Y, N],
    "nmt_additive_look_backward": [P, P, N, P, P, P, N, N, N, P, P, Y, N],
    "nmt_additive_keys_backward": [P, P, N, N, P, P, N, N, N, N, P, P, Y, N],
    "nmt_lstm_step": [P, N, P, N, P, P, P, N, N, P, P, Y, N],
    "nmt_lstm_step_backward": [P, N, P, P, P, P, N, N, P, P, P, Y, N],
}


class Recurrent:
    """Of `Fused`. States are (B, H) float32, and a step's sums float32 in rows any distance apart."""

    _library: ctypes.CDLL

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
            *(None if keep is None else keep.data_ptr(), B, H, *typed(reset), torch.get_num_threads()),
        )
        return reset

    def gru_close(self, parts: Tensor, recurrent: Tensor, h: Tensor, out: Tensor) -> Tensor:
        """n from its sum and recurrent (B, H), in place, and the state after: h + z (n - h), written to out."""
        assert recurrent.is_contiguous()
        assert out.is_contiguous()
        at, half = typed(recurrent)
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
            *(*typed(dn), torch.get_num_threads()),
        )
        return dn

    def gru_open_backward(self, parts: Tensor, dparts: Tensor, dreset: Tensor, dh: Tensor, h: Tensor) -> Tensor:
        """That of the sum of r, into dparts, from dreset (B, H); gives dh (1 - z) + dreset r, (B, H) float32."""
        dh, dreset, out = (
            dh.contiguous(),
            dreset.contiguous(),
            torch.empty_like(h, memory_format=torch.contiguous_format),
        )
        at, half = typed(dreset)
        self._library.nmt_gru_open_backward(
            *(parts.data_ptr(), dparts.data_ptr(), parts.stride(0), at, dh.data_ptr(), h.data_ptr(), h.stride(0)),
            *(*h.shape, out.data_ptr(), half, torch.get_num_threads()),
        )
        return out

    def gru_step(self, parts: Tensor, share: Tensor | None, h: Tensor, keep: Tensor | None, out: Tensor) -> Tensor:
        """With the reset after the matrix: u, z, r and n, parts (B, 4H), from their sums and the share (B, 3H) of the
        first three, in place, z 0 where keep is False; and the state after, written to out (B, H).
        """
        at, row, half = (None, 0, 0) if share is None else (share.data_ptr(), share.stride(0), typed(share)[1])
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

    # A step's sums, gates (B, 4H) float32 with rows any distance apart, in the order i, f, g, o.

    def lstm_step(
        self,
        gates: Tensor,
        share: Tensor | None,
        h: Tensor,
        c: Tensor,
        keep: Tensor | None,
        out: tuple[Tensor, Tensor],
    ) -> None:
        """The gates from their sums and the share (B, 4H), in place; h and c after the step, written to out, (B, H)
        each. Where keep (B,) is False the state passes through.
        """
        at, row, half = (None, 0, 0) if share is None else (share.data_ptr(), share.stride(0), typed(share)[1])
        keep = None if keep is None else keep.contiguous()
        assert all(state.is_contiguous() for state in (h, c, *out))
        assert gates.stride(1) == 1
        assert share is None or share.stride(1) == 1
        self._library.nmt_lstm_step(
            *(gates.data_ptr(), gates.stride(0), at, row, h.data_ptr(), c.data_ptr()),
            *(None if keep is None else keep.data_ptr(), *h.shape, *(state.data_ptr() for state in out), half),
            torch.get_num_threads(),
        )

    def lstm_step_backward(
        self,
        gates: Tensor,
        c: tuple[Tensor, Tensor],
        keep: Tensor | None,
        more: Tensor | None,
        dh: Tensor,
        dc: Tensor,
        out: Tensor,
    ) -> Tensor:
        """The gradient of the sums, written to out (B, 4H), from those of the state after it, dh plus more, and dc.

        c: before the step, and after it. In place: dc becomes the gradient of c before, and dh what reaches h before
        without the matrix, which is 0 but where keep is False.
        """
        more, keep = (None if x is None else x.contiguous() for x in (more, keep))
        assert all(state.is_contiguous() for state in (*c, dh, dc, out))
        self._library.nmt_lstm_step_backward(
            *(gates.data_ptr(), gates.stride(0), *(state.data_ptr() for state in c)),
            *(None if x is None else x.data_ptr() for x in (keep, more)),
            *(*dh.shape, dh.data_ptr(), dc.data_ptr(), *typed(out), torch.get_num_threads()),
        )
        return out

    def additive_look(self, keys: Tensor, query: Tensor, v: Tensor, hide: Tensor, out: Tensor) -> Tensor:
        """Weights (B, N) of keys (B, N, A) for query (B, A), v (A,) float32, hide (B, N) 0 or -inf: written to out."""
        assert keys.is_contiguous()
        assert out.is_contiguous()
        assert query.dtype == keys.dtype
        at, half = typed(keys)
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
        at, half = typed(keys)
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
        at, half = typed(keys)
        self._library.nmt_additive_keys_backward(
            *(at, queries.data_ptr(), queries.stride(1), queries.stride(0), v.data_ptr(), dscores.data_ptr()),
            *(len(queries), *keys.shape, dkeys.data_ptr(), dv.data_ptr(), half, torch.get_num_threads()),
        )
        return dkeys, dv.sum(dim=0)
