"""What tests of several parts share."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
import torch

# The tensors of tests are small: threads cost more than they give, and tests that run side by side share few cores.
torch.set_num_threads(1)

# Where there is no GPU, Triton's kernels run in its interpreter, which it must know before it is imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of parallel text beside the project; tests that ask for it are skipped where it is not there."""
    root = Path(__file__).resolve().parent.parent
    folder = Path(os.environ.get("NMT_SHARED_DATA") or root.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}: NMT_SHARED_DATA names the one with the parallel text")
    return folder.resolve()


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
