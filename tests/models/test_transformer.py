"""The Transformer against PyTorch's and Hugging Face's, and its size against a count by hand."""

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nmt.batch import EOS, PAD, Batch, padded_batch
from nmt.models.build import build_model
from nmt.models.contract import stepwise_logits
from nmt.models.transformer import Norm, Transformer
from nmt.recipe_models import TransformerConfig

V, D, H, M = 19, 12, 3, 20
PAIRS = [([5, 6, 7, 8], [4, 5, 12]), ([8], [6, 7, 8, 9, 10]), ([9, 4, 10, 6, 7, 7], [10]), ([], []), ([4, 4], [11, 4])]


def scatter(module: nn.Module, seed: int = 5) -> None:
    """Values so large that every parameter counts: scales about 1, all others about 0."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            about = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.uniform_(about - 0.5, about + 0.5)


def build(dtype: torch.dtype, norm: Norm = "post", output_bias: bool = True) -> Transformer:
    model = Transformer(
        V, V, n_layers=2, n_decoder_layers=3, d_model=D, n_heads=H, d_ff=M, norm=norm, output_bias=output_bias
    )
    model = model.to(dtype).eval()
    model.compute_dtype = dtype
    return model


def batch() -> Batch:
    return padded_batch([src for src, _ in PAIRS], [tgt for _, tgt in PAIRS])


# torch.nn: the same weights in Transformer{Encoder,Decoder}Layer.


def of_attention(theirs: str, ours: str, cross: bool) -> dict[str, list[str]]:
    """nn.MultiheadAttention has W^Q, W^K, W^V in one matrix also where queries come from elsewhere."""
    into = [f"{ours}.q", f"{ours}.kv"] if cross else [f"{ours}.qkv"]
    names = {f"{theirs}.in_proj_{p}": [f"{module}.{p}" for module in into] for p in ("weight", "bias")}
    return names | {f"{theirs}.out_proj.{p}": [f"{ours}.out.{p}"] for p in ("weight", "bias")}


def of_layer(decoder: bool) -> dict[str, list[str]]:
    """Names of PyTorch's parameters of a layer, and of ours that one above the other are the same."""
    around = ["around_attention", *(["around_cross"] if decoder else []), "around_feed_forward"]
    names = of_attention("self_attn", "attention", cross=False)
    if decoder:
        names |= of_attention("multihead_attn", "cross", cross=True)
    for p in ("weight", "bias"):
        names |= {f"linear1.{p}": [f"feed_forward.inner.{p}"], f"linear2.{p}": [f"feed_forward.outer.{p}"]}
        names |= {f"norm{i}.{p}": [f"{ours}.norm.{p}"] for i, ours in enumerate(around, 1)}
    return names


def torch_stacks(model: Transformer, norm: Norm) -> tuple[nn.TransformerEncoder, nn.TransformerDecoder]:
    """PyTorch's encoder and decoder with the weights of ours, in training mode: without its fast path."""
    sizes: dict[str, Any] = {
        "d_model": D,
        "nhead": H,
        "dim_feedforward": M,
        "dropout": 0.0,
        "activation": "relu",
        "batch_first": True,
    }
    sizes |= {"norm_first": norm == "pre", "dtype": torch.float64}
    ends = [nn.LayerNorm(D, dtype=torch.float64) if norm == "pre" else None for _ in range(2)]
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(**sizes), 2, ends[0], enable_nested_tensor=False)
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**sizes), 3, ends[1])
    for stack, ours, end in (
        (encoder, model.encoder, model.encoder_norm),
        (decoder, model.decoder, model.decoder_norm),
    ):
        for layer, mine in zip(stack.layers, ours, strict=True):
            values = dict(mine.named_parameters())
            names = of_layer(decoder=stack is decoder)
            assert sorted(name for parts in names.values() for name in parts) == sorted(values)
            layer.load_state_dict({theirs: torch.cat([values[n] for n in parts]) for theirs, parts in names.items()})
        if stack.norm is not None:
            stack.norm.load_state_dict(end.state_dict())
    return encoder, decoder


