"""
Writes dials.json: Temp-LoRA's loop on tiny-tied in float64, with transformers and peft, under the dials of a recipe that the paper does
not have: an anchor to the frozen model (kl), replay of earlier tokens, scoring with an average (ema), learning the context, too
(context_loss), and no step on what is known already (skip_below). Same bits of randomness as ours: A's values, and the places of replay.

    /tmp/golden/bin/python make_dials.py        # 1 min; after tiny
"""

import contextlib
import json
import math
import re

import torch
import torch.nn.functional as F
from make_golden import (
    HERE,
    VERSIONS,
    ConstantContext,
    Recipe,
    adapter_parameters,
    add_lora,
    exact_llama,
    load,
    make_optimiser,
    set_fresh_adapter,
    stream_words,
    token_logits,
    unit,
    write_json,
)

REPLAY = 4  # Purpose.replay in engine/random.ts
COMMON = {"seed": 3, "chunk": 16, "window": 20, "rank": 4, "alpha": 4, "lr": 2e-2, "warmup": 0, "epochs": 2, "clip": 1.0}
OFF = {"kl": 0.0, "replay": 0, "ema": 0.0, "context_loss": False, "skip_below": 0.0, "learn_below": 1.0}
CONSTANT = {"context_grad": False, "reuse_cache": 2, "epochs": 1}
CASES = [
    {},
    {"kl": 0.5},
    {"kl": 2.0, **CONSTANT},
    {"replay": 12},
    {"replay": 200, **CONSTANT},
    {"ema": 0.6},
    {"ema": 0.6, **CONSTANT, "epochs": 2},
    {"context_loss": True},
    {"skip_below": 5.5},
    {"skip_below": 6.6, "kl": 0.5, "ema": 0.3, **CONSTANT},
    {"kl": 0.3, "replay": 8, "learn_below": 0.02, "ema": 0.5, **CONSTANT},
]


def drawn(tokens, start, case, index):
    """What chunk `index`, which begins at `start`, learns once more, behind the token before it."""
    count = min(case["replay"], start - 1)
    if count <= 0:
        return None
    u = unit(stream_words(case["seed"], REPLAY, 0, index, 1))[0]
    first = 1 + int(u * (start - count))
    return tokens[first - 1 : first + count]


@contextlib.contextmanager
def values(model, others):
    """Within it the adapter has other values."""
    own = {name: p.detach().clone() for name, p in adapter_parameters(model).items()}
    with torch.no_grad():
        for name, p in adapter_parameters(model).items():
            p.copy_(others[name])
    yield
    with torch.no_grad():
        for name, p in adapter_parameters(model).items():
            p.copy_(own[name])


def losses(model, ids, first, constant):
    """The logits that predict ids[first:], and their cross-entropies; `constant`: the keys of what comes before, or None."""
    logits = (constant.logits if constant else token_logits)(model, ids, first)
    return logits, F.cross_entropy(logits, torch.tensor(ids[first:]), reduction="none")


def objective(model, ids, first, logits, nll, anchor, case):
    """The mean of what is learnt of ids[first:], divergences included, and of how many tokens that is."""
    total = nll
    if case["kl"] > 0:
        with torch.no_grad(), model.disable_adapter():
            frozen = (anchor.logits if anchor else token_logits)(model, ids, first).log_softmax(-1)
        total = nll + case["kl"] * F.kl_div(logits.log_softmax(-1), frozen, reduction="none", log_target=True).sum(-1)
    learnt = nll.detach() > -math.log(case["learn_below"]) if case["learn_below"] < 1 else torch.ones_like(nll, dtype=bool)
    return (total * learnt).sum() / learnt.sum().clamp(min=1), int(learnt.sum())


