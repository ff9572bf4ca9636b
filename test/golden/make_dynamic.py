"""
Writes dynamic.json: dynamic evaluation (Krause et al. 2018, https://arxiv.org/abs/1709.07432) of every model in families/, in float64
with transformers: each chunk is scored, then learnt by AdamW on all weights of the blocks' linear layers ("full"), or on the norms'
gains and the biases ("norms"). The optimiser holds what is learnt, so that its weight decay draws towards the weights as they were.

    /tmp/golden/bin/python make_dynamic.py        # 1 min; after families
"""

import json
import re

import torch
from make_families import FAMILIES, float64, load
from make_golden import HERE, VERSIONS, context_of, token_nll, write_json

RECIPE = {"chunk": 6, "window": 10, "epochs": 2, "warmup": 0, "beta1": 0.9, "beta2": 0.99, "eps": 1e-7, "weight_decay": 0.5, "clip": 1.0}
LEARNT = {  # names of parameters, learning rate
    "full": (r"^model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj\.weight$", 2e-3),
    "norms": (r"norm\.weight$|^model\.layers\..*\.bias$", 2e-2),
}


def run(model, pattern, lr, ids):
    learnt = [p for name, p in model.named_parameters() if re.search(pattern, name)]
    frozen = [p.detach().clone() for p in learnt]
    deltas = [torch.zeros_like(p) for p in learnt]
    betas = RECIPE["beta1"], RECIPE["beta2"]
    optimiser = torch.optim.AdamW(deltas, lr=lr, betas=betas, eps=RECIPE["eps"], weight_decay=RECIPE["weight_decay"])
    for start in range(0, len(ids), RECIPE["chunk"]):
        context = context_of(ids, start, RECIPE["window"], model.config.bos_token_id)
        inputs, first = context + ids[start : start + RECIPE["chunk"]], max(len(context), 1)
        with torch.no_grad():
            nll = token_nll(model, inputs, first).sum().item()
        losses = []
        for _ in range(RECIPE["epochs"]):
            model.zero_grad()
            loss = token_nll(model, inputs, first).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learnt, RECIPE["clip"])
            for p, delta in zip(learnt, deltas):
                delta.grad = p.grad
            optimiser.step()
            with torch.no_grad():
                for p, w, delta in zip(learnt, frozen, deltas):
                    p.copy_(w + delta)
            losses.append(loss.item())
        yield {"start": start, "lora_nll": nll, "train_loss": losses}


def main():
    runs = []
    for model_type in FAMILIES:
        folder = HERE / "families" / model_type
        ids = json.loads((folder / "golden.json").read_text())["tokens"]
        for adapt, (pattern, lr) in LEARNT.items():
            with float64(True):
                chunks = list(run(load(folder, torch.float64), pattern, lr, ids))
            runs.append({"family": model_type, "adapt": adapt, "lr": lr, "chunks": chunks})
            print(model_type, adapt, [chunk["lora_nll"] for chunk in chunks])
    facts = {"made_by": "make_dynamic.py", "date": "2026-11-27", "versions": VERSIONS}
    write_json(HERE / "dynamic.json", {**facts, "recipe": RECIPE, "runs": runs})


main()
