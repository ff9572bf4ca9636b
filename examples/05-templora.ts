/**
 * Temp-LoRA: reads a text chunk by chunk, each scored before the adapter learns it, then writes on.
 * `npx tsx examples/05-templora.ts [MODEL] [FILE]`, with the models of 04-model.ts.
 */
import { readFile } from "node:fs/promises";
import { Totals, generate, loadModel, openDevice, readText, recipes } from "templora";

const [path = "test/golden/tiny-tied", file = "test/golden/moby-dick-excerpt.txt"] = process.argv.slice(2);
await using device = await openDevice("cpu");
using model = await loadModel(device, path);
const text = (await readFile(file, "utf8")).slice(0, 1200);

const recipe = { ...recipes.paper, rank: 8, alpha: 8, lr: 2e-3, dropout: 0 }; // small steps for a small model
const options = { chunk: 64, window: 64, recipe };
const totals = new Totals();
for await (const record of readText(model, text, options)) totals.add(record);
const { tokens, base_ppl, lora_ppl, reduction_percent } = totals.perplexities;
console.log("tokens", tokens, "base", base_ppl?.toFixed(2), "adapted", lora_ppl?.toFixed(2));
console.log("perplexity lower by", reduction_percent?.toFixed(1), "%");

let written = "";
for await (const event of generate(model, text.slice(0, 300), { ...options, tokens: 40 }))
  if (event.type === "token") written += event.text;
console.log("written", JSON.stringify(written.slice(0, 20)));
