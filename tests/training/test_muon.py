"""Muon against its definition: what is orthogonal, how large an update is, whom it moves, and that it can be saved."""

import copy

import pytest
import torch
from torch import nn

from nmt.recipe_optim import Adam, Muon
from nmt.training import checkpoint
from nmt.training.muon import orthogonalized
from nmt.training.optim import build_optimizer, hidden_matrices


class Small(nn.Module):
    """An embedding, a hidden layer, an output tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.hidden = nn.Linear(6, 6)
        self.projection = nn.Linear(6, 7)
        self.projection.weight = self.embed.weight


@pytest.mark.parametrize("shape", [(8, 8), (32, 8), (8, 32), (1, 8), (8, 1)])
def test_singular_values_come_near_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    """Jordan's coefficients bring singular values to 0.68 .. 1.13; bfloat16 adds a little. U and V do not turn."""
    torch.manual_seed(1)
    U, _, Vh = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    s = torch.linspace(1.0, 0.1, min(shape), dtype=torch.float64)
    found = U.T @ orthogonalized(U @ torch.diag(s) @ Vh).double() @ Vh.T
    assert float(found.diag().min()) > 0.6
    assert float(found.diag().max()) < 1.2
    assert float((found - found.diag().diag()).abs().max()) < 0.05


def test_a_gradient_of_zero_moves_nothing() -> None:
    assert bool((orthogonalized(torch.zeros(4, 3)) == 0).all())


def test_hidden_matrices_are_neither_embeddings_nor_the_output_nor_vectors() -> None:
    model = Small()
    hidden = hidden_matrices(model)
    marks = {name: id(p) in hidden for name, p in model.named_parameters()}
    assert marks == {"embed.weight": False, "hidden.weight": True, "hidden.bias": False, "projection.bias": False}


def test_the_first_update_of_a_matrix_follows_the_formula_and_the_rest_is_adamw() -> None:
    """W (1 - lr decay) - lr 0.2 sqrt(max(O, I)) orth(G'); the momentum of a first update only scales its gradient."""
    torch.manual_seed(2)
    model = Small()
    other = copy.deepcopy(model)
    before = model.hidden.weight.detach().clone()
    ours = build_optimizer(Muon(kind="muon", weight_decay=0.1), model, 0.02)
    adam = build_optimizer(Adam(weight_decay=0.1), other, 0.02)
    for _ in range(3):
        for p, q in zip(model.parameters(), other.parameters(), strict=True):
            q.grad = torch.randn_like(p)
            p.grad = q.grad.clone()
        gradient = model.hidden.weight.grad
        ours.step()
        adam.step()
        if gradient is not None and torch.equal(ours.state[model.embed.weight]["step"], torch.tensor(1.0)):
            wanted = before * (1 - 0.02 * 0.1) - 0.02 * 0.2 * 6**0.5 * orthogonalized(gradient).float()
            torch.testing.assert_close(model.hidden.weight.detach(), wanted, rtol=0, atol=2e-4)
    for name in ("embed.weight", "hidden.bias", "projection.bias"):
        torch.testing.assert_close(model.get_parameter(name), other.get_parameter(name), rtol=1e-5, atol=1e-6)


def test_it_goes_on_from_a_checkpoint_with_the_same_bytes() -> None:
    torch.manual_seed(3)
    model = Small()
    names = [n for n, _ in model.named_parameters()]
    gradients = [[torch.randn_like(p) for p in model.parameters()] for _ in range(4)]

    def drive(model: Small, optimizer: torch.optim.Optimizer, some: list[list[torch.Tensor]]) -> None:
        for grads in some:
            for p, g in zip(model.parameters(), grads, strict=True):
                p.grad = g.clone()
            optimizer.step()

    optimizer = build_optimizer(Muon(kind="muon"), model, 0.02)
    drive(model, optimizer, gradients[:2])
    resumed = copy.deepcopy(model)
    tensors, described = checkpoint.flatten_optimizer(optimizer, names)
    again = build_optimizer(Muon(kind="muon"), resumed, 0.02)
    checkpoint.restore_optimizer(again, names, {k: v.clone() for k, v in tensors.items()}, described)
    drive(model, optimizer, gradients[2:])
    drive(resumed, again, gradients[2:])
    for p, q in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(p, q)
