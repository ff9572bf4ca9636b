/** Temp-LoRA: reads a text chunk by chunk. `npx tsx examples/04-templora.ts [MODEL] [FILE]` */
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { Task } from "../engine/index.ts";
import { Llama, openCheckpoint } from "../model/index.ts";
import { readText } from "../model/text.ts";
import { Totals, readTokens, recipes } from "../templora/index.ts";

const [path = "test/golden/tiny-tied", file = "test/golden/moby-dick-excerpt.txt"] = process.argv.slice(2);
const device = await openCpu();
const task = new Task(device);
const checkpoint = await openCheckpoint(path);
const model = await Llama.load(task, checkpoint);
const ids = Int32Array.from(checkpoint.tokenizer.encode(await readText(file))).subarray(0, 768);

const recipe = { ...recipes.paper, rank: 8, alpha: 8, lr: 2e-3, dropout: 0 }; // small steps for a small model
const windows = { chunk: 64, window: 64, trainWindow: 64 };
const totals = new Totals();
for await (const record of readTokens(model, ids, {
  ...windows,
  recipe,
  seed: 0,
  baseline: true,
  templora: true,
})) {
  totals.add(record); // scored first, trained on afterwards
}
const { base_ppl, lora_ppl, reduction_percent } = totals.perplexities;
console.log({ base_ppl, lora_ppl, reduction_percent });
model.dispose();
await checkpoint.close();
await device.close();
