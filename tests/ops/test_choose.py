"""Which implementation runs where: the table, what is said of it, and that nothing asked for is left out in silence."""

import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nmt.errors import EnvironmentFault, UsageError
from nmt.ops import additive, choose, packed
from nmt.ops.choose import PLAIN, Asked, choose_kernels
from nmt.ops.fused import library

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
BOTH = {"additive", "packed"}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine that says it has a GPU of some capability, with or without Triton and a compiler."""

    def pretend(capability: tuple[int, int] = (9, 0), triton: bool = True, compiler: bool = True) -> None:
        monkeypatch.delenv("CC", raising=False)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if triton else None)
        monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/cc" if compiler else None)

    return pretend


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="no /proc/cpuinfo here")
def test_a_cpu_has_fast_bfloat16_where_torch_sees_instructions_for_it() -> None:
    seen = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if platform.machine() == "x86_64":
        assert choose.fast_bfloat16(CPU) == (seen and torch.backends.mkldnn.is_available())
    assert choose.fast_bfloat16(CUDA)


@pytest.mark.parametrize("fast", [True, False])
def test_auto_is_the_type_that_is_fast_and_a_named_one_stays(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "instructions", lambda: frozenset({"avx2"} | ({"amx_bf16"} if fast else set())))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert choose.training_dtype("auto", CPU) == ("bfloat16" if fast else "float32")
    assert choose.training_dtype("auto", CUDA) == choose.translation_dtype(CUDA, "auto") == "bfloat16"
    assert [choose.training_dtype(one, CPU) for one in ("float32", "bfloat16")] == ["float32", "bfloat16"]
    assert choose.translation_dtype(CPU, "auto") == "float32"


@pytest.mark.parametrize("asked", ["auto", "plain"])
def test_a_cpu_gets_the_plain_forms_of_attention(asked: Asked) -> None:
    choice = choose_kernels(asked, CPU, "bfloat16", BOTH)
    assert choice.kernels == PLAIN
    assert choice.kernels.additive_attend is additive.attend
    assert choice.kernels.packed_attend is packed.attend
    assert choice.forms == {"packed": "plain"}, "additive attention is among the passes there"


@pytest.mark.skipif(library()[0] is None, reason="there is no C compiler here")
@pytest.mark.parametrize("asked", ["auto", "fused"])
def test_a_cpu_gets_compiled_passes(asked: Asked) -> None:
    choice = choose_kernels(asked, CPU, "float32", {"additive", "passes"})
    assert choice.kernels == replace(PLAIN, passes=library()[0])
    assert choice.forms == {"passes": "fused"}
    assert str(choice) == "kernels: passes between products fused"
    assert choose_kernels("plain", CPU, "float32", {"passes"}).kernels.passes is None


def test_a_gpu_has_no_passes_to_choose_from(gpu: Callable[..., None]) -> None:
    gpu()
    assert choose_kernels("fused", CUDA, "bfloat16", {"passes"}).forms == {}


def test_a_cpu_without_a_compiler_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "library", lambda: (None, "there is no C compiler here; install gcc or clang"))
    choice = choose_kernels("auto", CPU, "float32", {"additive", "passes"})
    assert choice.kernels == PLAIN
    assert str(choice) == ("kernels: passes between products plain (there is no C compiler here; install gcc or clang)")
    with pytest.raises(EnvironmentFault) as caught:
        choose_kernels("fused", CPU, "float32", {"passes"})
    assert str(caught.value) == (
        "error: there is no C compiler here; install gcc or clang\n"
        "  compute.kernels: auto takes the plain forms where it must"
    )


def test_it_says_in_a_line_what_it_came_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(choose_kernels("plain", CPU, "float32", {"packed", "passes"})) == (
        "kernels: attention over packed rows plain, passes between products plain (as the recipe asks)"
    )
    monkeypatch.setattr(choose, "library", lambda: (None, "NMT_NATIVE is 0"))
    assert str(choose_kernels("auto", CPU, "bfloat16", {"packed", "passes"})) == (
        "kernels: attention over packed rows plain (the fused kernels need a CUDA device, and this one is a CPU), "
        "passes between products plain (NMT_NATIVE is 0)"
    )
    assert str(choose_kernels("auto", CPU, "float32", ())) == "kernels: this model has none to choose from"


def test_fused_rows_on_a_cpu_are_an_error() -> None:
    with pytest.raises(EnvironmentFault) as caught:
        choose_kernels("fused", CPU, "bfloat16", {"packed"})
    assert str(caught.value) == (
        "error: the fused kernels need a CUDA device, and this one is a CPU\n"
        "  compute.kernels: auto takes the plain forms where it must"
    )


def test_a_gpu_gets_the_fused_forms(gpu: Callable[..., None]) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    gpu()
    for asked in ("auto", "fused"):
        choice = choose_kernels(asked, CUDA, "bfloat16", BOTH)
        assert choice.forms == {"additive": "fused", "packed": "fused"}
        assert choice.kernels.additive_attend.__module__ == "nmt.ops.additive_triton"
        assert choice.kernels.additive_steps.__module__ == "nmt.ops.additive_triton"
        assert choice.kernels.packed_attend.__module__ == "nmt.ops.packed_triton"
        assert str(choice) == "kernels: additive attention fused, attention over packed rows fused"


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        (
            {"capability": (7, 5)},
            "error: the fused kernels need compute capability 8.0, and this GPU has 7.5\n"
            "  compute.kernels: auto takes the plain forms where it must",
        ),
        (
            {"triton": False},
            "error: the fused kernels need Triton, and it is not installed\n"
            "  pip install 'nmt[kernels]'; or compute.kernels: auto takes the plain forms where it must",
        ),
        (
            {"compiler": False},
            "error: Triton needs a C compiler, and there is none\n"
            "  install gcc, or name one in the variable CC; "
            "or compute.kernels: auto takes the plain forms where it must",
        ),
    ],
)
def test_a_gpu_that_lacks_something(gpu: Callable[..., None], lacking: dict[str, object], said: str) -> None:
    gpu(**lacking)
    assert choose_kernels("auto", CUDA, "bfloat16", BOTH).kernels == PLAIN
    with pytest.raises(EnvironmentFault) as caught:
        choose_kernels("fused", CUDA, "bfloat16", BOTH)
    assert str(caught.value) == said


def test_packed_rows_in_float32_have_no_fused_form(gpu: Callable[..., None]) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    gpu()
    choice = choose_kernels("auto", CUDA, "float32", BOTH)
    assert choice.forms == {"additive": "fused", "packed": "plain"}
    assert str(choice).endswith(
        "additive attention fused, attention over packed rows plain "
        "(attention over packed rows has no fused form for float32)"
    )
    with pytest.raises(UsageError) as caught:
        choose_kernels("fused", CUDA, "float32", BOTH)
    assert str(caught.value) == (
        "error: attention over packed rows has no fused form for float32\n"
        "  use compute.dtype: bfloat16, or compute.kernels: auto"
    )


def test_a_compiler_may_be_named(gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(compiler=False)
    monkeypatch.setenv("CC", "/opt/cc")
    assert choose._machine_fault("additive", CUDA) is None


def test_nothing_imports_triton_by_itself() -> None:
    """Every module of the package, but for the kernels themselves, and what needs an extra that is not there."""
    program = (
        "import pkgutil, importlib, sys, nmt\n"
        "for found in pkgutil.walk_packages(nmt.__path__, 'nmt.', onerror=lambda name: None):\n"
        "    if found.name.endswith(('_triton', '__main__')): continue\n"
        "    try: importlib.import_module(found.name)\n"
        "    except ModuleNotFoundError as missing: assert missing.name == 'ctranslate2', missing\n"
        "assert 'torch' in sys.modules and 'nmt.ops.choose' in sys.modules\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'triton'])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
