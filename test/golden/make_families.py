"""Makes families/<family>/: a tiny random model of each family, and what transformers + peft compute with it.

    python make_families.py [FAMILY …]        # 1 min for all; needs tiny-untied/, whose tokenizer they share

README.md says what each file holds. Everything is computed in float64 by the library's own code: inside `float64` every
conversion to float32 that its modules make (norms, RoPE, softmax, soft caps) goes to float64 instead. It is computed a second time
by the untouched library in float32; the largest differences are recorded.
"""

import argparse
import contextlib
import shutil

import gguf
import numpy as np
import peft
import torch
import torch.nn.functional as F
import transformers
from make_golden import (
    HERE, UNTIED, VERSIONS, Recipe, adapter_parameters, add_lora, make_optimiser, save_tensors, temp_lora, train_step, write_json,
)  # fmt: skip
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

DATE = "2026-11-26"
SIZES = dict(
    vocab_size=UNTIED.vocab_size, hidden_size=32, intermediate_size=40, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=1, pad_token_id=None, dtype="bfloat16",
)  # fmt: skip
GEMMA = dict(head_dim=12, query_pre_attn_scalar=20, sliding_window=7)
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e6}
FAMILIES = {  # model_type: (architecture in GGUF, what is not the family's default)
    "llama": ("llama", dict(head_dim=8, attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    "mistral": ("llama", dict(head_dim=12, sliding_window=7)),
    "qwen2": ("qwen2", dict(use_sliding_window=True, sliding_window=7, max_window_layers=2)),
    "qwen3": ("qwen3", dict(head_dim=12, tie_word_embeddings=True)),
    "gemma2": ("gemma2", dict(**GEMMA, attn_logit_softcapping=1.5, final_logit_softcapping=3.0)),
    "gemma3_text": (
        "gemma3",
        dict(
            **GEMMA, layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
            rope_parameters={"full_attention": LINEAR, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}},
        ),
    ),
    "granite": (
        "granite",
        dict(embedding_multiplier=3.0, attention_multiplier=0.2, residual_multiplier=0.22, logits_scaling=2.5, mlp_bias=True),
    ),
    "olmo2": ("olmo2", dict(rope_parameters={"rope_type": "default", "rope_theta": 5e5})),
    "smollm3": ("smollm3", dict(no_rope_layers=[1, 0, 1, 0])),
    "phi3": (
        "phi3",
        dict(
            sliding_window=7, max_position_embeddings=256, original_max_position_embeddings=64, hidden_size=64,
            rope_parameters={
                "rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 0.75, "original_max_position_embeddings": 64,
                "short_factor": [1.0, 1.05, 1.2, 1.5, 2.0, 3.0], "long_factor": [1.0, 2.0, 3.0, 5.0, 8.0, 16.0],
            },
        ),
    ),
}  # fmt: skip
TOKENS = 24
LONG = 80  # more than LongRoPE's original positions
STEP_LR = 1e-3
LOOP = Recipe(seed=5, chunk=6, window=10, train_window=10, rank=2, alpha=4, lr=5e-3)  # four chunks


def wide(dtype):
    return torch.float64 if dtype is torch.float32 else dtype


@contextlib.contextmanager
def float64(wanted):
    """Within it, if `wanted`, what would become float32 becomes float64."""
    to, single, softmax, arange = torch.Tensor.to, torch.Tensor.float, F.softmax, torch.arange

    def widened(self, *args, **kwargs):
        return to(self, *map(wide, args), **{name: wide(value) for name, value in kwargs.items()})

    replacements = [
        (torch.Tensor, "to", widened),
        (torch.Tensor, "float", torch.Tensor.double),
        (F, "softmax", lambda x, dim=None, dtype=None: softmax(x, dim, dtype=wide(dtype))),
        (torch, "arange", lambda *args, dtype=None, **rest: arange(*args, dtype=wide(dtype), **rest)),
    ]
    for owner, name, value in replacements if wanted else []:
        setattr(owner, name, value)
    try:
        yield
    finally:
        torch.Tensor.to, torch.Tensor.float, F.softmax, torch.arange = to, single, softmax, arange


class Split(torch.nn.Module):
    """A linear layer as the several that it holds, so that each can have a LoRA of its own."""

    def __init__(self, whole, **rows):
        super().__init__()
        for (name, out), weight in zip(rows.items(), whole.weight.detach().split(list(rows.values()))):
            part = torch.nn.Linear(whole.in_features, out, bias=False)
            part.weight = torch.nn.Parameter(weight)
            self.add_module(name, part)

    def forward(self, x):
        return torch.cat([part(x) for part in self.children()], dim=-1)


def split_fused(model):
    config = model.config
    head_dim = config.hidden_size // config.num_attention_heads
    heads, kv_heads, inner = config.num_attention_heads * head_dim, config.num_key_value_heads * head_dim, config.intermediate_size
    for layer in model.model.layers if config.model_type == "phi3" else []:
        layer.self_attn.qkv_proj = Split(layer.self_attn.qkv_proj, q_proj=heads, k_proj=kv_heads, v_proj=kv_heads)
        layer.mlp.gate_up_proj = Split(layer.mlp.gate_up_proj, gate_proj=inner, up_proj=inner)
    return model


def make_model(model_type, seed):
    _, options = FAMILIES[model_type]
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **{**SIZES, **options})).eval()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            gain = name.endswith("norm.weight") and not model_type.startswith("gemma")  # Gemma adds the 1 itself
            p.copy_(torch.from_numpy(rng.normal(1.0 if gain else 0.0, 0.2, p.shape)))
    return model.to(torch.bfloat16)


