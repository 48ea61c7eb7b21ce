"""What is compiled equals what it stands for: torch in float64, at odd sizes, with strides, masks and numbers that are
no numbers; and it is made once, for this processor, or says why it is not.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nmt.ops import additive, dot, fused, gru, lstm, native_build, top
from nmt.ops.native import Native, library, native_for, using

SIZES = [1, 2, 15, 16, 17, 63, 64, 65, 129, 1000]


@pytest.fixture(scope="module")
def made() -> Native:
    found, why = library()
    if found is None:
        pytest.skip(why)
    return found


def rows(R: int, V: int, seed: int = 1) -> Tensor:
    """Numbers (R, V) that are not contiguous from row to row."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(R, V + 3, generator=draw)[:, 1 : V + 1] * 4


# --- logits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("V", SIZES)
def test_the_normalizer_is_that_of_float64(made: Native, V: int) -> None:
    logits = rows(5, V)
    torch.testing.assert_close(made.log_normalizer(logits).double(), logits.double().logsumexp(1, keepdim=True))


def test_numbers_far_below_the_largest_count_nothing_and_none_overflows(made: Native) -> None:
    logits = torch.tensor([[3e38, -3e38, 0.0], [-torch.inf, 2.0, -torch.inf], [-87.2, -87.3, 0.0], [1e4, 1e4, 0.0]])
    truth = logits.double().logsumexp(1, keepdim=True)
    torch.testing.assert_close(made.log_normalizer(logits).double(), truth)


@pytest.mark.parametrize("V", [3, 40])
@pytest.mark.parametrize("at", [0, 2])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_row_without_a_finite_sum_has_no_finite_normalizer(made: Native, bad: float, at: int, V: int) -> None:
    logits = rows(3, V)
    logits[1, at] = bad
    assert made.log_normalizer(logits).isfinite().flatten().tolist() == [True, False, True]
    assert not made.log_normalizer(torch.full((1, V), -torch.inf)).isfinite()


@pytest.mark.parametrize("V", SIZES)
@pytest.mark.parametrize("n", [1, 3, 9])
def test_the_largest_are_torchs_and_of_equal_ones_the_first(made: Native, V: int, n: int) -> None:
    for logits in (rows(6, V), rows(6, V, seed=2).round()):  # rounded: many are equal
        kept = min(n, V)
        values, ids = made.largest(logits, kept)
        truth = logits.sort(dim=1, descending=True, stable=True)
        assert torch.equal(values, truth.values[:, :kept])
        assert torch.equal(ids, truth.indices[:, :kept])


def test_what_is_forbidden_comes_last(made: Native) -> None:
    logits = torch.full((1, 200), -torch.inf)
    logits[0, [150, 70]] = torch.tensor([1.0, 2.0])
    values, ids = made.largest(logits, 4)
    assert ids.tolist() == [[70, 150, 0, 1]]
    assert values.tolist() == [[2.0, 1.0, -torch.inf, -torch.inf]]


# --- products of 8 bits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("I", SIZES)
def test_rows_as_whole_numbers_are_the_nearest_ones(made: Native, I: int) -> None:  # noqa: E741
    x = rows(7, I)
    numbers, scales = made.quantized(x)
    torch.testing.assert_close(scales, x.abs().amax(1, keepdim=True) / 127)
    error = (numbers.double() - 128) * scales.double() - x.double()
    assert bool((error.abs() <= 0.5001 * scales).all())
    assert int(numbers.min()) >= 1


def test_a_row_of_zeros_stays_zero(made: Native) -> None:
    assert made.quantized(torch.zeros(1, 20))[0].tolist() == [[128] * 20]


@pytest.mark.parametrize("O", SIZES)
def test_what_is_rectified_has_all_of_eight_bits(made: Native, O: int) -> None:  # noqa: E741
    y, scales, bias = rows(7, O).contiguous(), torch.linspace(0.1, 2, 7)[:, None].contiguous(), torch.linspace(-1, 1, O)
    y[3] = -100.0  # nothing is left of it
    truth = torch.addcmul(bias, y, scales).relu()
    numbers, found = made.requantized(y.clone(), scales, bias)
    some = truth.amax(1) > 0
    torch.testing.assert_close(found[some], truth.amax(1, keepdim=True)[some] / 255)
    error = numbers.double() * found.double() - truth.double()
    assert bool((error.abs() <= 0.5001 * found).all())
    assert numbers.amax(1)[some].unique().tolist() == [255]
    assert numbers[3].unique().tolist() == [0]


