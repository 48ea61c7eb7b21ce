"""The modern Transformer against itself written out word by word, against Hugging Face's, and against counts."""

import itertools
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nmt.batch import EOS, PAD, Batch, padded_batch
from nmt.layers.cache import Cache
from nmt.models.build import build_model
from nmt.models.contract import stepwise_logits
from nmt.models.modern import Attention, Modern, ModernState
from nmt.ops import banded, masks, rope, sparse
from nmt.recipe_models import ModernConfig
from nmt.training.loss import batch_loss
from tests.models import modern_written_out as paper
from tests.ops.test_linear_attention import Largest

V, D, M = 15, 12, 10
PAIRS = [
    ([5, 6, 7, 8, 4, 9], [4, 5, 12, 7]),
    ([8], [6, 7, 8, 9, 10]),
    ([9, 4, 10, 6], [10]),
    ([], []),
    ([4, 4], [11, 4]),
]
ATTENTIONS: tuple[Attention, ...] = ("full", "window", "strided", "linear")
of_every_attention = pytest.mark.parametrize("attention", ATTENTIONS)


def build(
    attention: Attention = "full",
    n_heads: int = 2,
    n_kv_heads: int | None = None,
    qk_norm: bool = False,
    window: int = 2,
    tied: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Modern:
    """Two layers and two, every parameter large enough to count."""
    torch.manual_seed(6)
    model = Modern(
        *(V, V, 2, 2, D, n_heads, M), n_kv_heads, qk_norm, attention, window, tied_output=tied, tied_embeddings=tied
    )
    model = model.to(dtype).eval()
    model.compute_dtype = dtype
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            about = 1.0 if "norm" in name else 0.0
            parameter.uniform_(about - 0.5, about + 0.5)
    return model


def batch() -> Batch:
    return padded_batch([src for src, _ in PAIRS], [tgt for _, tgt in PAIRS])


CASES: list[tuple[Attention, int, int | None, bool]] = [
    *((attention, 2, None, False) for attention in ATTENTIONS),
    ("full", 6, 3, True),
    ("linear", 6, 3, True),
    ("strided", 3, 1, True),
]


@pytest.mark.parametrize(("attention", "n_heads", "n_kv_heads", "qk_norm"), CASES)
def test_it_is_the_equations_written_out(
    attention: Attention, n_heads: int, n_kv_heads: int | None, qk_norm: bool
) -> None:
    """Logits, cross-attention weights and the gradient of every parameter, of padded rows against sentences alone."""
    model, given = build(attention, n_heads, n_kv_heads, qk_norm), batch()
    choices = paper.Choices(2, 2, n_heads, n_kv_heads or n_heads, qk_norm, attention, 2)
    ours = dict(model.named_parameters())
    theirs = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}

    def loss(logits: Tensor, words: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, words, reduction="sum")

    keep, logits = given.tgt_out != PAD, model.project(model(given))
    loss(logits[keep], given.tgt_out[keep]).backward()
    memory = model.encode(given.src, given.src_keep)
    state, looked = model.start(memory, 1, 9), list[Tensor]()
    with torch.no_grad():
        for t in range(given.tgt_in.shape[1]):
            step = model.step(given.tgt_in[:, t], memory, state, want_weights=True)
            assert step.weights is not None
            state = step.state
            looked.append(step.weights)
    assert logits[keep].std() > 0.5
    for row, (src, tgt) in enumerate(PAIRS):
        T, S = len(tgt) + 1, len(src) + 1
        truth, weights = paper.forward(theirs, choices, [*src, EOS], given.tgt_in[row, :T].tolist())
        loss(truth, given.tgt_out[row, :T]).backward()
        torch.testing.assert_close(logits[row, :T], truth, rtol=0, atol=1e-12)
        torch.testing.assert_close(torch.stack(looked[:T])[:, row, :, :, :S], weights, rtol=0, atol=1e-12)
    for name, parameter in ours.items():
        torch.testing.assert_close(
            parameter.grad, theirs[name].grad, rtol=0, atol=1e-11, msg=lambda m, n=name: n + ": " + m
        )


