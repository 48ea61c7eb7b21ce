"""Installs the other toolkits from the package index, each into a virtual environment of its own.

    python -m benchmarks.toolkits.install --peers ~/peers                   all of them: 10 GB, a quarter of an hour
    python -m benchmarks.toolkits.install --peers ~/peers OpenNMT-py eole

Versions are fixed, PyTorch's too, so that all stand on the same one. Most of these programs are older; what they
need on Python 3.11 besides (benchmarks/toolkits/launch.py) is done when they are started, their files stay as they are.
"""

import argparse
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.toolkits.toolkit import Toolkit

TORCH = "torch==2.13.0"

STEPS: dict[str, Sequence[Sequence[str]]] = {
    "Hugging Face": [[TORCH, "transformers==5.23.0"]],
    # Its omegaconf has metadata that newer versions of pip refuse; it uses names that NumPy 1.24 took away.
    "fairseq": [["pip<24.1"], [TORCH, "fairseq==0.12.2"], ["numpy==1.23.5"]],
    # aiohttp is missing from its requirements.
    "eole": [[TORCH, "eole==0.6.4", "aiohttp"]],
    # Its requirements ask for PyTorch below 2.3, which it does not need: they are listed here without that.
    "OpenNMT-py": [
        [TORCH],
        ["--no-deps", "OpenNMT-py==3.5.1"],
        [
            *("configargparse", "ctranslate2>=4,<5", "tensorboard", "flask", "waitress", "pyonmttok>=1.37,<2"),
            *("pyyaml", "sacrebleu", "rapidfuzz", "pyahocorasick", "fasttext-wheel", "spacy", "six", "numpy"),
        ],
    ],
    "Marian": [["pymarian==1.12.42"]],
    # pip by itself would settle on version 2, which is written for MXNet.
    "Sockeye": [[TORCH], ["--no-deps", "sockeye==3.1.34"], ["numpy<2", "pyyaml", "sacrebleu>=2.3"]],
    # importlib_metadata is missing from its requirements.
    "JoeyNMT": [[TORCH, "joeynmt==2.3.0", "importlib_metadata"]],
}
"""What pip is asked for, step by step, by the toolkit's name."""


def main() -> None:
    """Installs what is asked for and not there yet."""
    from benchmarks.systems import TOOLKITS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(STEPS))
    parser.add_argument("--peers", type=Path, default=os.environ.get("PEERS"), required="PEERS" not in os.environ)
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - STEPS.keys()):
        parser.error(f"there is no {', '.join(unknown)}; choose from: {', '.join(STEPS)}")
    failed = []
    for toolkit in TOOLKITS:
        if toolkit.name in (options.names or STEPS) and not toolkit.version(Path(options.peers)):
            print(f"installing {toolkit.name}", flush=True)
            if not install(toolkit, Path(options.peers)):
                failed.append(toolkit.name)
    if failed:
        sys.exit(f"not installed: {', '.join(failed)}; see what pip says above")


def install(toolkit: Toolkit, root: Path) -> bool:
    """Makes the toolkit's environment below root; where a step fails, what there was of it is removed."""
    folder = root / toolkit.folder
    venv.create(folder, clear=True, with_pip=True)
    for step in STEPS[toolkit.name]:
        if subprocess.run([toolkit.python(root), "-m", "pip", "install", "-q", *step]).returncode:
            shutil.rmtree(folder)
            return False
    return True


if __name__ == "__main__":
    main()
