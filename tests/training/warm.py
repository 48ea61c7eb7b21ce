"""Many short `nmt` processes at the price of one start: a server that has imported torch, and forks for each of them.

Run as a program it reads a request a line, `{"start": {...}}` or `{"wait": pid}`, and answers each with a line. It has
one thread, so that forking is safe; each fork runs a command line through `nmt.cli.run`, as `python -m nmt` does, and
can be killed like any process. `Warm` is the side of the tests.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """That of a subprocess which must import the nmt of this tree, in one thread."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass
class Process:
    """A started command line. `code` is as subprocess has it: minus the signal's number for one that was killed."""

    warm: "Warm"
    pid: int
    stderr_path: Path
    code: int | None = None

    def wait(self) -> int:
        """Its exit code; until then its pid is nobody else's."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(self.warm.ask({"wait": self.pid}))
        return self.code

    def send(self, number: int) -> None:
        """A signal to it; nothing where it has ended already."""
        if self.code is None:
            os.kill(self.pid, number)

    @property
    def stderr(self) -> str:
        """What it has said so far."""
        return self.stderr_path.read_text()


class Warm:
    """The server's other end."""

    def __enter__(self) -> Self:
        self.started = 0
        self.server = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.close()
        self.server.stdout.close()
        self.server.wait()

    def ask(self, request: Mapping[str, Any]) -> Any:
        """The server's answer."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def start(
        self, folder: Path, args: Sequence[str], env: Mapping[str, str] | None = None, meddle: Sequence[Any] = ()
    ) -> Process:
        """`nmt ARGS` in a folder; `meddle` names a function of tests/training/meddling.py to call first, with its
        arguments.
        """
        self.started += 1
        stderr = folder / f"stderr-{self.started}.txt"
        stderr.touch()
        request = {
            "cwd": str(folder),
            "args": [*args],
            "env": {**(env or {})},
            "meddle": [*meddle],
            "stderr": str(stderr),
        }
        return Process(self, self.ask({"start": request}), stderr)


def _serve() -> None:
    sys.path.insert(0, str(ROOT))
    import torch

    import nmt.commands.train
    import nmt.console
    import nmt.recipe_file  # noqa: F401
    from tests.training import meddling  # noqa: F401

    torch.set_num_threads(1)
    # Half of a start is what torch imports late, with its first optimiser.
    layer = torch.nn.Linear(2, 2)
    layer(torch.ones(1, 2)).sum().backward()
    torch.optim.Adam(layer.parameters(), fused=True).step()
    torch.use_deterministic_algorithms(False)
    threads = len(os.listdir("/proc/self/task"))
    assert threads == 1, f"forking with {threads} threads is not safe"
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitpid(request["wait"], 0)[1]
        else:
            answer = os.fork()
            if answer == 0:
                _become(request["start"])
        print(json.dumps(answer), flush=True)


def _become(request: dict[str, Any]) -> None:
    """The rest of a fork's life."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(request["cwd"])
        os.environ.update(request["env"])
        null = os.open(os.devnull, os.O_RDONLY)
        err = os.open(request["stderr"], os.O_WRONLY)
        for fd, place in ((null, 0), (err, 1), (err, 2)):
            os.dup2(fd, place)
        from nmt.cli import run
        from tests.training import meddling

        name, *args = request["meddle"] or ["nothing"]
        with getattr(meddling, name)(*args):
            code = run(request["args"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
