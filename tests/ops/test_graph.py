"""What is done to record a step, with CUDA stood in for: a GPU is not asked here whether it likes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from nmt.ops.graph import Recorder


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told, current = list[str](), ["default"]

    class Stream:
        def __init__(self, name: Any) -> None:
            self.name = name if isinstance(name, str) else "side"

        def wait_stream(self, other: Any) -> None:
            told.append(f"{self.name} waits for {other.name}")

    @contextmanager
    def on(stream: Any) -> Iterator[None]:
        before, current[0] = current[0], stream.name
        try:
            yield
        finally:
            current[0] = before

    class Graph:
        def replay(self) -> None:
            told.append(f"replayed on {current[0]}")

    class Recording:
        """As torch's: where it cannot end, it leaves its stream behind."""

        def __init__(self, graph: Any, pool: Any, stream: Any, capture_error_mode: str) -> None:
            told.append(f"recorded for {pool}, {capture_error_mode}")
            self.stream = stream

        def __enter__(self) -> None:
            current[0] = self.stream.name

        def __exit__(self, *fault: object) -> None:
            if fault[0] is not None:
                raise RuntimeError("operation failed due to a previous error during capture")
            current[0] = "default"

    for name, stand_in in {
        "Stream": Stream,
        "stream": on,
        "current_stream": lambda _: Stream(current[0]),
        "CUDAGraph": Graph,
        "graph": Recording,
        "graph_pool_handle": lambda: "one pool",
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda, "now", current, raising=False)
    return told


def test_work_is_done_before_it_is_recorded_and_then_replayed(happened: list[str]) -> None:
    recorder = Recorder(torch.device("cuda"))
    for _ in range(2):
        replay = recorder(lambda: happened.append(f"work on {torch.cuda.now[0]}"))  # pyright: ignore
        replay()
    once = ["side waits for default", "work on side", "work on side", "default waits for side"]
    once += ["recorded for one pool, thread_local", "work on side", "replayed on default"]
    assert happened == 2 * once


def test_a_recording_that_fails_leaves_the_stream_as_it_was(happened: list[str]) -> None:
    def asks() -> None:
        if "recorded for one pool, thread_local" in happened:
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="previous error") as fault:
        Recorder(torch.device("cuda"))(asks)
    assert "not permitted" in str(fault.value.__context__)
    assert torch.cuda.now == ["default"]  # pyright: ignore
