"""Makes tokenizers.json: the ids that the tokenizers library gives to awkward texts, for every part of a tokenizer.json that templora accepts.

    python make_tokenizers.py        # 2 s

The vocabularies join neighbouring letters (bytes, or characters) of the texts in pairs, so that the ids tell where a text is split.
"""

import json
import random
from pathlib import Path

import tokenizers
from tokenizers import Tokenizer, pre_tokenizers

HERE = Path(__file__).parent
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
BEFORE = r"[^\r\n\p{L}\p{N}]?"
PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "gpt2-short": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": rf"{CONTRACTIONS}|{BEFORE}\p{{L}}+|\p{{N}}{{1,3}}|{REST}",
    "qwen2": rf"{CONTRACTIONS}|{BEFORE}\p{{L}}+|\p{{N}}|{REST}",
    "qwen3.5": rf"{CONTRACTIONS}|{BEFORE}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    "cl100k-possessive": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
    "o200k": (
        rf"{BEFORE}{UPPER}*{LOWER}+{CONTRACTIONS}?|{BEFORE}{UPPER}+{LOWER}*{CONTRACTIONS}?|\p{{N}}{{1,3}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "tekken": rf"{BEFORE}{UPPER}*{LOWER}+|{BEFORE}{UPPER}+{LOWER}*|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2 = {**BYTES, "use_regex": True}


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def token(id, content, **rules):
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {"id": id, "content": content, **plain, **rules}


def replace(old, new):
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


SPACES = replace(" ", "▁")
PREPEND = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, SPACES]}
LLAMA2_DECODER = {
    "type": "Sequence",
    "decoders": [replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}],
}  # fmt: skip
GEMMA_DECODER = {"type": "Sequence", "decoders": LLAMA2_DECODER["decoders"][:3]}


def metaspace(scheme):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}


PLAIN = [("<s>", {"special": True}), ("<|user|>", {}), ("<|user|>s", {})]
RULES = [
    ("<s>", {"special": True, "lstrip": True}), ("<|user|>", {"rstrip": True}), ("whale", {"single_word": True}),
    ("x y", {"lstrip": True, "rstrip": True, "single_word": True}),
]  # fmt: skip


ODD = [("[a.b]*(c)+?{2}^$|\\/", {}), ("$&+", {"special": True}), ("(c)", {})]


