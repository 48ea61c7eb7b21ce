"""prepare, train, translate and score by their commands, as a person types them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from nmt.ops.fused import library
from tests.training import tiny

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def nmt(folder: Path, *args: str, stdin: bytes = b"") -> tuple[bytes, str]:
    """Standard output and error of a command that must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "nmt", *args], cwd=folder, env=ENVIRONMENT, input=stdin, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout, done.stderr.decode()


def test_a_model_goes_from_text_to_a_score_that_training_foretold(tmp_path: Path) -> None:
    made = tiny.recipe(
        corpus={"test": "valid"},
        train={"updates": 150, "validate_every": 50, "save_every": None, "average": None},
        compute={"dtype": "bfloat16"},
    )
    tiny.write(tmp_path, made)
    _, said = nmt(tmp_path, "prepare", "recipe.yaml", "--lexicon", "lexicon.safetensors")
    assert "prepared: prepared/" in said
    assert "\nlexicon: lexicon.safetensors, " in said
    _, said = nmt(tmp_path, "train", "recipe.yaml", "--device", "cpu")
    assert "the model is runs/tiny/model.safetensors" in said
    form = "fused" if library()[0] else "plain"
    assert f"\nkernels: passes between products {form}" in said
    assert "\nlayout: padded (bahdanau takes no other)\n" in said
    (start,) = tiny.events(tmp_path, "start")
    assert start["layout"] == "padded"
    assert start["kernels"] == {"asked": "auto", "passes": form}
    (end,) = tiny.events(tmp_path, "end")

    source = (tmp_path / "valid.aa").read_bytes()
    out, said = nmt(tmp_path, "translate", stdin=source)
    assert said.startswith("model: runs/tiny\n")  # it may say that it found no end to some line: it has learnt little
    assert out.count(b"\n") == source.count(b"\n") == 8
    listed, _ = nmt(tmp_path, "translate", "--shortlist", "lexicon.safetensors", stdin=source)
    assert listed == out, "ten digits: the lexicon has them all"
    scored, _ = nmt(tmp_path, "score", "--json", stdin=out)
    bleu = json.loads(scored)["BLEU"]
    assert bleu["score"] > 20, "digits backwards are learnt in part by then"
    assert round(bleu["score"], 3) == end["scores"]["test"]["score"]
    assert bleu["signature"] == end["scores"]["test"]["signature"]

    again, said = nmt(tmp_path, "train", "recipe.yaml")
    assert again == b""
    assert "going on from update 150" in said
    assert tiny.events(tmp_path, "end")[-1]["scores"] == end["scores"]
