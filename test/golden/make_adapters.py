"""Makes adapters/<case>/: adapters as peft writes them, and adapters.json: what peft reads in them. And checks an adapter of ours.

    python make_adapters.py                  # 20 s; needs tiny-untied/ and families/phi3/
    npx tsx save_adapter.ts FOLDER MODEL && python make_adapters.py check FOLDER
    templora merge --model MODEL --load-adapter adapters/CASE --out FOLDER && python make_adapters.py merged FOLDER CASE

README.md says what each file holds. Logits are computed in float64 from what `PeftModel.from_pretrained` makes of the folder.
"""

import argparse
import dataclasses
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import peft
import torch
import transformers
from make_families import float64, load
from make_golden import HERE, UNTIED, VERSIONS, save_tensors, write_json
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

PHI = "families/phi3"
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {  # name: (model, dtype of the file, settings of LoraConfig, changes of adapter_config.json afterwards)
    "plain": (UNTIED.name, torch.float32, dict(r=4, lora_alpha=8, lora_dropout=0.1, target_modules=PROJECTIONS), {}),
    "patterns": (
        UNTIED.name, torch.bfloat16,
        dict(
            r=3, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "v_proj", "mlp.down_proj", "layers.1.mlp.up_proj"],
            rank_pattern={"q_proj": 2, "^model.layers.2.*": 5, r"layers\.\d\.self_attn\.q_proj": 7},
            alpha_pattern={r"[02]\.mlp\.(up|down)_proj": 9, "v_proj": 1},
        ),
        {},
    ),
    "all-linear": (UNTIED.name, torch.float16, dict(r=2, lora_alpha=3, target_modules="all-linear"), {"target_modules": "All-Linear"}),
    "regex": (UNTIED.name, torch.float32, dict(r=2, lora_alpha=16, target_modules=r".*\.(0|2)\.(?:self_attn|mlp)\.(q|up)_proj"), {}),
    "fused": (PHI, torch.float32, dict(r=3, lora_alpha=6, target_modules=["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]), {}),
    "fused-patterns": (
        PHI, torch.bfloat16,
        dict(
            r=2, lora_alpha=5, use_rslora=True, target_modules=r".*\.(?:1\.self_attn\.o|qkv|gate_up)_proj",
            rank_pattern={r"3\.mlp\.gate_up_proj": 4}, alpha_pattern={"qkv_proj": 3},
        ),
        {},
    ),
}  # fmt: skip
LAYOUTS = [  # which modules peft adapts, and how
    dict(target_modules=["q_proj"], rank_pattern={"proj": 2}),
    dict(target_modules=["proj"]),
    dict(target_modules=["model.layers.1.self_attn.k_proj", "1.mlp.up_proj", "no_such_proj"]),
    dict(target_modules=["q_proj", "lm_head"]),
    dict(target_modules=["o_proj", "embed_tokens"]),
    dict(target_modules="q_proj"),
    dict(target_modules=".*q_proj"),
    dict(target_modules=".*[kv]_proj$"),
    dict(target_modules=r"model\.layers\.[1-9]\.mlp\.(?P<which>up|down)_proj"),
    dict(target_modules=r"(?:.*?(?:self_attn|attention).*?(?:q_proj|o_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.mlp\.up_proj)"),
    dict(target_modules="(.*q_proj"),
    dict(target_modules=PROJECTIONS, rank_pattern={r".*\.0\..*": 3, "q_proj": 5}, alpha_pattern={"mlp.*": 4, "0.mlp.up_proj": 6}),
    dict(target_modules=PROJECTIONS, rank_pattern={"q_proj|mlp.up_proj": 3}, use_rslora=True),
    dict(target_modules=PROJECTIONS, rank_pattern={"^layers.0.*": 3, "^model.*.v_proj": 6}, alpha_pattern={"(": 2}),
    dict(target_modules=PROJECTIONS, rank_pattern={"0": 3, "_proj": 6, ".*_proj": 2}),
]
TOKENS = 24


def lora_layers(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, peft.tuners.lora.LoraLayer)}


def layout(settings):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = get_peft_model(load(HERE / UNTIED.name, torch.float32), LoraConfig(r=4, lora_alpha=8, **settings))
    except Exception as error:
        return {"error": type(error).__name__}
    found = lora_layers(model)
    return {
        "modules": {
            name.removeprefix("base_model.model."): [module.r["default"], module.scaling["default"]] for name, module in found.items()
        }
    }


def model_of(folder):
    """The golden model that an adapter's configuration names."""
    return HERE / json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]


