"""Validation: what its search has made ready, and that this changes nothing that it says."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from nmt.models.build import build_model
from nmt.ops.choose import PLAIN
from nmt.ops.fused import library
from nmt.ops.ready import Ready
from nmt.recipe import Recipe, SearchConfig
from nmt.training import validation
from nmt.training.distributed import Group
from tests.training import tiny
from tests.training.test_forms import TRANSFORMER

FUSED = library()[0]
MODELS = {"transformer": TRANSFORMER, "bahdanau": tiny.RECIPE["model"]}


@pytest.mark.skipif(FUSED is None, reason="there is no C compiler here")
@pytest.mark.parametrize("name", MODELS)
def test_a_search_has_matrices_made_ready_where_the_training_is_compiled(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(2)
    model = build_model(Recipe.model_validate(tiny.recipe(model=MODELS[name])).model, 12, 12)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.6, 0.6)
    made = list[Ready]()

    def ready(*given: Any) -> Ready:
        made.append(Ready(*given))
        return made[-1]

    monkeypatch.setattr(validation, "Ready", ready)
    tokenizer = cast(Any, SimpleNamespace(decode=lambda rows: [" ".join(map(str, ids)) for ids in rows]))
    src = [np.array(ids, np.int32) for ids in ([5, 6, 7], [8], [9, 4, 4, 10, 11])]
    said = list[list[str]]()
    for passes, matrices in ((None, 0), (FUSED, 1)):
        model.use(replace(PLAIN, passes=passes))
        said.append(validation.translate(model, src, tokenizer, SearchConfig(beam=3, min_len_ratio=1.0), Group()))
        assert len(made) == matrices
    assert made[0].precision == "float32"
    assert said[0] == said[1]
    assert len(set(said[0])) > 1