def template(*single):
    parts = [{"Sequence": {"id": "A", "type_id": 0}} if name is None else {"SpecialToken": {"id": name, "type_id": 0}} for name in single]
    special = {name: {"id": name, "ids": [i], "tokens": [name]} for i, name in enumerate(dict.fromkeys(single)) if name}
    return {"type": "TemplateProcessing", "single": parts, "pair": [*parts, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": special}


def processors(*parts):
    return {"type": "Sequence", "processors": list(parts)}


def normalized(tokens):
    return [(content, {**rules, "normalized": True}) for content, rules in tokens]


BYTE_LEVEL = {
    **{name: dict(pre_tokenizer=sequence(split(pattern), BYTES)) for name, pattern in PATTERNS.items()},
    "ByteLevel": dict(pre_tokenizer=GPT2),
    "ByteLevel, prefix space": dict(pre_tokenizer={**GPT2, "add_prefix_space": True}),
    "ByteLevel, no words": dict(pre_tokenizer=BYTES),
    "Digits": dict(pre_tokenizer=sequence({"type": "Digits", "individual_digits": True}, GPT2)),
    "Digits together, prefix space": dict(
        pre_tokenizer=sequence({"type": "Digits", "individual_digits": False}, {**GPT2, "add_prefix_space": True})
    ),
    "digits split": dict(pre_tokenizer=sequence(split(r"\p{N}{1,3}"), split(PATTERNS["gpt2"]), BYTES)),
    "inverted": dict(pre_tokenizer=sequence(split(PATTERNS["llama3"], "Removed", True), BYTES)),
    "inverted, isolated": dict(pre_tokenizer=sequence(split(PATTERNS["qwen2"], invert=True), BYTES)),
    "digits only": dict(pre_tokenizer=sequence(split(r"\p{N}+", "Removed", True), BYTES)),
    "ignore merges": dict(pre_tokenizer=sequence(split(PATTERNS["llama3"]), BYTES), ignore_merges=True),
    "NFC": dict(pre_tokenizer=sequence(split(PATTERNS["qwen2"]), BYTES), normalizer={"type": "NFC"}),
    "nested": dict(
        pre_tokenizer=sequence(sequence({"type": "Digits", "individual_digits": False}), GPT2),
        normalizer={"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [replace("a", "$&")]}, {"type": "NFC"}]},
    ),
    "ends": dict(pre_tokenizer=GPT2, post_processor=template("A", None, "B", "C")),
    "ends of a sequence": dict(pre_tokenizer=GPT2, post_processor=processors({**GPT2, "trim_offsets": False}, template("A", "B", None, "C"))),
    "added, odd spelling": dict(pre_tokenizer=GPT2, added=ODD),
    "added": dict(pre_tokenizer=GPT2, added=PLAIN),
    "added, with rules": dict(pre_tokenizer=GPT2, added=RULES),
    "added, normalized": dict(pre_tokenizer=GPT2, added=normalized(PLAIN)),
    "added, normalized, with rules": dict(pre_tokenizer=GPT2, normalizer={"type": "NFC"}, added=normalized(RULES)),
    "added, both": dict(pre_tokenizer=GPT2, normalizer={"type": "NFC"}, added=PLAIN[:1] + normalized(RULES)[1:]),
}
SENTENCEPIECE = {
    "Llama 2": dict(normalizer=PREPEND, decoder=LLAMA2_DECODER, added=PLAIN),
    "Llama 2, legacy": dict(normalizer=PREPEND, decoder=LLAMA2_DECODER, added=normalized(PLAIN)),
    "Llama 2, legacy, with rules": dict(normalizer=PREPEND, decoder=LLAMA2_DECODER, added=normalized(RULES)),
    "Metaspace first": dict(pre_tokenizer=metaspace("first"), decoder=LLAMA2_DECODER, added=PLAIN),
    "Metaspace always": dict(pre_tokenizer=metaspace("always"), decoder=metaspace("always"), added=RULES, byte_fallback=False),
    "Metaspace never": dict(pre_tokenizer=metaspace("never"), decoder=metaspace("never"), added=PLAIN, byte_fallback=False),
    "Metaspace, prefix space": dict(
        pre_tokenizer={"type": "Metaspace", "replacement": "▁", "add_prefix_space": True, "split": False}, decoder=metaspace("never")
    ),
    "Gemma": dict(
        normalizer=SPACES, decoder=GEMMA_DECODER, added=PLAIN,
        pre_tokenizer={"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
    ),
    "unknown": dict(normalizer=PREPEND, decoder=LLAMA2_DECODER, byte_fallback=False),
    "unknown, one by one": dict(normalizer=PREPEND, decoder=LLAMA2_DECODER, byte_fallback=False, fuse_unk=False),
    "unknown, left out": dict(normalizer=SPACES, decoder=GEMMA_DECODER, byte_fallback=False, unk_token=None),
}  # fmt: skip

PIECES = [
    *"a Z é ß 5 ٣ ² ½ Ⅷ ª ʼ ǅ ∀ 鲸 ー が 🐋 ! , . / _ ' ’ ( - \\ \u0301 \u093c क \u0958 ſ K".split(),
    *[" ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", "\u00a0", "\u3000", "\x85", "\ufeff", "\u200b", "\u200d", "\u2028", "\0", "\x1c", "▁"],
    *["'s", "'S", "'ſ", "'LL", "'lL", "'ve", "n't", "12345", "1,234.5", "!!", "...", "\r\n\r\n", " \n", "\n ", "!\n", "e\u0301", "👨‍👩‍👧"],
    *["<s>", " <s>", "<s> ", "<|user|>", " <|user|> ", "<|user|>s", "<|user", "whale", " whale", "whales", "x y", " x y ", "▁<s>", "hello", "World", "ofThe"],
]  # fmt: skip
FIXED = ["", " ", "hello world  two", "a\r\nb", "x <|user|>y", "I'll DON'T we'D", "In 1851: x²½ ٣5 Ⅷ", "\ufeffa", "\x85a", "trailing  "]
FIXED += ["𝐀whale whale𝐀 🐋whale whale_ ٣whale whale\u200d a\u0301whale 5whale whale", "x[a.b]*(c)+?{2}^$|\\/y $&+ (c) acb", "$1 $$a", "whale", "<s>  <s> x  y"]


def texts():
    rng = random.Random(20261126)
    return FIXED + ["".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 14))) for _ in range(150)]


def joined(letters, start, words):
    """A vocabulary of `start`, and of each pair of neighbouring letters."""
    vocab, merges = {letter: id for id, letter in enumerate(start)}, []
    for word in words:
        for left, right in zip(word, word[1:]):
            if left in letters and right in letters and left + right not in vocab:
                vocab[left + right] = len(vocab)
                merges.append([left, right])
    return vocab, merges


def cases(kinds, model, decoder, all_texts):
    for name, kind in kinds.items():
        added = [token(len(model["vocab"]) + i, content, **rules) for i, (content, rules) in enumerate(kind.get("added", []))]
        changes = {key: kind[key] for key in ("ignore_merges", "byte_fallback", "fuse_unk", "unk_token") if key in kind}
        parts = dict(
            normalizer=kind.get("normalizer"), pre_tokenizer=kind.get("pre_tokenizer"), post_processor=kind.get("post_processor"),
            decoder=kind.get("decoder", decoder), added_tokens=added,
        )  # fmt: skip
        whole = {"version": "1.0", "truncation": None, "padding": None, **parts, "model": {**model, **changes}}
        tokenizer = Tokenizer.from_str(json.dumps(whole))
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in all_texts]
        decoded = [tokenizer.decode(some, skip_special_tokens=False) for some in ids]
        with_ends = tokenizer.encode(all_texts[2]).ids
        tokenizer.encode_special_tokens = True  # spellings of special tokens are text
        as_text = [tokenizer.encode(text, add_special_tokens=False).ids for text in all_texts]
        as_text = {i: some for i, some in enumerate(as_text) if some != ids[i]}
        yield {"name": name, **parts, "changes": changes, "ids": ids, "as_text": as_text, "with_ends": with_ends, "decoded": decoded}


