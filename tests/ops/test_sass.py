"""What the kernels become on an H100 or H200, without one: a budget of registers and instructions.

The special unit takes a warp's tanh in 8 cycles, and one instruction is issued in each: above 8 instructions a tanh
the others would set the pace. Counted in the loop, which runs hundreds of times; what stands around it runs once.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ops.sass import BUILDS

pytest.importorskip("triton", reason="Triton is not installed: nothing compiles the kernels")

QUICK = [
    "weights",
    "one-query",
    "gradients",
    "one-gradient",
    "packed",
    "packed-backward",
    "loss",
    "gru",
    "lstm-backward",
]
SLOW = [name for name in BUILDS if name not in QUICK]
names = pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])

REGISTERS = {
    # At 4 warps a program 168 registers let three of them share a processor, 128 four.
    **dict.fromkeys(
        (
            "weights-of-one",
            "weights-of-a-beam",
            "weights",
            "weights-fp32",
            "one-query",
            "one-query-long-fp32",
            "one-gradient",
        ),
        128,
    ),
    **dict.fromkeys(("weights-long", "gradients", "gradients-of-steps", "gradients-fp32"), 168),
    # One tile of 128 x 128 scores, at 8 warps a program all that there is.
    **{"packed": 168, "packed-causal-dropout": 168, "packed-backward": 255, "packed-backward-causal-dropout": 255},
    "packed-backward-grouped": 255,
    # At 8 warps a program 64 registers let four of them share a processor.
    **{"loss": 64, "loss-biased-fp32": 64},
    **dict.fromkeys(("gru-open", "gru-close", "gru-close-backward", "gru-open-backward", "gru", "gru-backward"), 64),
    **{"lstm": 64, "lstm-backward": 64},
}


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    """Counts by name, made when they are first asked for."""
    return {}


def counts(compiled: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in compiled:
        missing = [other for other in (QUICK if name in QUICK else SLOW) if other not in compiled]
        environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {
            "TRITON_DEFAULT_FP_FUSION": "1"
        }
        program = [sys.executable, "-m", "tests.ops.sass", *missing]
        root = Path(__file__).parents[2]
        done = subprocess.run(program, cwd=root, env=environment, capture_output=True, text=True)
        if "cuobjdump" in done.stderr and "No such file" in done.stderr:
            pytest.skip("this Triton comes without cuobjdump")
        assert done.returncode == 0, done.stderr
        compiled.update(json.loads(done.stdout))
    return compiled[name]


@names
def test_nothing_spills_and_registers_keep_to_their_limit(compiled: dict[str, Any], name: str) -> None:
    found = counts(compiled, name)
    assert found["stack"] == 0
    assert not {"LDL", "STL"} & found["all"].keys()
    assert found["registers"] <= REGISTERS[name]


@names
def test_few_numbers_cross_between_threads(compiled: dict[str, Any], name: str) -> None:
    found = counts(compiled, name)
    assert found["all"].get("SHFL", 0) <= 64
    assert "SHFL" not in found["loop"] or name == "weights-of-one"  # whose threads share out A
    assert not {"ATOM", "ATOMG", "RED", "REDG"} & found["all"].keys()
    if name.startswith("gradients"):
        assert "SHFL" not in found["all"]


@pytest.mark.parametrize(
    ("name", "elements", "most"),
    [
        # elements: of a tile, by the threads of 4 warps: 16 x 16 x 32 and 32 x 128.
        ("weights", 64, 6.0),
        ("one-query", 32, 8.0),
        ("gradients", 32, 8.0),
        pytest.param("weights-of-one", 64, 8.0, marks=pytest.mark.slow),
        pytest.param("weights-of-a-beam", 64, 8.0, marks=pytest.mark.slow),
        pytest.param("weights-long", 64, 6.0, marks=pytest.mark.slow),
        pytest.param("gradients-of-steps", 32, 7.0, marks=pytest.mark.slow),
    ],
)
def test_a_tanh_is_one_instruction_and_the_others_keep_its_pace(
    compiled: dict[str, Any], name: str, elements: int, most: float
) -> None:
    loop = counts(compiled, name)["loop"]
    assert loop["MUFU.TANH"] == elements
    assert sum(loop.values()) / elements <= most


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "elements"), [("weights-fp32", 64), ("one-query-long-fp32", 32), ("gradients-fp32", 32)]
)
def test_an_exact_tanh_is_two(compiled: dict[str, Any], name: str, elements: int) -> None:
    """And 16 cycles of the special unit."""
    loop = counts(compiled, name)["loop"]
    assert loop["MUFU.EX2"] == loop["MUFU.RCP"] == elements
    assert sum(loop.values()) / elements <= 16


@pytest.mark.parametrize("name", ["packed", "packed-backward"])
def test_products_run_on_the_tensor_cores(compiled: dict[str, Any], name: str) -> None:
    found = counts(compiled, name)["all"]
    assert found["HGMMA"] > 0
    assert "HMMA" not in found


def test_every_build_has_a_limit() -> None:
    assert REGISTERS.keys() == BUILDS.keys()
    assert importlib.util.find_spec("triton") is not None
