"""What an update costs, against counts by hand and against the same model on a real device."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from nmt.batch import Batch
from nmt.models.build import build_model
from nmt.models.contract import Memory, Seq2Seq, State, Step
from nmt.models.meta import on_meta
from nmt.ops import linear
from nmt.recipe_models import BahdanauConfig, TransformerConfig
from nmt.training.cost import Cost, batch_cost, product_rate
from tests.properties.kinds import N_SRC, N_TGT, VARIANTS, build

B, L = 5, 7  # sentences, and their pieces on either side


def on_meta_cost(config: BahdanauConfig | TransformerConfig, n_src: int, n_tgt: int):
    with on_meta():
        return batch_cost(build_model(config, n_src, n_tgt), B, L)


def test_the_count_is_that_by_hand_for_a_recurrent_model() -> None:
    """Bahdanau 2015 as its forward goes: C h and U_a h once a source word, no state after the last target word."""
    m, n, A, l, K_x, K_y = 6, 10, 8, 4, 30, 40  # noqa: E741
    config = BahdanauConfig(kind="bahdanau", d_embed=m, d_hidden=n, d_align=A, d_maxout=l)
    source = 2 * 3 * (m * n + n * n) + 2 * n * A + 2 * n * 3 * n  # encoder, U_a h_j, C h_j
    target = 3 * m * n + (A + 2 * n) * n  # W, W_z, W_r of the word; W_a, U_z, U_r of the state
    attention = A * L + 2 * n * L  # v_a tanh(...), c_i
    readout = 2 * l * (n + m + 2 * n) + l * K_y
    not_after_the_last = n * n + 3 * n * L  # U [r s], sum_j a_ij C h_j
    products = B * (L * (source + target + attention + readout) + (L - 1) * not_after_the_last + n * n)  # and W_s
    assert on_meta_cost(config, K_x, K_y).flops == 3 * 2 * products


def test_the_count_is_that_by_hand_for_a_transformer() -> None:
    D, M, V = 8, 20, 30
    config = TransformerConfig(kind="transformer", n_layers=2, n_decoder_layers=3, d_model=D, n_heads=2, d_ff=M)
    attention = 2 * L * D  # Q K^T and the weighted values, of one query
    encoder = 2 * (4 * D * D + attention + 2 * D * M)
    decoder = 3 * (4 * D * D + attention + 4 * D * D + attention + 2 * D * M)
    assert on_meta_cost(config, V, V).flops == 3 * 2 * B * L * (encoder + decoder + D * V)


def test_rows_count_what_is_computed_for_padding_and_between_sentences() -> None:
    """Three rows of 17 positions for five sentences of 7; attention is to whole rows, or in flat to sentences."""
    D, M, V, width = 8, 20, 30, 17
    config = TransformerConfig(kind="transformer", n_layers=2, n_decoder_layers=3, d_model=D, n_heads=2, d_ff=M)
    matrices = 2 * (4 * D * D + 2 * D * M) + 3 * (8 * D * D + 2 * D * M)
    with on_meta():
        model = build_model(config, V, V)
        rows, flat = batch_cost(model, B, L, "rows", width), batch_cost(model, B, L, "flat")
    looks = (2 + 3 + 3) * 2 * D
    assert rows.flops == 3 * 2 * (3 * width * (matrices + looks * width) + B * L * D * V)
    assert flat.flops == batch_cost_padded(model).flops == 3 * 2 * B * L * (matrices + looks * L + D * V)


def batch_cost_padded(model: Seq2Seq) -> Cost:
    with on_meta():
        return batch_cost(model, B, L)


def test_products_of_every_sort_are_counted() -> None:
    x, w, v = torch.ones(2, 3, 4), torch.ones(4, 5), torch.ones(4)

    class Odd(Seq2Seq):
        """A model of nothing but products."""

        def __init__(self) -> None:
            super().__init__()
            self.projection = nn.Linear(5, 6, bias=False)
            self.convolution = nn.Conv1d(3, 8, 2)

        def forward(self, batch: Batch) -> torch.Tensor:
            _ = x @ w, x[0] @ w, torch.bmm(x, w.expand(2, 4, 5)), x[0] @ v, v @ v  # 2*3*4*5, 3*4*5, 2*3*4*5, 3*4, 4
            _ = torch.addmm(w, w[:, :4], w), torch.baddbmm(torch.ones(2, 3, 3), x, x.mT)  # 4*4*5, 2*3*4*3
            _ = self.convolution(x)  # 2 rows, 8 out, 3 wide, of 3 * 2 each
            return torch.ones(*batch.tgt_in.shape, 5)

        def encode(self, src: torch.Tensor, keep: torch.Tensor) -> Memory:
            raise NotImplementedError

        def start(self, memory: Memory, beam: int, max_len: int) -> State:
            raise NotImplementedError

        def step(self, prev: torch.Tensor, memory: Memory, state: State, want_weights: bool = False) -> Step:
            raise NotImplementedError

        def initialize(self) -> None:
            raise NotImplementedError

    by_hand = 2 * 3 * 4 * 5 + 3 * 4 * 5 + 2 * 3 * 4 * 5 + 3 * 4 + 4
    by_hand += 4 * 4 * 5 + 2 * 3 * 4 * 3
    by_hand += 2 * 8 * 3 * 3 * 2
    assert batch_cost(Odd(), B, L).flops == 3 * 2 * (by_hand + B * L * 5 * 6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_model_goes_forward_without_numbers(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device it costs what it costs on a real one: nothing in it depends on a tensor's values."""
    monkeypatch.setattr(linear, "onednn_is_faster", lambda: False)  # keeps a little less, on some processors
    config = VARIANTS[variant]
    real = build(config, torch.float32)
    n_src = N_TGT if getattr(config, "tied_embeddings", False) else N_SRC
    with on_meta():
        shadow = build_model(config, n_src, N_TGT)
        without_numbers = batch_cost(shadow, B, L)
    with sdpa_kernel(SDPBackend.MATH):
        assert batch_cost(real, B, L) == without_numbers
        for layout in config.layouts - {"padded"}:
            with on_meta():
                packed = batch_cost(shadow, B, L, layout, 2 * L)
            assert batch_cost(real, B, L, layout, 2 * L) == packed
    assert all(parameter.is_meta for parameter in shadow.parameters())