def load(folder, dtype):
    # not from_pretrained, which makes RoPE's frequencies where tensors have no values, and `float64` none
    config = AutoConfig.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float()
    missing, unexpected = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert not unexpected and set(missing) <= ({"lm_head.weight"} if config.tie_word_embeddings else set())
    return model.double().eval() if dtype == torch.float64 else model.eval()


def measure(folder, dtype, tokens, longer):
    tensors = {}
    with float64(dtype == torch.float64):
        ids = torch.tensor([tokens])
        base = load(folder, dtype)
        with torch.no_grad():
            tensors["logits.base"] = base(ids).logits[0]
            if longer:
                tensors["logits.longer"] = base(torch.tensor([longer])).logits[0]
        model = add_lora(split_fused(base), rank=2, alpha=4)
        rng = np.random.default_rng(3)
        parameters = adapter_parameters(model)
        with torch.no_grad():
            for name, p in parameters.items():
                values = rng.normal(0, 0.15 if name.endswith("A") else 0.05, p.shape).astype(np.float32)
                p.copy_(torch.from_numpy(values))
        logits = model(ids).logits[0]
        loss = F.cross_entropy(logits[:-1], ids[0, 1:])
        loss.backward()
        assert logits.dtype == loss.dtype == dtype
        tensors["logits.adapter"] = logits.detach()
        for name, p in parameters.items():
            tensors[f"adapter.{name}"] = p.detach().clone()
            tensors[f"grad.{name}"] = p.grad.clone()
        optimiser = make_optimiser(model, lr=STEP_LR)
        losses = [train_step(model, optimiser, tokens, 1)[0] for _ in range(10)]
        for name, p in parameters.items():
            tensors[f"step10.{name}"] = p.detach()
        model = add_lora(split_fused(load(folder, dtype)), LOOP.rank, LOOP.alpha)
        chunks = list(temp_lora(model, tokens, LOOP))
    return tensors, {"adapter_loss": loss.item(), "adamw_losses": losses, "chunks": chunks}


def make(model_type):
    architecture, _ = FAMILIES[model_type]
    folder = HERE / "families" / model_type
    folder.mkdir(parents=True, exist_ok=True)
    seed = 20 + list(FAMILIES).index(model_type)
    model = make_model(model_type, seed)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "model.safetensors").chmod(0o644)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(HERE / UNTIED.name / name, folder / name)
    draw = np.random.default_rng(seed)
    tokens = [int(t) for t in draw.integers(0, UNTIED.vocab_size, TOKENS)]
    longrope = model.config.rope_parameters.get("rope_type") == "longrope"
    longer = [int(t) for t in draw.integers(0, UNTIED.vocab_size, LONG if longrope else 0)]
    tensors, numbers = measure(folder, torch.float64, tokens, longer)
    rounded, single = measure(folder, torch.float32, tokens, longer)
    pairs = zip(numbers["chunks"], single["chunks"])
    difference = {"lora_nll": max(abs(a["lora_nll"] - b["lora_nll"]) for a, b in pairs)}
    for name, tensor in tensors.items():
        kind = name if name.startswith("logits") else name.split(".")[0]
        largest = (tensor - rounded[name]).abs().max().item()
        difference[kind] = max(difference.get(kind, 0), largest)
    save_tensors(folder / "golden.safetensors", tensors)
    names = gguf.get_tensor_name_map(
        next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture), SIZES["num_hidden_layers"]
    )
    stored = [name for name, _ in model.named_parameters()]
    write_json(
        folder / "golden.json",
        {
            "made_by": "make_families.py", "date": DATE, "versions": {**VERSIONS, "gguf": gguf_version()}, "tokens": tokens,
            **({"longer": longer} if longer else {}), "adapter": {"rank": 2, "alpha": 4}, "step_lr": STEP_LR, "recipe": vars(LOOP), **numbers, "float32_difference": difference,
            "architecture": architecture,
            "gguf_names": {name: names.get_name(name, try_suffixes=(".weight", ".bias")) for name in stored},
        },
    )  # fmt: skip
    print(model_type, numbers["adapter_loss"], difference)


def gguf_version():
    from importlib.metadata import version

    return version("gguf")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", default=[], metavar="FAMILY")
    args = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(2)
    for model_type in args.families or FAMILIES:
        make(model_type)


if __name__ == "__main__":
    main()
