"""What must be true of every model, whatever its paper says."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nmt import model_file
from nmt.batch import BOS, EOS, PAD, Batch, pad_rows
from nmt.corpus.tokenizer import Words
from nmt.layers.alignment import LuongAlignment
from nmt.models.contract import Memory, Seq2Seq, State, select_rows, stepwise_logits
from nmt.recipe import Recipe, SearchConfig
from nmt.search.beam import search
from nmt.training.loss import batch_loss
from tests.properties.kinds import CONFIGS, PAIRS, VARIANTS, batch_of, build
from tests.search.standins import every_string, score_of
from tests.training.tiny import recipe

DTYPES = {torch.float32: 1e-5, torch.float64: 1e-11}

of_every_model = pytest.mark.parametrize("name", VARIANTS)
in_both_precisions = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def logits_of(model: Seq2Seq, batch: Batch) -> Tensor:
    """(B, T, V)"""
    with torch.no_grad():
        return model.project(model(batch))


def real(batch: Batch) -> Tensor:
    return batch.tgt_out != PAD


def assert_close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=DTYPES[found.dtype])


def test_the_list_is_that_of_the_schema() -> None:
    kinds = {name.partition(",")[0] for name in VARIANTS}
    assert len(kinds) == len(CONFIGS) >= 1
    assert "bahdanau" in kinds


@of_every_model
def test_the_tests_models_are_sensitive_to_every_word_they_may_see(name: str) -> None:
    """Without this the properties below could hold of a model that looks at nothing."""
    model = build(VARIANTS[name])
    before = logits_of(model, batch_of([([5, 6, 7], [4, 5, 12])]))
    for src, tgt, first in (([5, 9, 7], [4, 5, 12], 0), ([5, 6, 7], [6, 5, 12], 1), ([5, 6, 7], [4, 6, 12], 2)):
        change = (logits_of(model, batch_of([(src, tgt)])) - before).abs().amax(-1)[0]
        assert change[first:].min() > 1e-4
        assert change.max() > 1e-2


@of_every_model
@in_both_precisions
def test_forward_equals_stepping(name: str, dtype: torch.dtype) -> None:
    model, batch = build(VARIANTS[name], dtype), batch_of(PAIRS)
    with torch.no_grad():
        stepwise = stepwise_logits(model, batch)
    keep = real(batch)
    assert_close(logits_of(model, batch)[keep], stepwise[keep])


@of_every_model
def test_gradients_of_forward_equal_those_of_stepping(name: str) -> None:
    batch, found = batch_of(PAIRS), []
    for stepping in (False, True):
        model = build(VARIANTS[name])
        logits = stepwise_logits(model, batch) if stepping else model.project(model(batch))
        keep = real(batch)
        nn.functional.cross_entropy(logits[keep], batch.tgt_out[keep]).backward()
        found.append({n: p.grad for n, p in model.named_parameters()})
    for parameter, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][parameter], rtol=0, atol=1e-11, msg=lambda m, n=parameter: n + m)


@of_every_model
@in_both_precisions
def test_a_sentence_alone_equals_itself_in_a_batch(name: str, dtype: torch.dtype) -> None:
    model = build(VARIANTS[name], dtype)
    together = logits_of(model, batch_of(PAIRS))
    for row, pair in enumerate(PAIRS):
        alone = logits_of(model, batch_of([pair]))[0]
        assert_close(together[row, : len(alone)], alone)


@of_every_model
@in_both_precisions
def test_more_padding_changes_nothing(name: str, dtype: torch.dtype) -> None:
    model, batch = build(VARIANTS[name], dtype), batch_of(PAIRS)
    padded = replace(
        batch,
        src=nn.functional.pad(batch.src, (0, 4), value=PAD),
        tgt_in=nn.functional.pad(batch.tgt_in, (0, 3), value=PAD),
        tgt_out=nn.functional.pad(batch.tgt_out, (0, 3), value=PAD),
    )
    keep = real(batch)
    assert_close(logits_of(model, padded)[:, : keep.shape[1]][keep], logits_of(model, batch)[keep])


@of_every_model
def test_the_padding_tests_see_a_mask_that_is_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a model that may look at everything fails them by far."""
    monkeypatch.setattr(Batch, "src_keep", property(lambda batch: torch.ones_like(batch.src, dtype=torch.bool)))
    model, batch = build(VARIANTS[name]), batch_of(PAIRS)
    padded = replace(batch, src=nn.functional.pad(batch.src, (0, 4), value=PAD))
    keep = real(batch)
    assert (logits_of(model, padded)[keep] - logits_of(model, batch)[keep]).abs().max() > 1e-2


