"""Makes keys.json: which keys transformers and the GGUF convention know, and what transformers computes with changed ones.

    python make_keys.py        # 30 s; after make_families.py

`fields`: the fields of the configuration class of each family. `rope`: the keys of rope_parameters. `gguf`: the keys below the
architecture's name. `cases`: a family's golden model with `changes` in its config.json (null removes nothing: it is JSON's null; a key
of `without` is removed), and the mean loss over its tokens, computed in float64 by the library's own code; or the `error` that the
library ends in.
"""

import json
import shutil
import tempfile
from dataclasses import fields
from pathlib import Path

import gguf
import torch
import torch.nn.functional as F
import transformers
from make_families import FAMILIES, gguf_version, load, float64
from make_golden import HERE, VERSIONS, write_json
from transformers.modeling_rope_utils import RopeParameters

THETA = {"rope_theta": 10000.0}
LINEAR = {"rope_type": "linear", "factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
V4 = ("rope_parameters",)
NESTED = {"full_attention": {**LINEAR, "rope_theta": 1e6}, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
CASES = [  # name, family, changes, keys removed first
    ("as it is", "llama", {}, ()),
    ("linear in rope_parameters", "llama", {"rope_parameters": {**LINEAR, **THETA}}, ()),
    ("linear in rope_scaling, as type", "llama", {"rope_scaling": {"type": "linear", "factor": 4.0}, **THETA}, V4),
    ("rope_type linear, type yarn", "llama", {"rope_scaling": {**LINEAR, "type": "yarn"}}, V4),
    ("rope_theta outside", "llama", {"rope_theta": 500.0}, V4),
    ("rope_theta outside, rope_parameters without", "llama", {"rope_theta": 500.0, "rope_parameters": LINEAR}, ()),
    ("rope_theta outside and another inside", "llama", {"rope_theta": 500.0}, ()),
    ("factor without a type", "llama", {"rope_scaling": {"factor": 4.0}}, V4),
    ("factor of the default type", "llama", {"rope_parameters": {"rope_type": "default", "factor": 4.0, **THETA}}, ()),
    ("type without a factor", "llama", {"rope_scaling": {"type": "linear"}}, V4),
    ("rope_scaling as rope_parameters", "llama", {"rope_parameters": LINEAR, "rope_scaling": LINEAR}, ()),
    ("rope_scaling empty", "llama", {"rope_parameters": LINEAR, "rope_scaling": {}}, ()),
    ("rope_scaling unlike rope_parameters", "llama", {"rope_parameters": LINEAR, "rope_scaling": {**LINEAR, "factor": 2.0}}, ()),
    ("rope_theta that rope_scaling hides", "llama", {"rope_parameters": {**LINEAR, "rope_theta": 500.0}, "rope_scaling": LINEAR}, ()),
    ("nested where kinds are not told apart", "llama", {"rope_parameters": NESTED}, ()),
    ("yarn", "llama", {"rope_parameters": YARN}, ()),
    ("yarn, original positions inside", "llama", {"rope_parameters": {**YARN, "original_max_position_embeddings": 16}}, ()),
    ("yarn, original positions outside", "llama", {"rope_parameters": YARN, "original_max_position_embeddings": 16}, ()),
    ("yarn, original positions twice", "llama", {"rope_parameters": {**YARN, "original_max_position_embeddings": 32}, "original_max_position_embeddings": 16}, ()),
    ("yarn, mscale", "llama", {"rope_parameters": {**YARN, "mscale": 2.0, "mscale_all_dim": 0.5}}, ()),
    ("yarn, mscale alone", "llama", {"rope_parameters": {**YARN, "mscale": 2.0}}, ()),
    ("yarn, mscale as text", "llama", {"rope_parameters": {**YARN, "mscale": "2.0", "mscale_all_dim": 0.5}}, ()),
    ("yarn, attention_factor and betas", "llama", {"rope_parameters": {**YARN, "attention_factor": 1.5, "beta_fast": 4.0, "beta_slow": 2.0, "original_max_position_embeddings": 32}}, ()),
    ("yarn, betas null", "llama", {"rope_parameters": {**YARN, "beta_fast": None, "attention_factor": None}}, ()),
    ("yarn, not truncated", "llama", {"rope_parameters": {**YARN, "truncate": False, "original_max_position_embeddings": 64}}, ()),
    ("llama3", "llama", {"rope_parameters": {**LLAMA3, "original_max_position_embeddings": 16}}, ()),
    ("llama3 without original positions", "llama", {"rope_scaling": LLAMA3}, V4),
    ("linear with a key of yarn", "llama", {"rope_scaling": {**LINEAR, "beta_fast": 4.0}}, V4),
    ("partial_rotary_factor outside", "llama", {"partial_rotary_factor": 0.5}, ()),
    ("partial_rotary_factor inside", "llama", {"rope_parameters": {**LINEAR, "partial_rotary_factor": 0.5}}, ()),
    ("partial_rotary_factor 1", "llama", {"partial_rotary_factor": 1.0}, ()),
    ("dynamic", "llama", {"rope_scaling": {"type": "dynamic", "factor": 4.0}}, V4),
    ("rope_condense_ratio, which nobody knows", "llama", {"rope_condense_ratio": 8}, ()),
    ("is_causal", "llama", {"is_causal": False}, ()),
    ("a window", "llama", {"sliding_window": 7}, ()),
    ("soft caps", "llama", {"attn_logit_softcapping": 1.5}, ()),
    ("layer_types, all full", "llama", {"layer_types": ["full_attention"] * 4}, ()),
    ("layer_types, some not", "llama", {"layer_types": ["full_attention", "sliding_attention"] * 2, "sliding_window": 7}, ()),
    ("what changes nothing", "llama", {"pretraining_tp": 2, "attention_dropout": 0.5, "torch_dtype": "float16", "use_cache": False, "mood": "good", "rope_interleaved": False}, ()),
    ("layer_types of a Mistral", "mistral", {"layer_types": ["full_attention", "sliding_attention"] * 2}, ()),
    ("no window", "mistral", {"sliding_window": None}, ()),
    ("attention_bias that the family lacks", "mistral", {"attention_bias": True}, ()),
    ("window turned off", "qwen2", {"use_sliding_window": False}, ("layer_types",)),
    ("window turned off, layers that have one", "qwen2", {"use_sliding_window": False}, ()),
    ("window null, turned on", "qwen2", {"sliding_window": None}, ("layer_types",)),
    ("window by max_window_layers", "qwen2", {"max_window_layers": 1}, ("layer_types",)),
    ("nested by layer_types", "qwen2", {"rope_parameters": NESTED}, ()),
    ("mlp_bias that the family lacks", "olmo2", {"mlp_bias": True}, ()),
    ("both directions", "gemma2", {"use_bidirectional_attention": True}, ()),
    ("another hidden_act beside hidden_activation", "gemma2", {"hidden_act": "relu"}, ()),
    ("no caps", "gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None}, ()),
    ("flat rope_parameters", "gemma3_text", {"rope_parameters": {**LINEAR, "rope_theta": 1e6}}, ()),
    ("rope_scaling", "gemma3_text", {"rope_scaling": LINEAR, "rope_theta": 1e5, "rope_local_base_freq": 500.0}, V4),
    ("rope_scaling and rope_parameters", "gemma3_text", {"rope_scaling": LINEAR}, ()),
    ("nested rope_scaling", "gemma3_text", {"rope_scaling": NESTED}, V4),
    ("only full_attention", "gemma3_text", {"rope_parameters": {"full_attention": NESTED["full_attention"]}, "rope_local_base_freq": 500.0}, ()),
    ("only sliding_attention", "gemma3_text", {"rope_parameters": {"sliding_attention": {"rope_theta": 500.0}}, "rope_theta": 1e5}, ()),
    ("full_attention null", "gemma3_text", {"rope_parameters": {**NESTED, "full_attention": None}}, ()),
    ("nested yarn", "gemma3_text", {"rope_parameters": {**NESTED, "full_attention": YARN}}, ()),
    ("sliding_attention scaled", "gemma3_text", {"rope_parameters": {**NESTED, "sliding_attention": LINEAR}}, ()),
    ("window turned on", "smollm3", {"use_sliding_window": True, "sliding_window": 7}, ("layer_types",)),
    ("interval", "smollm3", {"no_rope_layer_interval": 3}, ("no_rope_layers", "layer_types")),
    ("interval 0", "smollm3", {"no_rope_layer_interval": 0}, ("no_rope_layers", "layer_types")),
    ("max_window_layers", "smollm3", {"max_window_layers": 2}, ()),
    ("multipliers left out", "granite", {}, ("embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling")),
]  # fmt: skip


def loss_of(family, changes, without):
    folder = HERE / "families" / family
    tokens = json.loads((folder / "golden.json").read_text())["tokens"]
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        path = Path(copy) / "config.json"
        config = {key: value for key, value in json.loads(path.read_text()).items() if key not in without}
        path.write_text(json.dumps({**config, **changes}))
        try:
            with float64(True), torch.no_grad():
                logits = load(copy, torch.float64)(torch.tensor([tokens])).logits[0]
                return {"loss": F.cross_entropy(logits[:-1], torch.tensor(tokens[1:])).item()}
        except Exception as error:
            return {"error": type(error).__name__}


def gguf_keys(keys):
    for name, value in vars(keys).items():
        if isinstance(value, type):
            yield from gguf_keys(value)
        elif isinstance(value, str) and value.startswith("{arch}."):
            yield value.removeprefix("{arch}.")


def main():
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    classes = {family: transformers.CONFIG_MAPPING[family] for family in FAMILIES}
    write_json(
        HERE / "keys.json",
        {
            "made_by": "make_keys.py", "date": "2026-11-26", "versions": {**VERSIONS, "gguf": gguf_version()},
            "fields": {family: sorted(field.name for field in fields(of)) for family, of in classes.items()},
            "rope": sorted(RopeParameters.__annotations__),
            "gguf": sorted(gguf_keys(gguf.Keys)),
            "cases": [
                {"name": name, "family": family, "changes": changes, "without": list(without), **loss_of(family, changes, without)}
                for name, family, changes, without in CASES
            ],
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
