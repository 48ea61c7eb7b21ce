"""Every key a recipe may hold, with its type, default and meaning; models are in recipe_models.py, their first
weights in recipe_init.py, optimisers and schedules in recipe_optim.py.

One frozen model a section, one a kind of model, optimiser and schedule. `recipe_file.py` reads YAML into these; nothing
here touches a file. Field descriptions are the reference page and the editor's completion: they are written for users.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nmt.recipe_models import ModelConfig
from nmt.recipe_optim import Adam, Constant, Optimizer, Schedule
from nmt.recipe_section import Count, Fraction, Positive, PositiveFloat, Probability, Section

# --- corpus -----------------------------------------------------------------------------------------------------------


class TextPair(Section):
    """Two files that translate each other line by line."""

    src: str
    """File of source sentences, plain or gzip; `x.fr` is also x.fr.gz, where that is there and x.fr is not."""
    tgt: str
    """File of target sentences, as for src."""
    weight: PositiveFloat = 1.0
    """How many times an epoch goes through this corpus: 2 repeats it, 0.5 takes half of it, each time another half."""


class Download(Section):
    """A file that `nmt prepare --fetch` downloads, and what it holds."""

    url: Annotated[str, Field(pattern=r"^https?://", title="an address that begins with http:// or https://")]
    """Where the file is."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", title="64 hexadecimal digits in lower case")]
    """Its checksum; a file that differs is never used."""
    of: Literal["file", "text"] = "file"
    """Whether sha256 is that of the file, or of the text in a gzip file, which stays when it is packed anew."""
    file: str | None = None
    """Name to keep it under in corpus.folder, when it is not an archive."""
    members: dict[str, str] = Field(default_factory=dict)
    """For a tar or zip archive: member name -> name to keep it under in corpus.folder. Nothing else is taken out."""

    @model_validator(mode="after")
    def _file_or_members(self) -> Self:
        if (self.file is None) == (not self.members):
            raise ValueError("give either file (a plain download) or members (an archive)")
        if self.of == "text" and self.file is None:
            raise ValueError("of: text goes with file, not with members")
        return self


class CorpusConfig(Section):
    """The parallel text: languages, files, filters, and where the files can be had."""

    src: str
    """Language of the source, as a tag: en, fr, zh."""
    tgt: str
    """Language of the target."""
    folder: str = "."
    """Folder that the file names below start from, relative to the recipe. Where it does not exist, a folder of its
    last name is looked for in the folder named by the environment variable NMT_SHARED_DATA."""
    train: str | TextPair | list[str | TextPair]
    """Training text: a prefix (`train` stands for train.en and train.fr, or train.en.gz and train.fr.gz), a pair of
    files {src, tgt, weight}, or a list of these."""
    valid: str | TextPair
    """Validation text, as for train."""
    test: str | TextPair | None = None
    """Test text, translated and scored at the end of training."""
    max_len: Positive = 100
    """Training pairs with more pieces than this on either side (end of sentence included) are dropped and counted."""
    max_ratio: PositiveFloat | None = None
    """Training pairs whose sides differ in pieces by more than this factor are dropped and counted."""
    bad_text: Literal["error", "skip", "replace"] = "error"
    """What to do with a line that is not UTF-8 or holds a NUL byte: stop, drop the pair, or put U+FFFD in its place."""
    dedup: bool = False
    """Drop training pairs that occurred before."""
    overlap: Literal["error", "drop", "allow"] = "error"
    """What to do with a training pair that is also a pair of the validation or test text."""
    downloads: list[Download] = Field(default_factory=list)
    """Files for `nmt prepare --fetch`."""
    obtain: str = ""
    """How to get the text, in words: printed when it is not there."""


class VocabSizes(Section):
    """A size for each side, as in the systems of 2014."""

    src: Positive
    """Ids of the source."""
    tgt: Positive
    """Ids of the target."""


class TokenizerConfig(Section):
    """How text becomes pieces."""

    kind: Literal["bpe", "unigram", "char", "word", "marian"] = "bpe"
    """bpe, unigram and char are sentencepiece models; word is a vocabulary of words and an unknown, as in 2014. marian
    is what `nmt import` finds: a sentencepiece model for each side and one numbering of pieces. It cannot be learned;
    train.init takes it over with the model."""
    vocab: Positive | VocabSizes = 8000
    """Number of ids on each side, special ones included; for words, the shortlist of the most frequent. {src: 160004,
    tgt: 80004} for sides of different sizes, which needs joint: false."""
    joint: bool = True
    """One vocabulary for both languages (needed for tied embeddings) or one each."""
    words: Literal["spaces", "moses"] = "moses"
    """For kind word: text is tokenised already (spaces), or goes through Moses rules and back (moses)."""
    normalization: Literal["nmt_nfkc", "nfkc", "nmt_nfkc_cf", "identity"] = "nmt_nfkc"
    """sentencepiece's normalisation of characters; _cf also folds case."""
    character_coverage: Annotated[float, Field(gt=0.9, le=1.0)] = 1.0
    """Share of the characters that get a piece of their own; below 1 for scripts with thousands of them."""

    @property
    def sizes(self) -> tuple[int, int]:
        """Ids of source and target, as the recipe has them: learned tokenizers may have fewer."""
        return (self.vocab.src, self.vocab.tgt) if isinstance(self.vocab, VocabSizes) else (self.vocab, self.vocab)

    @model_validator(mode="after")
    def _one_size_for_a_joint_vocabulary(self) -> Self:
        if self.joint and isinstance(self.vocab, VocabSizes):
            raise ValueError("vocab has a size for each side, which needs joint: false")
        return self