def torch_logits(model: Transformer, encoder: nn.Module, decoder: nn.Module, batch: Batch) -> Tensor:
    """Our embeddings and output around PyTorch's layers; its masks are True where one may not look."""
    positions = torch.arange(max(batch.src.shape[1], batch.tgt_in.shape[1]))
    src = model._embed(model.src_embed, None, batch.src, positions[: batch.src.shape[1]])
    tgt = model._embed(model.tgt_embed, None, batch.tgt_in, positions[: batch.tgt_in.shape[1]])
    later = torch.ones(tgt.shape[1], tgt.shape[1], dtype=torch.bool).triu(1)
    memory = encoder(src, src_key_padding_mask=~batch.src_keep)
    hidden = decoder(tgt, memory, tgt_mask=later, memory_key_padding_mask=~batch.src_keep)
    return hidden @ model.projection.weight.T + model.projection.bias


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_layers_are_those_of_torch_nn(norm: Norm) -> None:
    model, given = build(torch.float64, norm), batch()
    scatter(model)
    stacks = torch_stacks(model, norm)
    logits, truth = model.project(model(given)), torch_logits(model, *stacks, given)
    keep = given.tgt_out != PAD
    assert truth[keep].std() > 0.5
    torch.testing.assert_close(logits[keep], truth[keep], rtol=0, atol=1e-10)
    # Gradients of what both share, which come through every layer.
    shared = [model.src_embed.weight]
    [ours], [theirs] = (
        torch.autograd.grad(nn.functional.cross_entropy(x[keep], given.tgt_out[keep]), shared) for x in (logits, truth)
    )
    assert ours.abs().max() > 1e-2
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


# Hugging Face's Marian.


def interleaved() -> Tensor:
    """Where dimension j of ours stands in Marian, which has all sines before all cosines."""
    return torch.arange(D).view(2, D // 2).T.flatten()


def marian(transformers: ModuleType, dtype: torch.dtype) -> Any:
    config = transformers.MarianConfig(
        **{"vocab_size": V, "d_model": D, "max_position_embeddings": 32, "activation_function": "relu"},
        **{"encoder_layers": 2, "encoder_attention_heads": H, "encoder_ffn_dim": M},
        **{"decoder_layers": 3, "decoder_attention_heads": H, "decoder_ffn_dim": M},
        **{"scale_embedding": True, "pad_token_id": PAD, "eos_token_id": EOS, "forced_eos_token_id": EOS},
        **{"decoder_start_token_id": PAD, "attn_implementation": "eager"},
    )
    theirs = transformers.MarianMTModel(config).to(dtype).eval()
    scatter(theirs)
    with torch.no_grad():
        theirs.final_logits_bias.uniform_(-0.5, 0.5)
        for side in (theirs.model.encoder, theirs.model.decoder):  # scattered with the rest
            side.embed_positions.weight.copy_(side.embed_positions.create_weight())
    return theirs


def from_marian(theirs: Any, dtype: torch.dtype) -> Transformer:
    """Marian's weights in our model: D-wide axes in our order, heads and the feed-forward width as they are."""
    order, values = interleaved(), theirs.state_dict()
    made = {"src_embed.weight": values["model.shared.weight"][:, order]}
    made |= {"projection.bias": values["final_logits_bias"][0]}

    def attention(ours: str, theirs: str, cross: bool) -> None:
        q, k, v, out = (f"{theirs}.{name}_proj" for name in ("q", "k", "v", "out"))
        for target, parts in ({"q": [q], "kv": [k, v]} if cross else {"qkv": [q, k, v]}).items():
            made[f"{ours}.{target}.weight"] = torch.cat([values[f"{p}.weight"] for p in parts])[:, order]
            made[f"{ours}.{target}.bias"] = torch.cat([values[f"{p}.bias"] for p in parts])
        made[f"{ours}.out.weight"] = values[f"{out}.weight"][order]
        made[f"{ours}.out.bias"] = values[f"{out}.bias"][order]

    for side, n_layers in (("encoder", 2), ("decoder", 3)):
        for i in range(n_layers):
            ours, there = f"{side}.{i}", f"model.{side}.layers.{i}"
            attention(f"{ours}.attention", f"{there}.self_attn", cross=False)
            norms = {"around_attention": "self_attn_layer_norm", "around_feed_forward": "final_layer_norm"}
            if side == "decoder":
                attention(f"{ours}.cross", f"{there}.encoder_attn", cross=True)
                norms["around_cross"] = "encoder_attn_layer_norm"
            for mine, norm in norms.items():
                for p in ("weight", "bias"):
                    made[f"{ours}.{mine}.norm.{p}"] = values[f"{there}.{norm}.{p}"][order]
            made[f"{ours}.feed_forward.inner.weight"] = values[f"{there}.fc1.weight"][:, order]
            made[f"{ours}.feed_forward.inner.bias"] = values[f"{there}.fc1.bias"]
            made[f"{ours}.feed_forward.outer.weight"] = values[f"{there}.fc2.weight"][order]
            made[f"{ours}.feed_forward.outer.bias"] = values[f"{there}.fc2.bias"][order]
    model = build(dtype)
    assert made.keys() == dict(model.named_parameters()).keys()
    model.load_state_dict(made, strict=False)  # the tied names are the ones missing
    return model


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-5), (torch.float64, 1e-6)], ids=str)
def test_logits_are_those_of_marian(transformers: ModuleType, dtype: torch.dtype, within: float) -> None:
    """Marian rounds its table of positions to float32, so float64 agrees to that; the rest of both is the same."""
    theirs, given = marian(transformers, dtype), batch()
    model = from_marian(theirs, dtype)
    with torch.no_grad():
        truth = theirs(
            input_ids=given.src,
            attention_mask=given.src_keep.long(),
            decoder_input_ids=given.tgt_in,
            decoder_attention_mask=(given.tgt_out != PAD).long(),
            output_attentions=True,
        )
        logits, stepwise = model.project(model(given)), stepwise_logits(model, given)
        memory = model.encode(given.src, given.src_keep)
        state, looked = model.start(memory, 1, 9), list[Tensor]()
        for t in range(given.tgt_in.shape[1]):
            step = model.step(given.tgt_in[:, t], memory, state, want_weights=True)
            assert step.weights is not None
            state = step.state
            looked.append(step.weights)
    keep = given.tgt_out != PAD
    assert truth.logits[keep].std() > 0.5
    torch.testing.assert_close(logits[keep], truth.logits[keep], rtol=0, atol=within)
    torch.testing.assert_close(stepwise[keep], truth.logits[keep], rtol=0, atol=within)
    weights = torch.stack(looked, dim=1)  # (B, T, L, H, S)
    of_marian = torch.stack(truth.cross_attentions, dim=1).permute(0, 3, 1, 2, 4)
    torch.testing.assert_close(weights[keep], of_marian[keep], rtol=0, atol=within)


