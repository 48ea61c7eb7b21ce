"""The GPU's later stages: training and decoding of whole models, and plain PyTorch doing the same."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from statistics import median
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.figures import Figure, Place, guarded
from benchmarks.ours import ROOT
from benchmarks.train import measured_updates
from nmt.batch import EOS, SPECIALS, Batch, padded_batch
from nmt.models.build import build_model
from nmt.models.contract import Seq2Seq
from nmt.models.initialize import initialize
from nmt.models.meta import on_meta
from nmt.ops import cells
from nmt.ops.choose import ALWAYS, choose_kernels
from nmt.ops.graph import Recorder
from nmt.recipe import Compile, Recipe, SearchConfig
from nmt.recipe_file import load_recipe
from nmt.search.beam import search
from nmt.search.device import DeviceSearch
from nmt.training.backward import backward_of
from nmt.training.compiled import CompiledLayers
from nmt.training.cost import batch_cost
from nmt.training.optim import build_optimizer

PAPERS = ROOT / "recipes" / "papers"
LENGTH = 30
"""Pieces of every sentence, on either side."""
TRAINED = (
    ("Transformer base", "transformer2017-base-en-de", [], 25000),
    ("Transformer big", "transformer2017-big-en-de", [], 25000),
    ("RNNsearch", "bahdanau2015-en-fr", ["model.reset=after"], 7680),
    ("Luong, input feeding", "luong2015-en-de", ["model.input_feeding=true"], 3840),
    ("Luong, no feeding", "luong2015-en-de", ["model.input_feeding=false"], 7680),
    ("ConvS2S", "convs2s2017-en-de", [], 16000),
)
"""Name, recipe, keys to set, and target tokens an update."""
SMALL = {
    "transformer": ["model.d_model=16", "model.d_ff=16", "model.n_heads=2", "model.n_layers=1"],
    "bahdanau": [f"model.d_{name}=8" for name in ("embed", "hidden", "align", "maxout")],
    "luong": ["model.d_embed=8", "model.d_hidden=8", "model.n_layers=1"],
    "convs2s": ["model.d_embed=8", "model.d_out=8", "model.encoder=[{n_layers: 1, d_hidden: 8}]"],
}
"""Keys that make a recipe's model tiny, for a trial."""


def _recipe(place: Place, name: str, keys: list[str]) -> Recipe:
    path = PAPERS / f"{name}.yaml"
    if not place.small:
        return load_recipe(path, keys)
    kind = load_recipe(path).model.kind
    return load_recipe(path, [*keys, *SMALL[kind], "tokenizer.vocab=50"])


def _model(place: Place, recipe: Recipe) -> Seq2Seq:
    model = build_model(recipe.model, *recipe.tokenizer.sizes)
    torch.manual_seed(1)
    initialize(model, recipe.model.initialization)
    model.compute_dtype = place.dtype
    dtype = str(place.dtype).removeprefix("torch.")
    choice = choose_kernels(
        "auto" if place.device.type == "cuda" else "plain", place.device, dtype, model.all_operations() | ALWAYS
    )
    model.use(choice.kernels)
    return model.to(place.device)


def _batch(place: Place, vocab: int, sentences: int, length: int = LENGTH) -> Batch:
    ids = torch.randint(len(SPECIALS), vocab, (2, sentences, length - 1)).numpy()
    return padded_batch(list(ids[0]), list(ids[1])).to(place.device)


# --- the step loop ----------------------------------------------------------------------------------------------------


def loop(place: Place) -> Iterator[Figure]:
    """RNNsearch without its loss, forward and backward: launched one by one, and as one CUDA graph."""
    model = _model(place, _recipe(place, TRAINED[2][1], TRAINED[2][2])).train()
    for B in (32, 80, 160, 256):
        batch = _batch(place, model.projection.weight.shape[0], place.size(B, 3))
        for graphed in (False, True):
            what = f"RNNsearch, {B} sentences, {'one graph' if graphed else 'eager'}"
            yield from guarded(what, partial(_looped, place, what, model, batch, graphed))


