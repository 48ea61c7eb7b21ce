import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nmt.commands import prepare as module
from nmt.commands.prepare import evenly, prepare
from nmt.corpus.shards import Prepared
from nmt.errors import DataError, EnvironmentFault, UsageError
from nmt.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
WORDS = {
    "the": "le", "a": "un", "one": "unique", "two": "deux", "three": "trois", "red": "rouge", "blue": "bleu",
    "cat": "chat", "dog": "chien", "bird": "oiseau", "girl": "fille", "boy": "garçon", "man": "homme", "old": "vieux",
    "sees": "voit", "hears": "entend", "likes": "aime", "has": "tient", "with": "avec", "and": "et", "on": "sur",
}  # fmt: skip


def sentences(n: int, seed: int) -> tuple[list[str], list[str]]:
    """n made-up sentences, and their word by word translations."""
    draw = random.Random(seed)
    src = [draw.choices(list(WORDS), k=draw.randint(3, 9)) for _ in range(n)]
    return [" ".join(words) for words in src], [" ".join(map(WORDS.__getitem__, words)) for words in src]


def write(folder: Path, name: str, src: list[str], tgt: list[str]) -> None:
    for language, lines in (("en", src), ("fr", tgt)):
        (folder / f"{name}.{language}").write_text("".join(f"{line}\n" for line in lines))