# Sizes.


def count(config: TransformerConfig, n_src: int, n_tgt: int) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build_model(config, n_src, n_tgt).parameters())


def by_hand(n_words: int, N: int, D: int, M: int) -> int:
    """Table 3's two models: three matrices tied, biases everywhere but on the output, two norms a layer or three."""
    attention = 4 * (D * D + D)
    feed_forward = (D * M + M) + (M * D + D)
    norm = 2 * D
    encoder_layer = attention + feed_forward + 2 * norm
    decoder_layer = 2 * attention + feed_forward + 3 * norm
    return n_words * D + N * (encoder_layer + decoder_layer)


def test_base_and_big_have_the_papers_sizes() -> None:
    """The paper's table 3 says 65 and 213 million, for "about 37000" words."""
    base = TransformerConfig(kind="transformer")
    big = TransformerConfig(kind="transformer", d_model=1024, d_ff=4096, n_heads=16)
    assert count(base, 37000, 37000) == by_hand(37000, 6, 512, 2048) == 63_082_496
    assert count(big, 37000, 37000) == by_hand(37000, 6, 1024, 4096) == 214_245_376


def test_every_choice_adds_what_it_must() -> None:
    sizes: dict[str, Any] = {"n_layers": 2, "n_decoder_layers": 1, "d_model": 8, "n_heads": 2, "d_ff": 16}
    base = count(TransformerConfig(kind="transformer", **sizes), 30, 30)

    def more(n_src: int = 30, **choice: Any) -> int:
        return count(TransformerConfig(kind="transformer", **{**sizes, **choice}), n_src, 30) - base

    assert more(norm="pre") == 2 * 2 * 8
    assert more(positions="learned", max_positions=50) == 2 * 50 * 8
    assert more(output_bias=True) == 30
    assert more(tied_output=False) == 30 * 8
    assert more(tied_embeddings=False, n_src=25) == 25 * 8
    assert more(n_heads=4) == 0
