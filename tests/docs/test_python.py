"""The examples of docs/python.md, run as they stand."""

import contextlib
import io
import re
from pathlib import Path

import pytest
import torch

from nmt.corpus.learning import learn_sentencepiece
from nmt.model_file import ModelFile, write_model
from nmt.models.build import build_model
from nmt.recipe import CorpusConfig, Recipe, SearchConfig, TokenizerConfig, TrainConfig
from nmt.recipe_models import BahdanauConfig

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
SENTENCES = ["The cat sees the dog.", "Where are you going?", "Le chat voit le chien.", "Où vas-tu ?"]


def small_model(path: Path) -> None:
    """Random weights, and pieces of the sentences on the page."""
    recipe = Recipe(
        name="en-fr",
        corpus=CorpusConfig(src="en", tgt="fr", train="train", valid="valid"),
        model=BahdanauConfig(kind="bahdanau", d_embed=8, d_hidden=8, d_align=8, d_maxout=8),
        train=TrainConfig(batch_tokens=100, updates=1),
        search=SearchConfig(beam=3, max_len_ratio=1.0),
    )
    pieces = learn_sentencepiece(SENTENCES * 10, TokenizerConfig(kind="bpe", vocab=60), "the page")
    torch.manual_seed(1)
    net = build_model(recipe.model, pieces.n_ids, pieces.n_ids)
    weights = {name: torch.randn_like(p) for name, p in net.named_parameters()}
    path.parent.mkdir(parents=True)
    write_model(path, ModelFile(recipe, weights, pieces, pieces, {}))


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_model(Path("runs/en-fr/model.safetensors"))
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) >= 5
    names: dict[str, object] = {}
    printed = []
    for example in examples:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(compile(example, str(PAGE), "exec"), names)
        printed.append(said.getvalue().splitlines())
    translated, best, streamed, others, _ = printed
    assert len(translated) == 3
    assert len(best) > 3
    assert all("->" in line for line in best[3:])
    assert streamed == [
        line for n in (1, 2, 3) for line in (f"line {n} is asked for", f"answered: The cat sees {n} dogs.")
    ]
    assert len(others) == 1
