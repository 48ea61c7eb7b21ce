"""What tests against other people's programs share."""

import socket
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NoReturn

import pytest


@pytest.fixture(scope="module")
def transformers() -> Iterator[ModuleType]:
    """Hugging Face's package, told to stay offline and unable to do otherwise; models are built from configs."""

    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("a test wanted the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TRANSFORMERS_OFFLINE", "1")
        patch.setattr(socket.socket, "connect", refuse)
        import transformers  # seconds, and only for these tests

        yield transformers
