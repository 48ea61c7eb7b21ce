"""ConvS2S: its equations on small numbers, its sizes, its first values, its gradients."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from nmt.batch import BOS, PAD, padded_batch
from nmt.models import convs2s
from nmt.models.build import build_model
from nmt.models.contract import stepwise_logits
from nmt.models.convs2s import ConvS2S, ConvS2SMemory, DecoderBlock, EncoderBlock
from nmt.models.initialize import initialize
from nmt.recipe import SearchConfig
from nmt.recipe_init import XavierInit
from nmt.recipe_models import Convolutions, ConvS2SConfig
from nmt.search.beam import search
from nmt.training.loss import batch_loss
from tests.properties.kinds import PAIRS, batch_of, build

F64 = torch.float64
SMALL = ConvS2SConfig(
    kind="convs2s",
    d_embed=6,
    d_out=7,
    encoder=[Convolutions(d_hidden=8, kernel=2), Convolutions(d_hidden=10, kernel=5), Convolutions(d_hidden=9)],
    decoder=[Convolutions(d_hidden=10, kernel=4), Convolutions(d_hidden=8, kernel=1), Convolutions(d_hidden=8)],
    max_positions=4,
    dropout=0.0,
)
"""Other widths in each layer, even kernels, fewer positions than words."""


def filled(block: nn.Module, **values: list[list[float]] | list[float]) -> None:
    """Weights W by name (v = W, g = |v|) and biases; the names of layers lead to their W, with `_b` to their bias."""
    with torch.no_grad():
        for name, value in values.items():
            layer = block.get_submodule(name.removesuffix("_b").replace("__", "."))
            if name.endswith("_b"):
                layer.bias.copy_(torch.tensor(value, dtype=F64))  # pyright: ignore
            else:
                layer.v.copy_(torch.tensor(value, dtype=F64))  # pyright: ignore
                layer.follow_v()  # pyright: ignore


# --- the equations by hand --------------------------------------------------------------------------------------------

LN3 = math.log(3.0)


def close(found: Tensor, wanted: list) -> None:
    torch.testing.assert_close(found.detach(), torch.tensor(wanted, dtype=F64), rtol=0, atol=1e-12)


def test_a_block_of_the_encoder_by_hand() -> None:
    """d = 1, k = 3; A = x_{i-1} + 2 x_i + 4 x_{i+1} + 1, B = ln 3: the gate lets 3/4 through. x = (4, 8), then padding
    that holds 100 and counts as zero: A = (1 + 8 + 32, 1 + 4 + 16) = (41, 21); h = (3/4 A + x) sqrt(1/2).
    """
    block = EncoderBlock(1, 1, 3, dropout=0.0).double()
    filled(block, convolution__linear=[[1.0, 2.0, 4.0], [1.0, 0.0, 0.0]], convolution__linear_b=[1.0, LN3])
    with torch.no_grad():
        block.convolution.linear.g[1] = 0.0  # B is its bias
    x = torch.tensor([[[4.0], [8.0], [100.0]]], dtype=F64)
    keep = torch.tensor([[[True], [True], [False]]])
    h = block(x, keep, F64)
    close(h[0, :2, 0], [(0.75 * 41 + 4) * 0.5**0.5, (0.75 * 21 + 8) * 0.5**0.5])


def test_a_layer_of_the_decoder_by_hand() -> None:
    """d = f = 1, k = 2; A = 2 x_{i-1} + x_i, B = 0: half passes. x = (2, 4): A = (2, 8), h = (A / 2 + x) sqrt(1/2) =
    (3, 8) sqrt(1/2).

    Attention (1): d_i = W_d h_i + b_d + g_i with W_d = sqrt(2), b_d = -4, g = (2, -5): d = (1, -1). Keys z = (0, ln 3)
    and one beyond the sentence: weights (1/4, 3/4) and, for -1, (3/4, 1/4). Values z + e = (4, 8): c = 7 and 5, times
    m sqrt(1/m) = sqrt(2) (2, 3.4). W_c = 3, b_c = 1: h + 21 sqrt(2) + 1 and h + 15 sqrt(2) + 1, times sqrt(1/2).
    """
    block = DecoderBlock(1, 1, 2, 1, dropout=0.0).double()
    filled(block, convolution__linear=[[2.0, 1.0], [1.0, 0.0]], convolution__linear_b=[0.0, 0.0])
    filled(block, W_d=[[2.0**0.5]], W_d_b=[-4.0], W_c=[[3.0]], W_c_b=[1.0])
    with torch.no_grad():
        block.convolution.linear.g[1] = 0.0
    memory = ConvS2SMemory(
        keep=torch.tensor([[True, True, False]]),
        keys=torch.tensor([[[0.0], [LN3], [50.0]]], dtype=F64),
        values=torch.tensor([[[4.0], [8.0], [1e6]]], dtype=F64),
        scale=torch.tensor([[[2.0**0.5]]], dtype=F64),
    )
    x, g = torch.tensor([[[2.0], [4.0]]], dtype=F64), torch.tensor([[[2.0], [-5.0]]], dtype=F64)
    wanted = [3 / 2 + 21 + 0.5**0.5, 8 / 2 + 15 + 0.5**0.5]
    close(block(x, g, memory, F64)[0, :, 0], wanted)
    window = block.nothing_before(1, x)
    for t, weights in enumerate(([1 / 4, 3 / 4, 0.0], [3 / 4, 1 / 4, 0.0])):
        h, window, a = block.step(x[:, t], g[:, t], window, memory, F64)
        close(h[0], [wanted[t]])
        close(a[0], weights)


def test_the_memory_is_z_and_z_plus_e_and_the_root_of_the_length() -> None:
    model, batch = build(SMALL), batch_of(PAIRS)
    assert isinstance(model, ConvS2S)
    memory = model.encode(batch.src, batch.src_keep)
    keep = batch.src_keep
    places = torch.arange(keep.shape[1]).clamp(max=3)  # four positions have an embedding
    e = model.src_embed.weight[batch.src] + model.src_positions.weight[places]
    torch.testing.assert_close((memory.values - memory.keys)[keep], e[keep])
    assert memory.scale.flatten().tolist() == pytest.approx([(len(src) + 1) ** 0.5 for src, _ in PAIRS])


# --- one function, however it is computed -----------------------------------------------------------------------------


def logits_of(model: ConvS2S, pairs: list) -> Tensor:
    with torch.no_grad():
        return model.project(model(batch_of(pairs)))


def test_odd_forms_hold_the_properties_too() -> None:
    """Even kernels, a width for each layer, words beyond the last position: stepping, batches, padding."""
    model, batch = build(SMALL), batch_of(PAIRS)
    assert isinstance(model, ConvS2S)
    together = logits_of(model, PAIRS)
    keep = batch.tgt_out != PAD
    with torch.no_grad():
        torch.testing.assert_close(stepwise_logits(model, batch)[keep], together[keep], rtol=0, atol=1e-11)
        for row, pair in enumerate(PAIRS):
            alone = logits_of(model, [pair])[0]
            torch.testing.assert_close(together[row, : len(alone)], alone, rtol=0, atol=1e-11)
        more = replace(batch, src=nn.functional.pad(batch.src, (0, 4), value=PAD))
        torch.testing.assert_close(model.project(model(more))[keep], together[keep], rtol=0, atol=1e-11)


def test_a_word_reaches_as_far_as_the_kernels_say() -> None:
    """Encoder kernels 2, 5, 3: a position sees 0 + 2 + 1 words to the left and 1 + 2 + 1 to the right."""
    model = build(SMALL)
    assert isinstance(model, ConvS2S)
    src = torch.tensor([[5, 6, 7, 8, 9, 10, 4, 5, 6, 7, 8, 3]])
    other = src.clone()
    other[0, 5] = 4
    before, after = (model.encode(x, x != PAD).keys[0] for x in (src, other))
    moved = (before - after).abs().amax(-1) > 1e-9
    assert moved.nonzero().flatten().tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_settled_model_says_the_same_and_search_leaves_it_unsettled() -> None:
    model, batch = build(SMALL, torch.float32), batch_of(PAIRS)
    before = logits_of(cast(ConvS2S, model), PAIRS)
    with model.settled(), torch.no_grad():
        assert torch.equal(model.project(model(batch)), before)
    config = SearchConfig(beam=2, max_len_ratio=0.0, max_len_extra=3)
    one = search(model, batch.src, config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.neg_()
    assert search(model, batch.src, config) != one
    batch_loss(model, batch, 0.0).smoothed.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_bfloat16_products_keep_the_loss_within_a_percent() -> None:
    model, batch = build(SMALL, torch.float32), batch_of(PAIRS)
    exact = float(batch_loss(model, batch, 0.1).smoothed.detach())
    model.compute_dtype = torch.bfloat16
    loss = batch_loss(model, batch, 0.1).smoothed
    loss.backward()
    assert float(loss.detach()) == pytest.approx(exact, rel=0.01)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
    with torch.no_grad():
        stepwise = nn.functional.cross_entropy(
            stepwise_logits(model, batch).flatten(0, 1), batch.tgt_out.flatten(), ignore_index=PAD, label_smoothing=0.1
        )
    assert float(stepwise) * batch.tgt_tokens == pytest.approx(exact, rel=0.01)


def test_dropout_is_on_embeddings_inputs_of_convolutions_and_the_decoders_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """4.2; f = 6, inputs of convolutions 8, 8, 10 and 10, 10, 8, output 7: nowhere else."""
    widths: list[int] = []

    def dropout(x: Tensor, p: float, training: bool) -> Tensor:
        assert p == 0.4
        if training:
            widths.append(x.shape[-1])
        return x

    monkeypatch.setattr(convs2s, "dropout", dropout)
    model = build(SMALL.model_copy(update={"dropout": 0.4}))
    batch = batch_of(PAIRS)
    model(batch)
    assert widths == []
    model.train()
    model(batch)
    assert widths == [6, 8, 8, 10, 6, 10, 10, 8, 7]
    widths.clear()
    memory = model.encode(batch.src, batch.src_keep)
    model.step(torch.full((5,), BOS), memory, model.start(memory, 1, 1))
    assert widths == [6, 8, 8, 10, 6, 10, 10, 8, 7]


# --- gradients --------------------------------------------------------------------------------------------------------


def gradients(monkeypatch: pytest.MonkeyPatch, scale: Callable[[Tensor, float], Tensor] | None) -> dict[str, Tensor]:
    with monkeypatch.context() as patch:
        if scale is not None:
            patch.setattr(convs2s, "scale_gradient", scale)
        model = build(SMALL)
        batch_loss(model, batch_of(PAIRS), 0.0).smoothed.backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}


def test_the_encoder_gets_its_gradient_divided_by_the_number_of_attentions(monkeypatch: pytest.MonkeyPatch) -> None:
    """3.4: three attentions. What reaches the source embeddings through the encoder is divided as well, what reaches
    them as e in the values is not.
    """
    scaled = gradients(monkeypatch, None)
    whole = gradients(monkeypatch, lambda x, _: x)
    direct = gradients(monkeypatch, lambda x, _: x.detach())
    for name, gradient in scaled.items():
        wanted = direct[name] + (whole[name] - direct[name]) / 3
        torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-12, msg=lambda m, n=name: n + m)
        if name.startswith("encoder"):
            assert not direct[name].any()
            assert whole[name].any()
        elif name.startswith("src"):
            assert direct[name].any()
            assert (whole[name] - direct[name]).any()
        else:
            assert torch.equal(gradient, whole[name])


# --- first values -----------------------------------------------------------------------------------------------------


def test_initialization_is_that_of_section_3_5() -> None:
    torch.manual_seed(0)
    p = 0.8
    model = ConvS2S(500, 600, 60, 50, [(70, 3), (90, 1)], [(70, 3), (80, 2)], max_positions=100, dropout=0.2)
    model.initialize()
    deviations = {
        **dict.fromkeys(("src_embed.weight", "tgt_embed.weight"), 0.1),
        **dict.fromkeys(("src_positions.weight", "tgt_positions.weight"), 0.1),
        **dict.fromkeys(("encoder_in.v", "decoder_in.v"), (p / 60) ** 0.5),
        "projection.v": (p / 50) ** 0.5,
        **dict.fromkeys(("encoder.0.convolution.linear.v", "decoder.0.convolution.linear.v"), (4 * p / 210) ** 0.5),
        "encoder.1.convolution.linear.v": (4 * p / 70) ** 0.5,
        "decoder.1.convolution.linear.v": (4 * p / 140) ** 0.5,
        **dict.fromkeys(("encoder.1.residual.v", "decoder.1.residual.v", "decoder.0.W_d.v"), 70**-0.5),
        **dict.fromkeys(("decoder.1.W_d.v", "decoder_out.v"), 80**-0.5),
        **dict.fromkeys(("decoder.0.W_c.v", "decoder.1.W_c.v"), 60**-0.5),
        "encoder_out.v": 90**-0.5,
    }
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    for name, parameter in parameters.items():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif name.endswith(".g"):
            torch.testing.assert_close(parameter, parameters[name[:-1] + "v"].norm(dim=1))
        else:
            std = deviations.pop(name)
            assert float(parameter.std()) == pytest.approx(std, rel=0.05), name
            assert float(parameter.mean().abs()) < 4 * std / parameter.numel() ** 0.5, name
            assert float(parameter.abs().max()) > 2.9 * std, name  # normal, not uniform
    assert not deviations


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_activations_keep_their_variance_through_the_layers(dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """3.4, 3.5: what one layer hands to the next has the variance that it was handed, dropout or not.

    In the encoder that is one number from the embeddings, 2 * 0.1^2, to z after 12 layers. The scale of c is for
    attention that is spread evenly, as here: c then has the variance of z + e (equation 2), e after its dropout, and
    every decoder layer takes in half of it: the decoder settles there, at twice the embeddings' variance or a bit more.
    """
    monkeypatch.setattr(convs2s, "weigh", lambda scores, keep: torch.softmax(0.0 * scores, dim=-1))
    torch.manual_seed(1)
    layers = [(256, 3)] * 8 + [(320, 3)] * 2 + [(384, 1)] * 2
    model = ConvS2S(1000, 1000, 256, 256, layers, layers, max_positions=30, dropout=dropout)
    model.initialize()
    model.train()
    found: dict[str, float] = {}

    def record(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: found.__setitem__(name, float(output.detach().var()))

    for name, module in model.named_modules():
        if isinstance(module, EncoderBlock | DecoderBlock) or name in ("encoder_in", "encoder_out", "decoder_in"):
            module.register_forward_hook(record(name))
    ids = [torch.randint(4, 1000, (20,)).tolist() for _ in range(30)]
    features = model(padded_batch(ids, ids))
    embedded = 2 * 0.1**2
    settled = embedded + embedded / (1 - dropout)
    for name, variance in found.items():
        # encoder_in and decoder_in stand after the dropout, whose 1/p their weights take back.
        if name.startswith("encoder") or name == "decoder_in":
            assert variance == pytest.approx(embedded, rel=0.2), name
        else:
            assert 0.95 * embedded < variance < 1.3 * settled, name
    inside = [found[f"decoder.{i}"] for i in range(len(layers))]
    assert inside[-1] == pytest.approx(settled, rel=0.3)
    logits = model.project(features.detach()).detach()
    assert float(logits.var()) == pytest.approx(inside[-1], rel=0.2)  # with dropout on its input, p in its weights


def test_other_initialisations_speak_of_the_weight_and_g_follows() -> None:
    torch.manual_seed(1)
    model = build_model(SMALL, 50, 50)
    initialize(model, XavierInit(kind="xavier"))
    weight = cast(ConvS2S, model).encoder[1].convolution.linear.weight.detach()  # pyright: ignore
    bound = math.sqrt(6 / (20 + 40))
    assert 0.9 * bound < float(weight.abs().max()) <= bound * (1 + 1e-6)


# --- sizes ------------------------------------------------------------------------------------------------------------


def normed(i: int, o: int) -> int:
    """Numbers of a weight-normalised layer: v, g, bias."""
    return i * o + 2 * o


def test_the_default_is_fconv_wmt_en_de_and_has_its_parameters() -> None:
    """Counted by hand for 40,000 ids on each side. The paper prints no count; our roofline has 53 + 73 + 21 million for
    encoder, decoder and output of this form of fairseq's.
    """
    with torch.device("meta"):
        model = build_model(ConvS2SConfig(kind="convs2s"), 40_000, 40_000)

    def count(*prefixes: str) -> int:
        return sum(p.numel() for name, p in model.named_parameters() if name.startswith(prefixes))

    f, out, V = 768, 512, 40_000
    convolutions = (
        9 * normed(3 * 512, 2 * 512)
        + normed(3 * 512, 2 * 1024)
        + 3 * normed(3 * 1024, 2 * 1024)
        + normed(1024, 2 * 2048)
        + normed(2048, 2 * 2048)
    )
    residuals = normed(512, 1024) + normed(1024, 2048)
    assert convolutions == 9 * 1_574_912 + 3_149_824 + 3 * 6_295_552 + 4_202_496 + 8_396_800
    encoder = normed(f, 512) + convolutions + residuals + normed(2048, f)
    assert count("encoder") == encoder == 53_406_208
    attention = 9 * (normed(512, f) + normed(f, 512)) + 4 * (normed(1024, f) + normed(f, 1024))
    attention += 2 * (normed(2048, f) + normed(f, 2048))
    decoder = normed(f, 512) + convolutions + residuals + attention + normed(2048, out)
    assert count("decoder") == decoder == 72_590_848
    assert count("projection") == normed(out, V) == 20_560_000
    assert count("src_embed", "tgt_embed") == 2 * V * f
    assert count("src_positions", "tgt_positions") == 2 * 1024 * f
    assert count("") == 53_406_208 + 72_590_848 + 20_560_000 + 2 * (V + 1024) * f == 209_569_920


def test_another_stack_than_the_encoders_can_be_given_to_the_decoder() -> None:
    """fairseq's fconv_iwslt_de_en: four layers of 256 against three."""
    config = ConvS2SConfig(
        kind="convs2s",
        d_embed=256,
        d_out=256,
        encoder=[Convolutions(n_layers=4, d_hidden=256)],
        decoder=[Convolutions(n_layers=3, d_hidden=256)],
    )
    with torch.device("meta"):
        model = build_model(config, 10_000, 10_000)
    linear, convolution = normed(256, 256), normed(768, 512)
    wanted = 2 * linear + 4 * convolution + 2 * linear + 3 * (convolution + 2 * linear)
    wanted += normed(256, 10_000) + 2 * (10_000 + 1024) * 256
    assert sum(p.numel() for p in model.parameters()) == wanted == 11_644_448


def test_ties_share_one_table_that_is_not_normalised() -> None:
    widths = [(8, 3)]
    tied = ConvS2S(20, 20, 8, 8, widths, widths, 9, 0.0, tied_output=True, tied_embeddings=True)
    assert tied.projection.weight is tied.tgt_embed.weight is tied.src_embed.weight
    free = ConvS2S(20, 20, 8, 8, widths, widths, 9, 0.0)
    assert sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in tied.parameters()) == 2 * 20 * 8 + 20
