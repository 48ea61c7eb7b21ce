"""Parameters in the type of products: cast where they are used, or once where they are known to stay as they are.

Casting all of them again at every step of a search reads and writes more than its products read.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nmt.ops.in_use import InUse


class Casts:
    """The parameters of one model in other types, each cast when it is first wanted; `using` puts them to use. What a
    settled model holds in their place counts as a parameter.
    """

    def __init__(self, model: nn.Module) -> None:
        """The parameters must neither change nor go from now on."""
        held = (value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor))
        self._owned = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *held)}
        self._made: dict[tuple[object, ...], Tensor] = {}

    @contextmanager
    def using(self) -> Iterator[None]:
        """While it lasts, `as_type` takes these in this thread, outside autograd."""
        with _ACTIVE.using(self):
            yield

    def of(self, parameter: Tensor, dtype: torch.dtype) -> Tensor:
        """A parameter, or a part of one, in this type."""
        if parameter.untyped_storage().data_ptr() not in self._owned:
            return parameter.to(dtype)
        key = (parameter.data_ptr(), *parameter.shape, *parameter.stride(), dtype)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = parameter.to(dtype)
        return found


_ACTIVE = InUse[Casts]("casts")


def as_type(parameter: Tensor, dtype: torch.dtype) -> Tensor:
    """The parameter in this type."""
    if parameter.dtype == dtype:
        return parameter
    casts = _ACTIVE.now()
    return parameter.to(dtype) if casts is None or torch.is_grad_enabled() else casts.of(parameter, dtype)