# --- training ---------------------------------------------------------------------------------------------------------


class Switch(Section):
    """Another optimiser, with a fresh state, from an update on."""

    at_update: Positive
    optimizer: Optimizer
    lr: PositiveFloat
    schedule: Schedule = Constant()


class Average(Section):
    """The final weights are the mean of several checkpoints, if that mean scores at least as well as the best one."""

    of: Literal["best", "last"] = "best"
    """The best by validation BLEU, or the last validated ones."""
    count: Annotated[int, Field(ge=2, le=50)] = 5


class TrainConfig(Section):
    """How the model is trained, and how it is watched meanwhile."""

    batch_tokens: Positive | Literal["auto"] | None = None
    """Real target tokens (end of sentence included) an update sees, at most. auto: as many as fit into memory with the
    worst batch of training and of validation, up to 65,536 on a GPU and 4,096 on a CPU, tried before the first update;
    the run's recipe.yaml has the number. Or:"""
    batch_sentences: Positive | None = None
    """Sentence pairs an update sees."""
    layout: Literal["auto", "padded", "rows", "flat"] = "auto"
    """How they lie in it: a pair a row, filled up to the longest (padded); several whole pairs in each row of a fixed
    length (rows); all in one row of a fixed length (flat). The loss is the same, with less and less padding. rows and
    flat go with batch_tokens, and with the models transformer and modern. auto is rows where attention over them has a
    fused form that can run (compute.kernels), else padded, so always padded on a CPU. The first lines and the log's
    first event say which. A training goes on with the same one only: name it to go on with another device."""
    row_tokens: Positive = 128
    """For layout rows: positions of a row on the side that has more tokens; the other has fewer, by their ratio. A pair
    that is longer gets a longer row. The fused form takes rows of up to 128."""
    grad_parts: Positive = 1
    """Parts each update's batch is cut into. Their gradients are computed one after the other, which needs less memory,
    or by several processes (torchrun), and added up in one fixed order: the processes change nothing in the sum."""
    updates: Positive
    """Optimiser steps in all."""
    loss_per: Literal["token", "sentence"] = "token"
    """The loss is averaged over target tokens, or summed over each sentence and averaged over these (Bahdanau 2015)."""
    label_smoothing: Probability = 0.0
    """Probability taken from the right word and spread evenly over the vocabulary (Szegedy et al. 2016)."""
    r_drop: Fraction = 0.0
    """alpha of R-Drop (Liang et al. 2021): each batch is seen twice with other dropout, and the two predictions are
    drawn together. Twice the work an update; 5 is the authors' choice for small corpora."""
    subword_sampling: Probability = 0.0
    """Pieces are drawn anew each time a sentence is seen: for bpe the probability that a merge is left out
    (BPE-dropout, Provilkov et al. 2020: 0.1), for unigram the temperature (Kudo 2018). 0 for always the same pieces."""
    lr: PositiveFloat = 1e-3
    """Learning rate, as the schedule uses it. Adadelta as published has 1."""
    optimizer: Optimizer = Adam()
    schedule: Schedule = Constant()
    switch: Switch | None = None
    """Another optimiser from some update on."""
    clip_norm: PositiveFloat | None = 1.0
    """Gradients of a larger L2 norm are scaled down to it; null for never."""
    max_skipped: Count = 5
    """Updates in a row whose loss or gradient is not finite, which change nothing, before training stops itself."""
    init: str | None = None
    """A model.safetensors to start from: its weights and tokenizer, with a fresh optimiser. Relative to the recipe."""
    validate_every: Positive = 500
    """Updates between validations (loss, and BLEU by search)."""
    validate_sentences: Positive | None = None
    """Translate only so many validation sentences for BLEU; null for all."""
    save_every: Positive | None = None
    """Updates between checkpoints; null for validate_every."""
    keep: Positive = 1
    """Checkpoints kept besides the best ones that average needs."""
    patience: Positive | None = None
    """Stop after so many validations in a row without a better BLEU; null for never."""
    average: Average | None = None
    samples: Count = 3
    """Validation sentences whose translation is shown at each validation."""
    seed: Count = 1

    @property
    def tokens(self) -> int | None:
        """batch_tokens, once it is a number."""
        assert self.batch_tokens != "auto", "the training has to find what fits first"
        return self.batch_tokens

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        if (self.batch_tokens is None) == (self.batch_sentences is None):
            raise ValueError("give one of batch_tokens and batch_sentences")
        if self.layout in ("rows", "flat") and self.batch_tokens is None:
            raise ValueError(f"layout {self.layout} needs batch_tokens, not batch_sentences")
        return self


