"""Makes metrics.json: corpus BLEU and chrF2 of lines of ours as sacrebleu computes them.

    python make_metrics.py        # 1 s

Each case: hypotheses, references, BLEU by tokenizer, chrF, and what the tokenizers make of the lines.
"""

import json
from pathlib import Path

from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.bleu import _get_tokenizer
from sacrebleu.tokenizers.tokenizer_zh import _UCODE_RANGES

HERE = Path(__file__).parent
TOKENIZERS = ["13a", "zh", "char", "intl", "none"]

ENGLISH = [
    ("The whale swam under the keel, and the men held their breath.", "The whale dived beneath the keel, and the men held their breath."),
    ("He said: \"We lost 3,000 barrels at -5.5 degrees\".", "He said, \"We have lost 3,000 barrels at -5.5 degrees.\""),
    ("It cost $1,234.56 (about 10-12% more), didn't it?", "It cost $1,234.56 (some 10-12% more), did it not?"),
    ("We sailed in 1851.", "They sailed in 1851."),
    ("&quot;Call me Ishmael&quot;, A&amp;B &lt;said&gt; &apos;so&apos;", "\"Call me Ishmael\", A&B <said> 'so'"),
    ("a <skipped> word and a hyphen-\nated one\nover lines", "a word and a hyphenated one over lines"),
]  # fmt: skip
CHINESE = [
    ("提阿非罗大人哪，有好些人提笔作书。", "提阿非罗大人，有许多人提笔作书。"),
    ("他在1851年买了3.5公斤鱼（约7磅）。", "一八五一年，他买了3.5公斤鱼（约7磅）！"),
    ("「你好」，WebGPU说：ok?", "“你好。”WebGPU说：OK？"),
    ("𠮷野家𝄞很好", "𠮷野家很好"),
]
AWKWARD = [
    ("", "An empty hypothesis has nothing to match."),
    ("Here the reference is empty.", ""),
    ("", ""),
    ("   \t ", "spaces only"),
    ("caf\u00e9 na\u00efve \u2014 \u00abquoi\u00bb\u2026 \u20ac5, 100\u00b0, \u00bd cup", "cafe\u0301 naive - \u00abquoi\u00bb ... \u20ac 5, 100 \u00b0, 1/2 cup"),
    ("tabs\tand\u00a0no-break\u3000ideographic\u2003em\x85next\x1cfile\ufeffmark", "tabs and no-break ideographic em next file mark"),
    (".5 and 5. and 5.5. and a.b,c;d 1-2 x-y --", " .5 and 5 . and 5.5 . and a . b , c ; d 1 - 2 x - y -"),
    ("[{(`~!@#$%^&*_+=|\\:;'<>?/)}]", "[ { ( ` ~ ! @ # $ % ^ & * _ + = | \\ : ; ' < > ? / ) } ]"),
    ("\U0001f40b\U0001f1eb\U0001f1f7 whale\u200d!\u2192\u2264\u2603", "\U0001f40b \U0001f1eb\U0001f1f7 whale ! \u2192 \u2264 \u2603"),
    ("\u3072\u3089\u304c\u306a\u3001\u30ab\u30bf\u30ab\u30ca\u3002 \ud55c\uad6d\uc5b4", "\u3072\u3089\u304c\u306a\u30ab\u30bf\u30ab\u30ca \ud55c\uad6d\ub9d0"),
    ("the the the the the the the", "the cat is on the mat"),
    ("  led by spaces, ended by them  ", "led by spaces, ended by them"),
    ("&amp;quot; &amp;lt; &amp;amp;", "5. "),
    # the first and the last character of each range that sacrebleu's zh takes for Chinese, between letters
    ("".join(f"a{c}" for pair in _UCODE_RANGES for c in pair[0][:1] + pair[1][:1]), "a"),
]  # fmt: skip
CASES = {
    "English": ENGLISH,
    "Chinese": CHINESE,
    "awkward": AWKWARD,
    "all": ENGLISH + CHINESE + AWKWARD,
    "the same": [(line, line) for _, line in ENGLISH + CHINESE],
    "nothing in common": [("alpha beta gamma delta epsilon", "one two three four five")],
    "nothing said": [("", "one two three four five"), ("", "six")],
    "nothing to say": [("one two three four five", "")],
    "too few words for the order": [("one two", "one two"), ("three", "three four five six")],
    "orders without matches": [("a b c d e f", "a x b y c z"), ("g h i", "h g i")],
    "short": [("the quick fox", "the quick brown fox jumps over the lazy dog")],
    "long": [("the quick brown fox jumps over the lazy dog again", "the quick brown fox")],
    "less said than six characters": [("ab", "abcdefgh")],
    "less wanted than six characters": [("abcdefgh", "ab")],
    "shorter than six characters": [("ab", "abc"), ("abcdefgh", "ab"), ("abcdefgh", "abcdefgx")],
}


def signature(metric):
    metric.corpus_score(["a"], [["a"]])
    return str(metric.get_signature()).rsplit("|version:", 1)[0]


cases = []
for name, pairs in CASES.items():
    said, wanted = [list(lines) for lines in zip(*pairs)]
    bleu = {t: BLEU(tokenize=t, force=True).corpus_score(said, [wanted]).score for t in TOKENIZERS}
    cases.append({"name": name, "hypotheses": said, "references": wanted, "bleu": bleu, "chrf": CHRF().corpus_score(said, [wanted]).score})
lines = sorted({line for pairs in (ENGLISH, CHINESE, AWKWARD) for pair in pairs for line in pair})
tokens = {t: [_get_tokenizer(t)()(line.rstrip()).split() for line in lines] for t in TOKENIZERS}
signatures = {"bleu": {t: signature(BLEU(tokenize=t)) for t in TOKENIZERS}, "chrf": signature(CHRF())}
golden = {"cases": cases, "lines": lines, "tokens": tokens, "signatures": signatures}
parts = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items())
(HERE / "metrics.json").write_text(f"{{\n{parts}\n}}\n")
