"""Recipes from text: faults named by line and nearest key, nothing evaluated, what is written reads back the same."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nmt.errors import UsageError
from nmt.recipe import Recipe
from nmt.recipe_faults import value_faults
from nmt.recipe_file import dump_recipe, load_recipe, recipe_schema

SMALL = """\
name: small
corpus: {src: en, tgt: fr, train: train, valid: valid}
model: {kind: bahdanau}
train: {batch_tokens: 4096, updates: 100}
"""

# Every section and every optional one, so that its dump holds nearly all keys there are.
FULL = """\
name: full
corpus:
  src: en
  tgt: fr
  train: [train, {src: more.en, tgt: more.fr, weight: 2}]
  valid: {src: valid.en, tgt: valid.fr}
  test: test
  downloads:
    - {url: "https://example.org/a.tar", sha256: "%s", members: {inside.en: train.en}}
model: {kind: bahdanau, initialization: {kind: uniform, scale: 0.08}}
train:
  batch_tokens: 4096
  updates: 100
  optimizer: {kind: adam, betas: [0.9, 0.98]}
  schedule: {kind: plateau}
  switch: {at_update: 50, optimizer: {kind: sgd}, lr: 0.1, schedule: {kind: inverse_sqrt}}
  average: {of: last, count: 3}
""" % ("0" * 64)


@pytest.fixture
def recipe_path(tmp_path: Path) -> Path:
    return tmp_path / "r.yaml"


def load(path: Path, text: str | bytes, *overrides: str) -> Recipe:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_recipe(path, overrides)


def faults(path: Path, text: str | bytes, *overrides: str) -> list[str]:
    """The lines that a person sees, with the folder left out."""
    with pytest.raises(UsageError) as caught:
        load(path, text, *overrides)
    assert caught.value.exit_code == 2
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()


def train_with(line: str) -> str:
    return SMALL.replace("updates: 100", f"updates: 100, {line}")


# --- keys -------------------------------------------------------------------------------------------------------------


def key_lines(text: str) -> list[tuple[int, str]]:
    """(line from 0, key) of every key in a dump, but those that users choose themselves."""
    found = []
    for i, line in enumerate(text.splitlines()):
        key = line.strip().removeprefix("- ").partition(":")[0]
        if ":" in line and key != "inside.en":
            found.append((i, key))
    return found


def full_dump(path: Path) -> str:
    return dump_recipe(load(path, FULL))


def section_paths(values: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(values, dict) and path[-1:] != ("members",):
        for key, value in values.items():
            yield (*path, key)
            yield from section_paths(value, (*path, key))
    if isinstance(values, list):
        for i, item in enumerate(values):
            yield from section_paths(item, (*path, i))


def test_every_letter_left_out_or_put_in_is_caught_and_the_key_suggested(recipe_path: Path) -> None:
    values = load(recipe_path, FULL).model_dump()
    values["train"]["optimizer"]["betas"] = list(values["train"]["optimizer"]["betas"])
    rng = random.Random(1)
    paths = list(section_paths(values))
    assert len(paths) > 90
    for path in paths:
        key = str(path[-1])
        wrong = {key[:i] + key[i + 1 :] for i in range(len(key))}
        wrong |= {key[:i] + rng.choice("aeiouxz_") + key[i:] for i in range(len(key) + 1)}
        parent = values
        for part in path[:-1]:
            parent = parent[part]
        items = list(parent.items())
        for typo in wrong - set(parent) - {"", key}:
            parent.clear()
            parent.update({typo if name == key else name: value for name, value in items})
            with pytest.raises(ValidationError) as caught:
                Recipe.model_validate(values)
            [found] = [fault for fault in value_faults(caught.value, Recipe, values) if "is not a key" in fault.what]
            assert found.path == (*path[:-1], typo)
            assert found.hint.startswith(f"did you mean: {key}"), (path, typo, found)
        parent.clear()
        parent.update(items)


def test_a_typo_of_each_key_is_named_with_its_line(recipe_path: Path) -> None:
    lines = full_dump(recipe_path).splitlines()
    for i, key in key_lines("\n".join(lines)):
        typo = key[0] + "q" + key[1:]
        changed = [*lines[:i], lines[i].replace(f"{key}:", f"{typo}:", 1), *lines[i + 1 :]]
        printed = faults(recipe_path, "\n".join(changed))
        at = next(n for n, line in enumerate(printed) if line.startswith(f"error: r.yaml:{i + 1}: "))
        assert f"{typo} is not a key" in printed[at]
        assert printed[at + 1].startswith(f"  did you mean: {key}")


def test_every_key_written_twice_is_named_with_both_lines(recipe_path: Path) -> None:
    lines = full_dump(recipe_path).splitlines()
    for i, key in key_lines("\n".join(lines)):
        if lines[i].lstrip().startswith("- "):
            indent = lines[i].index("-") + 2
            at, first, second = i + 1, i + 1, i + 2
        else:
            indent = len(lines[i]) - len(lines[i].lstrip())
            at, first, second = i, i + 1, i + 2
        doubled = [*lines[:at], " " * indent + f"{key}: 1", *lines[at:]]
        printed = faults(recipe_path, "\n".join(doubled))
        assert any(
            line.startswith(f"error: r.yaml:{second}: ")
            and line.endswith(f"{key} stands twice: in line {first} and here")
            for line in printed
        ), printed


def test_the_message_of_the_design(recipe_path: Path) -> None:
    assert faults(recipe_path, SMALL.replace("bahdanau}", "bahdanau, dropuot: 0.3}")) == [
        "error: r.yaml:3: model.dropuot is not a key of BahdanauConfig",
        "  did you mean: dropout",
    ]


def test_a_key_that_was_renamed_is_told_its_new_name(recipe_path: Path) -> None:
    changed = SMALL.replace("train: {", "train: {accumulate: 4, ")
    assert changed != SMALL
    [what, hint] = faults(recipe_path, changed)
    assert what.endswith("train.accumulate is not a key of TrainConfig")
    assert hint == "  it is called train.grad_parts now"
    assert faults(recipe_path, SMALL, "train.accumulate=4")[1] == hint


ALL_FAULTS = """\
error: r.yaml:1: name must be up to 100 letters, digits and . _ - that begin with a letter or digit, \
not the text '../x'
error: r.yaml:4: corpus.tgt must be text, not 2
  put it in quotes to make it text
