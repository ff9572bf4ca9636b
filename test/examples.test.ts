/** The examples run, and print what they promise. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";

const root = fileURLToPath(new URL("..", import.meta.url));

async function run(name: string): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", `examples/${name}`], {
    cwd: root,
  });
  return stdout;
}

test("01-tensor: a product, its cost, and nothing left allocated", async () => {
  const out = await run("01-tensor.ts");
  assert.match(out, "[ 2, 10, 8, 22 ]");
  assert.match(out, "flops 24");
  assert.match(out, "live buffers 0");
});

test("02-autograd: gradient descent finds the weights", async () => {
  assert.match(await run("02-autograd.ts"), "w 0.500 -1.000 2.000 truth");
});

test("03-model: a loss for each token and a next token", async () => {
  const lines = (await run("03-model.ts")).trim().split("\n");
  assert.ok(
    lines.length > 2 && lines.slice(0, -1).every((line) => /^\d+\.\d{3} "/.test(line)),
    lines.join("\n"),
  );
  assert.match(lines.at(-1) ?? "", /^next: "/);
});

test("04-templora: the adapted perplexity is below the base's", async () => {
  const reduction = /reduction_percent: ([-\d.]+)/.exec(await run("04-templora.ts"))?.[1];
  assert.ok(Number(reduction) > 0, `reduction ${reduction} %`);
});

test.run();