@of_every_model
def test_what_stands_in_the_padding_is_never_read(name: str) -> None:
    model, batch = build(VARIANTS[name]), batch_of(PAIRS)
    keep = real(batch)
    before = logits_of(model, batch)[keep]
    with torch.no_grad():
        for table in (m for m in model.modules() if isinstance(m, nn.Embedding)):
            table.weight[PAD] = 1e3
    after = logits_of(model, batch)[keep]
    words = [i for i in range(before.shape[-1]) if i != PAD]  # a tied output's own row of PAD did change
    assert_close(after[:, words], before[:, words])


@of_every_model
def test_a_padded_input_gets_no_gradient(name: str) -> None:
    model = build(VARIANTS[name])
    batch_loss(model, batch_of(PAIRS), 0.1).smoothed.backward()
    tables = {n: m.weight for n, m in model.named_modules() if isinstance(m, nn.Embedding)}
    assert tables
    for place, weight in tables.items():
        assert weight.grad is not None
        assert weight.grad[4].any(), (
            place
        )  # a word of both sides; e(y_0) is zero in Cho's paper, so BOS need not have one
        # As the output matrix a row has a gradient from every softmax.
        assert weight is model.projection.weight or not weight.grad[PAD].any(), place


@of_every_model
def test_a_later_target_word_never_moves_an_earlier_logit(name: str) -> None:
    model = build(VARIANTS[name])
    src, tgt = [5, 6, 7, 8], [4, 5, 12, 6, 9]
    before = logits_of(model, batch_of([(src, tgt)]))[0]
    for position in range(len(tgt)):
        changed = [word if t < position else 4 + (word - 3) % 9 for t, word in enumerate(tgt)]
        after = logits_of(model, batch_of([(src, changed)]))[0]
        # tgt[position] is the input of step position + 1.
        assert_close(after[: position + 1], before[: position + 1])
        assert (after[position + 1] - before[position + 1]).abs().max() > 1e-4


# Stepping and searching.


def started(model: Seq2Seq, beam: int = 1) -> tuple[Memory, State]:
    src = batch_of(PAIRS).src
    memory = model.encode(src, src != PAD)
    return memory, model.start(memory, beam, 8)


@of_every_model
def test_selecting_rows_commutes_with_stepping(name: str) -> None:
    model = build(VARIANTS[name])
    with torch.no_grad():
        memory, state = started(model)
        prev = torch.tensor([4, 5, 6, 7, 8])
        state = model.step(torch.full((5,), BOS), memory, state).state
        for chosen in ([4, 2, 0], [1, 1, 3, 0, 2, 2], [0, 1, 2, 3, 4]):
            rows = torch.tensor(chosen)
            # Searches may write a state in place: each way begins with its own copy.
            wanted = model.step(prev, memory, select_rows(state, torch.arange(5)))
            found = model.step(prev[rows], select_rows(memory, rows), select_rows(state, rows))
            for _ in range(2):
                assert_close(found.features, wanted.features[rows])
                wanted = model.step(prev + 1, memory, wanted.state)
                found = model.step(prev[rows] + 1, select_rows(memory, rows), found.state)


@of_every_model
def test_hypotheses_of_a_sentence_do_not_see_each_other(name: str) -> None:
    model, K = build(VARIANTS[name]), 3
    paths = torch.tensor([[4, 5], [6, 7], [8, 4]])  # (K, 2)
    with torch.no_grad():
        memory, beams = started(model, K)
        found = model.step(torch.full((5 * K,), BOS), memory, beams)
        for t in range(2):
            found = model.step(paths[:, t].repeat(5), memory, found.state)
        for k in range(K):
            memory, single = started(model)
            wanted = model.step(torch.full((5,), BOS), memory, single)
            for t in range(2):
                wanted = model.step(paths[k, t].repeat(5), memory, wanted.state)
            assert_close(found.features.view(5, K, -1)[:, k], wanted.features)


