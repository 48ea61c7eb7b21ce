"""The model section of a recipe: one frozen class a kind, its defaults the sizes of its paper.

`recipe.py` has the other sections. To add a kind: a class here, its name in the union at the end, a file in models/, a
case in models/build.py. Field descriptions are written for users.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from nmt.recipe_init import Initialization, PaperInit
from nmt.recipe_section import Positive, Probability, Section

Layout = Literal["padded", "rows", "flat"]
"""How the pairs of a batch lie in it; see nmt/batch.py."""


class ModelSection(Section):
    """A model's section."""

    layouts: ClassVar[frozenset[Layout]] = frozenset({"padded"})
    """What train.layout may be, as the model itself says it."""
    compiles: ClassVar[bool] = False
    """Whether it has layers for compute.compile, as the model itself says it."""


def _check_tied_output(tied: bool, d_hidden: int, d_embed: int) -> None:
    if tied and d_hidden != d_embed:
        raise ValueError(f"tied_output needs d_hidden equal to d_embed, not {d_hidden} and {d_embed}")


class BahdanauConfig(ModelSection):
    """Bahdanau, Cho, Bengio 2015, with its decoder as the appendix has it. The defaults are the paper's sizes."""

    kind: Literal["bahdanau"]
    d_embed: Positive = 620
    """Word embedding (m)."""
    d_hidden: Positive = 1000
    """State of the decoder and of each encoder direction (n)."""
    d_align: Positive = 1000
    """Hidden layer of the alignment model (n')."""
    d_maxout: Positive = 500
    """Maxout units of the readout (l)."""
    reset: Literal["before", "after"] = "before"
    """Where the reset gates act: before the recurrent matrix, as in the paper, or after it and on a bias of their own,
    as in torch.nn.GRU and cuDNN."""
    dropout: Probability = 0.0
    """Dropout on embeddings, annotations and readout. Not in the paper."""
    tied_output: bool = False
    """The output matrix is the target embedding; needs d_maxout equal to d_embed. Not in the paper."""
    tied_embeddings: bool = False
    """Source and target share one embedding; needs tokenizer.joint. Not in the paper."""
    initialization: Initialization = PaperInit()

    @model_validator(mode="after")
    def _ties_fit(self) -> Self:
        if self.tied_output and self.d_maxout != self.d_embed:
            raise ValueError(f"tied_output needs d_maxout equal to d_embed, not {self.d_maxout} and {self.d_embed}")
        return self


class ChoConfig(ModelSection):
    """Cho et al. 2014, the encoder-decoder without attention; sizes of RNNencdec in Bahdanau, Cho, Bengio 2015."""

    kind: Literal["cho"]
    d_embed: Positive = 620
    """Word embedding (m); the paper of 2014 had 100."""
    d_hidden: Positive = 1000
    """State of encoder and decoder, and the summary (n)."""
    d_maxout: Positive = 500
    """Maxout units of the readout (l)."""
    reset: Literal["after", "before"] = "after"
    """Where the decoder's reset gate acts: after the recurrent matrix, as the paper's appendix has it, or before it, as
    its equation 8."""
    dropout: Probability = 0.0
    """Dropout on embeddings, summary and readout. Not in the paper."""
    tied_output: bool = False
    """The output matrix is the target embedding; needs d_maxout equal to d_embed. Not in the paper."""
    tied_embeddings: bool = False
    """Source and target share one embedding; needs tokenizer.joint. Not in the paper."""
    initialization: Initialization = PaperInit()

    @model_validator(mode="after")
    def _ties_fit(self) -> Self:
        if self.tied_output and self.d_maxout != self.d_embed:
            raise ValueError(f"tied_output needs d_maxout equal to d_embed, not {self.d_maxout} and {self.d_embed}")
        return self


