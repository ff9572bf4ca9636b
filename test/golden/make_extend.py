"""
Writes extend.json: what transformers computes of a text that is half as long again as a model's positions, with RoPE stretched in
each way that --extend offers, and with a sliding window (as Mistral, which is Llama but for that), in float32, by the untouched library.

    /tmp/golden/bin/python make_extend.py
"""

import json
from datetime import date
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, MistralConfig, MistralForCausalLM

HERE = Path(__file__).parent
FOLDER = HERE / "tiny-tied"
POSITIONS, FACTOR, WINDOW = 64, 2.5, 20
# any will do: what is computed with them is at stake here
DIVISORS = {
    "short_factor": [1 + 0.05 * i for i in range(6)],
    "long_factor": [1 + 0.25 * i for i in range(6)],
}


def parameters(config, method):
    """rope_parameters of a method; "ntk" is none of transformers': its base is by the definition of "NTK-aware" interpolation in
    https://arxiv.org/abs/2309.00071, section 3.1."""
    theta, d = config.rope_parameters["rope_theta"], config.head_dim
    return {
        "none": {"rope_type": "default", "rope_theta": theta},
        "linear": {"rope_type": "linear", "rope_theta": theta, "factor": FACTOR},
        "ntk": {"rope_type": "default", "rope_theta": theta * FACTOR ** (d / (d - 2))},
        "dynamic-ntk": {"rope_type": "dynamic", "rope_theta": theta, "factor": FACTOR},
        "yarn": {
            **{"rope_type": "yarn", "rope_theta": theta, "factor": FACTOR},
            "original_max_position_embeddings": POSITIONS,
        },
        "longrope": {
            **{"rope_type": "longrope", "rope_theta": theta, "factor": FACTOR},
            **{**DIVISORS, "original_max_position_embeddings": POSITIONS},
        },
        "llama3": {
            **{"rope_type": "llama3", "rope_theta": theta, "factor": FACTOR},
            **{"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": POSITIONS},
        },
    }[method]


def losses(method, ids):
    """Of every token but the first, in nats."""
    config = AutoConfig.from_pretrained(FOLDER)
    config.rope_parameters = parameters(config, method)
    config.max_position_embeddings = POSITIONS if method == "dynamic-ntk" else int(POSITIONS * FACTOR)
    return losses_of(AutoModelForCausalLM.from_pretrained(FOLDER, config=config, attn_implementation="eager"), ids)


def sliding_losses(ids):
    fields = AutoConfig.from_pretrained(FOLDER).to_dict()
    for name in ["architectures", "model_type", "transformers_version"]:
        fields.pop(name)
    config = MistralConfig(**fields, sliding_window=WINDOW)
    return losses_of(MistralForCausalLM.from_pretrained(FOLDER, config=config, attn_implementation="eager"), ids)


def losses_of(model, ids):
    model.eval()
    with torch.no_grad():
        logits = model(ids[None]).logits[0, :-1]
    return [round(x, 7) for x in torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none").tolist()]


def main():
    torch.manual_seed(0)
    ids = torch.tensor(json.loads((FOLDER / "golden.json").read_text())["tokens"])
    methods = ["none", "linear", "ntk", "dynamic-ntk", "yarn", "llama3", "longrope"]
    golden = {
        **{"made_by": "make_extend.py", "date": str(date.today()), "transformers": transformers.__version__},
        **{"positions": POSITIONS, "factor": FACTOR, "divisors": DIVISORS},
        "sliding": {"window": WINDOW, "losses": sliding_losses(ids)},
        "losses": {method: losses(method, ids) for method in methods},
        "longrope_within": losses("longrope", ids[:POSITIONS]),
    }
    (HERE / "extend.json").write_text(json.dumps(golden) + "\n")


main()