def _looped(place: Place, what: str, model: Seq2Seq, batch: Batch, graphed: bool) -> Iterator[Figure]:
    def work() -> None:
        model.zero_grad(set_to_none=True)
        with cells.using(model.kernels.cells):
            features = model(batch)
        features.backward(torch.ones_like(features))

    if graphed and place.device.type != "cuda":
        yield Figure(what, skipped="no GPU")
    else:
        yield Figure(what, 1e3 * place.time(Recorder(place.device)(work) if graphed else work), "ms")


# --- training ---------------------------------------------------------------------------------------------------------


def training(place: Place) -> Iterator[Figure]:
    """Updates of the papers' models on sentences of 30 pieces: target tokens a second, and their share of the peak."""
    n = place.size(8192, 64)
    a, b = place.random(n, n), place.random(n, n)
    ceiling = 2 * n**3 / place.time(lambda: a @ b)
    yield Figure("ceiling", ceiling / 1e12, "TFLOP/s", "the product that shares below are of")
    for name, recipe, keys, tokens in TRAINED:
        for graphs in (False, True):
            what = f"{name}, recorded" if graphs else name
            yield from guarded(
                what, partial(_trained, place, what, _recipe(place, recipe, keys), tokens, ceiling, graphs)
            )


def compiled(place: Place) -> Iterator[Figure]:
    """The base Transformer's layers as written and compiled, with updates recorded and not: large and small batches."""
    name, recipe, keys, _ = TRAINED[0]
    for tokens, how, graphs in product((25000, 4000), get_args(Compile), (False, True)):
        what = f"{name}, {tokens:,} tokens an update, compile: {how}{', recorded' if graphs else ''}"
        if how != "off" and (place.small or place.device.type != "cuda"):
            yield Figure(what, skipped="not in a trial" if place.small else "no GPU")
            continue
        made = _recipe(place, recipe, keys)
        yield from guarded(what, partial(_trained, place, what, made, tokens, None, graphs, how))


