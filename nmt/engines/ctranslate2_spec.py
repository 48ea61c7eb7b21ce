"""A model of kind `transformer` as CTranslate2 lays it out (https://opennmt.net/CTranslate2, 4.x)."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ctranslate2.converters import Converter
from ctranslate2.specs import TransformerSpec
from ctranslate2.specs.common_spec import Activation
from torch import Tensor, nn

from nmt.batch import BOS, EOS, SPECIALS, UNK
from nmt.corpus.tokenizer import Tokenizer
from nmt.errors import UsageError
from nmt.layers.embedding import LearnedPositions, sinusoids
from nmt.layers.feedforward import FeedForward
from nmt.model_file import ModelFile, build
from nmt.models.contract import Seq2Seq
from nmt.recipe import Recipe
from nmt.recipe_models import TransformerConfig

_ACTIVATIONS = {"relu": Activation.RELU, "swish": Activation.SWISH, "gelu": Activation.GELU}
_POSITIONS = 1024
"""Rows of the table of positions, at least; CTranslate2 refuses what is longer."""


def check_expressible(recipe: Recipe) -> TransformerConfig:
    """The model section of a recipe whose model can be written; UsageError for any other kind, with what it has that is
    not written.
    """
    model = recipe.model
    if isinstance(model, TransformerConfig):
        return model
    lacks = {
        "modern": "rotary positions, RMSNorm and SwiGLU are written for no encoder-decoder",
        "convs2s": "CTranslate2 has no gated convolutions",
    }.get(model.kind, "CTranslate2 has no recurrent layers")
    raise UsageError(
        f"a model of kind {model.kind} cannot be exported: {lacks}",
        "kind transformer can be; nmt translate runs every kind by itself",
    )


def n_positions(recipe: Recipe) -> int:
    """Rows of the table: enough for the longest source and the longest translation of the recipe's search."""
    search, longest = recipe.search, recipe.corpus.max_len
    return max(_POSITIONS, longest + 1, int(search.max_len_ratio * longest + search.max_len_extra) + 2)


def convert(m: ModelFile, folder: Path) -> None:
    """Writes model.bin, config.json and the vocabularies of CTranslate2 into `folder`, which must not exist; float32.

    UsageError as for `check_expressible`.
    """
    _Conversion(m, check_expressible(m.recipe)).convert(str(folder))


def names(tokenizer: Tokenizer) -> list[str]:
    """A name for every id, all different, as CTranslate2 wants them: the piece, with its id where it is not the first
    of its spelling or is empty.
    """
    found: dict[str, int] = {}
    for i, piece in enumerate(tokenizer.pieces(range(tokenizer.n_ids))):
        if not piece or piece in found or "\n" in piece:
            piece = f"{piece.strip()}<id {i}>"
        found[piece] = i
    assert len(found) == tokenizer.n_ids, "two ids have one name"
    return list(found)


def _numbers(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return tensor.detach().float().contiguous().numpy()


class _Conversion(Converter):
    """Our layers, one by one, in the places that CTranslate2 has for them."""

    def __init__(self, m: ModelFile, config: TransformerConfig) -> None:
        self.m, self.config = m, config

    def _load(self) -> TransformerSpec:
        config, model = self.config, cast(Any, build(self.m))
        spec: Any = TransformerSpec.from_config(
            num_layers=(len(model.encoder), len(model.decoder)),
            num_heads=config.n_heads,
            pre_norm=config.norm == "pre",
            activation=_ACTIVATIONS[config.activation],
            alignment_heads=0,
        )
        spec.encoder.embeddings[0].weight = _numbers(model.src_embed.weight)
        spec.decoder.embeddings.weight = _numbers(model.tgt_embed.weight)
        spec.encoder.position_encodings.encodings = self._positions(model.src_positions)
        spec.decoder.position_encodings.encodings = self._positions(model.tgt_positions)
        for theirs, ours in zip(spec.encoder.layer, model.encoder, strict=True):
            _self_attention(theirs.self_attention, ours)
            _feed_forward(theirs.ffn, ours)
        for theirs, ours in zip(spec.decoder.layer, model.decoder, strict=True):
            _self_attention(theirs.self_attention, ours)
            _norm(theirs.attention.layer_norm, ours.around_cross.norm)
            for place, name in zip(theirs.attention.linear, ("q", "kv", "out"), strict=True):
                _linear(place, getattr(ours.cross, name))
            _feed_forward(theirs.ffn, ours)
        if config.norm == "pre":
            _norm(spec.encoder.layer_norm, model.encoder_norm)
            _norm(spec.decoder.layer_norm, model.decoder_norm)
        _linear(spec.decoder.projection, model.projection)
        self._describe(spec, model)
        return spec

    def _describe(self, spec: Any, model: Seq2Seq) -> None:
        """Vocabularies, special pieces, and the epsilon of every LayerNorm, which is one number there."""
        epsilons = {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)}
        assert len(epsilons) == 1, "CTranslate2 has one epsilon"
        spec.register_source_vocabulary(names(self.m.src_tokenizer))
        spec.register_target_vocabulary(names(self.m.tgt_tokenizer))
        told = cast(Any, spec.config)
        told.unk_token, told.bos_token, told.eos_token = SPECIALS[UNK], SPECIALS[BOS], SPECIALS[EOS]
        told.decoder_start_token, told.add_source_bos, told.add_source_eos = SPECIALS[BOS], False, True
        told.layer_norm_epsilon = epsilons.pop()

    def _positions(self, learned: LearnedPositions | None) -> np.ndarray[Any, np.dtype[np.float32]]:
        """What is added at each position; a learned table goes on with its last row, as ours does."""
        positions = torch.arange(n_positions(self.m.recipe))
        return _numbers(sinusoids(positions, self.config.d_model) if learned is None else learned(positions))


def _linear(place: Any, ours: nn.Linear) -> None:
    place.weight = _numbers(ours.weight)
    if ours.bias is not None:
        place.bias = _numbers(ours.bias)


def _norm(place: Any, ours: nn.LayerNorm) -> None:
    place.gamma, place.beta = _numbers(ours.weight), _numbers(ours.bias)


def _self_attention(place: Any, layer: Any) -> None:
    _norm(place.layer_norm, layer.around_attention.norm)
    _linear(place.linear[0], layer.attention.qkv)
    _linear(place.linear[1], layer.attention.out)


def _feed_forward(place: Any, layer: Any) -> None:
    ours: FeedForward = layer.feed_forward
    _norm(place.layer_norm, layer.around_feed_forward.norm)
    _linear(place.linear_0, ours.inner)
    _linear(place.linear_1, ours.outer)
