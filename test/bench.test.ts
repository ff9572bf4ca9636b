/** `templora bench`: well-formed lines for every kernel, and clear refusals. No figure is judged. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { kernels } from "../kernels/index.ts";
import { jsonLines, templora } from "./support/cli.ts";

const test = suite("bench");
const model = "test/golden/tiny-tied";
const quick = ["--quick", "--device", "cpu", "--threads", "1", "--model", model, "--json", "-", "--quiet"];
/** Small enough for the model's 512 positions, and for a second. */
const small = ["--chunk", "16", "--window", "16", "--rank", "4"];

const positive = (x: unknown): boolean => typeof x === "number" && Number.isFinite(x) && x > 0;

test("kernels: each one, with rates and shares of limits measured beside it", async () => {
  const { code, stdout, stderr } = await templora(["bench", "kernels", ...quick, ...small]);
  assert.is(code, 0, stderr);
  assert.is(stderr, "");
  const [config, ...rest] = jsonLines(stdout);
  const summary = rest.pop() ?? {};
  assert.is(config?.["type"], "config");
  assert.is(config?.["command"], "bench");
  assert.equal(config?.["suites"], ["kernels"]);
  for (const line of rest) {
    assert.is(line["type"], "timing");
    assert.is(line["suite"], "kernels");
    for (const key of ["ms", "lower", "upper", "rounds", "roofline_percent"]) {
      assert.ok(positive(line[key]), `${String(line["name"])}: ${key}`);
    }
    assert.ok(positive(line["gflops"]) || positive(line["gbps"]));
    assert.ok((line["lower"] as number) <= (line["upper"] as number));
  }
  const measured = rest.flatMap(({ kernel }) => (typeof kernel === "string" ? [kernel] : []));
  assert.equal([...new Set(measured)], Object.keys(kernels));
  assert.is(summary["type"], "summary");
  assert.is(summary["device"], "cpu");
  const limits = summary["limits"] as Record<string, unknown>;
  assert.ok(positive(limits["fma_gflops"]) && positive(limits["copy_gbps"]));
});

test("decode, prefill and update of a model", async () => {
  const { code, stdout, stderr } = await templora([
    "bench",
    "decode",
    "prefill",
    "--suite",
    "update",
    ...quick,
    ...small,
  ]);
  assert.is(code, 0, stderr);
  const lines = jsonLines(stdout);
  assert.equal(
    lines.flatMap((line) => (line["type"] === "summary" ? [line["suite"]] : [])),
    ["decode", "prefill", "update"],
  );
  for (const line of lines.filter(({ type, suite }) => type === "timing" && suite !== "update")) {
    assert.ok(positive(line["tokens_per_second"]));
  }
});

test("schedule: both schedules, their ratio, and what more threads would give", async () => {
  const { code, stdout, stderr } = await templora(["bench", "schedule", ...quick, ...small]);
  assert.is(code, 0, stderr);
  const lines = jsonLines(stdout);
  const timings = lines.filter(({ type }) => type === "timing");
  assert.equal(
    timings.map(({ name }) => name),
    ["cascaded, a token", "parallel, a token"],
  );
  for (const line of timings)
    for (const key of ["ms", "p95_ms", "longest_ms", "longest_over_median", "wall_seconds"])
      assert.ok(positive(line[key]), key);
  const summary = lines.at(-1) ?? {};
  assert.ok(positive(summary["wall_ratio"]));
  const model = summary["cost_model"] as Record<string, unknown>[];
  assert.equal(
    model.map(({ threads }) => threads),
    [1, 2, 4],
  );
  for (const one of model) assert.ok(positive(one["cascaded_seconds"]) && positive(one["parallel_seconds"]));
});

test("refusals: an unknown suite, an option of no suite", async () => {
  for (const [argv, says] of [
    [["bench", "kernel"], /bench kernel: no such suite \(did you mean kernels\?\)/],
    [["bench", "--chunk", "1"], /--chunk 1: expected a whole number, at least 2/],
    [["bench", "--quik"], /unknown option '--quik' \(did you mean --quick\?\); see templora bench --help/],
    [
      ["bench", "decode", "--model", "no-such-model", "--device", "cpu"],
      /no-such-model: no such file or folder/,
    ],
  ] as const) {
    const { code, stdout, stderr } = await templora(argv);
    assert.is(code, 2, stderr);
    assert.is(stdout, "");
    assert.match(stderr, says);
  }
});

test.run();
