"""What an update costs, counted before anything is trained: floating-point operations, and bytes kept for the backward.

The model goes forward on the meta device, where tensors have shapes and no numbers: so nothing in a model's forward may
depend on a tensor's values.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nmt.batch import EOS, Batch, Sentences, packed, padded
from nmt.models.contract import Seq2Seq
from nmt.recipe_models import Layout

_WIDTH = {"cpu": 1024, "cuda": 4096}  # of the measured product: beyond it the rate hardly rises
_MEASURED_SECONDS = 0.15


@dataclass(frozen=True)
class Cost:
    """What a batch takes, forward and backward.

    flops  operations of matrix products and convolutions, a multiplication and an addition counted as two. The backward
           has two products for each of the forward's, one for the gradient of each factor.
    kept   bytes that the forward keeps for the backward and the loss keeps for it, parameters not counted.
    """

    flops: int
    kept: int


def batch_cost(model: Seq2Seq, sentences: int, length: int, layout: Layout = "padded", row_tokens: int = 128) -> Cost:
    """The cost of a batch whose sentences all have `length` pieces on either side, on the device that the model is on.

    Products are counted where torch hands them to a device, so those inside hand-written autograd functions count too.
    What a model computes anew on its way back does not.
    """
    W, bias = model.projection.weight, model.projection.bias
    batch = _alike(sentences, length, layout, row_tokens).to(W.device)
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()  # that of all its views: counted once, and held so that its number stays its
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    model.train()
    with _Products() as products, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = model(batch)
    logits = 2 * sentences * length * W.numel()
    # The loss has the gradients of features, projection and bias ready before the backward (ops/cross_entropy.py).
    loss = features.nbytes + W.nbytes + (0 if bias is None else bias.nbytes)
    return Cost(3 * (products.flops + logits), loss + sum(storage.nbytes() for storage in kept.values()))


def _alike(n: int, length: int, layout: Layout, row_tokens: int) -> Batch:
    """n pairs of one length, the end of each sentence counted; for `rows` as many in a row as go in."""
    side = Sentences(np.full(n * length, EOS), np.full(n, length))
    match layout:
        case "padded":
            return padded(side, side)
        case "rows":
            rows, width = np.arange(n) // max(1, row_tokens // length), max(row_tokens, length)
        case "flat":
            rows, width = np.zeros(n, np.int64), n * length
    return packed(side, side, rows, (width, width), layout)


class _Products(TorchDispatchMode):
    """Counts the operations of the products that are computed while it is entered."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch would load its compiler to keep it out of here

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        # Each number of the result is a sum over the inner axis.
        match func.overloadpacket.__name__:
            case "mm" | "bmm" | "mv" | "dot" | "_linear_pointwise":
                self.flops += 2 * out.numel() * args[0].shape[-1]
            case "addmm" | "addmm_" | "baddbmm" | "addmv":
                self.flops += 2 * out.numel() * args[1].shape[-1]
            case "convolution":
                self.flops += 2 * out.numel() * args[1][0].numel()
        return out


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of products of square matrices of this type, the best of a sixth of a second."""
    n = _WIDTH[device.type]
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    _seconds_of_product(a, b)  # the first one also loads what products need
    taken = [_seconds_of_product(a, b)]
    while sum(taken) < _MEASURED_SECONDS:
        taken.append(_seconds_of_product(a, b))
    return 2 * n**3 / min(taken)


def _seconds_of_product(a: Tensor, b: Tensor) -> float:
    started = time.perf_counter()
    _ = a @ b
    if a.is_cuda:
        torch.cuda.synchronize(a.device)
    return time.perf_counter() - started