error: r.yaml:5: corpus.train.1 must be text or a mapping with src and tgt, not 3
  put it in quotes to make it text
error: r.yaml:5: corpus.train.2.wieght is not a key of TextPair
  did you mean: weight
error: r.yaml:6: corpus.valid must be text or a mapping with src and tgt, not 5
  put it in quotes to make it text
error: r.yaml:7: corpus.downloads.0.url must be an address that begins with http:// or https://, \
not the text 'ftp'
error: r.yaml:7: corpus.downloads.0.sha256 must be 64 hexadecimal digits in lower case, not 123
  put it in quotes to make it text
error: r.yaml:8: tokenizer.kind must be bpe, unigram, char, word or marian, not the text 'bep'
  did you mean: bpe
error: r.yaml:8: tokenizer.vocab must be a whole number above 0 or a mapping with src and tgt, \
not the text '8_000'
  write 8000
error: r.yaml:8: tokenizer.joint must be true or false, not the text 'yes'
  write true
error: r.yaml:10: model.initialization must be a mapping with kind: paper, uniform, normal, orthogonal or xavier, \
not the text 'xavier'
  write {kind: xavier}
error: r.yaml:11: model.d_hiden is not a key of BahdanauConfig
  did you mean: d_hidden
error: r.yaml:14: train.batch_tokens must be a whole number above 0, auto or null, not 10000.0
  write 10000
error: r.yaml:15: train.batch_tokens stands twice: in line 14 and here
  keep one of them
error: r.yaml:16: train.upates is not a key of TrainConfig
  did you mean: updates
error: r.yaml:17: train.lr must be a number above 0, not -1
error: r.yaml:18: train.beam is not a key of TrainConfig
  did you mean: search.beam
error: r.yaml:19: train.optimizer.kind must be adam, adadelta, sgd or muon, not the text 'adm'
  did you mean: adam
error: r.yaml:20: train.schedule.kind is missing
  give constant, inverse_sqrt, noam, linear, plateau or halving
error: r.yaml:21: train.validate_every must be a whole number above 0, not the text '500'
  leave the quotes out
error: r.yaml: and 1 more
  correct these first
"""


def test_all_faults_at_once_in_the_order_of_the_lines(recipe_path: Path) -> None:
    text = """\
name: ../x
corpus:
  src: no
  tgt: 2
  train: [a, 3, {src: a, tgt: b, wieght: 2}]
  valid: 5
  downloads: [{url: ftp, sha256: 123, file: x}]
tokenizer: {kind: bep, vocab: 8_000, joint: yes}
model:
  initialization: xavier
  d_hiden: 5
  kind: bahdanau
train:
  batch_tokens: 1e4
  batch_tokens: 5
  upates: 3
  lr: -1
  beam: 3
  optimizer: {kind: adm}
  schedule: {warmup_updates: 3}
  validate_every: "500"
  switch: {at_update: 1, lr: 1, optimizer: {kind: adam, betas: [0.9, 2]}}
