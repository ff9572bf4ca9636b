/** A file that is written is there whole or not at all, and nothing else is left beside it. */
import { spawnSync } from "node:child_process";
import { createHash, randomFillSync } from "node:crypto";
import files, {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { addTo, readParts, readWhole, writeTogether, writeWhole } from "../engine/backends/host/files.ts";
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

const scratch = temporaryFolder();

/** Runs `act` while functions of node:fs are others. */
async function patched(changes: Partial<typeof files>, act: () => Promise<void>): Promise<void> {
  const originals = Object.fromEntries(Object.keys(changes).map((name) => [name, files[name as "fsync"]]));
  const set = (functions: object): void => {
    Object.assign(files, functions);
    syncBuiltinESMExports();
  };
  set(changes);
  try {
    await act();
  } finally {
    set(originals);
  }
}

test("what replaces a private file is at no time open to others", async () => {
  if (process.platform === "win32") return;
  const folder = mkdtempSync(join(scratch, "x"));
  const path = join(folder, "private");
  writeFileSync(path, "old", { mode: 0o600 });
  const { openSync } = files;
  const modes: number[] = [];
  const opened: typeof openSync = (...args) => {
    const file = openSync(...args);
    if (args[1] === "wx") modes.push(files.fstatSync(file).mode & 0o777);
    return file;
  };
  const umask = process.umask(0o022);
  try {
    await patched({ openSync: opened }, async () => {
      await writeWhole(path, "new");
      await writeWhole(join(folder, "public"), "new");
    });
  } finally {
    process.umask(umask);
  }
  assert.equal(modes, [0o600, 0o644]);
  assert.equal(["private", "public"].map((name) => statSync(join(folder, name)).mode & 0o777), [0o600, 0o644]); // prettier-ignore
});

/** What happens to the file behind a descriptor, by its content then, and to names. */
async function eventsOf(act: () => Promise<void>): Promise<string[]> {
  const events: string[] = [];
  const { fsync, fsyncSync, renameSync } = files;
  const synced = (file: number): void => {
    const found = files.fstatSync(file);
    events.push(found.isDirectory() ? "names on the disk" : `${found.size} bytes on the disk`);
  };
  const changes = {
    fsync: ((file, done) => (synced(file), fsync(file, done))) as typeof fsync,
    fsyncSync: (file: number) => (synced(file), fsyncSync(file)),
    renameSync: ((from, to) => (events.push("renamed"), renameSync(from, to))) as typeof renameSync,
  };
  await patched(changes, act);
  return events;
}

test("a file is on the disk, whole, before it takes its name", async () => {
  const folder = mkdtempSync(join(scratch, "x"));
  const path = join(folder, "one");
  const names = process.platform === "win32" ? [] : ["names on the disk"];
  const filled = eventsOf(() =>
    writeWhole(path, async (file) => {
      for (const part of ["abc", "de"]) await file.write(part);
    }),
  );
  assert.equal(await filled, ["5 bytes on the disk", "renamed", ...names]);
  const several = await eventsOf(() => writeTogether(folder, { one: "1", two: "22" }));
  assert.equal(several, [
    "1 bytes on the disk",
    "2 bytes on the disk",
    "renamed",
    ...names,
    "renamed",
    ...names,
  ]);
  if (process.platform === "win32") return;
  linkSync(path, join(folder, "other"));
  const overwritten = await eventsOf(() => writeWhole(path, "four"));
  assert.equal(overwritten, ["4 bytes on the disk", "4 bytes on the disk"], "the old file is overwritten");
});

test("where a file must not be renamed, the old one stays; one that is mounted is overwritten", async () => {
  const folder = mkdtempSync(join(scratch, "x"));
  const path = join(folder, "file");
  const failing = (code: string) => ({
    renameSync: () => {
      throw Object.assign(new Error(code), { code });
    },
  });
  for (const code of ["EACCES", "EPERM", "EXDEV", "ENOSPC"]) {
    writeFileSync(path, "old and long");
    await patched(failing(code), () =>
      writeWhole(path, "new").then(
        () => assert.unreachable("written"),
        (error: Error) => assert.is(error.message, code),
      ),
    );
    assert.is(readFileSync(path, "utf8"), "old and long", code);
  }
  for (const name of readdirSync(folder)) if (name.endsWith(".part")) files.rmSync(join(folder, name));
  await patched(failing("EBUSY"), () => writeWhole(path, "new"));
  assert.is(readFileSync(path, "utf8"), "new");
  assert.equal(readdirSync(folder), ["file"]);
});

test("a file is read to its end, also where reads stop short", async () => {
  const path = join(scratch, "file");
  writeFileSync(
    path,
    Uint8Array.from({ length: 100 }, (_, i) => i),
  );
  const file = await fs.open(path);
  const prototype = Object.getPrototypeOf(file) as { read: (...args: unknown[]) => Promise<unknown> };
  await file.close();
  const { read } = prototype;
  prototype.read = function (buffer, offset, length, position) {
    return read.call(this, buffer, offset, Math.min(7, Number(length)), position);
  };
  try {
    const parts: number[] = [];
    for await (const [part, size] of readParts(path)) {
      assert.is(size, 100);
      parts.push(...part);
    }
    assert.equal(parts, [...readFileSync(path)]);
    assert.equal([...(await readWhole(path))], [...readFileSync(path)]);
  } finally {
    prototype.read = read;
  }
});

test("a hash of what is hashed in pieces is that of the whole", async () => {
  const bytes = Buffer.alloc(2 ** 26 + 3);
  for (const at of [0, 2 ** 25 - 512, 2 ** 26 - 1024]) randomFillSync(bytes, at, 1000);
  for (const length of [2 ** 25, 2 ** 25 + 1, bytes.length]) {
    const [pieces, whole] = [createHash("sha256"), createHash("sha256")];
    await addTo(pieces, bytes.subarray(0, length));
    assert.is(pieces.digest("hex"), whole.update(bytes.subarray(0, length)).digest("hex"), `${length}`);
  }
});

test.run();
