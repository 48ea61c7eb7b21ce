"""Each attention of the modern Transformer learns to write a string backwards; `full` is in test_reverse."""

import random

import pytest

from nmt.recipe_models import ModernConfig
from tests.learning.test_reverse import learn, share_right, strings
from tests.properties.kinds import tiny


@pytest.mark.parametrize("attention", ["window", "strided", "linear"])
def test_every_attention_learns_to_reverse_short_strings_in_seconds(attention: str) -> None:
    """As test_reverse has it for every kind."""
    model = learn(tiny(ModernConfig, width=32, attention=attention), (2, 4), alphabet=8, updates=200, lr=1e-2, batch=64)
    assert share_right(model, strings(random.Random(2), 200, 8, 2, 4)) > 0.7


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("attention", ["window", "strided", "linear"])
def test_every_attention_reverses_nearly_all_unseen_strings(attention: str) -> None:
    """With a window of 3 to either side in strings of up to 12: what is further away comes through the second layer."""
    config = tiny(ModernConfig, width=64, attention=attention)
    model = learn(config, (5, 12), alphabet=30, updates=1500, lr=5e-3, batch=64)
    assert share_right(model, strings(random.Random(2), 500, 30, 5, 12)) >= 0.95