def _trained(
    place: Place,
    name: str,
    recipe: Recipe,
    tokens: int,
    ceiling: float | None,
    graphs: bool = False,
    how: Compile = "off",
) -> Iterator[Figure]:
    """ceiling: operations a second that are the most there could be, where a share of them is to be told."""
    if graphs and place.device.type != "cuda":
        yield Figure(name, skipped="no GPU")
        return
    model = _model(place, recipe)
    layers = CompiledLayers(how, model, "flat")  # all batches have one shape
    faults = list[str]()
    backward = backward_of(with_graphs(recipe, graphs), model, list(model.parameters()), place.device, faults.append)
    sentences = max(1, place.size(tokens, 90) // LENGTH)
    batch = backward.shaped(_batch(place, model.projection.weight.shape[0], sentences))
    optimizer = build_optimizer(recipe.train.optimizer, model, 1e-4)
    model.train()

    def update() -> float:
        started = time.perf_counter()
        backward(batch, batch.tgt_tokens, 1)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        place.wait()
        return time.perf_counter() - started

    for _ in range(3):  # recorded at the second
        update()
    if place.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = median(measured_updates(update, 20 * place.seconds))
    memory = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if place.device.type == "cuda" else ""
    with on_meta():
        meta = build_model(recipe.model, *recipe.tokenizer.sizes)
        meta.compute_dtype = place.dtype
        flops = batch_cost(meta, 8, LENGTH).flops / (8 * LENGTH)
    rate = batch.tgt_tokens / seconds
    share = "" if ceiling is None else f", {rate * flops / ceiling:.1%} of the ceiling"
    made = "" if how == "off" else f", compiled in {layers.seconds():.0f} s"
    note = "; ".join([f"{batch.tgt_tokens:,} tokens an update{share}{memory}{made}", *faults])
    yield Figure(name, rate, "tokens/s", note)


def with_graphs(recipe: Recipe, graphs: bool) -> Recipe:
    """The recipe with this compute.cuda_graphs."""
    return recipe.model_copy(update={"compute": recipe.compute.model_copy(update={"cuda_graphs": graphs})})


# --- decoding ---------------------------------------------------------------------------------------------------------


def decoding(place: Place) -> Iterator[Figure]:
    """Search with untrained models, 30 pieces in and 30 out: target tokens a second."""
    base, rnn = _recipe(place, TRAINED[0][1], []), _recipe(place, TRAINED[2][1], TRAINED[2][2])
    cases = [(base, "Transformer base", beam, B) for beam in (5, 1) for B in (1, 32, 256, 1024)]
    cases += [(rnn, "RNNsearch", 5, 256)]
    models: dict[str, Seq2Seq] = {}
    for recipe, name, beam, B in cases:
        model = models.setdefault(name, _model(place, recipe).eval())
        what = f"{name}, beam {beam}, {B} sentences"
        yield from guarded(what, partial(_decoded, place, what, model, beam, place.size(B, min(B, 3))))


def _sentences(place: Place, model: Seq2Seq, B: int) -> Tensor:
    src = torch.randint(len(SPECIALS), model.projection.weight.shape[0], (B, LENGTH), device=place.device)
    src[:, -1] = EOS
    return src


def _thirty(beam: int) -> SearchConfig:
    """An untrained model says when it is done by chance: no end before 30 pieces."""
    return SearchConfig(beam=beam, min_len_ratio=1.0, max_len_ratio=1.0, max_len_extra=0)


def _decoded(place: Place, what: str, model: Seq2Seq, beam: int, B: int) -> Iterator[Figure]:
    src, config = _sentences(place, model, B), _thirty(beam)

    @torch.inference_mode()
    def work() -> list[int]:
        found = search(model, src, config)
        return [len(hypotheses[0].token_log_probs) for hypotheses in found]

    tokens = sum(work())
    quick = replace(place, seconds=4 * place.seconds)
    yield Figure(what, tokens / quick.time(work), "tokens/s")


def on_device(place: Place) -> Iterator[Figure]:
    """The search that stays on the device, with its steps recorded and not, beside the ordinary one."""
    base, rnn = _recipe(place, TRAINED[0][1], []), _recipe(place, TRAINED[2][1], TRAINED[2][2])
    for recipe, name, cases in (
        (base, "Transformer base", ((5, 256), (5, 1), (1, 1024))),
        (rnn, "RNNsearch", ((5, 256), (5, 1))),
    ):
        model = _model(place, recipe).eval()
        for beam, B in cases:
            what = f"{name}, beam {beam}, {B} sentences"
            yield from guarded(what, partial(_both_searches, place, what, model, beam, place.size(B, min(B, 3))))


def _both_searches(place: Place, what: str, model: Seq2Seq, beam: int, B: int) -> Iterator[Figure]:
    src, config, quick = _sentences(place, model, B), _thirty(beam), replace(place, seconds=3 * place.seconds)
    wanted = search(model, src, config)
    tokens = sum(len(best[0].token_log_probs) for best in wanted)
    ordinary = tokens / quick.time(lambda: search(model, src, config))
    yield Figure(f"{what}: ordinary", ordinary, "tokens/s")
    for how, kept in (("eager", DeviceSearch(model, None)), ("recorded", DeviceSearch.on(model, place.device))):
        if how == "recorded" and kept.record is None:
            yield Figure(f"{what}: {how}", skipped="no GPU")
            continue
        started = time.perf_counter()
        found = kept.search(src, config)
        first = time.perf_counter() - started
        same = sum(ours[0].ids == theirs[0].ids for ours, theirs in zip(found, wanted, strict=True)) / B
        rate = tokens / quick.time(lambda kept=kept: kept.search(src, config))
        told = f", not recorded: {kept.why_eager}" if kept.why_eager else ""
        note = f"{rate / ordinary:.2f} times, {same:.1%} of the lines alike, {first:.2f} s at first{told}"
        yield Figure(f"{what}: {how}", rate, "tokens/s", note)


# --- plain PyTorch ----------------------------------------------------------------------------------------------------


def plain(place: Place) -> Iterator[Figure]:
    """The same models as anyone writes them: nn.Transformer, and a loop over nn.GRUCell with additive attention."""
    yield from guarded("nn.Transformer base", partial(_plain, place, "nn.Transformer base", PlainTransformer, 25000))
    yield from guarded("nn.GRUCell loop", partial(_plain, place, "nn.GRUCell loop", PlainRNN, 7680))


class PlainTransformer(nn.Module):
    """torch.nn.Transformer between an embedding and its transpose."""

    def __init__(self, place: Place, vocab: int) -> None:
        super().__init__()
        d = place.size(512, 16)
        self.embed = nn.Embedding(vocab, d)
        layers = place.size(6, 1)
        self.body = nn.Transformer(d, place.size(8, 2), layers, layers, 4 * d, 0.1, batch_first=True)

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, T, V)."""
        src_pad, tgt_pad = batch.src == 0, batch.tgt_in == 0
        T = batch.tgt_in.shape[1]
        causal = torch.ones(T, T, dtype=torch.bool, device=batch.src.device).triu(1)
        out = self.body(
            self.embed(batch.src),
            self.embed(batch.tgt_in),
            tgt_mask=causal,
            src_key_padding_mask=src_pad,
            tgt_key_padding_mask=tgt_pad,
            memory_key_padding_mask=src_pad,
            tgt_is_causal=True,
        )
        return out @ self.embed.weight.T


class PlainRNN(nn.Module):
    """RNNsearch's sizes: a bidirectional GRU, and a loop over a cell with additive attention."""

    def __init__(self, place: Place, vocab: int) -> None:
        super().__init__()
        e, h = place.size(620, 8), place.size(1000, 8)
        self.src, self.tgt = nn.Embedding(vocab, e), nn.Embedding(vocab, e)
        self.encoder = nn.GRU(e, h, bidirectional=True, batch_first=True)
        self.cell = nn.GRUCell(e + 2 * h, h)
        self.start, self.query, self.keys = nn.Linear(h, h), nn.Linear(h, h), nn.Linear(2 * h, h)
        self.v = nn.Linear(h, 1, bias=False)
        self.readout, self.out = nn.Linear(e + 3 * h, h // 2), nn.Linear(h // 2, vocab)

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, T, V)."""
        annotations, last = self.encoder(self.src(batch.src))
        keys, y, hide = self.keys(annotations), self.tgt(batch.tgt_in), batch.src == 0
        s = torch.tanh(self.start(last[1]))
        seen = []
        for t in range(y.shape[1]):
            scores = self.v(torch.tanh(keys + self.query(s)[:, None]))[..., 0].masked_fill(hide, float("-inf"))
            c = (scores.softmax(-1)[:, None] @ annotations)[:, 0]
            seen.append(torch.cat([y[:, t], c, s], dim=-1))
            s = self.cell(torch.cat([y[:, t], c], dim=-1), s)
        return self.out(torch.tanh(self.readout(torch.stack(seen, dim=1))))


def _plain(place: Place, what: str, build: type[PlainTransformer | PlainRNN], tokens: int) -> Iterator[Figure]:
    vocab = place.size(37000 if build is PlainTransformer else 30004, 50)
    model = build(place, vocab).to(place.device)
    batch = _batch(place, vocab, max(1, place.size(tokens, 90) // LENGTH))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def update() -> None:
        with torch.autocast(place.device.type, place.dtype):
            logits = model(batch)
        loss = F.cross_entropy(
            logits.float().flatten(0, 1), batch.tgt_out.flatten(), ignore_index=0, label_smoothing=0.1
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    rate = batch.tgt_tokens / replace(place, seconds=8 * place.seconds).time(update)
    yield Figure(what, rate, "tokens/s", "bfloat16 autocast, eager")


STAGES = {
    **{"loop": loop, "training": training, "compiled": compiled},
    **{"decoding": decoding, "on device": on_device, "plain": plain},
}