# --- search and computing ---------------------------------------------------------------------------------------------


class SearchConfig(Section):
    """How translations are searched for. score = log P(y|x) / length(y) + coverage(x, y)."""

    beam: Positive = 5
    """Hypotheses kept a sentence; 1 is greedy."""
    width: Literal["narrowing", "constant"] = "narrowing"
    """What becomes of the beam as hypotheses end. narrowing: each that ends takes its place with it (Sutskever 2014).
    constant: the next best one takes its place, until `beam` have ended and the worst of the best ones beats what the
    live ones score at their present length, as in transformers."""
    length_formula: Literal["gnmt", "average", "none"] = "gnmt"
    """What divides log P, with |y| counting the end of sentence: gnmt is ((5 + |y|) / 6)^length_penalty (Wu 2016,
    equation 14); average is |y|^length_penalty; none is 1."""
    length_penalty: Fraction = 0.6
    """The exponent above; larger favours longer translations."""
    coverage_penalty: Fraction = 0.0
    """beta of GNMT's coverage term beta * sum_i log(min(sum_j p_ij, 1)), i over source, j over target positions."""
    no_repeat_ngram: Count = 0
    """No sequence of this many pieces stands twice in a translation; 0 allows all."""
    repetition_penalty: Annotated[float, Field(ge=1.0, allow_inf_nan=False)] = 1.0
    """A piece that the translation already holds counts this many times its log-probability: 1 changes nothing, 1.2 is
    usual (Keskar 2019, section 4.1, who divides logits by it and normalises anew)."""
    min_len_ratio: Fraction = 0.0
    """No end of sentence before this many pieces a source piece."""
    max_len_ratio: Fraction = 2.0
    """Translations end after max_len_ratio * source pieces + max_len_extra pieces."""
    max_len_extra: Count = 10


Compile = Literal["off", "layers"]
"""What torch.compile is put around."""


class ComputeConfig(Section):
    """Precision and implementation."""

    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    """Type of matrix products; weights, softmax, norms and losses stay float32. auto: bfloat16 on a GPU and on a
    processor with instructions for it (AVX512-BF16, AMX, ARM's BF16), float32 elsewhere, where bfloat16 would be a few
    times slower; the run's recipe.yaml has the one that it began with."""
    kernels: Literal["auto", "plain", "fused"] = "auto"
    """Which implementation runs where there is a choice: plain (torch's own operations), fused (Triton kernels of
    attention on a GPU; on a CPU what lies between matrix products, compiled by the machine's C compiler in two seconds
    when it is first wanted: an error where that cannot be), or auto, fused where that can run. The log's first event
    and the first lines say which; `nmt train RECIPE --check-kernels` compares them."""
    compile: Compile = "off"
    """torch.compile of each layer of a transformer, modern or convs2s, meant for a GPU: it takes seconds to minutes as
    batches first come through, and the log says how many. On a CPU `kernels` brings more, and with `compile` its passes
    between products are torch's. Resumed runs are as good, but not byte for byte the same."""
    cuda_graphs: bool = False
    """Record the forward and backward pass on a GPU once for each shape of batch, and replay it: one launch in place of
    hundreds, or of thousands for recurrent models, which pays where updates are small (below some 8,000 tokens).
    Batches are filled up to few shapes for it: padded ones of Multi30k are then 17 % padding where they were 4. Dropout
    falls elsewhere than without, and resumed runs are as good, but not byte for byte the same."""
    deterministic: bool = False
    """Same bytes on GPU too, at some cost. On CPU they are the same anyway."""
    threads: Positive | None = None
    """CPU threads of each process; null for one a core available, which the processes of a machine share."""
    shard_optimizer: bool = False
    """Each of several processes keeps the optimiser's state of its share of the parameters alone: less memory, the same
    bytes, and the parameters travel once more an update."""
    timeout_seconds: PositiveFloat = 600.0
    """How long one of several processes may keep the others waiting before the training ends and says which one did."""


class Recipe(Section):
    """Everything that shapes a translator, from text to search."""

    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
            max_length=100,
            title="up to 100 letters, digits and . _ - that begin with a letter or digit",
        ),
    ]
    """Name of the run: its folder is runs/<name>/."""
    corpus: CorpusConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig
    train: TrainConfig
    search: SearchConfig = SearchConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.train.subword_sampling and self.tokenizer.kind not in ("bpe", "unigram"):
            raise ValueError(f"train.subword_sampling is for tokenizer.kind bpe or unigram, not {self.tokenizer.kind}")
        if self.train.layout not in self.model.layouts | {"auto"}:
            taken = " or ".join(sorted(self.model.layouts))
            raise ValueError(f"train.layout {self.train.layout} is not for {self.model.kind}, which takes {taken}")
        if self.compute.compile != "off" and not self.model.compiles:
            raise ValueError(
                f"compute.compile {self.compute.compile} is not for {self.model.kind}, whose steps are a loop"
            )
        if self.model.tied_embeddings and not self.tokenizer.joint:
            raise ValueError("model.tied_embeddings needs tokenizer.joint: true")
        return self
