"""Recurrent layers with the gated units of the papers; ops/gru.py and ops/lstm.py have the equations.

What a layer carries from step to step is a tuple of tensors (B, H) float32 whose first is its output: (h,) of a GRU,
(h, c) of an LSTM. That is all that stacks and decoders know of a cell, so one word exchanges it for the other.
"""

from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor, nn

from nmt.ops.casts import as_type
from nmt.ops.dropout import dropout
from nmt.ops.gru import gru_scan, gru_step
from nmt.ops.linear import linear, wide
from nmt.ops.lstm import lstm_scan, lstm_step

Carry = tuple[Tensor, ...]
Stepper = Callable[[Tensor, Carry], Carry]

Reset = Literal["before", "after"]
"""Whether the reset gate acts before the recurrent matrix (U (r * h)) or after it (r * (U h + b_U))."""


class GRU(nn.Module):
    """One direction of a recurrent layer: h_i = (1 - z_i) * h_{i-1} + z_i * n_i (Bahdanau et al. 2015, A.2.1).

    W    (3H, I) and b (3H,): input to update gate z, reset gate r and candidate n, in this order
    U_zr (2H, H), U (H, H): state to the gates, and reset state to the candidate
    U_bias (H,): beside U h where the reset gate acts after U, as in torch.nn.GRU; None where it acts before
    """

    operations = ("cells",)
    U_bias: nn.Parameter | None

    def __init__(self, d_input: int, d_hidden: int, reverse: bool = False, reset: Reset = "before") -> None:
        super().__init__()
        self.W = nn.Linear(d_input, 3 * d_hidden)
        self.U_zr = nn.Parameter(torch.empty(2 * d_hidden, d_hidden))
        self.U = nn.Parameter(torch.empty(d_hidden, d_hidden))
        self.U_bias = nn.Parameter(torch.empty(d_hidden)) if reset == "after" else None
        self.reverse = reverse

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """Inputs (S, B, I), keep (S, B) -> states (S, B, H) float32; the dtype of x is that of the products."""
        return self.scan(x, keep)[0]

    def scan(self, x: Tensor, keep: Tensor | None = None, start: Carry | None = None) -> tuple[Tensor, Carry]:
        """Inputs (S, B, I), from zero or `start` -> states (S, B, H), and what is carried after the last word."""
        projected = linear(x, self.W.weight, self.W.bias)  # (S, B, 3H)
        h = gru_scan(
            projected,
            self.U_zr.to(x.dtype),
            self.U.to(x.dtype),
            keep,
            self.reverse,
            start[0] if start else None,
            self.U_bias,
        )
        return h, (h[0 if self.reverse else -1],)

    def step(self, x: Tensor, carry: Carry) -> Carry:
        """One step: x (B, I)."""
        return self.stepper(x.dtype)(linear(x, self.W.weight, self.W.bias), carry)

    def stepper(self, dtype: torch.dtype) -> Stepper:
        """`step` for a loop: from W x + b (B, 3H), with the matrices cast once."""
        U_zr, U = as_type(self.U_zr, dtype), as_type(self.U, dtype)
        return lambda sums, carry: (gru_step(sums, carry[0], U_zr, U, self.U_bias),)


class LSTM(nn.Module):
    """One direction of a recurrent layer: c' = f * c + i * g, h' = o * tanh(c') (ops/lstm.py).

    W (4H, I) and b (4H,): input to i, f, g and o, in this order;  U (4H, H): state to the same.
    """

    operations = ("cells",)

    def __init__(self, d_input: int, d_hidden: int, reverse: bool = False) -> None:
        super().__init__()
        self.W = nn.Linear(d_input, 4 * d_hidden)
        self.U = nn.Parameter(torch.empty(4 * d_hidden, d_hidden))
        self.reverse = reverse

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """Inputs (S, B, I), keep (S, B) -> states (S, B, H) float32; the dtype of x is that of the products."""
        return self.scan(x, keep)[0]

    def scan(self, x: Tensor, keep: Tensor | None = None, start: Carry | None = None) -> tuple[Tensor, Carry]:
        """Inputs (S, B, I), from zero or `start` -> states (S, B, H), and what is carried after the last word."""
        projected = linear(x, self.W.weight, self.W.bias)  # (S, B, 4H)
        h, c = lstm_scan(projected, self.U.to(x.dtype), keep, cast(tuple[Tensor, Tensor] | None, start), self.reverse)
        return h, (h[0 if self.reverse else -1], c)

    def step(self, x: Tensor, carry: Carry) -> Carry:
        """One step: x (B, I)."""
        return self.stepper(x.dtype)(linear(x, self.W.weight, self.W.bias), carry)

    def stepper(self, dtype: torch.dtype) -> Stepper:
        """`step` for a loop: from W x + b (B, 4H), with the matrix cast once."""
        U = as_type(self.U, dtype)
        return lambda sums, carry: lstm_step(sums, carry[0], carry[1], U)


CELLS: dict[str, type[GRU | LSTM]] = {"gru": GRU, "lstm": LSTM}


class BidirectionalGRU(nn.Module):
    """Annotations h_j = [forward h_j ; backward h_j] of Bahdanau et al. 2015, section 3.2."""

    def __init__(self, d_input: int, d_hidden: int, reset: Reset = "before") -> None:
        super().__init__()
        self.forward_gru = GRU(d_input, d_hidden, reset=reset)
        self.backward_gru = GRU(d_input, d_hidden, reverse=True, reset=reset)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """Inputs (S, B, I), keep (S, B) -> annotations (S, B, 2H) float32."""
        return torch.cat([self.forward_gru(x, keep), self.backward_gru(x, keep)], dim=-1)


