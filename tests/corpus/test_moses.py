import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.corpus.moses import MosesWords


@pytest.mark.parametrize(
    ("lang", "line", "words"),
    [
        ("en", "Mr. Smith's dog & cat.", ["Mr.", "Smith", "'s", "dog", "&", "cat", "."]),
        ("fr", "L'homme n'a pas dit : « oui ».", ["L'", "homme", "n'", "a", "pas", "dit", ":", "«", "oui", "»", "."]),
        ("xx", "Mr. who?", ["Mr.", "who", "?"]),  # unknown languages get English abbreviations
        ("en", "wait ...", ["wait", "..."]),
        ("en", "a\u00a0b  c", ["a", "b", "c"]),
    ],
)
def test_words(lang: str, line: str, words: list[str]) -> None:
    assert MosesWords(lang).split(line) == words


def test_a_region_does_not_hide_the_language() -> None:
    assert MosesWords("fr-CA").split("l'eau") == MosesWords("FR_ca").split("l'eau") == ["l'", "eau"]


def test_czech_dashes_do_not_crash_the_library() -> None:
    assert MosesWords("cs").join(["x'", "-", "li", "a'", "–", "mail", ",", "b"]) == "x'-li a'–mail, b"


@given(
    st.sampled_from(["en", "fr", "cs", "fi", "it", "ga", "de"]),
    st.lists(
        st.sampled_from(
            ["'", '"', "„", "“", "x'", "-", "–", "li", "mail", "1", ",", ".", ":", "ssa", "$", "¿", "猫", "s"]
        )
    ),
)
def test_any_words_join(lang: str, words: list[str]) -> None:
    MosesWords(lang).join(words)


@given(st.sampled_from(["en", "fr", "cs", "fi"]), st.text())
def test_any_line_splits_into_words_without_spaces(lang: str, line: str) -> None:
    assert all(word and not any(c.isspace() for c in word) for word in MosesWords(lang).split(line))