def recipe(tokenizer: dict[str, Any] | None = None, **corpus: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "small",
            "corpus": {"src": "en", "tgt": "fr", "train": "train", "valid": "valid", **corpus},
            "tokenizer": {"vocab": 60, **(tokenizer or {})},
            "model": {"kind": "bahdanau"},
            "train": {"batch_tokens": 1000, "updates": 1},
        }
    )


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with 300 training pairs, and 20 each for validation and test."""
    for name, n in (("train", 300), ("valid", 20), ("test", 20)):
        write(tmp_path, name, *sentences(n, seed=n + len(name)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(config: Recipe, **more: Any) -> tuple[Prepared, list[str]]:
    said: list[str] = []
    return prepare(config, Path("r.yaml"), say=said.append, **more), said


def content(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


class TestWhatIsMade:
    def test_text_becomes_ids_in_order(self, text: Path) -> None:
        prepared, said = run(recipe(test="test"))
        assert prepared.folder.parent == Path("prepared")
        src, tgt = ((text / f"train.{language}").read_text().splitlines() for language in ("en", "fr"))
        [train] = prepared.train
        assert (train.src_lines(), train.tgt_lines()) == (src, tgt)
        tokenizers = prepared.tokenizers
        assert [train.src_ids(i).tolist() for i in range(len(train))] == tokenizers[0].encode(src)
        assert tokenizers[1].decode([train.tgt_ids(i).tolist() for i in range(len(train))]) == tgt
        assert prepared.test is not None
        assert (len(prepared.valid), len(prepared.test)) == (20, 20)
        assert prepared.test.tgt_lines() == (text / "test.fr").read_text().splitlines()
        assert said == [
            "reading en and fr text",
            "learning a bpe vocabulary of 60 from 300 pairs",
            "corpus  read  kept",
            "train    300   300",
            "valid     20    20",
            "test      20    20",
            *said[6:8],
            f"prepared: {prepared.folder}, 300 training pairs",
        ]
        assert said[6].startswith("en: 60 ids, ")
        assert said[7].endswith(" pieces a sentence, 0.00% of them unknown")

    @pytest.mark.parametrize("kind", ["bpe", "unigram", "char", "word"])
    @pytest.mark.parametrize("joint", [True, False])
    def test_every_kind_of_tokenizer(self, text: Path, kind: str, joint: bool) -> None:
        vocab = {"bpe": 60, "unigram": 40, "char": 99, "word": 15}[kind]
        prepared, said = run(recipe({"kind": kind, "joint": joint, "vocab": vocab}))
        [train] = prepared.train
        for tokenizer, ids, line in zip(
            prepared.tokenizers,
            (train.src_ids(7), train.tgt_ids(7)),
            (train.src_line(7), train.tgt_line(7)),
            strict=True,
        ):
            assert tokenizer.encode([line]) == [ids.tolist()]
            if kind != "word":
                assert tokenizer.decode([ids.tolist()]) == [line]
        note = "note: the text has no more chars than these; tokenizer.vocab would allow 99"
        assert (note in said) == (kind == "char")

    def test_each_side_may_have_its_size(self, text: Path) -> None:
        prepared, said = run(recipe({"kind": "word", "joint": False, "vocab": {"src": 15, "tgt": 12}}))
        assert [tokenizer.n_ids for tokenizer in prepared.tokenizers] == [15, 12]
        assert "learning a word vocabulary of 15 and 12 from 300 pairs" in said

    def test_several_corpora_have_a_shard_and_a_weight_each(self, text: Path) -> None:
        write(text, "more", ["a dog"] * 3, ["un chien"] * 3)
        config = recipe(train=["train", {"src": "more.en", "tgt": "more.fr", "weight": 0.5}])
        prepared, said = run(config)
        assert [(len(shard), shard.weight) for shard in prepared.train] == [(300, 1.0), (3, 0.5)]
        assert "note: more.en: pairs that occurred before: 2 (corpus.dedup: true drops them)" in said
        heavier = recipe(train=["train", {"src": "more.en", "tgt": "more.fr", "weight": 7}])
        again, _ = run(heavier)
        assert (again.folder, again.train[1].weight) == (prepared.folder, 7.0)

    def test_given_tokenizers_take_the_place_of_learned_ones(self, text: Path) -> None:
        first, _ = run(recipe())
        write(text, "other", ["the cat"], ["le chat"])
        given = first.tokenizers
        second, said = run(recipe({"vocab": 9999}, train="other"), tokenizers=given)
        assert [one.to_bytes() for one in second.tokenizers] == [one.to_bytes() for one in given]
        assert not [line for line in said if line.startswith("learning")]
        again, _ = run(recipe({"vocab": 9999}, train="train"), tokenizers=given)
        assert again.folder != first.folder  # learned and given are told apart
        assert content(again.folder)["train-0.safetensors"] == content(first.folder)["train-0.safetensors"]

    def test_nothing_in_the_folder_tells_where_it_was_made(self, text: Path) -> None:
        prepared, _ = run(recipe())
        for path in prepared.folder.iterdir():
            assert str(text).encode() not in path.read_bytes()
            assert b"train.en" not in path.read_bytes()
        assert sorted(path.name for path in prepared.folder.iterdir()) == [
            "manifest.json",
            "prepared.json",
            "src.tokenizer",
            "tgt.tokenizer",
            "train-0.safetensors",
            "valid.safetensors",
        ]
        about = json.loads((prepared.folder / "prepared.json").read_bytes())
        assert about["counts"]["train-0"]["kept"] == 300
        assert about["settings"]["text"]["train"] == [
            [hashlib.sha256((text / f"train.{language}").read_bytes()).hexdigest() for language in ("en", "fr")]
        ]


class TestFilters:
    def test_each_reason_has_its_column(self, text: Path) -> None:
        src, tgt = sentences(5, 99)
        valid = (text / "valid.en").read_text().splitlines()[0], (text / "valid.fr").read_text().splitlines()[0]
        rows = [
            *zip(src, tgt, strict=True),
            ("", "x"),
            ("a", " "),
            ("\u200b", "le chat"),  # no pieces are left of it
            valid,
            ("the cat " * 40, "le chat"),
            ("the cat the cat the cat", "le"),
            (src[0], tgt[0]),
        ]
        write(text, "train", [row[0] for row in rows], [row[1] for row in rows])
        with (text / "train.en").open("ab") as en, (text / "train.fr").open("ab") as fr:
            en.write(b"\xff\n")
            fr.write(b"x\n")
        config = recipe(
            {"kind": "word", "words": "spaces"}, overlap="drop", dedup=True, bad_text="skip", max_len=50, max_ratio=4.0
        )
        prepared, said = run(config)
        assert prepared.train[0].src_lines() == [*src, "\u200b"]
        table = said.index("corpus  read  bad text  empty  overlap  repeated  too long  ratio  kept")
        assert said[table + 1] == "train     13         1      2        1         1         1      1     6"
        assert said[table + 2] == "valid     20         0      0        0         0         0      0    20"
        assert "warning: train.en:13:1: byte 0xFF is not UTF-8" in said
        pieces, _ = run(config.model_copy(update={"tokenizer": recipe({"vocab": 40}).tokenizer}))
        assert "\u200b" not in pieces.train[0].src_lines()

    def test_lengths_count_the_end_of_sentence(self, text: Path) -> None:
        write(text, "train", ["a", "a a", "a a a"], ["b", "b", "b"])
        config = recipe({"kind": "word", "words": "spaces"}, max_len=3)
        assert run(config)[0].train[0].src_lines() == ["a", "a a"]

    def test_the_ratio_itself_is_within_the_ratio(self, text: Path) -> None:
        write(text, "train", ["a", "a a", "a a a"], ["b", "b", "b"])
        config = recipe({"kind": "word", "words": "spaces"}, max_ratio=2.0)
        assert run(config)[0].train[0].src_lines() == ["a", "a a"]

    def test_validation_text_is_kept_whole(self, text: Path) -> None:
        write(text, "valid", ["a", "", "a cat " * 80], ["", "x", "un chat"])
        prepared, said = run(recipe(max_len=20, max_ratio=1.5))
        assert prepared.valid.tgt_lines() == ["", "x", "un chat"]
        assert "warning: valid: pairs with an empty side: 2, kept, for scores need every line" in said

    def test_repeated_pairs_are_dropped_across_corpora(self, text: Path) -> None:
        write(text, "one", ["a", "a", "b"], ["x", "x", "x"])
        write(text, "two", ["b", "b", "c"], ["x", "y", "x"])
        config = recipe({"kind": "word", "words": "spaces"}, train=["one", "two"], dedup=True)
        prepared, _ = run(config)
        assert [shard.src_lines() for shard in prepared.train] == [["a", "b"], ["b", "c"]]

    def test_copies_of_the_source_are_warned_of(self, text: Path) -> None:
        src, tgt = sentences(100, 5)
        write(text, "train", src, [*src[:2], *tgt[2:]])
        _, said = run(recipe())
        assert "warning: train: pairs whose source equals their target: 2 (2.0%)" in said
        write(text, "train", src, [*src[:1], *tgt[1:]])
        assert not [line for line in run(recipe())[1] if "source equals" in line]

    def test_separators_and_allowed_overlap_are_noted(self, text: Path) -> None:
        for language in ("en", "fr"):
            with (text / f"train.{language}").open("a") as out:
                out.write("a\tb\u2028c\n" if language == "en" else "x\n")
                out.write((text / f"valid.{language}").read_text())
        _, said = run(recipe(overlap="allow"))
        assert "note: train: tabs and other separators that became spaces: 2" in said
        assert "warning: train: pairs that are also in the validation or test text: 20" in said

    def test_nothing_left_is_an_error_with_the_reasons(self, text: Path) -> None:
        write(text, "train", ["a b c", ""], ["x y", "z"])
        with pytest.raises(DataError) as caught:
            run(recipe({"kind": "word", "words": "spaces"}, max_len=2))
        assert str(caught.value) == ("error: none of the 2 training pairs is left\n  dropped: 1 empty, 1 too long")
        write(text, "train", [], [])
        with pytest.raises(DataError, match=r"none of the 0 training pairs is left\n  the training files are empty"):
            run(recipe())
        assert [path.name for path in Path("prepared").iterdir()] == [".lock"]


class TestErrors:
    def test_unequal_counts_before_any_work(self, text: Path) -> None:
        with (text / "train.fr").open("a") as out:
            out.write("encore\n")
        with pytest.raises(DataError) as caught:
            run(recipe())
        assert caught.value.what.splitlines()[0] == (
            "train.en has 300 lines, train.fr 301: line n of one must translate line n of the other"
        )
        assert caught.value.hint == "look for a lost line break, then run: nmt prepare r.yaml"
        assert caught.value.exit_code == 3
        assert [path.name for path in Path("prepared").iterdir()] == [".lock"]

    def test_overlap_with_the_remedy(self, text: Path) -> None:
        with pytest.raises(DataError, match=r"(?s)valid.en: 20 training pairs are also in .*set corpus.overlap: drop"):
            run(recipe(train="valid"))

    def test_too_large_a_vocab(self, text: Path) -> None:
        with pytest.raises(
            UsageError, match=r"tokenizer.vocab: 8,000 is too many for the training text: it gives [\d,]+"
        ):
            run(recipe({"vocab": 8000}))

    def test_missing_text_names_the_files(self, text: Path) -> None:
        with pytest.raises(DataError, match=r"text that the recipe names is missing:\n  none.en \(or none.en.gz\)"):
            run(recipe(train="none"))

    def test_workers_must_be_some(self, text: Path) -> None:
        with pytest.raises(UsageError, match=r"0 workers cannot prepare anything\n  give 1 or more"):
            run(recipe(), workers=0)

    @pytest.mark.parametrize("failpoint", module.FAILPOINTS)
    def test_a_full_disk_leaves_nothing(self, text: Path, monkeypatch: pytest.MonkeyPatch, failpoint: str) -> None:
        monkeypatch.setenv("NMT_FAILPOINT", f"{failpoint}:enospc")
        with pytest.raises(EnvironmentFault, match="cannot be written: No space left on device"):
            run(recipe())
        assert [path.name for path in Path("prepared").iterdir()] == [".lock"]


class TestFetching:
    def test_downloads_come_first(self, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[tuple[int, Path]] = []
        fake = types.ModuleType("nmt.corpus.fetch")

        def fetch(downloads: Any, folder: Path, say: Any, progress: Any) -> None:
            calls.append((len(downloads), folder))
            write(folder, "came", *sentences(50, 3))

        vars(fake)["fetch"] = fetch
        monkeypatch.setitem(sys.modules, "nmt.corpus.fetch", fake)
        config = recipe(
            train="came", downloads=[{"url": "https://example.org/a", "sha256": "0" * 64, "file": "came.en"}]
        )
        with pytest.raises(DataError, match=r"to download it: nmt prepare --fetch r\.yaml"):
            run(config)
        prepared, _ = run(config, fetch=True)
        assert calls == [(1, Path("."))]
        assert len(prepared.train[0]) == 50

    def test_nothing_to_download_is_told(self, text: Path) -> None:
        with pytest.raises(UsageError, match=r"r.yaml names no downloads\n  ask the library"):
            run(recipe(obtain="ask the library"), fetch=True)


class TestOnceAndForAll:
    def test_the_second_time_nothing_is_done(self, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first, _ = run(recipe())
        monkeypatch.setattr(module, "learn", None)
        second, said = run(recipe())
        assert second.folder == first.folder
        assert said == [f"prepared: {first.folder}, 300 training pairs"]

    def test_what_shapes_the_result_makes_another_folder(self, text: Path) -> None:
        settings: list[dict[str, Any]] = [
            {},
            {"tokenizer": {"vocab": 61}},
            {"max_len": 50},
            {"max_ratio": 3.0},
            {"dedup": True},
            {"bad_text": "skip"},
            {"overlap": "drop"},
            {"test": "test"},
        ]
        folders = {run(recipe(**setting))[0].folder for setting in settings}
        assert len(folders) == len(settings)
        same = [{"obtain": "x"}, {"train": {"src": "train.en", "tgt": "train.fr", "weight": 3.0}}]
        assert {run(recipe(**setting))[0].folder for setting in same} <= folders
        (text / "train.en").write_text((text / "train.en").read_text().replace("cat", "bat", 1))
        assert run(recipe())[0].folder not in folders

    def test_names_do_not_matter(self, text: Path) -> None:
        first, _ = run(recipe())
        before = content(first.folder)
        for language in ("en", "fr"):
            (text / f"train.{language}").rename(text / f"other.{language}")
        second, _ = run(recipe(train="other"))
        assert second.folder == first.folder
        shutil.rmtree(first.folder)
        assert content(run(recipe(train="other"))[0].folder) == before

    def test_damage_is_never_used(self, text: Path) -> None:
        prepared, _ = run(recipe())
        path = prepared.folder / "train-0.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"(?s)damaged: train-0.safetensors has changed.*remove that folder"):
            run(recipe())

    def test_one_prepares_and_the_other_waits(self, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        learn, inside, go_on = module.learn, threading.Event(), threading.Event()
        calls: list[int] = []

        def slow(*args: Any) -> Any:
            calls.append(1)
            inside.set()
            assert go_on.wait(20)
            return learn(*args)

        monkeypatch.setattr(module, "learn", slow)
        results: list[Prepared] = []
        said: list[str] = []
        first = threading.Thread(target=lambda: results.append(run(recipe())[0]))
        second = threading.Thread(target=lambda: results.append(prepare(recipe(), Path("r.yaml"), say=said.append)))
        first.start()
        assert inside.wait(20)
        second.start()
        deadline = time.monotonic() + 20
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
        go_on.set()
        first.join(20)
        second.join(20)
        assert said[0] == f"waiting: prepared: in use by process {os.getpid()} on {os.uname().nodename} (lock .lock)"
        assert calls == [1]
        assert len(results) == 2
        assert results[0].folder == results[1].folder


def test_sentences_to_learn_from_are_taken_at_even_distances() -> None:
    pairs = [(str(i), "") for i in range(1000)]
    for wanted in (1, 7, 333, 999, 1000, 5000):
        taken = [int(src) for src, _ in evenly(pairs, 1000, wanted)]
        assert len(taken) == min(wanted, 1000)
        gaps = {after - before for before, after in pairwise(taken)}
        assert len(gaps) <= 2


def test_a_long_text_is_learned_from_in_part(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEARN_FROM", 100)
    prepared, said = run(recipe({"kind": "word", "words": "spaces"}))
    assert "learning a word vocabulary of 60 from 100 of 300 pairs" in said
    assert len(prepared.train[0]) == 300


# --- other processes -------------------------------------------------------------------------------------------------


def small(kind: str) -> Recipe:
    vocab = {"bpe": 60, "unigram": 40, "word": 20}[kind]
    return recipe({"kind": kind, "vocab": vocab}, dedup=True, overlap="drop")


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_prepare import small
from nmt.commands.prepare import prepare

if __name__ == "__main__":
    for kind, workers in zip(sys.argv[1::2], sys.argv[2::2]):
        prepare(small(kind), Path("r.yaml"), workers=int(workers))
"""