class BidirectionalLSTM(nn.Module):
    """[forward h_j ; backward h_j]: the bottom encoder layer of Wu et al. 2016, section 3.2 and figure 3."""

    def __init__(self, d_input: int, d_hidden: int) -> None:
        super().__init__()
        self.forward_lstm = LSTM(d_input, d_hidden)
        self.backward_lstm = LSTM(d_input, d_hidden, reverse=True)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """Inputs (S, B, I), keep (S, B) -> states of both directions (S, B, 2H) float32."""
        return torch.cat([self.forward_lstm(x, keep), self.backward_lstm(x, keep)], dim=-1)


class Stack(nn.Module):
    """Layers one above the other, each reading the outputs of the one below.

    Dropout acts on the input of every layer but the lowest, never from step to step (Zaremba et al. 2014,
    arXiv:1409.2329v5, section 3.2); what goes into the lowest layer and comes out of the top one is the caller's to
    drop. d_input is that of the lowest layer.
    """

    def __init__(
        self, cell: Literal["gru", "lstm"], d_input: int, d_hidden: int, n_layers: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        widths = [d_input, *[d_hidden] * (n_layers - 1)]
        self.layers = nn.ModuleList(CELLS[cell](width, d_hidden) for width in widths)
        self.d_hidden, self.n_carried = d_hidden, 2 if cell == "lstm" else 1
        self.dropout = dropout

    def start(self, x: Tensor) -> tuple[Carry, ...]:
        """Zeros for as many rows as x (..., B, I) has."""
        nothing = x.new_zeros((x.shape[-2], self.d_hidden), dtype=wide(x.dtype))
        return ((nothing,) * self.n_carried,) * len(self.layers)

    def scan(
        self, x: Tensor, keep: Tensor | None = None, start: tuple[Carry, ...] | None = None
    ) -> tuple[Tensor, tuple[Carry, ...]]:
        """Inputs (S, B, I), keep (S, B) -> top states (S, B, H) float32, what each layer carries after the last word.

        `start`: what each layer carries before the first; zeros without. The dtype of x is that of the products.
        """
        h, dtype, last = x, x.dtype, list[Carry]()
        for i, layer in enumerate(self.layers):
            h, carry = cast(LSTM, layer).scan(self._into(i, h, dtype), keep, start[i] if start else None)
            last.append(carry)
        return h, tuple(last)

    def step(self, x: Tensor, carries: tuple[Carry, ...]) -> tuple[Carry, ...]:
        """One step: x (B, I) -> what each layer carries now; the output is the top layer's [-1][0] (B, H)."""
        h, dtype, now = x, x.dtype, list[Carry]()
        for i, (layer, carry) in enumerate(zip(self.layers, carries, strict=True)):
            now.append(cast(LSTM, layer).step(self._into(i, h, dtype), carry))
            h = now[-1][0]
        return tuple(now)

    def fed_steps(self, y: Tensor) -> Callable[[int, Tensor | None, tuple[Carry, ...]], tuple[Carry, ...]]:
        """`step` for a loop over y (T, B, E) where the lowest layer reads [y_t; fed], fed (B, F) being known only at t.

        Gives a function of t, fed and what the layers carry; what needs no state is done here, for all t at once.
        """
        dtype, E = y.dtype, y.shape[-1]
        layers = [cast(LSTM, layer) for layer in self.layers]
        W, b = layers[0].W.weight, layers[0].W.bias
        words, W_fed = linear(y, W[:, :E], b).unbind(0), W[:, E:].to(dtype)
        into = [(layer.W.weight.to(dtype), layer.W.bias.to(dtype)) for layer in layers[1:]]
        steppers = [layer.stepper(dtype) for layer in layers]

        def step(t: int, fed: Tensor | None, carries: tuple[Carry, ...]) -> tuple[Carry, ...]:
            now = [steppers[0](words[t] if fed is None else words[t] + fed.to(dtype) @ W_fed.T, carries[0])]
            for i, (W, b) in enumerate(into, 1):
                now.append(steppers[i](linear(self._into(i, now[-1][0], dtype), W, b), carries[i]))
            return tuple(now)

        return step

    def _into(self, i: int, h: Tensor, dtype: torch.dtype) -> Tensor:
        return dropout(h, self.dropout if i else 0.0, self.training).to(dtype)


class BidirectionalStack(nn.Module):
    """A stack whose lowest layer reads the sentence both ways, with d_hidden / 2 units each way side by side.

    All layers are d_hidden wide, so that a decoder of as many layers can go on from what each carries at its end.
    Dropout as in Stack.
    """

    def __init__(
        self, cell: Literal["gru", "lstm"], d_input: int, d_hidden: int, n_layers: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        assert d_hidden % 2 == 0, "half of the units read each way"
        self.forward_layer = CELLS[cell](d_input, d_hidden // 2)
        self.backward_layer = CELLS[cell](d_input, d_hidden // 2, reverse=True)
        self.above = Stack(cell, d_hidden, d_hidden, n_layers - 1, dropout) if n_layers > 1 else None
        self.dropout = dropout

    def scan(self, x: Tensor, keep: Tensor) -> tuple[Tensor, tuple[Carry, ...]]:
        """Inputs (S, B, I), keep (S, B) -> top states (S, B, H) float32, what each layer carries at its end: the lowest
        one's two directions at the last and at the first word.
        """
        (to_right, at_last), (to_left, at_first) = (
            way.scan(x, keep) for way in (self.forward_layer, self.backward_layer)
        )
        h = torch.cat([to_right, to_left], dim=-1)
        lowest = tuple(torch.cat(ends, dim=-1) for ends in zip(at_last, at_first, strict=True))
        if self.above is None:
            return h, (lowest,)
        h, carries = self.above.scan(dropout(h, self.dropout, self.training).to(x.dtype), keep)
        return h, (lowest, *carries)
