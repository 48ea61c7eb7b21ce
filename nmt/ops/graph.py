"""Work on a CUDA device recorded once and replayed: one launch in place of the hundreds that a step has."""

from collections.abc import Callable
from typing import Any

import torch

Work = Callable[[], None]
Record = Callable[[Work], Work]
"""Makes of some work, which it may do a few times, the same work recorded; RuntimeError where that cannot be."""

_WARM = 2
"""Times that work is done before it is recorded, so that kernels are loaded, and what is made once (workspaces of
libraries, casts of parameters) is made outside of the recording.
"""


class Recorder:
    """Records work on one device; all that it recorded shares one memory for what is made and dropped on the way, so
    only one may be replayed at a time.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, work: Work) -> Work:
        """As `Record`: the work must be the same operations on the same memory every time, and ask for no number."""
        if self._stream is None:
            self._pool, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(self._device)
        # What is recorded must have run before, on the stream that it is recorded from, which is not the default one.
        here, side = torch.cuda.current_stream(self._device), self._stream
        side.wait_stream(here)
        with torch.cuda.stream(side):
            for _ in range(_WARM):
                work()
        here.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.stream(here),  # to which a recording that fails would not come back
            torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"),
        ):
            work()
        return graph.replay


def why_not_recorded(error: RuntimeError) -> str:
    """What a recording failed at, in a line; torch.OutOfMemoryError, which is no reason to go on without, is raised."""
    first: BaseException = error
    while isinstance(first.__context__, RuntimeError):  # that the recording failed, after what it failed at
        first = first.__context__
    if isinstance(first, torch.OutOfMemoryError):
        raise first from None
    return str(first).strip().partition("\n")[0] or type(first).__name__
