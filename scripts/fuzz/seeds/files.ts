/** Right files of the smaller kinds: states, adapters, safetensors, pairs, divisors. */
import { MAGIC } from "../../../templora/state.ts";
import { inputOf } from "../files.ts";
import { IDENTITY } from "../targets/checkpoint.ts";
import { tensorFile } from "../targets/tensor_file.ts";
import { write } from "./write.ts";

function state(facts: object, behind: number): Buffer {
  const about = { run: { seed: "0" }, parts: { "out.part": "host 1 2:3" } };
  const lines = [{ magic: MAGIC, identity: IDENTITY, about }, { facts }].map((line) => JSON.stringify(line));
  return Buffer.concat([Buffer.from(`${lines.join("\n")}\n`), Buffer.alloc(behind)]);
}

export function checkpointSeeds(): void {
  const arrays = { ids: { array: "i32", length: 2 }, x: { array: "f32", length: 1 } };
  const snapshot = { ...arrays, learnt: 1, nll: { number: "NaN" } };
  const texts = [{ records: [{ chunk: 0 }], snapshot }];
  const place = state({ texts, numerics: [{ device: "cpu" }] }, 12);
  write("checkpoint", "one", place);
  write(
    "checkpoint",
    "done",
    state({ texts: [{ records: [], snapshot: null, written: "w" }], numerics: [] }, 0),
  );
  write("checkpoint", "before", inputOf(Object.entries({ state: "damaged", "state.before": place })));
}

const lora = {
  ...{ peft_type: "LORA", r: 2, lora_alpha: 4, use_rslora: false, target_modules: ["q_proj"] },
  ...{ rank_pattern: {}, alpha_pattern: {}, bias: "none", lora_dropout: 0 },
};

/** Of q_proj, 4 wide. */
function adapter(config: object, rank: number): Buffer {
  const name = "base_model.model.model.layers.0.self_attn.q_proj.lora";
  const tensors = tensorFile({ [`${name}_A.weight`]: [rank, 4], [`${name}_B.weight`]: [4, rank] });
  const files = { "adapter_config.json": JSON.stringify(config), "adapter_model.safetensors": tensors };
  return inputOf(Object.entries(files));
}

export function adapterSeeds(): void {
  write("adapter", "plain", adapter(lora, 2));
  const patterns = { rank_pattern: { "layers\\.0.*q_proj": 1 }, alpha_pattern: { q_proj: 3.5 } };
  write("adapter", "patterns", adapter({ ...lora, target_modules: ".*q_proj", ...patterns }, 1));
}

export function otherSeeds(): void {
  write("safetensors", "one", tensorFile({ "model.norm.weight": [2, 2] }));
  write("safetensors", "two", tensorFile({ a: [2], "b.rotary_emb.inv_freq": [1] }, "BF16"));
  const weight_map = { a: "a.safetensors", b: "b.safetensors" };
  write("safetensors", "index", { metadata: { total_size: 32 }, weight_map });
  const pair = { zh: "鲸", en: "the whale" };
  const first = { contexts: { k1: [pair], k3: [pair, pair] }, inference: [pair] };
  write("pairs", "two", [first, { contexts: { k1: [] }, inference: [] }]);
  const [short_factor, long_factor] = [
    [1, 1, 1, 1],
    [1, 2, 3, 4],
  ];
  const sizes = { rope_type: "longrope", factor: 4, attention_factor: 1.1 };
  write("divisors", "one", { ...sizes, short_factor, long_factor });
}