def test_what_is_kept_grows_with_the_batch_and_not_with_parameters() -> None:
    """Of the Transformer's positions each keeps the same; the loss keeps a gradient of the projection besides."""
    config = TransformerConfig(kind="transformer", n_layers=1, d_model=8, n_heads=2, d_ff=16)
    with on_meta():
        model = build_model(config, 30, 30)
        two, three, four = (batch_cost(model, rows, L) for rows in (2, 3, 4))
    assert four.kept - three.kept == three.kept - two.kept > 0
    assert four.flops == 2 * two.flops
    assert three.kept - 3 * (three.kept - two.kept) >= 30 * 8 * 4


def test_the_rate_is_one_that_a_processor_can_have() -> None:
    assert 1e8 < product_rate(torch.device("cpu"), torch.float32) < 1e14


def test_the_compiler_is_not_loaded_for_it() -> None:
    """It takes longer to load than all the rest; what is counted is the same with it."""
    program = """
import sys
from nmt.models.build import build_model
from nmt.recipe_models import TransformerConfig
from nmt.models.meta import on_meta
from nmt.training.cost import batch_cost

def cost():
    with on_meta():
        return batch_cost(build_model(TransformerConfig(kind="transformer"), 500, 500), 5, 7)

before = cost()
assert not any(name.startswith("torch._dynamo") for name in sys.modules)
import torch._dynamo
assert torch._dynamo.disable.__module__.startswith("torch._dynamo")
assert cost() == before
assert sys.modules["torch._dynamo"] is torch._dynamo
print("same")
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.stdout == "same\n", done.stderr
