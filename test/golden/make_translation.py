"""Makes translation.json: the paper's translation loop on the tiny models, by transformers and peft in float64.

    python make_translation.py        # 30 s; needs tiny-tied/ and tiny-untied/

`pairs` is in the file format of the paper's data. In each run every line has the text and the ids of its prompt, and, of the base model and of the
adapted one, the summed NLL of the reference and the greedy translation by `generate`; every block but the last has the losses of its update.
A line is encoded by itself, as the published code does.
"""

import json

import torch
from make_golden import HERE, Recipe, VERSIONS, add_lora, exact_llama, load, make_optimiser, set_fresh_adapter, token_nll, train_step
from transformers import AutoTokenizer

TEMPLATE = (
    "{% for m in messages %}{{ bos_token }}{{ m['role'] }}\n{{ m['content'] | trim }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}{{ bos_token }}assistant\n{% endif %}"
)
INSTRUCTION = "请将下面的文本翻译成英文。"
PENALTY, MAX_NEW = 1.12, 12
LINES = [
    [("鲸来了。", "There she blows!"), ("叫我以实玛利。", "Call me Ishmael."), ("船走了，1851年。", "The ship left in 1851.")],
    [("海很大。", "The sea is wide."), ("他说：「好」。", 'He said, "Aye".'), ("风起了。", "A wind rose.")],
    [("夜深。", "Deep night."), ("船长醒着。", "The captain is awake.")],
]  # fmt: skip


def pairs():
    as_pairs = [[{"zh": zh, "en": en} for zh, en in block] for block in LINES]
    return [
        {"contexts": {"k1": as_pairs[i - 1] if i else [], "k3": sum(as_pairs[max(0, i - 3) : i], [])}, "inference": block}
        for i, block in enumerate(as_pairs)
    ]


class Prompts:
    def __init__(self, tokenizer, chat):
        self.tokenizer, self.chat = tokenizer, chat
        self.end = [tokenizer.eos_token_id] if chat else self.ids("\n")

    def ids(self, text):
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def question(self, sources):
        content = "\n".join([INSTRUCTION, *sources])
        if not self.chat:
            return content + "\n\n"
        return self.tokenizer.apply_chat_template([{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True)

    def before(self, context, block, i):
        earlier = context + block[:i]
        question = self.question([p["zh"] for p in [*earlier, block[i]]])
        lines = [p["en"] + "\n" for p in earlier]
        return question + "".join(lines), self.ids(question) + sum(map(self.ids, lines), [])

    def training(self, context, block, answers):
        before = self.ids(self.question([p["zh"] for p in context + block])) + sum((self.ids(p["en"] + "\n") for p in context), [])
        answer = sum((self.ids(a + "\n") for a in answers[:-1]), []) + self.ids(answers[-1]) + self.end
        return before + answer, len(before)


def run(folder, chat, train_on, recipe):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE if chat else None
    prompts = Prompts(tokenizer, chat)
    model = add_lora(load(folder, torch.float64), recipe.rank, recipe.alpha)
    set_fresh_adapter(model, recipe.seed)
    optimiser = make_optimiser(model, recipe.lr, recipe)

    @torch.no_grad()
    def measure(prompt, gold):
        nll = token_nll(model, prompt + gold, len(prompt)).sum().item()
        ids = model.generate(
            torch.tensor([prompt]), do_sample=False, repetition_penalty=PENALTY, max_new_tokens=MAX_NEW, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id, attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        )[0, len(prompt) :].tolist()  # fmt: skip
        if tokenizer.eos_token_id in ids:
            ids = ids[: ids.index(tokenizer.eos_token_id)]
        text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return nll, text.split("\n")[0].strip(" \t\r")  # JavaScript keeps control characters, too

    lines, updates = [], []
    entries = pairs()
    for index, entry in enumerate(entries):
        context, block, said = entry["contexts"]["k1"], entry["inference"], []
        for i, pair in enumerate(block):
            text, prompt = prompts.before(context, block, i)
            gold = prompts.ids(pair["en"])
            with model.disable_adapter():
                base_nll, base_text = measure(prompt, gold)
            lora_nll, lora_text = measure(prompt, gold)
            said.append(lora_text)
            lines.append({"prompt": text, "ids": prompt, "tokens": len(gold), "base_nll": base_nll, "lora_nll": lora_nll, "base": base_text, "lora": lora_text})
        if index == len(entries) - 1:
            break
        ids, first = prompts.training(context, block, said if train_on == "self" else [p["en"] for p in block])
        optimiser.param_groups[0]["lr"] = recipe.lr * min(1, index / recipe.warmup)
        losses = [train_step(model, optimiser, ids, first)[0] for _ in range(recipe.epochs)]
        updates.append({"ids": ids, "first": first, "lr": optimiser.param_groups[0]["lr"], "train_loss": losses})
    return {"lines": lines, "updates": updates}


def main():
    recipe = Recipe(seed=5, chunk=0, window=0, train_window=0, rank=4, alpha=4, lr=0.02, warmup=1)
    with exact_llama(True):
        runs = [
            {"model": model, "chat": chat, "train_on": train_on, **run(HERE / model, chat, train_on, recipe)}
            for model, chat in (("tiny-tied", False), ("tiny-untied", True))
            for train_on in ("gold", "self")
        ]
    used = {key: getattr(recipe, key) for key in ("seed", "rank", "alpha", "lr", "warmup", "epochs", "dropout")}
    golden = {
        "made_by": "make_translation.py", "versions": VERSIONS, "template": TEMPLATE, "instruction": INSTRUCTION,
        "repetition_penalty": PENALTY, "max_new_tokens": MAX_NEW, "recipe": used, "pairs": pairs(),
    }  # fmt: skip
    parts = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items()]
    parts.append('"runs": [\n' + ",\n".join(json.dumps(run) for run in runs) + "\n]")
    (HERE / "translation.json").write_text("{\n" + ",\n".join(parts) + "\n}\n")


main()
