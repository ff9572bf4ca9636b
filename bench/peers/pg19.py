"""The paper's loop over a book with PyTorch, transformers and peft: the same weights, tokens, adapter and dropout masks as templora's.

    OMP_NUM_THREADS=2 python pg19.py smollm2-135m.gguf 2021.txt 2021.jsonl 2021.pytorch.jsonl [cuda]

The third is what `templora ppl --json` wrote of the book: its first line has the recipe and the windows. The last gets a line for each chunk
(bench/runs.bench.ts --suite pg19_pytorch makes a record of them). It goes on where it was stopped: beside it stands FILE.pt, the adapter and its optimiser behind the last chunk. float32, sdpa attention;
on a GPU, too, nothing is rounded to TF32.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "test" / "golden"))

import peft
import torch
import transformers
from make_golden import (
    DROPOUT,
    MaskedDropout,
    Recipe,
    adapter_parameters,
    add_lora,
    load_smollm2_tokenizer,
    make_optimiser,
    set_fresh_adapter,
    stream_words,
    temp_lora_chunk,
    use_our_dropout,
)
from transformers import AutoModelForCausalLM


LOW = 0xFFFFFFFF


def stream_words_on(device, seed, purpose, index, step, count):
    """make_golden's stream_words, as int64 on a device."""
    stream = (purpose << 24) | index
    keys = (seed, stream, 0x1BD11BDA ^ seed ^ stream)
    x0 = torch.arange((count + 1) // 2, dtype=torch.int64, device=device) + keys[0] & LOW
    x1 = torch.full_like(x0, step + keys[1] & LOW)
    for round_ in range(20):
        left = [13, 15, 26, 6, 17, 29, 16, 24][round_ % 8]
        x0 = x0 + x1 & LOW
        x1 = (x1 << left & LOW | x1 >> 32 - left) ^ x0
        if round_ % 4 == 3:
            n = round_ // 4 + 1
            x0 = x0 + keys[n % 3] & LOW
            x1 = x1 + keys[(n + 1) % 3] + n & LOW
    return torch.stack((x0, x1), dim=1).reshape(-1)[:count]


class DeviceDropout(MaskedDropout):
    """The same mask, made where x lies: numpy takes longer for it than a GPU for the whole update."""

    def forward(self, x):
        if self.step is None:
            return x
        _, rows, width = x.shape
        count = (rows - self.first_row) * width
        words = stream_words_on(x.device, self.seed, DROPOUT, self.index, self.step, count) >> 8
        factors = torch.ones((rows, width), dtype=x.dtype, device=x.device)
        factors[self.first_row :] = (words >= round(self.p * 2**24)).reshape(-1, width).to(x.dtype) / (1 - self.p)
        return x * factors


def main(gguf, book, ours, out, device="cpu"):
    gguf, out = Path(gguf), Path(out)
    lines = [json.loads(line) for line in Path(ours).read_text(encoding="utf-8").splitlines()]
    config, chunks = lines[0], [line for line in lines if line["type"] == "chunk"]
    given = {key: value for key, value in config["recipe"].items() if key not in ("targets", "layers", "step_tokens")}
    assert config["recipe"].get("layers", 0) == config["recipe"].get("step_tokens", 0) == 0
    windows = {key: config[key] for key in ("seed", "chunk", "window", "train_window")}
    recipe = Recipe(**windows, **given)

    text = Path(book).read_bytes().decode("utf-8-sig")
    tokens = load_smollm2_tokenizer(gguf).encode(text, add_special_tokens=False)
    tokens = tokens[: chunks[-1]["start"] + chunks[-1]["tokens"]]

    base = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, attn_implementation="sdpa"
    )
    base.config.__dict__.pop("quantization_config", None)  # the weights are plain float32 by now
    model = add_lora(base.to(device), recipe.rank, recipe.alpha, dropout=recipe.dropout)
    set_fresh_adapter(model, recipe.seed)
    dropouts = use_our_dropout(model, recipe.seed, recipe.dropout) if recipe.dropout > 0 else {}
    if device != "cpu":
        words = stream_words_on(device, 7, DROPOUT, 11, 3, 999).cpu().numpy()
        assert (words == stream_words(7, DROPOUT, 11, 3, 999)).all()
        for module in dropouts.values():
            module.__class__ = DeviceDropout
        torch.set_default_device(device)
    optimiser = make_optimiser(model, recipe.lr, recipe)

    kept, done = out.with_suffix(".pt"), 0
    if kept.exists():
        state = torch.load(kept, map_location=device)
        done = state["done"]
        with torch.no_grad():
            for name, parameter in adapter_parameters(model).items():
                parameter.copy_(state["adapter"][name])
        optimiser.load_state_dict(state["optimiser"])
    library = f"PyTorch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"
    if device != "cpu":
        library += f", {torch.cuda.get_device_name()}"
    written = [json.dumps({"type": "config", "command": "pytorch", "text": Path(book).name, "library": library})]
    if done > 0:
        written += out.read_text(encoding="utf-8").splitlines()[1 : done + 1]
    for line in chunks[done:]:
        index = line["index"]
        record = temp_lora_chunk(model, optimiser, tokens, index, recipe, dropouts)
        assert (record["start"], record["tokens"]) == (line["start"], line["tokens"])
        written.append(json.dumps({"type": "chunk", "text": Path(book).name, **record}))
        out.write_text("\n".join(written) + "\n", encoding="utf-8")
        adapter = {name: p.detach() for name, p in adapter_parameters(model).items()}
        torch.save({"done": index + 1, "adapter": adapter, "optimiser": optimiser.state_dict()}, kept)
        apart = max(abs(record[key] / line[key] - 1) for key in ("base_nll", "lora_nll"))
        print(f"chunk {index}: {100 * apart:.4f} % apart", flush=True)


main(*sys.argv[1:])
