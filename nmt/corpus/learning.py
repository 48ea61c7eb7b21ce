"""Tokenizers learned from text. The same sentences in the same order give the same bytes, whatever the machine's core
count.
"""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterable

import sentencepiece

from nmt.batch import BOS, EOS, PAD, SPECIALS, UNK
from nmt.corpus.moses import MosesWords
from nmt.corpus.tokenizer import THREADS, SentencePieces, Tokenizer, Words, split_words
from nmt.errors import DataError, NmtError, UsageError
from nmt.recipe import TokenizerConfig


def learn_sentencepiece(lines: Iterable[str], config: TokenizerConfig, what: str, side: int = 0) -> SentencePieces:
    """A sentencepiece model of tokenizer.kind with tokenizer.vocab pieces learned from these lines.

    Where tokenizer.vocab has a size for each side, `side` (0 source, 1 target) says which it is.

    Lines of more than 4,192 bytes are left out, as sentencepiece does by itself. The model holds no path: it is learned
    from an iterator and written to memory. `what` names the text in messages. UsageError where the text has too few or
    too many different pieces for tokenizer.vocab, with the bound. A `char` vocabulary is as small as the characters
    allow.

    Of the normalisations, nmt_nfkc and nmt_nfkc_cf also turn these into spaces: U+200B, U+200E, U+200F, U+2581, U+FEFF
    and U+FFFD (sentencepiece, src/builder.cc, BuildNmtNFKCMap); nfkc and identity leave them. What a model was learned
    with is what it does to text for ever: the map is part of the model.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=config.kind,
            vocab_size=config.sizes[side],
            character_coverage=config.character_coverage,
            normalization_rule_name=config.normalization,
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            pad_piece=SPECIALS[PAD],
            unk_piece=SPECIALS[UNK],
            bos_piece=SPECIALS[BOS],
            eos_piece=SPECIALS[EOS],
            unk_surface="",
            num_threads=THREADS,
            minloglevel=2,
        )
    except RuntimeError as fault:  # sentencepiece's only error; the texts below are those of 0.2
        raise _explained(str(fault), _key(config, side), config.sizes[side], what) from None
    return SentencePieces(config.kind, model.getvalue())


def _key(config: TokenizerConfig, side: int) -> str:
    """The key that a side's size stands at."""
    return "tokenizer.vocab" if isinstance(config.vocab, int) else f"tokenizer.vocab.{('src', 'tgt')[side]}"


def _explained(fault: str, key: str, vocab: int, what: str) -> NmtError:
    if found := re.search(r"Vocabulary size too high \(\d+\)\. Please set it to a value <= (\d+)", fault):
        return UsageError(
            f"{key}: {vocab:,} is too many for {what}: it gives {int(found[1]):,} pieces at most",
            f"set {key} to {found[1]} or less",
        )
    if found := re.search(r"Vocabulary size is smaller than required_chars\. \d+ vs (\d+)", fault):
        return UsageError(
            f"{key}: {vocab:,} is too few for {what}: its characters alone need {int(found[1]):,}",
            f"set {key} to {found[1]} or more, or lower tokenizer.character_coverage",
        )
    return DataError(
        f"{what} has no line that sentencepiece could learn from: {fault}",
        "lines without characters, and of more than 4,192 bytes, do not count",
    )


def learn_words(counts: Counter[str], vocab: int) -> list[str]:
    """The shortlist: the most frequent words, equally frequent ones by code point, `vocab` with the special ids at
    most.
    """
    kept = ((word, n) for word, n in counts.items() if word not in SPECIALS)
    ranked = sorted(kept, key=lambda item: (-item[1], item[0]))
    return [word for word, _ in ranked[: max(0, vocab - len(SPECIALS))]]


def learn(
    pairs: Callable[[], Iterable[tuple[str, str]]], config: TokenizerConfig, languages: tuple[str, str]
) -> tuple[Tokenizer, Tokenizer]:
    """The tokenizers of both sides, learned from the sentence pairs that `pairs()` goes through, always in one order.

    UsageError where tokenizer.vocab does not fit the text. Of a joint sentencepiece model both sides get the same
    object.
    """
    if config.kind == "marian":
        raise UsageError(
            "tokenizer.kind: marian cannot be learned: it comes with a model from nmt import",
            "name that model in train.init, or choose bpe, unigram, char or word",
        )
    small = min((0, 1), key=lambda side: config.sizes[side])
    if config.sizes[small] <= len(SPECIALS):
        raise UsageError(
            f"{_key(config, small)}: {config.sizes[small]} leaves no room for pieces: {len(SPECIALS)} ids are special",
            "common sizes are 8000 for tens of thousands of sentence pairs, 32000 for millions",
        )
    if config.kind == "word":
        return _learn_both_words(pairs(), config, languages)
    if config.joint:
        joint = learn_sentencepiece((line for pair in pairs() for line in pair), config, "the training text")
        return joint, joint
    src = learn_sentencepiece((src for src, _ in pairs()), config, f"the {languages[0]} training text")
    return src, learn_sentencepiece((tgt for _, tgt in pairs()), config, f"the {languages[1]} training text", side=1)


def _learn_both_words(
    pairs: Iterable[tuple[str, str]], config: TokenizerConfig, languages: tuple[str, str]
) -> tuple[Words, Words]:
    moses = [MosesWords(lang) if config.words == "moses" else None for lang in languages]
    counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for pair in pairs:
        for side in (0, 1):
            counts[side].update(split_words(pair[side], moses[side]))
    if config.joint:
        shortlist = learn_words(counts[0] + counts[1], config.sizes[0])
        return Words(shortlist, moses[0]), Words(shortlist, moses[1])
    src, tgt = (Words(learn_words(counts[i], config.sizes[i]), moses[i]) for i in (0, 1))
    return src, tgt
