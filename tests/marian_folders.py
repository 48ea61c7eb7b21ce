"""Folders as OPUS-MT models come in, written by transformers itself: random or trained a little, no network."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import sentencepiece
import torch
from torch import nn

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "data" / "en-fr"


def lines(name: str, count: int | None = None) -> list[str]:
    """The first lines of a file of the small corpus."""
    return (CORPUS / name).read_text(encoding="utf-8").split("\n")[:-1][:count]


def learn_spm(path: Path, text: Iterable[str], vocab: int) -> list[str]:
    """A sentencepiece model as Marian learns it (ids of its own, `</s>` and `<unk>` only); gives its pieces."""
    with open(path, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text),
            model_writer=file,
            vocab_size=vocab,
            bos_id=-1,
            eos_id=0,
            unk_id=1,
            num_threads=1,
            minloglevel=2,
        )
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return [model.id_to_piece(i) for i in range(model.get_piece_size())]


def write_texts(folder: Path, vocab: int, *, separate: bool = False, codes: Sequence[str] = ()) -> tuple[int, int]:
    """source.spm, target.spm and the numbering: pad last, everything else in an order of its own; rows of each side."""
    folder.mkdir(parents=True)
    src = learn_spm(folder / "source.spm", lines("train.en", 4000), vocab)
    tgt = learn_spm(folder / "target.spm", lines("train.fr", 4000), vocab)
    special = ["</s>", "<unk>"]

    def numbered(pieces: Iterable[str]) -> dict[str, int]:
        own = sorted(set(pieces) - {*special, *codes}, key=lambda piece: piece[::-1])
        return {piece: i for i, piece in enumerate([*special, *codes, *own, "<pad>"])}

    if separate:
        both = numbered(src), numbered(tgt)
        size = min(map(len, both))  # pad has one id on both sides
        for name, ids in zip(("vocab.json", "target_vocab.json"), both, strict=True):
            kept = [piece for piece, i in ids.items() if i < size - 1]
            (folder / name).write_text(
                json.dumps({piece: i for i, piece in enumerate([*kept, "<pad>"])}), encoding="utf-8"
            )
        sizes = size, size
    else:
        ids = numbered([*src, *tgt])
        (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
        sizes = len(ids), len(ids)
    described = {"source_lang": "en", "target_lang": "fr", "separate_vocabs": separate}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    return sizes


def new_model(transformers: ModuleType, sizes: tuple[int, int], **changes: Any) -> Any:
    """A small Marian model with the settings of OPUS-MT: swish, scaled embeddings, decoding starts from pad."""
    n_src, n_tgt = sizes
    pad = n_tgt - 1
    config = {
        **{"vocab_size": n_src, "decoder_vocab_size": n_tgt, "d_model": 32, "max_position_embeddings": 64},
        **{"encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 48},
        **{"decoder_layers": 3, "decoder_attention_heads": 4, "decoder_ffn_dim": 48},
        **{"activation_function": "swish", "scale_embedding": True, "dropout": 0.1},
        **{"pad_token_id": pad, "eos_token_id": 0, "forced_eos_token_id": 0, "decoder_start_token_id": pad},
        **changes,
    }
    theirs = transformers.MarianMTModel(transformers.MarianConfig(**config)).eval()
    settings = theirs.generation_config
    settings.update(bad_words_ids=[[pad]], num_beams=5, max_length=32, early_stopping=False)
    return theirs


def scatter(theirs: Any, seed: int = 5) -> None:
    """Values so large that every parameter counts, the output bias too; positions stay what they are."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            about = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            nn.init.uniform_(parameter, about - 0.5, about + 0.5)
        theirs.final_logits_bias.uniform_(-0.5, 0.5)
        for side in (theirs.model.encoder, theirs.model.decoder):
            side.embed_positions.weight.copy_(side.embed_positions.create_weight())


def save(theirs: Any, folder: Path) -> None:
    """config.json, generation_config.json and model.safetensors, as transformers writes them."""
    theirs.save_pretrained(folder)


def translate(theirs: Any, tokenizer: Any, text: Sequence[str], beam: int, batch: int = 50) -> list[str]:
    """What transformers makes of the lines."""
    found: list[str] = []
    for at in range(0, len(text), batch):
        given = tokenizer(list(text[at : at + batch]), return_tensors="pt", padding=True)
        with torch.inference_mode():
            ids = theirs.generate(**given, num_beams=beam, do_sample=False)
        found += tokenizer.batch_decode(ids, skip_special_tokens=True)
    return found


def short(text: Sequence[str], words: int) -> list[int]:
    """Which lines have so many words at most."""
    return [i for i, line in enumerate(text) if len(line.split()) <= words]


def teach(
    theirs: Any, tokenizer: Any, updates: int, batch: int = 64, lr: float = 2e-3, words: int | None = None
) -> float:
    """Trains it on the small corpus, or its lines of so many words, in transformers' own way; the last loss."""
    src, tgt = lines("train.en"), lines("train.fr")
    if words:
        kept = short(src, words)
        src, tgt = [src[i] for i in kept], [tgt[i] for i in kept]
    by_length = sorted(range(len(src)), key=lambda i: (len(tgt[i]), i))
    pad, order = theirs.config.pad_token_id, torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(theirs.parameters(), lr=lr, betas=(0.9, 0.98))
    torch.manual_seed(1)
    theirs.train()
    loss = torch.zeros(())
    for update in range(updates):
        first = int(torch.randint(len(src) - batch, (), generator=order))
        rows = by_length[first : first + batch]  # of one length, so that there is little padding
        given = tokenizer([src[i] for i in rows], return_tensors="pt", padding=True, truncation=True, max_length=48)
        wanted = tokenizer(
            text_target=[tgt[i] for i in rows], return_tensors="pt", padding=True, truncation=True, max_length=48
        )["input_ids"]
        for group in optimizer.param_groups:
            group["lr"] = lr * min((update + 1) / 100, 1.0) * (1.0 - update / updates)
        loss = theirs(**given, labels=wanted.masked_fill(wanted == pad, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimizer.step()
    theirs.eval()
    return loss.item()
