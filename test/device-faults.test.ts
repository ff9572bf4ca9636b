/**
 * A device that fails in the midst of Temp-LoRA, at places drawn by TEMPLORA_TEST_SEED: it is lost, memory comes to its end, a thread is
 * killed. Whatever happens, what comes out has the bits of an undisturbed run, or one clear error says why not, and the state is kept.
 */
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Device } from "../engine/device.ts";
import { openDevice } from "../engine/backends/open.ts";
import { DeviceError, DeviceLostError } from "../engine/errors.ts";
import { loadModel } from "../model/load.ts";
import { recipes } from "../templora/config.ts";
import { Session, type SessionSnapshot } from "../templora/session.ts";
import type { GivenOptions } from "../templora/session_options.ts";
import { loadRun, ownerOf } from "../templora/state.ts";
import { templora } from "./support/cli.ts";
import { type Fault, type Kind, type Way, countCalls, plant, waysOf } from "./support/device_faults.ts";
import { type Command, argvOf, child, faultyRun, here, linesOf } from "./support/faulty_runs.ts";
import { RefusingDevice } from "./support/faulty_device.ts";
import { goldenFolder } from "./support/golden.ts";
import { SEED, TestRandom } from "./support/rng.ts";
import { noWebGpu, unless } from "./support/skip.ts";

const tests = suite("device faults");
const tiny = fileURLToPath(new URL("tiny-tied", goldenFolder));
const random = new TestRandom(SEED, "device faults");
const recipe = { ...recipes.paper, rank: 4, alpha: 4, dropout: 0.1, lr: 2e-2, warmup: 0 };
const sampling = { temperature: 1.1, top_k: 20, top_p: 0.95, min_p: 0, repetition_penalty: 1.1 };
/** Keys are kept for several chunks, hidden states are remembered, tokens are drawn: all that a snapshot must hold. */
const options: GivenOptions = {
  ...{ recipe: { ...recipe, context_grad: false }, chunk: 6, window: 6, baseline: true, sampling },
  ...{ reuseCache: 2, knn: 0.2, knnTokens: 24 },
};
const given = Int32Array.from({ length: 18 }, (_, t) => (t * 29 + 71) % 256);
const TOKENS = 7;

const open = (kind: Kind): Promise<Device> => openDevice(kind, { threads: 2 });

/** A session's output so far, and its state on the host. */
interface Progress {
  readonly out: readonly string[];
  readonly snapshot: SessionSnapshot | null;
}

/** Goes on to the end. `copied` is called with a copy after each step; `met` says how a fault that leaves the device alive is met. */
async function goOn(
  device: Device,
  from: Progress,
  copied: (progress: Progress) => void,
  met: (error: unknown) => "step" | "restore",
): Promise<readonly string[]> {
  using model = await loadModel(device, tiny);
  using session = new Session(model, options);
  let [newest, restores] = [from, from.snapshot !== null];
  if (!restores) session.prefill(given);
  let out = [...from.out];
  while (session.length < given.length + TOKENS) {
    try {
      if (restores && newest.snapshot) await session.restore(newest.snapshot);
      if (restores) out = [...newest.out];
      restores = false;
      if (session.due) {
        const { seconds: _s, flops: _f, bytes: _b, ...record } = await session.learn(); // a step that is tried again costs more
        out.push(JSON.stringify(record));
      } else out.push(String(await session.next()));
      copied((newest = { out: [...out], snapshot: await session.snapshot() }));
    } catch (error) {
      restores = met(error) === "restore";
    }
  }
  return out;
}

/** A whole session with a fault in it: what it wrote, and what was seen of the fault. */
async function disturbed(fault: Fault): Promise<{ out: readonly string[]; seen: string }> {
  using _planted = await plant(fault);
  const how = (["step", "restore", "anew"] as const)[random.below(3)] ?? "anew";
  let device = await open(fault.kind);
  let newest: Progress = { out: [], snapshot: null };
  let seen = "nothing";
  for (;;) {
    try {
      const copied = (one: Progress): Progress => (newest = one);
      const out = await goOn(device, newest, copied, (error) => {
        if (error instanceof Error && error.message.includes("restore() a snapshot first")) return "restore";
        if (!(error instanceof DeviceError)) throw error;
        seen = "an error";
        if (error instanceof DeviceLostError || how === "anew" || !newest.snapshot) throw error;
        return how;
      });
      assert.is(device.stats().liveBuffers, 0);
      await device.close();
      return { out, seen };
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      seen = error instanceof DeviceLostError ? "the loss" : "an error";
      assert.is(device.stats().liveBuffers, 0, `after ${String(error)}`);
      await device.close();
      device = await open(fault.kind);
    }
  }
}

