"""The server that starts trainings cheaply, for all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.training.warm import Warm


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """One for the session: its start is the price of importing torch."""
    with Warm() as server:
        yield server
