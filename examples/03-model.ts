/**
 * A model: tokens in, losses and a greedy next token out. `npx tsx examples/03-model.ts [MODEL] [TEXT]`, where MODEL is a GGUF
 * file, a Hugging Face folder or a fetched name (default: the tiny random model of the tests, which writes nonsense).
 */
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { Task } from "../engine/index.ts";
import { Llama, openCheckpoint } from "../model/index.ts";

const [path = "test/golden/tiny-tied", text = "Call me Ishmael."] = process.argv.slice(2);
const device = await openCpu();
const task = new Task(device);
const checkpoint = await openCheckpoint(path);
const model = await Llama.load(task, checkpoint);
const ids = Int32Array.from(checkpoint.tokenizer.encode(text));
{
  using _scope = task.scope();
  const hidden = model.forward(ids); // [T, D]
  const nll = await task.read(model.nll(hidden, Int32Array.of(...ids.subarray(1), -1))); // the last predicts nothing known
  ids
    .subarray(1)
    .forEach((id, i) => console.log(nll[i].toFixed(3), JSON.stringify(checkpoint.tokenizer.decode([id]))));
  const logits = await task.read(model.logits(task.rows(hidden, ids.length - 1, ids.length)));
  console.log("next:", JSON.stringify(checkpoint.tokenizer.decode([logits.indexOf(Math.max(...logits))])));
}
model.dispose();
await checkpoint.close();
await device.close();
