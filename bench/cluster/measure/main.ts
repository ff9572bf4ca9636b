/**
 * What the simulation of a cluster needs and no other record has, measured on this machine with real servers (redis-server or valkey-server, and
 * weed); a record of it goes to bench/results.
 *
 *   npx tsx bench/cluster/measure/main.ts --text BOOK.txt [--texts FOLDER] [--model smollm2-135m] [--record]
 *
 * --texts: books whose tokens are counted, for the tokens of a word.
 */
import { readFileSync, readdirSync } from "node:fs";
import { loadavg } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { loadModel, openDevice } from "../../../templora/index.ts";
import { writeRecord } from "../../record.ts";
import { checkpointCost } from "./checkpoints.ts";
import { queueCost } from "./server.ts";
import { startCost, takeovers } from "./starting.ts";

const { values } = parseArgs({
  options: {
    text: { type: "string", default: "test/golden/moby-dick-excerpt.txt" },
    texts: { type: "string" },
    model: { type: "string", default: "smollm2-135m" },
    record: { type: "boolean", default: false },
  },
});

/** Words and tokens of each book of a folder. */
async function counted(folder: string): Promise<{ text: string; words: number; tokens: number }[]> {
  await using device = await openDevice("cpu");
  using model = await loadModel(device, values.model);
  const found = [];
  for (const name of readdirSync(folder)
    .filter((file) => file.endsWith(".txt"))
    .sort()) {
    // prettier-ignore
    const text = readFileSync(join(folder, name), "utf8");
    const { length: tokens } = model.tokenizer.encode(text);
    found.push({ text: name, words: text.split(/\s+/).filter(Boolean).length, tokens });
  }
  return found;
}

const LOCK_SECONDS = 4;
const text = readFileSync(values.text, "utf8");
const began = loadavg()[0];
const say = <T>(name: string, what: T): T => (console.log(name, what), what);
const checkpoint = say("checkpoint", await checkpointCost(values.model, text));
const start = say("start", await startCost(values.model, text));
const queue = say("queue", await queueCost());
const takeover = say("takeover", await takeovers(10, LOCK_SECONDS));
const texts = values.texts === undefined ? [] : say("texts", await counted(values.texts));
if (values.record)
  console.log(
    await writeRecord(
      "cluster_inputs",
      {
        ...{ model: values.model, checkpoint, start, queue, load: [began, loadavg()[0]] },
        takeover: { lockSeconds: LOCK_SECONDS, ofLock: takeover },
      },
      texts,
    ),
  );
process.exit(0);