for (const kind of ["cpu", "webgpu"] as const) {
  const test = unless(kind === "cpu" ? undefined : noWebGpu, tests);
  let whole: readonly string[] = [];
  let calls: ReadonlyMap<Way, number> = new Map();
  const places = kind === "cpu" ? 8 : 1;

  test(`${kind}: an undisturbed session`, async () => {
    using counted = await countCalls(kind);
    await using device = await open(kind);
    whole = await goOn(device, { out: [], snapshot: null }, () => undefined, assert.unreachable as never);
    calls = new Map(counted.calls);
  });

  for (const way of waysOf[kind])
    test(`${kind}: ${way}, at ${places} places of a session: its state on the host goes on with the same bits`, async () => {
      for (let n = 0; n < places; n++) {
        const at = 1 + random.below(calls.get(way) ?? 0);
        const { out, seen } = await disturbed({ kind, way, at });
        assert.equal(out, whole, `call ${at}`);
        if (way === "lost") assert.is(seen, "the loss");
        else if (way !== "thread") assert.is(seen, "an error"); // a thread may be killed after its last work
      }
    });
}

tests(
  "a chunk that the frozen model has half read is not read twice: learn() asks for a snapshot first",
  async () => {
    await using device = new RefusingDevice(await open("cpu"));
    using model = await loadModel(device, tiny);
    using session = new Session(model, options);
    session.prefill(given);
    await session.learn();
    await session.learn();
    const snapshot = await session.snapshot();
    const { base_nll } = await session.learn();
    await session.restore(snapshot);
    device.countdown = 20; // in the frozen model's pass
    const failure = async (): Promise<string> => session.learn().then(assert.unreachable as never, (error: Error) => error.message); // prettier-ignore
    assert.match(await failure(), /^no room for/);
    assert.match(await failure(), /failed half-way: restore\(\) a snapshot first/);
    await session.restore(snapshot);
    assert.is((await session.learn()).base_nll, base_nll);
  },
);

/** What a command writes, and how many of its calls can fail. */
async function undisturbed(
  command: Command,
  kind: Kind,
  threads = 2,
): Promise<{ whole: ReturnType<typeof linesOf>; calls: ReadonlyMap<Way, number> }> {
  using counted = await countCalls(kind);
  const outcome = await here(argvOf(command, kind, threads), null);
  assert.is(outcome.code, 0, outcome.stderr);
  return { whole: linesOf(outcome), calls: counted.calls };
}

const unhandled: unknown[] = [];
process.on("unhandledRejection", (reason) => unhandled.push(reason));

process.env["TEMPLORA_SAVE_EVERY_MS"] = "20"; // copies between some steps, and none before others

tests(`commands: one that loses its device goes on, after any other fault the state is kept`, async () => {
  for (const command of ["ppl", "generate", "translate"] as const) {
    const { whole, calls } = await undisturbed(command, "cpu");
    const other = waysOf.cpu[1 + random.below(waysOf.cpu.length - 1)] ?? "memory";
    for (const way of ["lost", other] as const) {
      const at = 1 + random.below(calls.get(way) ?? 0);
      const end = await faultyRun(here, argvOf(command, "cpu"), { kind: "cpu", way, at }, whole);
      const goesOn = way === "lost" && command !== "translate";
      if (way !== "thread") assert.is(end === "rebuilt", goesOn, `${command}, ${way} at ${at}: ${end}`);
    }
  }
  assert.equal(unhandled, []);
});

tests(
  "commands: what goes on begins at the newest copy, or anew where there is none, and shows nothing twice",
  async () => {
    const { whole, calls } = await undisturbed("ppl", "cpu");
    const all = calls.get("lost") ?? 0;
    const before = process.env["TEMPLORA_SAVE_EVERY_MS"];
    for (const [every, place, most] of [
      ["0", 0.9, 1.4],
      ["1e9", 0.45, 2],
    ] as const) {
      process.env["TEMPLORA_SAVE_EVERY_MS"] = every;
      using planted = await plant({ kind: "cpu", way: "lost", at: Math.floor(place * all) });
      const outcome = await templora(argvOf("ppl", "cpu"));
      process.env["TEMPLORA_SAVE_EVERY_MS"] = before;
      assert.equal(linesOf(outcome), whole);
      assert.is(planted.struck, 1);
      assert.ok(planted.calls < most * all, `${planted.calls} calls of ${all}`);
    }
  },
);

