"""Trains a small Llama of few positions, for what other methods for long texts do beyond them (`templora compare`).

    python bench/small_model.py FOLDER book.txt…

Four layers, 3.7 million parameters, 256 positions, 2,048 byte-level BPE tokens; AdamW on random stretches of the books. The same books, seed and
libraries give the same model up to the order of sums in threads. transformers and PyTorch in float32 (test/golden/requirements.txt).
"""

import math
import sys
import time
from pathlib import Path

import tokenizers
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

POSITIONS, BATCH, STEPS, WARMUP, LR = 256, 8, 600, 50, 2e-3
SPECIAL = ["<s>", "</s>"]


def make_tokenizer(text):
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=2048, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([text], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=SPECIAL[0], eos_token=SPECIAL[1])


def main(folder, *books):
    text = "\n\n".join(Path(book).read_text(encoding="utf-8-sig") for book in books)
    tokenizer = make_tokenizer(text)
    tokens = torch.tensor(tokenizer.encode(text, add_special_tokens=False))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.95), weight_decay=0.1)
    began = time.time()
    for step in range(STEPS):
        warm, share = min(1, (step + 1) / WARMUP), step / STEPS
        for group in optimiser.param_groups:
            group["lr"] = LR * warm * (0.05 + 0.95 * (1 + math.cos(math.pi * share)) / 2)
        starts = torch.randint(len(tokens) - POSITIONS, (BATCH,))
        batch = torch.stack([tokens[start : start + POSITIONS] for start in starts])
        loss = model(batch, labels=batch).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 0 or step == STEPS - 1:
            print(f"step {step}: loss {loss.item():.3f}, {time.time() - began:.0f} s", flush=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


main(*sys.argv[1:])