def command(folder: Path) -> list[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    return [sys.executable, str(script)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def test_workers_and_hash_seeds_change_no_byte(text: Path) -> None:
    write(text, "train", *sentences(9000, 1))  # three chunks
    theirs = text / "theirs"
    theirs.mkdir()
    for path in text.glob("*.??"):
        shutil.copy(path, theirs)
    subprocess.run(
        [*command(theirs), "unigram", "1", "word", "3"],
        cwd=theirs,
        env=environment(PYTHONHASHSEED="7"),
        check=True,
        timeout=200,
        stdout=subprocess.DEVNULL,
    )
    ours = [run(small(kind))[0].folder for kind in ("unigram", "word")]
    assert sorted(path.name for path in (theirs / "prepared").glob("[0-9a-f]*")) == sorted(path.name for path in ours)
    for folder in ours:
        assert content(theirs / folder) == content(folder)


KILLS = """
import os, shutil, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_prepare import content, recipe
from nmt.commands.prepare import prepare
from nmt import durable

def made():
    return sorted(path.name for path in Path("prepared").iterdir() if path.name != ".lock")

expected = None
for failpoint in ["", *sys.argv[1:]]:
    shutil.rmtree("prepared", ignore_errors=True)
    if failpoint:
        pid = os.fork()
        if pid == 0:
            os.environ["NMT_FAILPOINT"] = failpoint
            prepare(recipe(), Path("r.yaml"), say=lambda line: None)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == 9, (failpoint, status)
        left = made()
        assert any(name.startswith(".tmp-") for name in left), (failpoint, left)
        whole = [name for name in left if not name.startswith(".")]
        assert bool(whole) == failpoint.startswith("publish.sync-parent"), (failpoint, left)
    said = []
    prepared = prepare(recipe(), Path("r.yaml"), say=said.append)
    if not failpoint.startswith("publish.sync-parent"):
        assert len(said) > 1, failpoint  # it was made anew
        assert made() == [prepared.folder.name], (failpoint, made())
    expected = expected or content(prepared.folder)
    assert content(prepared.folder) == expected, failpoint
print("done")
"""


def test_killed_anywhere_and_prepared_again_gives_the_same_bytes(text: Path) -> None:
    steps = ("folder.after", "write.before@3", "write.after@4", "manifest.before", "manifest.half", "rename.before")
    points = [*(f"{name}:kill" for name in module.FAILPOINTS), "prepare.encoded:kill@2"]
    points += [f"publish.{step.partition('@')[0]}:kill@{step.partition('@')[2] or 1}" for step in steps]
    points += ["publish.sync-parent.before:kill"]
    script = text / "kills.py"
    script.write_text(KILLS.format(tests=str(Path(__file__).parent)))
    done = subprocess.run(
        [sys.executable, str(script), *points],
        cwd=text,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr


def test_workers_do_not_outlive_a_killed_parent(text: Path) -> None:
    running = subprocess.Popen(
        [*command(text), "bpe", "2"],
        cwd=text,
        env=environment(NMT_FAILPOINT="prepare.encoded:hang"),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60

        def members() -> list[int]:
            """The processes of the new session that have not ended."""
            alive = []
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                except OSError:
                    continue
                if int(session) == running.pid and state != "Z":
                    alive.append(int(entry.name))
            return alive

        def encoded() -> bool:
            """Whether the first shard is: then a worker is up, and idle."""
            return any(path.stat().st_size for path in (text / "prepared").glob(".*/train-0.src_tokens"))

        while not encoded() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(members()) >= 3  # the parent, a worker, and a helper of multiprocessing
        running.send_signal(signal.SIGKILL)
        running.wait(10)
        deadline = time.monotonic() + 60
        while members() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert members() == []
    finally:
        running.kill()
        running.wait(10)


@pytest.mark.shared
class TestMulti30k:
    def test_english_to_french(self, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("NMT_SHARED_DATA", str(shared_data))
        config = recipe(
            {"vocab": 8000}, folder="../data/multi30k", train="train", valid="val", test="test2016", overlap="drop"
        )
        prepared, said = run(config)
        assert prepared.test is not None
        assert (len(prepared.train[0]), len(prepared.valid), len(prepared.test)) == (28_999, 1_014, 1_000)
        assert said[2:6] == [
            "corpus      read  overlap    kept",
            "train     29,000        1  28,999",
            "val        1,014        0   1,014",
            "test2016   1,000        0   1,000",
        ]
        for tokenizer, lines in zip(
            prepared.tokenizers, (prepared.test.src_lines(), prepared.test.tgt_lines()), strict=True
        ):
            again = tokenizer.decode(tokenizer.encode(lines))
            same = sum(one == other for one, other in zip(lines, again, strict=True))
            assert same > 0.97 * len(lines)  # the others have doubled spaces or characters that NFKC changes

    def test_words_of_tokenised_text(self, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("NMT_SHARED_DATA", str(shared_data))
        config = recipe(
            {"kind": "word", "words": "spaces", "vocab": 10_000, "joint": False},
            **{"folder": "multi30k", "overlap": "drop", "train": "train.lc.norm.tok", "valid": "val.lc.norm.tok"},
        )
        prepared, _ = run(config)
        [train] = prepared.train
        for tokenizer, lines in zip(prepared.tokenizers, (train.src_lines(), train.tgt_lines()), strict=True):
            counts = Counter(word for line in lines for word in line.split(" ") if word)
            assert tokenizer.n_ids == min(10_000, 4 + len(counts))
            assert [counts[word] for word in tokenizer.pieces(range(4, 104))] == [n for _, n in counts.most_common(100)]
