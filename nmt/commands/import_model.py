"""`nmt import`: a folder of Hugging Face's Marian format, as OPUS-MT models come in, as one model file of ours.

The architecture is the Transformer's (Junczys-Dowmunt et al. 2018, arXiv 1804.00344), so it becomes a model of kind
`transformer` whose numbers are those of `transformers.MarianMTModel`. Where the two differ, the weights move and the
model stays as it is:

- Sines stand before cosines there and alternate with them here: every axis of width d_model is put in our order.
- Ids 0 to 3 are PAD, UNK, BOS and EOS here (nmt/batch.py): rows of the vocabulary are put in that order. BOS is one row
  more: a copy of the one that decoding starts from there (pad, as a rule), with a bias so low that it has no
  probability. PAD keeps its row and its bias, so log P is the same, and is never emitted, which Marian's files ask for
  by `bad_words_ids`.
- Embeddings that are not scaled there are divided by sqrt(d_model), and the output has a matrix of its own.

No code of the folder is run, and nothing but plain JSON, safetensors and sentencepiece models is read.
"""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from nmt.batch import BOS
from nmt.commands.marian_folder import (
    ACTIVATIONS,
    WHOLE,
    Config,
    Generation,
    Side,
    TokenizerFile,
    file_names,
    read_config,
    read_generation,
    read_sides,
    read_tensors,
    read_tokenizer_file,
)
from nmt.errors import ModelError, UsageError
from nmt.layers.embedding import sinusoids
from nmt.model_file import ModelFile, write_model
from nmt.recipe import CorpusConfig, Recipe, SearchConfig, TokenizerConfig, TrainConfig, VocabSizes
from nmt.recipe_models import TransformerConfig
from nmt.version import VERSION

_NO_CHANCE = -1e4
"""The bias of BOS: exp of it is 0 in float32 and float64, and float16 holds it."""


def import_model(
    folder: Path,
    out: Path,
    *,
    src: str | None = None,
    tgt: str | None = None,
    name: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> ModelFile:
    """Writes the Marian model of `folder` to the model file `out`, whole or not at all, and gives what it wrote.

    src and tgt are the languages, where tokenizer_config.json does not name them; name is the recipe's, else the
    folder's. `say` gets what was left out and what was made. UsageError where `out` exists or a language is missing,
    ModelError where the folder is not such a model, or one that kind transformer cannot be, EnvironmentFault where the
    disk refuses.
    """
    if os.path.lexists(out):
        raise UsageError(f"{out} is there already", "move it away, or name another file")
    if not folder.is_dir():
        raise ModelError(
            f"{folder} is no folder", "name a folder with config.json, model.safetensors, source.spm and target.spm"
        )
    config, generation, described = read_config(folder), read_generation(folder, say), read_tokenizer_file(folder)
    sides = read_sides(folder, config, described)
    tensors = read_tensors(folder)
    moving = _Moving(folder, config, tensors, sides)
    recipe = _recipe(folder, config, generation, described, moving.ties, (src, tgt), name)
    weights = moving.weights()
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in file_names(described)}
    lineage = {"nmt": VERSION, "torch": torch.__version__, "imported": {"from": "Hugging Face Marian", "sha256": sums}}
    made = ModelFile(recipe, weights, sides[0].tokenizer, sides[1].tokenizer, lineage)
    write_model(out, made)
    model = recipe.model
    assert isinstance(model, TransformerConfig)
    say(
        f"imported: {recipe.corpus.src} to {recipe.corpus.tgt}, {model.n_layers}+{model.n_decoder_layers} layers of "
        f"{model.d_model}, {sides[0].tokenizer.n_ids:,} ids: {out}"
    )
    return made


# --- weights ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ties:
    """Which matrices are one in our model: the embeddings of both sides, and the output with the target's."""

    embeddings: bool
    output: bool


