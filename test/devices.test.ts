/** What holds for every device: how it is opened and closed, what it refuses; and what opening must not change. */
import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type DeviceChoice, openDevice } from "../engine/backends/open.ts";
import { assertVulkanDriver } from "../engine/backends/webgpu/driver.ts";
import { ReferenceDevice } from "./support/reference_device.ts";
import type { BufferView, Device } from "../engine/device.ts";
import { BadInputError, DeviceError } from "../engine/errors.ts";
import type { AnyKernel } from "../kernels/kernel.ts";
import { kernels } from "../kernels/index.ts";
import { openTestDevices } from "./support/backends.ts";
import { temporaryFolder } from "./support/model_files.ts";

/** Every device, closed at the end. */
async function onEvery(body: (name: string, device: Device) => void | Promise<void>): Promise<void> {
  const devices = [...(await openTestDevices()), { name: "reference", device: new ReferenceDevice() }];
  for (const { name, device } of devices) {
    await using open = device;
    await body(name, open);
  }
}

test("an output or inout that shares its buffer with another slot is refused, in whatever windows", () =>
  onEvery(async (name, device) => {
    const N = 64;
    const { viewAlignment } = device;
    const [one, two] = [
      device.allocate("f32", 4 * N * viewAlignment, "one"),
      device.allocate("f32", 4 * N * viewAlignment, "two"),
    ];
    device.write({ buffer: one, offset: 0, length: N }, new Float32Array(N));
    const at = (buffer: typeof one, part: number): BufferView => ({
      ...{ buffer, offset: part * N * viewAlignment, length: N },
    });
    const run = (kernel: AnyKernel, slots: Readonly<Record<string, BufferView>>): void =>
      device.run({
        ...{ kernel, slots, dims: { N, M: 8, K: 8 }, params: { ...kernel.spec.defaults, alpha: 1 } },
      });
    run(kernels.swiglu, { gate: at(one, 0), up: at(one, 0), y: at(two, 0) });
    assert.throws(
      () => run(kernels.swiglu, { gate: at(one, 0), up: at(two, 0), y: at(two, 0) }),
      (error: Error) =>
        error instanceof DeviceError && error.message === "swiglu: output y shares its buffer with up",
      name,
    );
    assert.throws(
      () => run(kernels.swiglu, { gate: at(one, 0), up: at(two, 0), y: at(one, 1) }),
      /swiglu: output y shares its buffer with gate/,
      name,
    );
    const product = { a: at(one, 0), w: at(one, 1) };
    assert.throws(
      () => run(kernels.matmul_nt_acc, { ...product, c: at(one, 2) }),
      /matmul_nt_acc: inout c shares its buffer with a/,
      name,
    );
    assert.throws(
      () => run(kernels.swiglu, { gate: at(one, 0), y: at(two, 0) }),
      /swiglu: slot up is not given/,
      name,
    );
    await device.flush();
    for (const buffer of [one, two]) device.free(buffer);
    assert.is(device.stats().liveBuffers, 0, name);
  }));

test("a device closes twice without harm, and at the end of a block", () =>
  onEvery(async (_name, device) => {
    await device.close();
    await device.close();
    await device[Symbol.asyncDispose]();
  }));

test("openDevice says what it chose and why; errors name its options", async () => {
  const lines: string[] = [];
  await using device = await openDevice("cpu", { threads: 1, explain: (line) => lines.push(line) });
  assert.is(device.info.facts["threads"], 1);
  assert.equal(lines, [`device ${device.info.description}: asked for`]);
  const wrong: readonly [DeviceChoice, object, RegExp][] = [
    ["cpu", { threads: 0 }, /^threads 0: a whole number from 1 to 256 is expected$/],
    ["cpu", { threads: 1000 }, /^threads 1000: /],
    ["gpu" as DeviceChoice, {}, /^device "gpu": one of auto, cpu, webgpu is expected$/],
  ];
  for (const [choice, options, message] of wrong) {
    await openDevice(choice, options).then(
      () => assert.unreachable(`${choice} opened`),
      (error: unknown) => {
        assert.instance(error, BadInputError);
        assert.match((error as Error).message, message);
      },
    );
  }
});

/** Opens the cpu device in a process of its own; returns its build and description, and whether relaxed SIMD is on. */
async function opened(options: object): Promise<{ build: string; description: string; relaxed: boolean }> {
  const script = `
    import { readFileSync } from "node:fs";
    import { openDevice } from "./engine/index.ts";
    const device = await openDevice("cpu", ${JSON.stringify(options)});
    const { description, facts } = device.info;
    const relaxed = WebAssembly.validate(readFileSync("kernels/build/relaxed.wasm"));
    console.log(JSON.stringify({ build: facts.build, description, relaxed }));
    await device.close();`;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--import", "tsx", "--input-type=module", "--eval", script],
    { cwd: fileURLToPath(new URL("..", import.meta.url)), env: { ...process.env, TEMPLORA_CPU_BUILD: "" } },
  );
  return JSON.parse(stdout) as Awaited<ReturnType<typeof opened>>;
}