tests(
  "commands: a minute after the last copy there is another, which a fault leaves in the file",
  async () => {
    const before = process.env["TEMPLORA_SAVE_EVERY_MS"];
    delete process.env["TEMPLORA_SAVE_EVERY_MS"];
    const now = performance.now.bind(performance);
    let [later, chunks] = [0, 0];
    performance.now = () => now() + later;
    try {
      const { calls } = await undisturbed("ppl", "cpu");
      using _planted = await plant({
        kind: "cpu",
        way: "memory",
        at: Math.floor(0.45 * (calls.get("memory") ?? 0)),
      });
      const argv = argvOf("ppl", "cpu");
      const onOutput = (text: string): void => {
        if (!text.includes('"type":"chunk"')) return;
        chunks++;
        later += 61_000;
      };
      const { code, stderr } = await templora(argv, { onOutput });
      assert.is(code, 1);
      assert.match(stderr, /goes on from the newest copy/);
      const path = argv.at(-1) ?? "";
      const state = await loadRun<{ texts: { records: unknown[] }[] }>(path, (await ownerOf(path)) ?? "");
      assert.ok(chunks % 5 !== 0, `${chunks} chunks: every fifth is in the file anyway`);
      assert.is(state?.facts.texts[0]?.records.length, chunks);
    } finally {
      performance.now = now;
      process.env["TEMPLORA_SAVE_EVERY_MS"] = before;
    }
  },
);

tests("commands: the thread that learns is killed, and the text goes on", async () => {
  const { whole } = await undisturbed("generate beside", "cpu", 1);
  const fault = { kind: "cpu", way: "thread", at: 400 + random.below(400) } as const;
  assert.is(await faultyRun(here, argvOf("generate beside", "cpu", 1), fault, whole), "rebuilt");
});

tests("commands: in processes of their own, a killed thread and memory that ends", async () => {
  const { whole, calls } = await undisturbed("ppl", "cpu");
  for (const way of ["thread", "memory"] as const) {
    const at = Math.ceil((0.3 + 0.1 * random.below(5)) * (calls.get(way) ?? 0));
    const end = await faultyRun(child, argvOf("ppl", "cpu"), { kind: "cpu", way, at }, whole);
    assert.is(end, way === "thread" ? "rebuilt" : "resumed");
  }
});

unless(noWebGpu, tests)("commands: Dawn's device is destroyed in the midst of a run", async () => {
  const { whole, calls } = await undisturbed("generate", "webgpu");
  const at = 1 + random.below(calls.get("lost") ?? 0);
  const end = await faultyRun(here, argvOf("generate", "webgpu"), { kind: "webgpu", way: "lost", at }, whole);
  assert.is(end, "rebuilt");
});

tests(
  "a device that is lost again and again is given up; one that computes otherwise, or none, does not take its place",
  async () => {
    /** The last line on stderr of a run that loses its device; `meanwhile` is called at its second chunk. */
    const failure = async (at: number, times: number, meanwhile: () => void): Promise<string> => {
      using _planted = await plant({ kind: "cpu", way: "lost", at, times });
      const onOutput = (text: string): void => void (text.includes('"index":1') && meanwhile());
      const { code, stderr } = await templora(argvOf("ppl", "cpu"), { onOutput });
      assert.is(code, 1);

      return stderr.trimEnd().split("\n").at(-1) ?? "";
    };
    const { calls } = await undisturbed("ppl", "cpu");
    const late = Math.floor(0.4 * (calls.get("lost") ?? 0));
    assert.match(
      await failure(20, Infinity, () => undefined),
      /^templora: device lost 4 times with no progress between \(cpu: /,
    );
    const build = process.env["TEMPLORA_CPU_BUILD"];
    try {
      const other = build === "plain" ? "relaxed" : "plain";
      const otherwise = await failure(late, 1, () => (process.env["TEMPLORA_CPU_BUILD"] = other));
      assert.match(otherwise, /what opens in its place, cpu, .*, computes with other last digits$/);
      if (build === undefined) delete process.env["TEMPLORA_CPU_BUILD"];
      const none = await failure(late, 1, () => (process.env["TEMPLORA_CPU_BUILD"] = "none"));
      assert.match(none, /it does not open anew: TEMPLORA_CPU_BUILD=none/);
    } finally {
      if (build === undefined) delete process.env["TEMPLORA_CPU_BUILD"];
      else process.env["TEMPLORA_CPU_BUILD"] = build;
    }
  },
);

tests.run();