"""
    assert faults(recipe_path, text) == ALL_FAULTS.splitlines()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lr: .nan", "train.lr must be a number above 0, not nan"),
        ("lr: .inf", "train.lr must be a number above 0, not inf"),
        ("lr: 0", "train.lr must be a number above 0, not 0"),
        ("seed: -1", "train.seed must be a whole number of at least 0, not -1"),
        ("seed: true", "train.seed must be a whole number of at least 0, not true"),
        ("seed: ", "train.seed must be a whole number of at least 0, not null"),
        ("seed: 99999999999999999999", "99999999999999999999 is too large for a whole number"),
        ("label_smoothing: 1", "train.label_smoothing must be a number of at least 0 and below 1, not 1"),
        ("average: {count: 51}", "train.average.count must be a whole number of at least 2 and at most 50, not 51"),
        ("average: 3", "train.average must be a mapping or null, not 3"),
        ("loss_per: [token]", "train.loss_per must be token or sentence, not a list"),
        ("optimizer: [adam]", "train.optimizer must be a mapping with kind: adam, adadelta, sgd or muon, not a list"),
        ("optimizer: {kind: adam, betas: [0.9]}", "train.optimizer.betas is too short"),
        ("optimizer: {kind: adam, betas: [0.9, 0.98, 1]}", "train.optimizer.betas must be a list of 2"),
        ("optimizer: {kind: sgd, nesterov: true}", "train.optimizer: nesterov needs momentum above 0"),
        ("batch_sentences: 80", "train: give one of batch_tokens and batch_sentences"),
        ("layout: packed", "train.layout must be auto, padded, rows or flat, not the text 'packed'"),
        ("row_tokens: 0", "train.row_tokens must be a whole number above 0, not 0"),
        ("init: 3", "train.init must be text or null, not 3"),
    ],
)
def test_values_out_of_place_are_named_with_what_is_expected(recipe_path: Path, line: str, said: str) -> None:
    printed = faults(recipe_path, train_with(line))
    assert printed[0].startswith(f"error: r.yaml:4: {said}"), printed
    assert not any("pydantic" in line or "Traceback" in line for line in printed)


def test_missing_sections_are_all_named(recipe_path: Path) -> None:
    printed = faults(recipe_path, "name: x\n")
    assert [line for line in printed if line.startswith("error")] == [
        f"error: r.yaml: {section} is missing" for section in ("corpus", "model", "train")
    ]


def test_faults_between_sections_are_found(recipe_path: Path) -> None:
    text = SMALL.replace("bahdanau}", "bahdanau, tied_embeddings: true}") + "tokenizer: {joint: false}\n"
    assert faults(recipe_path, text) == ["error: r.yaml:5: model.tied_embeddings needs tokenizer.joint: true"]


@pytest.mark.parametrize("layout", ["rows", "flat"])
def test_a_layout_that_the_model_does_not_take_is_refused_at_its_line(recipe_path: Path, layout: str) -> None:
    train = f"train:\n  batch_tokens: 4096\n  layout: {layout}\n  updates: 100\n"
    text = SMALL[: SMALL.index("train: {batch")] + train
    said = f"error: r.yaml:6: train.layout {layout} is not for bahdanau, which takes padded"
    assert faults(recipe_path, text) == [said]
    assert load(recipe_path, text.replace("bahdanau", "modern")).train.layout == layout
    by_sentences = text.replace("bahdanau", "modern").replace("batch_tokens", "batch_sentences")
    said = f"error: r.yaml:6: train: layout {layout} needs batch_tokens, not batch_sentences"
    assert faults(recipe_path, by_sentences) == [said]
    for taken in ("auto", "padded"):
        assert load(recipe_path, text.replace(layout, taken)).train.layout == taken
    assert load(recipe_path, SMALL).train.layout == "auto"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "vocab: {src: 40, tgt: 30}",
            "error: r.yaml:5: tokenizer: vocab has a size for each side, which needs joint: false",
        ),
        ("joint: false, vocab: {src: 40}", "error: r.yaml:5: tokenizer.vocab.tgt is missing"),
        (
            "joint: false, vocab: {src: 0, tgt: 9}",
            "error: r.yaml:5: tokenizer.vocab.src must be a whole number above 0",
        ),
        (
            "joint: false, vocab: 0",
            "error: r.yaml:5: tokenizer.vocab must be a whole number above 0 or a mapping with src",
        ),
        ("joint: false, vocab: {src: 9, trg: 9}", "error: r.yaml:5: tokenizer.vocab.trg is not a key of VocabSizes"),
    ],
)
def test_sizes_for_each_side_are_checked(recipe_path: Path, written: str, said: str) -> None:
    assert faults(recipe_path, SMALL + f"tokenizer: {{{written}}}\n")[0].startswith(said)


def test_sizes_for_each_side_come_back(recipe_path: Path) -> None:
    recipe_path.write_text(SMALL + "tokenizer: {joint: false, vocab: {src: 40, tgt: 30}}\n")
    recipe = load_recipe(recipe_path)
    assert recipe.tokenizer.sizes == (40, 30)
    recipe_path.write_text(dump_recipe(recipe))
    assert load_recipe(recipe_path) == recipe
    assert load_recipe(recipe_path, ["tokenizer.vocab.tgt=50"]).tokenizer.sizes == (40, 50)


def test_thousands_of_faults_are_counted_and_not_printed(recipe_path: Path) -> None:
    start = time.process_time()
    printed = faults(recipe_path, SMALL + "".join(f"kez{i}: 1\n" for i in range(4000)))
    assert len([line for line in printed if line.startswith("error")]) == 21
    assert time.process_time() - start < 3


# --- scalars ----------------------------------------------------------------------------------------------------------

SCALARS: dict[str, object] = {
    # null, in three spellings and in none
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    # true and false; the other words of YAML 1.1 are text
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    # numbers in base 10, also with zeros before them; octal and hexadecimal only as 0o and 0x, without a sign
    "0": 0, "1": 1, "-1": -1, "+1": 1, "-0": 0, "00": 0, "012": 12, "0012": 12, "+012": 12, "-012": -12, "8000": 8000,
    "9223372036854775807": 2**63 - 1, "-9223372036854775808": -(2**63), "0o14": 12, "0o0": 0, "0o777": 511,
    "0x1F": 31, "0xff": 255, "0x0": 0, "0xDEADbeef": 0xDEADBEEF,
    # floats
    "0.1": 0.1, "1.": 1.0, ".5": 0.5, "-.5": -0.5, "+.5": 0.5, "-0.0": -0.0, "1e3": 1000.0, "1E3": 1000.0,
    "1e-3": 0.001, "1e+3": 1000.0, "3e-4": 0.0003, "1.e3": 1000.0, ".5e1": 5.0, "-1e-3": -0.001, "+1e-3": 0.001,
    "12.50": 12.5, "012.5": 12.5, "1e0": 1.0, "0e0": 0.0, "1e400": float("inf"), "1e-400": 0.0, "6.02e23": 6.02e23,
    "2.5E-10": 2.5e-10, "00.5": 0.5, "1e01": 10.0, "123456789.123456789": 123456789.123456789,
    "685.230_15": "685.230_15",
    ".inf": float("inf"), ".Inf": float("inf"), ".INF": float("inf"), "-.inf": float("-inf"), "+.inf": float("inf"),
    "+.Inf": float("inf"), "-.INF": float("-inf"),
}  # fmt: skip

# Everything else is text, whatever YAML 1.1, Python or C make of it.
TEXTS = (  # noqa: SIM905
    r"y Y n N yes Yes YES no No NO on On ON off Off OFF tRUE fALSE truE nULL nil none None NaN nan inf Infinity "
    r".iNF .nAN +.nan -.nan -inf +inf 1_000 1,000 0b1010 0B1 0O14 0X1F 0o8 0o 0x 0xG -0x1 +0o7 -0o7 0x1.8p3 12:30 "
    r"190:20:30 1:2 12:30:45.5 2001-12-14 2001-12-14t21:59:43.10-05:00 1e 1e+ e1 1e3.5 1.2.3 . .. ... + - -- +- "
    r"1+1 1-1 1/2 5% $HOME ${HOME} $(id) ~/x ~root %s% __import__ os.system() en fr no-NO zh zh_TW nb nn is it or "
    r"as I 1st 2nd 3d 0day 12km 10k 1M 4GiB 0.5s 1e3f 0x1Fg ١٢٣ ４２ ² ½ Ⅻ −1 1−1 １e３ ∞ true1 nullable true. null. "
    r"TruE NUll =  < > <= == a#b a:b ::x x: http://a.b/c?d=e&f=g C:\x \n \x41 \u0041 '' e-3 E5 1E 1e1e1 0.1.0 0-0 "
    r"00o7 0x0x1 +-1 -+1 ++1 --1 1- 1+ .e3 -.e3 +. -. .- .+ 1.e .1e 5.. ..5 0777.8.9 0_7 _1 1_ 0x_1 0x1_ 1__0 +_1 "
    r"NULl nUll "
).split()


def test_scalars_are_typed_by_yaml_1_2() -> None:
    from nmt.yaml_values import plain_scalar

    assert len(SCALARS) + len(TEXTS) > 200
    for text, value in SCALARS.items():
        found = plain_scalar(text)
        assert type(found) is type(value), text
        assert repr(found) == repr(value), text
    for text in TEXTS:
        assert plain_scalar(text) == text
    for text in (".nan", ".NaN", ".NAN"):
        assert repr(plain_scalar(text)) == "nan"


def test_scalars_mean_the_same_inside_a_recipe(recipe_path: Path) -> None:
    def src(text: str) -> str:
        return load(recipe_path, SMALL.replace("{src: en, tgt: fr,", "{tgt: fr,").replace(
            "corpus: {tgt: fr, train: train, valid: valid}",
            f"corpus:\n  src: {text}\n  tgt: fr\n  train: train\n  valid: valid",
        )).corpus.src  # fmt: skip

    for text in TEXTS:
        if text[0] not in "-%>=:" and text[-1] != ":" and text != "''":  # else YAML itself wants quotes
            assert src(text) == text
        assert src("'" + text.replace("'", "''") + "'") == text
    for quoted in ("'1e-3'", '"1e-3"', "'true'", '"null"', "'012'", '""'):
        assert src(quoted) == quoted[1:-1]
    assert load(recipe_path, train_with("lr: 1e-3, seed: 012")).train.seed == 12


def test_norwegian_is_a_language(recipe_path: Path) -> None:
    assert load(recipe_path, SMALL.replace("tgt: fr", "tgt: no")).corpus.tgt == "no"


def test_the_environment_is_not_expanded(recipe_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NMT_SECRET", "expanded")
    for text in ("$NMT_SECRET", "${NMT_SECRET}", "~", "$HOME/x", "%NMT_SECRET%", "$(echo x)", "`id`", "{{NMT_SECRET}}"):
        assert load(recipe_path, SMALL.replace("train: train", f"train: '{text}'")).corpus.train == text
        assert load(recipe_path, SMALL, f"corpus.train='{text}'").corpus.train == text


# --- what a recipe may not be -----------------------------------------------------------------------------------------

REFUSED = {
    "a tag": ("x: !!str y", "the tag !!str is not allowed"),
    "a tag of Python": ("x: !!python/object/apply:os.system [id]", "the tag !!python/object/apply:os.system is not"),
    "a tag on a mapping": ("x: !!python/object/new:os.system {a: b}", "the tag !!python/object/new:os.system is not"),
    "a tag on a key": ("!!str x: y", "the tag !!str is not allowed"),
    "a tag without a name": ("x: ! y", "the tag ! is not allowed"),
    "a verbatim tag": ("x: !<tag:x,2000:y> z", "the tag tag:x,2000:y is not allowed"),
    "an anchor": ("x: &a y", "the anchor &a is not allowed"),
    "an anchor on a list": ("x: &a [1]", "the anchor &a is not allowed"),
    "an anchor on a key": ("&a x: y", "the anchor &a is not allowed"),
    "an alias": ("x: *a", "the alias *a is not allowed"),
    "an alias as a key": ("*a : x", "the alias *a is not allowed"),
    "a merge key": ("<<: {a: 1}", "the merge key << is not allowed"),
    "a list as a key": ("? [a]\n: 1", "a list or a mapping cannot be a key"),
    "a mapping as a key": ("? {a: b}\n: 1", "a list or a mapping cannot be a key"),
    "a second document": ("---\na: 1", "a second document begins here"),
    "a NUL by escape": (r'x: "\0"', "text must not hold a NUL character"),
    "half a surrogate pair": (r'x: "\ud800"', "text must not hold half of a surrogate pair"),
    "a tab as indentation": ("x:\n\ty: 1", "a character that YAML keeps for itself"),
    "an open quote": ("x: 'y", "the file ends inside quotes"),
    "an open bracket": ("x: [y", "a list or mapping in brackets is not closed"),
    "two colons": ("x: y: z", "a colon where no key can be"),
    "a key without colon": ("x", "a key without a colon"),
    "a strange escape": (r'x: "\q"', "an escape that does not exist"),
    "a character out of range": (r'x: "\UFFFFFFFF"', "this is not YAML from here on"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_yaml_beyond_plain_values_is_refused(recipe_path: Path, what: str) -> None:
    text, said = REFUSED[what]
    printed = faults(recipe_path, SMALL + text)
    assert any(line.startswith(("error: r.yaml:5: ", "error: r.yaml:6: ")) and said in line for line in printed), (
        printed
    )


@pytest.mark.parametrize("directive", ["%YAML 1.1", "%YAML 1.2", "%TAG ! tag:x,2000:", "%FOO bar"])
def test_directives_are_refused(recipe_path: Path, directive: str) -> None:
    assert faults(recipe_path, f"# c\n{directive}\n---\n{SMALL}")[0].startswith("error: r.yaml:2: the directive %")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "r.yaml: this recipe is empty"),
        (b"# only a comment\n", "r.yaml: this recipe is empty"),
        (b"- a\n- b\n", "r.yaml: this recipe is not a mapping"),
        (b"text", "r.yaml: this recipe is not a mapping"),
        (b"name: x\nobtain: caf\xe9\n", "r.yaml:2: byte 0xE9 is not UTF-8"),
        ("name: x".encode("utf-16"), "r.yaml:1: byte 0xFF is not UTF-8"),
        (b"name: x\n\x00", "r.yaml:2: the character U+0000 is not text"),
        (b"name: \x1b[31m", "r.yaml:1: the character U+001B is not text"),
        (b"#" * (1024 * 1024 + 1), "r.yaml is larger than 1024 KiB"),
    ],
)
def test_files_that_are_no_recipe(recipe_path: Path, data: bytes, said: str) -> None:
    assert faults(recipe_path, data)[0].startswith(f"error: {said}")


def test_a_byte_order_mark_and_windows_line_ends_are_fine(recipe_path: Path) -> None:
    assert load(recipe_path, b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode()) == load(recipe_path, SMALL)


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "multi30k.yaml").write_text(SMALL)
    with pytest.raises(UsageError) as caught:
        load_recipe(tmp_path / "mutli30k.yaml")
    assert "there is no such recipe" in caught.value.what
    assert caught.value.hint == f"did you mean: {tmp_path / 'multi30k.yaml'}"
    with pytest.raises(UsageError, match="is a folder"):
        load_recipe(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        load_recipe(Path("a\0b"))


MEGABYTE = 1024 * 1024
BOMBS = {
    "aliases": "a: &a [x]\n" + "".join(f"{c}: &{c} [{', '.join([f'*{p}'] * 9)}]\n" for p, c in pairwise("abcdefghi")),
    "brackets": "[" * 3000,
    "brackets to the limit": "[" * MEGABYTE,
    "braces": "{a: " * 200_000,
    "question marks": "? " * 500_000,
    "dashes": "- " * 500_000,
    "open mappings in lists": ("[{a: " * 800 + "\n") * 60,
    "a long tag": "a: !" + "a" * MEGABYTE,
    "a long tag in a line": "a: !" + "a" * 8000 + " x",
    "an escaped tag": "a: !<" + "%41" * 2500 + "> x",
    "one word": "a: " + "x" * (MEGABYTE - 10),
    "many words": "a:\n" + (" " + "x " * 4000 + "\n") * 100,
    "a literal": "a: |\n" + " x\n" * 300_000,
    "escapes": 'a: "' + ("\\x41" * 1500 + "\n ") * 150 + '"',
    "comments": "# x\n" * (MEGABYTE // 4),
    "empty lines": "\n" * MEGABYTE,
    "keys": "".join(f"k{i}: 1\n" for i in range(50_000)),
    "one key again": "k: 1\n" * 50_000,
    "documents": "---\n" * 100_000,
    "directives": "%FOO x\n" * 30_000 + "--- a",
    "a long number": "a: " + "9" * 8000,
    "anchors": "".join(f"k{i}: &a 1\n" for i in range(15_000)),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_within_a_second(recipe_path: Path, bomb: str) -> None:
    start = time.process_time()
    faults(recipe_path, BOMBS[bomb])
    # Under a tracer, as for coverage, every line of the scanner costs several times as much.
    assert time.process_time() - start < (1.0 if sys.gettrace() is None else 5.0)


HOSTILE = [
    "!!python/object/apply:os.system ['touch HIT']",
    "!!python/object/apply:subprocess.check_output [['touch', 'HIT']]",
    "!!python/object/new:os.system ['touch HIT']",
    "!!python/object/apply:builtins.eval ['__import__(\"os\").system(\"touch HIT\")']",
    "!!python/object/apply:builtins.exec ['import socket']",
    "!!python/module:antigravity",
    "!!python/name:os.system",
    "!!python/object:pathlib.Path {}",
    "!!python/object/new:type {args: [z, !!python/tuple [], {extend: !!python/name:exec}], listitems: 'import os'}",
    "!!python/tuple [1]", "!!binary aGVsbG8=", "!!timestamp 2001-12-14", "!!set {a}", "!!omap [a: 1]", "!!float 1",
    "!!js/function x", "!include /etc/passwd", "!env HOME", "!ENV ${HOME}", "!ref <x>", "!new:os.system [id]",
    "!name:os.system",
    "!module:os", "!apply:os.system [id]", "tag:yaml.org,2002:python/name:os.system",
    "{_target_: os.system, command: touch HIT}", "{class_path: os.system}", "{__reduce__: [os.system, [id]]}",
    "__import__('os').system('touch HIT')", "${oc.env:HOME}", "$(touch HIT)", "`touch HIT`", "${eval:1+1}",
    "@os.system",
    "file:///etc/passwd", "http://localhost:1/", "hf://x/y", "cmd |",
    "| cmd", "<(touch HIT)", "{$ref: 'http://localhost:1/'}",
]  # fmt: skip

WATCHED = """
import json, sys
from pathlib import Path
from nmt.errors import UsageError
from nmt.recipe_file import load_recipe, dump_recipe
path = Path(sys.argv[1])
good = path.read_text()
def attempt(text, *overrides):
    path.write_text(text)
    seen = []
    events[0] = seen
    try:
        load_recipe(path, overrides)
    except UsageError as error:
        str(error)
    events[0] = None
    return [event for event in seen if event[0] != "open" or event[1] != str(path)]