class _Moving:
    """From the folder's tensors to those of our model; every one must be there and none may be left."""

    def __init__(self, folder: Path, config: Config, tensors: Mapping[str, Tensor], sides: tuple[Side, Side]) -> None:
        self.path, self.config, self.sides = folder / "model.safetensors", config, sides
        self.left = {name: tensor.float() for name, tensor in tensors.items()}
        D = config.d_model
        self.order = torch.arange(D).view(2, D // 2).T.flatten()  # where our dimension j stands there
        self.source, self.target, self.output = self._tables()
        self.ties = _Ties(
            embeddings=config.share_encoder_decoder_embeddings and torch.equal(self.source, self.target),
            output=config.scale_embedding and torch.equal(self.target, self.output),
        )

    def weights(self) -> dict[str, Tensor]:
        """Parameters by our names, as kind transformer with `_recipe`'s options has them."""
        made = self._vocabulary()
        for side, n_layers in (("encoder", self.config.encoder_layers), ("decoder", self.config.decoder_layers)):
            for i in range(n_layers):
                made |= self._layer(side, i)
            self._check_positions(side)
        if self.left:
            first = ", ".join(sorted(self.left)[:5])
            raise ModelError(f"{self.path}: {len(self.left)} tensors are none of a Marian model's: {first}", WHOLE)
        return made

    def _take(self, name: str, *shape: int) -> Tensor:
        tensor = self.left.pop(name, None)
        if tensor is None:
            raise ModelError(f"{self.path}: {name} is missing", WHOLE)
        if tensor.shape != shape:
            found, wanted = ("x".join(map(str, form)) for form in (tensor.shape, shape))
            raise ModelError(f"{self.path}: {name} is {found}, not {wanted} as config.json has it", WHOLE)
        return tensor

    def _tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """Source embedding, target embedding and output matrix; where one is not stored it is the one before it."""
        config = self.config
        shared = config.share_encoder_decoder_embeddings
        names = {
            "model.shared.weight": config.vocab_size,
            "model.encoder.embed_tokens.weight": config.vocab_size,
            "model.decoder.embed_tokens.weight": config.n_tgt,
            "lm_head.weight": config.n_tgt,
        }
        held = {name: self._take(name, rows, config.d_model) for name, rows in names.items() if name in self.left}
        common, source, target, output = (held.get(name) for name in names)
        source = common if source is None else source
        target = (common if shared else None) if target is None else target
        output = (target if config.tie_word_embeddings else None) if output is None else output
        if source is None or target is None or output is None:
            raise ModelError(f"{self.path}: an embedding or the output matrix is missing", WHOLE)
        if config.tie_word_embeddings:
            tied = [*([common, source] if shared else []), output]
            if any(other is not None and not torch.equal(target, other) for other in tied):
                raise ModelError(f"{self.path}: {' and '.join(held)} differ, though config.json ties them", WHOLE)
        return source, target, output

    def _vocabulary(self) -> dict[str, Tensor]:
        """Embeddings, output matrix and output bias, rows and columns in our order."""
        config, (src, tgt) = self.config, self.sides
        bias = self._take("final_logits_bias", 1, config.n_tgt)[0][tgt.rows]
        bias[BOS] = _NO_CHANCE
        scale = 1.0 if config.scale_embedding else config.d_model**-0.5
        made = {"src_embed.weight": self.source[src.rows][:, self.order] * scale, "projection.bias": bias}
        if not self.ties.embeddings:
            made["tgt_embed.weight"] = self.target[tgt.rows][:, self.order] * scale
        if not self.ties.output:
            made["projection.weight"] = self.output[tgt.rows][:, self.order]
        return made

    def _layer(self, side: str, i: int) -> dict[str, Tensor]:
        ours, theirs = f"{side}.{i}", f"model.{side}.layers.{i}"
        made = self._attention(f"{ours}.attention", f"{theirs}.self_attn", ("q", "k", "v"))
        norms = {"around_attention": "self_attn_layer_norm", "around_feed_forward": "final_layer_norm"}
        if side == "decoder":
            made |= self._attention(f"{ours}.cross", f"{theirs}.encoder_attn", ("q",), ("k", "v"))
            norms["around_cross"] = "encoder_attn_layer_norm"
        D, M = self.config.d_model, self.config.encoder_ffn_dim
        for mine, norm in norms.items():
            for kind in ("weight", "bias"):
                made[f"{ours}.{mine}.norm.{kind}"] = self._take(f"{theirs}.{norm}.{kind}", D)[self.order]
        made[f"{ours}.feed_forward.inner.weight"] = self._take(f"{theirs}.fc1.weight", M, D)[:, self.order]
        made[f"{ours}.feed_forward.inner.bias"] = self._take(f"{theirs}.fc1.bias", M)
        made[f"{ours}.feed_forward.outer.weight"] = self._take(f"{theirs}.fc2.weight", D, M)[self.order]
        made[f"{ours}.feed_forward.outer.bias"] = self._take(f"{theirs}.fc2.bias", D)[self.order]
        return made

    def _attention(self, ours: str, theirs: str, *blocks: tuple[str, ...]) -> dict[str, Tensor]:
        """Matrices of one input stand one above the other here; heads keep their order."""
        made, D = dict[str, Tensor](), self.config.d_model
        for block in blocks:
            name = f"{ours}.{''.join(block)}"
            parts = [f"{theirs}.{part}_proj" for part in block]
            made[f"{name}.weight"] = torch.cat([self._take(f"{p}.weight", D, D)[:, self.order] for p in parts])
            made[f"{name}.bias"] = torch.cat([self._take(f"{p}.bias", D) for p in parts])
        made[f"{ours}.out.weight"] = self._take(f"{theirs}.out_proj.weight", D, D)[self.order]
        made[f"{ours}.out.bias"] = self._take(f"{theirs}.out_proj.bias", D)[self.order]
        return made

    def _check_positions(self, side: str) -> None:
        """Older files store the table of positions: it must be the sinusoids, to half precision."""
        name, N, D = f"model.{side}.embed_positions.weight", self.config.max_position_embeddings, self.config.d_model
        if name in self.left:
            wrong = self._take(name, N, D)[:, self.order] - sinusoids(torch.arange(N), D)
            if wrong.abs().max() > 2e-3:
                raise ModelError(f"{self.path}: {name} is not the table of sines and cosines", "")


# --- the recipe -------------------------------------------------------------------------------------------------------


def _recipe(
    folder: Path,
    config: Config,
    generation: Generation,
    described: TokenizerFile,
    ties: _Ties,
    languages: tuple[str | None, str | None],
    name: str | None,
) -> Recipe:
    """The recipe that builds this model and searches as the folder says; its corpus and train sections only fill their
    places.
    """
    src, tgt = languages[0] or described.source_lang, languages[1] or described.target_lang
    if not src or not tgt:
        raise UsageError(f"{folder} does not say from which language to which it translates", "add --src TAG --tgt TAG")
    if bad := [words for words in generation.bad_words_ids or [] if words != [config.pad_token_id]]:
        raise ModelError(f"{folder}: bad_words_ids forbids {bad[0]}: only the pad piece can be forbidden here", "")
    shared = config.share_encoder_decoder_embeddings
    sizes = VocabSizes(src=config.vocab_size + 1, tgt=config.n_tgt + 1)
    try:
        return Recipe(
            name=name or re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9._-]", "", folder.resolve().name)[:100] or "imported",
            corpus=CorpusConfig(src=src, tgt=tgt, train="train", valid="valid", max_len=config.max_position_embeddings),
            tokenizer=TokenizerConfig(kind="marian", vocab=sizes.src if shared else sizes, joint=shared),
            model=TransformerConfig.model_validate(
                {
                    "kind": "transformer",
                    "n_layers": config.encoder_layers,
                    "n_decoder_layers": config.decoder_layers,
                    "d_model": config.d_model,
                    "n_heads": config.encoder_attention_heads,
                    "d_ff": config.encoder_ffn_dim,
                    "activation": ACTIVATIONS[config.activation_function],
                    "dropout": config.dropout,
                    "attention_dropout": config.attention_dropout,
                    "activation_dropout": config.activation_dropout,
                    "tied_output": ties.output,
                    "tied_embeddings": ties.embeddings,
                    "output_bias": True,
                }
            ),
            train=TrainConfig(batch_tokens=4096, updates=1),
            search=SearchConfig(
                beam=generation.num_beams or 1,
                width="constant",
                length_formula="average",
                length_penalty=1.0 if generation.length_penalty is None else generation.length_penalty,
                no_repeat_ngram=generation.no_repeat_ngram_size or 0,
            ),
        )
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"{folder}: no recipe can say this: {where}: {first['msg']}", "") from None
