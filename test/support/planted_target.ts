/** Readers with a fault each, of every kind that a fuzzer must find. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Target } from "../../scripts/fuzz/target.ts";
import { BadInputError } from "../../engine/errors.ts";

/** What each does with an input that begins with two letters, which its branches tell apart. */
const faults: Readonly<Record<string, (folder: string) => unknown>> = {
  te: () => (undefined as unknown as () => void)(),
  lo: () => {
    for (;;);
  },
  me: () => void new Uint8Array(2 ** 30),
  pa: (folder) => readFileSync(join(folder, "../x")),
  wa: () => new Promise(() => undefined),
  cc: () => {
    throw new BadInputError("a bell: \u0007");
  },
  si: () => {
    throw new BadInputError("x".repeat(2000));
  },
  op: () => void Object.assign(Object.prototype, { polluted: true }),
  ex: () => execFileSync("true"),
};

export const targets: Readonly<Record<string, Target>> = Object.fromEntries(
  Object.entries(faults).map(([letters, fault]) => [
    letters,
    {
      run(input, folder): unknown {
        if (input.length === 0) throw new BadInputError("nothing");
        if (input[0] !== letters.charCodeAt(0)) return null;
        if (input[1] !== letters.charCodeAt(1)) return null;
        return fault(folder);
      },
    } satisfies Target,
  ]),
);
