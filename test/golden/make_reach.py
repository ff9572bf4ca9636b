"""
Writes reach.json and reach.safetensors: what models of families/ give, with their adapters, on a text longer than their positions,
under StreamingLLM (https://arxiv.org/abs/2309.17453) and SelfExtend (https://arxiv.org/abs/2401.01325): the last logits, the adapter's
gradients, and those where keys and values of the first tokens are constants (`constant`). Both methods are written here as the papers
define them, with dense scores in float64; all else is transformers' and peft's. With no method this must give families' own logits.

    /tmp/golden/bin/python make_reach.py        # 20 s; after families
"""

import importlib
import json

import numpy as np
import torch
import torch.nn.functional as F
from make_families import float64, load
from make_golden import HERE, UNTIED, VERSIONS, adapter_parameters, add_lora, save_tensors, write_json
from safetensors.torch import load_file

POSITIONS, TOKENS, LAST, CONTEXT = 24, 60, 12, 25
SINKS, GROUP, WINDOW = 3, 4, 6
# The layers that a method changes: those with RoPE that see everything
FAMILIES = {"llama": [0, 1, 2, 3], "gemma2": [1, 3], "gemma3_text": [2], "smollm3": [0, 2]}


def turned(x, positions, inverse_frequencies):
    """x [H, T, E] with the halves of each head as pairs, turned to positions [T]."""
    angles = positions[:, None].double() * inverse_frequencies
    cos, sin = (torch.cat([f(angles), f(angles)], dim=-1) for f in (torch.cos, torch.sin))
    one, two = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-two, one], dim=-1) * sin


def streaming(q, k, v, turn, score):
    """Query by query, over a cache of the first keys and the last ones, whose places in it are their positions."""
    out = []
    for i in range(q.shape[1]):
        kept = torch.tensor([j for j in range(i + 1) if j < SINKS or i - j < WINDOW])
        places = torch.arange(len(kept))
        scores = score(turn(q[:, i : i + 1], places[-1:]), turn(k[:, kept], places))
        out.append(scores.softmax(-1) @ v[:, kept])
    return torch.cat(out, dim=1)


def self_extend(q, k, v, turn, score):
    """As algorithm 1: scores of neighbours, scores of groups, and which of them each pair takes."""
    places = torch.arange(q.shape[1])
    neighbours = score(turn(q, places), turn(k, places))
    grouped = score(turn(q, places // GROUP + WINDOW - WINDOW // GROUP), turn(k, places // GROUP))
    distance = places[:, None] - places
    scores = torch.where(distance < WINDOW, neighbours, grouped)
    return scores.masked_fill(distance < 0, -torch.inf).softmax(-1) @ v


def own(q, k, v, turn, score, window):
    places = torch.arange(q.shape[1])
    distance = places[:, None] - places
    unseen = (distance < 0) | (distance >= (window or TOKENS))
    return score(turn(q, places), turn(k, places)).masked_fill(unseen, -torch.inf).softmax(-1) @ v


def attention_of(model_type, method, context):
    def attention(module, query, key, value, _mask, scaling, softcap=None, **_):
        [q], [k], [v] = query, key, value
        k, v = (torch.cat([x[:, :context].detach(), x[:, context:]], dim=1) for x in (k, v))
        k, v = (x.repeat_interleave(q.shape[0] // x.shape[0], dim=0) for x in (k, v))
        rope = module.config.rope_parameters
        rope = rope.get(getattr(module, "layer_type", None), rope)
        frequencies = rope["rope_theta"] ** -(torch.arange(0, q.shape[-1], 2).double() / q.shape[-1]) / rope.get("factor", 1)
        turns = getattr(module, "use_rope", True)

        def turn(x, positions):
            return turned(x, positions, frequencies) if turns else x

        def score(q, k):
            s = scaling * q @ k.transpose(-1, -2)
            return s if softcap is None else softcap * torch.tanh(s / softcap)

        if method and module.layer_idx in FAMILIES[model_type]:
            y = method(q, k, v, turn, score)
        else:
            y = own(q, k, v, turn, score, getattr(module, "sliding_window", None))
        return y.transpose(0, 1)[None], None

    return attention


def measure(model_type, method, tokens, context=0):
    name = model_type.removesuffix("_text")
    modeling = importlib.import_module(f"transformers.models.{name}.modeling_{name}")
    before = modeling.eager_attention_forward, modeling.apply_rotary_pos_emb
    modeling.eager_attention_forward = attention_of(model_type, method, context)
    modeling.apply_rotary_pos_emb = lambda q, k, *_args, **_rest: (q, k)
    folder = HERE / "families" / model_type
    with float64(True):
        model = add_lora(load(folder, torch.float64), rank=2, alpha=4)
        parameters = adapter_parameters(model)
        stored = load_file(folder / "golden.safetensors")
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(stored[f"adapter.{name}"])
        ids = torch.tensor([tokens])
        logits = model(ids).logits[0]
        F.cross_entropy(logits[context:-1], ids[0, context + 1 :]).backward()
    assert logits.dtype == torch.float64
    modeling.eager_attention_forward, modeling.apply_rotary_pos_emb = before
    return {"logits": logits[-LAST:].detach(), **{f"grad.{name}": p.grad for name, p in parameters.items()}}


def main():
    tokens = [int(t) for t in np.random.default_rng(8).integers(0, UNTIED.vocab_size, TOKENS)]
    tensors = {}
    for model_type in FAMILIES:
        folder = HERE / "families" / model_type
        known = load_file(folder / "golden.safetensors")["logits.adapter"]
        untouched = measure(model_type, None, json.loads((folder / "golden.json").read_text())["tokens"])
        assert (untouched["logits"] - known[-LAST:]).abs().max() < 1e-6
        for name, method in {"streaming": streaming, "self-extend": self_extend}.items():
            found = measure(model_type, method, tokens)
            constant = measure(model_type, method, tokens, CONTEXT)
            found.update({f"constant.{key}": value for key, value in constant.items() if key != "logits"})
            tensors.update({f"{model_type}.{name}.{key}": value for key, value in found.items()})
            print(model_type, name, found["logits"].abs().max().item())
    save_tensors(HERE / "reach.safetensors", tensors)
    write_json(
        HERE / "reach.json",
        {
            **{"made_by": "make_reach.py", "date": "2026-11-26", "versions": VERSIONS, "families": list(FAMILIES)},
            **{"positions": POSITIONS, "sinks": SINKS, "group": GROUP, "window": WINDOW, "tokens": tokens, "last": LAST, "context": CONTEXT},
        },
    )


main()