def logits(folder, tokens, dtype=torch.float64):
    with float64(dtype == torch.float64), torch.no_grad():
        model = PeftModel.from_pretrained(load(model_of(folder), dtype), folder)
        return (model.double() if dtype == torch.float64 else model).eval()(torch.tensor([tokens])).logits[0]


def make_case(name, tokens):
    base, dtype, settings, changes = CASES[name]
    folder = HERE / "adapters" / name
    model = get_peft_model(load(HERE / base, torch.float32), LoraConfig(task_type="CAUSAL_LM", **settings))
    rng = np.random.default_rng(list(CASES).index(name))
    with torch.no_grad():
        for parameter, p in sorted(model.named_parameters()):
            if "lora_" in parameter:
                p.copy_(torch.from_numpy(rng.normal(0, 0.15, p.shape)))
                p.data = p.data.to(dtype)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    # peft sorts the keys of patterns when it saves them, but takes the first that matches when it reads them
    patterns = {key: settings[key] for key in ("rank_pattern", "alpha_pattern") if key in settings}
    config = {**json.loads(path.read_text()), "base_model_name_or_path": base, **patterns, **changes}
    path.write_text(json.dumps(config, indent=2) + "\n")
    got = logits(folder, tokens)
    difference = (got - logits(folder, tokens, torch.float32)).abs().max().item()
    save_tensors(folder / "golden.safetensors", {"logits": got})
    print(name, "float32 differs by", difference)
    return difference


def make():
    tokens = [int(t) for t in np.random.default_rng(7).integers(0, UNTIED.vocab_size, TOKENS)]
    differences = {name: make_case(name, tokens) for name in CASES}
    write_json(
        HERE / "adapters" / "adapters.json",
        {
            "made_by": "make_adapters.py", "date": "2026-11-26", "versions": VERSIONS, "tokens": tokens,
            "float32_difference": differences,
            "fields": sorted(field.name for field in dataclasses.fields(LoraConfig)),
            "layouts": [{"settings": settings, **layout(settings)} for settings in LAYOUTS],
        },
    )  # fmt: skip


def check(folder):
    """Loads an adapter of ours with peft; its logits must be those that templora computed with it."""
    ours = json.loads((folder / "logits.json").read_text())
    want = torch.tensor(ours["logits"], dtype=torch.float64).reshape(len(ours["tokens"]), -1)
    got = logits(folder, ours["tokens"])
    base = load(model_of(folder), torch.float32)(torch.tensor([ours["tokens"]])).logits[0]
    error = ((got - want).norm() / want.norm()).item()
    print(f"relative error {error:.1e}; without the adapter {((base - want).norm() / want.norm()).item():.1e}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # such as that for missing or unexpected tensors
        model = PeftModel.from_pretrained(load(model_of(folder), torch.float32), folder)
    stored = load_file(folder / "adapter_model.safetensors")
    with tempfile.TemporaryDirectory() as again:
        model.save_pretrained(again)
        saved = load_file(Path(again) / "adapter_model.safetensors")
        assert saved.keys() == stored.keys() and all(torch.equal(saved[name], stored[name]) for name in stored)
    assert error < 1e-4


def merged(folder, case):
    """Loads what templora has merged with transformers; the weights and logits must be those of peft."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        ours, problems = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", output_loading_info=True)
    assert not any(problems.values()), problems
    dtype = next(ours.parameters()).dtype
    adapter = HERE / "adapters" / case
    peft_model = PeftModel.from_pretrained(load(model_of(adapter), torch.float64), adapter).double()
    with torch.no_grad():
        theirs = dict(peft_model.merge_and_unload().named_parameters())
    for name, weight in ours.named_parameters():
        rounded = theirs[name].float().to(dtype).double()
        assert ((weight.double() - theirs[name]).abs() <= 1.001 * (rounded - theirs[name]).abs() + 1e-7).all(), name
    tokens = json.loads((HERE / "adapters" / "adapters.json").read_text())["tokens"]
    want = load_file(adapter / "golden.safetensors")["logits"].double()
    with float64(True), torch.no_grad():
        got = ours.double().eval()(torch.tensor([tokens])).logits[0]
    error = ((got - want).norm() / want.norm()).item()
    print(f"{dtype}: relative error of the logits {error:.1e}")
    assert error < (1e-4 if dtype == torch.float32 else 0.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=["make", "check", "merged"], default="make")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("case", nargs="?", choices=CASES)
    args = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(2)
    match args.command:
        case "make":
            make()
        case "check":
            check(args.folder)
        case "merged":
            merged(args.folder, args.case)


if __name__ == "__main__":
    main()
