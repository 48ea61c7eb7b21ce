"""Finite differences, to which the twins' gradients are held."""

from collections.abc import Callable, Mapping

import numpy as np

from tests.models.tape_numpy import Array

Loss = Callable[[Mapping[str, Array]], float]


def slope(loss: Loss, params: Mapping[str, Array], direction: Mapping[str, Array], step: float = 1e-3) -> float:
    """Central difference of fourth order of the loss along a direction through the named parameters."""

    def at(k: int) -> float:
        return loss({**params, **{name: params[name] + k * step * d for name, d in direction.items()}})

    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)


def assert_slope(derived: float, measured: float, what: str) -> None:
    """Relative error below 1e-6; below 1e-3 the rounding of the loss itself shows, so the error counts from there."""
    error = abs(derived - measured) / max(abs(derived), abs(measured), 1e-3)
    assert error < 1e-6, f"{what}: {derived} derived, {measured} measured, relative error {error}"


def assert_gradient_is_slope(
    loss: Loss,
    params: Mapping[str, Array],
    gradient: Mapping[str, Array],
    group: Callable[[str], str] = str,
    seed: int = 0,
) -> None:
    """Along a random direction through each parameter, all of its entries at once.

    Parameters of the same `group` share a direction; without one each has its own.
    """
    assert gradient.keys() == params.keys()
    rng = np.random.default_rng(seed)
    groups: dict[str, dict[str, Array]] = {}
    for name, array in params.items():
        assert gradient[name].shape == array.shape, name
        groups.setdefault(group(name), {})[name] = rng.normal(size=array.shape) / np.sqrt(array.size)
    for name, direction in groups.items():
        derived = sum(float(np.sum(gradient[member] * d)) for member, d in direction.items())
        assert_slope(derived, slope(loss, params, direction), name)


def dead(gradient: Mapping[str, Array]) -> set[str]:
    """The parameters that the loss does not feel at all."""
    return {name for name, array in gradient.items() if not array.any()}
