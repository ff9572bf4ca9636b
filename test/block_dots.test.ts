/** One row of activations times rows of blocks, in integers on the CPU: activations of very different sizes lose no more than in a sum of floats. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { builds } from "../engine/backends/cpu/options.ts";
import { openCpu } from "../engine/backends/cpu/backend.ts";
import { Task } from "../engine/task.ts";
import { formats, pack, weightDTypes, widen } from "../kernels/formats/index.ts";
import { matmul_nt } from "../kernels/matmul/matmul.ts";
import { SEED, TestRandom } from "./support/rng.ts";

const [K, N, ROWS] = [768, 6, 32];

/** What a sum of K floats loses at worst is K · 2⁻²⁴ of the sum of what is multiplied; usually it is some √K. */
const MOST = 2 * Math.sqrt(K) * 2 ** -24;

for (const build of builds)
  test(`${build}: one large activation, and a quiet group beside it`, async () => {
    await using device = await openCpu({ build, threads: 1, v8Flags: true });
    using task = new Task(device);
    const random = new TestRandom(SEED, "block dots");
    for (const dtype of weightDTypes.filter((name) => formats[name].block > 1))
      for (const large of [1, 30, 1000]) {
        using _scope = task.scope();
        const a = Float32Array.from(
          { length: K },
          (_, i) => random.normal() * (i >= 64 && i < 96 ? 1e-3 : 1),
        );
        a[200] = large;
        const bytes = pack(
          dtype,
          Array.from({ length: N * K }, () => random.normal()),
        );
        const values = widen(dtype, bytes);
        const w = task.empty([N, K], dtype);
        device.write(w.view, bytes);
        const c = await task.run(matmul_nt, { a: task.tensor(a, [1, K]), w }, { alpha: 1 }).c.data();
        for (let n = 0; n < N; n++) {
          const row = values.subarray(n * K, (n + 1) * K);
          const sum = row.reduce((all, w, k) => all + w * (a[k] ?? NaN), 0);
          // An element is the difference of parts as large as the largest of its block: that much is multiplied.
          const part = Math.max(...row.map(Math.abs));
          const size = a.reduce((all, x) => all + part * Math.abs(x), 0);
          const lost = Math.abs((c[n] ?? NaN) - sum) / size;
          assert.ok(lost < MOST, `${dtype}, largest ${large}: ${lost} of what is multiplied, not ${MOST}`);
        }
      }
  });

for (const build of builds)
  test(`${build}: activations and weights of one sign, so that nothing that is lost to one side is hidden`, async () => {
    await using device = await openCpu({ build, threads: 1, v8Flags: true });
    using task = new Task(device);
    const random = new TestRandom(SEED, "one sign");
    const positive = (length: number): number[] => Array.from({ length }, () => Math.abs(random.normal()));
    for (const dtype of weightDTypes.filter((name) => formats[name].block > 1)) {
      using _scope = task.scope();
      const a = Float32Array.from(positive(K));
      const bytes = pack(dtype, positive(ROWS * K));
      const w = task.empty([ROWS, K], dtype);
      device.write(w.view, bytes);
      const c = await task.run(matmul_nt, { a: task.tensor(a, [1, K]), w }, { alpha: 1 }).c.data();
      const values = widen(dtype, bytes);
      const off = Array.from(c, (got, n) => {
        const row = values.subarray(n * K, (n + 1) * K);
        return got / row.reduce((all, x, k) => all + x * (a[k] ?? NaN), 0) - 1;
      });
      const mean = off.reduce((all, x) => all + x, 0) / ROWS;
      assert.ok(Math.abs(mean) < 2 ** -24, `${dtype}: ${mean} on the average`); // the half of a float's last place
    }
  });

test.run();
