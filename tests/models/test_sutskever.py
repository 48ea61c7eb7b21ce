"""Sutskever 2014: the equations word by word, the paper's size, what reversal changes."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from nmt.batch import BOS, EOS, padded_batch
from nmt.models.build import build_model
from nmt.models.sutskever import Sutskever
from nmt.recipe_models import SutskeverConfig

PAIRS = [([5, 6, 7], [4, 5, 12]), ([8], [6, 7, 8, 9, 10]), ([9, 4, 10, 6], [10])]


def built(reverse_source: bool = True, dropout: float = 0.0) -> Sutskever:
    torch.manual_seed(5)
    model = Sutskever(11, 13, 2, 3, 4, reverse_source, dropout).double()
    model.compute_dtype = torch.float64
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.7, 0.7)
    return model


def batch_of_all():
    return padded_batch([src for src, _ in PAIRS], [tgt for _, tgt in PAIRS])


@pytest.mark.parametrize("reverse_source", [True, False])
def test_logits_equal_torchs_lstms_sentence_by_sentence(reverse_source: bool) -> None:
    """Section 2: encode, hand the states over layer by layer, decode; stacks of torch.nn.LSTM with our numbers."""
    model = built(reverse_source)

    def twin(stack: nn.Module) -> nn.LSTM:
        lstm = nn.LSTM(3, 4, num_layers=2).double()
        with torch.no_grad():
            for i, layer in enumerate(stack.layers):  # pyright: ignore
                for name, value in (("weight_ih", layer.W.weight), ("weight_hh", layer.U), ("bias_ih", layer.W.bias)):
                    getattr(lstm, f"{name}_l{i}").copy_(value)
                getattr(lstm, f"bias_hh_l{i}").zero_()
        return lstm

    encoder, decoder = twin(model.encoder), twin(model.decoder)
    logits = model.project(model(batch_of_all()))
    for row, (src, tgt) in enumerate(PAIRS):
        read = [*(src[::-1] if reverse_source else src), EOS]
        _, last = encoder(model.src_embed(torch.tensor(read)))
        h, _ = decoder(model.tgt_embed(torch.tensor([BOS, *tgt])), last)
        wanted = h @ model.projection.weight.T + model.projection.bias
        torch.testing.assert_close(logits[row, : len(tgt) + 1], wanted, atol=1e-12, rtol=0)


def test_reversing_by_key_is_reversing_the_text() -> None:
    turned = padded_batch([src[::-1] for src, _ in PAIRS], [tgt for _, tgt in PAIRS])
    given = batch_of_all()
    assert torch.equal(built(True)(given), built(False)(turned))
    assert (built(True)(given)[0] - built(False)(given)[0]).abs().max() > 1e-3


def counted(config: SutskeverConfig, n_src: int, n_tgt: int) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build_model(config, n_src, n_tgt).parameters())


def test_parameters_are_the_papers_384_million() -> None:
    """Section 3.4 prints 384 M, "of which 64M are pure recurrent connections (32M for the encoder LSTM and 32M for the
    decoder LSTM)".
    """
    embeddings = 160_000 * 1000 + 80_000 * 1000
    a_stack = 4 * 4 * 1000 * (1000 + 1000)  # 4 layers, 4 gates, input and state
    softmax = 80_000 * 1000
    assert embeddings + 2 * a_stack + softmax == 384_000_000
    assert a_stack == 32_000_000
    # The paper counts no biases: one a gate, and one a target word in ours, 112,000 of them.
    biases = 2 * 4 * 4 * 1000 + 80_000
    assert counted(SutskeverConfig(kind="sutskever"), 160_000, 80_000) == 384_000_000 + biases


def test_initialization_is_uniform_within_008() -> None:
    torch.manual_seed(0)
    model = Sutskever(500, 600, 2, 30, 40)
    model.initialize()
    for name, p in model.state_dict().items():
        assert float(p.abs().max()) <= 0.08, name
        assert float(p.std()) == pytest.approx(0.16 / 12**0.5, rel=0.1), name


def test_dropout_is_drawn_anew_and_only_in_training() -> None:
    model, batch = built(dropout=0.5), batch_of_all()
    outcomes: list[Tensor] = [model(batch) for _ in range(2)]
    assert not torch.equal(*outcomes)
    model.eval()
    assert torch.equal(model(batch), built()(batch))


def test_bfloat16_products_keep_features_close() -> None:
    model, batch = built().float(), batch_of_all()
    model.compute_dtype = torch.float32
    exact = model(batch)
    model.compute_dtype = torch.bfloat16
    features = model(replace(batch))
    assert features.dtype == torch.bfloat16
    torch.testing.assert_close(features.float(), exact, atol=0.02, rtol=0)
    model.project(features).sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
