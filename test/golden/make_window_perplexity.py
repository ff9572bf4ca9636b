"""
Writes window_perplexity.json: what llama.cpp's tool llama-perplexity measures (windows that know nothing of each other, BOS first
where the model's texts begin with it, the second half of each scored), by that rule in float64 from llama.cpp's own probabilities,
through node-llama-cpp (npm run bench:peers installs it). The models are widened to F32 first: with block formats llama.cpp rounds
its activations to 8 bits.

    python make_window_perplexity.py SMOLLM2.gguf GEMMA3.gguf
"""

import json
import math
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import gguf
import numpy as np

HERE = Path(__file__).parent
PEERS = HERE.parent.parent / "bench" / "peers"
CASES = {"smollm2": ("smollm2.json", lambda g: g["tokens"], 128, 640), "gemma3": ("gemma3.json", lambda g: g["tokens"]["english"], 100, 350)}

ASK = """
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { readFileSync, writeFileSync } from "node:fs";
const [path, ask, answer] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: path });
const context = await model.createContext({ contextSize: 512, batchSize: 512, flashAttention: false });
const sequence = context.getSequence();
const wanted = { generateNext: { token: true, probabilities: true, options: { temperature: 0 } } };
const all = [];
for (const { ids, from, targets } of JSON.parse(readFileSync(ask, "utf8"))) {
  await sequence.clearHistory();
  const found = await sequence.controlledEvaluate(ids.map((id, i) => (i < from ? id : [id, wanted])));
  all.push(found.slice(from).map(({ next }, i) => next.probabilities.get(targets[i])));
}
writeFileSync(answer, JSON.stringify(all));
process.exit(0);
"""


def widen(source: Path, target: Path) -> None:
    """The same model with every tensor in F32."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type", "general.quantization_version"):
            continue
        kind = field.types[0]
        writer.add_key_value(key, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def measure(model: Path, ids: list[int], size: int, bos: int | None) -> dict:
    half = size // 2
    windows = []
    for start in range(0, len(ids) - size + 1, size):
        window = ids[start : start + size]
        if bos is not None:
            window = [bos, *window[1:]]
        windows.append({"ids": window[:-1], "from": half, "targets": window[half + 1 :]})
    with tempfile.TemporaryDirectory() as folder:
        ask, answer, wide = (Path(folder) / name for name in ("ask.json", "answer.json", "wide.gguf"))
        widen(model, wide)
        ask.write_text(json.dumps(windows))
        script = PEERS / "ask.tmp.mjs"
        script.write_text(ASK)
        try:
            subprocess.run(["node", script, wide, ask, answer], check=True)
        finally:
            script.unlink()
        losses = [[-math.log(p) for p in window] for window in json.loads(answer.read_text())]
    flat = [loss for window in losses for loss in window]
    mean = sum(flat) / len(flat)
    variance = sum(loss * loss for loss in flat) / len(flat) - mean * mean
    ppl = math.exp(mean)
    error = math.sqrt(variance / (len(flat) - 1)) * ppl
    return {"size": size, "tokens": len(ids), "nll": [sum(window) for window in losses], "ppl": ppl, "error": error}


if __name__ == "__main__":
    found = {}
    for (name, (golden, tokens, size, length)), path in zip(CASES.items(), sys.argv[1:], strict=True):
        ids = tokens(json.loads((HERE / golden).read_text()))[:length]
        begins = gguf.GGUFReader(path).fields
        adds = begins.get("tokenizer.ggml.add_bos_token")
        bos = begins["tokenizer.ggml.bos_token_id"].contents() if adds is not None and adds.contents() else None
        found[name] = measure(Path(path), ids, size, bos)
        print(name, found[name])
    version = json.loads((PEERS / "node_modules" / "node-llama-cpp" / "package.json").read_text())["version"]
    facts = {"made_by": "make_window_perplexity.py", "date": date.today().isoformat(), "versions": {"node-llama-cpp": version}}
    (HERE / "window_perplexity.json").write_text(json.dumps({**facts, **found}, indent=1) + "\n")
