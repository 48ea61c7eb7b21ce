"""Words by the rules of Moses, and lines from words again, through sacremoses (MIT), a port of Moses' tokenizer.perl.

What it does to text, on purpose or not: runs of white space become one space (a no-break space counts), other ASCII
control characters vanish, the literal words DOTMULTI and DOTDOTMULTI become dots, and a language it has no
abbreviations for is treated with those of English. Words come back into a line by rules too, so a few lines return with
other spaces than they had (on Multi30k one in 3,000 in English, one in 100 in French and German, most of them doubled
spaces in the original). We ask for no escaping, so `&` stays `&` and no `&amp;` gets into a vocabulary. Chinese and
Japanese are not cut into words.
"""

import re
from collections.abc import Sequence


class MosesWords:
    """Cuts lines of one language into words and joins words into lines; `lang` is a tag such as en or fr-CA."""

    def __init__(self, lang: str) -> None:
        from sacremoses import MosesDetokenizer, MosesTokenizer  # 0.4 s, which only this kind of vocabulary needs

        self.lang = lang
        base = re.split("[-_]", lang)[0].lower()
        self._tokenizer = MosesTokenizer(base)
        self._detokenizer = MosesDetokenizer(base)
        self._czech = base == "cs"

    def split(self, line: str) -> list[str]:
        """The words of a line; none of them holds white space."""
        words = self._tokenizer.tokenize(line, escape=False)
        assert isinstance(words, list)  # its other type is for return_str
        return words

    def join(self, words: Sequence[str]) -> str:
        """The line that these words are written as."""
        if self._czech:
            words = _join_czech_dashes(words)
        return self._detokenizer.detokenize(words, unescape=False)


def _join_czech_dashes(words: Sequence[str]) -> list[str]:
    """Words with `x' - li` and `x' - mail` joined, as sacremoses means to do: 0.2.0 raises TypeError there (next() of a
    list).
    """
    joined: list[str] = []
    i = 0
    while i < len(words):
        three = words[i : i + 3]
        if (
            len(three) == 3
            and re.search(r"\w'$", three[0])
            and three[1] in ("-", "–")
            and re.search(r"^li$|^mail", three[2], re.IGNORECASE)
        ):
            joined.append("".join(three))
            i += 3
        else:
            joined.append(words[i])
            i += 1
    return joined
