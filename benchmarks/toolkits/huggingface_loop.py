"""Hugging Face's MarianMTModel, untrained, in the plain loop that its users write: the toolkit has no other for it.

    python huggingface_loop.py train --data FOLDER --out FOLDER --tokens 4096 --updates 1000 [--dtype bfloat16]
    python huggingface_loop.py translate --data FOLDER --model FOLDER --out FILE --beam 5 --batch 100

It runs in an environment of its own, where `nmt` is not. Batches are those of a careful user: sorted by length, at most
so many real target tokens each, shuffled; Adam is the fused one.
"""

import argparse
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import MarianConfig, MarianMTModel

UNK, PAD, BOS, EOS = range(4)  # the ids of words.joey
EVERY = 5  # updates between lines

Pair = tuple[list[int], list[int]]


@dataclass(frozen=True)
class PaddedBatch:
    """src (B, S), labels (B, T) with EOS, decoder (B, T): BOS and the labels without their last."""

    src: Tensor
    labels: Tensor
    decoder: Tensor


def main() -> None:
    """Trains or translates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("train", "translate"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--save-every", type=int, default=0)
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--warm-up", type=int, default=300)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--split", default="test")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    words = (options.data / "words.joey").read_text().split("\n")[:-1]
    if options.verb == "train":
        _train(options, {word: i for i, word in enumerate(words)})
    else:
        _translate(options, words)


def build(vocab: int, dropout: float) -> MarianMTModel:
    """3 + 3 layers, d 256, ffn 1024, 4 heads, one matrix for both embeddings and the output."""
    return MarianMTModel(
        MarianConfig(
            vocab_size=vocab,
            d_model=256,
            encoder_layers=3,
            decoder_layers=3,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=1024,
            decoder_ffn_dim=1024,
            dropout=dropout,
            attention_dropout=0.0,
            activation_dropout=0.0,
            activation_function="relu",
            scale_embedding=True,
            max_position_embeddings=512,
            pad_token_id=PAD,
            bos_token_id=BOS,
            eos_token_id=EOS,
            decoder_start_token_id=BOS,
            forced_eos_token_id=EOS,
            tie_word_embeddings=True,
        )
    )


def read_pairs(data: Path, split: str, ids: dict[str, int]) -> list[Pair]:
    """Sentence pairs as ids, each side ending with EOS."""
    sides = []
    for side in ("src", "tgt"):
        lines = (data / f"{split}.{side}").read_text().split("\n")[:-1]
        sides.append([[*(ids.get(word, UNK) for word in line.split(" ") if word), EOS] for line in lines])
    return list(zip(*sides, strict=True))


def batches(pairs: list[Pair], tokens: int) -> list[list[Pair]]:
    """Pairs in batches of at most so many real target tokens, of like length, in random order."""
    found: list[list[Pair]] = []
    room = 0
    for pair in sorted(pairs, key=lambda p: (len(p[1]), len(p[0]), random.random())):
        if not found or room < len(pair[1]):
            found.append([])
            room = tokens
        found[-1].append(pair)
        room -= len(pair[1])
    random.shuffle(found)
    return found


def padded(batch: list[Pair]) -> PaddedBatch:
    """A batch as tensors."""

    def pad(rows: list[list[int]]) -> Tensor:
        width = max(map(len, rows))
        return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])

    labels = pad([tgt for _, tgt in batch])
    return PaddedBatch(pad([src for src, _ in batch]), labels, F.pad(labels[:, :-1], (1, 0), value=BOS))


def _loss(model: MarianMTModel, batch: PaddedBatch, smoothing: float, dtype: str) -> Tensor:
    """Mean over the real target tokens."""
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        logits = model(
            input_ids=batch.src, attention_mask=(batch.src != PAD).long(), decoder_input_ids=batch.decoder
        ).logits
    return F.cross_entropy(
        logits.float().flatten(0, 1), batch.labels.flatten(), ignore_index=PAD, label_smoothing=smoothing
    )


def _train(options: argparse.Namespace, ids: dict[str, int]) -> None:
    model = build(len(ids), options.dropout)
    print("parameters", sum(p.numel() for p in model.parameters() if p.requires_grad), flush=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: min((done + 1) / options.warm_up, math.sqrt(options.warm_up / (done + 1)))
    )
    random.seed(1)
    stream = _endless(read_pairs(options.data, "train", ids), options.tokens)
    model.train()
    tokens, started = 0, time.perf_counter()
    for update in range(1, options.updates + 1):
        batch = next(stream)
        optimizer.zero_grad()
        loss = _loss(model, batch, 0.1, options.dtype)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        tokens += int((batch.labels != PAD).sum())
        if update % EVERY == 0:
            now = time.perf_counter()
            print(f"update {update} loss {loss.item():.3f} TOKENS {tokens} SECONDS {now - started:.3f}", flush=True)
            tokens, started = 0, now
        if options.save_every and update % options.save_every == 0:
            model.save_pretrained(options.out / f"update-{update}")
            started = time.perf_counter()
    model.save_pretrained(options.out / "last")
    if options.validate:
        print(f"VALIDATION {_validation_loss(model, read_pairs(options.data, 'valid', ids), options.tokens):.4f}")


def _endless(pairs: list[Pair], tokens: int) -> Iterator[PaddedBatch]:
    while True:
        for batch in batches(pairs, tokens):
            yield padded(batch)


@torch.inference_mode()
def _validation_loss(model: MarianMTModel, pairs: list[Pair], tokens: int) -> float:
    """Nats a target token, without smoothing and dropout."""
    model.eval()
    total, count = 0.0, 0
    for batch in map(padded, batches(pairs, tokens)):
        real = int((batch.labels != PAD).sum())
        total, count = total + real * float(_loss(model, batch, 0.0, "float32")), count + real
    return total / count


@torch.inference_mode()
def _translate(options: argparse.Namespace, words: list[str]) -> None:
    model = MarianMTModel.from_pretrained(options.model).eval()
    src = [s for s, _ in read_pairs(options.data, options.split, {word: i for i, word in enumerate(words)})]
    started = time.perf_counter()
    order = sorted(range(len(src)), key=lambda i: -len(src[i]))
    found: list[list[str]] = [[] for _ in src]
    for at in range(0, len(order), options.batch):
        part = order[at : at + options.batch]
        batch = padded([(src[i], [EOS]) for i in part])
        out = model.generate(  # pyright: ignore[reportAttributeAccessIssue]
            input_ids=batch.src,
            attention_mask=(batch.src != PAD).long(),
            num_beams=options.beam,
            do_sample=False,
            max_new_tokens=100,
            length_penalty=1.0,
        )
        for i, row in zip(part, out.tolist(), strict=True):
            hyp = row[1:]
            end = hyp.index(EOS) if EOS in hyp else len(hyp)
            found[i] = [words[k] for k in hyp[:end] if k != PAD]
    seconds = time.perf_counter() - started
    options.out.write_text("".join(" ".join(hyp) + "\n" for hyp in found))
    print(f"TRANSLATED {len(src)} SECONDS {seconds:.3f}", flush=True)


if __name__ == "__main__":
    main()