class SutskeverConfig(ModelSection):
    """Sutskever, Vinyals, Le 2014, stacked LSTMs without attention. The defaults are the paper's sizes."""

    kind: Literal["sutskever"]
    n_layers: Positive = 4
    """Layers of the encoder, and of the decoder."""
    d_embed: Positive = 1000
    """Word embedding."""
    d_hidden: Positive = 1000
    """Cells of a layer."""
    reverse_source: bool = True
    """The words of a source sentence are read from the last to the first (section 3.3)."""
    dropout: Probability = 0.0
    """Dropout on embeddings, between layers and on the top layer, never from step to step. Not in the paper."""
    tied_output: bool = False
    """The output matrix is the target embedding; needs d_hidden equal to d_embed. Not in the paper."""
    tied_embeddings: bool = False
    """Source and target share one embedding; needs tokenizer.joint. Not in the paper."""
    initialization: Initialization = PaperInit()

    @model_validator(mode="after")
    def _ties_fit(self) -> Self:
        _check_tied_output(self.tied_output, self.d_hidden, self.d_embed)
        return self


class LuongConfig(ModelSection):
    """Luong, Pham, Manning 2015, stacked LSTMs with attention. The defaults are the paper's sizes."""

    kind: Literal["luong"]
    n_layers: Positive = 4
    """Layers of the encoder, and of the decoder."""
    d_embed: Positive = 1000
    """Word embedding."""
    d_hidden: Positive = 1000
    """Cells of a layer."""
    score: Literal["dot", "general", "concat", "location"] = "general"
    """How a source position is scored (equations 8 and 9)."""
    reach: Literal["global", "local_m", "local_p"] = "global"
    """Attention over all source positions, over those about the same place (local_m) or a predicted one (local_p)."""
    window: Positive = 10
    """For local reaches: how many positions to either side (D)."""
    d_align: Positive = 1000
    """For concat: its hidden layer."""
    max_source: Positive = 50
    """For location: the fixed width; later source positions are never looked at."""
    input_feeding: bool = True
    """The attentional vector of a step goes into the next one (section 3.3)."""
    reverse_source: bool = True
    """The words of a source sentence are read from the last to the first."""
    dropout: Probability = 0.0
    """Dropout on embeddings, between layers and before the output, never from step to step (the paper: 0 and 0.2)."""
    tied_output: bool = False
    """The output matrix is the target embedding; needs d_hidden equal to d_embed. Not in the paper."""
    tied_embeddings: bool = False
    """Source and target share one embedding; needs tokenizer.joint. Not in the paper."""
    initialization: Initialization = PaperInit()

    @model_validator(mode="after")
    def _ties_fit(self) -> Self:
        _check_tied_output(self.tied_output, self.d_hidden, self.d_embed)
        return self


class GNMTConfig(ModelSection):
    """Wu et al. 2016, Google's neural machine translation system. The defaults are the paper's sizes."""

    kind: Literal["gnmt"]
    n_layers: Positive = 8
    """Layers of the encoder, whose lowest runs in both directions, and of the decoder."""
    d_model: Positive = 1024
    """Word embedding, and cells of a layer."""
    d_align: Positive = 1024
    """Hidden layer of the attention."""
    attention_from: Literal["previous", "current"] = "previous"
    """Whose look at the source the upper decoder layers get: that of the lowest layer's state of the step before, as in
    the paper, or of the same step."""
    dropout: Probability = 0.0
    """Dropout on embeddings, between layers, on the encoder's output and before the projection, never from step to step
    (the paper: 0.2 and 0.3)."""
    tied_output: bool = False
    """The output matrix is the target embedding. Not in the paper."""
    tied_embeddings: bool = False
    """Source and target share one embedding; needs tokenizer.joint. Not in the paper."""
    initialization: Initialization = PaperInit()


