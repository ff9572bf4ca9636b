"""
Writes official.json: the loop of the paper's published script (github.com/TemporaryLoRA/Temp-LoRA, trainer/acc_pg19_trainer.py) and what it
prints, on tiny-tied in float64, with transformers and peft. Its conventions, as read there: the first chunk has a length of its own
(1,024 tokens; fewer here) whatever the stride, and counts as one stride; every other chunk counts with all its tokens; the evaluation
window has no effect, the training window scores, too; the figures are the means of the chunks' perplexities, so weighted.

    python make_official.py
"""

import json
import math
from datetime import date

import peft
import torch
import transformers

from make_golden import HERE, Recipe, add_lora, load, make_optimiser, set_fresh_adapter, token_nll, train_step

CASES = [
    {"name": "first chunk longer than the stride", "first": 48, "stride": 32, "prefix": 40, "tokens": 48 + 4 * 32 + 7},
    {"name": "first chunk shorter than the stride", "first": 24, "stride": 40, "prefix": 64, "tokens": 24 + 3 * 40},
    {"name": "a text shorter than the first chunk", "first": 48, "stride": 32, "prefix": 40, "tokens": 30},
]


def spans(length, first, stride, prefix):
    """(weight, start of the context, start of the chunk, its end) of every chunk."""
    yield min(length, stride), 0, 0, min(length, first)
    for i in range(first, length, stride):
        end = min(i + stride, length)
        yield end - i, max(0, i - prefix), i, end


def run(ids, case):
    recipe = Recipe(seed=7, chunk=case["stride"], window=case["prefix"], train_window=case["prefix"], rank=4, alpha=4, lr=2e-2)
    model = add_lora(load(HERE / "tiny-tied", torch.float64), recipe.rank, recipe.alpha)
    set_fresh_adapter(model, recipe.seed)
    optimiser = make_optimiser(model, recipe.lr, recipe)
    base, lora, counted, chunks = 0.0, 0.0, 0, []
    for index, (weight, context, start, end) in enumerate(spans(len(ids), case["first"], case["stride"], case["prefix"])):
        inputs, first = ids[context:end], max(start - context, 1)
        with torch.no_grad():
            lora_nll = token_nll(model, inputs, first)
            with model.disable_adapter():
                base_nll = token_nll(model, inputs, first)
        base += math.exp(base_nll.mean().item()) * weight
        lora += math.exp(lora_nll.mean().item()) * weight
        counted += weight
        optimiser.param_groups[0]["lr"] = recipe.lr * min(1, index / recipe.warmup)
        losses = [train_step(model, optimiser, inputs, first, recipe.clip)[0] for _ in range(recipe.epochs)]
        chunks.append({"start": start, "context": start - context, "base_nll": base_nll.sum().item(), "lora_nll": lora_nll.sum().item(), "train_loss": losses})
    return {"counted": counted, "mean_base_ppl": base / counted, "mean_lora_ppl": lora / counted, "chunks": chunks}


if __name__ == "__main__":
    ids = json.loads((HERE / "tiny-tied" / "golden.json").read_text())["loops"][0]["tokens"]
    longest = max(case["tokens"] for case in CASES)
    ids = [*ids, *ids, *ids][:longest]
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
    found = [{**case, **run(ids[: case["tokens"]], case)} for case in CASES]
    facts = {"made_by": "make_official.py", "date": date.today().isoformat(), "versions": versions}
    recipe = {"seed": 7, "rank": 4, "alpha": 4, "lr": 2e-2, "warmup": 2, "epochs": 2, "dropout": 0}
    (HERE / "official.json").write_text(json.dumps({**facts, "recipe": recipe, "tokens": ids, "runs": found}, indent=1) + "\n")
    for each in found:
        print(each["name"], each["counted"], each["mean_base_ppl"], each["mean_lora_ppl"])
