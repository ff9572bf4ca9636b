/**
 * A hub that answers what it likes: the input is its answers, one behind the other, each a line with the status, lines of headers, an empty
 * line, and a body, with a line `-- ` between two. What it lists is pulled into a cache, and found there.
 */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Hub } from "../../../cli/hub/api.ts";
import { cachedRepos, findCached } from "../../../cli/hub/cache.ts";
import { planPull, pull } from "../../../cli/hub/pull.ts";
import { Terminal } from "../../../cli/output.ts";
import type { Target } from "../target.ts";

const name = { repo: "org/name" };
const screen = {
  write(text: string | Uint8Array): boolean {
    if (/(?!\n)\p{Cc}/u.test(String(text))) throw new RangeError("what the hub says steers the terminal");
    return true;
  },
};

/** The answer of a hub, whatever stands in the text. */
function answer(text: string): Response {
  const [, head = "", body = ""] = /^([^]*?)(?:\n\n([^]*))?$/.exec(text) ?? [];
  const [first = "", ...lines] = head.split("\n");
  const headers = new Headers();
  for (const line of lines) {
    const [key = "", ...value] = line.split(":");
    try {
      headers.append(key.trim(), value.join(":").trim());
    } catch {
      // no header of HTTP
    }
  }
  const status = Number.parseInt(first) || 200;
  const response = new Response(status === 204 || status === 304 ? null : body, {
    status: Math.min(599, Math.max(200, status)),
    headers,
  });
  Object.defineProperty(response, "url", { value: "http://hub.test/org/name/resolve/x" });
  return response;
}

export const hub: Target = {
  async run(input, folder) {
    const cache = join(folder, "hub");
    rmSync(cache, { recursive: true, force: true });
    mkdirSync(cache);
    process.env["HF_HUB_CACHE"] = cache;
    const answers = Buffer.from(input).toString().split("\n-- \n");
    let asked = 0;
    globalThis.fetch = async () => {
      const text = answers[asked++];
      if (text === undefined || text.startsWith("cut")) throw new TypeError("fetch failed");
      return answer(text);
    };
    const settings = { endpoint: "http://hub.test", token: "", tokenSource: "HF_TOKEN", offline: false };
    const { signal } = new AbortController();
    const stopped = {
      stdin: process.stdin,
      stdout: screen,
      stderr: screen,
      env: {},
      signal,
      stop: () => undefined,
    };
    const terminal = new Terminal(stopped, { quiet: false, jsonOnStdout: false });
    const server = new Hub(settings, signal, (line) => terminal.note(line));
    try {
      await pull(await planPull(name, server, terminal), server, terminal);
    } finally {
      await cachedRepos();
      await findCached(name);
      await findCached({ ...name, wanted: "Q4_K" });
    }
  },
  // what is the hub's fault, not the user's, is an Error with its words
  expected: (error) => error.constructor === Error && !("code" in error),
};
