/**
 * A model: tokens in, losses and a greedy next token out. `npx tsx examples/04-model.ts [MODEL] [TEXT]`, where MODEL is a GGUF
 * file, a Hugging Face folder, or smollm2-135m after `templora pull smollm2-135m` (default: the tests' tiny random model, which writes nonsense).
 */
import { Task, loadModel, openDevice } from "templora";

const [path = "test/golden/tiny-tied", text = "Call me Ishmael."] = process.argv.slice(2);
await using device = await openDevice("cpu");
using model = await loadModel(device, path);
using task = new Task(device);

const ids = Int32Array.from(model.tokenizer.encode(text));
const hidden = model.forward(model.ids(task, ids)); // [T, D]
const nll = await model.nll(hidden, Int32Array.of(...ids.subarray(1), -1)).data(); // the last predicts nothing known
const words = [...ids.subarray(1)].map(
  (id, i) => `${JSON.stringify(model.tokenizer.decode([id]))} ${nll.at(i)?.toFixed(3)}`,
);
console.log("−log p of each token:", words.join("  "));
console.log("perplexity", Math.exp(nll.reduce((sum, value) => sum + value, 0) / words.length).toFixed(3));
const logits = await model.logits(hidden.rows(ids.length - 1)).data(); // [1, V]
const next = logits.indexOf(Math.max(...logits));
console.log("next:", next, JSON.stringify(model.tokenizer.decode([next])));
