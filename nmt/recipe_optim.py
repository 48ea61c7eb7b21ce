"""The optimisers and learning-rate schedules that a recipe may name."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nmt.recipe_section import Count, Fraction, Positive, PositiveFloat, Probability, Section


def _with_tuple(values: object, key: str) -> object:
    """The values with the list at this key a tuple: YAML has no tuples."""
    if isinstance(values, dict) and isinstance(values.get(key), list):
        return {**values, key: tuple(values[key])}
    return values


class Adam(Section):
    """Adam (Kingma & Ba 2015); with weight_decay it is AdamW (Loshchilov & Hutter 2019, decoupled)."""

    kind: Literal["adam"] = "adam"
    betas: tuple[Probability, Probability] = (0.9, 0.98)
    eps: PositiveFloat = 1e-9
    weight_decay: Fraction = 0.0

    @model_validator(mode="before")
    @classmethod
    def _betas_from_a_list(cls, values: object) -> object:
        return _with_tuple(values, "betas")


class Adadelta(Section):
    """Adadelta (Zeiler 2012), with the constants of Bahdanau 2015."""

    kind: Literal["adadelta"]
    rho: Probability = 0.95
    eps: PositiveFloat = 1e-6


class SGD(Section):
    """Stochastic gradient descent, with momentum and Nesterov's form of it as choices."""

    kind: Literal["sgd"]
    momentum: Probability = 0.0
    nesterov: bool = False
    weight_decay: Fraction = 0.0

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov needs momentum above 0")
        return self


class Muon(Section):
    """Muon (Jordan et al. 2024) for the matrices of hidden layers, AdamW for embeddings, the output and all vectors.

    One rate serves both: updates are scaled to AdamW's usual size (Liu et al. 2025). A matrix that holds several, such
    as the gates of a cell, is one matrix to it.
    """

    kind: Literal["muon"]
    momentum: Probability = 0.95
    betas: tuple[Probability, Probability] = (0.9, 0.98)
    """Of AdamW."""
    eps: PositiveFloat = 1e-9
    """Of AdamW."""
    weight_decay: Fraction = 0.0

    @model_validator(mode="before")
    @classmethod
    def _betas_from_a_list(cls, values: object) -> object:
        return _with_tuple(values, "betas")


Optimizer = Annotated[Adam | Adadelta | SGD | Muon, Field(discriminator="kind")]


class Constant(Section):
    """The same rate throughout."""

    kind: Literal["constant"] = "constant"
    warmup_updates: Count = 0
    """Rises linearly from 0 over these updates."""


class InverseSqrt(Section):
    """Linear warm-up to train.lr, then lr * sqrt(warmup_updates / update)."""

    kind: Literal["inverse_sqrt"]
    warmup_updates: Positive = 4000


class Noam(Section):
    """train.lr * d_model^-0.5 * min(update^-0.5, update * warmup_updates^-1.5) (Vaswani 2017, equation 3)."""

    kind: Literal["noam"]
    warmup_updates: Positive = 4000
    d_model: Positive = 512


class Plateau(Section):
    """Multiplied by factor after `patience` validations without a better validation loss, not below min_lr."""

    kind: Literal["plateau"]
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    patience: Positive = 2
    after_first: Literal["patience", "every"] = "patience"
    """After the first cut: wait for the loss to stall again, or cut at every validation (Gehring 2017)."""
    min_lr: Fraction = 0.0
    end_below: PositiveFloat | None = None
    """Training ends when cuts have brought the rate below this (Gehring 2017: 1e-4); null for never."""
    warmup_updates: Count = 0

    @model_validator(mode="after")
    def _the_end_can_come(self) -> Self:
        if self.end_below is not None and self.min_lr >= self.end_below:
            raise ValueError(f"end_below {self.end_below:g} needs a min_lr smaller than it, not {self.min_lr:g}")
        return self


class Halving(Section):
    """Halved once so many epochs or updates are done, and again after every so many more (Sutskever 2014: from_epoch 5,
    every_epochs 0.5; Luong 2015: 5, 1; Wu 2016: from_update 1200000, every_updates 200000).
    """

    kind: Literal["halving"]
    from_epoch: PositiveFloat | None = None
    every_epochs: PositiveFloat | None = None
    from_update: Positive | None = None
    """Counted from the first update of the optimiser: after a switch, from there."""
    every_updates: Positive | None = None

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        given = {name for name, value in self if name != "kind" and value is not None}
        if given not in ({"from_epoch", "every_epochs"}, {"from_update", "every_updates"}):
            raise ValueError("give from_epoch and every_epochs, or from_update and every_updates")
        return self


class Linear(Section):
    """Linear warm-up to train.lr, then a straight fall to 0: the most that a fixed number of updates gives."""

    kind: Literal["linear"]
    warmup_updates: Count = 0
    until_update: Positive
    """The update at which the rate is 0; as a rule one more than train.updates."""

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if self.until_update <= self.warmup_updates:
            raise ValueError(f"until_update {self.until_update} must be above warmup_updates {self.warmup_updates}")
        return self


Schedule = Annotated[Constant | InverseSqrt | Noam | Linear | Plateau | Halving, Field(discriminator="kind")]
