"""The compiled steps of recurrent layers, whoever compiled them: ops/fused_recurrent.py on a CPU, Triton on a GPU."""

from typing import Protocol

import torch
from torch import Tensor

from nmt.ops.fused import fused_for
from nmt.ops.in_use import InUse


class Cells(Protocol):
    """What ops/gru.py and ops/lstm.py do between the products of a step. ops/fused_recurrent.py says what each is."""

    def gru_open(
        self, parts: Tensor, share: Tensor | None, h: Tensor, keep: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """The gates before the candidate's product; gives r h."""
        ...

    def gru_close(self, parts: Tensor, recurrent: Tensor, h: Tensor, out: Tensor) -> Tensor:
        """The candidate and the state after."""
        ...

    def gru_close_backward(self, parts: Tensor, dparts: Tensor, dh: Tensor, h: Tensor, dtype: torch.dtype) -> Tensor:
        """The way back through `gru_close`; gives the candidate's gradient."""
        ...

    def gru_open_backward(self, parts: Tensor, dparts: Tensor, dreset: Tensor, dh: Tensor, h: Tensor) -> Tensor:
        """The way back through `gru_open`; gives that of the state before."""
        ...

    def gru_step(self, parts: Tensor, share: Tensor | None, h: Tensor, keep: Tensor | None, out: Tensor) -> Tensor:
        """A step with the reset after the matrix."""
        ...

    def gru_step_backward(self, parts: Tensor, dparts: Tensor, dh: Tensor, h: Tensor) -> Tensor:
        """The way back through `gru_step`."""
        ...

    def lstm_step(
        self,
        gates: Tensor,
        share: Tensor | None,
        h: Tensor,
        c: Tensor,
        keep: Tensor | None,
        out: tuple[Tensor, Tensor],
    ) -> None:
        """A step of an LSTM."""
        ...

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
        """The way back through `lstm_step`."""
        ...


_ACTIVE = InUse[Cells]("cells")
using = _ACTIVE.using
"""While it lasts, the plain forms hand over to these in this thread, where ops/fused.py is not in use."""


def cells_for(*tensors: Tensor) -> Cells | None:
    """The steps in use, where they are for all of these tensors; else None."""
    if (fused := fused_for(*tensors)) is not None:
        return fused
    if any(x.dtype not in (torch.float32, torch.bfloat16) for x in tensors):
        return None
    return _ACTIVE.now()