test("V8's flags are set only when asked for; the description says what would be gained", async () => {
  const [plain, asked] = await Promise.all([opened({ threads: 1 }), opened({ threads: 1, v8Flags: true })]);
  const node = Number.parseInt(process.versions.node, 10);
  assert.is(plain.relaxed, node >= 22);
  assert.is(plain.build, node < 22 ? "plain" : "relaxed");
  assert.ok(asked.relaxed);
  assert.is.not(asked.build, "plain");
  assert.not.match(asked.description, /v8Flags/);
  if (node < 22) assert.match(plain.description, /the option v8Flags would give relaxed SIMD/);
  else if (asked.build === "wide")
    assert.match(plain.description, /the option v8Flags may make it twice as fast/);
});

test("without an adapter, WebGPU is refused in words, and auto takes the CPU and says why", async () => {
  const script = `
    import { openDevice } from "./engine/index.ts";
    const error = await openDevice("webgpu").then(() => null, (e) => e);
    const lines = [];
    const device = await openDevice("auto", { threads: 1, explain: (line) => lines.push(line) });
    console.log(JSON.stringify({ name: error?.name, message: error?.message, kind: device.info.kind, lines }));
    await device.close();`;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--import", "tsx", "--input-type=module", "--eval", script],
    {
      cwd: fileURLToPath(new URL("..", import.meta.url)),
      env: { ...process.env, VK_DRIVER_FILES: "/dev/null", VK_ICD_FILENAMES: "/dev/null" },
    },
  );
  const found = JSON.parse(stdout) as { name: string; message: string; kind: string; lines: string[] };
  assert.equal([found.name, found.kind, found.lines.length], ["BadInputError", "cpu", 1]);
  assert.match(found.message, /^device "webgpu": \S/);
  assert.match(found.lines[0] ?? "", /^device .+: auto takes the CPU \(.+\)$/);
});

test("a Vulkan driver is looked for where the environment says, else in the folders of data", () => {
  if (process.platform !== "linux") return; // elsewhere Dawn is asked
  const folder = temporaryFolder();
  const manifests = join(folder, "vulkan/icd.d");
  mkdirSync(manifests, { recursive: true });
  const manifest = join(manifests, "one.json");
  writeFileSync(manifest, "{}");
  const none = join(folder, "none.json");
  writeFileSync(join(manifests, "notes.txt"), "");
  const homes = [".config", ".local/share"].map((data) => {
    const home = temporaryFolder();
    for (const place of [".config", ".local/share"])
      mkdirSync(join(home, place, "vulkan/icd.d"), { recursive: true });
    cpSync(manifests, join(home, data, "vulkan/icd.d"), { recursive: true });
    return home;
  });
  const other = temporaryFolder();
  mkdirSync(join(other, "vulkan/icd.d"), { recursive: true });
  writeFileSync(join(other, "vulkan/icd.d/notes.txt"), "");
  for (const env of [
    ...["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"].map((name) => ({ [name]: manifest })),
    ...["XDG_CONFIG_HOME", "XDG_DATA_HOME"].map((name) => ({ [name]: folder })),
    ...["XDG_CONFIG_DIRS", "XDG_DATA_DIRS"].map((name) => ({ [name]: `/none:${folder}` })),
    { VK_DRIVER_FILES: `:${none}:${manifest}` },
    { VK_DRIVER_FILES: "", XDG_DATA_HOME: folder },
    { VK_ADD_DRIVER_FILES: none, XDG_DATA_HOME: folder },
    ...homes.map((home) => ({ HOME: home })),
  ])
    assertVulkanDriver({ HOME: "/none", ...env }, "/none");
  const system = "etc/xdg etc usr/local/etc usr/local/share usr/share run/opengl-driver/share".split(" ");
  for (const place of system) {
    const root = temporaryFolder();
    cpSync(manifests, join(root, place, "vulkan/icd.d"), { recursive: true });
    assertVulkanDriver({ HOME: "/none" }, root);
  }

  const refused = (env: Record<string, string>, message: string): void =>
    assert.throws(
      () => assertVulkanDriver({ HOME: "/none", ...env }, "/none"),
      (error: unknown) => error instanceof DeviceError && error.message.includes(message),
    );
  refused({ VK_DRIVER_FILES: none, XDG_DATA_HOME: folder }, `no Vulkan driver at ${none};`);
  refused({ VK_DRIVER_FILES: none, VK_ADD_DRIVER_FILES: manifest }, `no Vulkan driver at ${none};`);
  refused({ VK_ADD_DRIVER_FILES: none }, "no Vulkan driver found;");
  refused({}, "no Vulkan driver found;");
  refused({ XDG_DATA_HOME: other }, "no Vulkan driver found;");

  const own = system.some((place) => {
    const names = join("/", place, "vulkan/icd.d");
    return existsSync(names) && readdirSync(names).some((name) => name.endsWith(".json"));
  });
  const inOwn = (): void => assertVulkanDriver({ HOME: "/none" });
  if (own) inOwn();
  else assert.throws(inOwn, /no Vulkan driver found/);

  const linux = Object.getOwnPropertyDescriptor(process, "platform") ?? {};
  Object.defineProperty(process, "platform", { ...linux, value: "darwin" });
  try {
    assertVulkanDriver({ HOME: "/none" }, "/none"); // there Dawn is asked
  } finally {
    Object.defineProperty(process, "platform", linux);
  }
});

test.run();