events = [None]
def hook(event, arguments):
    if events[0] is not None and event not in QUIET:
        events[0].append((event, str(arguments[0]) if arguments else ""))
QUIET = {"object.__getattr__", "object.__setattr__", "sys._getframe", "gc.get_objects", "builtins.id"}
sys.addaudithook(hook)
# What Python imports at the first use is not the recipe's doing.
attempt(good), attempt(good + "foo: 1"), attempt(good + "[")
seen = events[0] = []
open(__file__ if "__file__" in globals() else sys.executable, "rb").close()
assert seen, "the hook sees nothing"
hits = []
for value in json.loads(sys.argv[2]):
    for text, overrides in ((good + "search: " + value, ()), (good.replace("src: en", "src: " + value), ()),
                            (good + value + ": 1", ()), (good, ("model=" + value,)), (good, ("name=" + value,)),
                            (good + "? " + value, ())):
        hits += attempt(text, *overrides)
print(json.dumps(hits))
"""


def test_hostile_recipes_import_run_and_open_nothing(recipe_path: Path) -> None:
    recipe_path.write_text(SMALL)
    watched = [sys.executable, "-c", WATCHED, str(recipe_path), json.dumps(HOSTILE)]
    done = subprocess.run(watched, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
    assert not Path("HIT").exists()


# --- overrides --------------------------------------------------------------------------------------------------------


def test_overrides_change_values(recipe_path: Path) -> None:
    recipe = load(
        recipe_path,
        FULL,
        "train.lr=3e-4",
        "corpus.train='[a]'",
        "model.dropout=0.2",
        "search.beam=1",
        "corpus.valid=v",
    )
    assert (recipe.train.lr, recipe.model.dropout, recipe.search.beam) == (3e-4, 0.2, 1)
    assert recipe.corpus.train == "[a]"
    recipe = load(recipe_path, FULL, "corpus.train=[a, b]", "train.schedule={kind: noam, d_model: 8}", "train.switch=")
    assert recipe.corpus.train == ["a", "b"]
    assert recipe.train.schedule.kind == "noam"
    assert recipe.train.switch is None
    assert load(recipe_path, FULL, "corpus.train.1.weight=3").model_dump()["corpus"]["train"][1]["weight"] == 3.0
    assert load(recipe_path, FULL, "train.lr=1", "train.lr=2").train.lr == 2.0


def test_another_kind_drops_the_keys_that_only_the_old_one_has(recipe_path: Path) -> None:
    text = train_with("schedule: {kind: plateau, patience: 3, warmup_updates: 7}")
    assert load(recipe_path, text, "train.schedule.kind=noam").train.schedule.model_dump() == {
        "kind": "noam", "warmup_updates": 7, "d_model": 512,
    }  # fmt: skip
    # But a typo stays one, and so does what the command line itself asks for.
    typo = text.replace("patience", "pateince")
    assert "pateince is not a key of Noam" in faults(recipe_path, typo, "train.schedule.kind=noam")[0]
    assert faults(recipe_path, text, "train.schedule.patience=4", "train.schedule.kind=noam")[0] == (
        "error: --set train.schedule.patience=4: train.schedule.patience is not a key of Noam"
    )


@pytest.mark.parametrize(
    ("override", "said", "hint"),
    [
        ("train.lr=x", "train.lr must be a number above 0, not the text 'x'", None),
        ("train.lrr=3", "train.lrr is not a key of TrainConfig", "did you mean: lr"),
        ("trian.lr=3", "trian is not a key of Recipe", "did you mean: train"),
        ("beam=3", "beam is not a key of Recipe", "did you mean: search.beam"),
        ("train.schedule.kind=noma", "train.schedule.kind must be constant, inverse_sqrt, ", "did you mean: noam"),
        ("model.kind=bahdanua", "model.kind must be bahdanau", "did you mean: bahdanau"),
        ("train.schedule={kind: noam, warmup_update: 3}", "train.schedule.warmup_update is not a key of Noam",
         "did you mean: warmup_updates"),
        ("train.schedule={kind: noam, patience: 3}", "train.schedule.patience is not a key of Noam",
         "patience goes with kind: plateau; here there are kind, warmup_updates, d_model"),
        ("train.batch_tokens=null", "train: give one of batch_tokens and batch_sentences", None),
        ("train.lr", "an override is written key=value", "for example: --set train.lr=3e-4"),
        ("=3", "an override is written key=value", None),
        ("train..lr=3", "an override is written key=value", None),
        ("", "an override is written key=value", None),
        ("name.x=3", "name is one value, without keys below it", "set it as a whole: --set name='{x: ...}'"),
        ("corpus.train.7=x", "corpus.train is a list of 2", "its items are numbered from 0"),
        ("corpus.train.x=3", "corpus.train is a list of 2", "its items are numbered from 0"),
        ("train.lr=1 # fast", "a value must not be followed by anything", None),
        ("train.lr=a: 3", "a collection must stand in brackets", None),
        ("train.lr=- 3", "a collection must stand in brackets", None),
        ("train.lr=[1", "a list or mapping in brackets is not closed", None),
        ("train.lr=--- 3", "a value must not begin with ---", None),
        ("train.lr=!!float 3", "the tag !!float is not allowed", None),
        ("train.lr=&a 3", "the anchor &a is not allowed", None),
        ("train.lr=*a", "the alias *a is not allowed", None),
    ],
)  # fmt: skip
def test_faults_of_overrides_name_the_override(recipe_path: Path, override: str, said: str, hint: str | None) -> None:
    printed = faults(recipe_path, FULL, override)
    assert printed[0].startswith(f"error: --set {override}: {said}"), printed
    assert hint is None or printed[1] == f"  {hint}"


def test_overrides_mend_what_the_file_has_wrong(recipe_path: Path) -> None:
    assert load(recipe_path, train_with("lr: fast"), "train.lr=1").train.lr == 1.0
    assert load(recipe_path, "name: x", *(line.replace(": ", "=", 1) for line in SMALL.splitlines())).name == "small"


# --- there and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [SMALL, FULL])
def test_a_dump_reads_back_the_same(recipe_path: Path, text: str) -> None:
    recipe = load(recipe_path, text)
    dump = dump_recipe(recipe)
    assert load(recipe_path, dump) == recipe
    assert dump_recipe(load(recipe_path, dump)) == dump
    assert all(f"{name}:" in dump for name in Recipe.model_fields)


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    pair = st.fixed_dictionaries({"src": words, "tgt": words}, optional={"weight": positive})
    schedules = st.sampled_from(
        [{"kind": "constant"}, {"kind": "noam", "d_model": 3}, {"kind": "plateau", "min_lr": 1e-9}]
    )
    download = st.fixed_dictionaries(
        {
            "url": st.just("https://x/y"),
            "sha256": st.just("ab" * 32),
            "members": st.dictionaries(words, words, min_size=1, max_size=3),
        }
    )
    return Recipe.model_validate({
        "name": draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)),
        "corpus": {
            "src": draw(words), "tgt": draw(words), "obtain": draw(words),
            "train": draw(words | pair | st.lists(words | pair, max_size=3)),
            "valid": draw(words | pair),
            "downloads": draw(st.lists(download, max_size=2)),
        },
        "model": {"kind": "bahdanau", "d_embed": draw(st.integers(1, 2**63 - 1))},
        "train": {
            "batch_tokens": draw(st.integers(1, 10**6)), "updates": 5, "lr": draw(positive),
            "schedule": draw(schedules),
            "init": draw(st.none() | words),
            "optimizer": {
                "kind": "adam", "eps": draw(positive),
                "betas": draw(st.lists(st.floats(0, 0.999), min_size=2, max_size=2)),
            },
        },
    })  # fmt: skip


@given(recipes())
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_recipe_reads_back_the_same(recipe_path: Path, recipe: Recipe) -> None:
    assert load(recipe_path, dump_recipe(recipe)) == recipe


def gives_a_recipe_or_a_usage_error(path: Path, data: bytes, *overrides: str) -> None:
    try:
        assert isinstance(load(path, data, *overrides), Recipe)
    except UsageError as error:
        printed = str(error)
    else:
        return
    assert printed.startswith("error: ")


FUZZ = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
yamlish = st.lists(
    st.sampled_from([*"[]{},:?-#&*!|>'\"%@`\n\t\\ ", "  ", "\n  ", ": ", "- ", "? ", "---", "...", "<<", "!!"])
    | st.text(max_size=3), max_size=40,
).map("".join)  # fmt: skip


@given(st.binary(max_size=200) | yamlish.map(lambda text: text.encode("utf-8", "surrogatepass")))
@FUZZ
def test_any_bytes_give_a_recipe_or_a_usage_error(recipe_path: Path, data: bytes) -> None:
    gives_a_recipe_or_a_usage_error(recipe_path, data)


@given(st.text(max_size=20), yamlish)
@FUZZ
def test_any_override_gives_a_recipe_or_a_usage_error(recipe_path: Path, key: str, value: str) -> None:
    gives_a_recipe_or_a_usage_error(
        recipe_path, SMALL.encode(), f"{key}={value}", f"train.{key}={value}", f"train.lr={value}"
    )


@given(st.lists(st.tuples(st.integers(0, len(FULL)), st.integers(0, 12), yamlish), min_size=1, max_size=3))
@FUZZ
def test_a_recipe_with_pieces_changed_gives_a_recipe_or_a_usage_error(
    recipe_path: Path, cuts: list[tuple[int, int, str]]
) -> None:
    text = FULL
    for at, length, piece in cuts:
        text = text[:at] + piece + text[at + length :]
    gives_a_recipe_or_a_usage_error(recipe_path, text.encode("utf-8", "surrogatepass"))


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, len(FULL)), st.integers(0, 12), yamlish), min_size=1, max_size=3))
@settings(max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_many_changed_recipes(recipe_path: Path, cuts: list[tuple[int, int, str]]) -> None:
    text = FULL
    for at, length, piece in cuts:
        text = text[:at] + piece + text[at + length :]
    gives_a_recipe_or_a_usage_error(recipe_path, text.encode("utf-8", "surrogatepass"))


def test_the_schema_holds_every_key_with_a_description() -> None:
    schema = json.loads(json.dumps(recipe_schema()))
    assert set(schema["properties"]) == set(Recipe.model_fields)
    assert "batch_tokens" in schema["$defs"]["TrainConfig"]["properties"]
    assert schema["$defs"]["TrainConfig"]["additionalProperties"] is False
    assert "description" in schema["$defs"]["TrainConfig"]["properties"]["grad_parts"]