class TransformerConfig(ModelSection):
    """Vaswani et al. 2017, "Attention Is All You Need". The defaults are those of its base model."""

    layouts: ClassVar[frozenset[Layout]] = frozenset({"padded", "rows", "flat"})
    compiles: ClassVar[bool] = True
    kind: Literal["transformer"]
    n_layers: Positive = 6
    """Layers of the encoder, and of the decoder (N)."""
    n_decoder_layers: Positive | None = None
    """Layers of the decoder where it has another number than the encoder."""
    d_model: Positive = 512
    """Width of embeddings and layers."""
    n_heads: Positive = 8
    """Attention heads (h); d_k = d_v = d_model / n_heads."""
    d_ff: Positive = 2048
    """Width of the feed-forward layers."""
    norm: Literal["post", "pre"] = "post"
    """Layer normalisation after each residual sum, as in the paper, or before each sublayer and once at the end."""
    positions: Literal["sinusoidal", "learned"] = "sinusoidal"
    """Sines and cosines of the position, interleaved, or an embedding of it."""
    max_positions: Positive = 1024
    """For learned positions: how many there are; later words take the last one."""
    dropout: Probability = 0.1
    """Dropout on the sum of embedding and position, and on each sublayer's output (P_drop)."""
    attention_dropout: Probability = 0.0
    """Dropout on attention weights. Not in the paper."""
    activation_dropout: Probability = 0.0
    """Dropout inside the feed-forward layers. Not in the paper."""
    tied_output: bool = True
    """The output matrix is the target embedding (section 3.4)."""
    tied_embeddings: bool = True
    """Source and target share one embedding (section 3.4); needs tokenizer.joint."""
    output_bias: bool = False
    """A bias on the logits."""
    activation: Literal["relu", "swish", "gelu"] = "relu"
    """What stands between the two matrices of a feed-forward layer. The paper has relu; OPUS-MT models have swish."""
    initialization: Initialization = PaperInit()

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} is not a multiple of n_heads {self.n_heads}")
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"sinusoidal positions need an even d_model, not {self.d_model}")
        return self


class RNNConfig(ModelSection):
    """The recurrent encoder-decoder with cell and attention to choose, everything else equal; nobody's own model."""

    kind: Literal["rnn"]
    cell: Literal["gru", "lstm"] = "gru"
    """The unit of every layer."""
    attention: Literal["luong", "bahdanau", "none"] = "luong"
    """How the decoder looks back: with the state of this step and input feeding (luong), with the state before, the
    context going into the recurrence (bahdanau), or not at all: one vector at every step (none)."""
    score: Literal["dot", "general", "concat", "location"] = "general"
    """For attention luong: how a source position is scored."""
    reach: Literal["global", "local_m", "local_p"] = "global"
    """For attention luong: over all source positions, those about the same place (local_m) or a predicted one
    (local_p)."""
    window: Positive = 10
    """For local reaches: how many positions to either side (D)."""
    max_source: Positive = 50
    """For score location: the fixed width; later source positions are never looked at."""
    input_feeding: bool = True
    """For attention luong: the attentional vector of a step goes into the next one."""
    n_layers: Positive = 1
    """Layers of the encoder, the lowest reading both ways, and of the decoder."""
    d_embed: Positive = 256
    """Word embedding."""
    d_hidden: Positive = 512
    """State of each layer, annotation and attentional vector; even, half of the lowest encoder layer's each way."""
    d_align: Positive = 256
    """Hidden layer of the alignment, for attention bahdanau and score concat."""
    dropout: Probability = 0.0
    """Dropout on what enters each layer from below, and before the output; never from step to step."""
    tied_output: bool = False
    """The output matrix is the target embedding; needs d_hidden equal to d_embed."""
    tied_embeddings: bool = False
    """Source and target share one embedding; needs tokenizer.joint."""
    initialization: Initialization = PaperInit()

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        _check_tied_output(self.tied_output, self.d_hidden, self.d_embed)
        if self.d_hidden % 2:
            raise ValueError(f"d_hidden must be even, half of it reading each way, not {self.d_hidden}")
        return self


