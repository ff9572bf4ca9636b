/** How the CPU's products are cut into tiles: what the kernels and the threads rely on. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { tile } from "../kernels/matmul/tiles.both.ts";

test("tiles are whole steps, fit the scratch, and few of them are even in number, for two threads", () => {
  for (let R = 1; R <= 700; R++)
    for (const C of [1, 31, 32, 64, 129, 192, 576, 1536]) {
      const size = tile(R, C);
      const [rows, cols] = [Math.floor(size / 65536), size % 65536];
      assert.ok(
        rows % 4 === 0 && rows <= 256 && cols <= 128 && cols % (C < 32 ? 8 : 32) === 0,
        `${R} ${C}: ${rows} ${cols}`,
      );
      const units = Math.ceil(R / rows) * Math.ceil(C / cols);
      assert.ok(units % 2 === 0 || units >= 24 || rows <= 64, `${R} ${C}: ${units}`);
    }
});

test.run();
