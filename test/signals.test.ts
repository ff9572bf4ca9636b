/** What asks a run to stop before its end, and that it then keeps its state. */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { InterruptedError } from "../cli/errors.ts";
import { run } from "../cli/program.ts";
import { Session } from "../templora/session.ts";
import { binary, jsonLines, sensible, templora } from "./support/cli.ts";

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
  for (const [signal, status] of Object.entries({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const)) {
    const { code, stderr } = await binary(ppl(signal), {
      interruptOn: /^ +2 +16/m,
      signal: signal as NodeJS.Signals,
    });
    assert.is(code, status, stderr);
    assert.match(stderr, new RegExp(`${signal}: stopping.*--resume`, "s"));
    assert.ok(existsSync(at(`${signal}.state`)));
    assert.is(jsonLines(readFileSync(at(`${signal}.jsonl`), "utf8")).at(-1)?.["type"], "chunk");
  }
});

test("a second Ctrl-C ends a run at once; SIGHUP may come as often as it likes", async () => {
  // one chunk, whose update takes minutes
  const long = [...ppl("twice"), "--epochs", "10000", "--chunk", "64", "--max-tokens", "70"];
  const again = async (first: NodeJS.Signals, second: NodeJS.Signals): Promise<NodeJS.Signals | null> => {
    const child = spawn(process.execPath, ["--import", "tsx", "cli/main.ts", ...long], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let [said, heard] = ["", false];
    child.stdout.on("data", () => child.kill(first)); // the text is named: its first chunk is being learnt
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      if (heard || !said.includes("stopping after")) return;
      heard = true;
      child.kill(second);
      if (second === "SIGHUP") setTimeout(() => child.kill("SIGKILL"), 500);
    });
    return new Promise((resolve) => child.once("close", (_, signal) => resolve(signal)));
  };
  assert.is(await again("SIGINT", "SIGINT"), "SIGINT");
  assert.is(await again("SIGTERM", "SIGTERM"), "SIGTERM");
  assert.is(await again("SIGHUP", "SIGHUP"), "SIGKILL", "a closed terminal sends several");
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

  test("files may be no longer than so much: the run is told of it in words, and goes on or is stopped", () => {
    const limited = (argv: string[]): string =>
      execFileSync(
        "bash",
        ["-c", `ulimit -f 8; node --import tsx cli/main.ts ${argv.join(" ")} 2>&1; echo $?`],
        {
          encoding: "utf8",
          env: { ...process.env, TEMPLORA_SAVE_EVERY_MS: "0" },
        },
      );
    const flags = ["--max-tokens", "100", "--chunk", "32"];
    const going = limited([...ppl("limit").slice(0, -2), ...flags]);
    assert.match(going, /the state is not saved: .*limit\.state: it would be longer than a file may be/);
    assert.match(going, /tokens scored in[^]*\n0\n$/);
    const stopped = limited([...ppl("limit"), "--max-tokens", "400", "--chunk", "4"]);
    assert.match(stopped, /the state is lost[^]*limit\.jsonl: it would be longer than a file may be.*\n1\n$/);
  });

  test("one signal ends a run that waits for a named pipe", () => {
    const pipe = at("pipe.txt");
    const command = `node --import tsx cli/main.ts ppl ${pipe} ${flags.join(" ")}`;
    // the shell has the pipe open once the run has
    const script = `mkfifo ${pipe}; ${command} & exec 3> ${pipe}; kill -TERM $!; wait $!; echo $?`;
    assert.match(execFileSync("bash", ["-c", script], { encoding: "utf8", timeout: 60_000 }), /^143\n$/m);
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
  const argv = sensible([
    ...["generate", "--prompt", "Call me Ishmael.", "--tokens", "20", "--no-templora", "--stop-at-eos"],
    ...[...flags, "--json", at("eos.jsonl"), "--state", at("eos.state")],
  ]);
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
