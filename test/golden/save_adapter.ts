/** Trains an adapter on a golden model, saves it in the folder that is named, and beside it logits.json, for `make_adapters.py check`. */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { openCpu } from "../../engine/backends/cpu/backend.ts";
import { Task } from "../../engine/task.ts";
import { Adapter } from "../../templora/adapter.ts";
import { Session, loadAdapter, loadModel, saveAdapter } from "../../templora/index.ts";

const [path, baseModel, from] = process.argv.slice(2);
if (path === undefined || baseModel === undefined)
  throw new Error("usage: npx tsx save_adapter.ts FOLDER MODEL [ADAPTER TO BEGIN WITH]");
await using device = await openCpu({});
using model = await loadModel(device, fileURLToPath(new URL(baseModel, import.meta.url)));
const adapter = from === undefined ? null : await loadAdapter(model, from);
const recipe = { lr: 0.05, warmup: 0, ...(adapter ? {} : { rank: 3, alpha: 7, targets: ["q_proj", "up_proj"] as const }) };
using session = new Session(model, { adapter, recipe, chunk: 16, window: 16 });
session.prefill(Int32Array.from({ length: 48 }, (_, i) => (i * i) % 200));
while (session.due) await session.learn();
await saveAdapter(session, path, { baseModel });

const tokens = Int32Array.from({ length: 24 }, (_, i) => (7 * i * i + 3) % 200);
using task = new Task(device);
using trained = new Adapter(model, session.options.recipe, 0, await session.storedAdapter());
const logits = await model.logits(model.forward(model.ids(task, tokens), { adapter: trained })).data();
writeFileSync(`${path}/logits.json`, JSON.stringify({ tokens: [...tokens], logits: [...logits] }));
