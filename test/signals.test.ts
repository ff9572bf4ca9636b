/** What asks a run to stop before its end, and that it then keeps its state. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { InterruptedError } from "../cli/errors.ts";
import { run } from "../cli/program.ts";
import { Session } from "../templora/session.ts";
import { binary, jsonLines, templora } from "./support/cli.ts";

const test = suite("signals");
const folder = mkdtempSync(join(tmpdir(), "templora-signals-"));
const at = (name: string): string => join(folder, name);
process.env["TEMPLORA_CACHE"] = at("cache");
test.after(() => rmSync(folder, { recursive: true }));

const flags = "--model test/golden/tiny-tied --device cpu --threads 1 --chunk 16 --window 16 --rank 4".split(
  " ",
);
const ppl = (name: string): string[] => [
  ...["ppl", "test/golden/moby-dick-excerpt.txt", ...flags, "--state", at(`${name}.state`)],
  ...["--json", at(`${name}.jsonl`)],
];

test("SIGINT, SIGTERM and SIGHUP: the state and what was written are kept", async () => {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    const { code, stderr } = await binary(ppl(signal), { interruptOn: /^ +2 +16/m, signal });
    assert.is(code, 130, stderr);
    assert.match(stderr, new RegExp(`${signal}: stopping.*--resume`, "s"));
    assert.ok(existsSync(at(`${signal}.state`)));
    assert.is(jsonLines(readFileSync(at(`${signal}.jsonl`), "utf8")).at(-1)?.["type"], "chunk");
  }
});

if (process.platform === "linux") {
  const shell = (line: string): string =>
    execFileSync("bash", ["-c", `node --import tsx cli/main.ts ${line}; echo "\${PIPESTATUS[0]}"`], {
      encoding: "utf8",
    });

  test("a reader of stdout that ends early stops the run, which keeps its state", () => {
    const argv = ppl("pipe").join(" ");
    assert.match(shell(`${argv} 2>&1 | head -5`), /\n130\n$/);
    assert.ok(existsSync(at("pipe.state")));
  });

  test("standard output on a full disk stops the run, which keeps its state, and is never taken for success", () => {
    assert.match(shell(`${ppl("full").join(" ")} 2>&1 >/dev/full`), /standard output: no space left.*\n1\n$/);
    assert.ok(existsSync(at("full.state")));
    assert.match(shell("--help 2>&1 >/dev/full"), /standard output: no space left.*\n1\n$/);
  });

  test("one signal ends a run that waits for a named pipe", () => {
    const pipe = at("pipe.txt");
    const command = `node --import tsx cli/main.ts ppl ${pipe} ${flags.join(" ")}`;
    // the shell has the pipe open once the run has
    const script = `mkfifo ${pipe}; ${command} & exec 3> ${pipe}; kill -TERM $!; wait $!; echo $?`;
    assert.match(execFileSync("bash", ["-c", script], { encoding: "utf8", timeout: 60_000 }), /^130\n$/m);
  });
}

test("Ctrl-C is heard while the prompt's pipe delivers nothing", async () => {
  const stop = new AbortController();
  async function* silent(): AsyncGenerator<string> {
    setImmediate(() => stop.abort(new InterruptedError("Ctrl-C")));
    yield await new Promise<string>(() => undefined);
  }
  const [written, nowhere] = [[] as string[], { write: () => true }];
  const stderr = { write: (line: string) => written.push(line) };
  const io = {
    stdin: silent(),
    stdout: nowhere,
    stderr,
    env: {},
    signal: stop.signal,
    stop: () => undefined,
  };
  assert.is(await run(["generate", ...flags], io), 130);
  assert.equal(written, []);
});

test("a run that comes to its end although it was asked to stop is complete", async () => {
  const argv = [
    ...[
      "generate",
      "--prompt",
      "Call me Ishmael.",
      "--tokens",
      "20",
      "--no-templora",
      "--stop-at-eos",
      ...flags,
    ],
    ...["--json", at("eos.jsonl"), "--state", at("eos.state")],
  ];
  const next = Reflect.get<Session, "next">(Session.prototype, "next");
  let stop = (): void => assert.unreachable();
  // The fifth token is the text's end, and Ctrl-C comes while it is chosen.
  let tokens = 0;
  Session.prototype.next = async function (this: Session) {
    if (++tokens < 5) return next.call(this);
    stop();
    return null;
  };
  try {
    const { code, stdout } = await templora(argv, { onOutput: (_, stopRun) => (stop = stopRun) });
    assert.is(code, 0);
    const last = jsonLines(readFileSync(at("eos.jsonl"), "utf8")).at(-1);
    assert.equal([last?.["type"], last?.["generated_tokens"], last?.["generated"]], ["summary", 4, stdout]);
    assert.not.ok(existsSync(at("eos.state")));
  } finally {
    Session.prototype.next = next;
  }
});

test.run();
