"""Optimisers and learning-rate schedules: the rate is a function of (update, epoch, plateau), so nothing of it can be
lost.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from nmt.layers.embedding import LearnedPositions
from nmt.recipe import TrainConfig
from nmt.recipe_optim import (
    SGD,
    Adadelta,
    Adam,
    Constant,
    Halving,
    InverseSqrt,
    Linear,
    Muon,
    Noam,
    Optimizer,
    Plateau,
    Schedule,
)
from nmt.training import muon


def build_optimizer(config: Optimizer, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """The optimiser of a recipe over a model's parameters; one group, its rate set before every update.

    Adadelta keeps eps inside both square roots and scales its step by lr, 1 in the paper (Zeiler 2012, algorithm 1).
    """
    parameters = list(model.parameters())
    match config:
        case Muon():
            return muon.Muon(
                parameters, hidden_matrices(model), lr, config.momentum, config.betas, config.eps, config.weight_decay
            )
        case Adam(weight_decay=0.0):
            return torch.optim.Adam(parameters, lr=lr, betas=config.betas, eps=config.eps, fused=True)
        case Adam():
            return torch.optim.AdamW(
                parameters, lr=lr, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay, fused=True
            )
        case Adadelta():
            return torch.optim.Adadelta(parameters, lr=lr, rho=config.rho, eps=config.eps)
        case SGD():
            return torch.optim.SGD(
                parameters,
                lr=lr,
                momentum=config.momentum,
                nesterov=config.nesterov,
                weight_decay=config.weight_decay,
                fused=True,
            )


def slots(config: Optimizer) -> int:
    """Numbers that an optimiser keeps for each parameter."""
    if isinstance(config, SGD):
        return 1 if config.momentum else 0
    return 2


def hidden_matrices(model: nn.Module) -> list[bool]:
    """For each parameter whether it is a matrix between hidden layers: neither an embedding nor the output."""
    outside = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding | LearnedPositions)}
    outside |= {id(p) for p in getattr(model, "projection", nn.Module()).parameters()}
    return [p.ndim == 2 and id(p) not in outside for p in model.parameters()]


@dataclass
class PlateauState:
    """Where a plateau schedule stands: saved with the checkpoint."""

    factor: float = 1.0
    best: float = math.inf
    waited: int = 0

    def observe(self, loss: float, schedule: Plateau) -> None:
        """Takes in a validation loss; after schedule.patience of them without a better one the rate is cut."""
        better = loss < self.best
        self.best, self.waited = (loss, 0) if better else (self.best, self.waited + 1)
        again = schedule.after_first == "every" and self.factor < 1.0
        if again or self.waited >= schedule.patience:
            self.factor, self.waited = self.factor * schedule.factor, 0

    def ended(self, lr: float, schedule: Schedule) -> bool:
        """Whether cuts have brought the rate lr below what the schedule ends at."""
        return (
            isinstance(schedule, Plateau)
            and schedule.end_below is not None
            and self.factor < 1.0  # a rate that began there is what was asked for
            and max(lr * self.factor, schedule.min_lr) < schedule.end_below
        )


def learning_rate(schedule: Schedule, lr: float, update: int, epoch: float, plateau: PlateauState) -> float:
    """The rate of an update, counted from 1; epoch is the passes done before it, with their fraction."""
    match schedule:
        case Constant(warmup_updates=warmup):
            return lr * _warmup(update, warmup)
        case InverseSqrt(warmup_updates=warmup):
            return lr * min(update / warmup, math.sqrt(warmup / update))
        case Noam(warmup_updates=warmup, d_model=d_model):
            return lr * d_model**-0.5 * min(update**-0.5, update * warmup**-1.5)
        case Linear(warmup_updates=warmup, until_update=end):
            return lr * min(_warmup(update, warmup), max(0.0, (end - update) / (end - warmup)))
        case Plateau(warmup_updates=warmup):
            return max(lr * plateau.factor, schedule.min_lr) * _warmup(update, warmup)
        case Halving():
            return lr * 0.5 ** _halvings(schedule, update, epoch)


def _halvings(schedule: Halving, update: int, epoch: float) -> int:
    """The first one comes when as much is done before the update as the schedule says, then one every so much more."""
    if schedule.from_epoch is not None and schedule.every_epochs is not None:
        done, first, every = epoch, schedule.from_epoch, schedule.every_epochs
    else:
        # The recipe was checked: it has both.
        done, first, every = update - 1, schedule.from_update or 1, schedule.every_updates or 1
    return 0 if done < first else 1 + math.floor((done - first) / every)


def at_update(train: TrainConfig, update: int) -> tuple[Optimizer, float, Schedule, int]:
    """Optimiser, rate, schedule and updates done before that optimiser's first one, in force at an update counted from
    1.
    """
    if train.switch is not None and update >= train.switch.at_update:
        return train.switch.optimizer, train.switch.lr, train.switch.schedule, train.switch.at_update - 1
    return train.optimizer, train.lr, train.schedule, 0


def _warmup(update: int, warmup: int) -> float:
    return min(1.0, update / warmup) if warmup else 1.0