@of_every_model
def test_attention_weights_sum_to_one_over_real_positions(name: str) -> None:
    model, batch = build(VARIANTS[name]), batch_of(PAIRS)
    with torch.no_grad():
        memory, state = started(model, 2)
        for t in range(3):
            step = model.step(torch.full((10,), 4 + t), memory, state, want_weights=True)
            state = step.state
            if step.weights is None:
                pytest.skip("a model without attention")
            keep = batch.src_keep.repeat_interleave(2, 0)[:, None, None, :].expand_as(step.weights)
            assert step.weights.dim() == 4  # (R, L, H, S)
            assert not step.weights[~keep].any()
            assert float(step.weights.min()) >= 0
            ones = torch.ones(step.weights.shape[:3]).double()
            luong = [m for m in model.modules() if isinstance(m, LuongAlignment)]
            # The Gaussian takes from a sum of one, and so does a fixed width that is longer than the sentence.
            if any(m.reach == "local_p" or m.score == "location" for m in luong):
                assert (step.weights.sum(-1) > 0).all()
                assert (step.weights.sum(-1) < ones + 1e-12).all()
                assert (step.weights.sum(-1) < ones).any()
            else:
                torch.testing.assert_close(step.weights.sum(-1), ones)
            assert model.step(torch.full((10,), 4), memory, state).weights is None


def greedy(model: Seq2Seq, src: list[int], max_len: int) -> list[int]:
    """The likeliest word at each step, until EOS."""
    ids = pad_rows([src], eos=True)
    memory = model.encode(ids, ids != PAD)
    state, word, found = model.start(memory, 1, max_len), BOS, list[int]()
    for _ in range(max_len):
        step = model.step(torch.tensor([word]), memory, state)
        logits = model.project(step.features)[0]
        logits[[PAD, BOS]] = -torch.inf  # never words of a translation
        state, word = step.state, int(logits.argmax())
        if word == EOS:
            break
        found.append(word)
    return found


@of_every_model
def test_a_beam_of_one_is_greedy(name: str) -> None:
    config = SearchConfig(beam=1, max_len_ratio=0.0, max_len_extra=9)
    seen: set[tuple[int, ...]] = set()
    for seed in range(6):
        model = build(VARIANTS[name], torch.float32, seed=seed)
        with torch.no_grad():
            found = search(model, pad_rows([src for src, _ in PAIRS], eos=True), config)
            wanted = [greedy(model, src, 9) for src, _ in PAIRS]
        assert [hypotheses[0].ids for hypotheses in found] == wanted
        seen |= set(map(tuple, wanted))
    assert len(seen) > 4  # not only translations that end at once
    assert max(map(len, seen)) > 1


@of_every_model
def test_a_beam_as_wide_as_the_space_finds_what_brute_force_finds(name: str) -> None:
    model = build(VARIANTS[name], torch.float32, n_tgt=6)
    # Three words and EOS: 1 + 3 + 9 translations that end within three positions, none of more than 27 prefixes.
    config = SearchConfig(beam=40, max_len_ratio=0.0, max_len_extra=3, length_penalty=0.7)
    src = [4, 5, 4]
    scores = {tuple(ids): score_of(model, pad_rows([src], eos=True), config, ids) for ids in every_string(6, 3)}
    assert len(scores) == 13
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    found = search(model, pad_rows([src, [5]], eos=True), config, n_best=13)[0]
    assert [hypothesis.score for hypothesis in found] == pytest.approx([score for _, score in ranked], abs=1e-5)
    for hypothesis in found:
        assert scores[tuple(hypothesis.ids)] == pytest.approx(hypothesis.score, abs=1e-5)


@of_every_model
def test_a_saved_model_says_the_same_when_it_is_loaded(name: str, tmp_path: Path) -> None:
    config = VARIANTS[name]
    model = build(config, torch.float32)
    made = Recipe.model_validate({**recipe(), "model": config.model_dump()})
    n_src = next(m.num_embeddings for m in model.modules() if isinstance(m, nn.Embedding))
    src, tgt = (Words([f"w{i}" for i in range(n - 4)], None) for n in (n_src, model.projection.out_features))
    weights = {n: p.detach() for n, p in model.named_parameters()}
    model_file.write_model(tmp_path / "m.safetensors", model_file.ModelFile(made, weights, src, tgt, {}))
    loaded = model_file.build(model_file.read_model(tmp_path / "m.safetensors"))
    assert torch.equal(logits_of(loaded, batch_of(PAIRS)), logits_of(model, batch_of(PAIRS)))


@of_every_model
def test_the_models_own_initialisation_fills_every_parameter(name: str) -> None:
    model = build(VARIANTS[name])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    model.initialize()
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
