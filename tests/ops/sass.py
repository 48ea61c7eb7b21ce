"""Compiles the kernels for an H100 or H200 without one, and counts what the machine code holds.

    python -m tests.ops.sass NAME...     prints {name: counts} as JSON

Needs Triton and the cuobjdump that comes in its wheel. Not in the process of the tests, whose Triton interprets.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Build:
    """A kernel of a module as one launch would have it.

    floats: type of the inputs' numbers.
    """

    module: str
    kernel: str
    floats: str
    constants: dict[str, Any]
    num_warps: int = 4


def additive(kernel: str, floats: str, **constants: Any) -> Build:
    tanh = 2 if floats == "bf16" else 1  # the GPU's own, or the exact one
    sizes = {"A": 1000, "BLOCK_N": 32, "BLOCK_A": 128, "TANH": tanh}
    return Build("nmt.ops.additive_triton", kernel, floats, {**sizes, **constants})


def packed(kernel: str, num_warps: int, **constants: Any) -> Build:
    sizes = {"C": 64, "GROUP": 1, "BLOCK_Q": 128, "BLOCK_N": 128, "BLOCK_C": 64, "CAUSAL": False, "DROPS": False}
    return Build("nmt.ops.packed_triton", kernel, "bf16", {**sizes, **constants}, num_warps)


def rows(floats: str, **constants: Any) -> Build:
    sizes = {"V": 32000, "BLOCK": 2048, "BIASED": False}
    return Build("nmt.ops.cross_entropy_triton", "_rows_kernel", floats, {**sizes, **constants}, 8)


def cells(kernel: str, **constants: Any) -> Build:
    return Build("nmt.ops.cells_triton", kernel, "bf16", {"BLOCK": 512, **constants})


BUILDS = {
    "weights": additive("_weights_kernel", "bf16", BLOCK_A=16, BLOCK_Q=16, KEY_BLOCKS=1),
    "weights-of-a-beam": additive("_weights_kernel", "bf16", BLOCK_A=32, BLOCK_Q=8, KEY_BLOCKS=1),
    "weights-of-one": additive("_weights_kernel", "bf16", BLOCK_A=256, BLOCK_Q=1, KEY_BLOCKS=1),
    "weights-long": additive("_weights_kernel", "bf16", BLOCK_A=16, BLOCK_Q=16, KEY_BLOCKS=3),
    "weights-fp32": additive("_weights_kernel", "fp32", BLOCK_A=16, BLOCK_Q=16, KEY_BLOCKS=1),
    "one-query": additive("_one_query_kernel", "bf16", KEY_BLOCKS=1),
    "one-query-long-fp32": additive("_one_query_kernel", "fp32", KEY_BLOCKS=3),
    "gradients": additive("_gradients_kernel", "bf16", WANT_DQUERY=True),
    "gradients-of-steps": additive("_gradients_kernel", "bf16", WANT_DQUERY=False),
    "gradients-fp32": additive("_gradients_kernel", "fp32", WANT_DQUERY=True),
    "one-gradient": additive("_one_gradient_kernel", "bf16", KEY_BLOCKS=1),
    "packed": packed("_forward_kernel", 4, BLOCK_Q=64),
    "packed-causal-dropout": packed("_forward_kernel", 4, BLOCK_Q=64, CAUSAL=True, DROPS=True),
    "packed-backward": packed("_backward_kernel", 8),
    "packed-backward-causal-dropout": packed("_backward_kernel", 8, CAUSAL=True, DROPS=True),
    "packed-backward-grouped": packed("_backward_kernel", 8, GROUP=4, C=32, BLOCK_C=32),
    "loss": rows("bf16"),
    "loss-biased-fp32": rows("fp32", BIASED=True),
    "gru-open": cells("_open_kernel", SHARED=True, KEEPS=True),
    "gru-close": cells("_close_kernel"),
    "gru-close-backward": cells("_close_backward_kernel"),
    "gru-open-backward": cells("_open_backward_kernel"),
    "gru": cells("_step_kernel", SHARED=True, KEEPS=True),
    "gru-backward": cells("_step_backward_kernel"),
    "lstm": cells("_lstm_kernel", SHARED=True, KEEPS=True),
    "lstm-backward": cells("_lstm_backward_kernel", KEEPS=True, MORE=True),
}

# Types of arguments that are neither the inputs' numbers nor integers.
_TYPES = {
    **dict.fromkeys(("weights", "dweights", "dscores", "dv", "hide"), "*fp32"),
    **{"may": "*u8", "seed": "*i64", "query_segments": "*i32", "key_segments": "*i32"},
    **{"sharpness": "fp32", "louder": "fp32", "even": "fp32", "at_target": "fp32"},
    **dict.fromkeys(("parts", "dparts", "h", "c", "dh", "dc", "gates", "more", "after", "h_after", "c_after"), "*fp32"),
    **{"out": "*fp32", "keep": "*u8", "targets": "*i64", "nll": "*fp32", "mean": "*fp32", "bias": "*fp32"},
}
_NUMBERS = (
    "query", "keys", "v", "values", "queries", "context", "dcontext", "dquery", "dkeys", "dvalues",
    "logits", "share", "reset", "recurrent", "dn", "dreset", "dgates",
)  # fmt: skip


def count(build: Build) -> dict[str, Any]:
    """Registers, bytes of stack, and instructions by kind, in all and in the innermost loop around tanh."""
    from triton import compile as triton_compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(__import__(build.module, fromlist=["_"]), build.kernel)
    signature = {name: _type(name, build) for name in kernel.arg_names}
    # Memory begins at multiples of 16 bytes; strides of packed heads and rows are multiples of 16 numbers.
    wide = {name for name, kind in signature.items() if kind[0] == "*" or re.fullmatch(r"d?[a-z]+_[bhgqn]", name)}
    if "additive" in build.module:
        wide -= {"may_b", "may_q"}
    attributes = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(kernel.arg_names) if name in wide}
    source = ASTSource(fn=kernel, signature=signature, constexprs=build.constants, attrs=attributes)
    options = {"num_warps": build.num_warps, "enable_fp_fusion": True}
    compiled = triton_compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage, sass = (_dump(flag, file.name) for flag in ("-res-usage", "-sass"))
    registers, stack = (int(_found(rf"{what}:(\d+)", usage)) for what in ("REG", "STACK"))
    code = [(int(at, 16), text) for at, text in re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?);", sass, re.MULTILINE)]
    return {
        "registers": registers,
        "stack": stack,
        "shared": compiled.metadata.shared,
        "all": _kinds(text for _, text in code),
        "loop": _kinds(_innermost(code, "MUFU.TANH" if build.constants.get("TANH") == 2 else "MUFU.RCP")),
    }


def _type(name: str, build: Build) -> str:
    if name in build.constants:
        return "constexpr"
    if name == "dquery" and build.kernel == "_gradients_kernel":
        return "*fp32"
    if name in _TYPES:
        return _TYPES[name]
    return f"*{build.floats}" if name in _NUMBERS else "i32"


def _dump(flag: str, cubin: str) -> str:
    return subprocess.run([cuobjdump(), flag, cubin], capture_output=True, text=True, check=True).stdout


def cuobjdump() -> str:
    """The one in Triton's wheel."""
    import triton

    return str(Path(triton.__path__[0]) / "backends" / "nvidia" / "bin" / "cuobjdump")


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match.group(1)


def _innermost(code: list[tuple[int, str]], wanted: str) -> list[str]:
    """The shortest backward jump's body that holds the wanted instruction; nothing where there is no such loop."""
    bodies = []
    for at, text in code:
        jump = re.search(r"\bBRA\b.*?(0x[0-9a-f]+)", text)
        if jump and int(jump.group(1), 16) < at:
            body = [inside for where, inside in code if int(jump.group(1), 16) <= where <= at]
            if any(wanted in inside for inside in body):
                bodies.append(body)
    return min(bodies, key=len, default=[])


def _kinds(texts: Any) -> dict[str, int]:
    """How many of each: MUFU.TANH and the like by their second word, others by the first."""
    found = Counter[str]()
    for text in texts:
        name = re.sub(r"^@!?U?P\w+\s+", "", text).split()[0].split(".")
        found[".".join(name[:2]) if name[0] == "MUFU" else name[0]] += 1
    return dict(found)


if __name__ == "__main__":
    print(json.dumps({name: count(BUILDS[name]) for name in sys.argv[1:]}))
