/** A file that is written is there whole or not at all, and nothing else is left beside it. */
import { spawnSync } from "node:child_process";
import { linkSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { writeTogether, writeWhole } from "../engine/backends/host/files.ts";
import { temporaryFolder } from "./support/model_files.ts";
import { openIn } from "./support/open_files.ts";

test("data, and what is written part by part, make a new file in a new folder or replace an old one", async () => {
  const folder = temporaryFolder();
  const path = join(folder, "new", "file");
  await writeWhole(path, "one\n");
  assert.is(readFileSync(path, "utf8"), "one\n");
  const { ino } = statSync(path);
  await writeWhole(path, async (file) => {
    for (const part of ["t", Uint8Array.of(119, 111), "\n"]) await file.write(part);
  });
  assert.is(readFileSync(path, "utf8"), "two\n");
  assert.is.not(statSync(path).ino, ino, "it took the old one's name at once");
  assert.equal(openIn(folder), []);
  assert.equal(readdirSync(join(path, "..")), ["file"]);
});

test("a folder is made with those that it is in; where none can be made, that is an error and no endless loop", () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "file"), "");
  const files = fileURLToPath(new URL("../engine/backends/host/files.ts", import.meta.url));
  const places = ["a/b/c", "a/b", "a/d/", "file", "file/x"].map((name) => join(folder, name));
  if (process.platform === "linux") places.push("/proc/no/such");
  const script = `const { makeFolder } = await import(process.argv[1]);
    for (const place of process.argv.slice(2)) console.log(await makeFolder(place).catch(({ code }) => code) ?? "made");`;
  const argv = ["--import", "tsx", "--input-type=module", "-e", script, files, ...places];
  const { stdout } = spawnSync(process.execPath, argv, {
    ...{ encoding: "utf8", timeout: 20_000, killSignal: "SIGKILL" },
  });
  const codes = ["made", "made", "made", "EEXIST", "ENOTDIR", "ENOENT"];
  assert.equal(stdout.trim().split("\n"), codes.slice(0, places.length));
});

test("a file with another name, which keeps it, has nothing left of what was longer", async () => {
  if (process.platform === "win32") return;
  const folder = temporaryFolder();
  const [path, other] = ["path", "other"].map((name) => join(folder, name)) as [string, string];
  writeFileSync(path, "x".repeat(1000));
  linkSync(path, other);
  await writeWhole(path, "short");
  assert.equal(
    [path, other].map((name) => readFileSync(name, "utf8")),
    ["short", "short"],
  );
});

test("a failure at any part leaves the old file, or none, and no temporary one", async () => {
  const folder = temporaryFolder();
  const old = join(folder, "old");
  writeFileSync(old, "old");
  for (const path of [old, join(folder, "none")]) {
    for (let parts = 0; parts < 3; parts++) {
      const failing = writeWhole(path, async (file) => {
        for (let i = 0; i < parts; i++) await file.write("new");
        throw new Error("disk full");
      });
      await failing.then(
        () => assert.unreachable("written"),
        (error: Error) => assert.is(error.message, "disk full"),
      );
    }
  }
  assert.equal(readdirSync(folder), ["old"]);
  assert.is(readFileSync(old, "utf8"), "old");
  assert.equal(openIn(folder), []);
});

test("where a folder cannot be opened, as on Windows, its files are written all the same", async () => {
  const path = join(temporaryFolder(), "file");
  const { open } = fs;
  const patch = (changed: typeof open): void => {
    fs.open = changed;
    syncBuiltinESMExports();
  };
  patch(() => Promise.reject(new Error("EISDIR")));
  try {
    await writeWhole(path, "text");
  } finally {
    patch(open);
  }
  assert.is(readFileSync(path, "utf8"), "text");
});

test("two at once do not mix; a folder is not replaced", async () => {
  const path = join(temporaryFolder(), "file");
  const texts = ["a", "b"].map((letter) => letter.repeat(1e6));
  await Promise.all(texts.map((text) => writeWhole(path, text)));
  assert.ok(texts.includes(readFileSync(path, "utf8")));
  const parent = temporaryFolder();
  const folder = join(parent, "folder");
  mkdirSync(folder);
  await writeWhole(folder, "text").then(
    () => assert.unreachable("written"),
    (error: NodeJS.ErrnoException) => assert.match(error.code ?? "", /EISDIR|EEXIST|ENOTEMPTY|EPERM/),
  );
  assert.equal(readdirSync(folder), []);
  assert.equal(readdirSync(parent), ["folder"]);
});

test("of several files none is replaced before all are complete, whether the last one fails or the process is killed", async () => {
  const folder = temporaryFolder();
  const contents = (): string[] => ["one", "two"].map((name) => readFileSync(join(folder, name), "utf8"));
  await writeTogether(folder, { one: "1", two: "2" });
  const failing = writeTogether(folder, { one: "new", two: () => Promise.reject(new Error("disk full")) });
  await failing.then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, "disk full"),
  );
  assert.equal(readdirSync(folder).sort(), ["one", "two"]);
  assert.equal(contents(), ["1", "2"]);
  const script = `import { writeTogether } from "./engine/backends/host/files.ts";
    await writeTogether(process.argv[1], { one: "new", two: () => process.kill(process.pid, "SIGKILL") });`;
  const root = new URL("..", import.meta.url);
  const flags = ["--import", "tsx", "--input-type=module", "--eval", script];
  assert.is(spawnSync(process.execPath, [...flags, folder], { cwd: root }).signal, "SIGKILL");
  assert.equal(contents(), ["1", "2"]);
  await writeTogether(folder, { one: "3", two: "4" }); // beside the parts that were left
  assert.equal(contents(), ["3", "4"]);
});

test.run();
