/**
 * A library in a process of its own that works when it is asked to: a request is a line of JSON on its stdin, the answer a
 * line on its stdout. Between requests it holds its model and rests, so that contestants can take turns.
 */
import { entry } from "../../kernels/base/at.ts";
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

/** Threads of the one before go on polling for some milliseconds after their work. */
const REST_MS = 100;

export class Contestant {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  #errors = "";

  constructor(
    name: string,
    program: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ) {
    this.name = name;
    this.#child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...env } });
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.#errors += text));
    this.#child.stdin?.on("error", () => undefined); // its end shows in the answer
    const { stdout } = this.#child;
    if (!stdout) throw new Error(`${name}: no pipe`);
    this.#answers = createInterface({ input: stdout })[Symbol.asyncIterator]();
  }

  /** One of this folder's programs. */
  static script(name: string, file: string): Contestant {
    const path = fileURLToPath(new URL(file, import.meta.url));
    return new Contestant(name, process.execPath, ["--import", "tsx", path]);
  }

  async ask<T>(request: object): Promise<T> {
    await sleep(REST_MS);
    this.#child.stdin?.write(`${JSON.stringify(request)}\n`);
    for (;;) {
      const next: IteratorResult<string, unknown> = await this.#answers.next();
      if (next.done) throw new Error(`${this.name} ended: ${this.#errors.trim().slice(-1500)}`);
      // Libraries print what they like; answers are objects.
      if (next.value.startsWith("{")) return JSON.parse(next.value) as T;
    }
  }

  close(): void {
    this.#child.kill();
  }
}

/** The other side: answers each request of stdin with what its handler returns. */
export async function serve(
  handlers: Readonly<Record<string, (request: never) => Promise<object>>>,
): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line) as { readonly do: string };
    const answer = await entry(handlers, request.do)(request as never);
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  process.exit();
}