@pytest.mark.parametrize("biased", [False, True])
def test_a_survey_of_what_is_scaled_first(made: Native, biased: bool) -> None:
    y, scales = rows(5, 300).contiguous(), torch.linspace(0.1, 2, 5)[:, None].contiguous()
    bias = torch.linspace(-1, 1, 300) if biased else None
    logits = made.dequantize_(y.clone(), scales, bias, relu=False)
    tally = made.tally(5, 7)
    tally.add(y, scales, bias)
    for one, other in zip(tally.found(), made.survey(logits.clone(), 7), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(y, logits)


@pytest.mark.parametrize("n", [1, 9])
def test_a_survey_part_by_part(made: Native, n: int) -> None:
    for logits in (rows(6, 300), rows(6, 300, seed=2).round(), rows(6, 300).sort(1).values, rows(6, 300) * 40):
        tally = made.tally(6, n)
        for part in logits.split([9, 1, 150, 64, 70, 6], 1):
            tally.add(part)
        values, ids, log_z = tally.found()
        truth = logits.sort(dim=1, descending=True, stable=True)
        assert torch.equal(values, truth.values[:, :n])
        assert torch.equal(ids, truth.indices[:, :n])
        torch.testing.assert_close(log_z.double(), logits.double().logsumexp(1, keepdim=True))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("at", [0, 5, 39])
def test_what_is_no_number_in_any_part_shows(made: Native, at: int, bad: float) -> None:
    logits = rows(3, 40)
    logits[1, at] = bad
    tally = made.tally(3, 4)
    for part in logits.split(10, 1):
        tally.add(part)
    assert tally.found()[2].isfinite().flatten().tolist() == [True, False, True]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_scales_and_bias_come_back(made: Native, relu: bool, biased: bool) -> None:
    if relu and not biased:
        pytest.skip("no product of a model is so")
    y, scales = rows(3, 37).contiguous(), torch.tensor([[0.5], [2.0], [3.0]])
    bias = torch.linspace(-3, 3, 37) if biased else None
    truth = y * scales + (0.0 if bias is None else bias)
    found = made.dequantize_(y.clone(), scales, bias, relu)
    torch.testing.assert_close(found, truth.relu() if relu else truth)


# --- gated units ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("H", [1, 15, 16, 40])
def test_a_step_of_an_lstm_is_that_of_float64(made: Native, H: int) -> None:
    x, y, c = rows(5, 4 * H), rows(5, 4 * H, seed=2).contiguous(), rows(5, H, seed=3).contiguous()
    eye = torch.eye(4 * H, dtype=torch.float64)[:, :H]
    found = made.lstm(x, y, c)
    truth = lstm.lstm_step((x + y).double(), torch.zeros(5, H, dtype=torch.float64), c.double(), eye)
    for one, other in zip(found, truth, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bias", ["none", "a row", "each"])
@pytest.mark.parametrize("H", [1, 15, 16, 40])
def test_a_step_of_a_gru_is_that_of_float64(made: Native, H: int, bias: str) -> None:
    x, h = rows(5, 3 * H), rows(5, H, seed=2).contiguous().tanh()
    U_zr, U = rows(2 * H, H, seed=3) / H**0.5, rows(H, H, seed=4) / H**0.5
    u = {"none": None, "a row": rows(1, H)[0].contiguous(), "each": rows(5, H)}[bias]
    wide = [None if tensor is None else tensor.double() for tensor in (x, h, U_zr, U, u)]
    truth = gru.gru_step(*wide)  # pyright: ignore[reportArgumentType]
    with torch.inference_mode(), using(made):
        found = gru.gru_step(x, h, U_zr.contiguous(), U.contiguous(), u)
    torch.testing.assert_close(found.double(), truth, rtol=1e-5, atol=2e-6)


def test_gates_far_from_zero_are_open_or_shut(made: Native) -> None:
    x = torch.tensor([[-200.0, 200.0, 200.0, -200.0], [200.0, -200.0, -200.0, 200.0]])
    h, c = made.lstm(x, torch.zeros(2, 4), torch.tensor([[3.0], [3.0]]))
    torch.testing.assert_close(c, torch.tensor([[3.0], [-1.0]]))
    torch.testing.assert_close(h, torch.tensor([[0.0], [-1.0]]).tanh())


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ["gru", "gru after", "lstm"])
def test_a_whole_sequence_is_that_of_torch(made: Native, cell: str, reverse: bool) -> None:
    S, B, H = 7, 4, 20
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(S, B, (4 if cell == "lstm" else 3) * H, generator=draw)
    U = torch.randn(4 * H, H, generator=draw) / 4
    keep = torch.arange(S)[:, None] < torch.tensor([7, 1, 4, 7])

    def scanned() -> Tensor:
        if cell == "lstm":
            h, c = lstm.lstm_scan(x, U, keep, None, reverse)
            return torch.cat([h, c[None]])
        bias = torch.linspace(-1, 1, H) if cell == "gru after" else None
        return gru.gru_scan(x, U[: 2 * H], U[2 * H : 3 * H], keep, reverse, u_bias=bias)

    truth = scanned()
    with torch.inference_mode(), using(made):
        found = scanned()
    torch.testing.assert_close(found, truth, rtol=1e-5, atol=1e-6)


# --- additive attention -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("Q", "N", "A", "C"), [(1, 1, 8, 16), (5, 15, 64, 128), (3, 33, 20, 70), (2, 7, 512, 5)])
def test_additive_attention_is_that_of_float64(made: Native, Q: int, N: int, A: int, C: int) -> None:
    draw = torch.Generator().manual_seed(5)
    # As projections leave them: beside other numbers.
    query = (3 * torch.randn(4, Q, A + 3, generator=draw))[..., :A]
    keys, values = torch.randn(4, N, A + C, generator=draw).split([A, C], -1)
    v, keep = torch.randn(A, generator=draw), torch.rand((4, N), generator=draw) < 0.6
    keep[:, 0] = True
    truth, shares = additive.attend(query.double(), keys.double(), values.double(), v.double(), keep)
    keys, values = (x.masked_fill(~keep[..., None], torch.nan) for x in (keys, values))  # not even read
    context, weights = made.additive(query, keys, values, v, keep)
    torch.testing.assert_close(weights.double(), shares, rtol=0, atol=2e-6)
    torch.testing.assert_close(context.double(), truth, rtol=0, atol=1e-5)
    with torch.inference_mode(), using(made):
        assert torch.equal(additive.attend(query, keys, values, v, keep)[0], context)
    alone, _ = made.additive(query[2:3], keys[2:3], values[2:3], v, keep[2:3])
    assert torch.equal(alone[0], context[2])


@pytest.mark.parametrize("x", [0.0, 1e-4, 0.5, 3.0, 20.0, 1e4, float("inf"), float("nan")])
def test_a_score_is_the_hyperbolic_tangent(made: Native, x: float) -> None:
    """Of two keys: the log of the ratio of the weights is the difference of the scores."""
    one = torch.ones(1)
    query, keys = torch.zeros(1, 1, 1), torch.tensor([[[x], [-x]]])
    _, weights = made.additive(query, keys, torch.zeros(1, 2, 1), one, torch.ones(1, 2, dtype=torch.bool))
    found = (weights[0, 0, 0] / weights[0, 0, 1]).log() / 2
    torch.testing.assert_close(found, torch.tensor(x).tanh(), rtol=0, atol=1e-6, equal_nan=True)


# --- attention --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("H", "G"), [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize(("Q", "N", "C"), [(1, 1, 8), (5, 15, 64), (3, 33, 20), (7, 7, 16)])
@pytest.mark.parametrize("masked", ["not", "keys", "pairs"])
def test_attention_is_that_of_float64(made: Native, H: int, G: int, Q: int, N: int, C: int, masked: str) -> None:
    draw = torch.Generator().manual_seed(4)
    # As projections leave them: heads side by side, queries, keys and values in one tensor.
    query = torch.randn(2, Q, H * C + 5, generator=draw)[..., : H * C].unflatten(-1, (H, C)).transpose(1, 2)
    both = torch.randn(2, N, 2 * G * C, generator=draw)
    keys, values = (x.unflatten(-1, (G, C)).transpose(1, 2) for x in both.chunk(2, -1))
    keep = None
    if masked != "not":
        keep = torch.rand((2, 1, 1 if masked == "keys" else Q, N), generator=draw) < 0.6
        keep[..., 0] = True
    context, weights = made.attend(query, keys, values, keep)
    with torch.inference_mode(), using(made):
        assert torch.equal(dot.context(query, keys, values, keep), context)
        assert torch.equal(dot.attend(query, keys, values, keep)[1], weights)
    doubles = (query.double(), keys.double(), values.double())
    truth, shares = dot.attend(*doubles, keep)
    torch.testing.assert_close(context.double(), truth, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weights.double(), shares, rtol=1e-5, atol=1e-6)


def test_what_may_not_be_seen_may_be_anything(made: Native) -> None:
    query, keys, values = (torch.randn(1, 2, 4, 16) for _ in range(3))
    keep = torch.tensor([True, True, False, True])[None, None, None]
    truth = made.attend(query, keys, values, keep)[0]
    keys[:, :, 2] = values[:, :, 2] = torch.nan
    assert torch.equal(made.attend(query, keys, values, keep)[0], truth)


def test_neighbours_change_no_bit(made: Native) -> None:
    query, keys, values = (torch.randn(6, 2, 3, 24) for _ in range(3))
    logits = rows(6, 300)
    for i in range(6):
        alone = made.attend(query[i : i + 1], keys[i : i + 1], values[i : i + 1], None)[0]
        assert torch.equal(alone, made.attend(query, keys, values, None)[0][i : i + 1])
        assert torch.equal(made.log_normalizer(logits[i : i + 1]), made.log_normalizer(logits)[i : i + 1])


# --- in use -----------------------------------------------------------------------------------------------------------


def test_they_are_in_use_only_for_float32_without_gradients(made: Native) -> None:
    x = torch.randn(2, 200)
    with using(made):
        assert native_for(x) is None, "autograd"
        with torch.inference_mode():
            assert native_for(x) is made
            assert native_for(x, x.double()) is native_for(x.bfloat16()) is native_for(x.T) is None
            torch.testing.assert_close(top.log_normalizer(x), x.logsumexp(1, keepdim=True))
    with torch.inference_mode():
        assert native_for(x) is None


# --- both libraries, this one and that of ops/fused.py ----------------------------------------------------------------

MAKERS = {"native": library, "fused": fused.library}
each_library = pytest.mark.parametrize("name", MAKERS)


@each_library
@pytest.mark.usefixtures("made")
def test_it_is_compiled_once_and_kept(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    make = MAKERS[name].__wrapped__
    assert make()[0] is not None
    kept = list((tmp_path / "nmt").iterdir())
    assert [(path.name.split("-")[0], path.suffix) for path in kept] == [(name, ".so")]
    monkeypatch.setattr(native_build, "_compile", lambda *_: pytest.fail("it was there"))
    assert make()[0] is not None
    assert list((tmp_path / "nmt").iterdir()) == kept


def test_a_file_that_changes_makes_its_own_libraries_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file that is included is known to be: a library never outlives its source."""
    folder = Path(native_build.__file__).parent
    for path in (*folder.glob("*.c"), *folder.glob("*.h")):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(native_build, "__file__", str(tmp_path / "native_build.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/cc")
    monkeypatch.setattr(native_build, "_compile", lambda compiler, source, path: path.touch())

    def files() -> dict[str, Path | None]:
        return {name: native_build.library_file(name)[0] for name in MAKERS}

    before = files()
    assert None not in before.values()
    assert files() == before
    for name in MAKERS:
        included = [f"{name}.c", *re.findall('#include "(.*)"', (tmp_path / f"{name}.c").read_text())]
        assert len(included) > 3
        for part in included:
            with (tmp_path / part).open("a") as source:
                source.write("/* */")
            after = files()
            assert after[name] != before[name], part
            before = after


@each_library
def test_where_it_cannot_be_it_says_why(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = MAKERS[name].__wrapped__
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("NMT_NATIVE", "0")
    assert make() == (None, "NMT_NATIVE is 0")
    monkeypatch.delenv("NMT_NATIVE")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert make() == (None, "there is no C compiler here; install gcc or clang")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/false")

    def fails(*_: object, **__: object) -> None:
        raise subprocess.CalledProcessError(1, "cc", stderr=f"{name}.c:1: no")

    monkeypatch.setattr(subprocess, "run", fails)
    assert make() == (None, f"/usr/bin/false made no library of {name}.c: {name}.c:1: no")
    assert list((tmp_path / "nmt").iterdir()) == []
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert make()[0] is None


@each_library
def test_a_file_that_is_no_library_is_none(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{name}.so").write_text("no library")
    monkeypatch.setattr(native_build, "library_file", lambda name: (tmp_path / f"{name}.so", ""))
    found, why = MAKERS[name].__wrapped__()
    assert found is None
    assert why.startswith(f"the library of {name}.c cannot be loaded: ")
