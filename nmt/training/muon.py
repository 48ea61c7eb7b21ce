"""Muon: momentum whose update of each hidden matrix is made orthogonal; AdamW for everything else.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024 (kellerjordan.github.io/posts/muon), with
the scale and weight decay of Liu et al., "Muon is Scalable for LLM Training", 2025 (arXiv 2502.16982).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nmt.ops.choose import fast_bfloat16

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan's: singular values in (0, 1] come to lie in 0.68 .. 1.13
_STEPS = 5


def orthogonalized(G: Tensor) -> Tensor:
    """G (O, I) with all singular values near 1 and the singular vectors it had, in bfloat16 where products of that are
    fast, as Jordan's are, else in float32.

    Five Newton-Schulz steps X <- aX + b(XX')X + c(XX')^2 X from X = G / |G| (Frobenius), on the side where XX' is the
    smaller. A zero matrix stays zero.
    """
    a, b, c = _NEWTON_SCHULZ
    X = (G / G.norm().clamp_min(1e-7)).to(torch.bfloat16 if fast_bfloat16(G.device) else torch.float32)
    if tall := X.shape[0] > X.shape[1]:
        X = X.T
    for _ in range(_STEPS):
        A = X @ X.T
        X = torch.addmm(X, torch.addmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return X.T if tall else X


class Muon(torch.optim.Optimizer):
    """One group of parameters, of which `hidden` marks those that Muon moves; the others are AdamW's, at the same rate.

    Hidden matrix W (O, I) with gradient G:  M <- mu M + (1 - mu) G;  D = orthogonalized((1 - mu) G + mu M) (Nesterov);
    W <- (1 - lr * decay) W - lr * 0.2 sqrt(max(O, I)) D: each update is as large as AdamW's usually is (Liu et al.,
    equation 4), so one rate serves both. A matrix that holds several (queries, keys and values; the gates of a cell) is
    one matrix here, as the models have it.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        hidden: Sequence[bool],
        lr: float,
        momentum: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        """betas and eps are those of AdamW; weight_decay is decoupled, and the same for all parameters."""
        if len(parameters) != len(hidden):
            raise ValueError(f"{len(parameters)} parameters, {len(hidden)} marks")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "hidden": list(hidden),
        }
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update of every parameter that has a gradient; no closure."""
        assert closure is None
        for group in self.param_groups:
            for parameter, hidden in zip(group["params"], group["hidden"], strict=True):
                if parameter.grad is None:
                    continue
                if group["weight_decay"]:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                if hidden:
                    self._orthogonal(parameter, group)
                else:
                    self._adam(parameter, group)

    def _orthogonal(self, W: nn.Parameter, group: dict[str, Any]) -> None:
        state, G, mu = self.state[W], W.grad, group["momentum"]
        assert G is not None
        if not state:
            state["momentum"] = torch.zeros_like(W)
        M = state["momentum"].lerp_(G, 1 - mu)
        D = orthogonalized(torch.lerp(G, M, mu))
        W.add_(D.to(W.dtype), alpha=-group["lr"] * 0.2 * max(W.shape) ** 0.5)

    def _adam(self, w: nn.Parameter, group: dict[str, Any]) -> None:
        """Kingma & Ba 2015, algorithm 1."""
        state, g, (beta1, beta2) = self.state[w], w.grad, group["betas"]
        assert g is not None
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(w), torch.zeros_like(w)
        state["step"] += 1
        t = float(state["step"])
        m = state["exp_avg"].lerp_(g, 1 - beta1)
        v = state["exp_avg_sq"].mul_(beta2).addcmul_(g, g, value=1 - beta2)
        divisor = (v / (1 - beta2**t)).sqrt_().add_(group["eps"])
        w.addcdiv_(m, divisor, value=-group["lr"] / (1 - beta1**t))
