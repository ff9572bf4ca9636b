"""
Golden values for the weight formats: blocks of random bytes with every finite bit pattern of their binary16 scale, widened by the
`gguf` package (ggml's own reader in Python). Written to formats.json: for each format the SHA-256 of all values as little-endian
float32, and the values of the first block.

    python test/golden/make_formats.py
"""

import hashlib
import json
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

# Where a block has its binary16 numbers (mxfp4: its exponent, which is a byte like the others).
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [],
}
FINITE = [bits for bits in range(65536) if (bits >> 10) & 31 != 31]


def random_bytes(count: int, seed: int) -> np.ndarray:
    """The top bytes of a linear congruential generator, x -> 1664525 x + 1013904223 mod 2^32."""
    out = np.empty(count, np.uint8)
    x = seed
    for i in range(count):
        x = (1664525 * x + 1013904223) & 0xFFFFFFFF
        out[i] = x >> 24
    return out


def blocks(name: str) -> np.ndarray:
    kind = GGMLQuantizationType[name]
    size = GGML_QUANT_SIZES[kind][1]
    count = len(FINITE)
    few = random_bytes(257 * size, kind.value).reshape(257, size)  # reused: 257 is prime to the number of patterns
    made = few[np.arange(count) % 257].copy()
    for nth, at in enumerate(HALVES[name]):
        order = (np.arange(count) * (1 if nth == 0 else 31) + 7 * nth) % count
        bits = np.array(FINITE, np.uint16)[order]
        made[:, at] = bits & 255
        made[:, at + 1] = bits >> 8
    return made


golden = {}
for name in HALVES:
    kind = GGMLQuantizationType[name]
    with np.errstate(all="ignore"):
        values = dequantize(blocks(name).reshape(-1), kind).reshape(len(FINITE), -1).astype("<f4") + np.float32(0)  # no -0
    first = [float(x) for x in values[0x3C01]]  # its scale is near 1
    golden[name.lower()] = {"sha256": hashlib.sha256(values.tobytes()).hexdigest(), "first": first}
Path(__file__).with_name("formats.json").write_text(json.dumps(golden, indent=1) + "\n")
