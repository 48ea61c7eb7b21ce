"""What is read of the processor, on the kinds of machine that say it in other words or not at all."""

from pathlib import Path

import pytest

from nmt import processor

X86 = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd bf16\nCPU part\t: 0xd4f\n"


@pytest.mark.parametrize(
    ("text", "name", "has"), [(X86, "AMD EPYC", "avx512_bf16"), (ARM, None, "bf16"), ("", None, None)]
)
def test_name_and_instructions(text: str, name: str | None, has: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self: text)
    found = processor.facts.__wrapped__()
    assert found.get("model name") == name
    monkeypatch.setattr(processor, "facts", lambda: found)
    assert (has in processor.instructions()) == (has is not None)
    if text:
        assert found["processor"] == "0", "the first one's"


def test_a_system_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Path) -> str:
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", missing)
    assert processor.facts.__wrapped__() == {}
