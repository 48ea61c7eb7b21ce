"""The recurrence of Luong's decoder with input feeding over all target positions, given the words before each.

Feeding h~_{t-1} to the next step's lowest layer puts everything into one loop: each layer's cell, the scores, the
weights and h~_t (Luong et al. 2015, section 3.3 and figure 4). What can stay out does: the products with the words come
in; W_c's half for the context is multiplied with the annotations once a sentence, W_c (sum_s a_s h_s) = sum_s a_s
(W_c h_s); all that is taken from the top layer's h_t is one product; and the hand-written backward leaves the gradients
of every matrix, of keys and values, and the slopes of the cells, to single products and sums over all steps.

Without input feeding there is no such loop: each layer is a scan, and attention is taken for all positions at once.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from nmt.ops import lstm, luong
from nmt.ops.additive import Steps, looks
from nmt.ops.cells import cells_for
from nmt.ops.fused import Fused, fused_for
from nmt.ops.gradient import once
from nmt.ops.linear import add_product_, product


@dataclass(frozen=True)
class Look:
    """How the decoder looks at the source.

    form       product: scores h_t . key_s (dot, general); additive: v . tanh(q_t + key_s) (concat); location: q_t's own
               entries are the scores of the first positions, and without a window the softmax is over all of them,
               however many positions there are (luong.location_weights)
    keep       (B, S) bool: the positions that may be seen
    position   None: all of them; "t": those within D of t; "predicted": those within D of p_t, times the Gaussian
    D          the half width of the window
    n_query    rows of q_t = W_q h_t; 0 for product
    n_predict  rows of W_p; 0 unless predicted
    steps      how the additive form looks at the keys, and what of that is kept for the backward
    """

    form: Literal["product", "additive", "location"]
    keep: Tensor
    position: Literal["t", "predicted"] | None
    D: int
    n_query: int
    n_predict: int
    steps: type[Steps] = Steps


def decode(
    x: Tensor,
    h0: Tensor,
    c0: Tensor,
    W_feed: Tensor,
    layers: list[tuple[Tensor, ...]],
    from_top: Tensor,
    keys: Tensor,
    values: Tensor,
    look: Look,
    v: Tensor | None = None,
    v_p: Tensor | None = None,
    drop: Tensor | None = None,
) -> Tensor:
    """h~_t of every target position: (T, B, F) float32.

    x         (T, B, 4H): W y + b of the word before, for the lowest layer, in the order i, f, g, o
    h0, c0    (L, B, H) float32: the layers' states before the first word
    W_feed    (4H, F): what the lowest layer takes of h~_{t-1}; the first is zero
    layers    (U,) of the lowest layer, (U, W, b) of each other: U and W (4H, H), b (4H,)
    from_top  (F + n_query + n_predict, H): W_c's half for h_t, W_q and W_p, one above the other
    keys      (B, S, A), values (B, S, F): W_c's other half times the annotations
    v         (A,) of the additive form;  v_p (n_predict,) of a predicted position
    drop      (T, L, B, max(F, H)) or None: dropout's factors, on what each layer gets from below (h~_{t-1}, h)
    The matrices' dtype is that of the products. Keeps T*L*B*6H numbers for the backward, and what `look.steps` does.
    """
    n, flat = x.new_zeros(0), [part for layer in layers for part in layer]
    return _Decode.apply(  # pyright: ignore[reportReturnType]
        look, drop, x, h0, c0, W_feed, from_top, keys, values, n if v is None else v, n if v_p is None else v_p, *flat
    )


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, look: Look, drop: Tensor | None, *inputs: Tensor) -> Tensor:
        x, h0, c0, W_feed, from_top, keys, values, v, v_p = inputs[:9]
        U, W, b = _by_layer(inputs[9:], W_feed)
        (L, _, H), (T, B, _), F = h0.shape, x.shape, W_feed.shape[1]
        h0, c0 = h0.contiguous(), c0.contiguous()
        gates = h0.new_empty((L, T, B, 4 * H))
        gates[0] = x
        for layer in range(1, L):
            gates[layer] = b[layer]
        hs, cs, out = h0.new_empty((L, T, B, H)), h0.new_empty((L, T, B, H)), h0.new_empty((T, B, F))
        cells = cells_for(x, h0, from_top)
        sight = _Sight(look, keys, v, T, h0.dtype, fused_for(x, keys, h0, from_top))
        h, c, fed = list(h0), list(c0), h0.new_zeros((B, F))
        for t in range(T):
            below = fed
            for i in range(L):
                below = below if drop is None else below * drop[t, i, :, : below.shape[1]]
                sums = add_product_(gates[i, t], below, W[i])
                lstm.advance(sums, h[i], c[i], U[i], (hs[i, t], cs[i, t]), cells)
                below, h[i], c[i] = hs[i, t], hs[i, t], cs[i, t]
            sums = product(below.to(from_top.dtype), from_top).to(h0.dtype)  # (B, F + n_query + n_predict)
            weights = sight.look(t, below, sums[:, F:], keys, v_p)
            context = torch.bmm(weights[:, None].to(values.dtype), values)[:, 0]
            fed = torch.add(sums[:, :F], context, out=out[t]).tanh_()
        ctx.save_for_backward(gates, hs, cs, out, *inputs)
        ctx.drop, ctx.sight, ctx.cells = drop, sight, cells
        return out

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gates, hs, cs, out, *inputs = ctx.saved_tensors
        x, h0, c0, W_feed, from_top, keys, values, v, v_p = inputs[:9]
        U, W, _ = _by_layer(tuple(inputs[9:]), W_feed)
        L, (T, B, F), drop, sight = len(U), out.shape, ctx.drop, ctx.sight
        cells = [lstm.Backward(gates[i], cs[i], c0[i], U[i].dtype, ctx.cells) for i in range(L)]
        dsums = out.new_empty((T, B, from_top.shape[0]))
        torch.sub(1.0, out * out, out=dsums[:, :, :F])
        sight.turn(keys, v, v_p)
        dh, dc, dfed = list(torch.zeros_like(h0)), list(torch.zeros_like(c0)), torch.zeros_like(out[0])
        for t in range(T - 1, -1, -1):
            du = dsums[t, :, :F].mul_(dfed.add_(grads[0][t]))
            dweights = torch.bmm(values, du.to(values.dtype)[:, :, None])[:, :, 0].to(out.dtype)
            sight.look_backward(t, dweights, dsums[t, :, F:], dh[-1], keys)
            add_product_(dh[-1], dsums[t], from_top.T)
            for i in range(L - 1, -1, -1):
                step = cells[i].step(t, dh[i], dc[i])
                below = product(step, W[i].T).to(out.dtype)
                below = below if drop is None else below.mul_(drop[t, i, :, : below.shape[1]])
                add_product_(dh[i], step, U[i].T)
                if i == 0:
                    dfed = below
                else:
                    dh[i - 1] += below
        belows = [lstm.before(out, torch.zeros_like(out[0])), *hs[:-1]]
        if drop is not None:
            belows = [below * drop[:, i, :, : below.shape[-1]] for i, below in enumerate(belows)]
        dx = [one.dx for one in cells]
        dU = [over_steps(dx[i], lstm.before(hs[i], h0[i]), U[i].dtype) for i in range(L)]
        dW = [over_steps(dx[i], belows[i], U[i].dtype) for i in range(L)]
        above = [part for i in range(1, L) for part in (dU[i], dW[i], dx[i].sum((0, 1)).to(U[i].dtype))]
        dvalues = sight.weights.permute(1, 2, 0).to(values.dtype) @ dsums[:, :, :F].transpose(0, 1).to(values.dtype)
        dstart = torch.stack(dh), torch.stack(dc)
        dtop = over_steps(dsums, hs[-1], from_top.dtype)
        dkeys, dv, dv_p = sight.gradients(hs[-1], keys, v_p)
        return None, None, dx[0].to(x.dtype), *dstart, dW[0], dtop, dkeys, dvalues, dv, dv_p, dU[0], *above


def _by_layer(flat: tuple[Tensor, ...], W_feed: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """U, W, b of each layer, of the parts as `decode` lays them out; the lowest has its bias in x."""
    layers = [(flat[0], W_feed, W_feed), *(flat[i : i + 3] for i in range(1, len(flat), 3))]
    return [U for U, _, _ in layers], [W for _, W, _ in layers], [b for _, _, b in layers]


def over_steps(rows: Tensor, others: Tensor, dtype: torch.dtype) -> Tensor:
    """A matrix's gradient (O, I) from those of what it gave (T, B, O) and what it got (T, B, I), all steps at once."""
    return rows.flatten(0, 1).to(dtype).T @ others.flatten(0, 1).to(dtype)