class ModernConfig(ModelSection):
    """The Transformer as it is built in the 2020s: rotary positions, RMSNorm before each sublayer, SwiGLU, no biases.

    As LLaMA (Touvron et al. 2023) puts them together, in an encoder and a decoder. The depths are those of Kasai et al.
    2021, "Deep Encoder, Shallow Decoder"; the other defaults those of the Transformer's base model.
    """

    layouts: ClassVar[frozenset[Layout]] = frozenset({"padded", "rows", "flat"})
    compiles: ClassVar[bool] = True
    kind: Literal["modern"]
    n_layers: Positive = 12
    """Layers of the encoder."""
    n_decoder_layers: Positive = 1
    """Layers of the decoder: they cost time at every word of a translation, the encoder's do not."""
    d_model: Positive = 512
    """Width of embeddings and layers."""
    n_heads: Positive = 8
    """Attention heads, each d_model / n_heads wide."""
    n_kv_heads: Positive | None = None
    """Heads of keys and values where they are fewer: grouped-query attention (Ainslie et al. 2023), with 1 multi-query
    attention (Shazeer 2019).
    """
    d_ff: Positive = 1408
    """Width of the feed-forward layers: two thirds of the Transformer's, as each has three matrices instead of two."""
    qk_norm: bool = False
    """RMSNorm of each head's queries and keys."""
    attention: Literal["full", "window", "strided", "linear"] = "full"
    """What a word looks at in its own sentence: every word; those at most `window` away; those, and every window-th
    word from there on (Child et al. 2019); every word through a sum of features (Katharopoulos et al. 2020). The
    decoder looks at all of the source, for `linear` through such a sum too.
    """
    window: Positive = 16
    """For window and strided attention: how far a word sees; the stride is the same number."""
    dropout: Probability = 0.1
    """Dropout on embeddings and on each sublayer's output."""
    tied_output: bool = True
    """The output matrix is the target embedding."""
    tied_embeddings: bool = True
    """Source and target share one embedding; needs tokenizer.joint."""
    initialization: Initialization = PaperInit()

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.d_model % (2 * self.n_heads):
            raise ValueError(f"d_model {self.d_model} is not n_heads {self.n_heads} times an even number")
        if self.n_heads % (self.n_kv_heads or 1):
            raise ValueError(f"n_heads {self.n_heads} is not a multiple of n_kv_heads {self.n_kv_heads}")
        return self


class Convolutions(Section):
    """Convolutional layers of one form, one on top of the other."""

    n_layers: Positive = 1
    """How many."""
    d_hidden: Positive
    """Their width."""
    kernel: Positive = 3
    """Words that each position sees."""


_WMT_EN_DE = [
    Convolutions(n_layers=9, d_hidden=512, kernel=3),
    Convolutions(n_layers=4, d_hidden=1024, kernel=3),
    Convolutions(n_layers=2, d_hidden=2048, kernel=1),
]


class ConvS2SConfig(ModelSection):
    """Gehring et al. 2017, "Convolutional Sequence to Sequence Learning". The defaults are the sizes of its authors'
    program for WMT English-German (fconv_wmt_en_de).
    """

    compiles: ClassVar[bool] = True
    kind: Literal["convs2s"]
    d_embed: Positive = 768
    """Embeddings of words and positions, and what attention works in (f)."""
    d_out: Positive = 512
    """Output of the decoder, before the output matrix."""
    encoder: Annotated[list[Convolutions], Field(min_length=1)] = _WMT_EN_DE
    """Layers of the encoder from the bottom, as a list: [{n_layers: 4, d_hidden: 256, kernel: 3}]."""
    decoder: Annotated[list[Convolutions], Field(min_length=1)] | None = None
    """Layers of the decoder, each with an attention of its own; null for the same as the encoder."""
    max_positions: Positive = 1024
    """Positions that have an embedding; later words take the last one."""
    dropout: Probability = 0.2
    """Dropout on embeddings, on the input of each convolution, and on the decoder's output."""
    tied_output: bool = False
    """The output matrix is the target embedding; needs d_out equal to d_embed. Not in the paper."""
    tied_embeddings: bool = False
    """Source and target share one embedding; needs tokenizer.joint. Not in the paper."""
    initialization: Initialization = PaperInit()

    @model_validator(mode="after")
    def _ties_fit(self) -> Self:
        if self.tied_output and self.d_out != self.d_embed:
            raise ValueError(f"tied_output needs d_out equal to d_embed, not {self.d_out} and {self.d_embed}")
        return self


ModelConfig = Annotated[
    BahdanauConfig
    | TransformerConfig
    | ConvS2SConfig
    | ChoConfig
    | SutskeverConfig
    | ModernConfig
    | LuongConfig
    | GNMTConfig
    | RNNConfig,
    Field(discriminator="kind"),
]
"""A kind's name decides its class; add new ones here."""
