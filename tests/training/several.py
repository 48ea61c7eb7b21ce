"""Several processes of one training, as torchrun would start them, at the price of forks."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.training.warm import Process, Warm


def start(
    warm: Warm,
    folder: Path,
    size: int,
    args: Sequence[str],
    env: Mapping[str, str] | None = None,
    meddle: Mapping[int, Sequence[Any]] | None = None,
    more: Mapping[int, Sequence[str]] | None = None,
) -> list[Process]:
    """`nmt ARGS` in `size` processes; one is started like any other. `meddle` and `more` arguments by rank."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    places = [{} for _ in range(size)]
    if size > 1:
        places = [
            {
                **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)},
                **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            }
            for rank in range(size)
        ]
    return [
        warm.start(folder, [*args, *(more or {}).get(rank, ())], {**place, **(env or {})}, (meddle or {}).get(rank, ()))
        for rank, place in enumerate(places)
    ]


def wait(processes: Sequence[Process]) -> list[int]:
    """Their exit codes."""
    return [process.wait() for process in processes]


def said(processes: Sequence[Process]) -> str:
    """What they have said, one after the other."""
    return "".join(process.stderr for process in processes)