class _Sight:
    """What attention sees at each step, and the way back from it."""

    def __init__(
        self, look: Look, keys: Tensor, v: Tensor, T: int, state: torch.dtype, fused: Fused | None = None
    ) -> None:
        self.D, self.form, self.predicts = look.D, look.form, look.position == "predicted"
        self.n_query, self.keep = look.n_query, look.keep
        self.whole = look.form == "location" and look.position is None
        (B, S), device = look.keep.shape, keys.device
        self.lengths = look.keep.sum(1).to(state)  # (B,)
        may = look.keep.expand(T, B, S)
        if look.position == "t":
            p = luong.monotonic_position(torch.arange(1, T + 1, device=device).expand(B, T), look.keep, look.D)
            may = luong.window(p, look.keep, look.D).transpose(0, 1)
        self.hide = torch.zeros((T, B, S), dtype=state, device=device).masked_fill_(~may, -torch.inf)
        # The softmax, without the Gaussian: over source positions, or over the fixed width.
        self.align = self.hide.new_empty((T, B, look.n_query if self.whole else S))
        self.looks = partial(looks, look.steps, fused)
        self.steps = self.looks(keys, v, T) if look.form == "additive" else None
        self.inner = self.hide.new_empty((T, B, look.n_predict))  # tanh(W_p h_t)
        self.p = self.hide.new_empty((T, B))  # p_t

    def look(self, t: int, h: Tensor, sums: Tensor, keys: Tensor, v_p: Tensor) -> Tensor:
        """Weights (B, S) at step t: h (B, H) of the top layer; sums (B, n_query + n_predict), W_q and W_p times it."""
        query = sums[:, : self.n_query]
        if self.whole:
            return luong.top_part(torch.softmax(query, dim=-1, out=self.align[t]), self.keep)
        if not self.predicts:
            return self._align(t, h, query, keys)
        torch.tanh(sums[:, self.n_query :], out=self.inner[t])
        torch.mul(self.lengths, torch.sigmoid(self.inner[t] @ v_p.to(h.dtype)), out=self.p[t])
        offsets = luong.offsets(self.p[t], keys.shape[1])  # (B, S)
        self.hide[t].masked_fill_(offsets.abs() > self.D, -torch.inf)
        return self._align(t, h, query, keys) * torch.exp(offsets.square_() * (-2.0 / self.D**2))

    def _align(self, t: int, h: Tensor, query: Tensor, keys: Tensor) -> Tensor:
        """The softmax over what `hide` leaves."""
        if self.steps is not None:
            return self.steps.look(t, query.to(keys.dtype), self.hide[t], out=self.align[t])
        if self.form == "product":
            scores = torch.bmm(keys, h.to(keys.dtype)[:, :, None])[:, :, 0]
        else:
            scores = pad(query, (0, keys.shape[1] - self.n_query))
        return torch.softmax(scores + self.hide[t], dim=-1, out=self.align[t])

    def turn(self, keys: Tensor, v: Tensor, v_p: Tensor) -> None:
        """Before the way back: room for gradients, and all that is known of every step."""
        self.weights = luong.top_part(self.align, self.keep) if self.whole else self.align
        if self.steps is None:
            self.dscores = torch.empty_like(self.align)
        else:
            self.steps = self.looks(keys, v, len(self.p), self.steps.kept)
        if self.predicts:
            S = keys.shape[1]
            self.gauss = luong.gaussian(self.p, S, self.D)
            self.weights = self.align * self.gauss
            # d weights / d p_t = weights (s - p_t) / sigma^2, and dp_t / dz = p_t (1 - p_t / S), p_t = S sigmoid(z)
            by_z = self.p * (1 - self.p / self.lengths) * (4.0 / self.D**2)
            self.by_z = self.weights * luong.offsets(self.p, S) * by_z[..., None]
            self.by_inner = (1 - self.inner * self.inner) * v_p.to(self.inner.dtype)
            self.dz = torch.empty_like(self.p)

    def look_backward(self, t: int, dweights: Tensor, dsums: Tensor, dh: Tensor, keys: Tensor) -> None:
        """From the weights' gradient (B, S): writes that of sums (B, n_query + n_predict), adds to h's what is left."""
        if self.predicts:
            torch.sum(dweights * self.by_z[t], dim=-1, out=self.dz[t])
            torch.mul(self.by_inner[t], self.dz[t, :, None], out=dsums[:, self.n_query :])
            dweights = dweights * self.gauss[t]
        elif self.whole:
            dweights = pad(dweights * self.keep, (0, self.n_query - dweights.shape[1]))
        if self.steps is not None:
            dsums[:, : self.n_query] = self.steps.look_backward(t, self.align[t], dweights)
            return
        dscores = dweights.sub_((dweights * self.align[t]).sum(dim=-1, keepdim=True))
        torch.mul(dscores, self.align[t], out=self.dscores[t])
        short = self.dscores[t].to(keys.dtype)
        if self.form == "product":
            dh += torch.bmm(short[:, None], keys)[:, 0]
        else:
            dsums[:, : self.n_query] = short[:, : self.n_query]

    def gradients(self, h: Tensor, keys: Tensor, v_p: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Of keys, v and v_p, over all steps; h (T, B, H) of the top layer."""
        dkeys = dv = None
        if self.steps is not None:
            dkeys, dv = self.steps.gradients()
        elif self.form == "product":
            dkeys = self.dscores.permute(1, 2, 0).to(keys.dtype) @ h.transpose(0, 1).to(keys.dtype)
        dv_p = (self.dz.flatten() @ self.inner.flatten(0, 1)).to(v_p.dtype) if self.predicts else None
        return dkeys, dv, dv_p
