"""The matrix products of an update, and how fast this machine does each of them alone: the limit of a training."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nmt.batch import Batch
from nmt.models.contract import Seq2Seq
from nmt.training.loss import batch_loss


@dataclass(frozen=True)
class Product:
    """`count` matrices (m, k) times (k, n) at once; left and right say whether a factor lies transposed in memory."""

    count: int
    m: int
    k: int
    n: int
    left: bool
    right: bool
    dtype: torch.dtype

    @property
    def flops(self) -> int:
        """Operations, a multiplication and an addition counted as two."""
        return 2 * self.count * self.m * self.k * self.n


class Products(TorchDispatchMode):
    """Counts the products that are computed while it is entered, each kind by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[Product] = Counter()

    @property
    def flops(self) -> int:
        """Operations of all of them."""
        return sum(product.flops * times for product, times in self.found.items())

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        match name:
            case "mm" | "bmm":
                self._add(args[0], args[1])
            case "_linear_pointwise":  # oneDNN's, by name: rows of any shape, times a matrix that lies transposed
                self._add(args[0].reshape(-1, args[0].shape[-1]), args[1].T)
            case "mv":
                self._add(args[0], args[1][:, None])
            case "addmm" | "baddbmm" | "addmm_" | "baddbmm_":
                self._add(args[1], args[2])
            case _ if name.startswith("_scaled_dot_product") and name.endswith("backward"):
                self._attention_backward(*args[1:4])
            case _ if name.startswith("_scaled_dot_product"):
                self._attention(*args[:3])
        return out

    def _add(self, a: Tensor, b: Tensor) -> None:
        count = a.shape[0] if a.dim() == 3 else 1
        (m, k), n = a.shape[-2:], b.shape[-1]
        self.found[Product(count, m, k, n, _transposed(a), _transposed(b), a.dtype)] += 1

    def _attention(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        (B, H, Q, C), N = q.shape, k.shape[2]
        self.found[Product(B * H, Q, C, N, False, True, q.dtype)] += 1  # the scores
        self.found[Product(B * H, Q, N, v.shape[3], False, False, q.dtype)] += 1  # what they bring

    def _attention_backward(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        (B, H, Q, C), N = q.shape, k.shape[2]
        self.found[Product(B * H, Q, v.shape[3], N, False, True, q.dtype)] += 1  # gradient of the weights
        self.found[Product(B * H, N, Q, v.shape[3], True, False, q.dtype)] += 1  # of the values
        self.found[Product(B * H, Q, N, C, False, False, q.dtype)] += 1  # of the queries
        self.found[Product(B * H, N, Q, C, True, False, q.dtype)] += 1  # of the keys


def _transposed(matrix: Tensor) -> bool:
    return matrix.stride(-1) != 1 and matrix.stride(-2) == 1


@dataclass(frozen=True)
class Limit:
    """What a training would reach if it did nothing but its products, each as fast as torch.mm or torch.bmm does it.

    model_flops: three times those of the forward pass, for a target token. rate: operations a second of the products of
    an update, each as often as it occurs. So tokens_per_second = rate / model_flops: products that a training adds to
    the model's own, such as those it computes anew, do not raise its share.
    """

    model_flops: float
    rate: float

    @property
    def tokens_per_second(self) -> float:
        """Target tokens a second at the limit."""
        return self.rate / self.model_flops


def limit(model: Seq2Seq, batches: Iterable[Batch], smoothing: float, seconds: float = 0.05) -> Limit:
    """The limit of training on batches such as these, on the device that they are on."""
    flops = tokens = 0
    all_products: Counter[Product] = Counter()
    model.train()
    for batch in batches:
        with Products() as forward:
            model(batch)
        with Products() as update:
            batch_loss(model, batch, smoothing).smoothed.backward()
        model.zero_grad(set_to_none=True)
        all_products += update.found
        flops += 3 * (forward.flops + 2 * batch.tgt_tokens * model.projection.weight.numel())
        tokens += batch.tgt_tokens
    device = model.projection.weight.device
    took = sum(times * seconds_of(product, device, seconds) for product, times in all_products.items())
    done = sum(times * product.flops for product, times in all_products.items())
    return Limit(flops / tokens, done / took)


def seconds_of(product: Product, device: torch.device, seconds: float = 0.05) -> float:
    """Seconds that one such product takes: the median of as many as fit in `seconds`, of three at least."""

    def factor(rows: int, columns: int, transposed: bool) -> Tensor:
        lead = (product.count,) if product.count > 1 else ()
        shape = (*lead, columns, rows) if transposed else (*lead, rows, columns)
        made = torch.randn(shape, device=device).to(product.dtype)
        return made.mT if transposed else made

    a, b = factor(product.m, product.k, product.left), factor(product.k, product.n, product.right)
    multiply = torch.bmm if product.count > 1 else torch.mm
    multiply(a, b)
    taken = list[float]()
    while len(taken) < 3 or sum(taken) < seconds:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        multiply(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return median(taken)
