/**
 * Sessions: texts in progress on one model. Two that run at the same time have the bits that each has alone, and a snapshot goes
 * on where it was taken. `npx tsx examples/06-sessions.ts [MODEL]`
 */
import { Session, type Llama, loadModel, openDevice, recipes } from "templora";

const [path = "test/golden/tiny-tied"] = process.argv.slice(2);
await using device = await openDevice("cpu");
using model = await loadModel(device, path);
const recipe = { ...recipes.paper, rank: 4, alpha: 4, lr: 2e-2 };

/** The next token; a whole chunk is learnt before it. */
async function next(session: Session): Promise<number | null> {
  while (session.due) await session.learn();
  return await session.next();
}

async function write(model: Llama, prompt: string, seed: number): Promise<string> {
  using session = new Session(model, { chunk: 16, window: 32, recipe, seed });
  session.prefill(Int32Array.from(model.tokenizer.encode(prompt)));
  for (let i = 0; i < 24; i++) await next(session);
  return session.ids.join(" ");
}

const prompts = ["Call me Ishmael.", "It was the best of times."];
const alone: string[] = [];
for (const [i, prompt] of prompts.entries()) alone.push(await write(model, prompt, i));
const together = await Promise.all(prompts.map((prompt, i) => write(model, prompt, i)));
console.log("together as alone:", together.join() === alone.join());

using session = new Session(model, { chunk: 16, window: 32, recipe });
session.prefill(Int32Array.from(model.tokenizer.encode(prompts.join(" "))));
for (let i = 0; i < 5; i++) await next(session);
const snapshot = await session.snapshot();
const first = [await next(session), await next(session)];
await session.restore(snapshot);
const again = [await next(session), await next(session)];
console.log("again from the snapshot:", again.join() === first.join());