@pytest.mark.parametrize(
    ("attention", "n_kv_heads", "qk_norm"), list(itertools.product(ATTENTIONS, [None, 2, 1], [False, True]))
)
def test_forward_equals_stepping_whatever_is_combined(
    attention: Attention, n_kv_heads: int | None, qk_norm: bool
) -> None:
    model, given = build(attention, 6 if n_kv_heads else 3, n_kv_heads, qk_norm, window=3), batch()
    keep = given.tgt_out != PAD
    with torch.no_grad():
        stepwise, parallel = stepwise_logits(model, given)[keep], model.project(model(given))[keep]
    torch.testing.assert_close(parallel, stepwise, rtol=0, atol=1e-12)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_windows_by_blocks_say_what_stepping_does(qk_norm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in long sentences: one position is a block here, not sixty-four."""
    model, given = build("window", 3, None, qk_norm, window=1), batch()
    keep = given.tgt_out != PAD
    with torch.no_grad():
        stepwise = stepwise_logits(model, given)[keep]
        monkeypatch.setattr(banded, "LEAST", 1)
        assert banded.pays(given.tgt_in.shape[1], 1)
        by_blocks = model.project(model(given))[keep]
        again = stepwise_logits(model, given)[keep]
    torch.testing.assert_close(by_blocks, stepwise, rtol=0, atol=1e-12)
    torch.testing.assert_close(again, stepwise, rtol=0, atol=1e-12)


def test_every_choice_changes_what_is_said() -> None:
    """Without this a choice could be deaf and the tests above would hold."""
    said = []
    with torch.no_grad():
        for attention in ATTENTIONS:
            said.append(build(attention).project(build(attention)(batch())))
        said.append(build(window=9, attention="window").project(build(window=9, attention="window")(batch())))
    for a, b in itertools.combinations(said[:4], 2):
        assert (a - b).abs().max() > 1e-2
    assert torch.equal(said[0], said[4])  # a window as wide as the sentence is no window


# Against other people's decoders: their layers are our encoder's under a causal mask.


def halves_to_pairs(rows: Tensor, n_heads: int) -> Tensor:
    """Rows of W^Q or W^K, or a gain, from where Hugging Face pairs x_j with x_(j + C/2) to neighbours."""
    return rows.unflatten(0, (n_heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def stack_of(model: Any, n_heads: int, n_kv_heads: int, qk_norm: bool) -> Modern:
    """A Modern whose encoder has the weights of a Hugging Face decoder."""
    ours = Modern(V, V, 2, 1, D, n_heads, M, n_kv_heads, qk_norm, tied_embeddings=False).eval()
    theirs, made = model.state_dict(), dict[str, Tensor]()
    for i in range(2):
        there, here = f"layers.{i}", f"encoder.{i}"
        q, k, v = (theirs[f"{there}.self_attn.{p}_proj.weight"] for p in ("q", "k", "v"))
        made[f"{here}.attention.qkv.weight"] = torch.cat(
            [halves_to_pairs(q, n_heads), halves_to_pairs(k, n_kv_heads), v]
        )
        made[f"{here}.attention.out.weight"] = theirs[f"{there}.self_attn.o_proj.weight"]
        if qk_norm:
            for p in ("q", "k"):
                made[f"{here}.attention.{p}_norm.weight"] = halves_to_pairs(
                    theirs[f"{there}.self_attn.{p}_norm.weight"], 1
                )
        gate, up, down = (theirs[f"{there}.mlp.{p}_proj.weight"] for p in ("gate", "up", "down"))
        made[f"{here}.feed_forward.inner.weight"] = torch.cat([gate, up])
        made[f"{here}.feed_forward.outer.weight"] = down
        made[f"{here}.around_attention.norm.weight"] = theirs[f"{there}.input_layernorm.weight"]
        made[f"{here}.around_feed_forward.norm.weight"] = theirs[f"{there}.post_attention_layernorm.weight"]
    made["encoder_norm.weight"] = theirs["norm.weight"]
    assert len(made) == len(theirs) - 1 - 2 * (2 + 1)  # no embedding; a layer's three matrices made one, and two
    missing, unexpected = ours.load_state_dict(made, strict=False)
    assert not unexpected
    assert not [name for name in missing if name.startswith("encoder")]
    return ours


@pytest.mark.parametrize(
    ("name", "n_heads", "n_kv_heads", "more"),
    [
        ("Llama", 2, 2, {}),
        ("Llama", 6, 2, {}),
        ("Llama", 3, 1, {}),
        ("Qwen3", 6, 3, {}),
        ("Mistral", 2, 1, {"sliding_window": 3}),
    ],
)
def test_a_layer_is_that_of_llama_qwen_and_mistral(
    transformers: ModuleType, name: str, n_heads: int, n_kv_heads: int, more: dict[str, Any]
) -> None:
    """Mistral's window counts the word itself, ours what is beside it. All round positions and norms to float32."""
    config = getattr(transformers, f"{name}Config")(
        **{"vocab_size": V, "hidden_size": D, "intermediate_size": M, "num_hidden_layers": 2},
        **{"num_attention_heads": n_heads, "num_key_value_heads": n_kv_heads, "head_dim": D // n_heads},
        **{"rms_norm_eps": 1e-6, "attn_implementation": "eager", "use_cache": False, "pad_token_id": PAD},
        **{"bos_token_id": None, "eos_token_id": None},
        **more,
    )
    assert config.rope_parameters["rope_theta"] == 10000.0
    theirs = getattr(transformers, f"{name}Model")(config).eval()
    torch.manual_seed(2)
    with torch.no_grad():
        for n, parameter in theirs.named_parameters():
            about = 1.0 if "norm" in n else 0.0
            parameter.uniform_(about - 0.5, about + 0.5)
    ours = stack_of(theirs, n_heads, n_kv_heads, qk_norm=name == "Qwen3")
    embedded, places = torch.randn(3, 9, D), torch.arange(9)
    keep = masks.causal(9, places.device)
    if "sliding_window" in more:
        keep = keep & sparse.window(places, places, more["sliding_window"] - 1)
    with torch.no_grad():
        truth, x = theirs(inputs_embeds=embedded).last_hidden_state, embedded
        for layer in ours.encoder:
            x = layer(x, keep, rope.rotation(places, D // n_heads, x.dtype), torch.float32)
        found = ours.encoder_norm(x)
    assert truth.std() > 0.5
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-5)


# What a choice promises.


def test_a_window_keeps_no_more_than_it_sees_and_linear_attention_no_more_than_its_sums() -> None:
    sizes = dict[str, list[int]]()
    for attention in ATTENTIONS:
        model, given = build(attention, window=3), batch()
        memory = model.encode(given.src, given.src_keep)
        state, sizes[attention] = model.start(memory, 1, 9), []
        for _ in range(6):
            state = model.step(torch.full((5,), 4), memory, state).state
            assert isinstance(state, ModernState)
            past = state.past[1]
            held = past.visible() if isinstance(past, Cache) else (past.outer, past.keys)
            sizes[attention].append(sum(tensor.numel() for tensor in held))
    position = 2 * 5 * D  # keys and values of five rows
    assert sizes["full"] == sizes["strided"] == [position * t for t in range(1, 7)]
    assert sizes["window"] == [position * min(t, 3) for t in range(1, 7)]
    assert sizes["linear"] == [5 * 2 * (6 * 6 + 6)] * 6


def test_linear_attention_never_holds_a_number_a_pair() -> None:
    """Forward and backward, S = T = 600; full attention is the control."""
    words = [4 + i % 10 for i in range(599)]
    given = padded_batch([words], [words])
    most = dict[str, int]()
    for attention in ("linear", "full"):
        model = build(attention, dtype=torch.float32)
        with Largest() as seen:
            model(given).sum().backward()
        most[attention] = seen.numbers
    assert most["full"] >= 2 * 600 * 600
    assert most["linear"] <= 2 * 640 * 64  # a chunk's scores, two heads


@of_every_attention
def test_bfloat16_products_keep_the_loss_within_a_percent(attention: Attention) -> None:
    model, given = build(attention, 6, 2, True, dtype=torch.float32), batch()
    exact = float(batch_loss(model, given, 0.1).smoothed.detach())
    model.compute_dtype = torch.bfloat16
    loss = batch_loss(model, given, 0.1).smoothed
    loss.backward()
    assert float(loss.detach()) == pytest.approx(exact, rel=0.01)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
    memory = model.encode(given.src, given.src_keep)
    step = model.step(torch.full((5,), 4), memory, model.start(memory, 1, 3), want_weights=True)
    assert step.features.dtype == torch.bfloat16
    assert step.weights is not None
    assert step.weights.dtype == torch.float32


# Sizes and first values.


def count(n_src: int = 30, **values: Any) -> int:
    config = ModernConfig.model_validate({"kind": "modern", **values})
    with torch.device("meta"):
        return sum(p.numel() for p in build_model(config, n_src, 30).parameters())


def test_parameters_are_as_many_as_counted_by_hand() -> None:
    """12 and 1 layers of 512: attention 4 D^2, SwiGLU 3 D M, norms D each; 30 words tied three times."""
    attention, swiglu, norm = 4 * 512 * 512, 3 * 512 * 1408, 512
    by_hand = 12 * (attention + swiglu + 2 * norm) + (2 * attention + swiglu + 3 * norm) + 2 * norm + 30 * 512
    assert count() == by_hand == 42_809_856 + 30 * 512
    small: dict[str, Any] = {"n_layers": 2, "n_decoder_layers": 1, "d_model": 16, "n_heads": 4, "d_ff": 8}
    base = count(**small)
    # Four attentions, keys and values of 16 x 16 each down to 16 x 4 G.
    assert base - count(**small, n_kv_heads=2) == 4 * 2 * 16 * 8
    assert base - count(**small, n_kv_heads=1) == 4 * 2 * 16 * 12
    assert count(**small, qk_norm=True) - base == 4 * 2 * 4
    assert count(**small, tied_output=False) - base == 30 * 16
    assert count(**small, tied_embeddings=False, n_src=25) - base == 25 * 16
    for attention_kind in ATTENTIONS:
        assert count(**small, attention=attention_kind) == base


def test_first_values_are_glorots_and_the_embeddings_unit_on_the_residual() -> None:
    model = Modern(500, 500, 2, 1, 64, 4, 96, n_kv_heads=2, qk_norm=True)
    torch.manual_seed(0)
    model.initialize()
    assert model.projection.weight is model.tgt_embed.weight is model.src_embed.weight
    assert float(model.src_embed.weight.detach().std()) == pytest.approx(64**-0.5, rel=0.03)
    layer: Any = model.decoder[0]
    pieces = {
        "W^Q": layer.attention.qkv.weight[:64],
        "W^K": layer.attention.qkv.weight[64:96],
        "W^V": layer.attention.qkv.weight[96:],
        "W^O": layer.attention.out.weight,
        "cross W^Q": layer.cross.q.weight,
        "cross W^K": layer.cross.kv.weight[:32],
        "cross W^V": layer.cross.kv.weight[32:],
        "W": layer.feed_forward.inner.weight[:96],
        "V": layer.feed_forward.inner.weight[96:],
        "W_2": layer.feed_forward.outer.weight,
    }
    for name, piece in pieces.items():
        bound = (6 / sum(piece.shape)) ** 0.5
        assert 0.98 * bound < float(piece.detach().abs().max()) <= bound, name
    for name, parameter in model.named_parameters():
        assert parameter.dim() == 2 or bool((parameter == 1).all()), name


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"d_model": 18, "n_heads": 6}, "d_model 18 is not n_heads 6 times an even number"),
        ({"n_heads": 8, "n_kv_heads": 3}, "n_heads 8 is not a multiple of n_kv_heads 3"),
    ],
)
def test_heads_that_do_not_fit_are_refused(values: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ModernConfig.model_validate({"kind": "modern", **values})
