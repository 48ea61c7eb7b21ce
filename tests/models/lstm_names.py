"""The names that the NumPy twins' LSTMs have in our modules."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def lstm_as_ours(ours: str, theirs: str, values: Mapping[str, Array]) -> dict[str, Array]:
    """One layer: a matrix and a bias a gate there; stacked in the order i, f, g, o here (layers/recurrent.py)."""

    def stacked(letter: str) -> Array:
        return np.concatenate([values[f"{theirs}_{letter}_{gate}"] for gate in "ifgo"])

    return {f"{ours}.W.weight": stacked("W"), f"{ours}.W.bias": stacked("b"), f"{ours}.U": stacked("U")}
