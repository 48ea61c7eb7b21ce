"""Weight normalisation (Salimans & Kingma 2016)."""

import torch
from torch import Tensor


def normalize(v: Tensor, g: Tensor) -> Tensor:
    """W = g v / |v|, row by row: v (O, I), g (O,) -> (O, I) (Salimans & Kingma 2016, equation 2)."""
    return v * (g / torch.linalg.vector_norm(v, dim=1))[:, None]
