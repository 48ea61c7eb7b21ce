"""Every kind of initialisation against the law in its name."""

import math

import pytest
import torch
from torch import Tensor, nn

from nmt.models.bahdanau import Bahdanau
from nmt.models.initialize import initialize
from nmt.recipe_init import Initialization, NormalInit, OrthogonalInit, PaperInit, UniformInit, XavierInit


def initialized(how: Initialization, seed: int = 0, tied: bool = False) -> Bahdanau:
    torch.manual_seed(seed)
    model = Bahdanau(300, 300, 60, 80, 70, 60, tied_output=tied, tied_embeddings=tied)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))  # what is left out must show
    torch.manual_seed(seed)
    initialize(model, how)
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    return model.requires_grad_(False)


def matrices(model: nn.Module) -> dict[str, Tensor]:
    """Parameters of two axes, without embeddings."""
    return {n: p.detach() for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n}


def assert_vectors_zero(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        assert parameter.dim() == 2 or not parameter.any(), name


def assert_embeddings_normal(model: Bahdanau) -> None:
    for table in (model.src_embed, model.tgt_embed):
        assert float(table.weight.std()) == pytest.approx(60**-0.5, rel=0.03)
        assert float(table.weight.abs().max()) > 3 * 60**-0.5  # a uniform one of that deviation ends at 1.74 of it


def test_uniform_fills_the_interval_with_biases_too() -> None:
    for name, p in initialized(UniformInit(kind="uniform", scale=0.08)).named_parameters():
        assert float(p.abs().max()) <= 0.08, name
        if p.numel() > 1000:
            assert float(p.std()) == pytest.approx(0.08 / math.sqrt(3), rel=0.05), name
            assert float(p.abs().max()) > 0.079, name
        else:
            assert p.detach().unique().numel() > p.numel() // 2, name


def test_normal_has_its_deviation_and_zero_vectors() -> None:
    model = initialized(NormalInit(kind="normal", std=0.02))
    assert_vectors_zero(model)
    for name, p in [*matrices(model).items(), ("src_embed", model.src_embed.weight.detach())]:
        assert float(p.std()) == pytest.approx(0.02, rel=0.05), name
        assert float(p.mean().abs()) < 4 * 0.02 / p.numel() ** 0.5, name
        assert float(p.abs().max()) > 3 * 0.02, name


def test_orthogonal_matrices_are_orthogonal_and_stacked_gates_block_by_block() -> None:
    model = initialized(OrthogonalInit(kind="orthogonal", gain=1.5))
    assert_vectors_zero(model)
    assert_embeddings_normal(model)
    for name, p in matrices(model).items():
        rows, columns = p.shape
        for block in p.split(columns) if rows % columns == 0 else (p,):
            short = block if block.shape[0] <= block.shape[1] else block.T
            product = short @ short.T / 1.5**2
            torch.testing.assert_close(product, torch.eye(len(short)), atol=1e-5, rtol=0, msg=lambda m, n=name: n + m)
    z, r = model.U_zr.detach().split(80)
    assert (z - r).abs().max() > 0.1


def test_xavier_fills_glorots_bound() -> None:
    model = initialized(XavierInit(kind="xavier", gain=2.0))
    assert_vectors_zero(model)
    assert_embeddings_normal(model)
    for name, p in matrices(model).items():
        bound = 2.0 * math.sqrt(6 / (p.shape[0] + p.shape[1]))
        assert 0.99 * bound < float(p.abs().max()) <= bound, name
        assert float(p.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05), name


def test_paper_is_the_models_own() -> None:
    model = initialized(PaperInit(), seed=3)
    torch.manual_seed(3)
    twin = Bahdanau(300, 300, 60, 80, 70, 60)
    torch.manual_seed(3)
    twin.initialize()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


KINDS: list[Initialization] = [
    PaperInit(),
    UniformInit(kind="uniform"),
    NormalInit(kind="normal"),
    OrthogonalInit(kind="orthogonal"),
    XavierInit(kind="xavier"),
]


@pytest.mark.parametrize("how", KINDS, ids=lambda how: how.kind)
def test_the_seed_decides_every_value(how: Initialization) -> None:
    first, again, other = (dict(initialized(how, seed).named_parameters()) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if first[name].any())


@pytest.mark.parametrize("how", KINDS, ids=lambda how: how.kind)
def test_a_tied_table_is_filled_once_and_as_an_embedding(how: Initialization) -> None:
    model = initialized(how, tied=True)
    assert model.projection.weight is model.tgt_embed.weight is model.src_embed.weight
    if isinstance(how, OrthogonalInit | XavierInit):
        assert_embeddings_normal(model)