def main():
    all_texts = texts()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    spelled = ["".join(piece for piece, _ in pre_tokenizers.ByteLevel(False, use_regex=False).pre_tokenize_str(text)) for text in all_texts]
    vocab, merges = joined(set(alphabet), alphabet, spelled)
    byte_model = {"type": "BPE", "vocab": vocab, "merges": merges}
    # Of every second character, so that the rest is unknown.
    characters = sorted({character for text in all_texts for character in text})[::2] + ["▁", "<", ">", "s", "|"]
    start = ["<unk>", *[f"<0x{byte:02X}>" for byte in range(256)], *dict.fromkeys(characters)]
    vocab, merges = joined(set(characters), start, [text.replace(" ", "▁") for text in all_texts])
    piece_model = {"type": "BPE", "vocab": vocab, "merges": merges, "byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
    golden = {
        "made_by": f"make_tokenizers.py, tokenizers {tokenizers.__version__}",
        "texts": all_texts,
        "models": [
            {"model": byte_model, "cases": list(cases(BYTE_LEVEL, byte_model, GPT2, all_texts))},
            {"model": piece_model, "cases": list(cases(SENTENCEPIECE, piece_model, LLAMA2_DECODER, all_texts))},
        ],
    }
    lines = json.dumps(golden, ensure_ascii=True, separators=(",", ":")).replace('{"name"', '\n{"name"')
    (HERE / "tokenizers.json").write_text(lines + "\n")


main()
