"""Rates against values worked out by hand, optimisers against the papers' algorithms in NumPy."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from nmt.recipe import Switch, TrainConfig
from nmt.recipe_optim import (
    SGD,
    Adadelta,
    Adam,
    Constant,
    Halving,
    InverseSqrt,
    Linear,
    Noam,
    Optimizer,
    Plateau,
    Schedule,
)
from nmt.training.optim import PlateauState, at_update, build_optimizer, learning_rate


def rate(schedule: Schedule, lr: float, update: int, epoch: float = 0.0) -> float:
    return learning_rate(schedule, lr, update, epoch, PlateauState())


# Schedules.


def test_constant_rises_over_its_warmup_and_stays() -> None:
    assert [rate(Constant(warmup_updates=4), 2.0, u) for u in (1, 2, 3, 4, 5, 900)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert rate(Constant(), 2.0, 1) == 2.0


def test_inverse_sqrt_peaks_at_its_warmup_and_halves_with_four_times_the_updates() -> None:
    schedule = InverseSqrt(kind="inverse_sqrt", warmup_updates=100)
    wanted = {1: 0.03, 50: 1.5, 100: 3.0, 400: 1.5, 1600: 0.75, 2500: 0.6}
    assert {u: rate(schedule, 3.0, u) for u in wanted} == pytest.approx(wanted, rel=1e-12)


def test_noam_of_the_base_model_peaks_at_the_papers_rate() -> None:
    """Vaswani et al. 2017, equation 3 with d_model 512, 4000 warm-up steps: 512^-0.5 * 4000^-0.5 = 6.99e-4."""
    schedule = Noam(kind="noam", warmup_updates=4000, d_model=512)
    assert rate(schedule, 1.0, 4000) == pytest.approx(7.0e-4, rel=2e-3)
    assert rate(schedule, 1.0, 4000) == pytest.approx(1 / math.sqrt(512 * 4000), rel=1e-12)
    assert rate(schedule, 1.0, 1) == pytest.approx(1.7469e-7, rel=1e-4)  # 512^-0.5 * 4000^-1.5
    assert rate(schedule, 1.0, 100_000) == pytest.approx(1.39754e-4, rel=1e-5)  # (512 * 100000)^-0.5
    assert rate(schedule, 2.0, 4000) == 2 * rate(schedule, 1.0, 4000)
    assert max(range(3990, 4011), key=lambda u: rate(schedule, 1.0, u)) == 4000


def test_linear_rises_and_falls_to_zero() -> None:
    schedule = Linear(kind="linear", warmup_updates=10, until_update=110)
    wanted = {1: 0.2, 5: 1.0, 10: 2.0, 60: 1.0, 109: 0.02, 110: 0.0, 500: 0.0}
    assert {u: rate(schedule, 2.0, u) for u in wanted} == pytest.approx(wanted, rel=1e-12)
    assert rate(Linear(kind="linear", until_update=4), 1.0, 1) == 0.75


def test_halving_is_that_of_sutskever() -> None:
    """Sutskever et al. 2014, 3.4: rate 0.7; after 5 epochs halved every half epoch; 7.5 epochs in all."""
    schedule = Halving(kind="halving", from_epoch=5, every_epochs=0.5)
    wanted = {0.0: 0.7, 4.999: 0.7, 5.0: 0.35, 5.499: 0.35, 5.5: 0.175, 6.0: 0.0875, 6.5: 0.04375, 7.0: 0.021875}
    assert {e: rate(schedule, 0.7, 1, e) for e in wanted} == pytest.approx(wanted, rel=1e-12)
    assert rate(schedule, 0.7, 1, 7.499) == pytest.approx(0.021875)


def test_halving_is_that_of_luong() -> None:
    """Luong et al. 2015, 4.1: rate 1; after 5 epochs halved every epoch; 10 epochs in all."""
    schedule = Halving(kind="halving", from_epoch=5, every_epochs=1)
    wanted = {0.0: 1.0, 4.9: 1.0, 5.0: 0.5, 5.9: 0.5, 6.0: 0.25, 7.0: 0.125, 8.0: 0.0625, 9.9: 0.03125}
    assert {e: rate(schedule, 1.0, 1, e) for e in wanted} == wanted


def test_halving_by_updates_is_that_of_gnmt() -> None:
    """Wu et al. 2016, 8.3, English-French: Adam for 60,000 steps, then SGD at 0.5; from 1.2 M steps on halved every
    200,000. An update before whose halving so many are done is the next one.
    """
    sgd = Switch(
        at_update=60_001,
        optimizer=SGD(kind="sgd"),
        lr=0.5,
        schedule=Halving(kind="halving", from_update=1_140_000, every_updates=200_000),
    )
    train = TrainConfig(batch_sentences=128, updates=2_000_000, lr=2e-4, switch=sgd)

    def of(update: int) -> tuple[type[Optimizer], float]:
        optimizer, lr, schedule, before = at_update(train, update)
        return type(optimizer), rate(schedule, lr, update - before, 99.0)

    assert [of(u) for u in (1, 60_000)] == [(Adam, 2e-4)] * 2
    assert [of(u) for u in (60_001, 1_200_000)] == [(SGD, 0.5)] * 2
    assert [of(u) for u in (1_200_001, 1_400_000, 1_400_001, 2_000_000)] == [
        (SGD, 0.25), (SGD, 0.25), (SGD, 0.125), (SGD, 0.03125)
    ]  # fmt: skip


def test_halving_is_by_epochs_or_by_updates() -> None:
    for keys in [
        {},
        {"from_epoch": 5.0},
        {"from_epoch": 5.0, "every_updates": 3},
        {"from_epoch": 5.0, "every_epochs": 1.0, "from_update": 3, "every_updates": 3},
    ]:
        with pytest.raises(ValidationError, match="give from_epoch and every_epochs, or from_update and every_updates"):
            Halving.model_validate({"kind": "halving", **keys})


def test_plateau_cuts_after_its_patience_and_not_below_the_least_rate() -> None:
    schedule = Plateau(kind="plateau", factor=0.5, patience=2, min_lr=0.2, warmup_updates=2)
    state = PlateauState()

    def after(*losses: float) -> float:
        for loss in losses:
            state.observe(loss, schedule)
        return learning_rate(schedule, 1.0, 100, 0.0, state)

    assert learning_rate(schedule, 1.0, 1, 0.0, state) == 0.5
    assert after(3.0) == 1.0
    assert after(3.0) == 1.0  # equal is not better: one
    assert after(2.9) == 1.0  # better: the count begins anew
    assert after(2.95) == 1.0
    assert after(2.91) == 0.5  # two without a better one than 2.9
    assert after(2.95) == 0.5
    assert after(2.95) == 0.25
    assert after(2.95, 2.95) == 0.2
    assert state.best == 2.9


def test_plateau_can_cut_at_every_validation_after_the_first_and_ends_below_a_rate() -> None:
    """Gehring et al. 2017, 4.2: "0.25 and once the validation perplexity stops improving, we reduce the learning rate
    by an order of magnitude after each epoch until it falls below 1e-4".
    """
    schedule = Plateau(kind="plateau", factor=0.1, patience=1, after_first="every", end_below=1e-4)
    state, rates = PlateauState(), []
    for loss in (5.0, 4.0, 4.1, 3.0, 2.0, 1.0):  # one stall; later losses are better
        assert not state.ended(0.25, schedule)
        state.observe(loss, schedule)
        rates.append(learning_rate(schedule, 0.25, 9, 0.0, state))
    assert rates == pytest.approx([0.25, 0.25, 0.025, 0.0025, 0.00025, 0.000025])
    assert state.ended(0.25, schedule)
    assert state.best == 1.0
    for other in (Plateau(kind="plateau"), Constant()):
        assert not state.ended(0.25, other)
    assert not PlateauState().ended(1e-5, schedule)  # it was never cut


def test_plateau_waits_for_another_stall_unless_told_otherwise() -> None:
    schedule = Plateau(kind="plateau", factor=0.1, patience=1, end_below=1e-4)
    state = PlateauState()
    for loss in (5.0, 4.0, 4.1, 3.0, 2.0, 1.0):
        state.observe(loss, schedule)
    assert state.factor == 0.1


def test_an_end_that_cannot_come_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"end_below 0\.0001 needs a min_lr smaller than it, not 0\.0001"):
        Plateau(kind="plateau", end_below=1e-4, min_lr=1e-4)


def test_a_switch_begins_its_own_schedule_at_its_update() -> None:
    later = InverseSqrt(kind="inverse_sqrt", warmup_updates=10)
    train = TrainConfig(
        batch_sentences=1,
        updates=100,
        lr=0.5,
        switch=Switch(at_update=51, optimizer=SGD(kind="sgd"), lr=2.0, schedule=later),
    )
    assert at_update(train, 50) == (Adam(), 0.5, Constant(), 0)
    assert at_update(train, 51) == (SGD(kind="sgd"), 2.0, later, 50)
    _, lr, schedule, before = at_update(train, 51)
    assert rate(schedule, lr, 51 - before) == pytest.approx(0.2)


# Optimisers: x is driven by the gradients of a fixed sequence.

GRADIENTS = np.random.default_rng(5).normal(size=(7, 4)) * np.array([1e-3, 0.1, 1.0, 30.0])
START = np.array([0.5, -1.0, 2.0, 3.0])


def driven(config: Optimizer, lr: float) -> np.ndarray:
    """x after each of the gradients, in float64."""
    x = nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = build_optimizer(config, nn.ParameterList([x]), lr)
    path = []
    for gradient in GRADIENTS:
        x.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        path.append(x.detach().numpy().copy())
    return np.stack(path)


@pytest.mark.parametrize("lr", [1.0, 0.3])
def test_adadelta_is_zeilers_algorithm_1(lr: float) -> None:
    rho, eps = 0.95, 1e-6
    x, Eg2, Edx2, path = START.copy(), np.zeros(4), np.zeros(4), []
    for g in GRADIENTS:
        Eg2 = rho * Eg2 + (1 - rho) * g**2
        dx = -np.sqrt(Edx2 + eps) / np.sqrt(Eg2 + eps) * g
        Edx2 = rho * Edx2 + (1 - rho) * dx**2
        x = x + lr * dx
        path.append(x)
    np.testing.assert_allclose(driven(Adadelta(kind="adadelta"), lr), path, rtol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_is_that_of_kingma_and_ba_with_loshchilovs_decay(decay: float) -> None:
    lr, b1, b2, eps = 0.02, 0.9, 0.98, 1e-9
    x, m, v, path = START.copy(), np.zeros(4), np.zeros(4), []
    for t, g in enumerate(GRADIENTS, 1):
        x = x * (1 - lr * decay)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        x = x - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        path.append(x)
    np.testing.assert_allclose(driven(Adam(weight_decay=decay), lr), path, rtol=1e-9)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_follows_its_formula(momentum: float, nesterov: bool) -> None:
    """Velocity v = mu v + g; x -= lr v, or with Nesterov's look ahead x -= lr (g + mu v) (Sutskever et al. 2013)."""
    lr, decay = 0.05, 0.01
    x, v, path = START.copy(), np.zeros(4), []
    for g in GRADIENTS:
        g = g + decay * x
        v = momentum * v + g
        x = x - lr * (g + momentum * v if nesterov else v)
        path.append(x)
    found = driven(SGD(kind="sgd", momentum=momentum, nesterov=nesterov, weight_decay=decay), lr)
    np.testing.assert_allclose(found, path, rtol=1e-12)