def run(tokens, changes):
    case = {**COMMON, **OFF, **changes}
    recipe = Recipe(train_window=case["window"], **{key: case[key] for key in [*COMMON, *CONSTANT] if key in case})
    model = add_lora(load(HERE / "tiny-tied", torch.float64), recipe.rank, recipe.alpha)
    set_fresh_adapter(model, recipe.seed)
    optimiser = make_optimiser(model, recipe.lr, recipe)
    average = {name: p.detach().clone() for name, p in adapter_parameters(model).items()}
    training, scoring, anchor = ([None] * 3) if recipe.context_grad else [ConstantContext(recipe.reuse_cache) for _ in range(3)]
    anchored = -1
    for index, start in enumerate(range(0, len(tokens), recipe.chunk)):
        context = max(0, start - recipe.window)
        inputs, first = tokens[context : start + recipe.chunk], max(start - context, 1)
        with values(model, average), torch.no_grad():
            if scoring:
                scoring.prepare(model, inputs, first)
            _, nll = losses(model, inputs, first, scoring)
        if training:
            training.prepare(model, inputs, first)
        train_loss = []
        for _ in range(recipe.epochs):
            optimiser.zero_grad()
            begin = 1 if case["context_loss"] else first
            logits, each = losses(model, inputs, begin, training)
            train_loss.append(each.mean().item())
            if train_loss[-1] < case["skip_below"]:
                continue
            if anchor and case["kl"] > 0 and anchored < index:
                if anchored < index - 1:
                    anchor.layers = None  # it has not read the chunk before
                with model.disable_adapter():
                    anchor.prepare(model, inputs, first)
                anchored = index
            mean, some = objective(model, inputs, begin, logits, each, anchor, case)
            again = drawn(tokens, start, case, index)
            more = len(again) - 1 if again else 0
            loss = mean * len(each) / (len(each) + more)
            if again:
                mean, others = objective(model, again, 1, *losses(model, again, 1, None), None, case)
                loss, some = loss + mean * more / (len(each) + more), some + others
            if some == 0:
                continue
            loss.backward()
            torch.nn.utils.clip_grad_norm_(adapter_parameters(model).values(), recipe.clip)
            optimiser.step()
            for name, p in adapter_parameters(model).items():
                average[name] += (1 - case["ema"]) * (p.detach() - average[name])
        yield {"start": start, "lora_nll": nll.sum().item(), "train_loss": train_loss}


torch.set_num_threads(1)


def first_singular(rows, count):
    """The sum of the squares of a matrix's largest singular values: what its best `count` directions hold of it."""
    return (torch.linalg.svdvals(rows)[:count] ** 2).sum().item()


def starts(tokens, count=4):
    """What the best directions hold of each weight, and of what each layer reads in the first chunk."""
    model = load(HERE / "tiny-tied", torch.float64)
    found = {"weight": {}, "input": {}}
    for name, module in model.named_modules():
        place = re.fullmatch(r"model\.layers\.(\d+)\.\w+\.(\w+_proj)", name)
        if not place:
            continue
        key = ".".join(["layers", *place.groups()])
        found["weight"][key] = first_singular(module.weight.detach(), count)
        keep = lambda _, x, key=key: found["input"].__setitem__(key, first_singular(x[0][0], count))
        module.register_forward_pre_hook(keep)
    with torch.no_grad():
        model(torch.tensor([tokens[: COMMON["chunk"] - 1]]))
    return found


def main():
    tokens = json.loads((HERE / "tiny-tied" / "golden.json").read_text())["loops"][0]["tokens"][:88]
    runs = []
    for changes in CASES:
        with exact_llama(True):
            chunks = list(run(tokens, changes))
        runs.append({"changes": changes, "chunks": chunks})
        print(changes, [round(chunk["lora_nll"], 4) for chunk in chunks], [chunk["train_loss"] for chunk in chunks][-1])
    with exact_llama(True):
        found = starts(tokens)
    facts = {"made_by": "make_dials.py", "date": "2026-11-27", "versions": VERSIONS}
    write_json(HERE / "dials.json", {**facts, "common": COMMON, "tokens": tokens, "runs": runs, "starts": found})


main()
